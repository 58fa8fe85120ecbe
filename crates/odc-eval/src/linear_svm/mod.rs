//! Linear SVMs on frozen features, one for each class: the protocol of published VOC07 numbers.

mod folds;
mod low_shot;
mod newton;
mod rows;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::folds::stratified_folds;
use self::newton::{Hyperplane, Newton};
use self::rows::UnitRows;
use crate::{AveragePrecision, EvalError, Features, MeanAndDeviation, TrueClasses};

pub use self::low_shot::{LowShotReport, LowShotResult};

/// One linear SVM with squared hinge loss for each class against all others, on L2-normalised features.
///
/// What is minimised is liblinear's primal objective, ½‖w‖² + C Σ s max(0, 1 − y (w·x + b))², the bias being part of w
/// (`intercept_scaling` 1); s is `positive_weight` where the image shows the class, 1 where it does not. Images that are
/// to be ignored for a class take no part in its SVM. The cost C of each class is the one with the best mean average
/// precision (area) over folds, the lowest of equals; the SVM is then that of all images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearSvm {
    /// Costs to choose from.
    pub costs: Vec<f64>,
    /// How many times an image that shows the class counts.
    pub positive_weight: f64,
    /// Parts of the cross-validation.
    pub folds: usize,
    /// Ways of cutting the folds: the first by the order of images, as scikit-learn does, others at random. Each gives a
    /// result.
    pub seeds: usize,
    /// How the test images' scores become a number.
    pub average_precision: AveragePrecision,
}

impl Default for LinearSvm {
    /// The settings of the published numbers (Goyal et al., ICCV 2019): costs 10⁻⁷, 10⁻⁶, …, 10² and 2⁻⁴, 2⁻⁵, …, 2⁻¹⁹,
    /// images that show the class count twice, 3 folds.
    fn default() -> Self {
        let costs = (-7..=2).map(|power| 10_f64.powi(power)).chain((4..20).map(|power| 0.5_f64.powi(power)));
        Self {
            costs: costs.collect(),
            positive_weight: 2.0,
            folds: 3,
            seeds: 1,
            average_precision: AveragePrecision::Area,
        }
    }
}

/// Features of images, and what is known of them.
#[derive(Clone, Copy, Debug)]
pub struct Labelled<'a> {
    /// One row an image.
    pub features: &'a Features,
    /// The true classes of each row.
    pub classes: &'a TrueClasses,
}

/// What [`LinearSvm`] found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SvmReport {
    /// Training images of which something is known.
    pub train_images: usize,
    /// Test images of which something is known.
    pub test_images: usize,
    /// Length of a feature.
    pub dim: usize,
    /// Percent: mean over the classes that can be judged, for each way of cutting the folds.
    pub mean_average_precision: MeanAndDeviation,
    /// Percent of test images whose class has the largest score; only where every image shows exactly one class.
    pub accuracy: Option<MeanAndDeviation>,
    /// In the order of the training images' classes, with the first way of cutting the folds.
    pub classes: Vec<SvmClass>,
}

/// The SVM of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SvmClass {
    /// The class.
    pub name: String,
    /// Training images that show it.
    pub positives: usize,
    /// Training images that do not.
    pub negatives: usize,
    /// Test images that show it.
    pub test_positives: usize,
    /// `None` where no or every training image shows the class: there is no SVM.
    pub svm: Option<SvmFit>,
    /// Percent, on the test images; `None` where there is no SVM or none of them shows the class.
    pub average_precision: Option<f64>,
}

/// The chosen cost and what it led to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SvmFit {
    /// The cost.
    pub cost: f64,
    /// Percent: mean over the folds.
    pub validated_average_precision: f64,
    /// What was minimised, over all training images.
    pub objective: f64,
    /// The minimum is at most this far below.
    pub gap: f64,
    /// False where the search ended before the gap was small enough.
    pub converged: bool,
}

/// A gap of at most this share of the objective ends a search.
const TOLERANCE: f64 = 1e-6;
const ITERATIONS: usize = 100;
/// SVMs that are searched for together.
const TOGETHER: usize = 64;

