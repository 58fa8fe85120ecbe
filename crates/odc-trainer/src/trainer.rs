//! One iteration of Online Deep Clustering, in the order of docs/ALGORITHM.md.

use std::time::Instant;

use candle_core::{Device, Tensor};
use odc_data::Batch;
use odc_memory::Memory;
use odc_model::{Dropout, Mode, Network};

use crate::learner::Learner;
use crate::step::dead_share;
use crate::{Recipe, StepOutcome, StepReport, TrainerError};

/// The conductor of Online Deep Clustering: a network, its optimiser and the two memories, moved on together one batch
/// at a time.
pub struct Trainer {
    pub(crate) network: Network,
    pub(crate) memory: Memory,
    pub(crate) learner: Learner,
    /// `w[c]` of equation (1), from the sizes after the previous iteration.
    loss_weights: Tensor,
    centroid_every: u64,
    reweight_power: f32,
}

impl Trainer {
    /// A trainer at iteration 0. `total` is the length of the run in iterations.
    ///
    /// # Errors
    /// From candle, where the optimiser's tensors cannot be made.
    pub fn new(recipe: &Recipe, network: Network, memory: Memory, total: u64) -> Result<Self, TrainerError> {
        let mut body = network.backbone.params().trainable();
        body.extend(network.neck.params().trainable());
        let learner = Learner::new(recipe, body, network.head.params().trainable(), total)?;
        let reweight_power = recipe.memory.reweight_power;
        let loss_weights = loss_weights(&memory, reweight_power, &learner.device)?;
        let centroid_every = recipe.memory.centroid_every;
        Ok(Self { network, memory, learner, loss_weights, centroid_every, reweight_power })
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Both memories.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// One iteration on a loader's batch, with a dropout mask drawn from (seed, iteration).
    ///
    /// # Errors
    /// From candle or the memory; see [`Trainer::step_with_dropout`].
    pub fn step(&mut self, batch: &Batch) -> Result<StepOutcome, TrainerError> {
        let dropout = self.learner.dropout();
        odc_ops::in_pool(|| self.step_with_dropout(batch, dropout))
    }

    /// One iteration with the dropout given: steps 1 to 6 of docs/ALGORITHM.md.
    ///
    /// # Errors
    /// From candle where shapes do not fit, from the memory where an index is out of range.
    pub fn step_with_dropout(&mut self, batch: &Batch, dropout: Dropout<'_>) -> Result<StepOutcome, TrainerError> {
        let start = Instant::now();
        let lr = self.learner.begin_iteration();

        // 1. Forward. 2. The weighted loss on the labels from before this iteration's update.
        let images = self.learner.upload(&batch.pixels, batch.indices.len(), batch.side)?;
        let features = self.network.features(&images, Mode::Train, dropout)?;
        let logits = self.network.head.forward(&features)?;
        let labels =
            Tensor::from_vec(self.memory.labels_of(&batch.indices), batch.indices.len(), &self.learner.device)?;
        let loss = odc_ops::weighted_cross_entropy(&logits, &labels, &self.loss_weights)?;
        let loss_value = loss.to_scalar::<f32>()?;
        let feature_values = features.detach().flatten_all()?.to_vec1::<f32>()?;
        if !loss_value.is_finite() || feature_values.iter().any(|value| !value.is_finite()) {
            return Ok(StepOutcome::NotFinite { loss: loss_value });
        }
        let t_forward = start.elapsed();
        self.learner.descend(&loss)?;
        let t_backward = start.elapsed() - t_forward;

        // 3. Sample memory. 4. Centroids when due. 5. Small clusters. 6. Loss weights.
        let change_ratio = self.memory.update_samples(&batch.indices, &feature_values)?;
        self.learner.iteration += 1;
        if self.learner.iteration.is_multiple_of(self.centroid_every) {
            self.memory.update_centroids();
        }
        let small_clusters = self.memory.redistribute_small_clusters();
        self.loss_weights = loss_weights(&self.memory, self.reweight_power, &self.learner.device)?;

        Ok(StepOutcome::Done(StepReport {
            iteration: self.learner.iteration,
            loss: loss_value,
            change_ratio: Some(change_ratio),
            accuracy: None,
            lr,
            images: batch.indices.len(),
            dead_share: dead_share(&feature_values, self.memory.config().dim),
            small_clusters: Some(small_clusters),
            t_forward,
            t_backward,
            t_memory: start.elapsed() - t_forward - t_backward,
        }))
    }
}

fn loss_weights(memory: &Memory, power: f32, device: &Device) -> Result<Tensor, TrainerError> {
    let weights = memory.loss_weights(power);
    let length = weights.len();
    Ok(Tensor::from_vec(weights, length, device)?)
}
