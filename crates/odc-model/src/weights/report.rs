//! What loading a file found, said so that a user knows what to do.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::describe::Guess;
use super::file::WeightFile;
use crate::params::Params;

/// What of a file went where.
#[derive(Clone, Debug)]
pub struct LoadReport {
    /// The file.
    pub path: PathBuf,
    /// Entries of the network that the file fills.
    pub matched: Vec<String>,
    /// Entries of the network that the file lacks; they keep their values.
    pub missing: Vec<String>,
    /// Names in the file that the network does not have.
    pub unexpected: Vec<String>,
    /// Entries of another shape in the file; they keep their values.
    pub mismatched: Vec<Mismatch>,
    /// Names in the file that are left out on purpose: a classifier `fc.`, or a neck and head for a bare backbone.
    pub ignored: Vec<String>,
    /// What fits by its shapes but is not the same: the file's header says another stem.
    pub note: Option<String>,
    /// What network the file's shapes are, if a known one.
    pub(super) file_guess: Option<Guess>,
    /// What network is to be filled.
    pub(super) network_guess: Option<Guess>,
}

/// An entry whose shape in the file is not the network's. Both are in PyTorch's layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The entry's name in the network.
    pub name: String,
    /// Shape in the file.
    pub in_file: Vec<usize>,
    /// Shape in the network.
    pub in_network: Vec<usize>,
}

impl LoadReport {
    pub(super) fn new(
        path: &Path,
        params: &Params,
        file: &WeightFile<'_>,
        unexpected: Vec<String>,
        ignored: Vec<String>,
    ) -> Self {
        let own = params
            .entries()
            .iter()
            .map(|entry| (entry.name().to_owned(), entry.file_shape()))
            .collect::<HashMap<_, _>>();
        let header = file.metadata();
        let note = ["arch", "width", "stem"].iter().find_map(|key| {
            let (told, own) = (header.get(*key)?, params.about().get(*key)?);
            (told != own).then(|| format!("its header says {key} {told}, the network has {key} {own}"))
        });
        Self {
            path: path.to_owned(),
            matched: Vec::new(),
            missing: Vec::new(),
            unexpected,
            mismatched: Vec::new(),
            ignored,
            note,
            file_guess: Guess::from_shapes(&file.shapes()),
            network_guess: Guess::from_shapes(&own),
        }
    }

    /// Whether the file fills every entry of the network and holds nothing unknown.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mismatched.is_empty()
    }

    /// Whether file and network are both known networks and differ by more than the stem.
    pub(super) fn is_another_network(&self) -> bool {
        match (&self.file_guess, &self.network_guess) {
            (Some(file), Some(network)) => file.arch != network.arch || file.width != network.width,
            _ => false,
        }
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.matched.len() + self.missing.len() + self.mismatched.len();
        write!(formatter, "{}: ", self.path.display())?;
        match (&self.file_guess, &self.network_guess) {
            (Some(file), Some(network)) if file != network => {
                write!(formatter, "by its shapes the file is a {file}, the network is a {network}; ")?;
            }
            (None, Some(network)) => {
                write!(formatter, "the file is no backbone that is known here, the network is a {network}; ")?;
            }
            _ => {}
        }
        write!(formatter, "{} of the network's {total} tensors fit", self.matched.len())?;
        if let Some(note) = &self.note {
            write!(formatter, "\n  note: {note}")?;
        }
        list(formatter, "missing in the file", &self.missing)?;
        list(formatter, "unknown to the network", &self.unexpected)?;
        let mismatched = self
            .mismatched
            .iter()
            .map(|entry| {
                format!("{} is {:?} in the file, {:?} in the network", entry.name, entry.in_file, entry.in_network)
            })
            .collect::<Vec<_>>();
        list(formatter, "of another shape", &mismatched)?;
        list(formatter, "left out on purpose", &self.ignored)
    }
}

/// A line with the number, and the first few.
fn list(formatter: &mut fmt::Formatter<'_>, what: &str, items: &[String]) -> fmt::Result {
    const SHOWN: usize = 3;
    if items.is_empty() {
        return Ok(());
    }
    write!(formatter, "\n  {} {what}: {}", items.len(), items[..items.len().min(SHOWN)].join(", "))?;
    if items.len() > SHOWN {
        write!(formatter, " … and {} more", items.len() - SHOWN)?;
    }
    Ok(())
}
