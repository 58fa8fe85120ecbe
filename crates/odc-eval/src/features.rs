//! Features of images with what belongs to each row: index, name, true label.

use std::collections::HashMap;

use odc_data::Skipped;

use crate::EvalError;

/// Parts of [`Features::split_fifth`].
pub const FIFTHS: usize = 5;

/// Features of images, one row an image. All per-row vectors have the same length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features {
    /// `[len, dim]`, row after row, as the network gives them (not normalised).
    pub values: Vec<f32>,
    /// Length of a row.
    pub dim: usize,
    /// Index of each row's image in the data set that was read.
    pub indices: Vec<u32>,
    /// True label of each row, where there is one.
    pub true_labels: Vec<Option<u32>>,
    /// Name of each row's image: its path, or what else the data set calls it.
    pub names: Vec<String>,
    /// Images that could not be decoded; they have no row.
    pub skipped: Vec<Skipped>,
}

impl Features {
    /// Features that come from elsewhere: rows are numbered, and named by their number.
    ///
    /// # Errors
    /// Where `values` is not `true_labels.len()` rows of `dim`.
    pub fn from_rows(values: Vec<f32>, dim: usize, true_labels: Vec<Option<u32>>) -> Result<Self, EvalError> {
        let n = true_labels.len();
        if values.len() != n * dim {
            return Err(EvalError::Size { what: "feature values", got: values.len(), expected: n * dim });
        }
        let names = (0..n).map(|row| format!("#{row}")).collect();
        Ok(Self { values, dim, indices: (0..n as u32).collect(), true_labels, names, skipped: Vec::new() })
    }

    /// How many images have a row.
    pub fn len(&self) -> usize {
        self.true_labels.len()
    }

    /// Whether no image has a row.
    pub fn is_empty(&self) -> bool {
        self.true_labels.is_empty()
    }

    /// The feature of a row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dim..(row + 1) * self.dim]
    }

    /// Rows for reference and rows that ask: those whose position `asks` go into the second part. The order stays.
    pub fn split(&self, asks: impl Fn(usize) -> bool) -> (Self, Self) {
        let (queries, reference): (Vec<usize>, Vec<usize>) = (0..self.len()).partition(|&position| asks(position));
        (self.select(&reference), self.select(&queries))
    }

    /// Four fifths for reference, and the `fold`-th fifth (0 to 4) that asks. Each class is cut into fifths for itself:
    /// every fifth row of all would be of one class in a set whose classes take turns, and a drawn fifth would leave
    /// the fewest references to the class that asks most.
    pub fn split_fifth(&self, fold: usize) -> (Self, Self) {
        let folds = fifths(&self.true_labels);
        self.split(|position| folds[position] == fold)
    }

    /// The rows at these positions. What was skipped is not part of a selection.
    pub fn select(&self, rows: &[usize]) -> Self {
        let mut values = Vec::with_capacity(rows.len() * self.dim);
        rows.iter().for_each(|&row| values.extend_from_slice(self.row(row)));
        Self {
            values,
            dim: self.dim,
            indices: rows.iter().map(|&row| self.indices[row]).collect(),
            true_labels: rows.iter().map(|&row| self.true_labels[row]).collect(),
            names: rows.iter().map(|&row| self.names[row].clone()).collect(),
            skipped: Vec::new(),
        }
    }
}

/// The fifth, 0 to 4, that each position belongs to; see [`Features::split_fifth`].
pub fn fifths(true_labels: &[Option<u32>]) -> Vec<usize> {
    let mut seen: HashMap<Option<u32>, usize> = HashMap::new();
    let fold = |&label: &Option<u32>| {
        let of_class = seen.entry(label).or_default();
        *of_class += 1;
        // Classes begin at different fifths, so that small ones do not all come to the first.
        (*of_class + label.unwrap_or(0) as usize) % FIFTHS
    };
    true_labels.iter().map(fold).collect()
}
