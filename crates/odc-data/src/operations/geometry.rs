//! Flips and Pillow's rotation.

use crate::Image;

/// Left becomes right.
pub fn flip_horizontal(image: &mut Image) {
    let (pixels, _) = image.pixels.as_chunks_mut::<3>();
    for row in pixels.chunks_exact_mut(image.width) {
        row.reverse();
    }
}

/// Top becomes bottom.
pub fn flip_vertical(image: &mut Image) {
    let (pixels, _) = image.pixels.as_chunks_mut::<3>();
    let (width, height) = (image.width, image.height);
    for y in 0..height / 2 {
        let (upper, lower) = pixels.split_at_mut((height - 1 - y) * width);
        upper[y * width..][..width].swap_with_slice(&mut lower[..width]);
    }
}

/// A square image turned counter-clockwise by 90°: no pixel is changed.
///
/// # Panics
/// Where the pixels (`[side, side, 3]`) are not those of a square.
pub fn quarter_turn(pixels: &[u8], side: usize) -> Vec<u8> {
    let (source, rest) = pixels.as_chunks::<3>();
    assert!(source.len() == side * side && rest.is_empty(), "{} bytes are no square of side {side}", pixels.len());
    // The right column, read downwards, becomes the upper row.
    let turned = (0..side).rev().flat_map(|x| source[x..].iter().step_by(side));
    turned.flatten().copied().collect()
}

/// Rotated counter-clockwise about the centre, nearest neighbour, black where nothing was; the size stays.
/// Pillow's `Image.rotate`: the inverse map in 16.16 fixed point.
pub fn rotate(image: &Image, degrees: f64) -> Image {
    let degrees = degrees.rem_euclid(360.0);
    // Pillow rounds to 15 digits, so that quarter turns are exact.
    let digits = |x: f64| (x * 1e15).round() / 1e15;
    let (sin, cos) = (-degrees.to_radians()).sin_cos();
    let (a, b, d, e) = (digits(cos), digits(sin), digits(-sin), digits(cos));
    let (center_x, center_y) = (image.width as f64 / 2.0, image.height as f64 / 2.0);
    let c = a * -center_x + b * -center_y + center_x;
    let f = d * -center_x + e * -center_y + center_y;

    let fixed = |x: f64| (x * 65536.0 + 0.5).floor() as i64;
    let (step_x, step_y) = (fixed(a), fixed(d));
    let mut row_x = fixed(c + a * 0.5 + b * 0.5);
    let mut row_y = fixed(f + d * 0.5 + e * 0.5);
    let (source, _) = image.pixels.as_chunks::<3>();
    let mut rotated = Image::black(image.width, image.height);
    let (target, _) = rotated.pixels.as_chunks_mut::<3>();
    for row in target.chunks_exact_mut(image.width) {
        let (mut x, mut y) = (row_x, row_y);
        for pixel in row {
            // What is negative becomes a very large number.
            let (column, line) = ((x >> 16) as usize, (y >> 16) as usize);
            if column < image.width && line < image.height {
                *pixel = source[line * image.width + column];
            }
            x += step_x;
            y += step_y;
        }
        row_x += fixed(b);
        row_y += fixed(e);
    }
    rotated
}
