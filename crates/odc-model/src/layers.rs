//! The layers that hold tensors: convolution, batch norm, linear.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use candle_core::{Result, Tensor, Var, bail};
use odc_ops::{BatchStatistics, ConvolutionMethod};

use crate::builder::Builder;
use crate::pass::Pass;

/// Torch's default, for every batch norm.
const EPSILON: f64 = 1e-5;

/// A convolution.
#[derive(Debug)]
pub(crate) struct Convolution {
    weight: Var,
    bias: Option<Var>,
    stride: usize,
    padding: usize,
    method: ConvolutionMethod,
}

impl Convolution {
    /// A square kernel without bias, padded so that stride 1 keeps the side.
    pub(crate) fn new(
        builder: &mut Builder<'_>,
        name: &str,
        kernel: usize,
        inputs: usize,
        outputs: usize,
        stride: usize,
    ) -> Result<Self> {
        let weight = builder.convolution(&format!("{name}.weight"), kernel, inputs, outputs)?;
        Ok(Self { weight, bias: None, stride, padding: kernel / 2, method: ConvolutionMethod::default() })
    }

    /// A square kernel and a bias that starts at 0.
    pub(crate) fn with_bias(
        builder: &mut Builder<'_>,
        name: &str,
        (kernel, stride, padding): (usize, usize, usize),
        inputs: usize,
        outputs: usize,
    ) -> Result<Self> {
        let weight = builder.convolution(&format!("{name}.weight"), kernel, inputs, outputs)?;
        let bias = Some(builder.constant(&format!("{name}.bias"), outputs, 0.0)?);
        Ok(Self { weight, bias, stride, padding, method: ConvolutionMethod::default() })
    }

    /// How it is computed from now on.
    pub(crate) fn set_method(&mut self, method: ConvolutionMethod) {
        self.method = method;
    }

    /// # Shapes
    /// `[N, H, W, inputs]` → `[N, (H + 2 · padding − kernel) / stride + 1, …, outputs]`
    pub(crate) fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let y = odc_ops::conv2d_by(self.method, x, &pass.parameter(&self.weight), self.stride, self.padding)?;
        match &self.bias {
            Some(bias) => odc_ops::add_bias(&y, &pass.parameter(bias)),
            None => Ok(y),
        }
    }
}

/// Batch norm over the last axis.
#[derive(Debug)]
pub(crate) struct BatchNorm {
    affine: Option<Affine>,
    running_mean: Var,
    running_variance: Var,
    batches_tracked: Arc<AtomicI64>,
    momentum: f64,
    name: String,
}

#[derive(Debug)]
struct Affine {
    weight: Var,
    bias: Var,
}

impl BatchNorm {
    /// With weight 1 and bias 0 to train, and torch's momentum 0.1.
    pub(crate) fn affine(builder: &mut Builder<'_>, name: &str, channels: usize) -> Result<Self> {
        let weight = builder.constant(&format!("{name}.weight"), channels, 1.0)?;
        let bias = builder.constant(&format!("{name}.bias"), channels, 0.0)?;
        Self::build(builder, name, channels, 0.1, Some(Affine { weight, bias }))
    }

    /// Without anything to train.
    pub(crate) fn plain(builder: &mut Builder<'_>, name: &str, channels: usize, momentum: f64) -> Result<Self> {
        Self::build(builder, name, channels, momentum, None)
    }

    fn build(
        builder: &mut Builder<'_>,
        name: &str,
        channels: usize,
        momentum: f64,
        affine: Option<Affine>,
    ) -> Result<Self> {
        Ok(Self {
            affine,
            running_mean: builder.statistic(&format!("{name}.running_mean"), channels, 0.0)?,
            running_variance: builder.statistic(&format!("{name}.running_var"), channels, 1.0)?,
            batches_tracked: builder.counter(&format!("{name}.num_batches_tracked")),
            momentum,
            name: name.to_owned(),
        })
    }

