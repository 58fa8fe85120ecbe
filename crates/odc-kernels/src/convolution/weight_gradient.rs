//! The gradient by the weights: gathered rows, transposed, times the output gradient, summed over all windows.
//!
//! Two ways to share the work, mixed by shape: the weights are cut into parts (window rows, taps, input channels) that need no
//! sum; and small weights get one partial sum for each of up to 16 groups of windows, added in the order of the groups.

use super::ConvolutionShape;
use super::im2col::{Gather, with_scratch};
use crate::matrix::{Matrix, multiply_add_block};
use rayon::prelude::*;
use std::ops::Range;

/// Tasks worth having.
const TASKS: usize = 16;
/// Elements that all partial sums together may take.
const PARTIAL_ELEMENTS: usize = 1 << 20;
/// Windows gathered at a time.
const BLOCK_WINDOWS: usize = 256;

/// The gradient by the weight, given the input and the gradient by the output.
///
/// # Panics
/// Where a slice has not the length that the shape says.
pub fn backward_weight(shape: &ConvolutionShape, input: &[f32], output_gradient: &[f32], weight_gradient: &mut [f32]) {
    shape.check(input.len(), weight_gradient.len(), output_gradient.len());
    let gather = Gather::forward(shape);
    let out_channels = shape.out_channels();
    let groups = row_groups(&gather, weight_gradient.len());
    let parts = parts(&gather, TASKS.div_ceil(groups.len()));

    let mut partial = vec![0.0; (groups.len() - 1) * weight_gradient.len()];
    let sums = std::iter::once(&mut *weight_gradient).chain(partial.chunks_exact_mut(shape.weight_len()));
    let mut tasks = Vec::with_capacity(groups.len() * parts.len());
    for (rows, mut rest) in groups.into_iter().zip(sums) {
        for part in &parts {
            let (sum, after) = rest.split_at_mut(part.columns() * out_channels);
            tasks.push((part, rows.clone(), sum));
            rest = after;
        }
    }
    tasks
        .into_par_iter()
        .for_each(|(part, rows, sum)| part.accumulate(input, output_gradient, rows, out_channels, sum));

    let block = weight_gradient.len().div_ceil(TASKS).max(1);
    weight_gradient.par_chunks_mut(block).enumerate().for_each(|(index, sum)| {
        for partial in partial.chunks_exact(shape.weight_len()) {
            for (sum, &value) in sum.iter_mut().zip(&partial[index * block..]) {
                *sum += value;
            }
        }
    });
}

/// Groups of grid rows, one partial sum each.
fn row_groups(gather: &Gather, weight_len: usize) -> Vec<Range<usize>> {
    let windows = gather.rows() * gather.grid_width;
    let most = (windows / (2 * BLOCK_WINDOWS)).clamp(1, TASKS);
    let groups = (PARTIAL_ELEMENTS / weight_len).clamp(1, most);
    let rows = gather.rows().div_ceil(groups).max(1);
    let mut ranges: Vec<_> =
        (0..gather.rows()).step_by(rows).map(|start| start..(start + rows).min(gather.rows())).collect();
    if ranges.is_empty() {
        // No images: one group without rows, whose sum is zero.
        ranges.push(0..0);
    }
    ranges
}

/// A stretch of consecutive rows of the weight matrix `[taps · in channels, out channels]`.
struct Part {
    gather: Gather,
    channels: Range<usize>,
}

/// Cuts the weights into at least `wanted` parts, where that is possible: in their order in memory.
fn parts(gather: &Gather, wanted: usize) -> Vec<Part> {
    let all = 0..gather.channels;
    if wanted <= 1 {
        return vec![Part { gather: *gather, channels: all }];
    }
    if wanted <= gather.count_y {
        return (0..gather.count_y).map(|y| Part { gather: gather.window_rows(y, 1), channels: all.clone() }).collect();
    }
    let taps = gather.count_y * gather.count_x;
    // No fewer than 64 channels: narrower products waste the registers.
    let pieces = wanted.div_ceil(taps).min(gather.channels.div_ceil(64));
    let width = gather.channels.div_ceil(pieces);
    let mut parts = Vec::new();
    for tap in 0..taps {
        let gather = gather.window_rows(tap / gather.count_x, 1).window_column(tap % gather.count_x);
        for start in (0..gather.channels).step_by(width) {
            parts.push(Part { gather, channels: start..(start + width).min(gather.channels) });
        }
    }
    parts
}

impl Part {
    fn columns(&self) -> usize {
        self.gather.count_y * self.gather.count_x * self.channels.len()
    }

    /// `sum = Σ over the rows' windows of gathered row ⊗ output gradient`.
    fn accumulate(
        &self,
        input: &[f32],
        output_gradient: &[f32],
        rows: Range<usize>,
        out_channels: usize,
        sum: &mut [f32],
    ) {
        sum.fill(0.0);
        let width = self.gather.grid_width;
        let step = (BLOCK_WINDOWS / width).max(1);
        for start in rows.clone().step_by(step) {
            let end = (start + step).min(rows.end);
            let windows = (end - start) * width;
            let gradient = &output_gradient[start * width * out_channels..][..windows * out_channels];
            let gradient = Matrix::row_major(gradient, windows, out_channels);
            if self.gather.is_source() {
                let channels = self.gather.channels;
                let source = &input[start * width * channels..][..windows * channels];
                let source = Matrix::row_major(source, windows, channels);
                let source = source.columns(self.channels.start, self.channels.len());
                multiply_add_block(source.transposed(), gradient, sum);
            } else {
                with_scratch(windows * self.columns(), |gathered| {
                    self.gather.gather(input, start..end, self.channels.clone(), gathered);
                    let gathered = Matrix::row_major(gathered, windows, self.columns());
                    multiply_add_block(gathered.transposed(), gradient, sum);
                });
            }
        }
    }
}
