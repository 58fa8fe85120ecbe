//! Max pooling with remembered positions, and the global average.

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

/// For each output the window cell (ky · kernel width + kx) that holds the largest input: the first of equals; a NaN is
/// larger than any number, as in PyTorch.
///
/// # Panics
/// Where a slice has not the length that the shape says.
pub fn max_positions(shape: &PoolingShape, input: &[f32], positions: &mut [u8]) {
    assert_eq!(input.len(), shape.input_len(), "input of {shape:?}");
    assert_eq!(positions.len(), shape.output_len(), "positions of {shape:?}");
    let window = &shape.window;
    let channels = shape.channels;
    positions.par_chunks_mut(window.out_width() * channels).enumerate().for_each(|(row, positions)| {
        let mut largest = vec![0.0_f32; channels];
        let mut cells = vec![0_u32; channels];
        for (ox, positions) in positions.chunks_exact_mut(channels).enumerate() {
            let mut first = true;
            for (cell, pixel) in window_pixels(shape, row, ox) {
                let input = &input[pixel * channels..][..channels];
                if first {
                    largest.copy_from_slice(input);
                    cells.fill(cell);
                    first = false;
                    continue;
                }
                for ((largest, cells), &x) in largest.iter_mut().zip(&mut cells).zip(input) {
                    let wins = x > *largest || x.is_nan();
                    *largest = if wins { x } else { *largest };
                    *cells = if wins { cell } else { *cells };
                }
            }
            for (position, &cell) in positions.iter_mut().zip(&cells) {
                *position = cell as u8;
            }
        }
    });
}

/// `output` = the inputs at the remembered positions.
///
/// # Panics
/// Where a slice has not the length that the shape says, or a position lies in padding.
pub fn max_pool(shape: &PoolingShape, input: &[f32], positions: &[u8], output: &mut [f32]) {
    assert_eq!(input.len(), shape.input_len(), "input of {shape:?}");
    assert_eq!(positions.len(), shape.output_len(), "positions of {shape:?}");
    assert_eq!(output.len(), shape.output_len(), "output of {shape:?}");
    let window = &shape.window;
    let channels = shape.channels;
    let line = window.out_width() * channels;
    output.par_chunks_mut(line).zip(positions.par_chunks(line)).enumerate().for_each(|(row, (output, positions))| {
        let image = row / window.out_height() * window.height();
        let top = row % window.out_height() * window.stride();
        for (index, (output, &position)) in output.iter_mut().zip(positions).enumerate() {
            let (ox, channel) = (index / channels, index % channels);
            let (ky, kx) =
                (usize::from(position) / window.kernel_width(), usize::from(position) % window.kernel_width());
            let y = top + ky - window.padding();
            let x = ox * window.stride() + kx - window.padding();
            *output = input[((image + y) * window.width() + x) * channels + channel];
        }
    });
}

/// The gradient by the input: each input gathers from the windows whose largest it was.
///
/// # Panics
/// Where a slice has not the length that the shape says.
pub fn max_pool_backward(shape: &PoolingShape, positions: &[u8], output_gradient: &[f32], input_gradient: &mut [f32]) {
    assert_eq!(positions.len(), shape.output_len(), "positions of {shape:?}");
    assert_eq!(output_gradient.len(), shape.output_len(), "output gradient of {shape:?}");
    assert_eq!(input_gradient.len(), shape.input_len(), "input gradient of {shape:?}");
    let window = &shape.window;
    let channels = shape.channels;
    // The windows o with o · stride ≤ position + padding < o · stride + kernel.
    let windows = |position: usize, kernel: usize, count: usize| {
        let end = position + window.padding();
        let first = (end + 1).saturating_sub(kernel).div_ceil(window.stride());
        first..(end / window.stride() + 1).min(count)
    };
    input_gradient.par_chunks_mut(window.width() * channels).enumerate().for_each(|(row, gradient)| {
        let (image, y) = (row / window.height(), row % window.height());
        for (x, gradient) in gradient.chunks_exact_mut(channels).enumerate() {
            gradient.fill(0.0);
            for oy in windows(y, window.kernel_height(), window.out_height()) {
                for ox in windows(x, window.kernel_width(), window.out_width()) {
                    let ky = y + window.padding() - oy * window.stride();
                    let kx = x + window.padding() - ox * window.stride();
                    let cell = (ky * window.kernel_width() + kx) as u8;
                    let start = ((image * window.out_height() + oy) * window.out_width() + ox) * channels;
                    let from = output_gradient[start..start + channels].iter().zip(&positions[start..start + channels]);
                    for (gradient, (&from, &position)) in gradient.iter_mut().zip(from) {
                        *gradient += if position == cell { from } else { 0.0 };
                    }
                }
            }
        }
    });
}

/// The mean over the pixels of each image: `input` is `[images, pixels, channels]`, `output` `[images, channels]`.
///
/// # Panics
/// Where the lengths do not fit.
pub fn global_average(input: &[f32], pixels: usize, channels: usize, output: &mut [f32]) {
    assert_eq!(input.len(), output.len() * pixels, "input of a global average over {pixels} pixels");
    output.par_chunks_mut(channels).zip(input.par_chunks(pixels * channels)).for_each(|(output, input)| {
        let mut sums = vec![0.0_f64; channels];
        for pixel in input.chunks_exact(channels) {
            for (sum, &x) in sums.iter_mut().zip(pixel) {
                *sum += f64::from(x);
            }
        }
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
        for pixel in gradient.chunks_exact_mut(channels) {
            for (gradient, &from) in pixel.iter_mut().zip(from) {
                *gradient = from * share;
            }
        }
    });
}

/// The cells of a window that lie inside the image: (cell, pixel), pixels counted over all images. `row` is the row of
/// windows over all images, `ox` the window in it.
fn window_pixels(shape: &PoolingShape, row: usize, ox: usize) -> impl Iterator<Item = (u32, usize)> {
    let window = shape.window;
    let image = row / window.out_height() * window.height();
    let top = row % window.out_height() * window.stride();
    let left = ox * window.stride();
    (0..window.kernel_area()).filter_map(move |cell| {
        let y = (top + cell / window.kernel_width()).wrapping_sub(window.padding());
        let x = (left + cell % window.kernel_width()).wrapping_sub(window.padding());
        (y < window.height() && x < window.width()).then(|| (cell as u32, (image + y) * window.width() + x))
    })
}
