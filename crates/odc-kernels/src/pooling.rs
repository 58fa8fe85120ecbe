//! Max pooling with remembered positions, the global average, and averages over a grid.

use crate::vectorized::{current_level, vectorized};
use crate::{ShapeError, Window};
use rayon::prelude::*;

/// The sizes of a max pooling; made by [`PoolingShape::new`], which checks them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolingShape {
    images: usize,
    window: Window,
    channels: usize,
}

impl PoolingShape {
    /// `images` pictures of `channels` under a square window. Padding never wins: it counts as −∞.
    ///
    /// # Errors
    /// No channels, a window that is not square or larger than 16, padding beyond half the window.
    pub fn new(images: usize, window: Window, channels: usize) -> Result<Self, ShapeError> {
        let (kernel, padding) = (window.kernel_height().max(window.kernel_width()), window.padding());
        if channels == 0 {
            return Err(ShapeError::Zero { name: "number of channels" });
        }
        if window.kernel_area() > 256 {
            return Err(ShapeError::PoolingWindow { kernel });
        }
        if 2 * padding > window.kernel_height().min(window.kernel_width()) {
            return Err(ShapeError::PoolingPadding { padding, kernel });
        }
        Ok(Self { images, window, channels })
    }

    /// Image size, kernel, stride and padding.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// How many images.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Channels of input and output.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Elements of the input, `[images, height, width, channels]`.
    pub fn input_len(&self) -> usize {
        self.images * self.window.in_area() * self.channels
    }

    /// Elements of the output, `[images, out height, out width, channels]`.
    pub fn output_len(&self) -> usize {
        self.images * self.window.out_area() * self.channels
    }
}

/// The largest input under each window, and the window cell (ky · kernel width + kx) that holds it: the first of equals; a
/// NaN is larger than any number, as in PyTorch.
///
/// # Panics
/// Where a slice has not the length that the shape says.
pub fn max_pool(shape: &PoolingShape, input: &[f32], output: &mut [f32], positions: &mut [u8]) {
    assert_eq!(input.len(), shape.input_len(), "input of {shape:?}");
    assert_eq!(output.len(), shape.output_len(), "output of {shape:?}");
    assert_eq!(positions.len(), shape.output_len(), "positions of {shape:?}");
    let level = current_level();
    let line = shape.window.out_width() * shape.channels;
    output.par_chunks_mut(line).zip(positions.par_chunks_mut(line)).enumerate().for_each(
        |(row, (output, positions))| {
            max_pool_line(level, shape, row, input, output, positions);
        },
    );
}

/// The gradient by the input: each input gathers from the windows whose largest it was.
///
/// # Panics
/// Where a slice has not the length that the shape says.
pub fn max_pool_backward(shape: &PoolingShape, positions: &[u8], output_gradient: &[f32], input_gradient: &mut [f32]) {
    assert_eq!(positions.len(), shape.output_len(), "positions of {shape:?}");
    assert_eq!(output_gradient.len(), shape.output_len(), "output gradient of {shape:?}");
    assert_eq!(input_gradient.len(), shape.input_len(), "input gradient of {shape:?}");
    let level = current_level();
    input_gradient.par_chunks_mut(shape.window.width() * shape.channels).enumerate().for_each(|(row, gradient)| {
        max_pool_backward_line(level, shape, row, positions, output_gradient, gradient);
    });
}

/// The mean over the pixels of each image: `input` is `[images, pixels, channels]`, `output` `[images, channels]`.
///
/// # Panics
/// Where the lengths do not fit.
pub fn global_average(input: &[f32], pixels: usize, channels: usize, output: &mut [f32]) {
    assert_eq!(input.len(), output.len() * pixels, "input of a global average over {pixels} pixels");
    let level = current_level();
    output.par_chunks_mut(channels).zip(input.par_chunks(pixels * channels)).for_each(|(output, input)| {
        let mut sums = vec![0.0_f64; channels];
        add_pixels(level, input, &mut sums);
        for (output, sum) in output.iter_mut().zip(sums) {
            *output = (sum / pixels as f64) as f32;
        }
    });
}

