//! Batch normalisation over the last dimension, with the batch's statistics or with running ones, and in the same pass what
//! follows it in a residual network: the sum with the shortcut, and relu.

mod cpu;

use crate::backward::{apply2, apply3};
use crate::elementwise::relu_backward;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, InplaceOp2, Layout, Result, Shape, Tensor, Var, bail,
};
use std::cell::Cell;

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
    train(x, weight, bias, epsilon, After::Nothing)
}

/// `relu(batch norm(x))` or, with a residual of x's shape, `relu(batch norm(x) + residual)`; otherwise as
/// [`batch_norm_train`].
///
/// # Errors
/// As [`batch_norm_train`], and a residual of another shape.
pub fn batch_norm_relu_train(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
    epsilon: f64,
) -> Result<(Tensor, BatchStatistics)> {
    train(x, weight, bias, epsilon, residual.map_or(After::Relu, After::AddRelu))
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
    eval(x, weight, bias, running_mean, running_variance, epsilon, After::Nothing)
}

/// `relu(batch norm(x))` or, with a residual of x's shape, `relu(batch norm(x) + residual)`; otherwise as
/// [`batch_norm_eval`].
///
/// # Errors
/// As [`batch_norm_eval`], and a residual of another shape.
pub fn batch_norm_relu_eval(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    residual: Option<&Tensor>,
    running_mean: &Tensor,
    running_variance: &Tensor,
    epsilon: f64,
) -> Result<Tensor> {
    let after = residual.map_or(After::Relu, After::AddRelu);
    eval(x, weight, bias, running_mean, running_variance, epsilon, after)
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

/// What follows the normalisation.
#[derive(Clone, Copy)]
enum After<'a> {
    Nothing,
    Relu,
    AddRelu(&'a Tensor),
}

fn train(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    epsilon: f64,
    after: After<'_>,
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
    Ok((normalize(&x, &affine(&x, weight, bias, channels)?, statistics, Mode::Train, after)?, batch))
}

fn eval(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    running_mean: &Tensor,
    running_variance: &Tensor,
    epsilon: f64,
    after: After<'_>,
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
    normalize(&x.contiguous()?, &affine(x, weight, bias, channels)?, statistics, Mode::Eval, after)
}

fn normalize(x: &Tensor, affine: &Tensor, statistics: Tensor, mode: Mode, after: After<'_>) -> Result<Tensor> {
    let op = |relu| Normalize { statistics, mode, relu };
    match after {
        After::Nothing => apply2(x, affine, op(false)),
        After::Relu => apply2(x, affine, op(true)),
        After::AddRelu(residual) if residual.shape() != x.shape() => {
            bail!("batch norm: residual {:?} where x is {:?}", residual.shape(), x.shape())
        }
        After::AddRelu(residual) => apply3(x, affine, &residual.contiguous()?, op(true)),
    }
}

fn channels(x: &Tensor) -> Result<usize> {
    match x.dims().last() {
        Some(&channels) if channels > 0 => Ok(channels),
        _ => bail!("batch norm: x {:?} has no channels", x.shape()),
    }
}

/// `[2, C]`: weight and bias, 1 and 0 where there are none.
fn affine(x: &Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>, channels: usize) -> Result<Tensor> {
    for (name, values) in [("weight", weight), ("bias", bias)] {
        if let Some(values) = values.filter(|values| values.dims() != [channels]) {
            bail!("batch norm: {name} {:?} where x is {:?}", values.shape(), x.shape());
        }
    }
    let weight = weight.map_or_else(|| Tensor::ones(channels, DType::F32, x.device()), Tensor::contiguous)?;
    let bias = bias.map_or_else(|| Tensor::zeros(channels, DType::F32, x.device()), Tensor::contiguous)?;
    apply2(&weight, &bias, Affine)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Train,
    Eval,
}

/// Arguments: weight and bias. Result: both in the rows of `[2, C]`, as candle's operations have three arguments at most.
struct Affine;

/// Argument: x. Result `[3, C]`: mean, 1/√(variance + ε), unbiased variance.
struct Statistics {
    channels: usize,
    epsilon: f64,
}

/// Arguments: running mean and variance. Result `[2, C]`: mean, 1/√(variance + ε).
struct RunningStatistics {
    epsilon: f64,
}

/// Arguments: x, weight and bias in rows, and perhaps a residual. Statistics: mean and 1/√(variance + ε) in the first two
/// rows. What is kept for the gradient is x and, behind a relu, the result.
struct Normalize {
    statistics: Tensor,
    mode: Mode,
    relu: bool,
}

/// Arguments: x, gradient by the result y. Result `[2, C]`: the gradients by weight and bias. With a y the gradient is masked
/// by y > 0, here and below.
struct BackwardSums<'a> {
    statistics: &'a Tensor,
    y: Option<&'a Tensor>,
}

