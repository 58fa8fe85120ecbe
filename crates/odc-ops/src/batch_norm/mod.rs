//! Batch normalisation over the last dimension, with the batch's statistics or with running ones.

mod cpu;

use crate::backward::apply3;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, InplaceOp2, Layout, Result, Shape, Tensor, Var, bail,
};

/// Statistics of one batch, each `[C]`, detached from the graph.
#[derive(Debug, Clone)]
pub struct BatchStatistics {
    /// Mean of each channel.
    pub mean: Tensor,
    /// Unbiased variance of each channel: what running statistics average, as in PyTorch.
    pub variance: Tensor,
}

/// `(x − mean) / √(biased variance + epsilon) · weight + bias` with the mean and variance of the batch itself, over all
/// dimensions of `x` `[…, C]` but the last. `weight` and `bias` are `[C]`; absent, they are 1 and 0.
///
/// # Errors
/// Fewer than two rows of channels (one has no variance), or a weight or bias of another length.
pub fn batch_norm_train(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    epsilon: f64,
) -> Result<(Tensor, BatchStatistics)> {
    let channels = channels(x)?;
    if x.elem_count() < 2 * channels {
        bail!(
            "batch_norm_train: x {:?} has fewer than 2 values for each of {channels} channels; use a larger batch",
            x.shape()
        );
    }
    let x = x.contiguous()?;
    let statistics = x.detach().apply_op1_no_bwd(&Statistics { channels, epsilon })?;
    let batch = BatchStatistics { mean: statistics.get(0)?, variance: statistics.get(2)? };
    let (weight, bias) = affine(&x, weight, bias, channels)?;
    let normalize = Normalize { statistics, mode: Mode::Train };
    Ok((apply3(&x, &weight, &bias, normalize)?, batch))
}

/// `(x − running_mean) / √(running_variance + epsilon) · weight + bias`: as [`batch_norm_train`], with constants `[C]` in
/// place of the batch's statistics.
///
/// # Errors
/// Lengths other than `x`'s last dimension.
pub fn batch_norm_eval(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    running_mean: &Tensor,
    running_variance: &Tensor,
    epsilon: f64,
) -> Result<Tensor> {
    let channels = channels(x)?;
    for (name, running) in [("mean", running_mean), ("variance", running_variance)] {
        if running.dims() != [channels] {
            bail!("batch_norm_eval: running {name} {:?} where x is {:?}", running.shape(), x.shape());
        }
    }
    let mean = running_mean.detach().contiguous()?;
    let variance = running_variance.detach().contiguous()?;
    let statistics = mean.apply_op2_no_bwd(&variance, &RunningStatistics { epsilon })?;
    let (weight, bias) = affine(x, weight, bias, channels)?;
    apply3(&x.contiguous()?, &weight, &bias, Normalize { statistics, mode: Mode::Eval })
}

/// `running ← (1 − momentum) · running + momentum · batch`, in place.
///
/// # Errors
/// Tensors of different lengths or of another type than `f32`.
pub fn update_running(running: &Var, batch: &Tensor, momentum: f64) -> Result<()> {
    if running.shape() != batch.shape() {
        bail!("update_running: running {:?}, batch {:?}", running.shape(), batch.shape());
    }
    running.inplace_op2(&batch.detach().contiguous()?, &Blend { share: momentum as f32 })
}

fn channels(x: &Tensor) -> Result<usize> {
    match x.dims().last() {
        Some(&channels) if channels > 0 => Ok(channels),
        _ => bail!("batch norm: x {:?} has no channels", x.shape()),
    }
}

fn affine(x: &Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>, channels: usize) -> Result<(Tensor, Tensor)> {
    for (name, values) in [("weight", weight), ("bias", bias)] {
        if let Some(values) = values.filter(|values| values.dims() != [channels]) {
            bail!("batch norm: {name} {:?} where x is {:?}", values.shape(), x.shape());
        }
    }
    let weight = weight.map_or_else(|| Tensor::ones(channels, DType::F32, x.device()), Tensor::contiguous)?;
    let bias = bias.map_or_else(|| Tensor::zeros(channels, DType::F32, x.device()), Tensor::contiguous)?;
    Ok((weight, bias))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Train,
    Eval,
}

