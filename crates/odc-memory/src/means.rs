//! Means of rows by cluster, in double precision and a fixed order.

use rayon::prelude::*;

/// How many rows one partial sum takes. Sums are blocked by this number and never by the number of threads, so that
/// they are the same bits on any machine.
const BLOCK: usize = 1024;

/// The members of every cluster, in ascending order: the inverse of a slice of labels.
#[derive(Clone, Debug, PartialEq)]
pub struct MembersByCluster {
    starts: Vec<usize>,
    members: Vec<u32>,
}

impl MembersByCluster {
    /// Sorts the positions of `labels` by label.
    ///
    /// # Panics
    /// Where a label is not below `n_clusters`, or there are more than `u32::MAX` labels.
    pub fn new(labels: &[u32], n_clusters: usize) -> Self {
        assert!(u32::try_from(labels.len()).is_ok(), "{} labels are more than u32 can number", labels.len());
        let mut starts = vec![0; n_clusters + 1];
        for &label in labels {
            starts[label as usize + 1] += 1;
        }
        for cluster in 0..n_clusters {
            starts[cluster + 1] += starts[cluster];
        }
        let mut next = starts.clone();
        let mut members = vec![0; labels.len()];
        for (position, &label) in labels.iter().enumerate() {
            let slot = &mut next[label as usize];
            members[*slot] = position as u32;
            *slot += 1;
        }
        Self { starts, members }
    }

    /// The members of a cluster, ascending.
    pub fn of(&self, cluster: usize) -> &[u32] {
        &self.members[self.starts[cluster]..self.starts[cluster + 1]]
    }

    /// Number of clusters.
    pub fn n_clusters(&self) -> usize {
        self.starts.len() - 1
    }
}

/// Replaces each centroid (`[n_clusters, dim]`) by the mean of its members among `rows` (`[n, dim]`); a cluster without
/// members keeps its centroid. Lloyd's second step; the sums are in double precision.
///
/// # Panics
/// Where `members` names a row that is not there, or has another number of clusters than `centroids`.
pub fn means(rows: &[f32], dim: usize, members: &MembersByCluster, centroids: &mut [f32]) {
    assert_eq!(centroids.len(), members.n_clusters() * dim, "centroids of {} clusters", members.n_clusters());
    centroids.par_chunks_exact_mut(dim).enumerate().for_each(|(cluster, centroid)| {
        let members = members.of(cluster);
        if !members.is_empty() {
            let mean = mean(rows, dim, members);
            centroid.iter_mut().zip(mean).for_each(|(entry, mean)| *entry = mean as f32);
        }
    });
}

/// The mean of some rows.
pub(crate) fn mean(rows: &[f32], dim: usize, members: &[u32]) -> Vec<f64> {
    let partial_sums = members.par_chunks(BLOCK).map(|block| {
        let mut sum = vec![0.0; dim];
        for &member in block {
            add(&mut sum, row(rows, dim, member));
        }
        sum
    });
    let mut total = vec![0.0; dim];
    for sum in partial_sums.collect::<Vec<_>>() {
        total.iter_mut().zip(sum).for_each(|(total, sum)| *total += sum);
    }
    total.iter_mut().for_each(|total| *total /= members.len() as f64);
    total
}

/// One row of a matrix.
pub(crate) fn row(rows: &[f32], dim: usize, index: u32) -> &[f32] {
    &rows[index as usize * dim..][..dim]
}

fn add(sum: &mut [f64], row: &[f32]) {
    sum.iter_mut().zip(row).for_each(|(sum, &entry)| *sum += f64::from(entry));
}
