//! Checkpoints: network, optimiser, what the method clusters by and the place in the run, in one safetensors file each.
//!
//! The order of images, their augmentation and dropout are drawn from (seed, epoch, position) and (seed, iteration);
//! Deep Clustering's order from its labels too, which are in the file. So the iteration is all the random state there is.

mod tensors;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use odc_kmeans::Whitening;
use odc_memory::{Memory, MemoryState};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use crate::files::write_atomically;
use crate::first_network::{random_classifier, random_network};
use crate::recipe::Method;
use crate::scores::Scores;
use crate::{Conductor, DeepCluster, EpochClustering, Recipe, Rotation, Trainer, TrainerError};
use tensors::{Bytes, check_finite, flag_bytes, float_bytes, integer_bytes, number_bytes, take, tensor_bytes};

/// All that is needed to go on bit for bit.
pub struct Checkpoint {
    /// Iterations done.
    pub iteration: u64,
    /// What the run holds beside its conductor.
    pub run: RunState,
    path: PathBuf,
    tensors: HashMap<String, Tensor>,
}

/// What a run holds beside its conductor.
#[derive(Clone, Debug)]
pub struct RunState {
    /// The resolved recipe.
    pub recipe: Recipe,
    /// The images of the data set that could be decoded at the start, by index: sample i is image `images[i]`.
    pub images: Vec<u32>,
    /// Checks that the data set is still the same.
    pub fingerprint: u32,
    /// What the features were worth before training.
    pub before: Scores,
    /// The pseudo-labels at the end of the epoch before this one, where there were any.
    pub earlier_labels: Option<Vec<u32>>,
}

