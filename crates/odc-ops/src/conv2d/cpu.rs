//! Convolution on the CPU: odc-kernels.

use crate::slices::{filled, slice};
use candle_core::{CpuStorage, Layout, Result, Shape};
use odc_kernels::convolution::{self, Execution};

use super::Settings;

type Argument<'a> = (&'a CpuStorage, &'a Layout);

pub(super) fn forward(settings: &Settings, x: Argument, weight: Argument) -> Result<(CpuStorage, Shape)> {
    let (x, weight) = (slice(x.0, x.1)?, slice(weight.0, weight.1)?);
    let shape = &settings.shape;
    let window = shape.window();
    let dims = (shape.images(), window.out_height(), window.out_width(), shape.out_channels());
    Ok(filled(dims, |y| convolution::forward(Execution::by(settings.method), shape, x, weight, y)))
}

pub(super) fn backward_data(settings: &Settings, weight: Argument, dy: Argument) -> Result<(CpuStorage, Shape)> {
    let (weight, dy) = (slice(weight.0, weight.1)?, slice(dy.0, dy.1)?);
    let shape = &settings.shape;
    let window = shape.window();
    let dims = (shape.images(), window.height(), window.width(), shape.in_channels());
    Ok(filled(dims, |dx| convolution::backward_data(Execution::by(settings.method), shape, weight, dy, dx)))
}

pub(super) fn backward_weight(settings: &Settings, x: Argument, dy: Argument) -> Result<(CpuStorage, Shape)> {
    let (x, dy) = (slice(x.0, x.1)?, slice(dy.0, dy.1)?);
    let shape = &settings.shape;
    let window = shape.window();
    let dims = (window.kernel_height(), window.kernel_width(), shape.in_channels(), shape.out_channels());
    Ok(filled(dims, |dw| convolution::backward_weight(Execution::by(settings.method), shape, x, dy, dw)))
}
