//! Checkpoints: network, optimiser, both memories and the place in the run, in one safetensors file each.
//!
//! The order of images, their augmentation and dropout are drawn from (seed, epoch, position) and (seed, iteration):
//! the iteration is all the random state there is.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use odc_memory::{Memory, MemoryState};
use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

use crate::files::write_atomically;
use crate::scores::Scores;
use crate::{Recipe, Trainer, TrainerError};

/// All that is needed to go on bit for bit.
pub struct Checkpoint {
    /// Iterations done.
    pub iteration: u64,
    /// The resolved recipe.
    pub recipe: Recipe,
    /// The images of the data set that could be decoded at the start, by index: sample i of the memory is image
    /// `images[i]`.
    pub images: Vec<u32>,
    /// Checks that the data set is still the same.
    pub fingerprint: u32,
    /// What the features were worth before training.
    pub before: Scores,
    path: PathBuf,
    tensors: HashMap<String, Tensor>,
}

/// A tensor's bytes on their way into a file.
struct Bytes<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Cow<'a, [u8]>,
}

impl View for &Bytes<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

impl Checkpoint {
    /// Writes `checkpoints/iteration-<n>.safetensors` of a run folder, atomically, and deletes all but the newest
    /// `recipe.training.checkpoints_kept`.
    ///
    /// # Errors
    /// Names the file where it cannot be written; earlier checkpoints are then untouched.
    pub fn save(
        folder: &Path,
        trainer: &Trainer,
        recipe: &Recipe,
        images: &[u32],
        fingerprint: u32,
        before: &Scores,
    ) -> Result<PathBuf, TrainerError> {
        let memory = &trainer.memory;
        let mut tensors: Vec<(String, Bytes<'_>)> = Vec::new();
        for (name, tensor) in trainer.network.params().named_tensors()? {
            let bytes = tensor_bytes(&tensor)?;
            check_finite(&name, &bytes)?;
            tensors.push((format!("network.{name}"), bytes));
        }
        for (position, velocity) in trainer.sgd.velocities().into_iter().enumerate() {
            tensors.push((format!("velocity.{position:04}"), tensor_bytes(velocity)?));
        }
        let dim = memory.config().dim;
        tensors.push(("memory.features".into(), float_bytes(memory.features(), dim)));
        tensors.push(("memory.centroids".into(), float_bytes(memory.centroids(), dim)));
        tensors.push(("memory.labels".into(), integer_bytes(memory.labels())));
        tensors.push(("memory.dirty".into(), flag_bytes(memory.dirty())));
        tensors.push(("data.images".into(), integer_bytes(images)));
        let header = Header {
            format: FORMAT.to_owned(),
            iteration: trainer.iteration(),
            recipe: recipe.to_toml(),
            fingerprint,
            before: before.clone(),
        };
        // One entry: the order of several in the file is that of a hash map, and equal states should be equal files.
        let metadata = HashMap::from([(HEADER.to_owned(), serde_json::to_string(&header).unwrap_or_default())]);
        let checkpoints = folder.join("checkpoints");
        std::fs::create_dir_all(&checkpoints).map_err(|error| TrainerError::file("create", &checkpoints, error))?;
        let path = checkpoints.join(format!("iteration-{:09}.safetensors", trainer.iteration()));
        let views = tensors.iter().map(|(name, bytes)| (name.as_str(), bytes));
        let bytes = safetensors::serialize(views, Some(metadata))
            .map_err(|error| TrainerError::Checkpoint { path: path.clone(), reason: error.to_string() })?;
        write_atomically(&path, &bytes)?;
        // What is newer than this state is of no use: an unreadable file that was passed over.
        let all = list(folder);
        let (older, newer): (Vec<_>, Vec<_>) = all.iter().partition(|other| **other <= path);
        let superseded = older.iter().rev().skip(recipe.training.checkpoints_kept.max(1));
        for old in superseded.chain(&newer) {
            // One that cannot be deleted costs space, not the run.
            if let Err(error) = std::fs::remove_file(old) {
                tracing::warn!(file = %old.display(), %error, "an old checkpoint could not be deleted");
            }
        }
        Ok(path)
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, TrainerError> {
        let wrong = |reason: String| TrainerError::Checkpoint { path: path.to_owned(), reason };
        let bytes = std::fs::read(path).map_err(|error| TrainerError::file("read the checkpoint", path, error))?;
        let (_, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|error| wrong(format!("not a safetensors file: {error}")))?;
        let header = metadata.metadata().as_ref().and_then(|metadata| metadata.get(HEADER));
        let header = header.ok_or_else(|| wrong(format!("its header lacks {HEADER:?}: it is no checkpoint of odc")))?;
        let header: Header =
            serde_json::from_str(header).map_err(|error| wrong(format!("its header cannot be read: {error}")))?;
        if header.format != FORMAT {
            return Err(wrong(format!("its format is {:?}, this program reads {FORMAT:?}", header.format)));
        }
        let mut tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?;
        let images = take(&mut tensors, "data.images", path)?.to_vec1::<u32>()?;
        Ok(Self {
            iteration: header.iteration,
            recipe: Recipe::from_toml("of the checkpoint", &header.recipe, &[])?,
            images,
            fingerprint: header.fingerprint,
            before: header.before,
            path: path.to_owned(),
            tensors,
        })
    }

    /// The memories as they were.
    ///
    /// # Errors
    /// Where the file lacks a part of them or the parts do not fit each other.
    pub fn memory(&mut self) -> Result<Memory, TrainerError> {
        let mut values =
            |name: &str| take(&mut self.tensors, name, &self.path)?.flatten_all().map_err(TrainerError::from);
        let features = values("memory.features")?.to_vec1::<f32>()?;
        let centroids = values("memory.centroids")?.to_vec1::<f32>()?;
        let labels = values("memory.labels")?.to_vec1::<u32>()?;
        let dirty = values("memory.dirty")?.to_vec1::<u8>()?.into_iter().map(|flag| flag != 0).collect();
        let state = MemoryState { features, labels, centroids, dirty };
        Ok(Memory::restore(self.recipe.memory_config(), state)?)
    }

    /// The trainer as it was, of a run of `total` iterations.
    ///
    /// # Errors
    /// Where a tensor is missing or has another shape.
    pub fn into_trainer(mut self, total: u64) -> Result<Trainer, TrainerError> {
        let memory = self.memory()?;
        let mut trainer = Trainer::new(&self.recipe, crate::start::random_network(&self.recipe)?, memory, total)?;
        let params = trainer.network.params();
        for name in params.names() {
            let saved = take(&mut self.tensors, &format!("network.{name}"), &self.path)?;
            params.set(name, &saved)?;
        }
        let velocities = (0..trainer.sgd.velocities().len())
            .map(|position| take(&mut self.tensors, &format!("velocity.{position:04}"), &self.path))
            .collect::<Result<_, _>>()?;
        trainer.sgd.restore(velocities)?;
        trainer.continue_from(self.iteration);
        Ok(trainer)
    }
}

/// What a checkpoint says beside its tensors, as JSON in the file's header.
#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    iteration: u64,
    /// The resolved recipe, as TOML.
    recipe: String,
    fingerprint: u32,
    before: Scores,
}

/// Where the header stands.
const HEADER: &str = "odc_checkpoint";

/// Names the layout of the file; a later layout gets another name.
const FORMAT: &str = "odc-checkpoint-1";

/// The checkpoints of a run folder, oldest first.
pub fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("checkpoints")).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.starts_with("iteration-") && name.ends_with(".safetensors")
        })
        .collect();
    found.sort();
    found
}

