//! Pillow's `ImageEnhance` blends, grayscale and solarisation, in place on RGB bytes.

use super::pixels::{larger, map_pixels, rounded_byte, smaller, whole};

/// Pillow's `convert("L")`: ITU-R 601-2 in 16-bit fixed point.
pub fn luma([red, green, blue]: [u8; 3]) -> u8 {
    ((u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471 + 0x8000) >> 16) as u8
}

/// Blends with black: 0 is black, 1 changes nothing.
pub fn adjust_brightness(pixels: &mut [u8], factor: f32) {
    blend_with_constant(pixels, 0, factor);
}

/// Blends with the rounded mean of the gray image: 0 is flat, 1 changes nothing.
pub fn adjust_contrast(pixels: &mut [u8], factor: f32) {
    let (chunks, _) = pixels.as_chunks::<3>();
    let sum: u64 = chunks.iter().map(|&pixel| u64::from(luma(pixel))).sum();
    let mean = (sum as f64 / chunks.len().max(1) as f64 + 0.5) as u8;
    blend_with_constant(pixels, mean, factor);
}

/// Blends with the gray image: 0 is gray, 1 changes nothing.
pub fn adjust_saturation(pixels: &mut [u8], factor: f32) {
    map_pixels(pixels, |pixel| {
        let [red, green, blue] = pixel;
        // `luma` in whole numbers below 2²⁴: exact.
        let gray = whole((red * 19595.0 + green * 38470.0 + blue * 7471.0 + 32768.0) * (1.0 / 65536.0));
        pixel.map(|channel| {
            let value = gray + factor * (channel - gray);
            rounded_byte(whole(smaller(larger(value, 0.0), 255.0)))
        })
    });
}

/// Gray in all three channels.
pub fn to_grayscale(pixels: &mut [u8]) {
    let (chunks, _) = pixels.as_chunks_mut::<3>();
    for pixel in chunks {
        *pixel = [luma(*pixel); 3];
    }
}

/// Inverts the bytes from `threshold` on.
pub fn solarize(pixels: &mut [u8], threshold: u8) {
    for byte in pixels {
        if *byte >= threshold {
            *byte = 255 - *byte;
        }
    }
}

fn blend_with_constant(pixels: &mut [u8], constant: u8, factor: f32) {
    let table: [u8; 256] = std::array::from_fn(|byte| blend(f32::from(constant), byte as f32, factor));
    for byte in pixels {
        *byte = table[usize::from(*byte)];
    }
}

/// Pillow's `Image.blend`: interpolation or extrapolation in f32, then cut off and not rounded (`as` saturates).
fn blend(from: f32, to: f32, factor: f32) -> u8 {
    (from + factor * (to - from)) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_colour_is_saturated_as_by_the_plain_twin() {
        for factor in [0.0, 0.43, 1.0, 1.371, 2.0] {
            for red in 0..=255 {
                let colours = (0..1 << 16).map(|n| [red, (n >> 8) as u8, n as u8]);
                let mut saturated: Vec<u8> = colours.clone().flatten().collect();
                adjust_saturation(&mut saturated, factor);
                let expected = colours.flat_map(|colour| {
                    let gray = f32::from(luma(colour));
                    colour.map(|byte| blend(gray, f32::from(byte), factor))
                });
                assert!(expected.eq(saturated), "factor {factor}, red {red}");
            }
        }
    }

    #[test]
    fn an_image_of_any_number_of_pixels_is_saturated_to_its_end() {
        for n_pixels in [0, 1, 31, 32, 33, 100] {
            let mut pixels = [200, 100, 50].repeat(n_pixels);
            adjust_saturation(&mut pixels, 0.0);
            assert_eq!(pixels, [luma([200, 100, 50])].repeat(3 * n_pixels));
        }
    }
}
