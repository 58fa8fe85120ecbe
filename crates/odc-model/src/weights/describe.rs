//! What a weight file holds, without a network to put it in.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use candle_core::Result;

use super::{file, without_prefixes};
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
}

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorDescription {
    /// Name in the file, prefix included.
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
}

/// Reads what a weight file holds.
///
/// # Errors
/// Where it cannot be read or is no safetensors file.
pub fn describe(path: impl AsRef<Path>) -> Result<Description> {
    let path = path.as_ref();
    let bytes = file::read(path)?;
    let file = file::parse(path, &bytes)?;
    let tensors = file
        .header
        .offset_keys()
        .into_iter()
        .filter_map(|name| {
            let info = file.header.info(&name)?;
            Some(TensorDescription { dtype: info.dtype.to_string(), shape: info.shape.clone(), name })
        })
        .collect::<Vec<_>>();
    let metadata = file.metadata();
    let guess = Guess::from_shapes(&file.shapes());
    Ok(Description { path: path.to_owned(), backbone: backbone_of(&metadata), metadata, tensors, guess })
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
        self.tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum()
    }
}

impl Guess {
    /// The known backbone with tensors of these names (prefixes aside) and shapes.
    pub(super) fn from_shapes(shapes: &HashMap<String, Vec<usize>>) -> Option<Self> {
        let shapes =
            shapes.iter().map(|(name, shape)| (without_prefixes(name), shape.as_slice())).collect::<HashMap<_, _>>();
        let [width, 3, kernel, _] = **shapes.get("conv1.weight")? else { return None };
        let depth = |stage: usize| {
            (0..).take_while(|block| shapes.contains_key(format!("layer{stage}.{block}.conv1.weight").as_str())).count()
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
        Some(Self { arch, width, stem })
    }
}

impl fmt::Display for Guess {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stem = self.stem.map_or("cifar or small", Stem::name);
        write!(formatter, "{} of width {} with stem {stem}", self.arch, self.width)
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
        for (key, value) in &self.metadata {
            write!(formatter, "\n  {key} = {value}")?;
        }
        for tensor in &self.tensors {
            write!(formatter, "\n  {} {:?} {}", tensor.name, tensor.shape, tensor.dtype)?;
        }
        Ok(())
    }
}
