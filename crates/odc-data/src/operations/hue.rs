//! torchvision's `adjust_hue` on a Pillow image: RGB → HSV in bytes, hue shifted with wrap-around, and back.
//!
//! Both ways are free of branches, of tables and of double precision, so that several pixels go through at once. That
//! they give Pillow's bytes is no matter of analysis: the tests compare every colour with `plain`, Pillow's own order
//! of operations.

use super::pixels::{larger, map_pixels, rounded, rounded_byte, smaller};

/// Shifts the hue by `factor` turns (−0.5 to 0.5). The hue is a byte, as in Pillow: the shift is cut off to 1/255 turn.
pub fn adjust_hue(pixels: &mut [u8], factor: f64) {
    let shift = f32::from((factor * 255.0) as i32 as u8);
    map_pixels(pixels, |pixel| {
        let (hue, saturation, value) = to_hsv(pixel);
        let hue = hue + shift;
        to_rgb(if hue > 255.0 { hue - 256.0 } else { hue }, saturation, value)
    });
}

/// All in 0 to 255. A gray pixel has hue and saturation 0.
#[inline(always)]
fn to_hsv([red, green, blue]: [f32; 3]) -> (f32, f32, f32) {
    let (high, low) = (larger(larger(red, green), blue), smaller(smaller(red, green), blue));
    let middle = red + green + blue - high - low;
    // In sixths of the circle: the largest channel's hue, and on which side of it the second largest draws.
    let (hue, before) = if green == high { (2.0, blue == low) } else { (4.0, red == low) };
    let (hue, before) = if red == high { (0.0, green == low) } else { (hue, before) };
    // 0 for gray and black pixels, which then divide 0 by 1.
    let one = smaller(high - low, 1.0);
    let share = (high - middle) / larger(high - low, 1.0);
    // The sum is rounded once.
    let sixths = if before { (hue - one) + share } else { (hue + one) - share };
    let turn = sixths / 6.0;
    let turn = if turn < 0.0 { turn + 1.0 } else { turn };
    (whole_255ths(turn), whole_255ths((high - low) / larger(high, 1.0)), high)
}

/// Each channel is the value, less the saturation's share of it: none in the third of the circle around the channel's
/// own hue, all in the opposite third, and in proportion between.
#[inline(always)]
fn to_rgb(hue: f32, saturation: f32, value: f32) -> [u8; 3] {
    // 255 to a sixth of the circle.
    let position = hue * 6.0;
    let shares =
        [510.0 - (position - 765.0).abs(), (position - 510.0).abs() - 255.0, (position - 1020.0).abs() - 255.0];
    shares.map(|share| {
        let share = smaller(larger(share, 0.0), 255.0);
        // All integers below 2²⁴: exact.
        let scaled = value * (65025.0 - saturation * share);
        rounded_byte(scaled * (1.0 / 65025.0))
    })
}

/// `255 x` cut off to an integer, without rounding the product first; `x` is in 0 to 1.
#[inline(always)]
fn whole_255ths(x: f32) -> f32 {
    let nearest = rounded(256.0 * x - x);
    // 256 x − nearest is exact.
    if 256.0 * x - nearest < x { nearest - 1.0 } else { nearest }
}

#[cfg(test)]
mod plain {
    //! Pillow's `rgb2hsv_row` and `hsv2rgb`, their mixture of single and double precision included.

    pub(super) fn to_hsv([red, green, blue]: [u8; 3]) -> [u8; 3] {
        let (high, low) = (red.max(green).max(blue), red.min(green).min(blue));
        if high == low {
            return [0, 0, high];
        }
        let range = f32::from(high - low);
        let [rc, gc, bc] = [red, green, blue].map(|byte| f32::from(high - byte) / range);
        let turn = if red == high {
            bc - gc
        } else if green == high {
            (2.0 + f64::from(rc) - f64::from(bc)) as f32
        } else {
            (4.0 + f64::from(gc) - f64::from(rc)) as f32
        };
        let turn = ((f64::from(turn) / 6.0 + 1.0) % 1.0) as f32;
        let saturation = range / f32::from(high);
        [(f64::from(turn) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, high]
    }

    pub(super) fn to_rgb([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
        let position = (f64::from(hue) * 6.0 / 255.0) as f32;
        let fraction = (f64::from(hue) * 6.0 / 255.0 - f64::from(position.floor())) as f32;
        let part = (f64::from(saturation) / 255.0) as f32;
        let scaled = |share: f64| (f64::from(value) * (1.0 - share)).round() as u8;
        let p = scaled(f64::from(part));
        let q = scaled(f64::from(part * fraction));
        let t = scaled(f64::from(part) * (1.0 - f64::from(fraction)));
        match position as u8 % 6 {
            0 => [value, t, p],
            1 => [q, value, p],
            2 => [p, value, t],
            3 => [p, q, value],
            4 => [t, p, value],
            _ => [value, p, q],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_three_bytes() -> impl Iterator<Item = [u8; 3]> {
        (0..1_u32 << 24).map(|n| [(n >> 16) as u8, (n >> 8) as u8, n as u8])
    }

    #[test]
    fn every_colour_has_the_hue_saturation_and_value_of_the_plain_twin() {
        for colour in every_three_bytes() {
            let (hue, saturation, value) = to_hsv(colour.map(f32::from));
            assert_eq!([hue, saturation, value], plain::to_hsv(colour).map(f32::from), "of {colour:?}");
        }
    }

    #[test]
    fn every_hue_saturation_and_value_has_the_colour_of_the_plain_twin() {
        for hsv in every_three_bytes() {
            let [hue, saturation, value] = hsv.map(f32::from);
            assert_eq!(to_rgb(hue, saturation, value), plain::to_rgb(hsv), "of {hsv:?}");
        }
    }

    #[test]
    fn an_image_of_any_number_of_pixels_is_shifted_as_by_the_plain_twin() {
        let pixels: Vec<u8> = (0..3000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for (n_pixels, factor) in [(1000, 0.37), (1000, -0.5), (960, 0.5), (31, -0.003), (1, 0.1), (0, 0.2)] {
            let mut shifted = pixels[..3 * n_pixels].to_vec();
            adjust_hue(&mut shifted, factor);
            let shift = (factor * 255.0) as i32 as u8;
            let (colours, _) = pixels[..3 * n_pixels].as_chunks::<3>();
            let expected = colours.iter().flat_map(|&colour| {
                let [hue, saturation, value] = plain::to_hsv(colour);
                plain::to_rgb([hue.wrapping_add(shift), saturation, value])
            });
            assert!(expected.eq(shifted), "{n_pixels} pixels, {factor} turns");
        }
    }
}
