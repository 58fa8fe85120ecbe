//! Pooling on the CPU: odc-kernels.

use super::{GlobalAverageBackward, MaxPool};
use crate::slices::{filled, slice};
use candle_core::{CpuStorage, Device, Layout, Result, Shape, Tensor};
use odc_kernels::pooling::{self as kernel, GridAverage, PoolingShape};

type Argument<'a> = (&'a CpuStorage, &'a Layout);

pub(super) fn max_pool(op: &MaxPool, x: Argument) -> Result<(CpuStorage, Shape)> {
    let x = slice(x.0, x.1)?;
    let mut positions = vec![0_u8; op.shape.output_len()];
    let y = filled(output_dims(&op.shape), |y| kernel::max_pool(&op.shape, x, y, &mut positions));
    let positions = Tensor::from_vec(positions, op.shape.output_len(), &Device::Cpu)?;
    // candle runs the forward pass of an operation once.
    op.positions.get_or_init(|| positions);
    Ok(y)
}

pub(super) fn max_pool_backward(
    shape: &PoolingShape,
    positions: Argument,
    dy: Argument,
) -> Result<(CpuStorage, Shape)> {
    let (positions, dy) = (slice(positions.0, positions.1)?, slice(dy.0, dy.1)?);
    let dims = (shape.images(), shape.window().height(), shape.window().width(), shape.channels());
    Ok(filled(dims, |dx| kernel::max_pool_backward(shape, positions, dy, dx)))
}

pub(super) fn global_average(x: Argument) -> Result<(CpuStorage, Shape)> {
    let (images, height, width, channels) = x.1.shape().dims4()?;
    let x = slice(x.0, x.1)?;
    Ok(filled((images, channels), |y| kernel::global_average(x, height * width, channels, y)))
}

pub(super) fn global_average_backward(op: &GlobalAverageBackward, dy: Argument) -> Result<(CpuStorage, Shape)> {
    let (images, channels) = dy.1.shape().dims2()?;
    let dy = slice(dy.0, dy.1)?;
    let pixels = op.height * op.width;
    let dims = (images, op.height, op.width, channels);
    Ok(filled(dims, |dx| kernel::global_average_backward(dy, pixels, channels, dx)))
}

pub(super) fn grid_rows(grid: &GridAverage, x: Argument) -> Result<(CpuStorage, Shape)> {
    let images = x.1.shape().dims4()?.0;
    let x = slice(x.0, x.1)?;
    Ok(filled((images, grid.side * grid.side * grid.channels), |y| grid.forward(x, y)))
}

pub(super) fn grid_rows_backward(grid: &GridAverage, dy: Argument) -> Result<(CpuStorage, Shape)> {
    let images = dy.1.shape().dims2()?.0;
    let dy = slice(dy.0, dy.1)?;
    Ok(filled((images, grid.size.0, grid.size.1, grid.channels), |dx| grid.backward(dy, dx)))
}

fn output_dims(shape: &PoolingShape) -> Shape {
    (shape.images(), shape.window().out_height(), shape.window().out_width(), shape.channels()).into()
}
