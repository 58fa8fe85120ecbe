//! What is known of every image and every class: shown, not shown, or to be ignored.

use odc_data::Dataset;

use crate::{EvalError, Features};

/// The true classes of rows of features. An image may show several classes, or it may be open whether it shows one (an
/// object that is too difficult): then it takes no part in what concerns that class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrueClasses {
    names: Vec<String>,
    /// `[rows, classes]`; `None` is to be ignored.
    shows: Vec<Option<bool>>,
    rows: usize,
}

impl TrueClasses {
    /// Of rows that are known in full.
    ///
    /// # Errors
    /// Where `shows` is not whole rows of one entry for each name.
    pub fn new(names: Vec<String>, shows: Vec<Option<bool>>) -> Result<Self, EvalError> {
        let rows = shows.len().checked_div(names.len()).unwrap_or(0);
        if rows * names.len() != shows.len() {
            let what = "entries of true classes (whole rows of one for each class are needed)";
            return Err(EvalError::Size { what, got: shows.len(), expected: rows * names.len() });
        }
        Ok(Self { names, shows, rows })
    }

    /// Of the images that have a row in `features`, as `dataset` knows them.
    pub fn of(dataset: &dyn Dataset, features: &Features) -> Self {
        let names = dataset.class_names().to_vec();
        let classes = 0..names.len() as u32;
        let row = |index: &u32| classes.clone().map(|class| dataset.shows(*index as usize, class)).collect::<Vec<_>>();
        Self { shows: features.indices.iter().flat_map(row).collect(), names, rows: features.len() }
    }

    /// Of rows with one true label each, classes being named by their number.
    pub fn of_labels(features: &Features, n_classes: usize) -> Self {
        let shows = |label: &Option<u32>| {
            let label = *label;
            (0..n_classes as u32).map(move |class| label.map(|label| label == class))
        };
        Self {
            names: (0..n_classes).map(|class| class.to_string()).collect(),
            shows: features.true_labels.iter().flat_map(shows).collect(),
            rows: features.len(),
        }
    }

    /// The classes.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Whether a row's image shows a class; `None` where that is to be ignored.
    pub fn shows(&self, row: usize, class: usize) -> Option<bool> {
        self.shows[row * self.names.len() + class]
    }

    /// The same truth with the classes `names`, in their order; nothing is known of a class that is not here.
    pub fn in_terms_of(&self, names: &[String]) -> Self {
        let here: Vec<Option<usize>> =
            names.iter().map(|name| self.names.iter().position(|known| known == name)).collect();
        let row = |row: usize| here.iter().map(move |class| self.shows(row, (*class)?));
        Self { names: names.to_vec(), shows: (0..self.rows).flat_map(row).collect(), rows: self.rows }
    }

    /// The rows at these positions.
    pub fn select(&self, rows: &[usize]) -> Self {
        let shows = rows.iter().flat_map(|&row| self.row(row).iter().copied()).collect();
        Self { names: self.names.clone(), shows, rows: rows.len() }
    }

    /// Whether every image of which anything is known shows exactly one class, none being to be ignored.
    pub fn is_single_label(&self) -> bool {
        self.single().is_some()
    }

    /// The class of each row where every row that is known shows exactly one and none is to be ignored; `None` where
    /// images show several classes, or none.
    pub(crate) fn single(&self) -> Option<Vec<Option<usize>>> {
        let class = |row: usize| {
            let row = self.row(row);
            let mut shown = row.iter().enumerate().filter(|(_, shows)| **shows == Some(true));
            match (shown.next(), shown.next()) {
                (Some((class, _)), None) if row.iter().all(Option::is_some) => Some(Some(class)),
                (None, _) if row.iter().all(Option::is_none) => Some(None),
                _ => None,
            }
        };
        (0..self.rows).map(class).collect()
    }

    /// Rows of which anything is known.
    pub(crate) fn n_known(&self) -> usize {
        (0..self.rows).filter(|&row| self.row(row).iter().any(Option::is_some)).count()
    }

    /// What is known of every row concerning a class.
    pub(crate) fn column(&self, class: usize) -> Vec<Option<bool>> {
        (0..self.rows).map(|row| self.shows(row, class)).collect()
    }

    fn row(&self, row: usize) -> &[Option<bool>] {
        &self.shows[row * self.names.len()..(row + 1) * self.names.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(names: &[&str], shows: &[i32]) -> TrueClasses {
        let entry = |shows: &i32| (*shows != 0).then_some(*shows > 0);
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        TrueClasses::new(names, shows.iter().map(entry).collect()).expect("whole rows")
    }

    #[test]
    fn one_class_for_each_image_is_told_from_several() {
        let single = truth(&["a", "b"], &[1, -1, -1, 1, 0, 0]);
        assert_eq!(single.single(), Some(vec![Some(0), Some(1), None]));
        assert_eq!(single.n_known(), 2);
        assert_eq!(truth(&["a", "b"], &[1, 1]).single(), None);
        assert_eq!(truth(&["a", "b"], &[1, 0]).single(), None);
        assert_eq!(truth(&["a", "b"], &[-1, -1]).single(), None);
    }

    #[test]
    fn classes_are_matched_by_name() {
        let known = truth(&["a", "b"], &[1, -1]);
        let other = known.in_terms_of(&["b".to_owned(), "c".to_owned(), "a".to_owned()]);
        assert_eq!(other, truth(&["b", "c", "a"], &[-1, 0, 1]));
        assert!(TrueClasses::new(vec!["a".to_owned(), "b".to_owned()], vec![None; 3]).is_err());
    }
}
