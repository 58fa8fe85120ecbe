//! Linear SVMs from a few images of each class, drawn several times.

use odc_ops::random;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::newton::Hyperplane;
use super::{Labelled, LinearSvm, Outcome, Side, Sides, TOGETHER, has_both, newton, nothing_to_judge};
use crate::{EvalError, MeanAndDeviation};

/// What [`LinearSvm::low_shot`] found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LowShotReport {
    /// Draws of each number of images.
    pub draws: usize,
    /// Whether every training image shows exactly one class, which decides how is drawn.
    pub single_label: bool,
    /// In the order in which the numbers were given.
    pub results: Vec<LowShotResult>,
}

/// The result with one number of images a class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LowShotResult {
    /// Images that show a class, for each class.
    pub shots: usize,
    /// The cost whose mean over draws and classes is best on the test images.
    pub cost: f64,
    /// Percent, over the draws.
    pub mean_average_precision: MeanAndDeviation,
    /// Percent of test images whose class has the largest score, over the draws; only where every image shows one class.
    pub accuracy: Option<MeanAndDeviation>,
}

impl LinearSvm {
    /// The SVMs of few images: for each number n of `shots`, `draws` times.
    ///
    /// Where every image shows one class, n images of each class are drawn, and every SVM learns from all of them.
    /// Elsewhere each class has a draw of its own: n images that show it and n·(classes − 1) that do not (or all there
    /// are). There is too little for cross-validation: one cost for all classes and draws is chosen on the test images,
    /// as in the published numbers, so read them as an upper end. `progress` hears of draws done and in all.
    ///
    /// # Errors
    /// As [`LinearSvm::evaluate`], and where a class is shown by fewer images than are to be drawn.
    pub fn low_shot(
        &self,
        shots: &[usize],
        draws: usize,
        train: Labelled<'_>,
        test: Labelled<'_>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<LowShotReport, EvalError> {
        if shots.is_empty() || shots.contains(&0) {
            return Err(EvalError::setting("low_shot", format!("{shots:?}"), "numbers of at least 1"));
        }
        if draws == 0 {
            return Err(EvalError::setting("draws", draws, "at least 1"));
        }
        let sides = Sides::new(self, train, test)?;
        let pools = Pools::new(&sides.train);
        pools.check(&sides.train, shots)?;
        let costs = self.ascending_costs();
        let mut results = Vec::with_capacity(shots.len());
        progress(0, shots.len() * draws);
        for (number, &shots_now) in shots.iter().enumerate() {
            // By draw, then by cost.
            let outcomes: Vec<Vec<Outcome>> = (0..draws)
                .into_par_iter()
                .map(|draw| self.outcomes(&sides, &pools.draw(shots_now, draw), &costs))
                .collect();
            results.push(result(shots_now, &costs, &outcomes).ok_or_else(nothing_to_judge)?);
            progress((number + 1) * draws, shots.len() * draws);
        }
        Ok(LowShotReport { draws, single_label: pools.single_label, results })
    }

    /// What the SVMs of drawn rows are worth with each cost. `drawn` holds the rows of each class's SVM, none where
    /// there is no such SVM.
    fn outcomes(&self, sides: &Sides, drawn: &[Vec<usize>], costs: &[f64]) -> Vec<Outcome> {
        let mut together: Vec<usize> = drawn.iter().flatten().copied().collect();
        together.sort_unstable();
        together.dedup();
        let rows = sides.train.rows.select(&together);
        let trained: Vec<usize> = (0..drawn.len()).filter(|&class| !drawn[class].is_empty()).collect();
        let targets = |class: &usize| {
            let mine = |row: &usize| drawn[*class].binary_search(row).is_ok();
            let shows = |row: &usize| if mine(row) { sides.train.classes.shows(*row, *class) } else { None };
            self.targets(together.iter().map(shows))
        };
        let targets: Vec<Vec<f32>> = trained.iter().map(targets).collect();
        let targets: Vec<&[f32]> = targets.iter().map(Vec::as_slice).collect();
        let mut planes = vec![Hyperplane::zero(&rows); trained.len()];
        let outcome = |cost: &f64| {
            for (planes, targets) in planes.chunks_mut(TOGETHER).zip(targets.chunks(TOGETHER)) {
                newton().minimize(&rows, targets, *cost, planes);
            }
            let mut weights: Vec<Option<&[f64]>> = vec![None; drawn.len()];
            trained.iter().zip(&planes).for_each(|(&class, plane)| weights[class] = Some(&plane.weights));
            sides.judge(&weights, self.average_precision)
        };
        costs.iter().map(outcome).collect()
    }
}

/// The rows that can be drawn.
struct Pools {
    single_label: bool,
    /// By class: rows that show it, and rows that do not. Both empty where there is no SVM of the class.
    of_classes: Vec<(Vec<usize>, Vec<usize>)>,
}

impl Pools {
    fn new(train: &Side) -> Self {
        let pool = |class: usize| {
            let column = train.classes.column(class);
            let rows = |wanted| (0..column.len()).filter(|&row| column[row] == Some(wanted)).collect::<Vec<_>>();
            if has_both(&column) { (rows(true), rows(false)) } else { Default::default() }
        };
        let of_classes = (0..train.classes.names().len()).map(pool).collect();
        Self { single_label: train.classes.single().is_some(), of_classes }
    }

