//! Pillow's `ImageEnhance` blends, grayscale and solarisation, in place on RGB bytes.

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
    let (chunks, _) = pixels.as_chunks_mut::<3>();
    for pixel in chunks {
        let gray = f32::from(luma(*pixel));
        *pixel = pixel.map(|byte| blend(gray, f32::from(byte), factor));
    }
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
