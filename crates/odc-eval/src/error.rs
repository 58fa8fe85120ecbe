//! What can keep features from being judged or written.

use std::path::{Path, PathBuf};

/// An error of this crate; its message names the thing, the value and what to do.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// There is nothing to work on.
    #[error("{what}: {reason}")]
    Empty {
        /// What was to be evaluated or extracted.
        what: &'static str,
        /// Why nothing is left, and what to do.
        reason: String,
    },
    /// Two things that go together have different sizes.
    #[error("{what}: {got} where {expected} is needed")]
    Size {
        /// What was counted.
        what: &'static str,
        /// The number found.
        got: usize,
        /// The number that fits.
        expected: usize,
    },
    /// A feature that is infinite or not a number.
    #[error(
        "feature {column} of {name} is {value}: the network gives numbers that cannot be compared; look at its weights"
    )]
    NotFinite {
        /// The image.
        name: String,
        /// Position in its feature.
        column: usize,
        /// The value.
        value: f32,
    },
    /// A setting outside its bounds.
    #[error("{name} = {value}: must be {bound}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// The value that was given.
        value: String,
        /// What is allowed.
        bound: &'static str,
    },
    /// Training a probe gave no numbers.
    #[error("the linear probe's loss is {loss} in epoch {epoch}: give a learning_rate below {learning_rate}")]
    Diverged {
        /// Epoch, from 0.
        epoch: usize,
        /// Its loss.
        loss: f64,
        /// Its learning rate.
        learning_rate: f32,
    },
    /// A file that cannot be written.
    #[error("cannot write {}: {reason}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// From the data.
    #[error(transparent)]
    Data(#[from] odc_data::DataError),
    /// From a tensor operation.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl EvalError {
    /// `value` of the setting `name` is not `bound`.
    pub(crate) fn setting(name: &'static str, value: impl ToString, bound: &'static str) -> Self {
        Self::Setting { name, value: value.to_string(), bound }
    }

    /// `path` cannot be written.
    pub(crate) fn write(path: &Path, reason: impl ToString) -> Self {
        Self::Write { path: path.to_owned(), reason: reason.to_string() }
    }
}
