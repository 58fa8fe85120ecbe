//! Naive, readable twins of the fast kernels: the judges of their tests. Sums are in f64, nothing is blocked.

use crate::batch_norm::{Gradient, Then};
pub use crate::convolution::plain::{convolution_backward_data, convolution_backward_weight, convolution_forward};
use crate::pooling::PoolingShape;
use crate::sgd::SgdStep;

/// Twin of [`crate::matrix_multiply`]: `a` is `[rows, inner]`, `b` is `[inner, columns]`, both row-major.
pub fn matrix_multiply(a: &[f32], b: &[f32], inner: usize) -> Vec<f32> {
    let (rows, columns) = (a.len() / inner, b.len() / inner);
    let mut out = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        for column in 0..columns {
            let terms = (0..inner).map(|k| f64::from(a[row * inner + k]) * f64::from(b[k * columns + column]));
            out.push(terms.sum::<f64>() as f32);
        }
    }
    out
}

/// Twin of [`crate::nearest_by_distance`].
pub fn nearest_by_distance(rows: &[f32], centroids: &[f32], dim: usize) -> Vec<u32> {
    lowest(rows, centroids, dim, |row, centroid| {
        row.iter().zip(centroid).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
    })
}

/// Twin of [`crate::nearest_by_dot_product`].
pub fn nearest_by_dot_product(rows: &[f32], centroids: &[f32], dim: usize) -> Vec<u32> {
    lowest(rows, centroids, dim, |row, centroid| {
        -row.iter().zip(centroid).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>()
    })
}

/// Twin of [`crate::batch_norm::statistics`]: mean, 1/√(biased variance + ε), unbiased variance.
pub fn batch_norm_statistics(x: &[f32], channels: usize, epsilon: f64) -> [Vec<f32>; 3] {
    let count = (x.len() / channels) as f64;
    let mut statistics = [vec![], vec![], vec![]];
    for channel in 0..channels {
        let values = || x[channel..].iter().step_by(channels).map(|&x| f64::from(x));
        let mean = values().sum::<f64>() / count;
        let squares = values().map(|x| (x - mean).powi(2)).sum::<f64>();
        statistics[0].push(mean as f32);
        statistics[1].push((1.0 / (squares / count + epsilon).sqrt()) as f32);
        statistics[2].push((squares / (count - 1.0)) as f32);
    }
    statistics
}

/// Twin of [`crate::batch_norm::normalize`].
pub fn batch_norm(
    x: &[f32],
    mean: &[f32],
    inverse_deviation: &[f32],
    weight: &[f32],
    bias: &[f32],
    then: Then<'_>,
) -> Vec<f32> {
    let channels = mean.len();
    let values = x.iter().enumerate().map(|(index, &x)| {
        let c = index % channels;
        let normalized = (x - mean[c]) * inverse_deviation[c] * weight[c] + bias[c];
        match then {
            Then::Nothing => normalized,
            Then::Relu => normalized.max(0.0),
            Then::AddRelu(residual) => (normalized + residual[index]).max(0.0),
        }
    });
    values.collect()
}

/// The gradient by the normalised value, which is a residual's as well.
pub fn masked(gradient: Gradient<'_>) -> Vec<f32> {
    match gradient {
        Gradient::Plain(dy) => dy.to_vec(),
        Gradient::ThroughRelu { dy, y } => dy.iter().zip(y).map(|(&dy, &y)| if y > 0.0 { dy } else { 0.0 }).collect(),
    }
}

