//! The residual block, basic and bottleneck.

use candle_core::{Result, Tensor};
use odc_ops::ConvolutionMethod;

use crate::builder::Builder;
use crate::layers::{BatchNorm, Convolution};
use crate::pass::Pass;

/// `relu(f(x) + shortcut(x))` with f = convolutions and batch norms, relu between them.
#[derive(Debug)]
pub(crate) struct Block {
    residual: Vec<(Convolution, BatchNorm)>,
    /// 1×1 convolution and batch norm, where side or channels change; the identity elsewhere.
    shortcut: Option<(Convolution, BatchNorm)>,
}

/// The sizes of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockShape {
    pub(crate) inputs: usize,
    /// Channels inside; a bottleneck block puts out four times as many.
    pub(crate) planes: usize,
    pub(crate) stride: usize,
}

impl Block {
    /// Two 3×3 convolutions, the first with the stride.
    pub(crate) fn basic(builder: &mut Builder<'_>, name: &str, shape: BlockShape) -> Result<Self> {
        let BlockShape { inputs, planes, stride } = shape;
        let residual = vec![
            normed(builder, &format!("{name}.conv1"), &format!("{name}.bn1"), 3, inputs, planes, stride)?,
            normed(builder, &format!("{name}.conv2"), &format!("{name}.bn2"), 3, planes, planes, 1)?,
        ];
        Ok(Self { residual, shortcut: shortcut(builder, name, inputs, planes, stride)? })
    }

    /// 1×1 down to `planes`, 3×3 with the stride, 1×1 up to `4 · planes`.
    pub(crate) fn bottleneck(builder: &mut Builder<'_>, name: &str, shape: BlockShape) -> Result<Self> {
        let BlockShape { inputs, planes, stride } = shape;
        let outputs = 4 * planes;
        let residual = vec![
            normed(builder, &format!("{name}.conv1"), &format!("{name}.bn1"), 1, inputs, planes, 1)?,
            normed(builder, &format!("{name}.conv2"), &format!("{name}.bn2"), 3, planes, planes, stride)?,
            normed(builder, &format!("{name}.conv3"), &format!("{name}.bn3"), 1, planes, outputs, 1)?,
        ];
        Ok(Self { residual, shortcut: shortcut(builder, name, inputs, outputs, stride)? })
    }

    /// How its convolutions are computed from now on.
    pub(crate) fn set_convolution_method(&mut self, method: ConvolutionMethod) {
        for (convolution, _) in self.residual.iter_mut().chain(&mut self.shortcut) {
            convolution.set_method(method);
        }
    }

    /// # Shapes
    /// `[N, H, W, inputs]` → `[N, ⌈H / stride⌉, ⌈W / stride⌉, outputs]`
    pub(crate) fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let shortcut = match &self.shortcut {
            Some((convolution, norm)) => norm.forward(&convolution.forward(x, pass)?, pass)?,
            None => x.clone(),
        };
        let mut y = x.clone();
        for (position, (convolution, norm)) in self.residual.iter().enumerate() {
            let is_last = position + 1 == self.residual.len();
            y = norm.forward_relu(&convolution.forward(&y, pass)?, is_last.then_some(&shortcut), pass)?;
        }
        Ok(y)
    }
}

fn shortcut(
    builder: &mut Builder<'_>,
    name: &str,
    inputs: usize,
    outputs: usize,
    stride: usize,
) -> Result<Option<(Convolution, BatchNorm)>> {
    if stride == 1 && inputs == outputs {
        return Ok(None);
    }
    let (convolution, norm) = (format!("{name}.downsample.0"), format!("{name}.downsample.1"));
    normed(builder, &convolution, &norm, 1, inputs, outputs, stride).map(Some)
}

fn normed(
    builder: &mut Builder<'_>,
    convolution: &str,
    norm: &str,
    kernel: usize,
    inputs: usize,
    outputs: usize,
    stride: usize,
) -> Result<(Convolution, BatchNorm)> {
    let convolution = Convolution::new(builder, convolution, kernel, inputs, outputs, stride)?;
    Ok((convolution, BatchNorm::affine(builder, norm, outputs)?))
}
