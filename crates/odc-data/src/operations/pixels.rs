//! A change of every pixel for itself, several pixels at once.

/// Pixels that go through together.
const LANES: usize = 32;

/// 2²³: added to a smaller number, it leaves no bits for fractions, and the integer is in the lowest bits.
const WHOLE: f32 = 8_388_608.0;

/// Changes every pixel. `change` should have no branches, so that the compiler can make vectors of it.
#[inline(always)]
pub(super) fn map_pixels(pixels: &mut [u8], change: impl Fn([f32; 3]) -> [u8; 3]) {
    let (blocks, rest) = pixels.as_chunks_mut::<{ 3 * LANES }>();
    for block in blocks {
        map_block(block, &change);
    }
    let mut block = [0; 3 * LANES];
    block[..rest.len()].copy_from_slice(rest);
    map_block(&mut block, &change);
    rest.copy_from_slice(&block[..rest.len()]);
}

#[inline(always)]
fn map_block(block: &mut [u8; 3 * LANES], change: impl Fn([f32; 3]) -> [u8; 3]) {
    let (pixels, _) = block.as_chunks_mut::<3>();
    let mut channels = [[0_u8; LANES]; 3];
    for (i, pixel) in pixels.iter().enumerate() {
        for (channel, &byte) in channels.iter_mut().zip(pixel) {
            channel[i] = byte;
        }
    }
    let [red, green, blue] = &mut channels;
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        [*red, *green, *blue] = change([*red, *green, *blue].map(f32::from));
    }
    for (i, pixel) in pixels.iter_mut().enumerate() {
        *pixel = [channels[0][i], channels[1][i], channels[2][i]];
    }
}

/// `x`, at least 0 and below 2²², cut off to an integer.
#[inline(always)]
pub(super) fn whole(x: f32) -> f32 {
    let nearest = rounded(x);
    if nearest > x { nearest - 1.0 } else { nearest }
}

/// `x`, 0 to 255, rounded.
#[inline(always)]
pub(super) fn rounded_byte(x: f32) -> u8 {
    (x + WHOLE).to_bits() as u8
}

/// `x` rounded to an integer, for `x` from 0 to below 2²³.
#[inline(always)]
pub(super) fn rounded(x: f32) -> f32 {
    (x + WHOLE) - WHOLE
}

/// `f32::max` without its provision for what is not a number.
#[inline(always)]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// As [`larger`].
#[inline(always)]
pub(super) fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}
