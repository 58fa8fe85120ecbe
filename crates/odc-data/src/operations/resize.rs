//! Pillow's antialiased bilinear resize: two passes with 22-bit fixed-point weights and bytes in between.

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

    let mut narrowed = vec![0; (end_row - first_row) * window.width * 3];
    if width == crop.width {
        for (y, out) in (first_row..end_row).zip(narrowed.chunks_exact_mut(window.width * 3)) {
            out.copy_from_slice(&row_of(y)[window.left * 3..][..window.width * 3]);
        }
    } else {
        let columns = Weights::new(crop.width, width, window.left, window.width);
        for (y, out) in (first_row..end_row).zip(narrowed.chunks_exact_mut(window.width * 3)) {
            narrow_row(row_of(y), &columns, out);
        }
    }
    let Some(rows) = rows else {
        return Image { width: window.width, height: window.height, pixels: narrowed };
    };

    let mut pixels = vec![0; window.height * window.width * 3];
    let mut sums = vec![0; window.width * 3];
    for (y, out) in pixels.chunks_exact_mut(window.width * 3).enumerate() {
        let (start, weights) = rows.of(y);
        sums.fill(HALF);
        for (row, &weight) in
            narrowed[(start - first_row) * window.width * 3..].chunks_exact(window.width * 3).zip(weights)
        {
            for (sum, &byte) in sums.iter_mut().zip(row) {
                *sum += i32::from(byte) * weight;
            }
        }
        for (byte, &sum) in out.iter_mut().zip(&sums) {
            *byte = to_byte(sum);
        }
    }
    Image { width: window.width, height: window.height, pixels }
}

fn narrow_row(row: &[u8], columns: &Weights, out: &mut [u8]) {
    let (pixels, _) = row.as_chunks::<3>();
    for (x, out) in out.chunks_exact_mut(3).enumerate() {
        let (start, weights) = columns.of(x);
        let (mut red, mut green, mut blue) = (HALF, HALF, HALF);
        for (&[r, g, b], &weight) in pixels[start..start + weights.len()].iter().zip(weights) {
            red += i32::from(r) * weight;
            green += i32::from(g) * weight;
            blue += i32::from(b) * weight;
        }
        out[0] = to_byte(red);
        out[1] = to_byte(green);
        out[2] = to_byte(blue);
    }
}

/// Pillow's PRECISION_BITS.
const BITS: u32 = 22;
const HALF: i32 = 1 << (BITS - 1);

fn to_byte(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

/// For each output position the first input position and the weights from there on (Pillow's `precompute_coeffs`).
struct Weights {
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
            Self { starts: Vec::with_capacity(n), offsets: Vec::with_capacity(n + 1), values: Vec::new() };
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
