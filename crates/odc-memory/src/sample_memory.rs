//! The sample memory: a feature and a pseudo-label for every image, and who is in which cluster.

use crate::means::row;

/// A feature and a pseudo-label for every image, and the members of every cluster.
#[derive(Clone, Debug)]
pub struct SampleMemory {
    dim: usize,
    features: Vec<f32>,
    labels: Vec<u32>,
    /// The members of each cluster, in an order that depends on the history: sort before the order matters.
    members: Vec<Vec<u32>>,
    /// Where each sample stands in its cluster's list, so that it can leave without a search.
    slots: Vec<u32>,
}

impl SampleMemory {
    pub(crate) fn new(features: Vec<f32>, labels: Vec<u32>, dim: usize, n_clusters: usize) -> Self {
        let mut members = vec![Vec::new(); n_clusters];
        let mut slots = Vec::with_capacity(labels.len());
        for (sample, &label) in labels.iter().enumerate() {
            let list: &mut Vec<u32> = &mut members[label as usize];
            slots.push(list.len() as u32);
            list.push(sample as u32);
        }
        Self { dim, features, labels, members, slots }
    }

    /// All features, `[n_samples, dim]`.
    pub fn features(&self) -> &[f32] {
        &self.features
    }

    /// All pseudo-labels, `[n_samples]`.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The feature of one sample, `[dim]`.
    pub fn feature(&self, sample: u32) -> &[f32] {
        row(&self.features, self.dim, sample)
    }

    /// The members of a cluster, ascending.
    pub fn members(&self, cluster: u32) -> Vec<u32> {
        let mut members = self.members[cluster as usize].clone();
        members.sort_unstable();
        members
    }

    /// The member with the highest index.
    pub(crate) fn last_member(&self, cluster: u32) -> Option<u32> {
        self.members[cluster as usize].iter().copied().max()
    }

    pub(crate) fn set_feature(&mut self, sample: u32, feature: &[f32]) {
        self.features[sample as usize * self.dim..][..self.dim].copy_from_slice(feature);
    }

    pub(crate) fn set_label(&mut self, sample: u32, label: u32) {
        let list = &mut self.members[self.labels[sample as usize] as usize];
        let slot = self.slots[sample as usize];
        list.swap_remove(slot as usize);
        if let Some(&filler) = list.get(slot as usize) {
            self.slots[filler as usize] = slot;
        }
        let list = &mut self.members[label as usize];
        self.slots[sample as usize] = list.len() as u32;
        list.push(sample);
        self.labels[sample as usize] = label;
    }
}
