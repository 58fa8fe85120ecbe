//! The conductors: recipe, iteration, checkpoints, the run folder.
//!
//! [`Trainer::step`] is one iteration of Online Deep Clustering on one screen. [`DeepCluster`] and [`Rotation`] are other
//! conductors over the same instruments. [`Run`] moves any [`Conductor`] through a recipe and keeps its folder.
//! This crate calls; it does not compute: operations, memories, clustering and scores are the other crates'.
//!
//! Invariants: a checkpoint file is complete or absent; a run that goes on from one gives the bits of a run that was
//! never stopped; neither the number of threads nor that of workers changes a result.

mod checkpoint;
mod classify;
mod conductor;
mod deep_cluster;
mod error;
mod files;
mod first_network;
mod health;
mod learner;
mod log;
mod log_statistics;
mod recipe;
mod rotation;
mod run;
mod scores;
mod skipped;
mod start;
mod statistics;
mod step;
mod summary;
mod tensorboard;
mod trainer;

pub use checkpoint::{Checkpoint, RunState, list as checkpoints};
pub use conductor::Conductor;
pub use deep_cluster::{DeepCluster, EpochClustering};
pub use error::TrainerError;
pub use log::{ClusteringLine, LogEvent, LogLine, read_events, read_log};
pub use log_statistics::{EpochSeconds, LossCurve, Spread, epoch_borders, epoch_middles, mean_of_last_epoch, median};
pub use recipe::{
    Balance, Convolution, DataTable, DeepClusterTable, EvaluationTable, FinalStatistics, InitialFeatures, KMeansTable,
    MemoryTable, Method, ModelTable, OptimizerTable, Reaction, Recipe, TrainingTable, read_recipe,
};
pub use rotation::Rotation;
pub use run::{Progress, Run};
pub use scores::Scores;
pub use start::Stage;
pub use step::{StepOutcome, StepReport};
pub use summary::Summary;
pub use trainer::Trainer;
