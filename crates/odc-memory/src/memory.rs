//! Both memories in step: how they begin, move and are stored.

use rayon::prelude::*;

use crate::{CentroidMemory, MemoryConfig, MemoryError, Rule, SampleMemory, nearest};

/// The sample memory and the centroid memory of one training run; the crate's page says what always holds.
#[derive(Clone, Debug)]
pub struct Memory {
    pub(crate) config: MemoryConfig,
    pub(crate) samples: SampleMemory,
    pub(crate) centroids: CentroidMemory,
}

/// All that a memory needs to go on bit for bit, for a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryState {
    /// `[n_samples, dim]`, as stored: restoring does not normalise again.
    pub features: Vec<f32>,
    /// `[n_samples]`.
    pub labels: Vec<u32>,
    /// `[n_clusters, dim]`: centroids lag behind their members between updates, so they cannot be computed from them.
    pub centroids: Vec<f32>,
    /// `[n_clusters]`: which centroids the next update will touch.
    pub dirty: Vec<bool>,
}

impl Memory {
    /// Begins with raw features (`[n_samples, dim]`; L2-normalised here) and their clustering (`[n_samples]`).
    /// Centroids are the means of the normalised features.
    ///
    /// # Errors
    /// Settings that do not fit the number of samples ([`MemoryConfig::check`]), lengths that do not fit, a feature
    /// that is not finite, a label that names no cluster, a cluster without members.
    pub fn new(config: MemoryConfig, mut features: Vec<f32>, labels: Vec<u32>) -> Result<Self, MemoryError> {
        config.check(labels.len())?;
        check_labels(&config, labels.len() * config.dim, features.len(), &labels)?;
        if let Some(position) = features.par_iter().position_first(|entry| !entry.is_finite()) {
            let (sample, entry) = (position / config.dim, position % config.dim);
            return Err(MemoryError::SampleNotFinite { sample, entry, value: features[position] });
        }
        normalize(&mut features, config.dim);
        let samples = SampleMemory::new(features, labels, config.dim, config.n_clusters);
        let centroids = vec![0.0; config.n_clusters * config.dim];
        let mut centroids = CentroidMemory::new(&samples, config.dim, centroids, vec![true; config.n_clusters]);
        if let Some(cluster) = centroids.sizes().iter().position(|&size| size == 0) {
            return Err(MemoryError::EmptyCluster { cluster });
        }
        centroids.update_dirty();
        Ok(Self { config, samples, centroids })
    }

    /// Goes on from a stored state, exactly as the memory that it was taken from would. A cluster may be without
    /// members, as it may be between [`Memory::update_samples`] and [`Memory::redistribute_small_clusters`].
    ///
    /// # Errors
    /// Settings that do not fit the number of samples, lengths that do not fit, numbers that no memory can have stored.
    pub fn restore(config: MemoryConfig, state: MemoryState) -> Result<Self, MemoryError> {
        let MemoryState { features, labels, centroids, dirty } = state;
        config.check(labels.len())?;
        check_labels(&config, labels.len() * config.dim, features.len(), &labels)?;
        check_length("centroid entries", config.n_clusters * config.dim, centroids.len())?;
        check_length("dirty flags", config.n_clusters, dirty.len())?;
        if let Some(position) = features.par_iter().position_first(|entry| !(-1.0..=1.0).contains(entry)) {
            let (value, bound) = (features[position], "an entry is within [-1, 1]");
            return Err(MemoryError::Stored { what: "features", position, value, bound });
        }
        if let Some(position) = centroids.par_iter().position_first(|entry| !entry.is_finite()) {
            let (value, bound) = (centroids[position], "an entry is finite");
            return Err(MemoryError::Stored { what: "centroids", position, value, bound });
        }
        let samples = SampleMemory::new(features, labels, config.dim, config.n_clusters);
        let centroids = CentroidMemory::new(&samples, config.dim, centroids, dirty);
        Ok(Self { config, samples, centroids })
    }

    /// A copy of all that is needed to go on bit for bit. (To store it without a copy, use the accessors.)
    pub fn state(&self) -> MemoryState {
        MemoryState {
            features: self.features().to_vec(),
            labels: self.labels().to_vec(),
            centroids: self.centroids().to_vec(),
            dirty: self.dirty().to_vec(),
        }
    }

    /// The pseudo-labels of some samples.
    ///
    /// # Panics
    /// Where an index is not below [`Memory::n_samples`].
    pub fn labels_of(&self, indices: &[u32]) -> Vec<u32> {
        indices.iter().map(|&index| self.labels()[index as usize]).collect()
    }

    /// Moves the stored features of a batch towards `features` (`[batch, dim]`, raw) and gives them new labels,
    /// equations (2) and (3); returns the share of the batch whose label changed.
    ///
    /// A sample that stands in the batch more than once: each occurrence is computed from the feature stored before
    /// and counts in the share against the label before; the last one is kept. A zero feature pulls the stored one
    /// towards zero.
    ///
    /// # Errors
    /// Lengths that do not fit, an index that names no sample, a feature that is not finite; nothing has changed then.
    pub fn update_samples(&mut self, indices: &[u32], features: &[f32]) -> Result<f32, MemoryError> {
        self.check_batch(indices, features)?;
        if indices.is_empty() {
            return Ok(0.0);
        }
        let moved = self.moved_features(indices, features);
        let mut labels = vec![0; indices.len()];
        nearest(self.config.rule, &moved, self.centroids(), self.config.dim, &mut labels);
        let before = self.labels_of(indices);
        let changed = labels.iter().zip(&before).filter(|(new, old)| new != old).count();
        for position in last_occurrences(indices) {
            let feature = &moved[position * self.config.dim..][..self.config.dim];
            let sample = indices[position];
            self.centroids.remove(before[position], self.samples.feature(sample));
            self.centroids.add(labels[position], feature);
            self.samples.set_feature(sample, feature);
            self.samples.set_label(sample, labels[position]);
        }
        Ok(changed as f32 / indices.len() as f32)
    }

