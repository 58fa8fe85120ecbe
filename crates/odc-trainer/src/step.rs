//! What an iteration tells, whichever conductor made it.

use std::time::Duration;

use odc_memory::SmallClusterReport;

/// What one iteration tells. What its method does not have is `None`.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Iterations done, this one included.
    pub iteration: u64,
    /// The weighted loss of equation (1).
    pub loss: f32,
    /// Online Deep Clustering: share of the batch whose label changed.
    pub change_ratio: Option<f32>,
    /// Rotation prediction: share of the views whose rotation was told.
    pub accuracy: Option<f32>,
    /// Learning rate of this iteration.
    pub lr: f64,
    /// Images in the batch.
    pub images: usize,
    /// Share of the batch whose feature is all zero.
    pub dead_share: f32,
    /// Online Deep Clustering: what was done about small clusters.
    pub small_clusters: Option<SmallClusterReport>,
    /// Time of the forward pass, loss included.
    pub t_forward: Duration,
    /// Time of the backward pass and SGD.
    pub t_backward: Duration,
    /// Time of both memories, small clusters and loss weights.
    pub t_memory: Duration,
}

/// What became of a batch.
#[derive(Clone, Debug)]
pub enum StepOutcome {
    /// Trained.
    Done(StepReport),
    /// The loss or a feature is no finite number: nothing was changed but the running statistics of batch norm.
    NotFinite {
        /// The loss.
        loss: f32,
    },
}

/// Share of the rows (`[n, dim]`) that are all zero.
pub(crate) fn dead_share(features: &[f32], dim: usize) -> f32 {
    let dead = features.chunks_exact(dim).filter(|feature| feature.iter().all(|value| *value == 0.0)).count();
    dead as f32 / (features.len() / dim).max(1) as f32
}
