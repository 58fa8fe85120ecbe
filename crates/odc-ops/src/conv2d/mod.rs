//! Two-dimensional convolution.

mod cpu;

use crate::backward::apply2;
use candle_core::{CpuStorage, CustomOp2, Error, Layout, Result, Shape, Tensor, bail};
use odc_kernels::Window;
use odc_kernels::convolution::{ConvolutionShape, Method as ConvolutionMethod};

/// Convolves `x` `[N, H, W, Ci]` with `weight` `[kh, kw, Ci, Co]`, zero padding on all sides, no bias.
/// The result is `[N, (H + 2·padding − kh) / stride + 1, …, Co]`.
///
/// # Errors
/// Shapes that do not fit each other, a stride of zero, a kernel larger than the padded image.
pub fn conv2d(x: &Tensor, weight: &Tensor, stride: usize, padding: usize) -> Result<Tensor> {
    conv2d_by(ConvolutionMethod::Fastest, x, weight, stride, padding)
}

/// As [`conv2d`], by a method of one's choice; the gradients are computed by it as well. On the CPU, Winograd's method is up to
/// three times as fast as the direct one where it applies, and loses about one bit.
///
/// # Errors
/// As [`conv2d`].
pub fn conv2d_by(
    method: ConvolutionMethod,
    x: &Tensor,
    weight: &Tensor,
    stride: usize,
    padding: usize,
) -> Result<Tensor> {
    let (images, height, width, in_channels) = x.dims4()?;
    let (kernel_height, kernel_width, weight_channels, out_channels) = weight.dims4()?;
    if in_channels != weight_channels {
        bail!(
            "conv2d: x {:?} has {in_channels} channels, the weight {:?} (HWIO) takes {weight_channels}",
            x.shape(),
            weight.shape()
        );
    }
    let window = Window::new((height, width), (kernel_height, kernel_width), stride, padding).map_err(Error::wrap)?;
    let shape = ConvolutionShape::new(images, window, in_channels, out_channels).map_err(Error::wrap)?;
    apply2(&x.contiguous()?, &weight.contiguous()?, Conv2d(Settings { shape, method }))
}

#[derive(Clone, Copy)]
struct Settings {
    shape: ConvolutionShape,
    method: ConvolutionMethod,
}

/// Arguments: x, weight.
struct Conv2d(Settings);
/// Arguments: weight, gradient by the output. Result: gradient by x.
struct Conv2dBackwardData(Settings);
/// Arguments: x, gradient by the output. Result: gradient by the weight.
struct Conv2dBackwardWeight(Settings);

impl CustomOp2 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::forward(&self.0, (x, xl), (w, wl))
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        // The first layer's input is an image: its gradient would be the dearest and is of no use.
        let dx = x.track_op().then(|| weight.apply_op2_no_bwd(&dy, &Conv2dBackwardData(self.0)));
        let dw = weight.track_op().then(|| x.apply_op2_no_bwd(&dy, &Conv2dBackwardWeight(self.0)));
        Ok((dx.transpose()?, dw.transpose()?))
    }
}

impl CustomOp2 for Conv2dBackwardData {
    fn name(&self) -> &'static str {
        "conv2d-backward-data"
    }

    fn cpu_fwd(&self, w: &CpuStorage, wl: &Layout, dy: &CpuStorage, dyl: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::backward_data(&self.0, (w, wl), (dy, dyl))
    }
}

impl CustomOp2 for Conv2dBackwardWeight {
    fn name(&self) -> &'static str {
        "conv2d-backward-weight"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, dy: &CpuStorage, dyl: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::backward_weight(&self.0, (x, xl), (dy, dyl))
    }
}
