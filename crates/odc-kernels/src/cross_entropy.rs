//! Class-weighted cross-entropy, spec section 4: L = Σ_n w[y_n]·ce(logits_n, y_n) / Σ_n w[y_n].

use rayon::prelude::*;

/// The loss. `logits` has one row of `weights.len()` numbers for each label; labels must be less than that.
///
/// # Panics
/// Where the lengths do not fit or a label is out of range.
pub fn forward(logits: &[f32], labels: &[u32], weights: &[f32]) -> f32 {
    let rows: Vec<f64> = rows(logits, labels, weights)
        .map(|(row, &label)| {
            let label = label as usize;
            let (largest, sum) = softmax_parts(row);
            f64::from(weights[label]) * (f64::from(largest) + sum.ln() - f64::from(row[label]))
        })
        .collect();
    (rows.iter().sum::<f64>() / total_weight(labels, weights)) as f32
}

/// The gradient by the logits: `scale · w[y] · (softmax − onehot(y)) / Σ w[y]`.
///
/// # Panics
/// Where the lengths do not fit or a label is out of range.
pub fn backward(logits: &[f32], labels: &[u32], weights: &[f32], scale: f32, gradient: &mut [f32]) {
    assert_eq!(logits.len(), gradient.len(), "one gradient for each logit");
    let total = total_weight(labels, weights);
    let rows = rows(logits, labels, weights);
    gradient.par_chunks_mut(weights.len()).zip(rows).for_each(|(gradient, (row, &label))| {
        let (largest, sum) = softmax_parts(row);
        let factor = f64::from(scale) * f64::from(weights[label as usize]) / total;
        let scaled = (factor / sum) as f32;
        for (gradient, &logit) in gradient.iter_mut().zip(row) {
            *gradient = scaled * (logit - largest).exp();
        }
        gradient[label as usize] -= factor as f32;
    });
}

/// Σ w[y] over the batch, in batch order.
///
/// # Panics
/// Where a label is out of range.
pub fn total_weight(labels: &[u32], weights: &[f32]) -> f64 {
    labels.iter().map(|&label| f64::from(weights[label as usize])).sum()
}

fn rows<'a>(
    logits: &'a [f32],
    labels: &'a [u32],
    weights: &[f32],
) -> impl IndexedParallelIterator<Item = (&'a [f32], &'a u32)> {
    assert_eq!(logits.len(), labels.len() * weights.len(), "a row of logits for each label");
    logits.par_chunks(weights.len()).zip(labels)
}

/// The largest logit and Σ exp(logit − largest).
fn softmax_parts(row: &[f32]) -> (f32, f64) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (largest, row.iter().map(|&logit| f64::from((logit - largest).exp())).sum())
}
