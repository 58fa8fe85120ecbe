//! The centroid memory: the mean feature of every cluster, from running sums in integers.

use rayon::prelude::*;

use crate::SampleMemory;

/// One in the fixed-point numbers of the sums. An `f32` of at least 2⁻¹³ is exact in these units, a smaller one is off
/// by at most 2⁻³⁶.
const ONE: f64 = (1_u64 << 36) as f64;

/// The mean feature of every cluster, and what is needed to keep it at a cost that does not grow with the data set.
///
/// The running sums are integers in units of 2⁻³⁶: adding and removing a feature is exact, so a sum is what a recount
/// from scratch would give, whatever came before. Sums of floats would drift, and depend on the order.
#[derive(Clone, Debug)]
pub struct CentroidMemory {
    dim: usize,
    centroids: Vec<f32>,
    sums: Vec<i64>,
    sizes: Vec<u32>,
    dirty: Vec<bool>,
}

impl CentroidMemory {
    pub(crate) fn new(samples: &SampleMemory, dim: usize, centroids: Vec<f32>, dirty: Vec<bool>) -> Self {
        let n_clusters = dirty.len();
        let mut sums = vec![0; n_clusters * dim];
        let mut sizes = vec![0; n_clusters];
        sums.par_chunks_exact_mut(dim).zip(&mut sizes).enumerate().for_each(|(cluster, (sum, size))| {
            for sample in samples.members(cluster as u32) {
                sum.iter_mut().zip(samples.feature(sample)).for_each(|(sum, &entry)| *sum += fixed(entry));
                *size += 1;
            }
        });
        Self { dim, centroids, sums, sizes, dirty }
    }

    /// The mean feature of every cluster, `[n_clusters, dim]`, as of its last update.
    pub fn centroids(&self) -> &[f32] {
        &self.centroids
    }

    /// The current number of members of every cluster, `[n_clusters]`.
    pub fn sizes(&self) -> &[u32] {
        &self.sizes
    }

    /// Which clusters gained or lost a member, or had one move, since their centroid was last updated; `[n_clusters]`.
    pub fn dirty(&self) -> &[bool] {
        &self.dirty
    }

    /// The centroid of one cluster, `[dim]`.
    pub fn centroid(&self, cluster: u32) -> &[f32] {
        &self.centroids[cluster as usize * self.dim..][..self.dim]
    }

    pub(crate) fn add(&mut self, cluster: u32, feature: &[f32]) {
        self.sum_mut(cluster).iter_mut().zip(feature).for_each(|(sum, &entry)| *sum += fixed(entry));
        self.sizes[cluster as usize] += 1;
        self.dirty[cluster as usize] = true;
    }

    pub(crate) fn remove(&mut self, cluster: u32, feature: &[f32]) {
        self.sum_mut(cluster).iter_mut().zip(feature).for_each(|(sum, &entry)| *sum -= fixed(entry));
        self.sizes[cluster as usize] -= 1;
        self.dirty[cluster as usize] = true;
    }

    /// Brings some centroids up to date at once.
    pub(crate) fn update(&mut self, clusters: &[u32]) {
        for cluster in clusters.iter().map(|&cluster| cluster as usize) {
            let entries = cluster * self.dim..(cluster + 1) * self.dim;
            write_mean(&self.sums[entries.clone()], self.sizes[cluster], &mut self.centroids[entries]);
            self.dirty[cluster] = false;
        }
    }

    /// Brings all dirty centroids up to date.
    pub(crate) fn update_dirty(&mut self) {
        let sums = self.sums.par_chunks_exact(self.dim).zip(&self.sizes);
        let centroids = self.centroids.par_chunks_exact_mut(self.dim);
        centroids.zip(sums).zip(&mut self.dirty).with_min_len(64).for_each(|((centroid, (sum, &size)), dirty)| {
            if std::mem::take(dirty) {
                write_mean(sum, size, centroid);
            }
        });
    }

    fn sum_mut(&mut self, cluster: u32) -> &mut [i64] {
        &mut self.sums[cluster as usize * self.dim..][..self.dim]
    }
}

/// A cluster without members keeps its centroid.
fn write_mean(sum: &[i64], size: u32, centroid: &mut [f32]) {
    if size > 0 {
        let divisor = ONE * f64::from(size);
        centroid.iter_mut().zip(sum).for_each(|(entry, &sum)| *entry = (sum as f64 / divisor) as f32);
    }
}

/// An entry within [-1, 1] in fixed point.
fn fixed(entry: f32) -> i64 {
    (f64::from(entry) * ONE) as i64
}