/// The gradient of [`global_average`] by its input: the same share for every pixel.
///
/// # Panics
/// Where the lengths do not fit.
pub fn global_average_backward(output_gradient: &[f32], pixels: usize, channels: usize, input_gradient: &mut [f32]) {
    assert_eq!(input_gradient.len(), output_gradient.len() * pixels, "gradient of a global average");
    let share = 1.0 / pixels as f32;
    let images = output_gradient.par_chunks(channels);
    input_gradient.par_chunks_mut(pixels * channels).zip(images).for_each(|(gradient, from)| {
        let (first, others) = gradient.split_at_mut(channels);
        for (gradient, &from) in first.iter_mut().zip(from) {
            *gradient = from * share;
        }
        others.chunks_exact_mut(channels).for_each(|pixel| pixel.copy_from_slice(first));
    });
}

/// The sizes of an average over a grid: every image, whatever its size, becomes `side` × `side` means, each over the pixels that
/// its cell of the image touches. Where the image is the smaller, cells share pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GridAverage {
    /// Height and width of the image, at least 1 each.
    pub size: (usize, usize),
    /// Cells along each side, at least 1.
    pub side: usize,
    /// Channels.
    pub channels: usize,
}

impl GridAverage {
    /// `output` `[images, side, side, channels]` of `input` `[images, height, width, channels]`.
    ///
    /// # Panics
    /// Where the lengths do not fit.
    pub fn forward(&self, input: &[f32], output: &mut [f32]) {
        let (inputs, outputs) = self.lengths();
        assert_eq!(input.len() * outputs, output.len() * inputs, "images of {self:?}");
        output.par_chunks_mut(outputs).zip(input.par_chunks(inputs)).for_each(|(output, input)| {
            let mut sums = vec![0.0_f64; self.channels];
            for (cell, output) in output.chunks_exact_mut(self.channels).enumerate() {
                sums.fill(0.0);
                let count = self.pixels(cell).count();
                for pixel in self.pixels(cell) {
                    for (sum, &x) in sums.iter_mut().zip(&input[pixel * self.channels..]) {
                        *sum += f64::from(x);
                    }
                }
                for (output, &sum) in output.iter_mut().zip(&sums) {
                    *output = (sum / count as f64) as f32;
                }
            }
        });
    }

    /// The gradient of [`GridAverage::forward`] by its input.
    ///
    /// # Panics
    /// Where the lengths do not fit.
    pub fn backward(&self, output_gradient: &[f32], input_gradient: &mut [f32]) {
        let (inputs, outputs) = self.lengths();
        assert_eq!(input_gradient.len() * outputs, output_gradient.len() * inputs, "images of {self:?}");
        let images = output_gradient.par_chunks(outputs);
        input_gradient.par_chunks_mut(inputs).zip(images).for_each(|(gradient, from)| {
            gradient.fill(0.0);
            for (cell, from) in from.chunks_exact(self.channels).enumerate() {
                let share = 1.0 / self.pixels(cell).count() as f32;
                for pixel in self.pixels(cell) {
                    for (gradient, &from) in gradient[pixel * self.channels..].iter_mut().zip(from) {
                        *gradient += from * share;
                    }
                }
            }
        });
    }

    /// Numbers of an image, before and after.
    fn lengths(&self) -> (usize, usize) {
        (self.size.0 * self.size.1 * self.channels, self.side * self.side * self.channels)
    }

    /// The pixels that a cell touches.
    fn pixels(&self, cell: usize) -> impl Iterator<Item = usize> {
        let (height, width) = self.size;
        let range = |cell: usize, length: usize| cell * length / self.side..((cell + 1) * length).div_ceil(self.side);
        let columns = range(cell % self.side, width);
        range(cell / self.side, height).flat_map(move |y| columns.clone().map(move |x| y * width + x))
    }
}

