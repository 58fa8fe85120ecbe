//! Pixel normalisation on the CPU: odc-kernels.

use super::NormalizePixels;
use crate::slices::{filled, slice};
use candle_core::{CpuStorage, Layout, Result, Shape};
use odc_kernels::elementwise as kernel;

pub(super) fn normalize_pixels(op: &NormalizePixels, pixels: (&CpuStorage, &Layout)) -> Result<(CpuStorage, Shape)> {
    let values = slice::<u8>(pixels.0, pixels.1)?;
    Ok(filled(pixels.1.shape(), |y| kernel::normalize_pixels(values, op.mean, op.std, y)))
}
