//! What can be wrong with what a memory is given.

use crate::MAX_SAMPLES;

/// What can be wrong with what a memory is given. A call that returns one has changed nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MemoryError {
    /// A setting outside its bounds.
    #[error("the memory's {name} is {value}: it {bound}")]
    Setting {
        /// The setting's name.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        bound: &'static str,
    },
    /// Fewer images than `n_clusters` clusters of `min_cluster` members need.
    #[error(
        "{n_samples} images are too few for {n_clusters} clusters of at least {min_cluster} members each, which need \
         {}: lower n_clusters to at most {}, or min_cluster to at most {}, or add images",
        .n_clusters.saturating_mul(*.min_cluster), .n_samples / .min_cluster, .n_samples / .n_clusters
    )]
    TooFewSamples {
        /// Number of images.
        n_samples: usize,
        /// Number of clusters.
        n_clusters: usize,
        /// The threshold below which a cluster is small.
        min_cluster: usize,
    },
    /// More images than the integer sums have room for.
    #[error("{n_samples} images are more than the memory takes, {MAX_SAMPLES}: use a part of them")]
    TooManySamples {
        /// Number of images.
        n_samples: usize,
    },
    /// A slice whose length does not fit the others.
    #[error("the memory was given {found} {what} where {expected} are expected")]
    Length {
        /// What the slice holds.
        what: &'static str,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A label that names no cluster.
    #[error("the label of sample {sample} is {label}: it must be below n_clusters, {n_clusters}")]
    Label {
        /// The sample.
        sample: usize,
        /// Its label.
        label: u32,
        /// Number of clusters.
        n_clusters: usize,
    },
    /// A cluster that no label names, in what a memory is to begin with.
    #[error("cluster {cluster} has no member: a memory begins with a clustering that leaves no cluster empty")]
    EmptyCluster {
        /// The first empty cluster.
        cluster: usize,
    },
    /// NaN or infinity in the features a memory is to begin with.
    #[error("the feature of sample {sample} holds {value} in entry {entry}: features must be finite")]
    SampleNotFinite {
        /// The sample.
        sample: usize,
        /// The entry of its feature.
        entry: usize,
        /// What stands there.
        value: f32,
    },
    /// NaN or infinity in a batch of features.
    #[error(
        "the feature at position {position} of the batch (sample {index}) holds {value} in entry {entry}: features \
         must be finite; the training has diverged, a lower learning rate may help"
    )]
    BatchNotFinite {
        /// The position in the batch.
        position: usize,
        /// The sample at that position.
        index: u32,
        /// The entry of its feature.
        entry: usize,
        /// What stands there.
        value: f32,
    },
    /// A sample that does not exist.
    #[error("the index at position {position} of the batch is {index}: it must be below n_samples, {n_samples}")]
    Index {
        /// The position in the batch.
        position: usize,
        /// The index at that position.
        index: u32,
        /// Number of samples.
        n_samples: usize,
    },
    /// A stored number that no memory can have stored.
    #[error("the {what} of the stored state hold {value} at position {position}: {bound}; the checkpoint is damaged")]
    Stored {
        /// What the slice holds.
        what: &'static str,
        /// The position in the slice.
        position: usize,
        /// What stands there.
        value: f32,
        /// What it must be.
        bound: &'static str,
    },
}
