//! Class-weighted cross-entropy on the CPU: odc-kernels.

use super::{WeightedCrossEntropy, WeightedCrossEntropyBackward};
use crate::slices::{filled, slice, with_slice};
use candle_core::{CpuStorage, Layout, Result, Shape, bail};
use odc_kernels::cross_entropy as kernel;

type Argument<'a> = (&'a CpuStorage, &'a Layout);

pub(super) fn softmax_parts(logits: Argument) -> Result<(CpuStorage, Shape)> {
    let (batch, classes) = logits.1.shape().dims2()?;
    let logits = slice(logits.0, logits.1)?;
    Ok(filled((2, batch), |parts| kernel::softmax_parts(logits, classes, parts)))
}

pub(super) fn forward(
    op: &WeightedCrossEntropy,
    logits: Argument,
    labels: Argument,
    weights: Argument,
) -> Result<(CpuStorage, Shape)> {
    let (logits, labels, weights) = arguments(logits, labels, weights)?;
    let loss = with_slice(&op.parts, |parts| kernel::forward(logits, parts, labels, weights))?;
    Ok((CpuStorage::F32(vec![loss]), Shape::from(())))
}

pub(super) fn backward(
    op: &WeightedCrossEntropyBackward,
    logits: Argument,
    labels: Argument,
    weights: Argument,
) -> Result<(CpuStorage, Shape)> {
    let shape = logits.1.shape();
    let (logits, labels, weights) = arguments(logits, labels, weights)?;
    with_slice(op.gradient, |scale| {
        with_slice(op.parts, |parts| {
            filled(shape, |gradient| kernel::backward(logits, parts, labels, weights, scale[0], gradient))
        })
    })?
}

fn arguments<'a>(
    logits: Argument<'a>,
    labels: Argument<'a>,
    weights: Argument<'a>,
) -> Result<(&'a [f32], &'a [u32], &'a [f32])> {
    let labels = slice::<u32>(labels.0, labels.1)?;
    let (logits, weights) = (slice(logits.0, logits.1)?, slice::<f32>(weights.0, weights.1)?);
    if let Some((n, label)) = labels.iter().enumerate().find(|&(_, &label)| label as usize >= weights.len()) {
        bail!("weighted_cross_entropy: label {label} at position {n} where there are {} classes", weights.len());
    }
    let total = kernel::total_weight(labels, weights);
    if total.is_nan() || total <= 0.0 {
        bail!("weighted_cross_entropy: the weights of the batch's labels sum to {total}; they must be positive");
    }
    Ok((logits, labels, weights))
}
