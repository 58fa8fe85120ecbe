//! The memory's rules in the plainest way: every sum, size and list of members from scratch, every time.

use odc_memory::{MemoryConfig, Rule, nearest, two_means};

pub(crate) struct PlainMemory {
    config: MemoryConfig,
    pub(crate) features: Vec<f32>,
    pub(crate) labels: Vec<u32>,
    pub(crate) centroids: Vec<f32>,
}

impl PlainMemory {
    pub(crate) fn new(config: MemoryConfig, mut features: Vec<f32>, labels: Vec<u32>) -> Self {
        normalize(&mut features, config.dim);
        let centroids = vec![0.0; config.n_clusters * config.dim];
        let mut memory = Self { config, features, labels, centroids };
        memory.update_centroids();
        memory
    }

    pub(crate) fn update_samples(&mut self, indices: &[u32], features: &[f32]) -> f32 {
        let dim = self.config.dim;
        let (before_features, before_labels) = (self.features.clone(), self.labels.clone());
        let mut changed = 0;
        for (position, &index) in indices.iter().enumerate() {
            let index = index as usize;
            let mut new = features[position * dim..(position + 1) * dim].to_vec();
            normalize(&mut new, dim);
            for (entry, new) in new.iter_mut().enumerate() {
                let old = before_features[index * dim + entry];
                *new = ((1.0 - self.config.momentum) * old + self.config.momentum * *new).clamp(-1.0, 1.0);
            }
            if self.config.rule == Rule::Reference {
                normalize(&mut new, dim);
            }
            let mut label = [0];
            nearest(self.config.rule, &new, &self.centroids, dim, &mut label);
            changed += usize::from(label[0] != before_labels[index]);
            self.features[index * dim..(index + 1) * dim].copy_from_slice(&new);
            self.labels[index] = label[0];
        }
        if indices.is_empty() { 0.0 } else { changed as f32 / indices.len() as f32 }
    }

    /// All centroids, dirty or not: that is the same, if the memory marks all that moved.
    pub(crate) fn update_centroids(&mut self) {
        (0..self.config.n_clusters).for_each(|cluster| self.update_centroid(cluster));
    }

    pub(crate) fn redistribute_small_clusters(&mut self) {
        for round in 1..=3 {
            let threshold = self.config.min_cluster;
            let sizes = self.sizes();
            let (small, normal): (Vec<usize>, Vec<usize>) =
                (0..sizes.len()).partition(|&cluster| (sizes[cluster] as usize) < threshold);
            let dim = self.config.dim;
            let centroids: Vec<f32> = normal.iter().flat_map(|&c| &self.centroids[c * dim..][..dim]).copied().collect();
            for &cluster in &small {
                for sample in self.members(cluster) {
                    let mut target = [0];
                    let feature = &self.features[sample as usize * dim..][..dim];
                    nearest(self.config.rule, feature, &centroids, dim, &mut target);
                    self.labels[sample as usize] = normal[target[0] as usize] as u32;
                }
            }
            for &cluster in &small {
                self.refill(cluster, round == 3);
            }
        }
    }

    fn refill(&mut self, emptied: usize, no_small_half: bool) {
        let threshold = self.config.min_cluster;
        let largest = self.largest();
        let members = self.members(largest);
        if members.len() < 2 * threshold {
            let mut changed = vec![emptied];
            while self.members(emptied).len() < threshold {
                let largest = self.largest();
                let last = self.members(largest).pop().expect("the largest cluster has members");
                self.labels[last as usize] = emptied as u32;
                changed.push(largest);
            }
            changed.into_iter().for_each(|cluster| self.update_centroid(cluster));
            return;
        }
        let mut sides = two_means(&self.features, self.config.dim, &members);
        let leaving = sides.iter().filter(|side| **side).count();
        let smaller_half = leaving.min(members.len() - leaving);
        if smaller_half == 0 || (no_small_half && smaller_half < threshold) {
            sides = (0..members.len()).map(|position| position >= members.len() / 2).collect();
        }
        for (&member, side) in members.iter().zip(sides) {
            if side {
                self.labels[member as usize] = emptied as u32;
            }
        }
        self.update_centroid(largest);
        self.update_centroid(emptied);
    }

    pub(crate) fn sizes(&self) -> Vec<u32> {
        (0..self.config.n_clusters).map(|cluster| self.members(cluster).len() as u32).collect()
    }

    fn members(&self, cluster: usize) -> Vec<u32> {
        (0..self.labels.len() as u32).filter(|&sample| self.labels[sample as usize] as usize == cluster).collect()
    }

    fn largest(&self) -> usize {
        let sizes = self.sizes();
        let largest = sizes.iter().max().expect("a cluster");
        sizes.iter().position(|size| size == largest).expect("it is one of them")
    }

    fn update_centroid(&mut self, cluster: usize) {
        let (members, dim) = (self.members(cluster), self.config.dim);
        if members.is_empty() {
            return;
        }
        for entry in 0..dim {
            let one = (1_u64 << 36) as f64;
            let fixed = |&sample: &u32| (f64::from(self.features[sample as usize * dim + entry]) * one) as i64;
            let sum: i64 = members.iter().map(fixed).sum();
            self.centroids[cluster * dim + entry] = (sum as f64 / (one * members.len() as f64)) as f32;
        }
    }
}

fn normalize(rows: &mut [f32], dim: usize) {
    odc_kernels::normalize_rows(rows, dim);
    rows.iter_mut().for_each(|entry| *entry = entry.clamp(-1.0, 1.0));
}
