//! Convolution as matrix products: the pixels under each window are gathered into a row ("im2col"), a block of windows
//! at a time so that the gathered rows stay in the cache, and multiplied with the weights.
//!
//! The gradient by the images is the same computation. For stride s, the pixels (s·a + i, s·b + j) with fixed i, j (a
//! parity class) see only the taps with ky ≡ i + padding (mod s), kx alike, and over those the gradient is a convolution
//! of stride 1 of the output gradient with flipped, transposed weights. Stride 1 has one class with all taps.

use super::ConvolutionShape;
use crate::matrix::{Matrix, multiply_add_block, multiply_block, transpose};
use rayon::prelude::*;
use std::cell::Cell;
use std::ops::Range;

/// Windows of a block (about), which bounds the gathered rows; fewer where a batch would give few blocks.
const BLOCK_WINDOWS: usize = 256;
const LEAST_WINDOWS: usize = 64;
/// Wide windows are gathered in several parts of about this many columns.
const PART_COLUMNS: usize = 1536;

thread_local! {
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// `output = input ∗ weight`.
///
/// # Panics
/// Where a slice has not the length that the shape says.
pub fn forward(shape: &ConvolutionShape, input: &[f32], weight: &[f32], output: &mut [f32]) {
    shape.check(input.len(), weight.len(), output.len());
    let gather = Gather::forward(shape);
    let rows = gather.rows_per_block();
    let channels = shape.out_channels();
    output.par_chunks_mut(rows * gather.grid_width * channels).enumerate().for_each(|(block, output)| {
        let start = block * rows;
        let count = output.len() / (gather.grid_width * channels);
        gather.convolve(input, weight, channels, start..start + count, output);
    });
}

/// The gradient by the input, given the gradient by the output.
///
/// # Panics
/// Where a slice has not the length that the shape says.
pub fn backward_data(shape: &ConvolutionShape, weight: &[f32], output_gradient: &[f32], input_gradient: &mut [f32]) {
    shape.check(input_gradient.len(), weight.len(), output_gradient.len());
    if input_gradient.is_empty() {
        return;
    }
    let classes = ParityClass::all(shape, weight);
    let channels = shape.in_channels();
    let rows = classes[0].gather.rows_per_block();
    if let [class] = classes.as_slice() {
        let block = rows * class.gather.grid_width * channels;
        input_gradient.par_chunks_mut(block).enumerate().for_each(|(block, gradient)| {
            let start = block * rows;
            let count = gradient.len() / (class.gather.grid_width * channels);
            class.gather.convolve(output_gradient, &class.weight, channels, start..start + count, gradient);
        });
        return;
    }
    let blocks = split_rows(shape, input_gradient, rows);
    blocks.into_par_iter().for_each(|(rows, gradient)| {
        for class in &classes {
            class.write_block(shape, output_gradient, rows.clone(), gradient);
        }
    });
}

/// Cuts the input gradient where blocks of grid rows begin. Grid row r is (image, a) = (r / grid height, r % grid height) and
/// stands for the image rows s·a .. s·(a + 1).
fn split_rows<'a>(
    shape: &ConvolutionShape,
    mut rest: &'a mut [f32],
    rows: usize,
) -> Vec<(Range<usize>, &'a mut [f32])> {
    let window = shape.window();
    let grid_height = window.height().div_ceil(window.stride());
    let first_element = |row: usize| {
        let image_row = row / grid_height * window.height() + row % grid_height * window.stride();
        image_row * window.width() * shape.in_channels()
    };
    let total = shape.images() * grid_height;
    let mut blocks = Vec::new();
    for start in (0..total).step_by(rows) {
        let end = (start + rows).min(total);
        let (block, after) = rest.split_at_mut(first_element(end) - first_element(start));
        blocks.push((start..end, block));
        rest = after;
    }
    blocks
}

/// The pixels of the input gradient that share their taps.
struct ParityClass {
    gather: Gather,
    /// `[taps in ascending order of offset, out channels, in channels]`; empty where no tap reaches the class.
    weight: Vec<f32>,
    /// Position of the class's first pixel.
    y: usize,
    x: usize,
}

impl ParityClass {
    fn all(shape: &ConvolutionShape, weight: &[f32]) -> Vec<Self> {
        let stride = shape.window().stride();
        (0..stride * stride)
            .into_par_iter()
            .map(|class| Self::new(shape, weight, class / stride, class % stride))
            .collect()
    }