/// Arguments: x, gradient by y, y. Result: the masked gradient, which is the residual's. The sums of [`BackwardSums`] come out
/// of the same pass and are left here.
struct BackwardSumsAndResidual<'a> {
    statistics: &'a Tensor,
    sums: Cell<Option<Tensor>>,
}

/// Arguments: x, gradient by y, the sums of [`BackwardSums`]. Result: gradient by x.
struct BackwardTrain<'a> {
    statistics: &'a Tensor,
    affine: &'a Tensor,
    y: Option<&'a Tensor>,
}

/// Argument: gradient by y. Result: gradient by x.
struct BackwardEval<'a> {
    statistics: &'a Tensor,
    affine: &'a Tensor,
    y: Option<&'a Tensor>,
}

impl Normalize {
    /// The gradients by x, by weight and bias in rows, and by the residual if it wants one.
    fn backward(
        &self,
        x: &Tensor,
        affine: &Tensor,
        residual: Option<&Tensor>,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let (statistics, mut dy) = (&self.statistics, dy.contiguous()?);
        let mut y = self.relu.then_some(y);
        let wants_sums = affine.track_op() || (x.track_op() && self.mode == Mode::Train);
        let (mut sums, mut by_residual) = (None, None);
        if let Some(result) = y.filter(|_| residual.is_some_and(Tensor::track_op)) {
            dy = if wants_sums {
                let both = BackwardSumsAndResidual { statistics, sums: Cell::default() };
                let masked = x.apply_op3_no_bwd(&dy, result, &both)?;
                sums = both.sums.take();
                masked
            } else {
                relu_backward(result, &dy)?
            };
            by_residual = Some(dy.clone());
            y = None;
        }
        if wants_sums && sums.is_none() {
            sums = Some(x.apply_op2_no_bwd(&dy, &BackwardSums { statistics, y })?);
        }
        let by_x = match (&sums, self.mode) {
            _ if !x.track_op() => None,
            (Some(sums), Mode::Train) => {
                Some(x.apply_op3_no_bwd(&dy, sums, &BackwardTrain { statistics, affine, y })?)
            }
            _ => Some(dy.apply_op1_no_bwd(&BackwardEval { statistics, affine, y })?),
        };
        Ok([by_x, sums.filter(|_| affine.track_op()), by_residual])
    }
}

struct Blend {
    share: f32,
}

impl CustomOp2 for Affine {
    fn name(&self) -> &'static str {
        "batch-norm-affine"
    }

    fn cpu_fwd(&self, w: &CpuStorage, wl: &Layout, b: &CpuStorage, bl: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::affine(self, (w, wl), (b, bl))
    }

    fn bwd(&self, w: &Tensor, b: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let row = |tensor: &Tensor, row| tensor.track_op().then(|| gradient.get(row)?.copy()).transpose();
        Ok((row(w, 0)?, row(b, 1)?))
    }
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

impl CustomOp2 for Normalize {
    fn name(&self) -> &'static str {
        "batch-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, a: &CpuStorage, al: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::normalize(self, (x, xl), (a, al), None)
    }

    fn bwd(&self, x: &Tensor, affine: &Tensor, y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [by_x, by_affine, _] = self.backward(x, affine, None, y, dy)?;
        Ok((by_x, by_affine))
    }
}

impl CustomOp3 for Normalize {
    fn name(&self) -> &'static str {
        "batch-norm-add-relu"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        a: &CpuStorage,
        al: &Layout,
        r: &CpuStorage,
        rl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        cpu::normalize(self, (x, xl), (a, al), Some((r, rl)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        affine: &Tensor,
        residual: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        self.backward(x, affine, Some(residual), y, dy).map(Into::into)
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

impl CustomOp3 for BackwardSumsAndResidual<'_> {
    fn name(&self) -> &'static str {
        "batch-norm-backward-sums-and-residual"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        dy: &CpuStorage,
        dyl: &Layout,
        y: &CpuStorage,
        yl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        cpu::backward_sums_and_residual(self, (x, xl), (dy, dyl), (y, yl))
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
