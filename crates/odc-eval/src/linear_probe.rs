//! The linear probe of published numbers: a linear layer trained by SGD on pooled features.

use odc_data::Sampling;
use serde::{Deserialize, Serialize};

use crate::softmax_regression::SoftmaxRegression;
use crate::task::Task;
use crate::{EvalError, Features};

/// A linear layer on frozen features after the global average pool.
///
/// Features are used as they are: no normalisation, so that the learning rate means what it does in published runs.
/// They are computed once, from the plain view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearProbe {
    /// Step length at the start.
    pub learning_rate: f32,
    /// Share of the last step that is kept (not Nesterov's).
    pub momentum: f32,
    /// L2 penalty on weights and bias, as PyTorch's SGD applies it.
    pub weight_decay: f32,
    /// Passes over the training images.
    pub epochs: usize,
    /// Epochs at which the learning rate is multiplied by `gamma`.
    pub milestones: Vec<usize>,
    /// See `milestones`.
    pub gamma: f32,
    /// Images a step; the last step of an epoch has what is left.
    pub batch_size: usize,
    /// Decides the order of images and the weights at the start.
    pub seed: u64,
}

impl Default for LinearProbe {
    fn default() -> Self {
        Self {
            learning_rate: 30.0,
            momentum: 0.9,
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

impl LinearProbe {
    /// Trains on `train`, scores on `test`. The same bits for any number of threads.
    ///
    /// # Errors
    /// Where nothing is labelled, widths differ, a feature is not finite, a setting is out of bounds, or training
    /// diverges.
    pub fn evaluate(&self, train: &Features, test: &Features) -> Result<LinearReport, EvalError> {
        self.check()?;
        let task = Task::new(train, test)?;
        let whole = SoftmaxRegression {
            rows: &task.train.values,
            classes: &task.train.classes,
            dim: task.dim,
            n_classes: task.n_classes,
        };
        let (parameters, train_loss) = self.train(&whole)?;
        let right = whole.predict(&parameters).iter().zip(whole.classes).filter(|(a, b)| a == b).count();
        let asked = SoftmaxRegression { rows: &task.test.values, ..whole };
        Ok(LinearReport {
            train_images: task.train.len(),
            test_images: task.test.len(),
            classes: task.n_classes,
            dim: task.dim,
            top1: task.test_accuracy(&asked.predict(&parameters)),
            train_top1: 100.0 * right as f64 / task.train.len() as f64,
            train_loss,
        })
    }

    /// Weights and bias after the last epoch, and that epoch's loss.
    fn train(&self, whole: &SoftmaxRegression<'_>) -> Result<(Vec<f32>, f64), EvalError> {
        let mut parameters = self.start(whole);
        let mut velocity = vec![0.0_f32; parameters.len()];
        let mut gradient = vec![0.0_f64; parameters.len()];
        let n = whole.classes.len();
        let mut loss = 0.0;
        for epoch in 0..self.epochs {
            let learning_rate = self.learning_rate_at(epoch);
            loss = 0.0;
            for batch in Sampling::Permutation.epoch(self.seed, epoch as u64, n).chunks(self.batch_size) {
                let mut rows = Vec::with_capacity(batch.len() * whole.dim);
                batch.iter().for_each(|&row| rows.extend_from_slice(whole.row(row as usize)));
                let classes: Vec<u32> = batch.iter().map(|&row| whole.classes[row as usize]).collect();
                let step = SoftmaxRegression { rows: &rows, classes: &classes, ..*whole };
                loss += step.loss_and_gradient(&parameters, &mut gradient) * batch.len() as f64 / n as f64;
                for ((p, v), g) in parameters.iter_mut().zip(&mut velocity).zip(&gradient) {
                    *v = self.momentum * *v + (*g as f32 + self.weight_decay * *p);
                    *p -= learning_rate * *v;
                }
            }
            tracing::debug!(epoch, learning_rate, loss, "linear probe");
            if !loss.is_finite() {
                return Err(EvalError::Diverged { epoch, loss, learning_rate });
            }
        }
        Ok((parameters, loss))
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

#[cfg(test)]
mod tests {
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
        let (end, _) = probe.train(&whole).expect("no divergence");
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
}
