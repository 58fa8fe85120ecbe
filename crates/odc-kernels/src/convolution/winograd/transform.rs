//! The linear maps of Winograd's method, on vectors of channels.

use std::ops::Range;

use super::{POINTS, Planes, TILE, Tiling};
use crate::simd::{Kernel, Simd};

/// Side of a transformed tile, and of the inputs that a tile of outputs sees.
const SIDE: usize = 6;

/// The polynomials behind the transforms are taken at 0, ±A, ±B and ∞. With the textbook's 1 and 2 the rounding errors are more than
/// twice as large: products of these numbers stay nearer to 1. (Barabasz et al., arXiv 1803.10986, on the choice of points.)
const A: f32 = 0.625;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;
/// Π (p − q) over the other finite points q, for p = 0, ±A and ±B.
const AT_0: f32 = A2 * B2;
const AT_A: f32 = 2.0 * A2 * (A2 - B2);
const AT_B: f32 = 2.0 * B2 * (B2 - A2);

/// `Bᵀ d`
#[inline(always)]
unsafe fn input_line<S: Simd>(d: [S::Vector; 6]) -> [S::Vector; 6] {
    // SAFETY: the caller has the level's instructions.
    unsafe {
        let (even_a, odd_a) = (minus::<S>(d[4], B2, d[2]), minus::<S>(d[3], B2, d[1]));
        let (even_b, odd_b) = (minus::<S>(d[4], A2, d[2]), minus::<S>(d[3], A2, d[1]));
        [
            S::mul_add(S::splat(A2 * B2), d[0], minus::<S>(d[4], A2 + B2, d[2])),
            S::mul_add(S::splat(A), odd_a, even_a),
            minus::<S>(even_a, A, odd_a),
            S::mul_add(S::splat(B), odd_b, even_b),
            minus::<S>(even_b, B, odd_b),
            S::mul_add(S::splat(A2 * B2), d[1], minus::<S>(d[5], A2 + B2, d[3])),
        ]
    }
}

/// `Aᵀ m`
#[inline(always)]
unsafe fn output_line<S: Simd>(m: [S::Vector; 6]) -> [S::Vector; 4] {
    // SAFETY: the caller has the level's instructions.
    unsafe {
        let (sum_a, difference_a) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (sum_b, difference_b) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(m[0], S::add(sum_a, sum_b)),
            S::mul_add(S::splat(A), difference_a, S::mul(S::splat(B), difference_b)),
            S::mul_add(S::splat(A2), sum_a, S::mul(S::splat(B2), sum_b)),
            S::mul_add(S::splat(A2 * A), difference_a, S::mul_add(S::splat(B2 * B), difference_b, m[5])),
        ]
    }
}

/// `A e`
#[inline(always)]
unsafe fn gradient_line<S: Simd>(e: [S::Vector; 4]) -> [S::Vector; 6] {
    // SAFETY: the caller has the level's instructions.
    unsafe {
        let even_a = S::mul_add(S::splat(A2), e[2], e[0]);
        let odd_a = S::mul_add(S::splat(A2 * A), e[3], S::mul(S::splat(A), e[1]));
        let even_b = S::mul_add(S::splat(B2), e[2], e[0]);
        let odd_b = S::mul_add(S::splat(B2 * B), e[3], S::mul(S::splat(B), e[1]));
        [e[0], S::add(even_a, odd_a), S::sub(even_a, odd_a), S::add(even_b, odd_b), S::sub(even_b, odd_b), e[3]]
    }
}

/// `G g`
#[inline(always)]
unsafe fn weight_line<S: Simd>(g: [S::Vector; 3]) -> [S::Vector; 6] {
    // SAFETY: the caller has the level's instructions.
    unsafe {
        let even_a = S::mul_add(S::splat(1.0 / AT_A), g[0], S::mul(S::splat(A2 / AT_A), g[2]));
        let odd_a = S::mul(S::splat(A / AT_A), g[1]);
        let even_b = S::mul_add(S::splat(1.0 / AT_B), g[0], S::mul(S::splat(B2 / AT_B), g[2]));
        let odd_b = S::mul(S::splat(B / AT_B), g[1]);
        [
            S::mul(S::splat(1.0 / AT_0), g[0]),
            S::add(even_a, odd_a),
            S::sub(even_a, odd_a),
            S::add(even_b, odd_b),
            S::sub(even_b, odd_b),
            g[2],
        ]
    }
}

/// `Gᵀ m`
#[inline(always)]
unsafe fn weight_gradient_line<S: Simd>(m: [S::Vector; 6]) -> [S::Vector; 3] {
    // SAFETY: the caller has the level's instructions.
    unsafe {
        let (sum_a, difference_a) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (sum_b, difference_b) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        let inner = S::mul_add(S::splat(1.0 / AT_A), sum_a, S::mul(S::splat(1.0 / AT_B), sum_b));
        [
            S::mul_add(S::splat(1.0 / AT_0), m[0], inner),
            S::mul_add(S::splat(A / AT_A), difference_a, S::mul(S::splat(B / AT_B), difference_b)),
            S::mul_add(S::splat(A2 / AT_A), sum_a, S::mul_add(S::splat(B2 / AT_B), sum_b, m[5])),
        ]
    }
}

