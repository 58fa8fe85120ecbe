//! Batch normalisation over rows of channels, y = (x − mean) / √(variance + ε) · weight + bias, in one pass with the
//! residual sum and relu that follow it.
//!
//! All loops wait for memory, so what counts is how often a tensor is read and written. Forward: x is read for its statistics
//! and once more to write y. Backward: the gradient behind a relu is masked where it is read, by y > 0, and never stored
//! unless a residual needs it.

use crate::vectorized::{current_level, vectorized};
use rayon::prelude::*;

/// Rows summed in f32 before the sum goes on in f64.
const RUN: usize = 64;
/// Elements a task works on.
const BLOCK: usize = 1 << 16;

/// What follows the normalisation in the same pass.
#[derive(Debug, Clone, Copy)]
pub enum Then<'a> {
    /// Nothing: y is the normalised value.
    Nothing,
    /// y = max(normalised, 0).
    Relu,
    /// y = max(normalised + residual, 0).
    AddRelu(&'a [f32]),
}

/// The gradient by the normalised value.
#[derive(Debug, Clone, Copy)]
pub enum Gradient<'a> {
    /// dy itself.
    Plain(&'a [f32]),
    /// dy where the result y of a relu is positive, else 0.
    ThroughRelu {
        /// The gradient by y.
        dy: &'a [f32],
        /// What the relu made.
        y: &'a [f32],
    },
}

/// Mean, 1/√(biased variance + ε) and unbiased variance of each channel, in three rows of `channels` numbers.
///
/// The sums are of x − x₀, with x₀ the first row, so that a mean far from zero costs no digits.
///
/// # Panics
/// Where `x` has fewer than two rows or not whole rows, or `statistics` not three.
pub fn statistics(x: &[f32], channels: usize, epsilon: f64, statistics: &mut [f32]) {
    let rows = x.len() / channels;
    assert!(rows > 1 && x.len() == rows * channels, "statistics of {} numbers in {channels} channels", x.len());
    assert_eq!(statistics.len(), 3 * channels, "three statistics for each channel");
    let level = current_level();
    let wide = Wide::new(channels);
    let shift = wide.row(&x[..channels]);
    let sums = wide.sums(x.par_chunks(wide.block()), |x, totals| {
        for x in x.chunks(wide.run()) {
            totals.add(|sums, squares| add_shifted(level, x, &shift, sums, squares));
        }
    });
    let (mean, rest) = statistics.split_at_mut(channels);
    let (inverse_deviation, unbiased) = rest.split_at_mut(channels);
    let count = rows as f64;
    for channel in 0..channels {
        let offset = sums[channel] / count;
        let squares = (sums[channels + channel] - offset * sums[channel]).max(0.0);
        mean[channel] = (f64::from(x[channel]) + offset) as f32;
        inverse_deviation[channel] = (1.0 / (squares / count + epsilon).sqrt()) as f32;
        unbiased[channel] = (squares / (count - 1.0)) as f32;
    }
}

/// 1/√(variance + ε) of each channel: what running statistics give in evaluation.
///
/// # Panics
/// Where the lengths differ.
pub fn inverse_deviation(variance: &[f32], epsilon: f64, inverse_deviation: &mut [f32]) {
    assert_eq!(variance.len(), inverse_deviation.len(), "one deviation for each variance");
    for (inverse, &variance) in inverse_deviation.iter_mut().zip(variance) {
        *inverse = (1.0 / (f64::from(variance) + epsilon).sqrt()) as f32;
    }
}

