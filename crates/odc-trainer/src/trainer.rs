//! One iteration of Online Deep Clustering, in the order of docs/ALGORITHM.md.

use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use odc_data::Batch;
use odc_memory::{Memory, SmallClusterReport};
use odc_model::{Dropout, Mode, Network};
use odc_ops::{MultiStep, ParameterGroup, Sgd};

use crate::{Recipe, TrainerError};

/// The conductor: a network, its optimiser and the two memories, moved on together one batch at a time.
pub struct Trainer {
    pub(crate) network: Network,
    pub(crate) sgd: Sgd,
    pub(crate) memory: Memory,
    schedule: MultiStep,
    /// `w[c]` of equation (1), from the sizes after the previous iteration.
    loss_weights: Tensor,
    /// Iterations done.
    iteration: u64,
    settings: Settings,
    device: Device,
}

/// What of the recipe an iteration reads.
struct Settings {
    seed: u64,
    centroid_every: u64,
    reweight_power: f32,
    mean: [f32; 3],
    std: [f32; 3],
}

/// What one iteration tells.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Iterations done, this one included.
    pub iteration: u64,
    /// The weighted loss of equation (1).
    pub loss: f32,
    /// Share of the batch whose label changed.
    pub change_ratio: f32,
    /// Learning rate of this iteration.
    pub lr: f64,
    /// Images in the batch.
    pub images: usize,
    /// Share of the batch whose feature is all zero.
    pub dead_share: f32,
    /// What was done about small clusters.
    pub small_clusters: SmallClusterReport,
    /// Time of the forward pass, loss included.
    pub t_forward: Duration,
    /// Time of the backward pass and SGD.
    pub t_backward: Duration,
    /// Time of both memories, small clusters and loss weights.
    pub t_memory: Duration,
}

/// What became of a batch.
#[derive(Clone, Debug)]
pub enum StepOutcome {
    /// Trained.
    Done(StepReport),
    /// The loss or a feature is no finite number: nothing was changed but the running statistics of batch norm.
    NotFinite {
        /// The loss.
        loss: f32,
    },
}

impl Trainer {
    /// A trainer at iteration 0. `total` is the length of the run in iterations.
    ///
    /// # Errors
    /// From candle, where the optimiser's tensors cannot be made.
    pub fn new(recipe: &Recipe, network: Network, memory: Memory, total: u64) -> Result<Self, TrainerError> {
        let optimizer = &recipe.optimizer;
        let lr = optimizer.lr * recipe.batch_size() as f64 / 512.0;
        let group =
            |parameters, momentum| ParameterGroup { parameters, momentum, weight_decay: optimizer.weight_decay };
        let mut body = network.backbone.params().trainable();
        body.extend(network.neck.params().trainable());
        let head = network.head.params().trainable();
        let sgd = Sgd::new(vec![group(body, optimizer.momentum), group(head, optimizer.head_momentum)], lr)?;
        let milestones = optimizer.decay_at.iter().map(|share| (share * total as f64).ceil() as u64).collect();
        let device = Device::Cpu;
        let settings = Settings {
            seed: recipe.seed,
            centroid_every: recipe.memory.centroid_every,
            reweight_power: recipe.memory.reweight_power,
            mean: recipe.data.mean,
            std: recipe.data.std,
        };
        let loss_weights = loss_weights(&memory, settings.reweight_power, &device)?;
        let schedule = MultiStep { base: lr, gamma: optimizer.gamma, milestones };
        Ok(Self { network, sgd, memory, schedule, loss_weights, iteration: 0, settings, device })
    }

