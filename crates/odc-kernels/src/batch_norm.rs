//! Batch normalisation over rows of channels: y = (x − mean) / √(variance + ε) · weight + bias.

use rayon::prelude::*;

/// Rows summed in f32 before the sum goes on in f64.
const RUN: usize = 64;
/// Elements a task works on.
const BLOCK: usize = 1 << 15;

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
    let shift = &x[..channels];
    let sums = sum_pairs(x, x, channels, |sums, squares, x, _| {
        for (((sum, square), &x), &shift) in sums.iter_mut().zip(squares).zip(x).zip(shift) {
            let x = x - shift;
            *sum += x;
            *square += x * x;
        }
    });
    let (mean, rest) = statistics.split_at_mut(channels);
    let (inverse_deviation, unbiased) = rest.split_at_mut(channels);
    let count = rows as f64;
    for channel in 0..channels {
        let offset = sums[channel] / count;
        let squares = (sums[channels + channel] - offset * sums[channel]).max(0.0);
        mean[channel] = (f64::from(shift[channel]) + offset) as f32;
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

/// `y = (x − mean) · inverse_deviation · weight + bias`; the channels are `mean.len()`.
///
/// # Panics
/// Where the lengths do not fit.
pub fn normalize(x: &[f32], mean: &[f32], inverse_deviation: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32]) {
    let channels = mean.len();
    check(channels, x, y, &[inverse_deviation, weight, bias]);
    let scale: Vec<f32> = inverse_deviation.iter().zip(weight).map(|(&i, &w)| i * w).collect();
    let block = rows_per_block(channels) * channels;
    y.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
            for ((((y, &x), &mean), &scale), &bias) in y.iter_mut().zip(x).zip(mean).zip(&scale).zip(bias) {
                *y = (x - mean) * scale + bias;
            }
        }
    });
}

/// The gradients by bias and weight, in two rows: Σ dy and Σ dy · x̂, x̂ = (x − mean) · inverse_deviation.
///
/// # Panics
/// Where the lengths do not fit.
pub fn backward_sums(x: &[f32], mean: &[f32], inverse_deviation: &[f32], dy: &[f32], sums: &mut [f32]) {
    let channels = mean.len();
    check(channels, x, dy, &[inverse_deviation]);
    assert_eq!(sums.len(), 2 * channels, "two sums for each channel");
    let totals = sum_pairs(x, dy, channels, |plain, by_x, x, dy| {
        for ((((plain, by_x), &x), &dy), &mean) in plain.iter_mut().zip(by_x).zip(x).zip(dy).zip(mean) {
            *plain += dy;
            *by_x += dy * (x - mean);
        }
    });
    for channel in 0..channels {
        sums[channel] = totals[channel] as f32;
        sums[channels + channel] = (totals[channels + channel] * f64::from(inverse_deviation[channel])) as f32;
    }
}

/// The gradient by x where the statistics are the batch's own; `sums` are those of [`backward_sums`]:
/// `dx = weight · inverse_deviation · (dy − Σdy / rows − x̂ · Σ(dy·x̂) / rows)`.
///
/// # Panics
/// Where the lengths do not fit.
pub fn backward_train(
    x: &[f32],
    mean: &[f32],
    inverse_deviation: &[f32],
    weight: &[f32],
    sums: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    let channels = mean.len();
    check(channels, x, dx, &[inverse_deviation, weight]);
    assert_eq!(x.len(), dy.len(), "one gradient for each element");
    assert_eq!(sums.len(), 2 * channels, "two sums for each channel");
    let count = (x.len() / channels) as f32;
    // dx = scale · dy + slope · (x − mean) + level
    let mut factors = vec![[0.0_f32; 4]; channels];
    for (channel, factor) in factors.iter_mut().enumerate() {
        let scale = weight[channel] * inverse_deviation[channel];
        let slope = -scale * sums[channels + channel] / count * inverse_deviation[channel];
        *factor = [scale, slope, -scale * sums[channel] / count, mean[channel]];
    }
    let [scale, slope, level] = [0, 1, 2].map(|i| factors.iter().map(|factor| factor[i]).collect::<Vec<f32>>());
    let block = rows_per_block(channels) * channels;
    dx.par_chunks_mut(block).zip(dy.par_chunks(block)).zip(x.par_chunks(block)).for_each(|((dx, dy), x)| {
        let rows = dx.chunks_exact_mut(channels).zip(dy.chunks_exact(channels)).zip(x.chunks_exact(channels));
        for ((dx, dy), x) in rows {
            let (scale, slope) = (&scale[..channels], &slope[..channels]);
            let (level, mean) = (&level[..channels], &mean[..channels]);
            let (dy, x) = (&dy[..channels], &x[..channels]);
            for (channel, dx) in dx.iter_mut().enumerate() {
                *dx = scale[channel] * dy[channel] + slope[channel] * (x[channel] - mean[channel]) + level[channel];
            }
        }
    });
}

