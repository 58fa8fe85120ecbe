//! Principal components with whitening: what Deep Clustering does to features before k-means.

use linfa_linalg::eigh::EighInto;
use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView2, Axis, s};
use rayon::prelude::*;

use crate::KMeansError;
use crate::lloyd::check_rows;

/// Rows whose products are summed before the next ones; never the number of threads, so that bits do not depend on it.
const BLOCK: usize = 1024;
/// Rows of the covariance that one task computes.
const PANEL: usize = 64;
/// A direction with less than this share of the largest variance holds rounding of `f32`, nothing to be magnified.
const NEGLIGIBLE: f64 = 1e-12;

/// The directions of largest variance, each with unit variance in the rows that it was fitted to: faiss's `PCAMatrix`
/// with eigen power −½, but for a constant factor that L2 normalisation takes away.
///
/// The same rows give the same bits for any number of threads.
#[derive(Clone, Debug, PartialEq)]
pub struct Whitening {
    mean: Vec<f32>,
    /// `[n_components, dim]`; rows that belong to no variance are zero.
    projection: Vec<f32>,
    variances: Vec<f64>,
}

impl Whitening {
    /// Fits to `rows` (`[n, dim]`), keeping at most `n_components` directions, at most `dim` of them. Sums are of double
    /// precision.
    ///
    /// # Errors
    /// No row or component, a slice that is not whole rows, a number that is not finite or above 1e15.
    pub fn fit(rows: &[f32], dim: usize, n_components: usize) -> Result<Self, KMeansError> {
        for (name, value) in [("dim", dim), ("n_components", n_components)] {
            if value == 0 {
                return Err(KMeansError::Zero { name });
            }
        }
        check_rows(rows, dim)?;
        let n_rows = rows.len() / dim;
        if n_rows == 0 {
            return Err(KMeansError::TooFewRows { n_rows, n_clusters: 1 });
        }
        let sum = blocks(rows, dim).fold(Array1::<f64>::zeros(dim), |sum, block| sum + block.sum_axis(Axis(0)));
        let mean: Vec<f32> = sum.iter().map(|sum| (sum / n_rows as f64) as f32).collect();
        let covariance = covariance(rows, dim, &mean);
        let (variances, directions) =
            covariance.eigh_into().map_err(|error| KMeansError::Decomposition { reason: error.to_string() })?;
        let mut order: Vec<usize> = (0..dim).collect();
        order.sort_by(|&a, &b| variances[b].total_cmp(&variances[a]));
        order.truncate(n_components);
        let least = NEGLIGIBLE * variances[order[0]];
        let mut projection = Vec::with_capacity(order.len() * dim);
        for &direction in &order {
            let entries = directions.column(direction);
            // A direction and its opposite are equally good: the largest entry is positive.
            let largest =
                entries.iter().fold(0.0_f64, |best, &entry| if entry.abs() > best.abs() { entry } else { best });
            let variance = variances[direction];
            let scale = if variance > least { largest.signum() / variance.sqrt() } else { 0.0 };
            projection.extend(entries.iter().map(|entry| (entry * scale) as f32));
        }
        Ok(Self { mean, projection, variances: order.iter().map(|&direction| variances[direction].max(0.0)).collect() })
    }

    /// Goes on with a stored mean (`[dim]`) and projection (`[n_components, dim]`). Variances are not kept.
    ///
    /// # Errors
    /// A projection that is not whole rows, numbers as in [`Whitening::fit`].
    pub fn from_parts(mean: Vec<f32>, projection: Vec<f32>) -> Result<Self, KMeansError> {
        if mean.is_empty() || projection.is_empty() {
            return Err(KMeansError::Zero { name: if mean.is_empty() { "dim" } else { "n_components" } });
        }
        check_rows(&projection, mean.len())?;
        Ok(Self { mean, projection, variances: Vec::new() })
    }

    /// Rows (`[n, dim]`) as `[n, n_components]`, not normalised.
    ///
    /// # Errors
    /// A slice that is not whole rows, a number that is not finite or above 1e15.
    pub fn apply(&self, rows: &[f32]) -> Result<Vec<f32>, KMeansError> {
        let (dim, n_components) = (self.mean.len(), self.n_components());
        check_rows(rows, dim)?;
        let projection = double(&self.projection, dim);
        let mut whitened = vec![0.0; rows.len() / dim * n_components];
        whitened.par_chunks_mut(BLOCK * n_components).zip(rows.par_chunks(BLOCK * dim)).for_each(|(out, rows)| {
            let product = centred(rows, &self.mean).dot(&projection.t());
            out.iter_mut().zip(&product).for_each(|(out, value)| *out = *value as f32);
        });
        Ok(whitened)
    }

    /// How many numbers a whitened row has.
    pub fn n_components(&self) -> usize {
        self.projection.len() / self.mean.len()
    }

    /// The mean of the rows it was fitted to, `[dim]`.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// What centred rows are multiplied by, `[n_components, dim]`.
    pub fn projection(&self) -> &[f32] {
        &self.projection
    }

    /// The variance along each direction before whitening, largest first; empty after [`Whitening::from_parts`].
    pub fn variances(&self) -> &[f64] {
        &self.variances
    }
}

/// Σ (x − mean)(x − mean)ᵀ / n. Blocks of rows come one after the other, threads share the panels of the result.
fn covariance(rows: &[f32], dim: usize, mean: &[f32]) -> Array2<f64> {
    let n_rows = rows.len() / dim;
    let mut panels: Vec<Array2<f64>> =
        (0..dim).step_by(PANEL).map(|start| Array2::zeros((PANEL.min(dim - start), dim))).collect();
    for rows in rows.chunks(BLOCK * dim) {
        let block = centred(rows, mean);
        panels.par_iter_mut().enumerate().for_each(|(number, panel)| {
            let start = number * PANEL;
            let columns = block.slice(s![.., start..start + panel.nrows()]);
            general_mat_mul(1.0 / n_rows as f64, &columns.t(), &block, 1.0, panel);
        });
    }
    let mut covariance = Array2::zeros((dim, dim));
    for (number, panel) in panels.iter().enumerate() {
        covariance.slice_mut(s![number * PANEL..number * PANEL + panel.nrows(), ..]).assign(panel);
    }
    covariance
}

fn blocks(rows: &[f32], dim: usize) -> impl Iterator<Item = Array2<f64>> + '_ {
    rows.chunks(BLOCK * dim).map(move |rows| double(rows, dim))
}

fn centred(rows: &[f32], mean: &[f32]) -> Array2<f64> {
    let mut block = double(rows, mean.len());
    for mut row in block.rows_mut() {
        row.iter_mut().zip(mean).for_each(|(entry, mean)| *entry -= f64::from(*mean));
    }
    block
}

fn double(rows: &[f32], dim: usize) -> Array2<f64> {
    let view = ArrayView2::from_shape((rows.len() / dim, dim), rows);
    // The length is a multiple of `dim`: it was checked.
    view.map_or_else(|_| Array2::zeros((0, dim)), |view| view.mapv(f64::from))
}