vectorized! {
    /// One line of windows; `row` is its number over all images.
    fn max_pool_line(shape: &PoolingShape, row: usize, input: &[f32], output: &mut [f32], positions: &mut [u8]) {
        let channels = shape.channels;
        // As wide as the numbers they go with: not every instruction set mixes widths well.
        let mut cells = vec![0_u32; channels];
        let windows = output.chunks_exact_mut(channels).zip(positions.chunks_exact_mut(channels));
        for (ox, (output, positions)) in windows.enumerate() {
            let mut first = true;
            for (cell, pixel) in window_pixels(shape, row, ox) {
                let input = &input[pixel * channels..][..channels];
                if first {
                    output.copy_from_slice(input);
                    cells.fill(cell);
                    first = false;
                    continue;
                }
                for ((largest, position), &x) in output.iter_mut().zip(&mut cells).zip(input) {
                    // `|` and no `||`: a branch would keep the loop from being vectorised.
                    let wins = (x > *largest) | x.is_nan();
                    *largest = if wins { x } else { *largest };
                    *position = if wins { cell } else { *position };
                }
            }
            for (position, &cell) in positions.iter_mut().zip(&cells) {
                *position = cell as u8;
            }
        }
    }
}

vectorized! {
    /// One line of pixels; `row` is its number over all images.
    fn max_pool_backward_line(
        shape: &PoolingShape,
        row: usize,
        positions: &[u8],
        output_gradient: &[f32],
        input_gradient: &mut [f32],
    ) {
        let (window, channels) = (&shape.window, shape.channels);
        let (image, y) = (row / window.height(), row % window.height());
        for (x, gradient) in input_gradient.chunks_exact_mut(channels).enumerate() {
            gradient.fill(0.0);
            for oy in windows_over(window, y, window.kernel_height(), window.out_height()) {
                for ox in windows_over(window, x, window.kernel_width(), window.out_width()) {
                    let ky = y + window.padding() - oy * window.stride();
                    let kx = x + window.padding() - ox * window.stride();
                    let cell = (ky * window.kernel_width() + kx) as u8;
                    let start = ((image * window.out_height() + oy) * window.out_width() + ox) * channels;
                    let from = output_gradient[start..][..channels].iter().zip(&positions[start..][..channels]);
                    for (gradient, (&from, &position)) in gradient.iter_mut().zip(from) {
                        *gradient += if position == cell { from } else { 0.0 };
                    }
                }
            }
        }
    }
}

vectorized! {
    fn add_pixels(input: &[f32], sums: &mut [f64]) {
        for pixel in input.chunks_exact(sums.len()) {
            for (sum, &x) in sums.iter_mut().zip(pixel) {
                *sum += f64::from(x);
            }
        }
    }
}

/// The windows o that cover a position: o · stride ≤ position + padding < o · stride + kernel.
#[inline(always)]
fn windows_over(window: &Window, position: usize, kernel: usize, count: usize) -> std::ops::Range<usize> {
    let end = position + window.padding();
    let first = (end + 1).saturating_sub(kernel).div_ceil(window.stride());
    first..(end / window.stride() + 1).min(count)
}

/// The cells of a window that lie inside the image: (cell, pixel), pixels counted over all images. `row` is the line of
/// windows over all images, `ox` the window in it.
#[inline(always)]
fn window_pixels(shape: &PoolingShape, row: usize, ox: usize) -> impl Iterator<Item = (u32, usize)> {
    let window = shape.window;
    let image = row / window.out_height() * window.height();
    let (top, left) = (row % window.out_height() * window.stride(), ox * window.stride());
    let inside = move |start: usize, kernel: usize, side: usize| {
        window.padding().saturating_sub(start)..kernel.min(side + window.padding() - start)
    };
    inside(top, window.kernel_height(), window.height()).flat_map(move |ky| {
        let line = (image + top + ky - window.padding()) * window.width() + left;
        inside(left, window.kernel_width(), window.width())
            .map(move |kx| ((ky * window.kernel_width() + kx) as u32, line + kx - window.padding()))
    })
}