/// `a − factor · b`
#[inline(always)]
unsafe fn minus<S: Simd>(a: S::Vector, factor: f32, b: S::Vector) -> S::Vector {
    // SAFETY: the caller has the level's instructions.
    unsafe { S::mul_add(S::splat(-factor), b, a) }
}

/// Column j of a square or rectangle of vectors. (Closures, as `std::array::from_fn` takes, would not be compiled with the
/// level's instructions: intrinsics inside would stay calls.)
#[inline(always)]
fn nth<V: Copy, const ROWS: usize, const COLUMNS: usize>(lines: &[[V; COLUMNS]; ROWS], j: usize) -> [V; ROWS] {
    let mut column = [lines[0][j]; ROWS];
    for (x, line) in column.iter_mut().zip(lines) {
        *x = line[j];
    }
    column
}

/// Vectors that lie `stride` apart.
///
/// # Safety
/// All of them can be read.
#[inline(always)]
unsafe fn load<S: Simd, const COUNT: usize>(from: *const f32, stride: isize) -> [S::Vector; COUNT] {
    // SAFETY: the caller vouches for the addresses and the level's instructions.
    unsafe {
        let mut vectors = [S::zero(); COUNT];
        for (i, vector) in vectors.iter_mut().enumerate() {
            *vector = S::load(from.offset(i as isize * stride));
        }
        vectors
    }
}

/// `Bᵀ d B` of some tiles, for all channels: a tile is a row of the planes.
pub(super) struct InputTiles<'a> {
    pub(super) tiling: Tiling,
    /// `[images, height, width, channels]`
    pub(super) images: &'a [f32],
    /// A multiple of the lanes.
    pub(super) channels: usize,
    pub(super) tiles: Range<usize>,
    pub(super) planes: Planes,
    /// Where the first tile goes.
    pub(super) first_row: usize,
    pub(super) to: *mut f32,
}

impl Kernel for InputTiles<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Tiling { height, width, .. } = self.tiling;
        for (row, tile) in self.tiles.enumerate() {
            let (image, top, left) = self.tiling.corner(tile);
            let image = &self.images[image * height * width * self.channels..][..height * width * self.channels];
            for channel in (0..self.channels).step_by(S::LANES) {
                // SAFETY: a pixel's vector at `channel` lies inside the image, as y < height, x < width and channels are
                // whole vectors; the caller vouches for the planes.
                unsafe {
                    let mut lines = [[S::zero(); SIDE]; SIDE];
                    for (i, line) in lines.iter_mut().enumerate() {
                        let y = (top + i).wrapping_sub(1);
                        if y >= height {
                            continue;
                        }
                        let mut pixels = [S::zero(); SIDE];
                        for (j, pixel) in pixels.iter_mut().enumerate() {
                            let x = (left + j).wrapping_sub(1);
                            if x < width {
                                *pixel = S::load(image.as_ptr().add((y * width + x) * self.channels + channel));
                            }
                        }
                        *line = input_line::<S>(pixels);
                    }
                    let to = self.to.add(self.planes.position(self.first_row + row, channel));
                    for j in 0..SIDE {
                        let column = input_line::<S>(nth(&lines, j));
                        for (i, x) in column.into_iter().enumerate() {
                            S::store(to.add((i * SIDE + j) * self.planes.plane), x);
                        }
                    }
                }
            }
        }
    }
}

/// `Aᵀ m A` of some tiles, for some channels, written to the images.
pub(super) struct OutputTiles {
    pub(super) tiling: Tiling,
    /// The first tile's row of the first plane.
    pub(super) from: *const f32,
    pub(super) planes: Planes,
    pub(super) tiles: Range<usize>,
    /// `[images, height, width, channels]`, from the first of the channels to write on.
    pub(super) images: *mut f32,
    pub(super) channels: usize,
    /// Channels to write: a multiple of the lanes.
    pub(super) count: usize,
}

