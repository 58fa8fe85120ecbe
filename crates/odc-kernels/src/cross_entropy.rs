//! Class-weighted cross-entropy, equation (1) of docs/ALGORITHM.md: `L = Σ_n w[y_n]·ce(logits_n, y_n) / Σ_n w[y_n]`.

use crate::vectorized::{current_level, vectorized};
use rayon::prelude::*;

/// What a row's softmax needs of its logits: the largest, and Σ exp(logit − largest), in two rows of `parts` with a number
/// for each row of `logits`.
///
/// # Panics
/// Where the lengths do not fit.
pub fn softmax_parts(logits: &[f32], classes: usize, parts: &mut [f32]) {
    let rows = parts.len() / 2;
    assert!(parts.len() == 2 * rows && logits.len() == rows * classes, "two parts for each row of {classes} logits");
    let level = current_level();
    let (largest, sums) = parts.split_at_mut(rows);
    largest.par_iter_mut().zip(sums).zip(logits.par_chunks(classes)).for_each(|((largest, sum), row)| {
        let mut lanes = Lanes::default();
        largest_of(level, row, &mut lanes);
        *largest = lanes.0.into_iter().fold(f32::NEG_INFINITY, f32::max);
        let mut lanes = Lanes::default();
        sum_of_exp(level, row, *largest, &mut lanes);
        *sum = lanes.0.into_iter().map(f64::from).sum::<f64>() as f32;
    });
}

/// The loss. `logits` has one row of `weights.len()` numbers for each label, `parts` are those of [`softmax_parts`]; labels
/// must be less than `weights.len()`.
///
/// # Panics
/// Where the lengths do not fit or a label is out of range.
pub fn forward(logits: &[f32], parts: &[f32], labels: &[u32], weights: &[f32]) -> f32 {
    check(logits, parts, labels, weights);
    let (largest, sums) = parts.split_at(labels.len());
    let rows = logits.chunks_exact(weights.len()).zip(labels).zip(largest.iter().zip(sums));
    let losses = rows.map(|((row, &label), (&largest, &sum))| {
        let label = label as usize;
        f64::from(weights[label]) * (f64::from(largest) + f64::from(sum).ln() - f64::from(row[label]))
    });
    (losses.sum::<f64>() / total_weight(labels, weights)) as f32
}

/// The gradient by the logits: `scale · w[y] · (softmax − onehot(y)) / Σ w[y]`; arguments as those of [`forward`].
///
/// # Panics
/// Where the lengths do not fit or a label is out of range.
pub fn backward(logits: &[f32], parts: &[f32], labels: &[u32], weights: &[f32], scale: f32, gradient: &mut [f32]) {
    check(logits, parts, labels, weights);
    assert_eq!(logits.len(), gradient.len(), "one gradient for each logit");
    let level = current_level();
    let (classes, total) = (weights.len(), total_weight(labels, weights));
    let (largest, sums) = parts.split_at(labels.len());
    let rows = gradient.par_chunks_mut(classes).zip(logits.par_chunks(classes));
    rows.zip(labels).zip(largest).zip(sums).for_each(|((((gradient, row), &label), &largest), &sum)| {
        let factor = f64::from(scale) * f64::from(weights[label as usize]) / total;
        scaled_exp(level, row, largest, (factor / f64::from(sum)) as f32, gradient);
        gradient[label as usize] -= factor as f32;
    });
}

/// `Σ w[y]` over the batch, in batch order.
///
/// # Panics
/// Where a label is out of range.
pub fn total_weight(labels: &[u32], weights: &[f32]) -> f64 {
    labels.iter().map(|&label| f64::from(weights[label as usize])).sum()
}

/// eˣ for x ≤ 0, within two units in the last place; below −87.3, where results would be denormal, 0.
///
/// x = n · ln 2 + r with an integer n and |r| ≤ ln 2 / 2; eʳ by its Taylor series, times 2ⁿ made from its bits.
#[inline(always)]
pub fn exp_of_negative(x: f32) -> f32 {
    // ln 2 in two parts, the first with few enough digits for n times it to be exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    // Adding and taking away 1.5 · 2²³ rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    let vanishes = x < -87.3;
    let x = if vanishes { -87.3 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2[0]) - n * LN_2[1];
    let tail = 1.0 / 720.0 + r * (1.0 / 5040.0);
    let tail = 1.0 / 24.0 + r * (1.0 / 120.0 + r * tail);
    let tail = 0.5 + r * (1.0 / 6.0 + r * tail);
    // The last bits of the shifted number are n; above them only what the shift to the exponent drops.
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    if vanishes { 0.0 } else { (1.0 + (r + r * r * tail)) * power }
}

/// Partial results side by side, so that a loop over a row fills whole vectors.
#[derive(Debug, Clone, Copy)]
struct Lanes([f32; LANES]);

const LANES: usize = 32;

impl Default for Lanes {
    fn default() -> Self {
        Self([0.0; LANES])
    }
}

vectorized! {
    fn largest_of(row: &[f32], lanes: &mut Lanes) {
        let mut largest = [f32::NEG_INFINITY; LANES];
        let (chunks, rest) = row.as_chunks::<LANES>();
        for chunk in chunks {
            for (largest, &x) in largest.iter_mut().zip(chunk) {
                *largest = if x > *largest { x } else { *largest };
            }
        }
        for (largest, &x) in largest.iter_mut().zip(rest) {
            *largest = if x > *largest { x } else { *largest };
        }
        lanes.0 = largest;
    }
}

vectorized! {
    fn sum_of_exp(row: &[f32], largest: f32, lanes: &mut Lanes) {
        let mut sums = [0.0; LANES];
        let (chunks, rest) = row.as_chunks::<LANES>();
        for chunk in chunks {
            for (sum, &x) in sums.iter_mut().zip(chunk) {
                *sum += exp_of_negative(x - largest);
            }
        }
        for (sum, &x) in sums.iter_mut().zip(rest) {
            *sum += exp_of_negative(x - largest);
        }
        lanes.0 = sums;
    }
}

vectorized! {
    fn scaled_exp(row: &[f32], largest: f32, scale: f32, to: &mut [f32]) {
        for (to, &x) in to.iter_mut().zip(row) {
            *to = scale * exp_of_negative(x - largest);
        }
    }
}

fn check(logits: &[f32], parts: &[f32], labels: &[u32], weights: &[f32]) {
    assert_eq!(logits.len(), labels.len() * weights.len(), "a row of logits for each label");
    assert_eq!(parts.len(), 2 * labels.len(), "two parts for each label");
}