    fn check(&self, train: &Side, shots: &[usize]) -> Result<(), EvalError> {
        let rarest = self.of_classes.iter().map(|(positives, _)| positives.len()).enumerate().filter(|(_, n)| *n > 0);
        let most = shots.iter().copied().max().unwrap_or(0);
        match rarest.min_by_key(|(_, n)| *n) {
            Some((class, n)) if n < most => {
                let name = &train.classes.names()[class];
                let reason =
                    format!("{most} images of each class are to be drawn, and {name:?} has {n}; ask for at most {n}");
                Err(EvalError::Empty { what: "low-shot", reason })
            }
            Some(_) => Ok(()),
            None => Err(nothing_to_judge()),
        }
    }

    /// The rows that each class's SVM learns from, ascending.
    fn draw(&self, shots: usize, draw: usize) -> Vec<Vec<usize>> {
        let positives: Vec<Vec<usize>> = (self.of_classes.iter().enumerate())
            .map(|(class, (positives, _))| draw_from(positives, shots, "low-shot positives", shots, class, draw))
            .collect();
        let trained = |class: usize| !self.of_classes[class].0.is_empty();
        let mut drawn: Vec<Vec<usize>> = if self.single_label {
            let all: Vec<usize> = positives.iter().flatten().copied().collect();
            (0..positives.len()).map(|class| if trained(class) { all.clone() } else { Vec::new() }).collect()
        } else {
            let others = (0..positives.len()).filter(|&class| trained(class)).count().max(2) - 1;
            let mut drawn = positives;
            for (class, (_, negatives)) in self.of_classes.iter().enumerate() {
                drawn[class].extend(draw_from(negatives, shots * others, "low-shot negatives", shots, class, draw));
            }
            drawn
        };
        drawn.iter_mut().for_each(|rows| rows.sort_unstable());
        drawn
    }
}

/// The cost whose mean over the draws is best, the lowest of equals.
fn result(shots: usize, costs: &[f64], outcomes: &[Vec<Outcome>]) -> Option<LowShotResult> {
    let with_cost =
        |place: usize| -> Option<Vec<f64>> { outcomes.iter().map(|of_draw| of_draw[place].mean()).collect() };
    let mut of_costs: Vec<Vec<f64>> = (0..costs.len()).map(with_cost).collect::<Option<_>>()?;
    let mean = |place: usize| of_costs[place].iter().sum::<f64>();
    let best = (0..costs.len()).reduce(|best, place| if mean(place) > mean(best) { place } else { best })?;
    let accuracies: Option<Vec<f64>> = outcomes.iter().map(|of_draw| of_draw[best].accuracy).collect();
    Some(LowShotResult {
        shots,
        cost: costs[best],
        mean_average_precision: MeanAndDeviation::new(of_costs.swap_remove(best)),
        accuracy: accuracies.map(MeanAndDeviation::new),
    })
}

/// `count` of the rows (all where there are fewer): those with the lowest random numbers of a stream for this draw.
fn draw_from(rows: &[usize], count: usize, stream: &str, shots: usize, class: usize, draw: usize) -> Vec<usize> {
    let key = random::key(random::key(draw as u64, stream, shots as u64), stream, class as u64);
    let mut ranked: Vec<(u64, usize)> = rows.iter().map(|&row| (random::bits(key, row as u64), row)).collect();
    ranked.sort_unstable();
    ranked.into_iter().take(count).map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear_svm::rows::UnitRows;
    use crate::{Features, TrueClasses};

    fn side(names: &[&str], shows: Vec<Option<bool>>) -> Side {
        let classes = TrueClasses::new(names.iter().map(|name| (*name).to_owned()).collect(), shows).expect("rows");
        let features = Features::from_rows(vec![1.0; classes.len()], 1, vec![None; classes.len()]).expect("rows");
        Side { rows: UnitRows::new(&features, "rows").expect("fits"), classes }
    }

    #[test]
    fn of_single_labels_every_svm_learns_from_the_same_images() {
        let shows = (0..30).flat_map(|row| (0..3).map(move |class| Some(row % 3 == class)));
        let side = side(&["a", "b", "c"], shows.collect());
        let pools = Pools::new(&side);
        assert!(pools.single_label);
        let drawn = pools.draw(4, 0);
        assert!(drawn.iter().all(|rows| *rows == drawn[0] && rows.len() == 12 && rows.is_sorted()));
        for class in 0..3 {
            assert_eq!(drawn[0].iter().filter(|row| **row % 3 == class).count(), 4);
        }
        assert_eq!(pools.draw(4, 0), drawn);
        assert_ne!(pools.draw(4, 1), drawn);
        assert!(pools.check(&side, &[2, 10]).is_ok());
        let error = pools.check(&side, &[2, 11]).expect_err("too many").to_string();
        assert_eq!(error, "low-shot: 11 images of each class are to be drawn, and \"a\" has 10; ask for at most 10");
    }

    #[test]
    fn of_several_labels_every_class_draws_for_itself_and_never_what_is_ignored() {
        // Row r shows a where r % 2 = 0, b where r % 3 = 0, c where r % 5 = 0; each is open in one row of seven.
        let entry = |row: usize, class: usize| {
            if (row + class).is_multiple_of(7) { None } else { Some(row.is_multiple_of([2, 3, 5][class])) }
        };
        let side = side(&["a", "b", "c"], (0..60).flat_map(|row| (0..3).map(move |class| entry(row, class))).collect());
        let pools = Pools::new(&side);
        assert!(!pools.single_label);
        for (class, rows) in pools.draw(3, 2).iter().enumerate() {
            let shown = rows.iter().filter(|row| entry(**row, class) == Some(true)).count();
            let not = rows.iter().filter(|row| entry(**row, class) == Some(false)).count();
            assert_eq!((shown, not, rows.len()), (3, 6, 9));
        }
    }
}