/// The best cost so far, and its SVM of all images.
#[derive(Clone)]
struct Chosen {
    fit: SvmFit,
    weights: Vec<f64>,
}

impl LinearSvm {
    /// Trains on `train`, scores on `test`; classes are matched by name. `progress` hears of SVMs done and in all.
    ///
    /// # Errors
    /// Where there are no images, sizes do not fit, a feature is not finite, a setting is out of bounds, or no class
    /// can be judged.
    pub fn evaluate(
        &self,
        train: Labelled<'_>,
        test: Labelled<'_>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<SvmReport, EvalError> {
        let sides = Sides::new(self, train, test)?;
        let columns: Vec<Vec<Option<bool>>> =
            (0..sides.n_classes()).map(|class| sides.train.classes.column(class)).collect();
        let trainable: Vec<usize> = (0..columns.len()).filter(|&class| has_both(&columns[class])).collect();
        let each = 1 + self.folds * self.seeds;
        let all = trainable.len() * each * self.costs.len();
        let mut done = 0;
        // By class, then by way of cutting the folds.
        let mut chosen: Vec<Option<Vec<Chosen>>> = vec![None; columns.len()];
        progress(0, all);
        for classes in trainable.chunks((TOGETHER / each).max(1)) {
            let shows: Vec<&[Option<bool>]> = classes.iter().map(|&class| columns[class].as_slice()).collect();
            let of_group = self.choose(&sides.train.rows, &shows, &mut |fits| {
                done += fits;
                progress(done, all);
            });
            classes.iter().zip(of_group).for_each(|(&class, best)| chosen[class] = Some(best));
        }
        let of_seed = |seed: usize| -> Vec<Option<&Chosen>> {
            chosen.iter().map(|best| best.as_ref().and_then(|best| best.get(seed))).collect()
        };
        let outcomes: Vec<Outcome> = (0..self.seeds)
            .map(|seed| {
                let weights: Vec<Option<&[f64]>> =
                    of_seed(seed).into_iter().map(|chosen| chosen.map(|chosen| chosen.weights.as_slice())).collect();
                sides.judge(&weights, self.average_precision)
            })
            .collect();
        let maps: Option<Vec<f64>> = outcomes.iter().map(Outcome::mean).collect();
        let maps = maps.ok_or_else(nothing_to_judge)?;
        let accuracies: Option<Vec<f64>> = outcomes.iter().map(|outcome| outcome.accuracy).collect();
        let counts = |column: &[Option<bool>], wanted| column.iter().filter(|shows| **shows == Some(wanted)).count();
        let classes = (0..columns.len()).map(|class| SvmClass {
            name: sides.train.classes.names()[class].clone(),
            positives: counts(&columns[class], true),
            negatives: counts(&columns[class], false),
            test_positives: counts(&sides.test.classes.column(class), true),
            svm: of_seed(0)[class].map(|chosen| chosen.fit.clone()),
            average_precision: outcomes[0].average_precisions[class],
        });
        Ok(SvmReport {
            train_images: sides.train.classes.n_known(),
            test_images: sides.test.classes.n_known(),
            dim: sides.train.rows.width() - 1,
            mean_average_precision: MeanAndDeviation::new(maps),
            accuracy: accuracies.map(MeanAndDeviation::new),
            classes: classes.collect(),
        })
    }