/// `y = (x − mean) · inverse_deviation · weight + bias`, and what follows; the channels are `mean.len()`.
///
/// # Panics
/// Where the lengths do not fit.
pub fn normalize(
    x: &[f32],
    mean: &[f32],
    inverse_deviation: &[f32],
    weight: &[f32],
    bias: &[f32],
    then: Then<'_>,
    y: &mut [f32],
) {
    let channels = mean.len();
    check(channels, x, y.len(), &[inverse_deviation, weight, bias]);
    let level = current_level();
    let wide = Wide::new(channels);
    let (mean, scale, bias) = (wide.row(mean), wide.row(&product(weight, inverse_deviation)), wide.row(bias));
    let block = wide.block();
    let blocks = y.par_chunks_mut(block).zip(x.par_chunks(block));
    match then {
        Then::Nothing => blocks.for_each(|(y, x)| affine::<false, false>(level, x, x, &mean, &scale, &bias, y)),
        Then::Relu => blocks.for_each(|(y, x)| affine::<true, false>(level, x, x, &mean, &scale, &bias, y)),
        Then::AddRelu(residual) => {
            assert_eq!(residual.len(), x.len(), "residual of batch norm");
            let blocks = blocks.zip(residual.par_chunks(block));
            blocks.for_each(|((y, x), residual)| affine::<true, true>(level, x, residual, &mean, &scale, &bias, y));
        }
    }
}

/// The gradients by weight and bias, in two rows: Σ g · x̂ and Σ g, x̂ = (x − mean) · inverse_deviation.
///
/// # Panics
/// Where the lengths do not fit.
pub fn backward_sums(x: &[f32], mean: &[f32], inverse_deviation: &[f32], gradient: Gradient<'_>, sums: &mut [f32]) {
    let channels = mean.len();
    let (dy, y) = gradient.parts();
    check(channels, x, dy.len(), &[inverse_deviation]);
    let level = current_level();
    let wide = Wide::new(channels);
    let (mean, block, run) = (wide.row(mean), wide.block(), wide.run());
    let blocks = x.par_chunks(block).zip(dy.par_chunks(block));
    let totals = match y {
        None => wide.sums(blocks, |(x, dy), totals| {
            for (x, dy) in x.chunks(run).zip(dy.chunks(run)) {
                totals.add(|by_x, plain| add_gradient::<false>(level, x, &mean, dy, dy, by_x, plain));
            }
        }),
        Some(y) => wide.sums(blocks.zip(y.par_chunks(block)), |((x, dy), y), totals| {
            for ((x, dy), y) in x.chunks(run).zip(dy.chunks(run)).zip(y.chunks(run)) {
                totals.add(|by_x, plain| add_gradient::<true>(level, x, &mean, dy, y, by_x, plain));
            }
        }),
    };
    finish_sums(&totals, inverse_deviation, sums);
}

/// As [`backward_sums`] behind a relu that follows a residual sum: the masked gradient, which is the residual's as well, is
/// written to `masked`.
///
/// # Panics
/// Where the lengths do not fit.
pub fn backward_sums_and_residual(
    x: &[f32],
    mean: &[f32],
    inverse_deviation: &[f32],
    (dy, y): (&[f32], &[f32]),
    masked: &mut [f32],
    sums: &mut [f32],
) {
    let channels = mean.len();
    check(channels, x, dy.len(), &[inverse_deviation]);
    assert!(y.len() == x.len() && masked.len() == x.len(), "gradient of a residual");
    let level = current_level();
    let wide = Wide::new(channels);
    let (mean, block, run) = (wide.row(mean), wide.block(), wide.run());
    let blocks = x.par_chunks(block).zip(dy.par_chunks(block)).zip(y.par_chunks(block));
    let totals = wide.sums(blocks.zip(masked.par_chunks_mut(block)), |(((x, dy), y), masked), totals| {
        let runs = x.chunks(run).zip(dy.chunks(run)).zip(y.chunks(run));
        for (((x, dy), y), masked) in runs.zip(masked.chunks_mut(run)) {
            mask(level, dy, y, masked);
            totals.add(|by_x, plain| add_gradient::<false>(level, x, &mean, masked, masked, by_x, plain));
        }
    });
    finish_sums(&totals, inverse_deviation, sums);
}

