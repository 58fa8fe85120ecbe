//! The result of k-means, one consistent value.

use rayon::prelude::*;

/// How many rows one partial sum of the inertia takes; never the number of threads, so that its bits do not depend on it.
const BLOCK: usize = 1024;

/// Why the iteration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// No label changed: more iterations would change nothing.
    NoLabelChanged,
    /// All allowed iterations were made.
    IterationLimit,
}

/// Rows in clusters, none empty; the crate's page says what always holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Clustering {
    pub(crate) centroids: Vec<f32>,
    pub(crate) labels: Vec<u32>,
    pub(crate) inertia: f64,
    pub(crate) objective: Vec<f64>,
    pub(crate) refilled: usize,
    pub(crate) stopped: Stopped,
}

impl Clustering {
    /// The centroids, `[n_clusters, dim]`.
    pub fn centroids(&self) -> &[f32] {
        &self.centroids
    }

    /// The cluster of each row, `[n]`.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The sum of squared distances of all rows to the centroids of their clusters.
    pub fn inertia(&self) -> f64 {
        self.inertia
    }

    /// The inertia after each iteration's assignment, before its means.
    pub fn objective(&self) -> &[f64] {
        &self.objective
    }

    /// Iterations made: assignments followed by means.
    pub fn iterations(&self) -> usize {
        self.objective.len()
    }

    /// How often a cluster without members took half of the largest.
    pub fn refilled(&self) -> usize {
        self.refilled
    }

    /// Why the iteration ended.
    pub fn stopped(&self) -> Stopped {
        self.stopped
    }

    /// Centroids and labels, given away.
    pub fn into_parts(self) -> (Vec<f32>, Vec<u32>) {
        (self.centroids, self.labels)
    }
}

/// Σ ‖x − c‖² over all rows, each with the centroid of its label.
pub(crate) fn inertia(rows: &[f32], dim: usize, centroids: &[f32], labels: &[u32]) -> f64 {
    let blocks = rows.par_chunks(BLOCK * dim).zip(labels.par_chunks(BLOCK)).map(|(rows, labels)| {
        let distance = |(row, &label): (&[f32], &u32)| squared_distance(row, &centroids[label as usize * dim..][..dim]);
        rows.chunks_exact(dim).zip(labels).map(distance).sum::<f64>()
    });
    blocks.collect::<Vec<f64>>().iter().sum()
}

/// ‖a − b‖² in double precision.
pub(crate) fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    // Eight running sums: one alone would wait for its own last addition at every entry.
    let mut sums = [0.0; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            let difference = f64::from(a[lane]) - f64::from(b[lane]);
            sums[lane] += difference * difference;
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum::<f64>();
    sums.iter().sum::<f64>() + rest
}
