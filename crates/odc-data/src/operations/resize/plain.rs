//! The two passes of the resize, as the formula is: the judge of the fast ones, and what they leave over.

use super::{HALF, Weights, to_byte};

/// Each row narrowed (or widened) to the columns of `weights`, one after the other in `out`.
pub(super) fn narrow_rows<'a>(rows: impl Iterator<Item = &'a [u8]>, weights: &Weights, out: &mut [u8]) {
    let n_columns = weights.starts.len();
    for (row, out) in rows.zip(out.chunks_exact_mut(n_columns * 3)) {
        let (pixels, _) = row.as_chunks::<3>();
        let (out, _) = out.as_chunks_mut::<3>();
        for (x, pixel) in out.iter_mut().enumerate() {
            let (start, weights) = weights.of(x);
            let mut sums = [HALF; 3];
            for (pixel, &weight) in pixels[start..].iter().zip(weights) {
                for (sum, &byte) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(byte) * weight;
                }
            }
            *pixel = sums.map(to_byte);
        }
    }
}

/// Columns of the weighted sum of as many rows as there are weights: from `first` on as many as `out` has room for.
pub(super) fn sum_columns(rows: &[u8], stride: usize, first: usize, weights: &[i32], out: &mut [u8]) {
    for (column, byte) in (first..).zip(out) {
        let products = rows.chunks_exact(stride).zip(weights).map(|(row, &weight)| i32::from(row[column]) * weight);
        *byte = to_byte(HALF + products.sum::<i32>());
    }
}
