//! torchvision's `adjust_hue` on a Pillow image: RGB → HSV in bytes, hue shifted with wrap-around, and back.

/// Shifts the hue by `factor` turns (−0.5 to 0.5). The hue is a byte, as in Pillow: the shift is cut off to 1/255 turn.
pub fn adjust_hue(pixels: &mut [u8], factor: f64) {
    let shift = (factor * 255.0) as i32 as u8;
    let sectors = Sectors::new(shift);
    let (chunks, _) = pixels.as_chunks_mut::<3>();
    for pixel in chunks {
        let (hue, saturation, value) = to_hsv(*pixel);
        *pixel = sectors.to_rgb(hue, saturation, value);
    }
}

/// Pillow's `rgb2hsv_row`, its mixture of single and double precision included.
fn to_hsv([red, green, blue]: [u8; 3]) -> (u8, u8, u8) {
    let (high, low) = (red.max(green).max(blue), red.min(green).min(blue));
    if high == low {
        return (0, 0, high);
    }
    let range = f32::from(high - low);
    let saturation = range / f32::from(high);
    let [r, g, b] = [red, green, blue].map(|byte| f32::from(high - byte) / range);
    let hue = if red == high {
        b - g
    } else if green == high {
        (2.0 + f64::from(r) - f64::from(b)) as f32
    } else {
        (4.0 + f64::from(g) - f64::from(r)) as f32
    };
    let turn = f64::from(hue) / 6.0 + 1.0;
    let turn = if turn >= 1.0 { turn - 1.0 } else { turn } as f32;
    ((f64::from(turn) * 255.0) as i32 as u8, (f64::from(saturation) * 255.0) as i32 as u8, high)
}

/// What of Pillow's `hsv2rgb` depends on the hue alone, by the hue before the shift.
struct Sectors {
    /// For each hue: the sixth of the circle, and how far into it.
    of_hue: [(u8, f32); 256],
}

impl Sectors {
    fn new(shift: u8) -> Self {
        let of_hue = std::array::from_fn(|hue| {
            let position = f64::from((hue as u8).wrapping_add(shift)) * 6.0 / 255.0;
            ((position.floor() as u8) % 6, (position - position.floor()) as f32)
        });
        Self { of_hue }
    }

    fn to_rgb(&self, hue: u8, saturation: u8, value: u8) -> [u8; 3] {
        if saturation == 0 {
            return [value; 3];
        }
        let (sector, fraction) = self.of_hue[usize::from(hue)];
        let part = f32::from(saturation) / 255.0;
        // All are in 0..=255, so that cutting off after adding a half rounds as C's `round` does.
        let scaled = |share: f64| (f64::from(value) * (1.0 - share) + 0.5) as i32 as u8;
        let p = scaled(f64::from(part));
        let q = scaled(f64::from(part * fraction));
        let t = scaled(f64::from(part) * (1.0 - f64::from(fraction)));
        match sector {
            0 => [value, t, p],
            1 => [q, value, p],
            2 => [p, value, t],
            3 => [p, q, value],
            4 => [t, p, value],
            _ => [value, p, q],
        }
    }
}
