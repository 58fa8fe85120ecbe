//! The linear probes of published numbers: a linear layer trained by SGD on frozen features.

use odc_data::Sampling;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::row_norm::RowNorm;
use crate::softmax_regression::SoftmaxRegression;
use crate::task::{Rows, Task};
use crate::{EvalError, Features};

/// A linear layer on frozen features. The default is the protocol for features after the global average pool, which are used
/// as they are, so that the learning rate means what it does in published runs; [`LinearProbe::per_stage`] is that for the
/// maps of stages.
///
/// Features are computed once, where published runs draw a new random view of every image in every epoch: from the plain
/// view, or from several random views that take turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearProbe {
    /// Step length at the start.
    pub learning_rate: f32,
    /// Share of the last velocity that is kept.
    pub momentum: f32,
    /// Whether a step looks ahead along the velocity, as Nesterov's does.
    pub nesterov: bool,
    /// Whether batch norm without parameters stands before the layer.
    pub batch_norm: bool,
    /// L2 penalty on weights and bias, as PyTorch's SGD applies it.
    pub weight_decay: f32,
    /// Passes over the training images.
    pub epochs: usize,
    /// Epochs at which the learning rate is multiplied by `gamma`.
    pub milestones: Vec<usize>,
    /// See `milestones`.
    pub gamma: f32,
    /// Images a step; the last step of an epoch has what is left (with batch norm two at least).
    pub batch_size: usize,
    /// Decides the order of images and the weights at the start.
    pub seed: u64,
}

impl Default for LinearProbe {
    fn default() -> Self {
        Self {
            learning_rate: 30.0,
            momentum: 0.9,
            nesterov: false,
            batch_norm: false,
            weight_decay: 0.0,
            epochs: 100,
            milestones: vec![60, 80],
            gamma: 0.1,
            batch_size: 256,
            seed: 0,
        }
    }
}

/// What [`LinearProbe`] found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinearReport {
    /// Training images with a true label.
    pub train_images: usize,
    /// Test images with a true label.
    pub test_images: usize,
    /// Classes that occur in training.
    pub classes: usize,
    /// Length of a feature.
    pub dim: usize,
    /// Percent of test images whose class has the largest logit after the last epoch.
    pub top1: f64,
    /// Percent of training images, likewise.
    pub train_top1: f64,
    /// Mean cross-entropy over the batches of the last epoch.
    pub train_loss: f64,
}

/// Deviation of the weights at the start.
const INITIAL_DEVIATION: f32 = 0.01;
/// Rows that are normalised at once when classes are predicted.
const HELD_ROWS: usize = 1024;

/// What is trained: weights and bias, and the batch norm before them if there is one.
struct Classifier {
    /// `[dim, n_classes]`, then the bias.
    parameters: Vec<f32>,
    velocity: Vec<f32>,
    gradient: Vec<f64>,
    norm: Option<RowNorm>,
}

impl LinearProbe {
    /// The protocol for maps of stages, average-pooled to about 9,000 numbers: batch norm without parameters before the
    /// layer, Nesterov's momentum, 90 epochs.
    pub fn per_stage() -> Self {
        Self {
            learning_rate: 0.01,
            nesterov: true,
            batch_norm: true,
            weight_decay: 1e-4,
            epochs: 90,
            milestones: vec![30, 60],
            ..Self::default()
        }
    }

    /// Trains on `train`, scores on `test`. The same bits for any number of threads.
    ///
    /// # Errors
    /// Where nothing is labelled, widths differ, a feature is not finite, a setting is out of bounds, or training
    /// diverges.
    pub fn evaluate(&self, train: &Features, test: &Features) -> Result<LinearReport, EvalError> {
        Ok(self.evaluate_seeds(1, &[train], test)?.swap_remove(0))
    }

    /// As [`LinearProbe::evaluate`] with each of the seeds `seed`, `seed` + 1, …, on views of the same training images that
    /// take turns: epoch e is trained on view e modulo their number. `train_top1` is that of the first view.
    ///
    /// # Errors
    /// As [`LinearProbe::evaluate`]; where there is no view or no seed, or views are not of the same images.
    pub fn evaluate_seeds(
        &self,
        seeds: usize,
        views: &[&Features],
        test: &Features,
    ) -> Result<Vec<LinearReport>, EvalError> {
        self.check()?;
        if seeds == 0 {
            return Err(EvalError::setting("seeds", seeds, "at least 1"));
        }
        let tasks = views.iter().map(|view| Task::new(view, test)).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = tasks.first() else { return Err(EvalError::setting("views", 0, "at least 1")) };
        if let Some(other) = tasks.iter().find(|task| task.train.classes != first.train.classes) {
            let what = "images of a view (all views are of the same images)";
            return Err(EvalError::Size { what, got: other.train.len(), expected: first.train.len() });
        }
        if self.batch_norm && first.train.len() < 2 {
            let reason = "batch norm needs two labelled images; there is one".to_owned();
            return Err(EvalError::Empty { what: "training features", reason });
        }
        let of_seed = |seed: usize| Self { seed: self.seed.wrapping_add(seed as u64), ..self.clone() }.report(&tasks);
        (0..seeds).into_par_iter().map(of_seed).collect()
    }