/// The gradient by x where the statistics are constants: `dx = weight · inverse_deviation · dy`.
///
/// # Panics
/// Where the lengths do not fit.
pub fn backward_eval(inverse_deviation: &[f32], weight: &[f32], dy: &[f32], dx: &mut [f32]) {
    let channels = weight.len();
    check(channels, dy, dx, &[inverse_deviation]);
    let scale: Vec<f32> = inverse_deviation.iter().zip(weight).map(|(&i, &w)| i * w).collect();
    let block = rows_per_block(channels) * channels;
    dx.par_chunks_mut(block).zip(dy.par_chunks(block)).for_each(|(dx, dy)| {
        for (dx, dy) in dx.chunks_exact_mut(channels).zip(dy.chunks_exact(channels)) {
            for ((dx, &dy), &scale) in dx.iter_mut().zip(dy).zip(&scale) {
                *dx = dy * scale;
            }
        }
    });
}

/// Two sums for each channel over all rows of `a` and `b`: `add(first sums, second sums, row of a, row of b)` runs in
/// f32 over [`RUN`] rows, then totals go on in f64, block by block in order.
fn sum_pairs(
    a: &[f32],
    b: &[f32],
    channels: usize,
    add: impl Fn(&mut [f32], &mut [f32], &[f32], &[f32]) + Sync,
) -> Vec<f64> {
    let block = rows_per_block(channels) * channels;
    let run = RUN * channels;
    let blocks: Vec<Vec<f64>> = a
        .par_chunks(block)
        .zip(b.par_chunks(block))
        .map(|(a, b)| {
            let mut totals = vec![0.0_f64; 2 * channels];
            let mut sums = vec![0.0_f32; 2 * channels];
            for (a, b) in a.chunks(run).zip(b.chunks(run)) {
                sums.fill(0.0);
                let (first, second) = sums.split_at_mut(channels);
                for (a, b) in a.chunks_exact(channels).zip(b.chunks_exact(channels)) {
                    add(first, second, a, b);
                }
                for (total, &sum) in totals.iter_mut().zip(&sums) {
                    *total += f64::from(sum);
                }
            }
            totals
        })
        .collect();
    let mut totals = vec![0.0_f64; 2 * channels];
    for block in &blocks {
        for (total, sum) in totals.iter_mut().zip(block) {
            *total += sum;
        }
    }
    totals
}

fn rows_per_block(channels: usize) -> usize {
    (BLOCK / channels.max(1)).max(1)
}

fn check(channels: usize, x: &[f32], y: &[f32], of_channels: &[&[f32]]) {
    assert!(channels > 0 && x.len().is_multiple_of(channels), "{} numbers in rows of {channels}", x.len());
    assert_eq!(x.len(), y.len(), "input and output of batch norm");
    for values in of_channels {
        assert_eq!(values.len(), channels, "one value for each channel");
    }
}
