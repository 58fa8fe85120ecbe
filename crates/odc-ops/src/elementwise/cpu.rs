//! ReLU and sum on the CPU: odc-kernels.

use crate::slices::{filled, slice, slice_mut};
use candle_core::{CpuStorage, Layout, Result, Shape};
use odc_kernels::elementwise as kernel;

type Argument<'a> = (&'a CpuStorage, &'a Layout);

pub(super) fn relu(x: Argument) -> Result<(CpuStorage, Shape)> {
    let values = slice(x.0, x.1)?;
    Ok(filled(x.1.shape(), |y| kernel::relu(values, y)))
}

pub(super) fn relu_backward(y: Argument, dy: Argument) -> Result<(CpuStorage, Shape)> {
    let (values, gradient) = (slice(y.0, y.1)?, slice(dy.0, dy.1)?);
    Ok(filled(y.1.shape(), |dx| kernel::relu_backward(values, gradient, dx)))
}

pub(super) fn add(a: Argument, b: Argument) -> Result<(CpuStorage, Shape)> {
    let (left, right) = (slice(a.0, a.1)?, slice(b.0, b.1)?);
    Ok(filled(a.1.shape(), |y| kernel::add(left, right, y)))
}

pub(super) fn add_assign(a: (&mut CpuStorage, &Layout), b: Argument) -> Result<()> {
    kernel::add_assign(slice_mut(a.0, a.1)?, slice(b.0, b.1)?);
    Ok(())
}