    /// Makes each centroid the mean of its members' features if it gained or lost a member since its last update, or
    /// a member moved. A cluster without members keeps its centroid.
    pub fn update_centroids(&mut self) {
        self.centroids.update_dirty();
    }

    /// The weight of each cluster in the loss (`[n_clusters]`): proportional to size^-`power`, with sum 1 over the
    /// clusters that have members, and 0 for the others.
    pub fn loss_weights(&self, power: f32) -> Vec<f32> {
        loss_weights(self.sizes(), power)
    }

    /// The settings.
    pub fn config(&self) -> &MemoryConfig {
        &self.config
    }

    /// Number of samples.
    pub fn n_samples(&self) -> usize {
        self.samples.labels().len()
    }

    /// The features as stored, `[n_samples, dim]`.
    pub fn features(&self) -> &[f32] {
        self.samples.features()
    }

    /// The pseudo-labels, `[n_samples]`.
    pub fn labels(&self) -> &[u32] {
        self.samples.labels()
    }

    /// The centroids as of their last update, `[n_clusters, dim]`.
    pub fn centroids(&self) -> &[f32] {
        self.centroids.centroids()
    }

    /// The current number of members of every cluster, `[n_clusters]`.
    pub fn sizes(&self) -> &[u32] {
        self.centroids.sizes()
    }

    /// Which centroids the next [`Memory::update_centroids`] will touch, `[n_clusters]`.
    pub fn dirty(&self) -> &[bool] {
        self.centroids.dirty()
    }

    /// The sample memory.
    pub fn sample_memory(&self) -> &SampleMemory {
        &self.samples
    }

    /// The centroid memory.
    pub fn centroid_memory(&self) -> &CentroidMemory {
        &self.centroids
    }

    /// Gives a sample another label; its feature stays.
    pub(crate) fn relabel(&mut self, sample: u32, label: u32) {
        let feature = self.samples.feature(sample);
        self.centroids.remove(self.samples.labels()[sample as usize], feature);
        self.centroids.add(label, feature);
        self.samples.set_label(sample, label);
    }

    /// Equation (2) for each position of a batch: `m · F/‖F‖ + (1 − m) · F_m`.
    fn moved_features(&self, indices: &[u32], features: &[f32]) -> Vec<f32> {
        let dim = self.config.dim;
        let (new_share, old_share) = (self.config.momentum, 1.0 - self.config.momentum);
        let mut moved = features.to_vec();
        normalize(&mut moved, dim);
        for (new, &index) in moved.chunks_exact_mut(dim).zip(indices) {
            for (new, old) in new.iter_mut().zip(self.samples.feature(index)) {
                // Rounding alone could leave the range that the integer sums rely on.
                *new = (old_share * old + new_share * *new).clamp(-1.0, 1.0);
            }
        }
        if self.config.rule == Rule::Reference {
            normalize(&mut moved, dim);
        }
        moved
    }

    fn check_batch(&self, indices: &[u32], features: &[f32]) -> Result<(), MemoryError> {
        let dim = self.config.dim;
        check_length("feature entries in the batch", indices.len() * dim, features.len())?;
        for (position, (&index, feature)) in indices.iter().zip(features.chunks_exact(dim)).enumerate() {
            if index as usize >= self.n_samples() {
                return Err(MemoryError::Index { position, index, n_samples: self.n_samples() });
            }
            if let Some(entry) = feature.iter().position(|entry| !entry.is_finite()) {
                return Err(MemoryError::BatchNotFinite { position, index, entry, value: feature[entry] });
            }
        }
        Ok(())
    }
}

/// [`Memory::loss_weights`] of clusters of these sizes, for a clustering that no memory holds.
pub fn loss_weights(sizes: &[u32], power: f32) -> Vec<f32> {
    let weight = |&size: &u32| if size == 0 { 0.0 } else { f64::from(size).powf(-f64::from(power)) };
    let weights: Vec<f64> = sizes.iter().map(weight).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| (weight / sum) as f32).collect()
}

/// Scales rows to unit length, each entry within [-1, 1] whatever the rounding.
fn normalize(rows: &mut [f32], dim: usize) {
    odc_kernels::normalize_rows(rows, dim);
    rows.iter_mut().for_each(|entry| *entry = entry.clamp(-1.0, 1.0));
}

/// The positions that hold the last occurrence of an index, by ascending index.
fn last_occurrences(indices: &[u32]) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..indices.len()).collect();
    positions.sort_by_key(|&position| (indices[position], std::cmp::Reverse(position)));
    positions.dedup_by_key(|position| indices[*position]);
    positions
}

fn check_labels(
    config: &MemoryConfig,
    expected_features: usize,
    features: usize,
    labels: &[u32],
) -> Result<(), MemoryError> {
    check_length("feature entries", expected_features, features)?;
    match labels.iter().position(|&label| label as usize >= config.n_clusters) {
        Some(sample) => Err(MemoryError::Label { sample, label: labels[sample], n_clusters: config.n_clusters }),
        None => Ok(()),
    }
}

fn check_length(what: &'static str, expected: usize, found: usize) -> Result<(), MemoryError> {
    if expected == found { Ok(()) } else { Err(MemoryError::Length { what, expected, found }) }
}