    /// # Shapes
    /// `[…, C]` → `[…, C]`
    ///
    /// # Errors
    /// In training, where the batch has one value per channel: it has no variance.
    pub(crate) fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let (weight, bias) = self.affine_in(pass);
        let (weight, bias) = (weight.as_ref(), bias.as_ref());
        let Some(momentum) = self.momentum(x, pass)? else {
            let (mean, variance) = self.running();
            return odc_ops::batch_norm_eval(x, weight, bias, &mean, &variance, EPSILON);
        };
        let (y, batch) = odc_ops::batch_norm_train(x, weight, bias, EPSILON)?;
        self.record(&batch, momentum)?;
        Ok(y)
    }

    /// `relu(norm(x))` or, with a residual, `relu(norm(x) + residual)`, in one pass over memory; as
    /// [`BatchNorm::forward`] otherwise.
    pub(crate) fn forward_relu(&self, x: &Tensor, residual: Option<&Tensor>, pass: Pass) -> Result<Tensor> {
        let (weight, bias) = self.affine_in(pass);
        let (weight, bias) = (weight.as_ref(), bias.as_ref());
        let Some(momentum) = self.momentum(x, pass)? else {
            let (mean, variance) = self.running();
            return odc_ops::batch_norm_relu_eval(x, weight, bias, residual, &mean, &variance, EPSILON);
        };
        let (y, batch) = odc_ops::batch_norm_relu_train(x, weight, bias, residual, EPSILON)?;
        self.record(&batch, momentum)?;
        Ok(y)
    }

    fn affine_in(&self, pass: Pass) -> (Option<Tensor>, Option<Tensor>) {
        let affine = self.affine.as_ref();
        (affine.map(|affine| pass.parameter(&affine.weight)), affine.map(|affine| pass.parameter(&affine.bias)))
    }

    fn running(&self) -> (Tensor, Tensor) {
        (self.running_mean.as_detached_tensor(), self.running_variance.as_detached_tensor())
    }

    /// The share of the batch in the running statistics; `None` where they are used in its place.
    fn momentum(&self, x: &Tensor, pass: Pass) -> Result<Option<f64>> {
        let momentum = match pass {
            Pass::Eval => return Ok(None),
            Pass::Train => self.momentum,
            Pass::Accumulate { earlier } => 1.0 / (earlier as f64 + 1.0),
        };
        let values = x.dims().iter().rev().skip(1).product::<usize>();
        if values < 2 {
            bail!(
                "{}: batch norm in training needs at least 2 values per channel, the batch has {values} (shape {:?}); \
                 use a larger batch, or larger images",
                self.name,
                x.dims()
            );
        }
        Ok(Some(momentum))
    }

    fn record(&self, batch: &BatchStatistics, momentum: f64) -> Result<()> {
        odc_ops::update_running(&self.running_mean, &batch.mean, momentum)?;
        odc_ops::update_running(&self.running_variance, &batch.variance, momentum)?;
        self.batches_tracked.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// A fully connected layer with bias.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Var,
    pub(crate) bias: Var,
}

impl Linear {
    /// Weights from N(0, `deviation`²), bias 0.
    pub(crate) fn new(
        builder: &mut Builder<'_>,
        name: &str,
        inputs: usize,
        outputs: usize,
        deviation: f64,
    ) -> Result<Self> {
        let weight = builder.drawn(&format!("{name}.weight"), &[outputs, inputs], deviation)?;
        let bias = builder.constant(&format!("{name}.bias"), outputs, 0.0)?;
        Ok(Self { weight, bias })
    }

    /// Over a flattened map `[N, side · side · channels]`; weights from N(0, `deviation`²), bias 0.
    pub(crate) fn over_map(
        builder: &mut Builder<'_>,
        name: &str,
        map: (usize, usize),
        outputs: usize,
        deviation: f64,
    ) -> Result<Self> {
        let weight = builder.over_map(&format!("{name}.weight"), map, outputs, deviation)?;
        let bias = builder.constant(&format!("{name}.bias"), outputs, 0.0)?;
        Ok(Self { weight, bias })
    }

    /// # Shapes
    /// `[N, inputs]` → `[N, outputs]`
    pub(crate) fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        odc_ops::linear(x, &pass.parameter(&self.weight), Some(&pass.parameter(&self.bias)))
    }
}
