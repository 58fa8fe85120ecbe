//! One iteration of a classifier whose labels are given: what Deep Clustering and rotation prediction share.

use std::time::{Duration, Instant};

use candle_core::Tensor;
use odc_model::{Classifier, Mode};

use crate::learner::Learner;
use crate::step::dead_share;
use crate::{StepOutcome, StepReport, TrainerError};

/// Views of images, with a label each.
pub(crate) struct Labelled<'a> {
    /// `[labels.len(), side, side, 3]`.
    pub(crate) pixels: &'a [u8],
    pub(crate) side: usize,
    pub(crate) labels: Vec<u32>,
}

/// Forward pass, weighted cross-entropy, backward pass, SGD. The logits (`[views, classes]`) are those before SGD.
pub(crate) fn step(
    learner: &mut Learner,
    network: &Classifier,
    views: Labelled<'_>,
    loss_weights: &Tensor,
) -> Result<(StepOutcome, Tensor), TrainerError> {
    let start = Instant::now();
    let lr = learner.begin_iteration();
    let n_views = views.labels.len();
    let images = learner.upload(views.pixels, n_views, views.side)?;
    let features = network.backbone.forward(&images, Mode::Train, learner.dropout())?;
    let logits = network.head.forward(&features)?;
    let labels = Tensor::from_vec(views.labels, n_views, &learner.device)?;
    let loss = odc_ops::weighted_cross_entropy(&logits, &labels, loss_weights)?;
    let loss_value = loss.to_scalar::<f32>()?;
    let feature_values = features.detach().flatten_all()?.to_vec1::<f32>()?;
    if !loss_value.is_finite() || feature_values.iter().any(|value| !value.is_finite()) {
        return Ok((StepOutcome::NotFinite { loss: loss_value }, logits.detach()));
    }
    let t_forward = start.elapsed();
    learner.descend(&loss)?;
    learner.iteration += 1;
    let report = StepReport {
        iteration: learner.iteration,
        loss: loss_value,
        change_ratio: None,
        accuracy: None,
        lr,
        images: n_views,
        dead_share: dead_share(&feature_values, network.backbone.out_dim()),
        small_clusters: None,
        t_forward,
        t_backward: start.elapsed() - t_forward,
        t_memory: Duration::ZERO,
    };
    Ok((StepOutcome::Done(report), logits.detach()))
}