impl Checkpoint {
    /// Writes `checkpoints/iteration-<n>.safetensors` of a run folder, atomically, and deletes all but the newest
    /// `recipe.training.checkpoints_kept`.
    ///
    /// # Errors
    /// Names the file where it cannot be written; earlier checkpoints are then untouched.
    pub fn save(folder: &Path, conductor: &Conductor, run: &RunState) -> Result<PathBuf, TrainerError> {
        let mut tensors: Vec<(String, Bytes<'_>)> = Vec::new();
        for (name, tensor) in conductor.params().named_tensors()? {
            let bytes = tensor_bytes(&tensor)?;
            check_finite(&name, &bytes)?;
            tensors.push((format!("network.{name}"), bytes));
        }
        for (position, velocity) in conductor.learner().sgd.velocities().into_iter().enumerate() {
            tensors.push((format!("velocity.{position:04}"), tensor_bytes(velocity)?));
        }
        let clusters = match conductor {
            Conductor::Odc(trainer) => of_memory(&trainer.memory),
            Conductor::DeepCluster(deep_cluster) => of_clustering(deep_cluster.clustering()),
            Conductor::Rotation(_) => Vec::new(),
        };
        tensors.extend(clusters.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)));
        tensors.push(("data.images".into(), integer_bytes(&run.images)));
        if let Some(labels) = &run.earlier_labels {
            tensors.push((EARLIER_LABELS.into(), integer_bytes(labels)));
        }
        let header = Header {
            format: FORMAT.to_owned(),
            iteration: conductor.iteration(),
            recipe: run.recipe.to_toml(),
            fingerprint: run.fingerprint,
            before: run.before.clone(),
        };
        // One entry: the order of several in the file is that of a hash map, and equal states should be equal files.
        let metadata = HashMap::from([(HEADER.to_owned(), serde_json::to_string(&header).unwrap_or_default())]);
        let checkpoints = folder.join("checkpoints");
        std::fs::create_dir_all(&checkpoints).map_err(|error| TrainerError::file("create", &checkpoints, error))?;
        let path = checkpoints.join(format!("iteration-{:09}.safetensors", conductor.iteration()));
        let views = tensors.iter().map(|(name, bytes)| (name.as_str(), bytes));
        let bytes = safetensors::serialize(views, Some(metadata))
            .map_err(|error| TrainerError::Checkpoint { path: path.clone(), reason: error.to_string() })?;
        write_atomically(&path, &bytes)?;
        // What is newer than this state is of no use: an unreadable file that was passed over.
        let all = list(folder);
        let (older, newer): (Vec<_>, Vec<_>) = all.iter().partition(|other| **other <= path);
        let superseded = older.iter().rev().skip(run.recipe.training.checkpoints_kept.max(1));
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
        let earlier_labels = match tensors.remove(EARLIER_LABELS) {
            Some(labels) => Some(labels.to_vec1::<u32>()?),
            None => None,
        };
        let run = RunState {
            recipe: Recipe::from_toml("of the checkpoint", &header.recipe, &[])?,
            images,
            fingerprint: header.fingerprint,
            before: header.before,
            earlier_labels,
        };
        Ok(Self { iteration: header.iteration, run, path: path.to_owned(), tensors })
    }

    /// The conductor as it was, of a run of `total` iterations.
    ///
    /// # Errors
    /// Where a tensor is missing or has another shape.
    pub fn into_conductor(mut self, total: u64) -> Result<Conductor, TrainerError> {
        let recipe = self.run.recipe.clone();
        let mut conductor = match recipe.method {
            Method::Odc => {
                let memory = self.memory()?;
                Conductor::Odc(Box::new(Trainer::new(&recipe, random_network(&recipe)?, memory, total)?))
            }
            Method::DeepCluster => {
                let (network, clustering) = (random_classifier(&recipe)?, self.clustering()?);
                Conductor::DeepCluster(Box::new(DeepCluster::new(&recipe, network, clustering, total)?))
            }
            Method::Rotation => {
                Conductor::Rotation(Box::new(Rotation::new(&recipe, random_classifier(&recipe)?, total)?))
            }
        };
        let params = conductor.params();
        for name in params.names() {
            params.set(name, &self.take(&format!("network.{name}"))?)?;
        }
        let learner = conductor.learner_mut();
        let velocities = (0..learner.sgd.velocities().len())
            .map(|position| self.take(&format!("velocity.{position:04}")))
            .collect::<Result<_, _>>()?;
        learner.sgd.restore(velocities)?;
        learner.iteration = self.iteration;
        Ok(conductor)
    }

    /// The memories of Online Deep Clustering.
    fn memory(&mut self) -> Result<Memory, TrainerError> {
        let state = MemoryState {
            features: self.floats("memory.features")?,
            labels: self.integers("memory.labels")?,
            centroids: self.floats("memory.centroids")?,
            dirty: self.take("memory.dirty")?.to_vec1::<u8>()?.into_iter().map(|flag| flag != 0).collect(),
        };
        Ok(Memory::restore(self.run.recipe.memory_config(), state)?)
    }

    /// The epoch's clustering of Deep Clustering.
    fn clustering(&mut self) -> Result<EpochClustering, TrainerError> {
        let epoch = self.integers("clustering.epoch")?.first().copied().unwrap_or(0);
        let whitening = Whitening::from_parts(self.floats("clustering.mean")?, self.floats("clustering.projection")?)?;
        let (centroids, labels) = (self.floats("clustering.centroids")?, self.integers("clustering.labels")?);
        let n_clusters = self.run.recipe.n_clusters();
        let fits = centroids.len() == n_clusters * whitening.n_components() && labels.len() == self.run.images.len();
        if !fits || labels.iter().any(|label| *label as usize >= n_clusters) {
            let reason = format!("its clustering is not one of {} images by {n_clusters}", self.run.images.len());
            return Err(TrainerError::Checkpoint { path: self.path.clone(), reason });
        }
        Ok(EpochClustering::from_parts(epoch.into(), whitening, centroids, labels, n_clusters))
    }

    fn take(&mut self, name: &str) -> Result<Tensor, TrainerError> {
        take(&mut self.tensors, name, &self.path)
    }

    fn floats(&mut self, name: &str) -> Result<Vec<f32>, TrainerError> {
        Ok(self.take(name)?.flatten_all()?.to_vec1()?)
    }

    fn integers(&mut self, name: &str) -> Result<Vec<u32>, TrainerError> {
        Ok(self.take(name)?.to_vec1()?)
    }
}

fn of_memory(memory: &Memory) -> Vec<(&'static str, Bytes<'_>)> {
    let dim = memory.config().dim;
    vec![
        ("memory.features", float_bytes(memory.features(), dim)),
        ("memory.centroids", float_bytes(memory.centroids(), dim)),
        ("memory.labels", integer_bytes(memory.labels())),
        ("memory.dirty", flag_bytes(memory.dirty())),
    ]
}

fn of_clustering(clustering: &EpochClustering) -> Vec<(&'static str, Bytes<'_>)> {
    let whitening = &clustering.whitening;
    let dim = whitening.mean().len();
    vec![
        ("clustering.epoch", number_bytes(clustering.epoch as u32)),
        ("clustering.mean", float_bytes(whitening.mean(), dim)),
        ("clustering.projection", float_bytes(whitening.projection(), dim)),
        ("clustering.centroids", float_bytes(&clustering.centroids, whitening.n_components())),
        ("clustering.labels", integer_bytes(&clustering.labels)),
    ]
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

/// Absent where nothing was clustered an epoch ago, and in files of versions that did not compare.
const EARLIER_LABELS: &str = "run.earlier_labels";

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
