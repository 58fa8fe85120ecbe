//! `[optimizer]`, `[training]` and `[evaluation]`: how the run goes on, and what is measured.

use serde::{Deserialize, Serialize};

/// `[optimizer]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerTable {
    /// Learning rate at batch 512, scaled linearly with the batch.
    pub lr: f64,
    /// Momentum of backbone and neck.
    pub momentum: f64,
    /// Momentum of the classifier.
    pub head_momentum: f64,
    /// Weight decay on everything.
    pub weight_decay: f64,
    /// Shares of the run after which the learning rate is multiplied by `gamma`.
    pub decay_at: Vec<f64>,
    /// Factor at each of `decay_at`.
    pub gamma: f64,
}

impl Default for OptimizerTable {
    fn default() -> Self {
        // The published run: ×0.4 at epoch 400 of 440.
        Self {
            lr: 0.06,
            momentum: 0.9,
            head_momentum: 0.0,
            weight_decay: 1e-5,
            decay_at: vec![400.0 / 440.0],
            gamma: 0.4,
        }
    }
}

/// What happens when a run goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reaction {
    /// Say so and go on.
    #[default]
    Warn,
    /// Stop with an error; the newest checkpoint is from before it went wrong.
    Stop,
}

/// Of which views the written backbone's batch norm holds mean and variance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalStatistics {
    /// As training left them: of the training views of its last batches (the reference).
    #[default]
    Running,
    /// Of plain views, which are what a trained network sees.
    Plain,
}

/// `[training]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingTable {
    /// Epochs of N draws.
    pub epochs: u64,
    /// B. Without it: 128 (32 from side 128 on), at most N / 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// Iterations between lines of the log.
    pub log_every: u64,
    /// Iterations between checkpoints: the most that a killed process loses.
    pub checkpoint_every: u64,
    /// Checkpoints kept; older ones are deleted.
    pub checkpoints_kept: usize,
    /// What the batch norm of `backbone.safetensors` holds: `running` means and variances as training left them, or those
    /// of `plain` views (up to 2,560 images). Checkpoints keep the former.
    pub final_statistics: FinalStatistics,
    /// A loss or feature that is no number: `stop`, or `warn` to leave that batch out and go on.
    pub on_nan: Reaction,
    /// Nearly all images in few clusters, labels that never settle, dead features: `warn` or `stop`.
    pub on_collapse: Reaction,
}

impl Default for TrainingTable {
    fn default() -> Self {
        Self {
            epochs: 100,
            batch_size: None,
            log_every: 10,
            checkpoint_every: 200,
            checkpoints_kept: 2,
            final_statistics: FinalStatistics::Running,
            on_nan: Reaction::Stop,
            on_collapse: Reaction::Warn,
        }
    }
}

/// `[evaluation]`: the score of a run's own images before and after training, where they have true labels. Each
/// fifth of them is scored against the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationTable {
    /// At most so many images, drawn from all of them; 0 leaves the evaluation out.
    pub images: usize,
    /// Neighbours that vote.
    pub knn_k: usize,
    /// Temperature of the votes.
    pub temperature: f32,
}

impl Default for EvaluationTable {
    fn default() -> Self {
        Self { images: 10_000, knn_k: 20, temperature: 0.07 }
    }
}
