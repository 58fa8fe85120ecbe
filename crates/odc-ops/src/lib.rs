//! Differentiable operations on candle tensors over odc-kernels, and SGD in place.
//!
//! Activations are `[images, height, width, channels]` (NHWC) in `f32`; convolution weights are
//! `[kernel height, kernel width, in channels, out channels]` (HWIO). The tensor's device decides at run time who computes.
//!
//! Invariants: nothing here goes through candle's own gradients of convolution, pooling or batch norm (the first is slow,
//! the second wrong); a gradient is computed only for what depends on a variable; on the CPU all work runs in the current
//! rayon pool and gives the same bits for any number of threads. Tensors that are not contiguous are copied first.

mod backward;
mod batch_norm;
mod conv2d;
mod cross_entropy;
mod dropout;
mod elementwise;
mod linear;
mod pixels;
mod pool;
mod pooling;
mod schedule;
mod sgd;
mod slices;

pub use backward::backward;
pub use batch_norm::{
    BatchStatistics, batch_norm_eval, batch_norm_relu_eval, batch_norm_relu_train, batch_norm_train, update_running,
};
pub use conv2d::{conv2d, conv2d_by};
pub use cross_entropy::weighted_cross_entropy;
pub use dropout::{dropout, dropout_with_mask};
pub use elementwise::{add, relu};
pub use linear::{add_bias, linear};
/// How a convolution is computed.
pub use odc_kernels::convolution::Method as ConvolutionMethod;
/// Counter-based random numbers: what the crates above draw initial weights and seeds from.
pub use odc_kernels::random;
pub use pixels::normalize_pixels;
pub use pool::in_pool;
pub use pooling::{adaptive_average_rows, global_average_pool, max_pool2d};
pub use schedule::MultiStep;
pub use sgd::{ParameterGroup, Sgd, SgdConfig};
