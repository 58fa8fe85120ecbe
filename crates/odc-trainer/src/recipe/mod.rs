//! The recipe: everything that defines a run, one TOML document whose tables follow the crates.

mod check;
mod clustering;
mod data;
mod method;
mod model;
mod training;

use std::path::Path;

use odc_data::Dataset;
use odc_memory::MemoryConfig;
use odc_model::Stem;
use serde::{Deserialize, Serialize};

use crate::TrainerError;

pub use clustering::{Balance, DeepClusterTable, InitialFeatures, KMeansTable, MemoryTable};
pub use data::DataTable;
pub use method::Method;
pub use model::{Convolution, ModelTable};
pub use training::{EvaluationTable, FinalStatistics, OptimizerTable, Reaction, TrainingTable};

/// A run's definition. What is `None` is chosen from the data by [`Recipe::resolve`]; the resolved recipe holds every
/// value and is what the run folder stores. Unknown keys are errors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// The one seed from which all randomness flows, by name.
    pub seed: u64,
    /// How the network learns.
    pub method: Method,
    /// Where images come from and how they are seen.
    pub data: DataTable,
    /// Backbone and neck.
    pub model: ModelTable,
    /// The two memories and the loss weights.
    pub memory: MemoryTable,
    /// Clustering of all images: the first one, or that of every epoch.
    pub kmeans: KMeansTable,
    /// What Deep Clustering alone reads.
    pub deepcluster: DeepClusterTable,
    /// SGD and its schedule.
    pub optimizer: OptimizerTable,
    /// Length of the run, and what to do when it goes wrong.
    pub training: TrainingTable,
    /// What is measured before and after, where true labels exist.
    pub evaluation: EvaluationTable,
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
        let side = *self.data.side.get_or_insert_with(|| data::side_for(dataset));
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

/// Reads a recipe file.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn read_recipe(path: &Path, settings: &[String]) -> Result<Recipe, TrainerError> {
    let text = std::fs::read_to_string(path).map_err(|error| TrainerError::file("read the recipe", path, error))?;
    Recipe::from_toml(&path.display().to_string(), &text, settings)
}