    fn new(shape: &ConvolutionShape, weight: &[f32], y: usize, x: usize) -> Self {
        let window = shape.window();
        // Taps with (y + padding − ky) divisible by the stride; from the last to the first, offsets ascend by one.
        let taps = |position: usize, kernel: usize| -> Vec<usize> {
            (0..kernel)
                .rev()
                .filter(|&k| {
                    (position + window.padding() + kernel * window.stride() - k).is_multiple_of(window.stride())
                })
                .collect()
        };
        let offset = |position: usize, taps: &[usize]| -> isize {
            taps.first().map_or(0, |&k| {
                ((position + window.padding()) as isize - k as isize).div_euclid(window.stride() as isize)
            })
        };
        let (taps_y, taps_x) = (taps(y, window.kernel_height()), taps(x, window.kernel_width()));
        let gather = Gather {
            images: shape.images(),
            height: window.out_height(),
            width: window.out_width(),
            channels: shape.out_channels(),
            grid_height: window.height().div_ceil(window.stride()),
            grid_width: window.width().div_ceil(window.stride()),
            step: 1,
            first_y: offset(y, &taps_y),
            count_y: taps_y.len(),
            first_x: offset(x, &taps_x),
            count_x: taps_x.len(),
        };
        let tap_len = shape.in_channels() * shape.out_channels();
        let mut flipped = vec![0.0; taps_y.len() * taps_x.len() * tap_len];
        flipped.par_chunks_mut(tap_len).enumerate().for_each(|(tap, to)| {
            let (ky, kx) = (taps_y[tap / taps_x.len()], taps_x[tap % taps_x.len()]);
            let from = (ky * window.kernel_width() + kx) * tap_len;
            transpose(&weight[from..from + tap_len], shape.in_channels(), to);
        });
        Self { gather, weight: flipped, y, x }
    }

    /// Writes the class's pixels of some grid rows; `gradient` holds the image rows of these grid rows.
    fn write_block(&self, shape: &ConvolutionShape, output_gradient: &[f32], rows: Range<usize>, gradient: &mut [f32]) {
        let window = shape.window();
        let channels = shape.in_channels();
        let grid_width = self.gather.grid_width;
        let image_row = |row: usize| {
            row / self.gather.grid_height * window.height() + row % self.gather.grid_height * window.stride()
        };
        let mut pixels = vec![0.0; rows.len() * grid_width * channels];
        self.gather.convolve(output_gradient, &self.weight, channels, rows.clone(), &mut pixels);
        let first = image_row(rows.start);
        for (row, pixels) in rows.zip(pixels.chunks_exact(grid_width * channels)) {
            let y = row % self.gather.grid_height * window.stride() + self.y;
            if y >= window.height() {
                continue;
            }
            let start = (image_row(row) + self.y - first) * window.width() * channels;
            let line = &mut gradient[start..start + window.width() * channels];
            let every = window.stride() * channels;
            let class = line.get_mut(self.x * channels..).unwrap_or_default();
            for (to, from) in class.chunks_mut(every).zip(pixels.chunks_exact(channels)) {
                to[..channels].copy_from_slice(from);
            }
        }
    }
}

/// Which source pixels each grid position sees: those at (a·step + first_y + 0 .. count_y, b·step + first_x + 0 .. count_x),
/// zeros outside the source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gather {
    pub(super) images: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) grid_height: usize,
    pub(super) grid_width: usize,
    pub(super) step: usize,
    pub(super) first_y: isize,
    pub(super) count_y: usize,
    pub(super) first_x: isize,
    pub(super) count_x: usize,
}

impl Gather {
    pub(super) fn forward(shape: &ConvolutionShape) -> Self {
        let window = shape.window();
        Self {
            images: shape.images(),
            height: window.height(),
            width: window.width(),
            channels: shape.in_channels(),
            grid_height: window.out_height(),
            grid_width: window.out_width(),
            step: window.stride(),
            first_y: -(window.padding() as isize),
            count_y: window.kernel_height(),
            first_x: -(window.padding() as isize),
            count_x: window.kernel_width(),
        }
    }

    /// Grid rows of all images.
    pub(super) fn rows(&self) -> usize {
        self.images * self.grid_height
    }

    /// Length of a gathered row.
    pub(super) fn columns(&self) -> usize {
        self.count_y * self.count_x * self.channels
    }

    /// Grid rows in a block: by shape alone.
    pub(super) fn rows_per_block(&self) -> usize {
        let windows = (self.rows() * self.grid_width / 16).clamp(LEAST_WINDOWS, BLOCK_WINDOWS);
        (windows / self.grid_width).max(1)
    }

    /// Whether gathered rows are the source's own pixels, in order.
    pub(super) fn is_source(&self) -> bool {
        (self.step, self.first_y, self.count_y, self.first_x, self.count_x) == (1, 0, 1, 0, 1)
            && (self.grid_height, self.grid_width) == (self.height, self.width)
    }

