//! Pillow's antialiased bilinear resize: two passes with 22-bit fixed-point weights and bytes in between.

mod fast;
mod plain;

use crate::Image;

/// A rectangle of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Crop {
    /// All of an image of this size.
    pub fn whole(width: usize, height: usize) -> Self {
        Self { top: 0, left: 0, height, width }
    }
}

/// The image at another size.
pub fn resize(image: &Image, width: usize, height: usize) -> Image {
    resized_crop(image, Crop::whole(image.width, image.height), width, height)
}

/// A part of the image at another size: first cropped, then resized, so that nothing outside the crop is seen.
/// The crop must lie within the image.
pub fn resized_crop(image: &Image, crop: Crop, width: usize, height: usize) -> Image {
    resample(image, crop, width, height, Crop::whole(width, height))
}

/// torchvision's `Resize(short)` and `CenterCrop(side)`, without making the pixels that the second throws away.
/// `short` must be at least `side`.
pub fn center_crop_of_resized(image: &Image, short: usize, side: usize) -> Image {
    let (width, height) = (image.width, image.height);
    let (resized_width, resized_height) =
        if width <= height { (short, short * height / width) } else { (short * width / height, short) };
    // Python rounds halves to even.
    let half = |n: usize| (n as f64 / 2.0).round_ties_even() as usize;
    let window = Crop { top: half(resized_height - side), left: half(resized_width - side), height: side, width: side };
    resample(image, Crop::whole(width, height), resized_width, resized_height, window)
}

/// `window` of what `crop` of `image` becomes at `width` × `height`.
fn resample(image: &Image, crop: Crop, width: usize, height: usize, window: Crop) -> Image {
    let row_of = |y: usize| &image.pixels[((crop.top + y) * image.width + crop.left) * 3..][..crop.width * 3];
    let rows = (height != crop.height).then(|| Weights::new(crop.height, height, window.top, window.height));
    let (first_row, end_row) = rows.as_ref().map_or((window.top, window.top + window.height), Weights::span);

    let stride = window.width * 3;
    let mut narrowed = vec![0; (end_row - first_row) * stride];
    if width == crop.width {
        for (y, out) in (first_row..end_row).zip(narrowed.chunks_exact_mut(stride)) {
            out.copy_from_slice(&row_of(y)[window.left * 3..][..stride]);
        }
    } else {
        let columns = Weights::new(crop.width, width, window.left, window.width);
        fast::narrow_rows((first_row..end_row).map(row_of), &columns, &mut narrowed);
    }
    let Some(rows) = rows else {
        return Image { width: window.width, height: window.height, pixels: narrowed };
    };
    let mut pixels = vec![0; window.height * stride];
    for (y, out) in pixels.chunks_exact_mut(stride).enumerate() {
        let (start, weights) = rows.of(y);
        fast::sum_rows(&narrowed[(start - first_row) * stride..], weights, out);
    }
    Image { width: window.width, height: window.height, pixels }
}

/// Pillow's PRECISION_BITS.
const BITS: u32 = 22;
const HALF: i32 = 1 << (BITS - 1);

fn to_byte(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

/// For each output position the first input position and the weights from there on (Pillow's `precompute_coeffs`).
struct Weights {
    /// Input positions in all.
    input: usize,
    starts: Vec<usize>,
    /// Where each position's weights begin in `values`; one more at the end.
    offsets: Vec<usize>,
    values: Vec<i32>,
}

impl Weights {
    /// The weights of outputs `first..first + n` out of `output`, from `input` positions.
    fn new(input: usize, output: usize, first: usize, n: usize) -> Self {
        let scale = input as f64 / output as f64;
        // The triangle filter reaches one output pixel to each side, but at least one input pixel.
        let support = scale.max(1.0);
        let inverse = 1.0 / support;
        let mut weights =
            Self { input, starts: Vec::with_capacity(n), offsets: Vec::with_capacity(n + 1), values: Vec::new() };
        weights.offsets.push(0);
        let mut triangle = Vec::new();
        for position in first..first + n {
            let center = (position as f64 + 0.5) * scale;
            let start = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(input);
            triangle.clear();
            triangle.extend((start..end).map(|x| (1.0 - ((x as f64 - center + 0.5) * inverse).abs()).max(0.0)));
            let total: f64 = triangle.iter().sum();
            let unit = f64::from(1 << BITS);
            weights.values.extend(triangle.iter().map(|weight| (0.5 + weight / total * unit) as i32));
            weights.starts.push(start);
            weights.offsets.push(weights.values.len());
        }
        weights
    }

    fn of(&self, position: usize) -> (usize, &[i32]) {
        (self.starts[position], &self.values[self.offsets[position]..self.offsets[position + 1]])
    }

    /// The input positions that any output needs: first, and one past the last.
    fn span(&self) -> (usize, usize) {
        let last = self.starts.len() - 1;
        (self.starts[0], self.starts[last] + self.of(last).1.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize) -> Vec<u8> {
        (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    /// Widened, kept within one to eight weights a position, narrowed much, and only a part of the outputs.
    const LENGTHS: [(usize, usize, usize, usize); 12] = [
        (1, 5, 0, 5),
        (2, 7, 1, 4),
        (3, 2, 0, 2),
        (4, 3, 0, 3),
        (5, 1, 0, 1),
        (8, 32, 0, 32),
        (32, 31, 3, 20),
        (48, 32, 0, 32),
        (100, 41, 7, 30),
        (97, 32, 0, 32),
        (110, 32, 1, 31),
        (500, 33, 0, 33),
    ];

    #[test]
    fn rows_are_narrowed_as_by_the_plain_twin() {
        for (input, output, first, n) in LENGTHS {
            let weights = Weights::new(input, output, first, n);
            let pixels = [noise(input * 3), vec![255; input * 3], vec![0; input * 3]].concat();
            let [mut plain, mut fast] = [(); 2].map(|()| vec![0; 3 * n * 3]);
            plain::narrow_rows(pixels.chunks_exact(input * 3), &weights, &mut plain);
            fast::narrow_rows(pixels.chunks_exact(input * 3), &weights, &mut fast);
            assert_eq!(fast, plain, "{first}..{} of {output} out of {input}", first + n);
        }
    }

    #[test]
    fn rows_are_summed_as_by_the_plain_twin() {
        for (input, output, first, n) in LENGTHS {
            let rows = Weights::new(input, output, first, n);
            for stride in [3, 31, 32, 33, 96, 300] {
                let pixels = [noise(input.div_ceil(2) * stride), vec![255; input / 2 * stride]].concat();
                for y in 0..n {
                    let (start, weights) = rows.of(y);
                    let [mut plain, mut fast] = [(); 2].map(|()| vec![0; stride]);
                    plain::sum_columns(&pixels[start * stride..], stride, 0, weights, &mut plain);
                    fast::sum_rows(&pixels[start * stride..], weights, &mut fast);
                    assert_eq!(fast, plain, "row {y} of {output} out of {input}, {stride} bytes long");
                }
            }
        }
    }
}
