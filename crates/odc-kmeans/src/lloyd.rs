//! Lloyd's iteration, with the guarantee that no cluster is empty.

use odc_memory::{MembersByCluster, Rule, means, nearest, split_in_two};
use rayon::prelude::*;

use crate::clustering::inertia;
use crate::seeding::seeds;
use crate::{Clustering, KMeansError, Stopped, small};

/// The largest magnitude whose square, summed over a row, stays in the range of `f32`.
const LARGEST: f32 = 1e15;

/// k-means: how many clusters, how long, from which seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KMeans {
    /// Number of clusters, K.
    pub n_clusters: usize,
    /// Iterations at most (20 in the paper). It ends earlier when no label changes. For a small set linfa has made up to
    /// as many before; a [`Clustering`] counts only those after.
    pub iterations: usize,
    /// What the choice of the first centroids depends on.
    pub seed: u64,
}

impl KMeans {
    /// Clusters `rows` (`[n, dim]`). A small set starts from the centroids that linfa's k-means ends with (the crate's
    /// page has the bound), any other from rows: chosen by k-means++ up to 2²⁵ pairs of row and cluster, distinct ones
    /// at random beyond.
    ///
    /// # Errors
    /// Fewer rows than clusters, a slice that is not whole rows, a number that is not finite or above 1e15.
    pub fn fit(&self, rows: &[f32], dim: usize) -> Result<Clustering, KMeansError> {
        self.check(rows, dim)?;
        let by_linfa = small::centroids(self, rows, dim);
        let start = by_linfa.unwrap_or_else(|| seeds(rows, dim, self.n_clusters, self.seed));
        Ok(self.iterate(rows, dim, start))
    }

    /// Clusters `rows` (`[n, dim]`) from given centroids (`[n_clusters, dim]`); the seed plays no part.
    ///
    /// # Errors
    /// As [`KMeans::fit`], of the centroids too.
    pub fn fit_from(&self, rows: &[f32], dim: usize, centroids: Vec<f32>) -> Result<Clustering, KMeansError> {
        self.check(rows, dim)?;
        if centroids.len() != self.n_clusters * dim {
            let expected = format!("{} centroids of {dim} entries", self.n_clusters);
            return Err(KMeansError::Shape { what: "centroid entries", expected, found: centroids.len() });
        }
        check_finite("centroid", &centroids, dim)?;
        Ok(self.iterate(rows, dim, centroids))
    }

    fn iterate(&self, rows: &[f32], dim: usize, mut centroids: Vec<f32>) -> Clustering {
        let mut labels = vec![u32::MAX; rows.len() / dim];
        let mut objective = Vec::new();
        let mut refilled = 0;
        loop {
            let before = std::mem::replace(&mut labels, vec![0; rows.len() / dim]);
            nearest(Rule::Paper, rows, &centroids, dim, &mut labels);
            let split = refill_empty_clusters(rows, dim, &mut labels, self.n_clusters);
            // The centroids of a split cluster have to follow at once, or its rows would count as far from them.
            place_at_means(rows, dim, &labels, &split, &mut centroids);
            refilled += split.len() / 2;
            let inertia = inertia(rows, dim, &centroids, &labels);
            let stopped = match objective.len() {
                _ if labels == before => Some(Stopped::NoLabelChanged),
                done if done >= self.iterations => Some(Stopped::IterationLimit),
                _ => None,
            };
            if let Some(stopped) = stopped {
                return Clustering { centroids, labels, inertia, objective, refilled, stopped };
            }
            objective.push(inertia);
            tracing::debug!(iteration = objective.len(), inertia, refilled, "k-means");
            means(rows, dim, &MembersByCluster::new(&labels, self.n_clusters), &mut centroids);
        }
    }

    fn check(&self, rows: &[f32], dim: usize) -> Result<(), KMeansError> {
        if dim == 0 || self.n_clusters == 0 {
            return Err(KMeansError::Zero { name: if dim == 0 { "dim" } else { "n_clusters" } });
        }
        check_rows(rows, dim)?;
        let n_rows = rows.len() / dim;
        if n_rows < self.n_clusters {
            return Err(KMeansError::TooFewRows { n_rows, n_clusters: self.n_clusters });
        }
        if n_rows > u32::MAX as usize {
            return Err(KMeansError::TooManyRows { n_rows });
        }
        Ok(())
    }
}

/// Gives every cluster without members half of the then largest (lowest index on ties), by the deterministic split of
/// small clusters; returns the clusters that changed, two for each split.
fn refill_empty_clusters(rows: &[f32], dim: usize, labels: &mut [u32], n_clusters: usize) -> Vec<usize> {
    let mut sizes = vec![0_usize; n_clusters];
    labels.iter().for_each(|&label| sizes[label as usize] += 1);
    let empty: Vec<usize> = (0..n_clusters).filter(|&cluster| sizes[cluster] == 0).collect();
    if empty.is_empty() {
        return Vec::new();
    }
    let grouped = MembersByCluster::new(labels, n_clusters);
    let mut members: Vec<Vec<u32>> = (0..n_clusters).map(|cluster| grouped.of(cluster).to_vec()).collect();
    let mut changed = Vec::with_capacity(2 * empty.len());
    for emptied in empty {
        let larger =
            |best: usize, cluster: usize| if members[cluster].len() > members[best].len() { cluster } else { best };
        let largest = (1..n_clusters).fold(0, larger);
        let split = split_in_two(rows, dim, &members[largest], 1);
        for &row in &split.leaving {
            labels[row as usize] = emptied as u32;
        }
        members[largest].retain(|&row| labels[row as usize] == largest as u32);
        members[emptied] = split.leaving;
        changed.extend([largest, emptied]);
    }
    changed
}

/// Makes the centroids of some clusters the means of their members.
fn place_at_means(rows: &[f32], dim: usize, labels: &[u32], clusters: &[usize], centroids: &mut [f32]) {
    if clusters.is_empty() {
        return;
    }
    let mut all = centroids.to_vec();
    means(rows, dim, &MembersByCluster::new(labels, centroids.len() / dim), &mut all);
    for entries in clusters.iter().map(|cluster| cluster * dim..(cluster + 1) * dim) {
        centroids[entries.clone()].copy_from_slice(&all[entries]);
    }
}

/// Whole rows of finite numbers; `dim` is not 0.
pub(crate) fn check_rows(rows: &[f32], dim: usize) -> Result<(), KMeansError> {
    if !rows.len().is_multiple_of(dim) {
        let expected = format!("whole rows of {dim} entries");
        return Err(KMeansError::Shape { what: "row entries", expected, found: rows.len() });
    }
    check_finite("row", rows, dim)
}

fn check_finite(what: &'static str, values: &[f32], dim: usize) -> Result<(), KMeansError> {
    match values.par_iter().position_first(|value| !(-LARGEST..=LARGEST).contains(value)) {
        Some(position) => {
            let (row, entry) = (position / dim, position % dim);
            Err(KMeansError::NotFinite { what, row, entry, value: values[position] })
        }
        None => Ok(()),
    }
}