    /// Goes on from an earlier state: network, optimiser and memory are already those of `iteration`.
    pub(crate) fn continue_from(&mut self, iteration: u64) {
        self.iteration = iteration;
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Both memories.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Iterations done.
    pub fn iteration(&self) -> u64 {
        self.iteration
    }

    /// The learning rate of the latest iteration.
    pub fn learning_rate(&self) -> f64 {
        self.sgd.learning_rate()
    }

    /// Counts an iteration whose batch is left out.
    pub(crate) fn pass_over(&mut self) {
        self.iteration += 1;
    }

    /// One iteration on a loader's batch, with a dropout mask drawn from (seed, iteration).
    ///
    /// # Errors
    /// From candle or the memory; see [`Trainer::step_with_dropout`].
    pub fn step(&mut self, batch: &Batch) -> Result<StepOutcome, TrainerError> {
        let seed = odc_ops::random::key(self.settings.seed, "dropout", self.iteration);
        odc_ops::in_pool(|| self.step_with_dropout(batch, Dropout::Seed(seed)))
    }

    /// One iteration with the dropout given: steps 1 to 6 of docs/ALGORITHM.md.
    ///
    /// # Errors
    /// From candle where shapes do not fit, from the memory where an index is out of range.
    pub fn step_with_dropout(&mut self, batch: &Batch, dropout: Dropout<'_>) -> Result<StepOutcome, TrainerError> {
        let start = Instant::now();
        let lr = self.schedule.at(self.iteration);
        self.sgd.set_learning_rate(lr);

        // 1. Forward. 2. The weighted loss on the labels from before this iteration's update.
        let images = self.upload(batch)?;
        let features = self.network.features(&images, Mode::Train, dropout)?;
        let logits = self.network.head.forward(&features)?;
        let labels = Tensor::from_vec(self.memory.labels_of(&batch.indices), batch.indices.len(), &self.device)?;
        let loss = odc_ops::weighted_cross_entropy(&logits, &labels, &self.loss_weights)?;
        let loss_value = loss.to_scalar::<f32>()?;
        let feature_values = features.detach().flatten_all()?.to_vec1::<f32>()?;
        if !loss_value.is_finite() || feature_values.iter().any(|value| !value.is_finite()) {
            return Ok(StepOutcome::NotFinite { loss: loss_value });
        }
        let t_forward = start.elapsed();
        self.sgd.step(&odc_ops::backward(&loss)?)?;
        let t_backward = start.elapsed() - t_forward;

        // 3. Sample memory. 4. Centroids when due. 5. Small clusters. 6. Loss weights.
        let change_ratio = self.memory.update_samples(&batch.indices, &feature_values)?;
        self.iteration += 1;
        if self.iteration.is_multiple_of(self.settings.centroid_every) {
            self.memory.update_centroids();
        }
        let small_clusters = self.memory.redistribute_small_clusters();
        self.loss_weights = loss_weights(&self.memory, self.settings.reweight_power, &self.device)?;

        Ok(StepOutcome::Done(StepReport {
            iteration: self.iteration,
            loss: loss_value,
            change_ratio,
            lr,
            images: batch.indices.len(),
            dead_share: dead_share(&feature_values, self.memory.config().dim),
            small_clusters,
            t_forward,
            t_backward,
            t_memory: start.elapsed() - t_forward - t_backward,
        }))
    }

    /// Bytes to a normalised tensor `[B, side, side, 3]`.
    fn upload(&self, batch: &Batch) -> Result<Tensor, TrainerError> {
        let shape = (batch.indices.len(), batch.side, batch.side, 3);
        let pixels = Tensor::from_slice(&batch.pixels, shape, &self.device)?;
        Ok(odc_ops::normalize_pixels(&pixels, self.settings.mean, self.settings.std)?)
    }
}

fn loss_weights(memory: &Memory, power: f32, device: &Device) -> Result<Tensor, TrainerError> {
    let weights = memory.loss_weights(power);
    let length = weights.len();
    Ok(Tensor::from_vec(weights, length, device)?)
}

fn dead_share(features: &[f32], dim: usize) -> f32 {
    let dead = features.chunks_exact(dim).filter(|feature| feature.iter().all(|value| *value == 0.0)).count();
    dead as f32 / (features.len() / dim).max(1) as f32
}
