//! The linear probe that depends on no schedule: logistic regression on standardised features, run to convergence.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::lbfgs::{Lbfgs, Minimum};
use crate::softmax_regression::SoftmaxRegression;
use crate::task::{Rows, Task};
use crate::{EvalError, Features};

/// Multinomial logistic regression, all rows at once, by L-BFGS.
///
/// Features are standardised with the training rows' mean and (unbiased) standard deviation. What is minimised is the
/// mean cross-entropy + decay/2 · ‖W‖², W without the bias, for each decay; each starts where the next stronger ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogisticProbe {
    /// Strengths of the penalty; each gives a result.
    pub decays: Vec<f64>,
    /// Most steps for each decay.
    pub iterations: usize,
    /// Converged when no partial derivative exceeds this.
    pub gradient_tolerance: f64,
}

impl Default for LogisticProbe {
    fn default() -> Self {
        Self { decays: vec![1e-1, 1e-2, 1e-3, 1e-4], iterations: 500, gradient_tolerance: 1e-5 }
    }
}

/// What [`LogisticProbe`] found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogisticReport {
    /// Training images with a true label.
    pub train_images: usize,
    /// Test images with a true label.
    pub test_images: usize,
    /// Classes that occur in training.
    pub classes: usize,
    /// Length of a feature.
    pub dim: usize,
    /// Best top-1 of all decays, percent. Chosen on the test images, as is usual for this number.
    pub best: f64,
    /// From the strongest decay to the weakest.
    pub results: Vec<LogisticResult>,
}

/// The result with one decay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogisticResult {
    /// Strength of the penalty.
    pub decay: f64,
    /// Percent of test images whose class has the largest logit.
    pub top1: f64,
    /// What was minimised, at its end.
    pub loss: f64,
    /// Steps taken.
    pub iterations: usize,
    /// False where the iterations ran out before.
    pub converged: bool,
}

impl LogisticProbe {
    /// Trains on `train`, scores on `test`.
    ///
    /// # Errors
    /// Where nothing is labelled, widths differ, a feature is not finite, or a setting is out of bounds.
    pub fn evaluate(&self, train: &Features, test: &Features) -> Result<LogisticReport, EvalError> {
        self.check()?;
        let mut task = Task::new(train, test)?;
        standardise(&mut task);
        let problem = SoftmaxRegression {
            rows: &task.train.values,
            classes: &task.train.classes,
            dim: task.dim,
            n_classes: task.n_classes,
        };
        let asked = SoftmaxRegression { rows: &task.test.values, ..problem };
        let mut decays = self.decays.clone();
        decays.sort_by(|a, b| b.total_cmp(a));
        let mut parameters = vec![0.0; problem.n_parameters()];
        let results: Vec<LogisticResult> = decays
            .iter()
            .map(|&decay| {
                let Minimum { value, iterations, converged, steepest } = self.fit(&problem, decay, &mut parameters);
                tracing::debug!(decay, iterations, converged, steepest, loss = value, "logistic probe");
                let top1 = task.test_accuracy(&asked.predict(&single(&parameters)));
                LogisticResult { decay, top1, loss: value, iterations, converged }
            })
            .collect();
        Ok(LogisticReport {
            train_images: task.train.len(),
            test_images: task.test.len(),
            classes: task.n_classes,
            dim: task.dim,
            best: results.iter().map(|result| result.top1).fold(0.0, f64::max),
            results,
        })
    }

    fn check(&self) -> Result<(), EvalError> {
        if self.decays.is_empty() {
            return Err(EvalError::setting("decays", "[]", "at least one number"));
        }
        if let Some(decay) = self.decays.iter().find(|decay| !(decay.is_finite() && **decay >= 0.0)) {
            return Err(EvalError::setting("decays", decay, "0 or above"));
        }
        if self.iterations == 0 {
            return Err(EvalError::setting("iterations", self.iterations, "at least 1"));
        }
        if !(self.gradient_tolerance.is_finite() && self.gradient_tolerance > 0.0) {
            return Err(EvalError::setting("gradient_tolerance", self.gradient_tolerance, "above 0"));
        }
        Ok(())
    }

    /// Moves `parameters` (weights, then bias) to the minimum.
    fn fit(&self, problem: &SoftmaxRegression<'_>, decay: f64, parameters: &mut Vec<f64>) -> Minimum {
        let n_weights = problem.dim * problem.n_classes;
        let mut objective = |at: &[f64], gradient: &mut [f64]| {
            let loss = problem.loss_and_gradient(&single(at), gradient);
            let weights = &at[..n_weights];
            gradient.iter_mut().zip(weights).for_each(|(gradient, weight)| *gradient += decay * weight);
            loss + 0.5 * decay * weights.iter().map(|weight| weight * weight).sum::<f64>()
        };
        let search = Lbfgs {
            history: 20,
            iterations: self.iterations,
            gradient_tolerance: self.gradient_tolerance,
            // Products are computed in single precision; their mean cannot tell values apart that are closer.
            change_tolerance: 1e-9,
        };
        search.minimize(parameters, &mut objective)
    }
}

fn single(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

/// (x − mean) / (deviation + 1e-6) per column, mean and unbiased deviation of the training rows.
fn standardise(task: &mut Task<'_>) {
    let (mean, deviation) = moments(&task.train, task.dim);
    for rows in [&mut task.train, &mut task.test] {
        rows.values.to_mut().par_chunks_mut(task.dim).for_each(|row| {
            for ((value, mean), deviation) in row.iter_mut().zip(&mean).zip(&deviation) {
                *value = ((f64::from(*value) - mean) / (deviation + 1e-6)) as f32;
            }
        });
    }
}

/// Mean and unbiased standard deviation of each column; a single row has deviation 0.
fn moments(rows: &Rows<'_>, dim: usize) -> (Vec<f64>, Vec<f64>) {
    let n = rows.len() as f64;
    let mut mean = vec![0.0; dim];
    for row in rows.values.chunks(dim) {
        mean.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    mean.iter_mut().for_each(|sum| *sum /= n);
    let mut squares = vec![0.0; dim];
    for row in rows.values.chunks(dim) {
        for ((sum, &value), mean) in squares.iter_mut().zip(row).zip(&mean) {
            *sum += (f64::from(value) - mean).powi(2);
        }
    }
    (mean, squares.iter().map(|sum| (sum / (n - 1.0).max(1.0)).sqrt()).collect())
}
