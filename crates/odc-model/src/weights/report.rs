//! What loading a file found, said so that a user knows what to do.

use std::fmt;
use std::path::{Path, PathBuf};

use candle_core::Result;

use super::describe::Guess;
use super::file::WeightFile;
use super::naming::Naming;
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
    /// Names in the file that are left out on purpose: what follows a backbone (a classifier, a projection, a queue), or belongs
    /// to another network beside it.
    pub ignored: Vec<String>,
    /// How the file names the network, in words; `None` where it has none of the network's names.
    pub naming: Option<String>,
    /// The share of the network's tensors that the file fills; counters of batch norm and Sobel's constants do not count.
    pub share: f64,
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
    /// A report that says nothing yet of single tensors.
    pub(super) fn new(path: &Path, params: &Params, file: &WeightFile, naming: Option<&Naming>) -> Result<Self> {
        let own = params.entries().iter().map(|entry| (entry.name(), entry.file_shape())).collect::<Vec<_>>();
        let header = &file.metadata;
        let note = ["arch", "width", "stem"].iter().find_map(|key| {
            let (told, own) = (header.get(*key)?, params.about().get(*key)?);
            (told != own).then(|| format!("its header says {key} {told}, the network has {key} {own}"))
        });
        Ok(Self {
            path: path.to_owned(),
            matched: Vec::new(),
            missing: Vec::new(),
            unexpected: Vec::new(),
            mismatched: Vec::new(),
            ignored: Vec::new(),
            naming: naming.map(ToString::to_string),
            share: 0.0,
            note,
            file_guess: Guess::from_shapes(&file.shapes())?,
            network_guess: Guess::from_shapes(&own)?,
        })
    }

    /// Whether the file fills every entry of the network and holds nothing unknown.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mismatched.is_empty()
    }

    /// Whether file and network are both known networks and differ by more than the stem.
    pub(super) fn is_another_network(&self) -> bool {
        match (&self.file_guess, &self.network_guess) {
            (Some(file), Some(network)) => {
                (file.arch, file.width, file.sobel) != (network.arch, network.width, network.sobel)
            }
            _ => false,
        }
    }

    /// The report with every name; `Display` gives the first few of each kind.
    pub fn in_full(&self) -> String {
        self.told(usize::MAX)
    }

    fn told(&self, shown: usize) -> String {
        let total = self.matched.len() + self.missing.len() + self.mismatched.len();
        let mut text = format!("{}: ", self.path.display());
        match (&self.file_guess, &self.network_guess) {
            (Some(file), Some(network)) if file != network => {
                text += &format!("by its shapes the file is {file}, the network is {network}; ");
            }
            (None, Some(network)) => {
                text += &format!("the file is no backbone that is known here, the network is {network}; ");
            }
            _ => {}
        }
        text += &format!("{} of the network's {total} tensors fit", self.matched.len());
        if let Some(naming) = &self.naming {
            text += &format!("; the names are {naming}");
        }
        if let Some(note) = &self.note {
            text += &format!("\n  note: {note}");
        }
        let mismatched = self.mismatched.iter().map(ToString::to_string).collect::<Vec<_>>();
        text += &list("missing in the file", &self.missing, shown);
        text += &list("unknown to the network", &self.unexpected, shown);
        text += &list("of another shape", &mismatched, shown);
        text + &list("left out on purpose", &self.ignored, SHOWN)
    }
}

/// Names of each kind in a warning.
const SHOWN: usize = 3;

impl fmt::Display for LoadReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.told(SHOWN))
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, in_file, in_network } = self;
        write!(formatter, "{name} is {in_file:?} in the file, {in_network:?} in the network")
    }
}

/// A line with the number, and the first few.
fn list(what: &str, items: &[String], shown: usize) -> String {
    if items.is_empty() {
        return String::new();
    }
    let line = format!("\n  {} {what}: {}", items.len(), items[..items.len().min(shown)].join(", "));
    if items.len() > shown { format!("{line} … and {} more", items.len() - shown) } else { line }
}