    fn report(&self, views: &[Task<'_>]) -> Result<LinearReport, EvalError> {
        let whole: Vec<SoftmaxRegression<'_>> = views.iter().map(|task| problem(task, &task.train)).collect();
        let task = &views[0];
        let (classifier, train_loss) = self.train(&whole)?;
        let right = classifier.predict(&whole[0]).iter().zip(whole[0].classes).filter(|(a, b)| a == b).count();
        Ok(LinearReport {
            train_images: task.train.len(),
            test_images: task.test.len(),
            classes: task.n_classes,
            dim: task.dim,
            top1: task.test_accuracy(&classifier.predict(&problem(task, &task.test))),
            train_top1: 100.0 * right as f64 / task.train.len() as f64,
            train_loss,
        })
    }

    /// The classifier after the last epoch, and that epoch's loss.
    fn train(&self, views: &[SoftmaxRegression<'_>]) -> Result<(Classifier, f64), EvalError> {
        let mut classifier = Classifier::new(self.start(&views[0]), self.batch_norm.then_some(views[0].dim));
        let n = views[0].classes.len();
        let mut loss = 0.0;
        for epoch in 0..self.epochs {
            let whole = &views[epoch % views.len()];
            let learning_rate = self.learning_rate_at(epoch);
            loss = 0.0;
            for batch in Sampling::Permutation.epoch(self.seed, epoch as u64, n).chunks(self.batch_size) {
                // A single row has no deviation; another one is left over in the next epoch.
                if self.batch_norm && batch.len() < 2 {
                    continue;
                }
                let mut rows = Vec::with_capacity(batch.len() * whole.dim);
                batch.iter().for_each(|&row| rows.extend_from_slice(whole.row(row as usize)));
                let classes: Vec<u32> = batch.iter().map(|&row| whole.classes[row as usize]).collect();
                let step = SoftmaxRegression { rows: &rows, classes: &classes, ..*whole };
                loss += self.step(&mut classifier, &step, learning_rate) * batch.len() as f64 / n as f64;
            }
            tracing::debug!(epoch, learning_rate, loss, "linear probe");
            if !loss.is_finite() {
                return Err(EvalError::Diverged { epoch, loss, learning_rate });
            }
        }
        Ok((classifier, loss))
    }

    /// One step of PyTorch's SGD: v ← m·v + d with d = g + λ·p; p ← p − lr·v, or p − lr·(d + m·v) after Nesterov.
    fn step(&self, classifier: &mut Classifier, batch: &SoftmaxRegression<'_>, learning_rate: f32) -> f64 {
        let Classifier { parameters, velocity, gradient, norm } = classifier;
        let loss = match norm {
            Some(norm) => {
                let rows = norm.normalise_batch(batch.rows);
                SoftmaxRegression { rows: &rows, ..*batch }.loss_and_gradient(parameters, gradient)
            }
            None => batch.loss_and_gradient(parameters, gradient),
        };
        for ((p, v), g) in parameters.iter_mut().zip(velocity).zip(gradient) {
            let descent = *g as f32 + self.weight_decay * *p;
            *v = self.momentum * *v + descent;
            *p -= learning_rate * if self.nesterov { descent + self.momentum * *v } else { *v };
        }
        loss
    }

    /// Weights from N(0, 0.01²), bias 0.
    fn start(&self, whole: &SoftmaxRegression<'_>) -> Vec<f32> {
        let key = odc_ops::random::key(self.seed, "linear probe", 0);
        let n_weights = (whole.dim * whole.n_classes) as u64;
        let weights = (0..n_weights).map(|index| INITIAL_DEVIATION * odc_ops::random::normal(key, index));
        weights.chain(std::iter::repeat_n(0.0, whole.n_classes)).collect()
    }

    fn learning_rate_at(&self, epoch: usize) -> f32 {
        let passed = self.milestones.iter().filter(|&&milestone| milestone <= epoch).count();
        self.learning_rate * self.gamma.powi(passed as i32)
    }

    fn check(&self) -> Result<(), EvalError> {
        for (name, value) in [("epochs", self.epochs), ("batch_size", self.batch_size)] {
            if value == 0 {
                return Err(EvalError::setting(name, value, "at least 1"));
            }
        }
        if self.batch_norm && self.batch_size < 2 {
            return Err(EvalError::setting("batch_size", self.batch_size, "at least 2 with batch norm"));
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return Err(EvalError::setting("learning_rate", self.learning_rate, "above 0"));
        }
        let settings = [("momentum", self.momentum), ("weight_decay", self.weight_decay), ("gamma", self.gamma)];
        for (name, value) in settings {
            if !(0.0..=1.0).contains(&value) {
                return Err(EvalError::setting(name, value, "from 0 to 1"));
            }
        }
        Ok(())
    }
}

impl Classifier {
    /// `norm_of` is the width of rows that are normalised.
    fn new(parameters: Vec<f32>, norm_of: Option<usize>) -> Self {
        let n = parameters.len();
        Self { parameters, velocity: vec![0.0; n], gradient: vec![0.0; n], norm: norm_of.map(RowNorm::new) }
    }

    fn predict(&self, asked: &SoftmaxRegression<'_>) -> Vec<u32> {
        let Some(norm) = &self.norm else { return asked.predict(&self.parameters) };
        let predict_block = |rows: &[f32]| {
            let rows = norm.normalise(rows);
            SoftmaxRegression { rows: &rows, ..*asked }.predict(&self.parameters)
        };
        asked.rows.chunks(HELD_ROWS * asked.dim).flat_map(predict_block).collect()
    }
}

fn problem<'a>(task: &Task<'_>, rows: &'a Rows<'_>) -> SoftmaxRegression<'a> {
    SoftmaxRegression { rows: &rows.values, classes: &rows.classes, dim: task.dim, n_classes: task.n_classes }
}

