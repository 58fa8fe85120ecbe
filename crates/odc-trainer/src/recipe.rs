//! The recipe: everything that defines a run, one TOML document whose tables follow the crates.

use std::path::Path;

use odc_data::{Augmentation, Dataset, Format, PlainView, Sampling, Source, Step};
use odc_memory::{MemoryConfig, Rule};
use odc_model::{Architecture, BackboneConfig, NeckConfig, Stem};
use serde::{Deserialize, Serialize};

use crate::TrainerError;

/// A run's definition. What is `None` is chosen from the data by [`Recipe::resolve`]; the resolved recipe holds every
/// value and is what the run folder stores. Unknown keys are errors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// The one seed from which all randomness flows, by name.
    pub seed: u64,
    /// Where images come from and how they are seen.
    pub data: DataTable,
    /// Backbone and neck.
    pub model: ModelTable,
    /// The two memories and the loss weights.
    pub memory: MemoryTable,
    /// The initial clustering.
    pub kmeans: KMeansTable,
    /// SGD and its schedule.
    pub optimizer: OptimizerTable,
    /// Length of the run, and what to do when it goes wrong.
    pub training: TrainingTable,
    /// What is measured before and after, where true labels exist.
    pub evaluation: EvaluationTable,
}

/// `[data]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataTable {
    /// `shapes` (generated), or a folder of images, a list file, a parquet file, CIFAR binaries.
    pub path: String,
    /// How to read `path`; `auto` looks at it.
    pub format: Format,
    /// Parquet: the column of images; empty finds it.
    pub image_column: String,
    /// Parquet: the column of true labels; empty finds it.
    pub label_column: String,
    /// Only so many images, drawn from all of them; 0 takes all.
    pub limit: usize,
    /// `shapes`: how many images.
    pub shapes_images: usize,
    /// `shapes`: side of the generated images in pixels.
    pub shapes_side: usize,
    /// `shapes`: seed of the generator, apart from the run's seed: runs of different seeds see the same set.
    pub shapes_seed: u64,
    /// Side in pixels of what the network sees. Without it: 32, 64 or 224, after the images' own size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<usize>,
    /// The evaluation view: `crop` (short side to 8/7 of `side`, centre crop) or `resize` (to `side` × `side`).
    pub plain_view: PlainView,
    /// `replacement`: N draws an epoch (the reference); `permutation`: every image once.
    pub sampling: Sampling,
    /// Threads that decode and augment. Without it: one per core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,
    /// Batches prepared ahead.
    pub queue: usize,
    /// Share of images that may be undecodable; with more the run stops. Those that are left out are listed in any case.
    pub max_bad_share: f64,
    /// Mean per channel of pixels in [0, 1] (ImageNet's).
    pub mean: [f32; 3],
    /// Standard deviation per channel of pixels in [0, 1] (ImageNet's).
    pub std: [f32; 3],
    /// The training view, step by step.
    pub augmentation: Vec<Step>,
}

impl Default for DataTable {
    fn default() -> Self {
        let source = Source::default();
        Self {
            path: source.path,
            format: source.format,
            image_column: source.image_column,
            label_column: source.label_column,
            limit: source.limit,
            shapes_images: source.shapes_images,
            shapes_side: source.shapes_side,
            shapes_seed: source.shapes_seed,
            side: None,
            plain_view: PlainView::Crop,
            sampling: Sampling::Replacement,
            workers: None,
            queue: 4,
            max_bad_share: 0.5,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            augmentation: Augmentation::standard(0.2).steps,
        }
    }
}

impl DataTable {
    /// The part of the table that says where images come from.
    pub fn source(&self) -> Source {
        Source {
            path: self.path.clone(),
            format: self.format,
            image_column: self.image_column.clone(),
            label_column: self.label_column.clone(),
            limit: self.limit,
            shapes_images: self.shapes_images,
            shapes_side: self.shapes_side,
            shapes_seed: self.shapes_seed,
        }
    }

    /// The side in pixels; the recipe must be resolved.
    pub fn resolved_side(&self) -> usize {
        self.side.unwrap_or(224)
    }

