//! torchvision's `adjust_hue` on a Pillow image: RGB → HSV in bytes, hue shifted with wrap-around, and back.
//!
//! Both ways are free of branches: which channel is the largest is as good as random from pixel to pixel.

/// Shifts the hue by `factor` turns (−0.5 to 0.5). The hue is a byte, as in Pillow: the shift is cut off to 1/255 turn.
pub fn adjust_hue(pixels: &mut [u8], factor: f64) {
    let shift = (factor * 255.0) as i32 as u8;
    let sectors: [Sector; 256] = std::array::from_fn(|hue| Sector::of((hue as u8).wrapping_add(shift)));
    let (chunks, _) = pixels.as_chunks_mut::<3>();
    for pixel in chunks {
        let (hue, saturation, value) = to_hsv(*pixel);
        *pixel = sectors[usize::from(hue)].to_rgb(saturation, value);
    }
}

/// Pillow's `rgb2hsv_row`, its mixture of single and double precision included. A gray pixel has hue and saturation 0.
fn to_hsv([red, green, blue]: [u8; 3]) -> (u8, u8, u8) {
    let (high, low) = (red.max(green).max(blue), red.min(green).min(blue));
    // At least 1, so that gray and black pixels divide 0 by 1.
    let range = f32::from((high - low).max(1));
    let (first, second, offset) = if red == high {
        (blue, green, 0.0)
    } else if green == high {
        (red, blue, 2.0)
    } else {
        (green, red, 4.0)
    };
    let [first, second] = [first, second].map(|byte| f64::from(f32::from(high - byte) / range));
    let turn = f64::from((offset + first - second) as f32) / 6.0 + 1.0;
    let turn = if turn >= 1.0 { turn - 1.0 } else { turn } as f32;
    let saturation = f32::from(high - low) / f32::from(high.max(1));
    ((f64::from(turn) * 255.0) as i32 as u8, (f64::from(saturation) * 255.0) as i32 as u8, high)
}

/// What of Pillow's `hsv2rgb` depends on the hue alone.
#[derive(Clone, Copy)]
struct Sector {
    /// Which of value, p, q and t is red, green and blue.
    channels: [u8; 3],
    /// How far into this sixth of the circle.
    fraction: f32,
}

impl Sector {
    fn of(hue: u8) -> Self {
        const CHANNELS: [[u8; 3]; 6] = [[0, 3, 1], [2, 0, 1], [1, 0, 3], [1, 2, 0], [3, 1, 0], [0, 1, 2]];
        let position = f64::from(hue) * 6.0 / 255.0;
        Self { channels: CHANNELS[position as usize % 6], fraction: position.fract() as f32 }
    }

    fn to_rgb(self, saturation: u8, value: u8) -> [u8; 3] {
        let part = f32::from(saturation) / 255.0;
        // All are in 0..=255, so that cutting off after adding a half rounds as C's `round` does.
        let scaled = |share: f64| (f64::from(value) * (1.0 - share) + 0.5) as i32 as u8;
        let p = scaled(f64::from(part));
        let q = scaled(f64::from(part * self.fraction));
        let t = scaled(f64::from(part) * (1.0 - f64::from(self.fraction)));
        let four = [value, p, q, t];
        self.channels.map(|channel| four[usize::from(channel & 3)])
    }
}