#[cfg(test)]
mod tests {
    use odc_testkit::{assert_close, formula};

    use super::*;

    #[test]
    fn the_learning_rate_falls_at_the_milestones() {
        let rates = [0, 59, 60, 79, 80, 99].map(|epoch| LinearProbe::default().learning_rate_at(epoch));
        let expected = [30.0, 30.0, 3.0, 3.0, 0.3, 0.3];
        rates.iter().zip(expected).for_each(|(rate, expected)| assert!((rate - expected).abs() < 1e-5, "{rates:?}"));
    }

    #[test]
    fn steps_are_those_of_sgd_with_momentum() {
        // One image, one batch: the gradient is (softmax − one-hot) x, so two epochs can be followed by hand.
        let probe = LinearProbe { epochs: 2, learning_rate: 0.5, weight_decay: 0.1, ..LinearProbe::default() };
        let whole = SoftmaxRegression { rows: &[2.0], classes: &[1], dim: 1, n_classes: 2 };
        let end = probe.train(&[whole]).expect("no divergence").0.parameters;
        let mut p: Vec<f64> = probe.start(&whole).iter().map(|&value| f64::from(value)).collect();
        let mut v = [0.0; 4];
        for _ in 0..2 {
            let (a, b) = ((2.0 * p[0] + p[2]).exp(), (2.0 * p[1] + p[3]).exp());
            let (d0, d1) = (a / (a + b), b / (a + b) - 1.0);
            for (i, g) in [2.0 * d0, 2.0 * d1, d0, d1].into_iter().enumerate() {
                v[i] = 0.9 * v[i] + g + 0.1 * p[i];
                p[i] -= 0.5 * v[i];
            }
        }
        end.iter().zip(p).for_each(|(end, p)| assert!((f64::from(*end) - p).abs() < 1e-5, "{end} {p}"));
    }
    #[test]
    fn steps_with_batch_norm_and_nesterov_are_those_of_pytorch() {
        // As in tests/make_expected.py: 3 batches of 16, shown twice; the learning rate falls after the first round.
        let (dim, n_classes, batch) = (10, 4, 16);
        let rows: Vec<f32> =
            formula(21, 48 * dim).iter().enumerate().map(|(i, v)| 3.0 * v + (i % dim) as f32).collect();
        let classes: Vec<u32> = (0..48).map(|row| row * 5 % 7 % 4).collect();
        let parameters = formula(22, (dim + 1) * n_classes).iter().map(|value| 0.5 * value).collect();
        let probe = LinearProbe { learning_rate: 0.5, weight_decay: 0.01, ..LinearProbe::per_stage() };
        let mut classifier = Classifier::new(parameters, Some(dim));
        let mut losses = Vec::new();
        for round in 0..2 {
            for (rows, classes) in rows.chunks(batch * dim).zip(classes.chunks(batch)) {
                let batch = SoftmaxRegression { rows, classes, dim, n_classes };
                losses.push(probe.step(&mut classifier, &batch, 0.5 * 0.1_f32.powi(round)) as f32);
            }
        }
        let expected: serde_json::Value =
            serde_json::from_str(include_str!("../tests/expected.json")).expect("expected.json is JSON");
        let numbers = |name: &str| -> Vec<f32> {
            let all = expected["stage_probe"][name].as_array().expect("numbers");
            all.iter().map(|number| number.as_f64().expect("a number") as f32).collect()
        };
        assert_close("losses", &losses, &numbers("losses"), 1e-5);
        assert_close("parameters", &classifier.parameters, &numbers("parameters"), 1e-5);
        let logits_of = classifier.norm.as_ref().expect("batch norm").normalise(&rows[..4 * dim]);
        assert_close("rows by running statistics", &logits_of, &numbers("normalised"), 1e-5);
        let whole = SoftmaxRegression { rows: &rows, classes: &classes, dim, n_classes };
        let predicted: Vec<f32> = classifier.predict(&whole).iter().map(|&class| class as f32).collect();
        assert_close("classes", &predicted, &numbers("classes"), 0.0);
    }
}