    /// For each class, given by its column, and each way of cutting the folds: the best cost. `progress` hears of SVMs.
    fn choose(
        &self,
        rows: &UnitRows,
        classes: &[&[Option<bool>]],
        progress: &mut dyn FnMut(usize),
    ) -> Vec<Vec<Chosen>> {
        let cut = |shows: &&[Option<bool>]| -> Vec<Vec<Option<usize>>> {
            (0..self.seeds as u64).map(|seed| stratified_folds(shows, self.folds, seed)).collect()
        };
        let folds: Vec<Vec<Vec<Option<usize>>>> = classes.par_iter().map(cut).collect();
        // Of each class: for each way and fold the rows that are not in the fold, then all rows.
        let mut targets: Vec<Vec<f32>> = Vec::new();
        for (shows, folds) in classes.iter().zip(&folds) {
            let whole = self.targets(shows.iter().copied());
            for (folds, fold) in folds.iter().flat_map(|folds| (0..self.folds).map(move |fold| (folds, fold))) {
                let without = whole.iter().zip(folds).map(|(&target, of)| if *of == Some(fold) { 0.0 } else { target });
                targets.push(without.collect());
            }
            targets.push(whole);
        }
        let views: Vec<&[f32]> = targets.iter().map(Vec::as_slice).collect();
        let each = 1 + self.folds * self.seeds;
        let mut planes = vec![Hyperplane::zero(rows); targets.len()];
        let mut best: Vec<Vec<Option<Chosen>>> = vec![vec![None; self.seeds]; classes.len()];
        for cost in self.ascending_costs() {
            newton().minimize(rows, &views, cost, &mut planes);
            best.par_iter_mut().enumerate().for_each(|(class, best)| {
                let planes = &planes[class * each..(class + 1) * each];
                let whole = &planes[each - 1];
                for (seed, best) in best.iter_mut().enumerate() {
                    let of_folds = &planes[seed * self.folds..(seed + 1) * self.folds];
                    let validated = 100.0 * validated_precision(of_folds, classes[class], &folds[class][seed]);
                    if best.as_ref().is_none_or(|best| validated > best.fit.validated_average_precision) {
                        let (objective, gap, converged) = (whole.objective, whole.gap, whole.converged);
                        let fit = SvmFit { cost, validated_average_precision: validated, objective, gap, converged };
                        *best = Some(Chosen { fit, weights: whole.weights.clone() });
                    }
                }
            });
            progress(planes.len());
        }
        best.into_iter().map(|of_class| of_class.into_iter().flatten().collect()).collect()
    }

    /// The side of each row, times its weight; 0 for rows that take no part.
    fn targets(&self, shows: impl Iterator<Item = Option<bool>>) -> Vec<f32> {
        let target = |shows: Option<bool>| match shows {
            Some(true) => self.positive_weight as f32,
            Some(false) => -1.0,
            None => 0.0,
        };
        shows.map(target).collect()
    }

    /// Each search begins where that of the next lower cost ended.
    fn ascending_costs(&self) -> Vec<f64> {
        let mut costs = self.costs.clone();
        costs.sort_by(f64::total_cmp);
        costs.dedup();
        costs
    }

    fn check(&self) -> Result<(), EvalError> {
        if self.costs.is_empty() {
            return Err(EvalError::setting("costs", "[]", "at least one number"));
        }
        if let Some(cost) = self.costs.iter().find(|cost| !(cost.is_finite() && **cost > 0.0)) {
            return Err(EvalError::setting("costs", cost, "above 0"));
        }
        if !(self.positive_weight.is_finite() && self.positive_weight > 0.0) {
            return Err(EvalError::setting("positive_weight", self.positive_weight, "above 0"));
        }
        for (name, value, least, bound) in
            [("folds", self.folds, 2, "at least 2"), ("seeds", self.seeds, 1, "at least 1")]
        {
            if value < least {
                return Err(EvalError::setting(name, value, bound));
            }
        }
        Ok(())
    }
}

/// One side of an evaluation, checked.
struct Side {
    rows: UnitRows,
    classes: TrueClasses,
}

/// Both sides; the test side's classes are in terms of the training side's.
struct Sides {
    train: Side,
    test: Side,
}

/// What scores of test images are worth.
struct Outcome {
    /// Percent, by class.
    average_precisions: Vec<Option<f64>>,
    accuracy: Option<f64>,
}

impl Sides {
    fn new(svm: &LinearSvm, train: Labelled<'_>, test: Labelled<'_>) -> Result<Self, EvalError> {
        svm.check()?;
        for (side, what) in [(train, "true classes of training features"), (test, "true classes of test features")] {
            if side.classes.len() != side.features.len() {
                return Err(EvalError::Size { what, got: side.classes.len(), expected: side.features.len() });
            }
        }
        if train.features.dim != test.features.dim {
            let what = "width of the test features (that of the training features is needed)";
            return Err(EvalError::Size { what, got: test.features.dim, expected: train.features.dim });
        }
        Ok(Self {
            train: Side { rows: UnitRows::new(train.features, "training features")?, classes: train.classes.clone() },
            test: Side {
                rows: UnitRows::new(test.features, "test features")?,
                classes: test.classes.in_terms_of(train.classes.names()),
            },
        })
    }

