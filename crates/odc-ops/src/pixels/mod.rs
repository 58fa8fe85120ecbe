//! From bytes to what a network expects.

mod cpu;

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};

/// `(pixels / 255 − mean) / std` for `pixels` `[B, H, W, 3]` of type `u8`; the result is `f32` and has no gradient.
///
/// # Errors
/// Another type or shape, or a standard deviation that is not positive.
pub fn normalize_pixels(pixels: &Tensor, mean: [f32; 3], std: [f32; 3]) -> Result<Tensor> {
    let (_, _, _, channels) = pixels.dims4()?;
    if channels != 3 || pixels.dtype() != DType::U8 {
        bail!("normalize_pixels: {:?} of {:?} where [B, H, W, 3] of u8 is expected", pixels.shape(), pixels.dtype());
    }
    if std.iter().any(|&std| std.is_nan() || std <= 0.0) {
        bail!("normalize_pixels: standard deviations {std:?} must be positive");
    }
    pixels.contiguous()?.apply_op1_no_bwd(&NormalizePixels { mean, std })
}

struct NormalizePixels {
    mean: [f32; 3],
    std: [f32; 3],
}

impl CustomOp1 for NormalizePixels {
    fn name(&self) -> &'static str {
        "normalize-pixels"
    }

    fn cpu_fwd(&self, pixels: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::normalize_pixels(self, (pixels, layout))
    }
}