    /// Worker threads: the setting, or one per core.
    pub fn resolved_workers(&self) -> usize {
        self.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |cores| cores.get())).max(1)
    }
}

/// `[model]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelTable {
    /// `resnet18`, `resnet34`, `resnet50` or `alexnet`.
    pub arch: Architecture,
    /// Channels of the first stage; 64 is the published network.
    pub width: usize,
    /// `imagenet` (7×7/2 and pool; alexnet 11×11/4), `cifar` (3×3/1) or `small` (3×3/2). Without it: after `data.side`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stem: Option<Stem>,
    /// Whether the network sees Sobel's edges of the grey image in place of colours.
    pub sobel: bool,
    /// Weights to start from, as safetensors or PyTorch's file, of this program or another; empty starts at random.
    pub init_from: String,
    /// The least share of the backbone's tensors that `init_from` must hold.
    pub init_share: f64,
    /// Whether the network of `init_from` sees blue, green, red.
    pub init_bgr: bool,
    /// Width of the neck's hidden layer.
    pub hidden: usize,
    /// Dimension d of the features that are clustered.
    pub dim: usize,
    /// Dropout in the neck.
    pub dropout: f32,
    /// Momentum of the neck's batch norm (the reference's 0.001).
    pub neck_batch_norm_momentum: f64,
    /// How convolutions are computed.
    pub convolution: Convolution,
}

/// How convolutions are computed on the CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Convolution {
    /// By Winograd's method where it is faster: about a bit less exact in these layers.
    #[default]
    Fastest,
    /// By the definition everywhere.
    Direct,
}

impl Default for ModelTable {
    fn default() -> Self {
        Self {
            arch: Architecture::ResNet50,
            width: 64,
            stem: None,
            sobel: false,
            init_from: String::new(),
            init_share: 1.0,
            init_bgr: false,
            hidden: 512,
            dim: 256,
            dropout: 0.5,
            neck_batch_norm_momentum: 0.001,
            convolution: Convolution::Fastest,
        }
    }
}

impl ModelTable {
    /// The backbone's configuration; the recipe must be resolved.
    pub fn backbone(&self) -> BackboneConfig {
        BackboneConfig {
            arch: self.arch,
            width: self.width,
            stem: self.stem.unwrap_or(Stem::Imagenet),
            sobel: self.sobel,
        }
    }

    /// The neck's configuration.
    pub fn neck(&self) -> NeckConfig {
        NeckConfig {
            hidden: self.hidden,
            dim: self.dim,
            dropout: self.dropout,
            batch_norm_momentum: self.neck_batch_norm_momentum,
        }
    }
}

/// Which features the initial clustering sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitialFeatures {
    /// Evaluation mode as it is: the neck's running statistics of a fresh network are 0 and 1 (the reference).
    #[default]
    Eval,
    /// A few forward passes in training mode fill the running statistics first.
    TrainStatistics,
}

/// `[memory]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryTable {
    /// K. Without it: N / 100, at least 10 (or N / 10), at most 10,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clusters: Option<usize>,
    /// Share of the new feature in a memory update, m of equation (2).
    pub momentum: f32,
    /// Clusters with fewer members are dissolved. Without it: a fifth of N / K, at most 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_cluster: Option<usize>,
    /// `paper` or `reference`.
    pub rule: Rule,
    /// Iterations between centroid updates.
    pub centroid_every: u64,
    /// Power of the loss weights, w ∝ 1 / N_c^power; 0 weighs all clusters alike.
    pub reweight_power: f32,
    /// Which features the initial clustering sees.
    pub initial_features: InitialFeatures,
}

impl Default for MemoryTable {
    fn default() -> Self {
        Self {
            clusters: None,
            momentum: 0.5,
            min_cluster: None,
            rule: Rule::Paper,
            centroid_every: 10,
            reweight_power: 0.5,
            initial_features: InitialFeatures::Eval,
        }
    }
}

/// `[kmeans]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KMeansTable {
    /// Lloyd iterations.
    pub iterations: usize,
}

impl Default for KMeansTable {
    fn default() -> Self {
        Self { iterations: 20 }
    }
}