    fn n_classes(&self) -> usize {
        self.train.classes.names().len()
    }

    /// How well SVMs, given by class, tell the test images apart.
    fn judge(&self, weights: &[Option<&[f64]>], way: AveragePrecision) -> Outcome {
        let mut scores: Vec<Option<Vec<f32>>> = vec![None; weights.len()];
        let trained: Vec<usize> = (0..weights.len()).filter(|&class| weights[class].is_some()).collect();
        for classes in trained.chunks(TOGETHER) {
            let of_group: Vec<&[f64]> = classes.iter().filter_map(|&class| weights[class]).collect();
            let found = self.test.rows.times(&of_group);
            classes.iter().zip(found).for_each(|(&class, found)| scores[class] = Some(found));
        }
        let average_precision = |class: usize| {
            let (scores, shows) = (scores[class].as_ref()?, self.test.classes.column(class));
            let known = scores.iter().zip(shows).filter_map(|(&score, shows)| Some((score, shows?)));
            let (scores, shows): (Vec<f32>, Vec<bool>) = known.unzip();
            Some(100.0 * way.of(&scores, &shows)?)
        };
        Outcome {
            average_precisions: (0..weights.len()).into_par_iter().map(average_precision).collect(),
            accuracy: self.accuracy(&scores),
        }
    }

    /// Percent of test images whose class has the largest score, the lowest class of equals.
    fn accuracy(&self, scores: &[Option<Vec<f32>>]) -> Option<f64> {
        self.train.classes.single()?;
        // A test image of a class that is unknown here is always wrong: it shows none of those that are known.
        let shown = |row: usize| (0..scores.len()).find(|&class| self.test.classes.shows(row, class) == Some(true));
        let known = |row: &usize| (0..scores.len()).any(|class| self.test.classes.shows(*row, class).is_some());
        let score = |row: usize, class: usize| scores[class].as_ref().map_or(f32::NEG_INFINITY, |scores| scores[row]);
        let predicted = |row: usize| {
            (0..scores.len()).reduce(|best, class| if score(row, class) > score(row, best) { class } else { best })
        };
        let rows: Vec<usize> = (0..self.test.classes.len()).filter(known).collect();
        let right = rows.iter().filter(|&&row| shown(row).is_some() && shown(row) == predicted(row)).count();
        Some(100.0 * right as f64 / rows.len() as f64)
    }
}

impl Outcome {
    /// Mean over the classes that have an average precision.
    fn mean(&self) -> Option<f64> {
        let known: Vec<f64> = self.average_precisions.iter().flatten().copied().collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }
}

/// Mean over the folds of the average precision among the rows that a fold's SVM has not seen.
fn validated_precision(planes: &[Hyperplane], shows: &[Option<bool>], folds: &[Option<usize>]) -> f64 {
    let of_fold = |(fold, plane): (usize, &Hyperplane)| {
        let held_out = plane.scores.iter().zip(shows).zip(folds).filter(|(_, of)| **of == Some(fold));
        let (scores, shows): (Vec<f32>, Vec<bool>) =
            held_out.map(|((&score, shows), _)| (score, *shows == Some(true))).unzip();
        // A fold without a row that shows the class, of a class with fewer than there are folds, says nothing.
        AveragePrecision::Area.of(&scores, &shows)
    };
    let found: Vec<f64> = planes.iter().enumerate().filter_map(of_fold).collect();
    found.iter().sum::<f64>() / found.len() as f64
}

fn newton() -> Newton {
    Newton { tolerance: TOLERANCE, iterations: ITERATIONS }
}

fn has_both(shows: &[Option<bool>]) -> bool {
    shows.contains(&Some(true)) && shows.contains(&Some(false))
}

fn nothing_to_judge() -> EvalError {
    let reason = "no class is shown by some training images and not by others, and by a test image: give images of at \
                  least two classes, the same ones to learn from and to test on";
    EvalError::Empty { what: "linear SVM", reason: reason.to_owned() }
}
