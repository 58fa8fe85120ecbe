//! What a weight file holds, without a network to put it in.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use candle_core::{Device, Result};

use super::file::WeightFile;
use super::naming::Naming;
use super::stored_tensor::StoredTensor;
use crate::backbone::Backbone;
use crate::config::{Architecture, BackboneConfig, Stem};

/// What a weight file holds.
#[derive(Clone, Debug)]
pub struct Description {
    /// The file.
    pub path: PathBuf,
    /// Keys and values of the header; a file of this program has `arch`, `width` and `stem`.
    pub metadata: BTreeMap<String, String>,
    /// All tensors, in the order of the file.
    pub tensors: Vec<TensorDescription>,
    /// The backbone that the header names, if it does.
    pub backbone: Option<BackboneConfig>,
    /// The backbone that names and shapes tell of, if it is a known one.
    pub guess: Option<Guess>,
    /// How the file names the backbone, in words.
    pub naming: Option<String>,
}

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorDescription {
    /// Name in the file, prefix and containers included: `state_dict.module.conv1.weight`.
    pub name: String,
    /// Type of its numbers, as safetensors writes it: `F32`, `I64`.
    pub dtype: String,
    /// Shape in PyTorch's layout.
    pub shape: Vec<usize>,
}

/// A backbone as names and shapes tell of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guess {
    /// Depth and kind of blocks.
    pub arch: Architecture,
    /// Channels after the stem.
    pub width: usize,
    /// `None` where it is `cifar` or `small`: they differ by the stride, which no shape tells.
    pub stem: Option<Stem>,
    /// Whether its first convolution takes the two edges of Sobel's filters.
    pub sobel: bool,
}

/// Reads what a weight file holds.
///
/// # Errors
/// Where it cannot be read or is of no format that is known.
pub fn describe(path: impl AsRef<Path>) -> Result<Description> {
    let path = path.as_ref();
    let file = WeightFile::read(path)?;
    let guess = Guess::from_shapes(&file.shapes()).ok().flatten();
    let naming = recognise(&file.shapes()).ok().flatten().map(|naming| naming.to_string());
    let tensors = file
        .tensors
        .into_iter()
        .map(|StoredTensor { name, kind, shape, .. }| TensorDescription { name, dtype: kind, shape })
        .collect();
    let backbone = backbone_of(&file.metadata);
    Ok(Description { path: path.to_owned(), backbone, metadata: file.metadata, tensors, guess, naming })
}

fn backbone_of(metadata: &BTreeMap<String, String>) -> Option<BackboneConfig> {
    Some(BackboneConfig {
        arch: metadata.get("arch")?.parse().ok()?,
        width: metadata.get("width")?.parse().ok()?,
        stem: metadata.get("stem")?.parse().ok()?,
        // Written where it is true.
        sobel: metadata.get("sobel").is_some_and(|sobel| sobel == "true"),
    })
}

impl Description {
    /// Numbers in all tensors, buffers included.
    pub fn element_count(&self) -> usize {
        // A file may name any shape.
        let count = |shape: &[usize]| shape.iter().fold(1_usize, |count, length| count.saturating_mul(*length));
        self.tensors.iter().fold(0, |sum, tensor| sum.saturating_add(count(&tensor.shape)))
    }
}

impl Guess {
    /// The known backbone with tensors of these names (however a program names them) and shapes.
    ///
    /// # Errors
    /// Where there are two, and nothing says which is meant.
    pub(super) fn from_shapes(shapes: &[(&str, Vec<usize>)]) -> Result<Option<Self>> {
        let Some(naming) = recognise(shapes)? else { return Ok(None) };
        let shapes = shapes
            .iter()
            .filter_map(|(name, shape)| Some((naming.own(name)?, shape.as_slice())))
            .collect::<HashMap<_, _>>();
        Ok(Self::of_resnet(&shapes).or_else(|| Self::of_alexnet(&shapes)))
    }

    fn of_resnet(shapes: &HashMap<String, &[usize]>) -> Option<Self> {
        let [width, inputs, kernel, _] = **shapes.get("conv1.weight")? else { return None };
        let depth = |stage: usize| {
            (0..).take_while(|block| shapes.contains_key(&format!("layer{stage}.{block}.conv1.weight"))).count()
        };
        let depths = [1, 2, 3, 4].map(depth);
        let expansion = if shapes.contains_key("layer1.0.conv3.weight") { 4 } else { 1 };
        let arch = Architecture::ALL
            .into_iter()
            .find(|arch| arch.depths() == Some(depths) && arch.expansion() == expansion)?;
        let stem = match kernel {
            7 => Some(Stem::Imagenet),
            3 => None,
            _ => return None,
        };
        Some(Self { arch, width, stem, sobel: sees_edges(inputs)? })
    }

    fn of_alexnet(shapes: &HashMap<String, &[usize]>) -> Option<Self> {
        let [channels, inputs, kernel, _] = **shapes.get("features.0.weight")? else { return None };
        let width = channels / 3 * 2;
        if **shapes.get("classifier.4.bias")? != [64 * width] || !shapes.contains_key("features.1.running_mean") {
            return None;
        }
        let stem = match kernel {
            11 => Some(Stem::Imagenet),
            3 => None,
            _ => return None,
        };
        Some(Self { arch: Architecture::AlexNet, width, stem, sobel: sees_edges(inputs)? })
    }
}

/// Whether a first convolution of so many inputs stands behind Sobel's filters.
fn sees_edges(inputs: usize) -> Option<bool> {
    match inputs {
        3 => Some(false),
        2 => Some(true),
        _ => None,
    }
}

/// How a file names any of the known backbones.
fn recognise(shapes: &[(&str, Vec<usize>)]) -> Result<Option<Naming>> {
    let names = shapes.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    Naming::recognise(&names, &KNOWN.iter().map(String::as_str).collect())
}

/// The names of all architectures.
static KNOWN: LazyLock<HashSet<String>> = LazyLock::new(|| {
    // The narrowest of each: its names are those of any width.
    let backbone =
        |arch| Backbone::new(&BackboneConfig { arch, width: 2, ..BackboneConfig::default() }, 0, &Device::Cpu);
    let backbones = Architecture::ALL.into_iter().filter_map(|arch| backbone(arch).ok());
    backbones.flat_map(|backbone| backbone.params().names().map(str::to_owned).collect::<Vec<_>>()).collect()
});

impl fmt::Display for Guess {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stem = self.stem.map_or("cifar or small", Stem::name);
        write!(formatter, "{} of width {} with stem {stem}", self.arch, self.width)?;
        if self.sobel { formatter.write_str(" behind Sobel's filters") } else { Ok(()) }
    }
}

impl fmt::Display for Description {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} tensors, {} numbers", self.path.display(), self.tensors.len(), self.element_count())?;
        match (&self.backbone, &self.guess) {
            (Some(backbone), _) => write!(formatter, "\n  {backbone} (by its header)")?,
            (None, Some(guess)) => write!(formatter, "\n  {guess} (by its shapes)")?,
            (None, None) => write!(formatter, "\n  no backbone that is known here")?,
        }
        if let Some(naming) = &self.naming {
            write!(formatter, "\n  the names are {naming}")?;
        }
        for (key, value) in &self.metadata {
            write!(formatter, "\n  {key} = {value}")?;
        }
        for tensor in &self.tensors {
            write!(formatter, "\n  {} {:?} {}", tensor.name, tensor.shape, tensor.dtype)?;
        }
        Ok(())
    }
}