/// `[optimizer]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerTable {
    /// Learning rate at batch 512, scaled linearly with the batch.
    pub lr: f64,
    /// Momentum of backbone and neck.
    pub momentum: f64,
    /// Momentum of the classifier.
    pub head_momentum: f64,
    /// Weight decay on everything.
    pub weight_decay: f64,
    /// Shares of the run after which the learning rate is multiplied by `gamma`.
    pub decay_at: Vec<f64>,
    /// Factor at each of `decay_at`.
    pub gamma: f64,
}

impl Default for OptimizerTable {
    fn default() -> Self {
        // The published run: ×0.4 at epoch 400 of 440.
        Self {
            lr: 0.06,
            momentum: 0.9,
            head_momentum: 0.0,
            weight_decay: 1e-5,
            decay_at: vec![400.0 / 440.0],
            gamma: 0.4,
        }
    }
}

/// What happens when a run goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reaction {
    /// Say so and go on.
    #[default]
    Warn,
    /// Stop with an error; the newest checkpoint is from before it went wrong.
    Stop,
}

/// `[training]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingTable {
    /// Epochs of N draws.
    pub epochs: u64,
    /// B. Without it: 128 (32 from side 128 on), at most N / 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// Iterations between lines of the log.
    pub log_every: u64,
    /// Iterations between checkpoints: the most that a killed process loses.
    pub checkpoint_every: u64,
    /// Checkpoints kept; older ones are deleted.
    pub checkpoints_kept: usize,
    /// A loss or feature that is no number: `stop`, or `warn` to leave that batch out and go on.
    pub on_nan: Reaction,
    /// Nearly all images in few clusters, labels that never settle, dead features: `warn` or `stop`.
    pub on_collapse: Reaction,
}

impl Default for TrainingTable {
    fn default() -> Self {
        Self {
            epochs: 100,
            batch_size: None,
            log_every: 10,
            checkpoint_every: 200,
            checkpoints_kept: 2,
            on_nan: Reaction::Stop,
            on_collapse: Reaction::Warn,
        }
    }
}

/// `[evaluation]`: the score of a run's own images before and after training, where they have true labels. Each
/// fifth of them is scored against the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationTable {
    /// At most so many images, drawn from all of them; 0 leaves the evaluation out.
    pub images: usize,
    /// Neighbours that vote.
    pub knn_k: usize,
    /// Temperature of the votes.
    pub temperature: f32,
}

impl Default for EvaluationTable {
    fn default() -> Self {
        Self { images: 10_000, knn_k: 20, temperature: 0.07 }
    }
}

impl Recipe {
    /// Reads a recipe and applies `settings`, each `table.key=value`, in order.
    ///
    /// # Errors
    /// Names the document or setting, and the unknown key or wrong value.
    pub fn from_toml(name: &str, text: &str, settings: &[String]) -> Result<Self, TrainerError> {
        let mut document: toml::Table = toml::from_str(text).map_err(|error| {
            TrainerError::Recipe(format!("recipe {name} is not TOML: {}", error.to_string().trim()))
        })?;
        // Twice: the file alone first, so that an error names what is at fault.
        let recipe = |document: &toml::Table, what: &str| -> Result<Self, TrainerError> {
            document.clone().try_into().map_err(|error: toml::de::Error| {
                TrainerError::Recipe(format!("{what}: {}", error.to_string().trim().replace('\n', " ")))
            })
        };
        let mut read = recipe(&document, &format!("recipe {name}"))?;
        for setting in settings {
            set(&mut document, setting)?;
            read = recipe(&document, &format!("setting {setting}"))?;
        }
        Ok(read)
    }

    /// The recipe as TOML.
    pub fn to_toml(&self) -> String {
        // Serialising plain tables of numbers, strings and arrays cannot fail.
        toml::to_string(self).unwrap_or_default()
    }

    /// Fills in what the recipe leaves open, from the data: side and stem from the images' size; K, the threshold and
    /// the batch from N.
    pub fn resolve(&mut self, dataset: &dyn Dataset) {
        let n_samples = dataset.len();
        let side = *self.data.side.get_or_insert_with(|| side_for(dataset));
        self.model.stem.get_or_insert(match side {
            0..=48 => Stem::Cifar,
            49..=96 => Stem::Small,
            _ => Stem::Imagenet,
        });
        self.resolve_sizes(n_samples);
    }

