//! Why a run cannot start or go on.

use std::path::{Path, PathBuf};

/// An error of the trainer; its message names the thing, the value and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TrainerError {
    /// A recipe, a setting or a combination of settings that cannot work.
    #[error("{0}")]
    Recipe(String),
    /// A run folder that is not in the state the command needs.
    #[error("{0}")]
    RunFolder(String),
    /// A file that could not be read or written.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A checkpoint whose content does not fit the run.
    #[error("checkpoint {}: {reason}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// Training that went wrong and was told to stop then.
    #[error("{0}")]
    Unhealthy(String),
    /// From the data.
    #[error(transparent)]
    Data(#[from] odc_data::DataError),
    /// From the memories.
    #[error(transparent)]
    Memory(#[from] odc_memory::MemoryError),
    /// From the initial clustering.
    #[error(transparent)]
    KMeans(#[from] odc_kmeans::KMeansError),
    /// From the evaluation.
    #[error(transparent)]
    Evaluation(#[from] odc_eval::EvalError),
    /// From a tensor operation.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl TrainerError {
    /// A file error with its place.
    pub(crate) fn file(what: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::File { what, path: path.to_owned(), source }
    }
}