/// Twin of the backward kernels of [`crate::batch_norm`] in training: gradients by x, weight, bias.
pub fn batch_norm_backward(
    x: &[f32],
    mean: &[f32],
    inverse_deviation: &[f32],
    weight: &[f32],
    gradient: Gradient<'_>,
) -> [Vec<f32>; 3] {
    let dy = masked(gradient);
    let channels = mean.len();
    let count = (x.len() / channels) as f64;
    let normalized = |i: usize| f64::from(x[i] - mean[i % channels]) * f64::from(inverse_deviation[i % channels]);
    let (mut dw, mut db) = (vec![0.0_f64; channels], vec![0.0_f64; channels]);
    for i in 0..x.len() {
        db[i % channels] += f64::from(dy[i]);
        dw[i % channels] += f64::from(dy[i]) * normalized(i);
    }
    let dx = (0..x.len()).map(|i| {
        let c = i % channels;
        let inner = f64::from(dy[i]) - db[c] / count - normalized(i) * dw[c] / count;
        (f64::from(weight[c]) * f64::from(inverse_deviation[c]) * inner) as f32
    });
    let narrow = |values: Vec<f64>| values.into_iter().map(|x| x as f32).collect::<Vec<_>>();
    [dx.collect(), narrow(dw), narrow(db)]
}

/// Twin of [`crate::pooling::max_pool`]: for each output the index of its input.
pub fn max_pool_sources(shape: &PoolingShape, input: &[f32]) -> Vec<usize> {
    let (window, channels) = (shape.window(), shape.channels());
    let mut sources = Vec::with_capacity(shape.output_len());
    for image in 0..shape.images() {
        for oy in 0..window.out_height() {
            for ox in 0..window.out_width() {
                for channel in 0..channels {
                    let mut best: Option<usize> = None;
                    for ky in 0..window.kernel_height() {
                        for kx in 0..window.kernel_width() {
                            let y = (oy * window.stride() + ky).wrapping_sub(window.padding());
                            let x = (ox * window.stride() + kx).wrapping_sub(window.padding());
                            if y >= window.height() || x >= window.width() {
                                continue;
                            }
                            let index = ((image * window.height() + y) * window.width() + x) * channels + channel;
                            if best.is_none_or(|best| input[index] > input[best] || input[index].is_nan()) {
                                best = Some(index);
                            }
                        }
                    }
                    sources.extend(best);
                }
            }
        }
    }
    sources
}

/// Twin of [`crate::cross_entropy`]: the loss and its gradient by the logits.
pub fn cross_entropy(logits: &[f32], labels: &[u32], weights: &[f32]) -> (f32, Vec<f32>) {
    let classes = weights.len();
    let total: f64 = labels.iter().map(|&label| f64::from(weights[label as usize])).sum();
    let mut loss = 0.0;
    let mut gradient = Vec::with_capacity(logits.len());
    for (row, &label) in logits.chunks_exact(classes).zip(labels) {
        let weight = f64::from(weights[label as usize]) / total;
        let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
        loss += weight * (sum.ln() - f64::from(row[label as usize]));
        for (class, &x) in row.iter().enumerate() {
            let target = if class == label as usize { 1.0 } else { 0.0 };
            gradient.push((weight * (f64::from(x).exp() / sum - target)) as f32);
        }
    }
    (loss as f32, gradient)
}

/// Twin of [`crate::sgd::descend`]: the new parameter and velocity.
pub fn descend(step: SgdStep, gradient: &[f32], parameter: &[f32], velocity: &[f32]) -> [Vec<f32>; 2] {
    let SgdStep { learning_rate, momentum, weight_decay } = step;
    let numbers = gradient.iter().zip(parameter).zip(velocity);
    let velocity = numbers.map(|((g, p), v)| momentum * v + (g + weight_decay * p)).collect::<Vec<_>>();
    [parameter.iter().zip(&velocity).map(|(p, v)| p - learning_rate * v).collect(), velocity]
}

fn lowest(rows: &[f32], centroids: &[f32], dim: usize, score: impl Fn(&[f32], &[f32]) -> f64) -> Vec<u32> {
    let nearest = rows.chunks_exact(dim).map(|row| {
        let mut best = (f64::INFINITY, 0);
        for (index, centroid) in centroids.chunks_exact(dim).enumerate() {
            let score = score(row, centroid);
            if score < best.0 {
                best = (score, index as u32);
            }
        }
        best.1
    });
    nearest.collect()
}
