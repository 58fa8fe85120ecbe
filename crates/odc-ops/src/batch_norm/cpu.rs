//! Batch norm on the CPU: odc-kernels.

use super::{BackwardEval, BackwardSums, BackwardTrain, Blend, Normalize, RunningStatistics, Statistics};
use crate::slices::{filled, slice, slice_mut, with_slice};
use candle_core::{CpuStorage, Layout, Result, Shape};
use odc_kernels::batch_norm as kernel;
use odc_kernels::elementwise;

type Argument<'a> = (&'a CpuStorage, &'a Layout);

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

pub(super) fn normalize(op: &Normalize, x: Argument, weight: Argument, bias: Argument) -> Result<(CpuStorage, Shape)> {
    let shape = x.1.shape();
    let (x, weight, bias) = (slice(x.0, x.1)?, slice(weight.0, weight.1)?, slice(bias.0, bias.1)?);
    with_slice(&op.statistics, |statistics| {
        let (mean, inverse_deviation) = mean_and_inverse_deviation(statistics, weight.len());
        filled(shape, |y| kernel::normalize(x, mean, inverse_deviation, weight, bias, y))
    })
}

pub(super) fn backward_sums(op: &BackwardSums, x: Argument, dy: Argument) -> Result<(CpuStorage, Shape)> {
    let (x, dy) = (slice(x.0, x.1)?, slice(dy.0, dy.1)?);
    let channels = op.statistics.dim(1)?;
    with_slice(op.statistics, |statistics| {
        let (mean, inverse_deviation) = mean_and_inverse_deviation(statistics, channels);
        filled((2, channels), |sums| kernel::backward_sums(x, mean, inverse_deviation, dy, sums))
    })
}

pub(super) fn backward_train(
    op: &BackwardTrain,
    x: Argument,
    dy: Argument,
    sums: Argument,
) -> Result<(CpuStorage, Shape)> {
    let shape = x.1.shape();
    let (x, dy, sums) = (slice(x.0, x.1)?, slice(dy.0, dy.1)?, slice(sums.0, sums.1)?);
    with_slice(op.weight, |weight| {
        with_slice(op.statistics, |statistics| {
            let (mean, inverse_deviation) = mean_and_inverse_deviation(statistics, weight.len());
            filled(shape, |dx| kernel::backward_train(x, mean, inverse_deviation, weight, sums, dy, dx))
        })
    })?
}

pub(super) fn backward_eval(op: &BackwardEval, dy: Argument) -> Result<(CpuStorage, Shape)> {
    let shape = dy.1.shape();
    let dy = slice(dy.0, dy.1)?;
    with_slice(op.weight, |weight| {
        with_slice(op.statistics, |statistics| {
            let (_, inverse_deviation) = mean_and_inverse_deviation(statistics, weight.len());
            filled(shape, |dx| kernel::backward_eval(inverse_deviation, weight, dy, dx))
        })
    })?
}

pub(super) fn blend(op: &Blend, y: (&mut CpuStorage, &Layout), x: Argument) -> Result<()> {
    elementwise::blend(slice_mut(y.0, y.1)?, slice(x.0, x.1)?, op.share);
    Ok(())
}

fn mean_and_inverse_deviation(statistics: &[f32], channels: usize) -> (&[f32], &[f32]) {
    statistics[..2 * channels].split_at(channels)
}
