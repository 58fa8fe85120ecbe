//! Element by element: ReLU, sums, products, dropout; and rows of a matrix with a bias.

use crate::random;
use rayon::prelude::*;

/// Elements a task works on.
pub(crate) const BLOCK: usize = 1 << 14;

/// `y = max(x, 0)`.
///
/// # Panics
/// Where the lengths differ, as all functions of this module.
pub fn relu(x: &[f32], y: &mut [f32]) {
    // Not `max`: what is no number stays none, as in PyTorch.
    map(x, y, |x| if x < 0.0 { 0.0 } else { x });
}

/// `dx = dy` where the result `y` of [`relu`] is positive, else 0.
pub fn relu_backward(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    map_two(y, dy, dx, |y, dy| if y <= 0.0 { 0.0 } else { dy });
}

/// `y += x`.
pub fn add_assign(y: &mut [f32], x: &[f32]) {
    assert_eq!(x.len(), y.len(), "lengths");
    y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| {
        for (y, &x) in y.iter_mut().zip(x) {
            *y += x;
        }
    });
}

/// `y = a + b`.
pub fn add(a: &[f32], b: &[f32], y: &mut [f32]) {
    map_two(a, b, y, |a, b| a + b);
}

/// `y = a · b`.
pub fn multiply(a: &[f32], b: &[f32], y: &mut [f32]) {
    map_two(a, b, y, |a, b| a * b);
}

/// `y = (1 − share) · y + share · x`: an exponential running mean.
pub fn blend(y: &mut [f32], x: &[f32], share: f32) {
    assert_eq!(y.len(), x.len(), "blend: lengths");
    let keep = 1.0 - share;
    for (y, &x) in y.iter_mut().zip(x) {
        *y = keep * *y + share * x;
    }
}

/// `y = x / (1 − probability)`, or 0 with the given probability; the fate of element i is a function of (seed, i), so
/// that the same call on a gradient is the backward pass.
pub fn dropout(x: &[f32], probability: f32, seed: u64, y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "dropout: lengths");
    let scale = 1.0 / (1.0 - probability);
    y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).enumerate().for_each(|(block, (y, x))| {
        let start = (block * BLOCK) as u64;
        for (index, (y, &x)) in y.iter_mut().zip(x).enumerate() {
            *y = if random::uniform(seed, start + index as u64) < probability { 0.0 } else { x * scale };
        }
    });
}

/// `y[row] = x[row] + bias` for rows of the bias's length.
pub fn add_bias(x: &[f32], bias: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "add_bias: lengths");
    let block = rows_per_block(bias.len()) * bias.len();
    y.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(bias.len()).zip(x.chunks_exact(bias.len())) {
            for ((y, &x), &bias) in y.iter_mut().zip(x).zip(bias) {
                *y = x + bias;
            }
        }
    });
}

/// `sums[c] = Σ over rows of x[row, c]`: the gradient of a bias.
pub fn sum_rows(x: &[f32], sums: &mut [f32]) {
    let columns = sums.len();
    let partial: Vec<Vec<f64>> = x
        .par_chunks(rows_per_block(columns) * columns)
        .map(|rows| {
            let mut partial = vec![0.0_f64; columns];
            for row in rows.chunks_exact(columns) {
                for (sum, &x) in partial.iter_mut().zip(row) {
                    *sum += f64::from(x);
                }
            }
            partial
        })
        .collect();
    for (column, sum) in sums.iter_mut().enumerate() {
        *sum = partial.iter().map(|partial| partial[column]).sum::<f64>() as f32;
    }
}

/// `(x / 255 − mean) / std` for bytes with three channels, innermost: images as a network expects them.
pub fn normalize_pixels(pixels: &[u8], mean: [f32; 3], std: [f32; 3], y: &mut [f32]) {
    assert_eq!(pixels.len(), y.len(), "normalize_pixels: lengths");
    let mut table = [[0.0_f32; 256]; 3];
    for (channel, row) in table.iter_mut().enumerate() {
        for (byte, value) in row.iter_mut().enumerate() {
            *value = (byte as f32 / 255.0 - mean[channel]) / std[channel];
        }
    }
    const PIXELS: usize = 3 * (BLOCK / 3);
    y.par_chunks_mut(PIXELS).zip(pixels.par_chunks(PIXELS)).for_each(|(y, pixels)| {
        for (y, pixel) in y.chunks_exact_mut(3).zip(pixels.chunks_exact(3)) {
            for channel in 0..3 {
                y[channel] = table[channel][usize::from(pixel[channel])];
            }
        }
    });
}

/// Rows of `columns` elements that a task works on.
pub(crate) fn rows_per_block(columns: usize) -> usize {
    (BLOCK / columns.max(1)).max(1)
}

fn map(x: &[f32], y: &mut [f32], f: impl Fn(f32) -> f32 + Sync) {
    assert_eq!(x.len(), y.len(), "lengths");
    y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = f(x);
        }
    });
}

fn map_two(a: &[f32], b: &[f32], y: &mut [f32], f: impl Fn(f32, f32) -> f32 + Sync) {
    assert_eq!(a.len(), y.len(), "lengths");
    assert_eq!(b.len(), y.len(), "lengths");
    y.par_chunks_mut(BLOCK).zip(a.par_chunks(BLOCK)).zip(b.par_chunks(BLOCK)).for_each(|((y, a), b)| {
        for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
            *y = f(a, b);
        }
    });
}