/// The gradient by x where the statistics are the batch's own; `sums` are those of [`backward_sums`]:
/// `dx = weight · inverse_deviation · (g − Σg / rows − x̂ · Σ(g·x̂) / rows)`.
///
/// # Panics
/// Where the lengths do not fit.
pub fn backward_train(
    x: &[f32],
    mean: &[f32],
    inverse_deviation: &[f32],
    weight: &[f32],
    sums: &[f32],
    gradient: Gradient<'_>,
    dx: &mut [f32],
) {
    let channels = mean.len();
    let (dy, y) = gradient.parts();
    check(channels, x, dy.len(), &[inverse_deviation, weight]);
    assert_eq!(x.len(), dx.len(), "one gradient for each element");
    assert_eq!(sums.len(), 2 * channels, "two sums for each channel");
    let level = current_level();
    let wide = Wide::new(channels);
    // dx = scale · g + slope · (x − mean) + constant
    let count = (x.len() / channels) as f32;
    let scale = product(weight, inverse_deviation);
    let slope = (0..channels).map(|c| -scale[c] * sums[c] / count * inverse_deviation[c]).collect::<Vec<f32>>();
    let constant = (0..channels).map(|c| -scale[c] * sums[channels + c] / count).collect::<Vec<f32>>();
    let (mean, scale, slope, constant) = (wide.row(mean), wide.row(&scale), wide.row(&slope), wide.row(&constant));
    let block = wide.block();
    let blocks = dx.par_chunks_mut(block).zip(x.par_chunks(block)).zip(dy.par_chunks(block));
    match y {
        None => blocks.for_each(|((dx, x), dy)| {
            gradient_by_x::<false>(level, x, dy, dy, &mean, &scale, &slope, &constant, dx);
        }),
        Some(y) => blocks.zip(y.par_chunks(block)).for_each(|(((dx, x), dy), y)| {
            gradient_by_x::<true>(level, x, dy, y, &mean, &scale, &slope, &constant, dx);
        }),
    }
}

/// The gradient by x where the statistics are constants: `dx = weight · inverse_deviation · g`.
///
/// # Panics
/// Where the lengths do not fit.
pub fn backward_eval(inverse_deviation: &[f32], weight: &[f32], gradient: Gradient<'_>, dx: &mut [f32]) {
    let channels = weight.len();
    let (dy, y) = gradient.parts();
    check(channels, dy, dx.len(), &[inverse_deviation]);
    let level = current_level();
    let wide = Wide::new(channels);
    let scale = wide.row(&product(weight, inverse_deviation));
    let block = wide.block();
    let blocks = dx.par_chunks_mut(block).zip(dy.par_chunks(block));
    match y {
        None => blocks.for_each(|(dx, dy)| scaled::<false>(level, dy, dy, &scale, dx)),
        Some(y) => {
            blocks.zip(y.par_chunks(block)).for_each(|((dx, dy), y)| scaled::<true>(level, dy, y, &scale, dx));
        }
    }
}

impl<'a> Gradient<'a> {
    /// dy, and y where it masks.
    fn parts(self) -> (&'a [f32], Option<&'a [f32]>) {
        match self {
            Self::Plain(dy) => (dy, None),
            Self::ThroughRelu { dy, y } => {
                assert_eq!(dy.len(), y.len(), "one gradient for each result of the relu");
                (dy, Some(y))
            }
        }
    }
}

vectorized! {
    /// `sums += Σ (x − shift)`, `squares += Σ (x − shift)²` over the rows of `x`; the last row may be shorter.
    fn add_shifted(x: &[f32], shift: &[f32], sums: &mut [f32], squares: &mut [f32]) {
        let width = shift.len();
        let (sums, squares) = (&mut sums[..width], &mut squares[..width]);
        let mut fours = x.chunks_exact(4 * width);
        for four in &mut fours {
            let rows = four_rows(four, width);
            for i in 0..width {
                let [a, b, c, d] = rows.map(|row| row[i] - shift[i]);
                sums[i] += (a + b) + (c + d);
                squares[i] += (a * a + b * b) + (c * c + d * d);
            }
        }
        for x in fours.remainder().chunks(width) {
            for (((sum, square), &x), &shift) in sums.iter_mut().zip(&mut *squares).zip(x).zip(shift) {
                let x = x - shift;
                *sum += x;
                *square += x * x;
            }
        }
    }
}

