//! Dropout from a seed or with a given mask.

mod cpu;

use crate::backward::{apply1, apply2};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};

/// Each element is 0 with `probability`, else `x / (1 − probability)`. Element i's fate is a function of (seed, i): the
/// same seed drops the same elements, whatever the device or number of threads.
///
/// # Errors
/// A probability outside [0, 1).
pub fn dropout(x: &Tensor, probability: f32, seed: u64) -> Result<Tensor> {
    if !(0.0..1.0).contains(&probability) {
        bail!("dropout: probability {probability} is outside [0, 1)");
    }
    if probability == 0.0 {
        return Ok(x.clone());
    }
    apply1(&x.contiguous()?, SeededDropout { probability, seed })
}

/// `x · mask`; the mask (0 or 1 / (1 − p)) is a constant and gets no gradient.
///
/// # Errors
/// Shapes that differ.
pub fn dropout_with_mask(x: &Tensor, mask: &Tensor) -> Result<Tensor> {
    if x.shape() != mask.shape() {
        bail!("dropout_with_mask: x {:?}, mask {:?}", x.shape(), mask.shape());
    }
    apply2(&x.contiguous()?, &mask.detach().contiguous()?, MaskedDropout)
}

struct SeededDropout {
    probability: f32,
    seed: u64,
}

/// Arguments: x, mask.
struct MaskedDropout;

impl CustomOp1 for SeededDropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::dropout(self, (x, xl))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(dy.contiguous()?.apply_op1_no_bwd(self)?))
    }
}

impl CustomOp2 for MaskedDropout {
    fn name(&self) -> &'static str {
        "dropout-with-mask"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, m: &CpuStorage, ml: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::multiply((x, xl), (m, ml))
    }

    fn bwd(&self, _x: &Tensor, mask: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(dy.contiguous()?.apply_op2_no_bwd(mask, self)?), None))
    }
}
