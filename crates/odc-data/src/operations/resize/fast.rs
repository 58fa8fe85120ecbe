//! The two passes of the resize in loops of fixed length, which the compiler unrolls and makes vectors of.

use super::{BITS, HALF, Weights, plain, to_byte};

/// As [`plain::narrow_rows`]. With more than six weights to a column there is enough to do in the loop over them.
pub(super) fn narrow_rows<'a>(rows: impl Iterator<Item = &'a [u8]>, weights: &Weights, out: &mut [u8]) {
    let most = weights.offsets.windows(2).map(|ends| ends[1] - ends[0]).max().unwrap_or(0);
    match most {
        1 => narrow_rows_by::<1>(rows, weights, out),
        2 => narrow_rows_by::<2>(rows, weights, out),
        3 => narrow_rows_by::<3>(rows, weights, out),
        4 => narrow_rows_by::<4>(rows, weights, out),
        5 => narrow_rows_by::<5>(rows, weights, out),
        6 => narrow_rows_by::<6>(rows, weights, out),
        _ => plain::narrow_rows(rows, weights, out),
    }
}

/// `N` weights to every column, those that are too many being 0.
fn narrow_rows_by<'a, const N: usize>(rows: impl Iterator<Item = &'a [u8]>, weights: &Weights, out: &mut [u8]) {
    let n_columns = weights.starts.len();
    let columns: Vec<(usize, [i32; N])> = (0..n_columns)
        .map(|x| {
            let (start, weights_of_x) = weights.of(x);
            // At the right border the zeros come first.
            let zeros = (start + N).saturating_sub(weights.input);
            let weight = |i: usize| i.checked_sub(zeros).and_then(|i| weights_of_x.get(i)).copied().unwrap_or(0);
            (start - zeros, std::array::from_fn(weight))
        })
        .collect();
    for (row, out) in rows.zip(out.chunks_exact_mut(n_columns * 3)) {
        let (pixels, _) = row.as_chunks::<3>();
        let (out, _) = out.as_chunks_mut::<3>();
        for (pixel, (start, weights)) in out.iter_mut().zip(&columns) {
            let from: &[[u8; 3]; N] = pixels[*start..].first_chunk().expect("the row is long enough");
            let mut sums = [HALF; 3];
            for (pixel, &weight) in from.iter().zip(weights) {
                for (sum, &byte) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(byte) * weight;
                }
            }
            // So few weights, none negative, have a sum so near to 1 that no byte becomes more than 255.
            *pixel = sums.map(|sum| (sum >> BITS) as u8);
        }
    }
}

/// Columns that are summed together.
const LANES: usize = 32;

/// Products of 16-bit integers are fast on every processor: a weight is `(high << LOW_BITS) + low`.
const LOW_BITS: u32 = 11;

/// The weighted sum of as many rows as there are weights, each as long as `out`.
pub(super) fn sum_rows(rows: &[u8], weights: &[i32], out: &mut [u8]) {
    let stride = out.len();
    let (blocks, rest) = out.as_chunks_mut::<LANES>();
    let rest_from = blocks.len() * LANES;
    for (i, block) in blocks.iter_mut().enumerate() {
        let mut highs = [0; LANES];
        let mut lows = [HALF; LANES];
        for (row, &weight) in rows.chunks_exact(stride).zip(weights) {
            let bytes: &[u8; LANES] = row[i * LANES..].first_chunk().expect("the block lies within the row");
            let (high, low) = ((weight >> LOW_BITS) as i16, (weight & ((1 << LOW_BITS) - 1)) as i16);
            for ((high_sum, low_sum), &byte) in highs.iter_mut().zip(&mut lows).zip(bytes) {
                *high_sum += i32::from(byte) * i32::from(high);
                *low_sum += i32::from(byte) * i32::from(low);
            }
        }
        for ((byte, &high), &low) in block.iter_mut().zip(&highs).zip(&lows) {
            *byte = to_byte((high << LOW_BITS) + low);
        }
    }
    plain::sum_columns(rows, stride, rest_from, weights, rest);
}