    /// Only the window rows `start .. start + count`.
    pub(super) fn window_rows(self, start: usize, count: usize) -> Self {
        Self { first_y: self.first_y + start as isize, count_y: count, ..self }
    }

    /// Only the window column `start`.
    pub(super) fn window_column(self, start: usize) -> Self {
        Self { first_x: self.first_x + start as isize, count_x: 1, ..self }
    }

    /// `output = gathered rows · weight` for the grid positions of some rows; `weight` is `[columns, out_channels]`.
    fn convolve(&self, source: &[f32], weight: &[f32], out_channels: usize, rows: Range<usize>, output: &mut [f32]) {
        let windows = rows.len() * self.grid_width;
        if self.columns() == 0 {
            output.fill(0.0);
            return;
        }
        if self.is_source() {
            let source = &source[rows.start * self.grid_width * self.channels..][..windows * self.channels];
            let source = Matrix::row_major(source, windows, self.channels);
            multiply_block(source, Matrix::row_major(weight, self.channels, out_channels), output);
            return;
        }
        let row_columns = self.count_x * self.channels;
        let part = (PART_COLUMNS / row_columns).clamp(1, self.count_y);
        with_scratch(windows * part * row_columns, |scratch| {
            for start in (0..self.count_y).step_by(part) {
                let count = part.min(self.count_y - start);
                let columns = count * row_columns;
                let gathered = &mut scratch[..windows * columns];
                self.window_rows(start, count).gather(source, rows.clone(), 0..self.channels, gathered);
                let gathered = Matrix::row_major(gathered, windows, columns);
                let weight = &weight[start * row_columns * out_channels..][..columns * out_channels];
                let weight = Matrix::row_major(weight, columns, out_channels);
                if start == 0 {
                    multiply_block(gathered, weight, output);
                } else {
                    multiply_add_block(gathered, weight, output);
                }
            }
        });
    }

    /// Writes the gathered rows `[positions, count_y, count_x, channels]` of some grid rows.
    pub(super) fn gather(&self, source: &[f32], rows: Range<usize>, channels: Range<usize>, gathered: &mut [f32]) {
        let run = self.count_x * channels.len();
        let mut runs = gathered.chunks_exact_mut(run);
        for row in rows {
            let image = row / self.grid_height * self.height;
            let top = (row % self.grid_height * self.step) as isize + self.first_y;
            for position in 0..self.grid_width {
                let left = (position * self.step) as isize + self.first_x;
                for y in top..top + self.count_y as isize {
                    let Some(to) = runs.next() else { return };
                    if y < 0 || y >= self.height as isize {
                        to.fill(0.0);
                        continue;
                    }
                    let line = (image + y as usize) * self.width;
                    self.gather_run(source, line, left, channels.clone(), to);
                }
            }
        }
    }

    /// Copies `count_x` neighbouring pixels of a line, starting at `left`, which may lie outside.
    #[inline]
    fn gather_run(&self, source: &[f32], line: usize, left: isize, channels: Range<usize>, to: &mut [f32]) {
        let inside_from = (-left).clamp(0, self.count_x as isize) as usize;
        let inside_to = (self.width as isize - left).clamp(inside_from as isize, self.count_x as isize) as usize;
        let width = channels.len();
        to[..inside_from * width].fill(0.0);
        to[inside_to * width..].fill(0.0);
        if inside_to == inside_from {
            return;
        }
        let first = line + (left + inside_from as isize) as usize;
        let to = &mut to[inside_from * width..inside_to * width];
        if width == self.channels {
            copy(&source[first * width..][..to.len()], to);
        } else {
            for (pixel, to) in to.chunks_exact_mut(width).enumerate() {
                let start = (first + pixel) * self.channels + channels.start;
                copy(&source[start..start + width], to);
            }
        }
    }
}

/// `copy_from_slice` without a call for the short runs of narrow networks.
#[inline]
fn copy(from: &[f32], to: &mut [f32]) {
    if from.len() > 256 || !from.len().is_multiple_of(16) {
        to.copy_from_slice(from);
        return;
    }
    let (from, to) = (from.as_chunks::<16>().0, to.as_chunks_mut::<16>().0);
    for (from, to) in from.iter().zip(to) {
        *to = *from;
    }
}

/// Lends this thread's scratch, grown to `len`; its contents are whatever was left there.
pub(super) fn with_scratch(len: usize, f: impl FnOnce(&mut [f32])) {
    let mut scratch = SCRATCH.take();
    if scratch.len() < len {
        scratch.resize(len, 0.0);
    }
    f(&mut scratch[..len]);
    SCRATCH.set(scratch);
}
