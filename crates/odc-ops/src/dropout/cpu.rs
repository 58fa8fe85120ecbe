//! Dropout on the CPU: odc-kernels.

use super::SeededDropout;
use crate::slices::{filled, slice};
use candle_core::{CpuStorage, Layout, Result, Shape};
use odc_kernels::elementwise as kernel;

type Argument<'a> = (&'a CpuStorage, &'a Layout);

pub(super) fn dropout(op: &SeededDropout, x: Argument) -> Result<(CpuStorage, Shape)> {
    let values = slice(x.0, x.1)?;
    Ok(filled(x.1.shape(), |y| kernel::dropout(values, op.probability, op.seed, y)))
}

pub(super) fn multiply(x: Argument, mask: Argument) -> Result<(CpuStorage, Shape)> {
    let (values, mask) = (slice(x.0, x.1)?, slice(mask.0, mask.1)?);
    Ok(filled(x.1.shape(), |y| kernel::multiply(values, mask, y)))
}
