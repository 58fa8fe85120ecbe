//! Class-weighted cross-entropy, the loss of equation (1) of docs/ALGORITHM.md.

mod cpu;

use crate::backward::apply3;
use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor, bail};

/// `Σ_n w[y_n] · ce(logits_n, y_n) / Σ_n w[y_n]` for `logits` `[B, K]`, `labels` `[B]` (`u32`), `weights` `[K]`: a scalar.
/// Only the logits get a gradient.
///
/// # Errors
/// Shapes that do not fit, a label that is not less than K, an empty batch, weights of the batch that sum to zero.
pub fn weighted_cross_entropy(logits: &Tensor, labels: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let (batch, classes) = logits.dims2()?;
    if batch == 0 || labels.dims() != [batch] || weights.dims() != [classes] {
        bail!(
            "weighted_cross_entropy: logits {:?} need as many labels (got {:?}) and a weight for each class (got {:?})",
            logits.shape(),
            labels.shape(),
            weights.shape()
        );
    }
    let (labels, weights) = (labels.detach().contiguous()?, weights.detach().contiguous()?);
    let logits = logits.contiguous()?;
    let parts = logits.detach().apply_op1_no_bwd(&SoftmaxParts)?;
    apply3(&logits, &labels, &weights, WeightedCrossEntropy { parts })
}

/// Argument: logits. Result `[2, B]`: the largest of each row, and Σ exp(logit − largest).
struct SoftmaxParts;
/// Arguments: logits, labels, weights.
struct WeightedCrossEntropy {
    parts: Tensor,
}
/// The same arguments. Result: the gradient by the logits, given that by the loss, a scalar.
struct WeightedCrossEntropyBackward<'a> {
    parts: &'a Tensor,
    gradient: &'a Tensor,
}

impl CustomOp1 for SoftmaxParts {
    fn name(&self) -> &'static str {
        "softmax-parts"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::softmax_parts((x, xl))
    }
}

impl CustomOp3 for WeightedCrossEntropy {
    fn name(&self) -> &'static str {
        "weighted-cross-entropy"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        y: &CpuStorage,
        yl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        cpu::forward(self, (x, xl), (y, yl), (w, wl))
    }

    fn bwd(
        &self,
        logits: &Tensor,
        labels: &Tensor,
        weights: &Tensor,
        _loss: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let backward = WeightedCrossEntropyBackward { parts: &self.parts, gradient };
        Ok((Some(logits.apply_op3_no_bwd(labels, weights, &backward)?), None, None))
    }
}

impl CustomOp3 for WeightedCrossEntropyBackward<'_> {
    fn name(&self) -> &'static str {
        "weighted-cross-entropy-backward"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        y: &CpuStorage,
        yl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        cpu::backward(self, (x, xl), (y, yl), (w, wl))
    }
}
