//! The conductor of Online Deep Clustering: recipe, iteration, checkpoints, the run folder.
//!
//! [`Trainer::step`] is one iteration on one screen. [`Run`] moves a trainer through a recipe and keeps its folder.
//! This crate calls; it does not compute: operations, memories, clustering and scores are the other crates'.
//!
//! Invariants: a checkpoint file is complete or absent; a run that goes on from one gives the bits of a run that was
//! never stopped; neither the number of threads nor that of workers changes a result.

mod checkpoint;
mod error;
mod files;
mod health;
mod log;
mod recipe;
mod run;
mod scores;
mod skipped;
mod start;
mod summary;
mod tensorboard;
mod trainer;

pub use checkpoint::{Checkpoint, list as checkpoints};
pub use error::TrainerError;
pub use log::{LogLine, read_log};
pub use recipe::{
    Convolution, DataTable, EvaluationTable, InitialFeatures, KMeansTable, MemoryTable, ModelTable, OptimizerTable,
    Reaction, Recipe, TrainingTable, read_recipe,
};
pub use run::{Progress, Run};
pub use scores::Scores;
pub use start::Stage;
pub use summary::Summary;
pub use trainer::{StepOutcome, StepReport, Trainer};
