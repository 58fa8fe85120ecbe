//! Rotation prediction: the conductor that shows every image in four rotations and asks which one it is.
//!
//! Gidaris, Singh, Komodakis, "Unsupervised Representation Learning by Predicting Image Rotations", ICLR 2018.

use candle_core::{DType, Tensor};
use odc_data::Batch;
use odc_model::Classifier;

use crate::classify::{self, Labelled};
use crate::learner::Learner;
use crate::{Recipe, StepOutcome, TrainerError};

/// 0°, 90°, 180° and 270°.
pub(crate) const ROTATIONS: usize = 4;

/// The conductor of rotation prediction: a backbone with four classes on its pooled features, and its optimiser.
pub struct Rotation {
    pub(crate) network: Classifier,
    pub(crate) learner: Learner,
    /// All alike.
    loss_weights: Tensor,
}

impl Rotation {
    /// At iteration 0. `total` is the length of the run in iterations.
    ///
    /// # Errors
    /// From candle, where the optimiser's tensors cannot be made.
    pub fn new(recipe: &Recipe, network: Classifier, total: u64) -> Result<Self, TrainerError> {
        let (body, head) = (network.backbone.params().trainable(), network.head.params().trainable());
        let learner = Learner::new(recipe, body, head, total)?;
        let loss_weights = Tensor::ones(ROTATIONS, DType::F32, &learner.device)?;
        Ok(Self { network, learner, loss_weights })
    }

    /// Backbone and head.
    pub fn network(&self) -> &Classifier {
        &self.network
    }

    /// One iteration: each image of the batch in its four rotations, cross-entropy, SGD.
    ///
    /// # Errors
    /// From candle where shapes do not fit.
    pub fn step(&mut self, batch: &Batch) -> Result<StepOutcome, TrainerError> {
        let labels: Vec<u32> = batch.indices.iter().flat_map(|_| 0..ROTATIONS as u32).collect();
        let pixels = batch.four_rotations();
        odc_ops::in_pool(|| {
            let views = Labelled { pixels: &pixels, side: batch.side, labels: labels.clone() };
            let (outcome, logits) = classify::step(&mut self.learner, &self.network, views, &self.loss_weights)?;
            let StepOutcome::Done(mut report) = outcome else { return Ok(outcome) };
            report.images = batch.indices.len();
            let told = logits.argmax(1)?.to_vec1::<u32>()?;
            let right = told.iter().zip(&labels).filter(|(told, label)| told == label).count();
            report.accuracy = Some(right as f32 / labels.len() as f32);
            Ok(StepOutcome::Done(report))
        })
    }
}
