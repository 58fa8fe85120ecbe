//! CPU kernels for training: convolution, batch norm, pooling, matrix product, nearest row.
//!
//! Everything works on plain slices: activations `[images, height, width, channels]` (NHWC), convolution weights
//! `[kernel height, kernel width, in channels, out channels]` (HWIO), matrices row-major.
//!
//! Invariant: work is cut into blocks by *shape* and partial sums are combined in block order. The current rayon pool
//! decides only who computes a block, so results are the same bits for any number of threads.
//!
//! Every fast kernel has a readable twin in [`plain`], the judge of its tests.

#![allow(unsafe_code, reason = "raw pointers, vector instructions, memory; each block argues its bounds and aliasing")]

pub mod batch_norm;
pub mod convolution;
pub mod cross_entropy;
mod disjoint;
pub mod elementwise;
mod error;
pub mod matrix;
pub mod memory;
mod nearest;
pub mod plain;
pub mod pooling;
pub mod random;
mod scratch;
pub mod sgd;
pub mod simd;
mod tile;
mod vectorized;
mod window;

pub use error::ShapeError;
pub use matrix::{Matrix, matrix_multiply};
pub use nearest::{nearest_by_distance, nearest_by_dot_product, normalize_rows};
pub use vectorized::with_level;
pub use window::Window;