vectorized! {
    /// `by_x += Σ g · (x − mean)`, `plain += Σ g` with g = dy, masked by y > 0 if so wished.
    fn add_gradient<const MASKED: bool>(
        x: &[f32],
        mean: &[f32],
        dy: &[f32],
        y: &[f32],
        by_x: &mut [f32],
        plain: &mut [f32],
    ) {
        let width = mean.len();
        let (by_x, plain) = (&mut by_x[..width], &mut plain[..width]);
        let fours = x.len() / (4 * width) * (4 * width);
        let (x, last_x) = x.split_at(fours);
        let (dy, last_dy) = dy.split_at(fours);
        let (y, last_y) = y.split_at(fours);
        let quads = x.chunks_exact(4 * width).zip(dy.chunks_exact(4 * width)).zip(y.chunks_exact(4 * width));
        for ((x, dy), y) in quads {
            let (x, dy, y) = (four_rows(x, width), four_rows(dy, width), four_rows(y, width));
            for i in 0..width {
                let g: [f32; 4] = std::array::from_fn(|row| masked::<MASKED>(dy[row][i], y[row][i]));
                let h: [f32; 4] = std::array::from_fn(|row| g[row] * (x[row][i] - mean[i]));
                by_x[i] += (h[0] + h[1]) + (h[2] + h[3]);
                plain[i] += (g[0] + g[1]) + (g[2] + g[3]);
            }
        }
        for ((x, dy), y) in last_x.chunks(width).zip(last_dy.chunks(width)).zip(last_y.chunks(width)) {
            for i in 0..x.len() {
                let g = masked::<MASKED>(dy[i], y[i]);
                by_x[i] += g * (x[i] - mean[i]);
                plain[i] += g;
            }
        }
    }
}

vectorized! {
    fn affine<const RELU: bool, const ADD: bool>(
        x: &[f32],
        residual: &[f32],
        mean: &[f32],
        scale: &[f32],
        bias: &[f32],
        y: &mut [f32],
    ) {
        let width = mean.len();
        for ((y, x), residual) in y.chunks_mut(width).zip(x.chunks(width)).zip(residual.chunks(width)) {
            let n = y.len();
            let (x, residual, mean, scale, bias) = (&x[..n], &residual[..n], &mean[..n], &scale[..n], &bias[..n]);
            for i in 0..n {
                let mut value = (x[i] - mean[i]) * scale[i] + bias[i];
                if ADD {
                    value += residual[i];
                }
                // Not `max`: what is no number stays none, as in PyTorch.
                y[i] = if RELU && value < 0.0 { 0.0 } else { value };
            }
        }
    }
}

vectorized! {
    /// `dx = scale · g + slope · (x − mean) + constant`
    fn gradient_by_x<const MASKED: bool>(
        x: &[f32],
        dy: &[f32],
        y: &[f32],
        mean: &[f32],
        scale: &[f32],
        slope: &[f32],
        constant: &[f32],
        dx: &mut [f32],
    ) {
        let width = mean.len();
        for (((dx, x), dy), y) in dx.chunks_mut(width).zip(x.chunks(width)).zip(dy.chunks(width)).zip(y.chunks(width)) {
            let n = dx.len();
            let (x, dy, y, mean) = (&x[..n], &dy[..n], &y[..n], &mean[..n]);
            let (scale, slope, constant) = (&scale[..n], &slope[..n], &constant[..n]);
            for i in 0..n {
                let g = masked::<MASKED>(dy[i], y[i]);
                dx[i] = scale[i] * g + (slope[i] * (x[i] - mean[i]) + constant[i]);
            }
        }
    }
}

vectorized! {
    /// `dx = scale · g`
    fn scaled<const MASKED: bool>(dy: &[f32], y: &[f32], scale: &[f32], dx: &mut [f32]) {
        let width = scale.len();
        for ((dx, dy), y) in dx.chunks_mut(width).zip(dy.chunks(width)).zip(y.chunks(width)) {
            let n = dx.len();
            let (dy, y, scale) = (&dy[..n], &y[..n], &scale[..n]);
            for i in 0..n {
                dx[i] = scale[i] * masked::<MASKED>(dy[i], y[i]);
            }
        }
    }
}