/// The newest checkpoint that can be read; an unreadable one before it is passed over with a warning. `None` where there
/// are no checkpoints; the newest one's error where none can be read.
pub(crate) fn newest_readable(folder: &Path) -> Result<Option<Checkpoint>, TrainerError> {
    let mut newest_error = None;
    for path in list(folder).iter().rev() {
        match Checkpoint::read(path) {
            Ok(checkpoint) => return Ok(Some(checkpoint)),
            Err(error) => {
                tracing::warn!(%error, "an unreadable checkpoint is passed over");
                newest_error.get_or_insert(error);
            }
        }
    }
    newest_error.map_or(Ok(None), Err)
}

fn take(tensors: &mut HashMap<String, Tensor>, name: &str, path: &Path) -> Result<Tensor, TrainerError> {
    let reason = || TrainerError::Checkpoint { path: path.to_owned(), reason: format!("it lacks {name}") };
    tensors.remove(name).ok_or_else(reason)
}

fn tensor_bytes(tensor: &Tensor) -> Result<Bytes<'static>, TrainerError> {
    let shape = tensor.dims().to_vec();
    let flat = tensor.detach().flatten_all()?;
    let (dtype, bytes) = match tensor.dtype() {
        DType::F32 => (Dtype::F32, bytemuck::cast_slice(&flat.to_vec1::<f32>()?).to_vec()),
        DType::I64 => (Dtype::I64, bytemuck::cast_slice(&flat.to_vec1::<i64>()?).to_vec()),
        other => return Err(candle_core::Error::Msg(format!("a checkpoint holds no {other:?} tensors")).into()),
    };
    Ok(Bytes { dtype, shape, bytes: Cow::Owned(bytes) })
}

/// A network that holds numbers that are not finite cannot go on: better no checkpoint than one of it.
fn check_finite(name: &str, tensor: &Bytes<'_>) -> Result<(), TrainerError> {
    let (numbers, _) = tensor.bytes.as_chunks::<4>();
    let finite = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes).is_finite();
    if tensor.dtype != Dtype::F32 || numbers.iter().all(finite) {
        return Ok(());
    }
    Err(TrainerError::Unhealthy(format!(
        "the network's {name} holds numbers that are not finite, as happens when the learning rate is too high: no \
         checkpoint was written over the last good one. Start again with a lower --lr"
    )))
}

fn float_bytes(values: &[f32], dim: usize) -> Bytes<'_> {
    let bytes = Cow::Borrowed(bytemuck::cast_slice(values));
    Bytes { dtype: Dtype::F32, shape: vec![values.len() / dim.max(1), dim], bytes }
}

fn integer_bytes(values: &[u32]) -> Bytes<'_> {
    Bytes { dtype: Dtype::U32, shape: vec![values.len()], bytes: Cow::Borrowed(bytemuck::cast_slice(values)) }
}

fn flag_bytes(values: &[bool]) -> Bytes<'static> {
    let bytes: Vec<u8> = values.iter().map(|flag| u8::from(*flag)).collect();
    Bytes { dtype: Dtype::U8, shape: vec![bytes.len()], bytes: Cow::Owned(bytes) }
}
