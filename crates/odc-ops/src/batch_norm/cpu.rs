//! Batch norm on the CPU: odc-kernels.

use super::{
    Affine, BackwardEval, BackwardSums, BackwardSumsAndResidual, BackwardTrain, Blend, Normalize, RunningStatistics,
    Statistics,
};
use crate::slices::{filled, slice, slice_mut, with_slice};
use candle_core::{CpuStorage, Device, Layout, Result, Shape, Tensor};
use odc_kernels::batch_norm::{self as kernel, Gradient, Then};
use odc_kernels::elementwise;

type Argument<'a> = (&'a CpuStorage, &'a Layout);

pub(super) fn affine(_: &Affine, weight: Argument, bias: Argument) -> Result<(CpuStorage, Shape)> {
    let (weight, bias) = (slice(weight.0, weight.1)?, slice(bias.0, bias.1)?);
    let channels = weight.len();
    Ok(filled((2, channels), |affine| {
        affine[..channels].copy_from_slice(weight);
        affine[channels..].copy_from_slice(bias);
    }))
}

pub(super) fn statistics(op: &Statistics, x: Argument) -> Result<(CpuStorage, Shape)> {
    let x = slice(x.0, x.1)?;
    Ok(filled((3, op.channels), |statistics| kernel::statistics(x, op.channels, op.epsilon, statistics)))
}

pub(super) fn running_statistics(
    op: &RunningStatistics,
    mean: Argument,
    variance: Argument,
) -> Result<(CpuStorage, Shape)> {
    let (mean, variance) = (slice(mean.0, mean.1)?, slice(variance.0, variance.1)?);
    let channels = mean.len();
    Ok(filled((2, channels), |statistics| {
        statistics[..channels].copy_from_slice(mean);
        kernel::inverse_deviation(variance, op.epsilon, &mut statistics[channels..]);
    }))
}

pub(super) fn normalize(
    op: &Normalize,
    x: Argument,
    affine: Argument,
    residual: Option<Argument>,
) -> Result<(CpuStorage, Shape)> {
    let shape = x.1.shape();
    let (x, affine) = (slice(x.0, x.1)?, slice::<f32>(affine.0, affine.1)?);
    let (weight, bias) = affine.split_at(affine.len() / 2);
    let then = match residual {
        Some(residual) => Then::AddRelu(slice(residual.0, residual.1)?),
        None if op.relu => Then::Relu,
        None => Then::Nothing,
    };
    with_slice(&op.statistics, |statistics| {
        let (mean, inverse_deviation) = mean_and_inverse_deviation(statistics, weight.len());
        filled(shape, |y| kernel::normalize(x, mean, inverse_deviation, weight, bias, then, y))
    })
}

pub(super) fn backward_sums(op: &BackwardSums, x: Argument, dy: Argument) -> Result<(CpuStorage, Shape)> {
    let (x, dy) = (slice(x.0, x.1)?, slice(dy.0, dy.1)?);
    let channels = op.statistics.dim(1)?;
    with_gradient(dy, op.y, |gradient| {
        with_slice(op.statistics, |statistics| {
            let (mean, inverse_deviation) = mean_and_inverse_deviation(statistics, channels);
            filled((2, channels), |sums| kernel::backward_sums(x, mean, inverse_deviation, gradient, sums))
        })
    })
}

pub(super) fn backward_sums_and_residual(
    op: &BackwardSumsAndResidual,
    x: Argument,
    dy: Argument,
    y: Argument,
) -> Result<(CpuStorage, Shape)> {
    let shape = x.1.shape();
    let (x, dy, y) = (slice(x.0, x.1)?, slice(dy.0, dy.1)?, slice(y.0, y.1)?);
    let channels = op.statistics.dim(1)?;
    let mut sums = vec![0.0; 2 * channels];
    let masked = with_slice(op.statistics, |statistics| {
        let (mean, inverse_deviation) = mean_and_inverse_deviation(statistics, channels);
        filled(shape, |masked| {
            kernel::backward_sums_and_residual(x, mean, inverse_deviation, (dy, y), masked, &mut sums);
        })
    })?;
    op.sums.set(Some(Tensor::from_vec(sums, (2, channels), &Device::Cpu)?));
    Ok(masked)
}

pub(super) fn backward_train(
    op: &BackwardTrain,
    x: Argument,
    dy: Argument,
    sums: Argument,
) -> Result<(CpuStorage, Shape)> {
    let shape = x.1.shape();
    let (x, dy, sums) = (slice(x.0, x.1)?, slice(dy.0, dy.1)?, slice(sums.0, sums.1)?);
    with_gradient(dy, op.y, |gradient| {
        with_slice(op.affine, |affine| {
            let weight = &affine[..affine.len() / 2];
            with_slice(op.statistics, |statistics| {
                let (mean, inverse) = mean_and_inverse_deviation(statistics, weight.len());
                filled(shape, |dx| kernel::backward_train(x, mean, inverse, weight, sums, gradient, dx))
            })
        })?
    })
}

pub(super) fn backward_eval(op: &BackwardEval, dy: Argument) -> Result<(CpuStorage, Shape)> {
    let shape = dy.1.shape();
    let dy = slice(dy.0, dy.1)?;
    with_gradient(dy, op.y, |gradient| {
        with_slice(op.affine, |affine| {
            let weight = &affine[..affine.len() / 2];
            with_slice(op.statistics, |statistics| {
                let (_, inverse_deviation) = mean_and_inverse_deviation(statistics, weight.len());
                filled(shape, |dx| kernel::backward_eval(inverse_deviation, weight, gradient, dx))
            })
        })?
    })
}

pub(super) fn blend(op: &Blend, y: (&mut CpuStorage, &Layout), x: Argument) -> Result<()> {
    elementwise::blend(slice_mut(y.0, y.1)?, slice(x.0, x.1)?, op.share);
    Ok(())
}

/// Lends the gradient by the normalised values: dy, masked by y if there is one.
fn with_gradient<R>(dy: &[f32], y: Option<&Tensor>, f: impl FnOnce(Gradient<'_>) -> Result<R>) -> Result<R> {
    match y {
        None => f(Gradient::Plain(dy)),
        Some(y) => with_slice(y, |y| f(Gradient::ThroughRelu { dy, y }))?,
    }
}

fn mean_and_inverse_deviation(statistics: &[f32], channels: usize) -> (&[f32], &[f32]) {
    statistics[..2 * channels].split_at(channels)
}
