//! Convolution of NHWC images with HWIO weights: forward, and the gradients by the images and by the weights.

mod im2col;
pub(crate) mod plain;
mod weight_gradient;

use crate::{ShapeError, Window};
pub use im2col::{backward_data, forward};
pub use weight_gradient::backward_weight;

/// The sizes of a convolution; made by [`ConvolutionShape::new`], which checks them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvolutionShape {
    images: usize,
    window: Window,
    in_channels: usize,
    out_channels: usize,
}

impl ConvolutionShape {
    /// `images` pictures through a window, from `in_channels` to `out_channels`.
    ///
    /// # Errors
    /// A number of channels that is zero. (No images at all is fine: nothing is computed.)
    pub fn new(images: usize, window: Window, in_channels: usize, out_channels: usize) -> Result<Self, ShapeError> {
        for (name, size) in [("number of input channels", in_channels), ("number of output channels", out_channels)] {
            if size == 0 {
                return Err(ShapeError::Zero { name });
            }
        }
        Ok(Self { images, window, in_channels, out_channels })
    }

    /// How many images.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Image size, kernel, stride and padding.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// Channels of the input.
    pub fn in_channels(&self) -> usize {
        self.in_channels
    }

    /// Channels of the output.
    pub fn out_channels(&self) -> usize {
        self.out_channels
    }

    /// Elements of the input, `[images, height, width, in channels]`.
    pub fn input_len(&self) -> usize {
        self.images * self.window.in_area() * self.in_channels
    }

    /// Elements of the weight, `[kernel height, kernel width, in channels, out channels]`.
    pub fn weight_len(&self) -> usize {
        self.window.kernel_area() * self.in_channels * self.out_channels
    }

    /// Elements of the output, `[images, out height, out width, out channels]`.
    pub fn output_len(&self) -> usize {
        self.images * self.window.out_area() * self.out_channels
    }

    fn check(&self, input: usize, weight: usize, output: usize) {
        assert_eq!(input, self.input_len(), "input of {self:?}");
        assert_eq!(weight, self.weight_len(), "weight of {self:?}");
        assert_eq!(output, self.output_len(), "output of {self:?}");
    }
}
