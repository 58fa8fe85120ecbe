//! Gaussian blur as in torchvision: a sampled Gaussian, mirrored at the border.

use crate::Image;

/// Blurs with a Gaussian of `sigma` pixels, cut at three sigmas. torchvision's `gaussian_blur` with that kernel size;
/// an image smaller than the kernel mirrors more than once.
pub fn gaussian_blur(image: &mut Image, sigma: f64) {
    if sigma <= 0.0 {
        return;
    }
    let kernel = kernel(sigma);
    let (width, height) = (image.width, image.height);
    let mut across = vec![0.0_f32; image.pixels.len()];
    for (row, out) in image.pixels.chunks_exact(width * 3).zip(across.chunks_exact_mut(width * 3)) {
        for x in 0..width {
            for channel in 0..3 {
                out[x * 3 + channel] = weighted(&kernel, x, width, |x| f32::from(row[x * 3 + channel]));
            }
        }
    }
    for (y, out) in image.pixels.chunks_exact_mut(width * 3).enumerate() {
        for (column, byte) in out.iter_mut().enumerate() {
            let value = weighted(&kernel, y, height, |y| across[y * width * 3 + column]);
            *byte = value.round_ties_even() as u8;
        }
    }
}

fn weighted(kernel: &[f32], center: usize, length: usize, value: impl Fn(usize) -> f32) -> f32 {
    let radius = kernel.len() / 2;
    kernel.iter().enumerate().map(|(i, weight)| weight * value(mirrored(center + i, radius, length))).sum()
}

/// Position `shifted - radius`, mirrored at 0 and `length - 1` without repeating the border.
fn mirrored(shifted: usize, radius: usize, length: usize) -> usize {
    let period = (2 * (length - 1)).max(1) as isize;
    let position = (shifted as isize - radius as isize).rem_euclid(period) as usize;
    position.min(period as usize - position).min(length - 1)
}

fn kernel(sigma: f64) -> Vec<f32> {
    let radius = (3.0 * sigma).ceil() as isize;
    let values: Vec<f64> = (-radius..=radius).map(|x| (-0.5 * (x as f64 / sigma).powi(2)).exp()).collect();
    let total: f64 = values.iter().sum();
    values.iter().map(|value| (value / total) as f32).collect()
}
