//! The conductors behind one door: what a run needs of each, whatever its method.

use odc_data::Batch;
use odc_model::{Backbone, Params};

use crate::learner::Learner;
use crate::{DeepCluster, Recipe, Rotation, StepOutcome, Trainer, TrainerError};

/// The conductor of a run, by `method`.
pub enum Conductor {
    /// Online Deep Clustering.
    Odc(Box<Trainer>),
    /// Deep Clustering.
    DeepCluster(Box<DeepCluster>),
    /// Rotation prediction.
    Rotation(Box<Rotation>),
}

impl Conductor {
    /// One iteration on a loader's batch.
    ///
    /// # Errors
    /// As the conductor's own `step`.
    pub fn step(&mut self, batch: &Batch) -> Result<StepOutcome, TrainerError> {
        match self {
            Self::Odc(trainer) => trainer.step(batch),
            Self::DeepCluster(deep_cluster) => deep_cluster.step(batch),
            Self::Rotation(rotation) => rotation.step(batch),
        }
    }

    /// What is learned.
    pub fn backbone(&self) -> &Backbone {
        match self {
            Self::Odc(trainer) => &trainer.network.backbone,
            Self::DeepCluster(deep_cluster) => &deep_cluster.network.backbone,
            Self::Rotation(rotation) => &rotation.network.backbone,
        }
    }

    /// All of the network.
    pub fn params(&self) -> &Params {
        match self {
            Self::Odc(trainer) => trainer.network.params(),
            Self::DeepCluster(deep_cluster) => deep_cluster.network.params(),
            Self::Rotation(rotation) => rotation.network.params(),
        }
    }

    /// The pseudo-label of every image, where the method has clusters.
    pub fn labels(&self) -> Option<&[u32]> {
        match self {
            Self::Odc(trainer) => Some(trainer.memory.labels()),
            Self::DeepCluster(deep_cluster) => Some(&deep_cluster.clustering().labels),
            Self::Rotation(_) => None,
        }
    }

    /// Images in each cluster, where there are clusters.
    pub fn sizes(&self) -> Option<&[u32]> {
        match self {
            Self::Odc(trainer) => Some(trainer.memory.sizes()),
            Self::DeepCluster(deep_cluster) => Some(&deep_cluster.clustering().sizes),
            Self::Rotation(_) => None,
        }
    }

    /// Iterations done.
    pub fn iteration(&self) -> u64 {
        self.learner().iteration
    }

    /// The learning rate of the latest iteration.
    pub fn learning_rate(&self) -> f64 {
        self.learner().sgd.learning_rate()
    }

    /// The epoch of the latest clustering of all images; 0 where there is none or only the initial one.
    pub(crate) fn clustered_epoch(&self) -> u64 {
        match self {
            Self::DeepCluster(deep_cluster) => deep_cluster.clustering().epoch,
            Self::Odc(_) | Self::Rotation(_) => 0,
        }
    }

    /// The order in which an epoch shows its images; Deep Clustering's is of the epoch that it has clustered for.
    pub(crate) fn order(&self, recipe: &Recipe, epoch: u64, n_samples: usize) -> Vec<u32> {
        match self {
            Self::DeepCluster(deep_cluster) => deep_cluster.order(),
            Self::Odc(_) | Self::Rotation(_) => recipe.data.sampling.epoch(recipe.seed, epoch, n_samples),
        }
    }

    /// Counts an iteration whose batch is left out.
    pub(crate) fn pass_over(&mut self) {
        self.learner_mut().iteration += 1;
    }

    pub(crate) fn learner(&self) -> &Learner {
        match self {
            Self::Odc(trainer) => &trainer.learner,
            Self::DeepCluster(deep_cluster) => &deep_cluster.learner,
            Self::Rotation(rotation) => &rotation.learner,
        }
    }

    pub(crate) fn learner_mut(&mut self) -> &mut Learner {
        match self {
            Self::Odc(trainer) => &mut trainer.learner,
            Self::DeepCluster(deep_cluster) => &mut deep_cluster.learner,
            Self::Rotation(rotation) => &mut rotation.learner,
        }
    }
}