impl Kernel for OutputTiles {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Tiling { height, width, .. } = self.tiling;
        for (row, tile) in self.tiles.enumerate() {
            let (image, top, left) = self.tiling.corner(tile);
            for channel in (0..self.count).step_by(S::LANES) {
                // SAFETY: only pixels with y < height and x < width are written; the caller vouches for planes and images.
                unsafe {
                    let from = self.from.add(row * self.planes.row + channel);
                    let mut lines = [[S::zero(); TILE]; SIDE];
                    for (i, line) in lines.iter_mut().enumerate() {
                        *line = output_line::<S>(load::<S, SIDE>(
                            from.add(i * SIDE * self.planes.plane),
                            self.planes.plane as isize,
                        ));
                    }
                    for j in 0..TILE.min(width - left) {
                        let column = output_line::<S>(nth(&lines, j));
                        for (i, x) in column.into_iter().enumerate() {
                            if top + i < height {
                                let pixel = (image * height + top + i) * width + left + j;
                                S::store(self.images.add(pixel * self.channels + channel), x);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `A e Aᵀ` of some tiles, for all channels: a tile is a row of the planes.
pub(super) struct GradientTiles<'a> {
    pub(super) tiling: Tiling,
    /// `[images, height, width, channels]`
    pub(super) images: &'a [f32],
    /// A multiple of the lanes.
    pub(super) channels: usize,
    pub(super) tiles: Range<usize>,
    pub(super) planes: Planes,
    /// Where the first tile goes.
    pub(super) first_row: usize,
    pub(super) to: *mut f32,
}

impl Kernel for GradientTiles<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Tiling { height, width, .. } = self.tiling;
        for (row, tile) in self.tiles.enumerate() {
            let (image, top, left) = self.tiling.corner(tile);
            let image = &self.images[image * height * width * self.channels..][..height * width * self.channels];
            for channel in (0..self.channels).step_by(S::LANES) {
                // SAFETY: as in `InputTiles`.
                unsafe {
                    let mut lines = [[S::zero(); SIDE]; TILE];
                    for (i, line) in lines.iter_mut().enumerate().take(height - top) {
                        let mut pixels = [S::zero(); TILE];
                        for (j, pixel) in pixels.iter_mut().enumerate().take(width - left) {
                            let position = (top + i) * width + left + j;
                            *pixel = S::load(image.as_ptr().add(position * self.channels + channel));
                        }
                        *line = gradient_line::<S>(pixels);
                    }
                    let to = self.to.add(self.planes.position(self.first_row + row, channel));
                    for j in 0..SIDE {
                        let column = gradient_line::<S>(nth(&lines, j));
                        for (i, x) in column.into_iter().enumerate() {
                            S::store(to.add((i * SIDE + j) * self.planes.plane), x);
                        }
                    }
                }
            }
        }
    }
}

/// `G g Gᵀ` of a panel of weights: from nine taps of `rows` rows of `columns` numbers to rows of `PANEL`, zeros beyond.
pub(super) struct WeightPanel {
    pub(super) from: *const f32,
    /// From a row to the next, and from a tap to the next (backwards, where the kernel is turned round).
    pub(super) from_row: usize,
    pub(super) from_tap: isize,
    pub(super) rows: usize,
    /// A multiple of the lanes.
    pub(super) columns: usize,
    pub(super) planes: Planes,
    pub(super) to: *mut f32,
}

impl Kernel for WeightPanel {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for row in 0..self.rows {
            for column in (0..self.columns).step_by(S::LANES) {
                // SAFETY: the caller vouches for nine taps of the rows' columns and for the planes.
                unsafe {
                    let from = self.from.add(row * self.from_row + column);
                    let mut lines = [[S::zero(); SIDE]; 3];
                    for (i, line) in lines.iter_mut().enumerate() {
                        let from = from.offset(3 * i as isize * self.from_tap);
                        *line = weight_line::<S>(load::<S, 3>(from, self.from_tap));
                    }
                    let to = self.to.add(row * self.planes.row + column);
                    for j in 0..SIDE {
                        let column = weight_line::<S>(nth(&lines, j));
                        for (i, x) in column.into_iter().enumerate() {
                            S::store(to.add((i * SIDE + j) * self.planes.plane), x);
                        }
                    }
                }
            }
        }
    }
}

/// `Gᵀ m G`: from planes of `rows` × `columns` to the weights' nine taps.
pub(super) struct WeightGradient {
    pub(super) from: *const f32,
    pub(super) planes: Planes,
    pub(super) rows: usize,
    /// A multiple of the lanes.
    pub(super) columns: usize,
    pub(super) to: *mut f32,
    /// From a row of the weights to the next, and from a tap to the next.
    pub(super) to_row: usize,
    pub(super) to_tap: usize,
    /// Whether to add to what is there.
    pub(super) add: bool,
}

impl Kernel for WeightGradient {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for row in 0..self.rows {
            for column in (0..self.columns).step_by(S::LANES) {
                // SAFETY: the caller vouches for planes and weights, both of whole vectors.
                unsafe {
                    let from = self.from.add(row * self.planes.row + column);
                    let mut lines = [[S::zero(); 3]; SIDE];
                    for (i, line) in lines.iter_mut().enumerate() {
                        let from = from.add(i * SIDE * self.planes.plane);
                        *line = weight_gradient_line::<S>(load::<S, SIDE>(from, self.planes.plane as isize));
                    }
                    let to = self.to.add(row * self.to_row + column);
                    for j in 0..3 {
                        let taps = weight_gradient_line::<S>(nth(&lines, j));
                        for (i, mut x) in taps.into_iter().enumerate() {
                            let to = to.add((i * 3 + j) * self.to_tap);
                            if self.add {
                                x = S::add(S::load(to), x);
                            }
                            S::store(to, x);
                        }
                    }
                }
            }
        }
    }
}

const _: () = assert!(POINTS == SIDE * SIDE && SIDE == TILE + 2);
