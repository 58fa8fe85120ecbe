//! Weights in and out: safetensors files with torchvision's names and layout both ways; PyTorch's own files, and other
//! programs' names, inwards.
//!
//! A file written here loads into torchvision with `load_state_dict(load_file(path), strict=True)` (the classifier
//! `fc` replaced by `Identity`); torchvision's own `state_dict`, as safetensors or as `torch.save` writes it, loads here.
//! Reading a PyTorch file runs no code of it.

mod describe;
mod file;
mod naming;
mod pickle;
mod report;
mod stored_tensor;
mod torch;

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Error, Result, Tensor};

use self::file::WeightFile;
use self::naming::Naming;
use crate::params::{Entry, Params, Value};

pub use describe::{Description, Guess, TensorDescription, describe};
pub use file::write_atomically;
pub use report::{LoadReport, Mismatch};

/// Writes everything in `params` to a safetensors file: f32 in PyTorch's layout, `num_batches_tracked` as i64 scalars,
/// and in the header what the network is (`arch`, `width`, `stem`, `sobel`). Equal weights make equal bytes.
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

/// How much of a network a file of another method must fill, and how it sees colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadOptions {
    /// The least share of the network's tensors that the file must hold; counters of batch norm and Sobel's constants do not
    /// count. 1 by default.
    pub share: f64,
    /// Whether the file's network sees blue, green, red, as those from Caffe do: the first convolution's inputs are then
    /// turned round.
    pub bgr: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { share: 1.0, bgr: false }
    }
}

/// Fills every entry of `params` from a file.
///
/// The file may carry prefixes (`backbone.`, `module.`, …); classifiers in it, and a neck and head where `params` has none, are
/// ignored. Half and double precision are converted to f32.
///
/// # Errors
/// Where the file cannot be read, is of no format that is known, lacks an entry, has one too many or one of another
/// shape, or says itself that it is another network. Nothing has then been changed.
pub fn load_strict(params: &Params, path: impl AsRef<Path>) -> Result<()> {
    let comparison = Comparison::of(params, path.as_ref())?;
    let report = &comparison.report;
    if report.is_another_network() || report.note.is_some() {
        return refuse(format!("{}\n{ANOTHER_NETWORK}", report.in_full()));
    }
    if !report.is_complete() {
        return refuse(format!("{}\nNothing was loaded: every tensor must be there, and no other.", report.in_full()));
    }
    comparison.copy(params, false)
}

/// Fills the entries of `params` that a file has, and tells what it found: for weights that another method or program
/// learned. How the file names things is found out; numbers are converted as by [`load_strict`].
///
/// A missing counter or a stem of another stride is no obstacle here, but look at [`LoadReport::is_complete`] or print the report.
///
/// # Errors
/// Where the file cannot be read or is of no format that is known, holds less than the share that is asked for, or a tensor of
/// another shape; with all names. Nothing has then been changed.
pub fn load_reported(params: &Params, path: impl AsRef<Path>, options: &LoadOptions) -> Result<LoadReport> {
    let comparison = Comparison::of(params, path.as_ref())?;
    let report = &comparison.report;
    if report.is_another_network() || !report.mismatched.is_empty() {
        return refuse(format!("{}\n{ANOTHER_NETWORK}", report.in_full()));
    }
    if report.matched.is_empty() {
        return refuse(format!("{}\nNothing was loaded: no tensor of the file fits the network.", report.in_full()));
    }
    if report.share < options.share {
        return refuse(format!(
            "{}\nNothing was loaded: the file holds {:.1} % of the network's tensors, {:.1} % are asked for.",
            report.in_full(),
            100.0 * report.share,
            100.0 * options.share
        ));
    }
    comparison.copy(params, options.bgr)?;
    Ok(comparison.report)
}

const ANOTHER_NETWORK: &str = "Nothing was loaded. Use the arch, width, stem and sobel that the file was made with.";

/// A file beside a network.
struct Comparison {
    file: WeightFile,
    report: LoadReport,
    /// Names in the network, positions in the file.
    matches: Vec<(String, usize)>,
}

impl Comparison {
    /// What of a file fits where.
    fn of(params: &Params, path: &Path) -> Result<Self> {
        let file = WeightFile::read(path)?;
        let file_names = file.tensors.iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>();
        let naming = Naming::recognise(&file_names, &params.names().collect())
            .map_err(|error| Error::Msg(format!("{}: {error}", path.display())))?;
        let mut report = LoadReport::new(path, params, &file, naming.as_ref())?;
        let mut place_of: HashMap<String, usize> = HashMap::new();
        for (position, name) in file_names.into_iter().enumerate() {
            match naming.as_ref().and_then(|naming| naming.own(name)).filter(|own| params.get(own).is_some()) {
                Some(own) => {
                    place_of.insert(own, position);
                }
                None if naming.as_ref().is_some_and(|naming| naming.is_of_another_part(name)) => {
                    report.ignored.push(name.to_owned());
                }
                None => report.unexpected.push(name.to_owned()),
            }
        }
        let mut matches = Vec::new();
        for entry in params.entries() {
            let name = entry.name().to_owned();
            let Some(position) = place_of.get(entry.name()) else {
                report.missing.push(name);
                continue;
            };
            let (in_file, in_network) = (file.tensors[*position].shape.clone(), entry.file_shape());
            if in_file == in_network {
                report.matched.push(name.clone());
                matches.push((name, *position));
            } else {
                report.mismatched.push(Mismatch { name, in_file, in_network });
            }
        }
        report.share = share(params, &report.matched);
        Ok(Self { file, report, matches })
    }

    /// Every tensor is read before the first is copied in.
    fn copy(&self, params: &Params, bgr: bool) -> Result<()> {
        let load = |position: usize| -> Result<Tensor> { self.file.load(&self.file.tensors[position]) };
        let loaded =
            self.matches.iter().map(|(name, position)| Ok((name, load(*position)?))).collect::<Result<Vec<_>>>()?;
        let first = params.entries().iter().find(|entry| matches!(entry.value(), Value::Convolution(_)));
        let first = first.filter(|_| bgr).map(Entry::name);
        if let Some(entry) = first.and_then(|name| params.get(name)).filter(|entry| entry.file_shape()[1] != 3) {
            let (path, name) = (self.report.path.display(), entry.name());
            return refuse(format!("{path}: {name} sees no colours, so their order cannot be turned round (init_bgr)"));
        }
        for (name, tensor) in loaded {
            if first == Some(name) {
                params.set(name, &tensor.index_select(&Tensor::new(&[2_u32, 1, 0], &Device::Cpu)?, 1)?)?;
            } else {
                params.set(name, &tensor)?;
            }
        }
        Ok(())
    }
}

/// The share of the network's tensors that are there: counters and constants aside.
fn share(params: &Params, matched: &[String]) -> f64 {
    let counts =
        |entry: &Entry| !matches!(entry.value(), Value::Counter(_) | Value::Frozen(_) | Value::FrozenConvolution(_));
    let total = params.entries().iter().filter(|entry| counts(entry)).count();
    let there = matched.iter().filter_map(|name| params.get(name)).filter(|entry| counts(entry)).count();
    there as f64 / total.max(1) as f64
}

/// An error without the backtrace that `bail!` would add: these messages are read by users.
fn refuse<T>(message: String) -> Result<T> {
    Err(Error::Msg(message))
}