    /// Fills in K, the threshold and the batch from the number of images.
    pub fn resolve_sizes(&mut self, n_samples: usize) {
        let clusters =
            *self.memory.clusters.get_or_insert((n_samples / 100).max((n_samples / 10).min(10)).clamp(2, 10_000));
        self.memory.min_cluster.get_or_insert((n_samples / clusters.max(1) / 5).clamp(1, 20));
        let largest = if self.data.resolved_side() < 128 { 128 } else { 32 };
        self.training.batch_size.get_or_insert((n_samples / 8).clamp(2, largest));
    }

    /// What the weights of the network at random depend on.
    pub fn network_seed(&self) -> u64 {
        odc_ops::random::key(self.seed, "network", 0)
    }

    /// K; the recipe must be resolved.
    pub fn n_clusters(&self) -> usize {
        self.memory.clusters.unwrap_or(0)
    }

    /// B; the recipe must be resolved.
    pub fn batch_size(&self) -> usize {
        self.training.batch_size.unwrap_or(0)
    }

    /// The configuration of the two memories; the recipe must be resolved.
    pub fn memory_config(&self) -> MemoryConfig {
        MemoryConfig {
            dim: self.model.dim,
            n_clusters: self.n_clusters(),
            momentum: self.memory.momentum,
            min_cluster: self.memory.min_cluster.unwrap_or(1),
            rule: self.memory.rule,
        }
    }

    /// Checks every value against its bounds, and N, K, threshold and batch against each other.
    ///
    /// # Errors
    /// Names the setting, its value and which one to change.
    pub fn check(&self, n_samples: usize) -> Result<(), TrainerError> {
        let refuse = |message: String| Err(TrainerError::Recipe(message));
        let batch = self.batch_size();
        if n_samples < 2 {
            return refuse(format!(
                "{} holds {n_samples} usable image(s); clustering needs at least 2",
                self.data.path
            ));
        }
        if batch < 2 || batch > n_samples {
            return refuse(format!(
                "training.batch_size = {batch} must be at least 2 (batch norm) and at most N = {n_samples}: set --batch-size"
            ));
        }
        let clusters = self.n_clusters();
        if clusters < 2 || clusters > n_samples {
            return refuse(format!(
                "memory.clusters = {clusters} must be at least 2 and at most N = {n_samples}: set --clusters"
            ));
        }
        self.memory_config().check(n_samples).map_err(|error| TrainerError::Recipe(error.to_string()))?;
        Augmentation { steps: self.data.augmentation.clone() }
            .check()
            .map_err(|error| TrainerError::Recipe(format!("data.augmentation: {error}")))?;
        // The upper bounds are beyond any use, and keep a slip of the finger from asking for all memory there is.
        let counted = [
            ("seed", self.seed, 0, i64::MAX as u64),
            ("data.side", self.data.resolved_side() as u64, 8, 4096),
            ("data.workers", self.data.resolved_workers() as u64, 1, 1024),
            ("data.queue", self.data.queue as u64, 1, 1024),
            ("model.width", self.model.width as u64, 1, 1024),
            ("model.hidden", self.model.hidden as u64, 1, 1 << 16),
            ("model.dim", self.model.dim as u64, 1, 1 << 16),
            ("memory.centroid_every", self.memory.centroid_every, 1, i64::MAX as u64),
            ("kmeans.iterations", self.kmeans.iterations as u64, 1, 100_000),
            ("training.epochs", self.training.epochs, 1, 1_000_000_000),
            ("training.batch_size", batch as u64, 2, 1 << 16),
            ("training.log_every", self.training.log_every, 1, i64::MAX as u64),
            ("training.checkpoint_every", self.training.checkpoint_every, 1, i64::MAX as u64),
            ("training.checkpoints_kept", self.training.checkpoints_kept as u64, 1, i64::MAX as u64),
            ("evaluation.knn_k", self.evaluation.knn_k as u64, 1, 100_000),
        ];
        for (setting, value, least, most) in counted {
            if !(least..=most).contains(&value) {
                return refuse(format!("{setting} = {value} must lie between {least} and {most}"));
            }
        }
        let (side, backbone) = (self.data.resolved_side(), self.model.backbone());
        if side < backbone.least_side() {
            return refuse(format!(
                "data.side = {side} is too small for the network, {backbone}: it takes {} pixels or more",
                backbone.least_side()
            ));
        }
        let bounded = [
            ("model.init_share", self.model.init_share, 0.0, 1.0),
            ("model.dropout", f64::from(self.model.dropout), 0.0, 0.999),
            ("model.neck_batch_norm_momentum", self.model.neck_batch_norm_momentum, 0.0, 1.0),
            ("memory.momentum", f64::from(self.memory.momentum), 1e-6, 1.0),
            ("memory.reweight_power", f64::from(self.memory.reweight_power), 0.0, 4.0),
            ("optimizer.lr", self.optimizer.lr, 0.0, 1e6),
            ("optimizer.momentum", self.optimizer.momentum, 0.0, 1.0),
            ("optimizer.head_momentum", self.optimizer.head_momentum, 0.0, 1.0),
            ("optimizer.weight_decay", self.optimizer.weight_decay, 0.0, 1e3),
            ("optimizer.gamma", self.optimizer.gamma, 0.0, 1e3),
            ("data.max_bad_share", self.data.max_bad_share, 0.0, 1.0),
            ("evaluation.temperature", f64::from(self.evaluation.temperature), 1e-3, 1e3),
        ];
        for (setting, value, least, most) in bounded {
            if !(least..=most).contains(&value) {
                return refuse(format!("{setting} = {value} must lie between {least} and {most}"));
            }
        }
        if self.data.std.iter().any(|std| !std.is_finite() || *std <= 0.0) {
            return refuse(format!("data.std = {:?} must be positive", self.data.std));
        }
        if self.data.mean.iter().any(|mean| !mean.is_finite()) {
            return refuse(format!("data.mean = {:?} must be finite", self.data.mean));
        }
        if let Some(share) = self.optimizer.decay_at.iter().find(|share| !(0.0..=1.0).contains(*share)) {
            return refuse(format!("optimizer.decay_at holds {share}: it takes shares of the run, from 0 to 1"));
        }
        Ok(())
    }
}

