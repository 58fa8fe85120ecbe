//! Small clusters: dissolved before they die out, refilled from the largest.

use crate::{Memory, nearest, split_in_two};

/// Rounds of dissolving and refilling at most. 2-means may cut off a half that is small again; two rounds give it the
/// chance to do better once its outliers went elsewhere, the last accepts no small half.
const ROUNDS: usize = 3;

/// What [`Memory::redistribute_small_clusters`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SmallClusterReport {
    /// Clusters dissolved and refilled; one that is small in two rounds counts twice.
    pub handled: usize,
    /// Labels changed; a sample that moves twice counts twice.
    pub moved: usize,
    /// Splits by position, where 2-means left a side empty (or, in the last round, below the threshold).
    pub even_splits: usize,
    /// Clusters filled up one member at a time, because no cluster had two halves of threshold size to give.
    pub filled_up: usize,
}

impl Memory {
    /// Dissolves every cluster with fewer than `min_cluster` members and refills it; afterwards no cluster is small.
    ///
    /// A round: (a) each member of each small cluster goes to the nearest normal cluster, with the centroids as they
    /// are; (b) each emptied cluster, in ascending order, takes one half of the then largest cluster (lowest index on
    /// ties), split by 2-means, and both centroids become the means of their members at once. Rounds are repeated
    /// while a half of (b) is small itself, at most three times; in the last, a split with a small half is made even
    /// by index instead.
    ///
    /// Where the largest cluster is below twice the threshold, no split can do: the emptied cluster then takes the
    /// member with the highest index of the then largest cluster, one at a time, until it is normal. There are always
    /// enough, because [`MemoryConfig::check`](crate::MemoryConfig::check) asks for `n_clusters` × `min_cluster` samples.
    pub fn redistribute_small_clusters(&mut self) -> SmallClusterReport {
        let mut report = SmallClusterReport::default();
        for round in 1..=ROUNDS {
            let small = self.small_clusters();
            if small.is_empty() {
                break;
            }
            let smallest_half = if round == ROUNDS { self.config.min_cluster } else { 1 };
            self.dissolve(&small, &mut report);
            for &cluster in &small {
                self.refill(cluster, smallest_half, &mut report);
            }
            report.handled += small.len();
        }
        if report.even_splits + report.filled_up > 0 {
            tracing::debug!(?report, "small clusters could not all be refilled by 2-means");
        }
        report
    }

    /// The clusters below the threshold, ascending.
    pub fn small_clusters(&self) -> Vec<u32> {
        let small = |cluster: &u32| (self.sizes()[*cluster as usize] as usize) < self.config.min_cluster;
        (0..self.config.n_clusters as u32).filter(small).collect()
    }

    /// Step (a): all members of the small clusters go to the nearest normal one.
    fn dissolve(&mut self, small: &[u32], report: &mut SmallClusterReport) {
        let dim = self.config.dim;
        let members: Vec<u32> = small.iter().flat_map(|&cluster| self.samples.members(cluster)).collect();
        // Never empty: the samples are enough for every cluster to be normal, so they cannot all be small.
        let mut is_normal = vec![true; self.config.n_clusters];
        small.iter().for_each(|&cluster| is_normal[cluster as usize] = false);
        let normal: Vec<u32> = (0..self.config.n_clusters as u32).filter(|&c| is_normal[c as usize]).collect();
        if members.is_empty() || normal.is_empty() {
            return;
        }
        let rows: Vec<f32> = members.iter().flat_map(|&sample| self.samples.feature(sample)).copied().collect();
        let centroids: Vec<f32> = normal.iter().flat_map(|&c| self.centroids.centroid(c)).copied().collect();
        let mut targets = vec![0; members.len()];
        nearest(self.config.rule, &rows, &centroids, dim, &mut targets);
        for (sample, target) in members.into_iter().zip(targets) {
            self.relabel(sample, normal[target as usize]);
            report.moved += 1;
        }
    }

    /// Step (b): an emptied cluster takes half of the largest.
    fn refill(&mut self, emptied: u32, smallest_half: usize, report: &mut SmallClusterReport) {
        let largest = self.largest_cluster();
        if (self.sizes()[largest as usize] as usize) < 2 * self.config.min_cluster {
            return self.fill_up(emptied, report);
        }
        let members = self.samples.members(largest);
        let split = split_in_two(self.samples.features(), self.config.dim, &members, smallest_half);
        for &sample in &split.leaving {
            self.relabel(sample, emptied);
        }
        self.centroids.update(&[largest, emptied]);
        report.moved += split.leaving.len();
        report.even_splits += usize::from(split.even);
    }

    /// Where no split gives two normal halves: single members of the largest clusters, the last by index first.
    fn fill_up(&mut self, emptied: u32, report: &mut SmallClusterReport) {
        let mut changed = vec![emptied];
        for _ in 0..self.config.min_cluster {
            let largest = self.largest_cluster();
            if let Some(sample) = self.samples.last_member(largest) {
                self.relabel(sample, emptied);
                changed.push(largest);
                report.moved += 1;
            }
        }
        self.centroids.update(&changed);
        report.filled_up += 1;
    }

    /// The cluster with the most members; the lowest index on ties.
    fn largest_cluster(&self) -> u32 {
        let sizes = self.sizes();
        (1..sizes.len()).fold(0, |largest, cluster| if sizes[cluster] > sizes[largest] { cluster } else { largest })
            as u32
    }
}
