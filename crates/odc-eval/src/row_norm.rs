//! Batch norm without parameters over rows of features: what stands before the linear layer of the per-stage protocol.

use odc_kernels::batch_norm::{Then, inverse_deviation, normalize, statistics};

/// Running mean and variance of each column, as PyTorch's `BatchNorm1d(affine=False)` keeps them.
pub(crate) struct RowNorm {
    mean: Vec<f32>,
    variance: Vec<f32>,
    ones: Vec<f32>,
    zeros: Vec<f32>,
}

/// PyTorch's defaults: what is added to a variance, and the newest batch's weight in the running statistics.
const EPSILON: f64 = 1e-5;
const MOMENTUM: f32 = 0.1;

impl RowNorm {
    /// Mean 0 and variance 1, before the first batch.
    pub(crate) fn new(dim: usize) -> Self {
        Self { mean: vec![0.0; dim], variance: vec![1.0; dim], ones: vec![1.0; dim], zeros: vec![0.0; dim] }
    }

    /// The rows of a batch, two or more, by their own statistics, which also enter the running ones.
    pub(crate) fn normalise_batch(&mut self, rows: &[f32]) -> Vec<f32> {
        let dim = self.mean.len();
        let mut of_batch = vec![0.0; 3 * dim];
        statistics(rows, dim, EPSILON, &mut of_batch);
        let (mean, rest) = of_batch.split_at(dim);
        let (inverse, unbiased) = rest.split_at(dim);
        for (running, new) in self.mean.iter_mut().zip(mean).chain(self.variance.iter_mut().zip(unbiased)) {
            *running = (1.0 - MOMENTUM) * *running + MOMENTUM * new;
        }
        self.by(rows, mean, inverse)
    }

    /// Any rows, by the running statistics.
    pub(crate) fn normalise(&self, rows: &[f32]) -> Vec<f32> {
        let mut inverse = vec![0.0; self.mean.len()];
        inverse_deviation(&self.variance, EPSILON, &mut inverse);
        self.by(rows, &self.mean, &inverse)
    }

    fn by(&self, rows: &[f32], mean: &[f32], inverse: &[f32]) -> Vec<f32> {
        let mut normalised = vec![0.0; rows.len()];
        normalize(rows, mean, inverse, &self.ones, &self.zeros, Then::Nothing, &mut normalised);
        normalised
    }
}