/// Applies one `table.key=value`. The value is TOML; what is not TOML is a string.
fn set(document: &mut toml::Table, setting: &str) -> Result<(), TrainerError> {
    let malformed = || TrainerError::Recipe(format!("setting {setting}: write it as table.key=value"));
    let (path, value) = setting.split_once('=').ok_or_else(malformed)?;
    let (path, value) = (path.trim(), value.trim());
    let value = toml::from_str::<toml::Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut keys: Vec<&str> = path.split('.').collect();
    let last = keys.pop().filter(|key| !key.is_empty()).ok_or_else(malformed)?;
    let mut table = document;
    for key in keys {
        table = table
            .entry(key)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()))
            .as_table_mut()
            .ok_or_else(malformed)?;
    }
    table.insert(last.to_owned(), value);
    Ok(())
}

/// 32, 64 or 224: after the median short side of a few images spread over the set.
fn side_for(dataset: &dyn Dataset) -> usize {
    const LOOKED_AT: usize = 9;
    let step = dataset.len().div_ceil(LOOKED_AT).max(1);
    let mut sides: Vec<usize> = (0..dataset.len())
        .step_by(step)
        .filter_map(|index| dataset.image(index).ok())
        .map(|image| image.width.min(image.height))
        .collect();
    sides.sort_unstable();
    match sides.get(sides.len() / 2) {
        Some(0..=48) => 32,
        Some(49..=96) => 64,
        _ => 224,
    }
}

/// Reads a recipe file.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn read_recipe(path: &Path, settings: &[String]) -> Result<Recipe, TrainerError> {
    let text = std::fs::read_to_string(path).map_err(|error| TrainerError::file("read the recipe", path, error))?;
    Recipe::from_toml(&path.display().to_string(), &text, settings)
}
