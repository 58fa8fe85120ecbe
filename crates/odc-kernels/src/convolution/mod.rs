//! Convolution of NHWC images with HWIO weights: forward, and the gradients by the images and by the weights.

mod ahead;
mod direct;
mod direct_weight;
mod grid;
mod panels;
pub(crate) mod plain;
mod winograd;

use crate::simd::{Level, Simd, at_level};
use crate::vectorized::current_level;
use crate::{ShapeError, Window};

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

/// How a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Method {
    /// Winograd's where a cost model finds it faster, else direct.
    #[default]
    Fastest,
    /// Direct everywhere: products of the numbers themselves.
    Direct,
    /// Winograd's wherever it can be computed (3×3, stride 1, padding 1, channels in whole vectors), else direct.
    Winograd,
}

/// The settings of a computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Execution {
    /// The instructions.
    pub level: Level,
    /// The algorithm.
    pub method: Method,
}

impl Execution {
    /// A method with this processor's best instructions.
    pub fn by(method: Method) -> Self {
        Self { level: current_level(), method }
    }
}

impl Default for Execution {
    fn default() -> Self {
        Self::by(Method::default())
    }
}

/// `output = input ∗ weight`.
///
/// # Panics
/// Where a slice has not the length that the shape says, or the processor lacks the level's instructions.
pub fn forward(execution: Execution, shape: &ConvolutionShape, input: &[f32], weight: &[f32], output: &mut [f32]) {
    shape.check(input.len(), weight.len(), output.len());
    check(execution);
    at_level!(execution.level, S => {
        if by_winograd::<S>(execution.method, shape) {
            winograd::forward::<S>(shape, input, weight, output);
        } else {
            direct::forward::<S>(shape, input, weight, output);
        }
    });
}

/// The gradient by the input, given the gradient by the output.
///
/// # Panics
/// As [`forward`].
pub fn backward_data(
    execution: Execution,
    shape: &ConvolutionShape,
    weight: &[f32],
    output_gradient: &[f32],
    input_gradient: &mut [f32],
) {
    shape.check(input_gradient.len(), weight.len(), output_gradient.len());
    check(execution);
    at_level!(execution.level, S => {
        if by_winograd::<S>(execution.method, shape) {
            winograd::backward_data::<S>(shape, weight, output_gradient, input_gradient);
        } else {
            direct::backward_data::<S>(shape, weight, output_gradient, input_gradient);
        }
    });
}

/// The gradient by the weight, given the input and the gradient by the output.
///
/// # Panics
/// As [`forward`].
pub fn backward_weight(
    execution: Execution,
    shape: &ConvolutionShape,
    input: &[f32],
    output_gradient: &[f32],
    weight_gradient: &mut [f32],
) {
    shape.check(input.len(), weight_gradient.len(), output_gradient.len());
    check(execution);
    at_level!(execution.level, S => {
        if by_winograd::<S>(execution.method, shape) {
            winograd::backward_weight::<S>(shape, input, output_gradient, weight_gradient);
        } else {
            direct_weight::backward_weight::<S>(shape, input, output_gradient, weight_gradient);
        }
    });
}

/// By shape alone: the bits do not depend on threads.
fn by_winograd<S: Simd>(method: Method, shape: &ConvolutionShape) -> bool {
    match method {
        Method::Direct => false,
        Method::Winograd => winograd::is_possible::<S>(shape),
        Method::Fastest => winograd::is_possible::<S>(shape) && winograd::pays(shape),
    }
}

fn check(execution: Execution) {
    let level = execution.level;
    assert!(level.is_available(), "convolution at the level {level}, whose instructions this processor does not have");
}
