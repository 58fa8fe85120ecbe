//! Convolution of 3×3 windows by Winograd's F(4×4, 3×3), forward and both gradients: 36 products where the definition has 144.
//!
//! Outputs are cut into tiles of 4×4. A tile sees 6×6 inputs d and is `Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A` for a kernel g; summed over the
//! channels, each of the 36 numbers is a matrix product (Lavin and Gray, arXiv 1509.09308). The gradient by the inputs is the same
//! with the kernel turned round; the gradient by the kernel is `Gᵀ[Σ over tiles (Bᵀ d B) ⊙ (A e Aᵀ)]G` for an output gradient e.
//!
//! The transforms cost about one bit against the direct sum.

mod product;
mod transform;
mod weight_gradient;

pub(super) use product::{backward_data, forward};
pub(super) use weight_gradient::backward_weight;

use super::ConvolutionShape;
use super::grid::Grid;
use crate::simd::Simd;

/// Side of a tile of outputs.
const TILE: usize = 4;
/// Numbers of a transformed tile.
const POINTS: usize = 36;
/// Numbers between planes, beyond what they hold: planes at a multiple of 4096 bytes would fight for the same cache lines.
const PLANE_GAP: usize = 16;

/// Whether Winograd's method can compute the convolution with whole vectors.
pub(super) fn is_possible<S: Simd>(shape: &ConvolutionShape) -> bool {
    let window = shape.window();
    (window.kernel_height(), window.kernel_width(), window.stride(), window.padding()) == (3, 3, 1, 1)
        && shape.in_channels().is_multiple_of(S::LANES)
        && shape.out_channels().is_multiple_of(S::LANES)
        && shape.images() > 0
}

/// Whether it takes less time than the direct method, by counting. Transforms are counted in multiply-adds that take as
/// long, as measured: a number of them for each channel of a tile, and for each pair of channels.
pub(super) fn pays(shape: &ConvolutionShape) -> bool {
    const TILE_CHANNEL: usize = 500;
    const CHANNEL_PAIR: usize = 600;
    let (inputs, outputs) = (shape.in_channels(), shape.out_channels());
    let tiles = Tiling::new(shape).count();
    let winograd =
        POINTS * tiles * inputs * outputs + TILE_CHANNEL * tiles * (inputs + outputs) + CHANNEL_PAIR * inputs * outputs;
    winograd < Grid::forward(shape).pairs() * inputs * outputs
}

/// The images, cut into tiles; the last ones of a row or column may stick out.
#[derive(Debug, Clone, Copy)]
struct Tiling {
    images: usize,
    height: usize,
    width: usize,
}

impl Tiling {
    fn new(shape: &ConvolutionShape) -> Self {
        let window = shape.window();
        Self { images: shape.images(), height: window.height(), width: window.width() }
    }

    fn count(&self) -> usize {
        self.images * self.height.div_ceil(TILE) * self.width.div_ceil(TILE)
    }

    /// The image of a tile, and the pixel of its upper left corner.
    #[inline(always)]
    fn corner(&self, tile: usize) -> (usize, usize, usize) {
        let (rows, columns) = (self.height.div_ceil(TILE), self.width.div_ceil(TILE));
        let (image, tile) = (tile / (rows * columns), tile % (rows * columns));
        (image, tile / columns * TILE, tile % columns * TILE)
    }
}

/// How transformed tiles lie in memory: `POINTS` planes `[block of channels, row, channel in the block]`.
#[derive(Debug, Clone, Copy)]
struct Planes {
    /// Channels of a block; the last block may have fewer.
    block: usize,
    /// From a row to the next.
    row: usize,
    /// From a block to the next.
    block_stride: usize,
    /// From a plane to the next.
    plane: usize,
}

impl Planes {
    /// Room for `rows` rows of `channels`, with `gap` unused numbers after each row of a block.
    fn new(rows: usize, channels: usize, block: usize, gap: usize) -> Self {
        let row = block + gap;
        let block_stride = rows * row;
        Self { block, row, block_stride, plane: channels.div_ceil(block) * block_stride + PLANE_GAP }
    }

    fn len(&self) -> usize {
        POINTS * self.plane
    }

    /// Where a channel of a row lies in a plane.
    #[inline(always)]
    fn position(&self, row: usize, channel: usize) -> usize {
        channel / self.block * self.block_stride + row * self.row + channel % self.block
    }
}
