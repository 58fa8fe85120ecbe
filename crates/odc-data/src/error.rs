//! What can go wrong between a path and an image.

use std::path::{Path, PathBuf};

/// An error of this crate. Every message names the thing, and what to do where something can be done.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder that the user named is not there.
    #[error("{}: no such file or folder; give an existing path, or `shapes` for the generated set", path.display())]
    Missing {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The operating system refused to read.
    #[error("{}: {source}", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A source that can be read, but has no image in it.
    #[error("{}: {reason}", path.display())]
    Empty {
        /// The source.
        path: PathBuf,
        /// What was looked for, and what to do.
        reason: String,
    },
    /// A source (list file, parquet, CIFAR binary) whose contents are not what its format promises.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The source.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// One image that cannot be decoded; training skips it and lists it.
    #[error("{name}: {reason}")]
    Undecodable {
        /// The image's name.
        name: String,
        /// Why not.
        reason: String,
    },
    /// A setting outside its bounds.
    #[error("{name} = {value}: must be {bound}")]
    Setting {
        /// The setting's name in the recipe.
        name: String,
        /// The value that was given.
        value: String,
        /// What is allowed.
        bound: String,
    },
    /// An index past the end of a data set.
    #[error("image {index} was asked for, but the data set has {len}")]
    OutOfRange {
        /// The index.
        index: usize,
        /// The number of images.
        len: usize,
    },
}

impl DataError {
    /// The reason without the name of the image, for reports that print the name in a column of its own.
    pub fn reason(&self) -> String {
        match self {
            Self::Undecodable { reason, .. } => reason.clone(),
            Self::Read { source, .. } => source.to_string(),
            other => other.to_string(),
        }
    }

    pub(crate) fn undecodable(name: &str, reason: impl Into<String>) -> Self {
        Self::Undecodable { name: name.to_owned(), reason: reason.into() }
    }

    pub(crate) fn malformed(path: &Path, reason: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn empty(path: &Path, reason: impl Into<String>) -> Self {
        Self::Empty { path: path.to_owned(), reason: reason.into() }
    }

    /// `Missing` where nothing is at the path, otherwise `Read`.
    pub(crate) fn read(path: &Path, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::NotFound {
            return Self::Missing { path: path.to_owned() };
        }
        Self::Read { path: path.to_owned(), source }
    }
}
