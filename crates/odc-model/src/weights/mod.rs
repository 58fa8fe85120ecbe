//! Weights in and out: safetensors files with torchvision's names and layout, both ways.
//!
//! A file written here loads into torchvision with `load_state_dict(load_file(path), strict=True)` (the classifier
//! `fc` replaced by `Identity`); torchvision's own `state_dict`, saved with `safetensors.torch.save_file`, loads here.

mod describe;
mod file;
mod report;

use std::collections::HashMap;
use std::path::Path;

use candle_core::safetensors::Load;
use candle_core::{Device, Error, Result, Tensor};
use safetensors::SafeTensors;

use self::file::WeightFile;
use crate::params::Params;

pub use describe::{Description, Guess, TensorDescription, describe};
pub use file::write_atomically;
pub use report::{LoadReport, Mismatch};

/// Writes everything in `params` to a safetensors file: f32 in PyTorch's layout, `num_batches_tracked` as i64 scalars,
/// and in the header what the network is (`arch`, `width`, `stem`). Equal weights make equal bytes.
///
/// The file appears complete or not at all: it is written beside `path`, flushed to the disk and renamed.
///
/// # Errors
/// Names the file where it cannot be written; what was at `path` is then still there.
pub fn save(params: &Params, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let mut metadata = params.about().clone();
    metadata.insert("format".to_owned(), "pt".to_owned());
    let bytes = file::to_bytes(&params.named_tensors()?, &metadata)?;
    write_atomically(path, &bytes)
        .map_err(|error| Error::Msg(format!("cannot write the weights {}: {error}", path.display())))
}

/// Fills every entry of `params` from a file.
///
/// The file may carry a prefix (`backbone.`, `module.`, `encoder_q.`); a classifier `fc.` in it, and a neck and head where
/// `params` has none, are ignored. Half and double precision are converted to f32.
///
/// # Errors
/// Where the file cannot be read, is no safetensors file, lacks an entry, has one too many or one of another
/// shape, or says itself that it is another network. Nothing has then been changed.
pub fn load_strict(params: &Params, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let bytes = file::read(path)?;
    let file = file::parse(path, &bytes)?;
    let (report, matches) = compare(params, path, &file)?;
    if report.is_another_network() || report.note.is_some() {
        return refuse(format!("{report}\n{ANOTHER_NETWORK}"));
    }
    if !report.is_complete() {
        return refuse(format!("{report}\nNothing was loaded: every tensor must be there, and no other."));
    }
    copy(params, &file.tensors, &matches)
}

/// Fills the entries of `params` that a file has in the right shape, and tells what it found. Names and numbers are
/// treated as by [`load_strict`].
///
/// For weights that another method learned: a missing counter or another stem is no obstacle there, but look at
/// [`LoadReport::is_complete`] or print the report.
///
/// # Errors
/// Where the file cannot be read, is no safetensors file, nothing in it fits, or its tensors are those of another
/// architecture or width: half a network is worth nothing. Nothing has then been changed.
pub fn load_reported(params: &Params, path: impl AsRef<Path>) -> Result<LoadReport> {
    let path = path.as_ref();
    let bytes = file::read(path)?;
    let file = file::parse(path, &bytes)?;
    let (report, matches) = compare(params, path, &file)?;
    if report.is_another_network() {
        return refuse(format!("{report}\n{ANOTHER_NETWORK}"));
    }
    if report.matched.is_empty() {
        return refuse(format!("{report}\nNothing was loaded: no tensor of the file fits the network."));
    }
    copy(params, &file.tensors, &matches)?;
    Ok(report)
}

const ANOTHER_NETWORK: &str = "Nothing was loaded. Use the arch, width and stem that the file was made with.";

/// Prefixes that other programs put before a backbone's names.
const PREFIXES: [&str; 3] = ["module.", "backbone.", "encoder_q."];

/// A file's name without the prefixes.
fn without_prefixes(mut name: &str) -> &str {
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        name = rest;
    }
    name
}

/// What of a file fits where: the report, and pairs (name in the network, name in the file).
fn compare(params: &Params, path: &Path, file: &WeightFile<'_>) -> Result<(LoadReport, Vec<(String, String)>)> {
    let has_part = |part: &str| params.names().any(|name| name.starts_with(part));
    let mut source_of: HashMap<&str, &str> = HashMap::new();
    let mut unexpected = Vec::new();
    let mut ignored = Vec::new();
    let mut file_names = file.tensors.names();
    file_names.sort_unstable();
    for file_name in file_names {
        let bare = without_prefixes(file_name);
        let entry = params.get(file_name).or_else(|| params.get(bare));
        match entry {
            Some(entry) => {
                if let Some(other) = source_of.insert(entry.name(), file_name) {
                    let (file, name) = (path.display(), entry.name());
                    return refuse(format!("{file}: both {other:?} and {file_name:?} are {name}; keep one of them"));
                }
            }
            None if bare.starts_with("fc.") => ignored.push(file_name.to_owned()),
            None if ["neck.", "head."].iter().any(|part| bare.starts_with(part) && !has_part(part)) => {
                ignored.push(file_name.to_owned());
            }
            None => unexpected.push(file_name.to_owned()),
        }
    }
    let mut report = LoadReport::new(path, params, file, unexpected, ignored);
    let mut matches = Vec::new();
    for entry in params.entries() {
        let Some(file_name) = source_of.get(entry.name()) else {
            report.missing.push(entry.name().to_owned());
            continue;
        };
        let view = file.tensors.tensor(file_name).map_err(Error::wrap)?;
        if view.shape() == entry.file_shape() {
            report.matched.push(entry.name().to_owned());
            matches.push((entry.name().to_owned(), (*file_name).to_owned()));
        } else {
            report.mismatched.push(Mismatch {
                name: entry.name().to_owned(),
                in_file: view.shape().to_vec(),
                in_network: entry.file_shape(),
            });
        }
    }
    Ok((report, matches))
}

/// An error without the backtrace that `bail!` would add: these messages are read by users.
fn refuse<T>(message: String) -> Result<T> {
    Err(Error::Msg(message))
}

/// Every tensor is read before the first is copied in.
fn copy(params: &Params, tensors: &SafeTensors<'_>, matches: &[(String, String)]) -> Result<()> {
    let read =
        |file_name: &String| -> Result<Tensor> { tensors.tensor(file_name).map_err(Error::wrap)?.load(&Device::Cpu) };
    let loaded = matches.iter().map(|(name, file_name)| Ok((name, read(file_name)?))).collect::<Result<Vec<_>>>()?;
    for (name, tensor) in loaded {
        params.set(name, &tensor)?;
    }
    Ok(())
}