/// Argument: x. Result `[3, C]`: mean, 1/√(variance + ε), unbiased variance.
struct Statistics {
    channels: usize,
    epsilon: f64,
}

/// Arguments: running mean and variance. Result `[2, C]`: mean, 1/√(variance + ε).
struct RunningStatistics {
    epsilon: f64,
}

/// Arguments: x, weight, bias. Statistics: mean and 1/√(variance + ε) in the first two rows.
struct Normalize {
    statistics: Tensor,
    mode: Mode,
}

/// Arguments: x, gradient by y. Result `[2, C]`: the gradients by bias and weight.
struct BackwardSums<'a> {
    statistics: &'a Tensor,
}

/// Arguments: x, gradient by y, the sums of [`BackwardSums`]. Result: gradient by x.
struct BackwardTrain<'a> {
    statistics: &'a Tensor,
    weight: &'a Tensor,
}

/// Argument: gradient by y. Result: gradient by x.
struct BackwardEval<'a> {
    statistics: &'a Tensor,
    weight: &'a Tensor,
}

struct Blend {
    share: f32,
}

impl CustomOp1 for Statistics {
    fn name(&self) -> &'static str {
        "batch-norm-statistics"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::statistics(self, (x, xl))
    }
}

impl CustomOp2 for RunningStatistics {
    fn name(&self) -> &'static str {
        "batch-norm-running-statistics"
    }

    fn cpu_fwd(&self, m: &CpuStorage, ml: &Layout, v: &CpuStorage, vl: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::running_statistics(self, (m, ml), (v, vl))
    }
}

impl CustomOp3 for Normalize {
    fn name(&self) -> &'static str {
        "batch-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        cpu::normalize(self, (x, xl), (w, wl), (b, bl))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let statistics = &self.statistics;
        let wants_sums = weight.track_op() || bias.track_op() || (x.track_op() && self.mode == Mode::Train);
        let sums = wants_sums.then(|| x.apply_op2_no_bwd(&dy, &BackwardSums { statistics })).transpose()?;
        let dx = match (&sums, self.mode) {
            _ if !x.track_op() => None,
            (Some(sums), Mode::Train) => Some(x.apply_op3_no_bwd(&dy, sums, &BackwardTrain { statistics, weight })?),
            _ => Some(dy.apply_op1_no_bwd(&BackwardEval { statistics, weight })?),
        };
        let row =
            |tensor: &Tensor, row| sums.as_ref().filter(|_| tensor.track_op()).map(|sums| sums.get(row)).transpose();
        Ok((dx, row(weight, 1)?, row(bias, 0)?))
    }
}

impl CustomOp2 for BackwardSums<'_> {
    fn name(&self) -> &'static str {
        "batch-norm-backward-sums"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, dy: &CpuStorage, dyl: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::backward_sums(self, (x, xl), (dy, dyl))
    }
}

impl CustomOp3 for BackwardTrain<'_> {
    fn name(&self) -> &'static str {
        "batch-norm-backward-train"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        dy: &CpuStorage,
        dyl: &Layout,
        s: &CpuStorage,
        sl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        cpu::backward_train(self, (x, xl), (dy, dyl), (s, sl))
    }
}

impl CustomOp1 for BackwardEval<'_> {
    fn name(&self) -> &'static str {
        "batch-norm-backward-eval"
    }

    fn cpu_fwd(&self, dy: &CpuStorage, dyl: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::backward_eval(self, (dy, dyl))
    }
}

impl InplaceOp2 for Blend {
    fn name(&self) -> &'static str {
        "blend"
    }

    fn cpu_fwd(&self, y: &mut CpuStorage, yl: &Layout, x: &CpuStorage, xl: &Layout) -> Result<()> {
        cpu::blend(self, (y, yl), (x, xl))
    }
}