vectorized! {
    fn mask(dy: &[f32], y: &[f32], to: &mut [f32]) {
        for ((to, &dy), &y) in to.iter_mut().zip(dy).zip(y) {
            *to = masked::<true>(dy, y);
        }
    }
}

#[inline(always)]
fn masked<const MASKED: bool>(dy: f32, y: f32) -> f32 {
    if MASKED && y <= 0.0 { 0.0 } else { dy }
}

#[inline(always)]
fn four_rows(rows: &[f32], width: usize) -> [&[f32]; 4] {
    std::array::from_fn(|row| &rows[row * width..][..width])
}

/// Several rows seen as one, so that loops over a row fill whole vectors however few the channels are.
#[derive(Debug, Clone, Copy)]
struct Wide {
    channels: usize,
    rows: usize,
}

impl Wide {
    fn new(channels: usize) -> Self {
        // Whole vectors need a multiple of 64; entering a loop costs less than its 256 rounds.
        let whole = 64 >> channels.trailing_zeros().min(6);
        let rows = if channels < 256 { whole * (256 / (channels * whole)).max(1) } else { 1 };
        Self { channels, rows }
    }

    fn width(&self) -> usize {
        self.channels * self.rows
    }

    /// Elements a task works on.
    fn block(&self) -> usize {
        (BLOCK / self.width()).max(1) * self.width()
    }

    /// Elements that are summed in f32.
    fn run(&self) -> usize {
        RUN * self.width()
    }

    /// The values of each channel, for each row.
    fn row(&self, values: &[f32]) -> Vec<f32> {
        values.repeat(self.rows)
    }

    /// Two sums for each channel: those of all blocks, added in order.
    fn sums<B: Send>(
        &self,
        blocks: impl IndexedParallelIterator<Item = B>,
        add: impl Fn(B, &mut Totals) + Sync,
    ) -> Vec<f64> {
        let blocks: Vec<Vec<f64>> = blocks
            .map(|block| {
                let mut totals = Totals {
                    channels: self.channels,
                    run: vec![0.0; 2 * self.width()],
                    totals: vec![0.0; 2 * self.channels],
                };
                add(block, &mut totals);
                totals.totals
            })
            .collect();
        let mut totals = vec![0.0_f64; 2 * self.channels];
        for block in &blocks {
            for (total, sum) in totals.iter_mut().zip(block) {
                *total += sum;
            }
        }
        totals
    }
}

/// Two sums for each channel over a block.
struct Totals {
    channels: usize,
    run: Vec<f32>,
    totals: Vec<f64>,
}

impl Totals {
    /// Adds what `add` adds to two wide rows of zeros.
    fn add(&mut self, add: impl FnOnce(&mut [f32], &mut [f32])) {
        self.run.fill(0.0);
        let width = self.run.len() / 2;
        let (first, second) = self.run.split_at_mut(width);
        add(first, second);
        for (totals, sums) in self.totals.chunks_exact_mut(self.channels).zip([first, second]) {
            for sums in sums.chunks_exact(self.channels) {
                for (total, &sum) in totals.iter_mut().zip(sums) {
                    *total += f64::from(sum);
                }
            }
        }
    }
}

fn finish_sums(totals: &[f64], inverse_deviation: &[f32], sums: &mut [f32]) {
    let channels = inverse_deviation.len();
    assert_eq!(sums.len(), 2 * channels, "two sums for each channel");
    for channel in 0..channels {
        sums[channel] = (totals[channel] * f64::from(inverse_deviation[channel])) as f32;
        sums[channels + channel] = totals[channels + channel] as f32;
    }
}

fn product(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(&a, &b)| a * b).collect()
}

fn check(channels: usize, x: &[f32], others: usize, of_channels: &[&[f32]]) {
    assert!(channels > 0 && x.len().is_multiple_of(channels), "{} numbers in rows of {channels}", x.len());
    assert_eq!(x.len(), others, "input and output of batch norm");
    for values in of_channels {
        assert_eq!(values.len(), channels, "one value for each channel");
    }
}
