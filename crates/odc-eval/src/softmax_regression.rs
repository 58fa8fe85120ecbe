//! Mean cross-entropy of a linear classifier and its gradient: what both probes minimise.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};
use rayon::prelude::*;

/// Rows of features with their classes, 0 .. n_classes.
#[derive(Clone, Copy)]
pub(crate) struct SoftmaxRegression<'a> {
    /// `[classes.len(), dim]`.
    pub(crate) rows: &'a [f32],
    pub(crate) classes: &'a [u32],
    pub(crate) dim: usize,
    pub(crate) n_classes: usize,
}

/// At most this many blocks of rows are worked on, each with a gradient of its own; with the least rows below, that
/// bounds memory by 32 gradients and depends on the number of rows alone.
const BLOCKS: usize = 32;
const LEAST_ROWS: usize = 64;
/// Rows whose logits are held at once.
const HELD_ROWS: usize = 256;

/// What one block of rows adds.
struct Part {
    loss: f64,
    /// `[dim, n_classes]`.
    weights: Vec<f32>,
    bias: Vec<f64>,
}

impl SoftmaxRegression<'_> {
    /// Weights, `[dim, n_classes]`, and then the bias, `[n_classes]`.
    pub(crate) fn n_parameters(&self) -> usize {
        (self.dim + 1) * self.n_classes
    }

    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.rows[row * self.dim..(row + 1) * self.dim]
    }

    /// Mean of ce(x W + b) over all rows; its gradient replaces `gradient`. The same bits for any number of threads.
    pub(crate) fn loss_and_gradient(&self, parameters: &[f32], gradient: &mut [f64]) -> f64 {
        let n = self.classes.len();
        let rows = n.div_ceil(BLOCKS).max(LEAST_ROWS);
        let parts: Vec<Part> = self
            .rows
            .par_chunks(rows * self.dim)
            .zip(self.classes.par_chunks(rows))
            .map(|(rows, classes)| Self { rows, classes, ..*self }.part(parameters))
            .collect();
        let (weights, bias) = gradient.split_at_mut(self.dim * self.n_classes);
        weights.par_chunks_mut(4096).enumerate().for_each(|(number, chunk)| {
            for (place, value) in chunk.iter_mut().enumerate() {
                let place = number * 4096 + place;
                *value = parts.iter().map(|part| f64::from(part.weights[place])).sum::<f64>() / n as f64;
            }
        });
        for (class, value) in bias.iter_mut().enumerate() {
            *value = parts.iter().map(|part| part.bias[class]).sum::<f64>() / n as f64;
        }
        parts.iter().map(|part| part.loss).sum::<f64>() / n as f64
    }

    /// The most probable class of every row, the lowest of equals.
    pub(crate) fn predict(&self, parameters: &[f32]) -> Vec<u32> {
        let predict_block = |rows: &[f32]| {
            let mut logits = vec![0.0; rows.len() / self.dim * self.n_classes];
            self.logits(rows, parameters, &mut logits);
            logits.chunks(self.n_classes).map(largest).collect::<Vec<_>>()
        };
        self.rows.par_chunks(HELD_ROWS * self.dim).flat_map_iter(predict_block).collect()
    }

    /// Sums over this block's rows.
    fn part(&self, parameters: &[f32]) -> Part {
        let (dim, n_classes) = (self.dim, self.n_classes);
        let mut part = Part { loss: 0.0, weights: vec![0.0; dim * n_classes], bias: vec![0.0; n_classes] };
        let mut held = vec![0.0; HELD_ROWS.min(self.classes.len()) * n_classes];
        for (rows, classes) in self.rows.chunks(HELD_ROWS * dim).zip(self.classes.chunks(HELD_ROWS)) {
            let held = &mut held[..classes.len() * n_classes];
            self.logits(rows, parameters, held);
            for (logits, &class) in held.chunks_mut(n_classes).zip(classes) {
                part.loss += loss_and_difference(logits, class as usize);
                part.bias.iter_mut().zip(&*logits).for_each(|(sum, &value)| *sum += f64::from(value));
            }
            let differences = matrix(held, n_classes);
            let mut sum = ArrayViewMut2::from_shape((dim, n_classes), &mut part.weights).expect("of this shape");
            general_mat_mul(1.0, &matrix(rows, dim).t(), &differences, 1.0, &mut sum);
        }
        part
    }

    /// x W + b.
    fn logits(&self, rows: &[f32], parameters: &[f32], logits: &mut [f32]) {
        let (weights, bias) = parameters.split_at(self.dim * self.n_classes);
        logits.chunks_mut(self.n_classes).for_each(|row| row.copy_from_slice(bias));
        let shape = (rows.len() / self.dim, self.n_classes);
        let mut logits = ArrayViewMut2::from_shape(shape, logits).expect("of this shape");
        general_mat_mul(1.0, &matrix(rows, self.dim), &matrix(weights, self.n_classes), 1.0, &mut logits);
    }
}

/// −log softmax(logits)[class]; the logits become softmax − one-hot, the gradient with respect to them.
fn loss_and_difference(logits: &mut [f32], class: usize) -> f64 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let of_class = f64::from(logits[class]) - f64::from(most);
    let mut sum = 0.0_f64;
    for value in &mut *logits {
        *value = (*value - most).exp();
        sum += f64::from(*value);
    }
    let scale = (1.0 / sum) as f32;
    logits.iter_mut().for_each(|value| *value *= scale);
    logits[class] -= 1.0;
    sum.ln() - of_class
}

fn largest(logits: &[f32]) -> u32 {
    let best = (0..logits.len()).reduce(|best, class| if logits[class] > logits[best] { class } else { best });
    best.unwrap_or(0) as u32
}

fn matrix(values: &[f32], columns: usize) -> ArrayView2<'_, f32> {
    ArrayView2::from_shape((values.len() / columns, columns), values).expect("whole rows")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (Vec<f32>, Vec<u32>) {
        // 300 rows of 5: several blocks, the last one short.
        (odc_testkit::formula(3, 300 * 5), (0..300).map(|row| row * 7 % 4).collect())
    }

    #[test]
    fn loss_and_gradient_are_those_of_the_definition() {
        let (rows, classes) = example();
        let problem = SoftmaxRegression { rows: &rows, classes: &classes, dim: 5, n_classes: 4 };
        let parameters = odc_testkit::formula(4, problem.n_parameters());
        let mut gradient = vec![0.0; problem.n_parameters()];
        let loss = problem.loss_and_gradient(&parameters, &mut gradient);

        let (mut expected_loss, mut expected) = (0.0, vec![0.0_f64; problem.n_parameters()]);
        for (row, &class) in rows.chunks(5).zip(&classes) {
            let logit = |c: usize| {
                let sum: f64 = (0..5).map(|i| f64::from(row[i]) * f64::from(parameters[i * 4 + c])).sum();
                sum + f64::from(parameters[20 + c])
            };
            let total: f64 = (0..4).map(|c| logit(c).exp()).sum();
            expected_loss -= (logit(class as usize).exp() / total).ln() / 300.0;
            for c in 0..4 {
                let difference = (logit(c).exp() / total - f64::from(u8::from(c == class as usize))) / 300.0;
                (0..5).for_each(|i| expected[i * 4 + c] += f64::from(row[i]) * difference);
                expected[20 + c] += difference;
            }
        }
        assert!((loss - expected_loss).abs() < 1e-6, "{loss} {expected_loss}");
        for (place, (g, e)) in gradient.iter().zip(&expected).enumerate() {
            assert!((g - e).abs() < 1e-6, "{place}: {g} {e}");
        }
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        let mut logits = [1e30, -1e30, 0.0];
        assert_eq!(loss_and_difference(&mut logits, 0), 0.0);
        assert_eq!(logits, [0.0, 0.0, 0.0]);
        let mut logits = [3e38, -3e38];
        assert!(loss_and_difference(&mut logits, 1).is_finite());
    }

    #[test]
    fn equal_logits_predict_the_lowest_class() {
        let problem = SoftmaxRegression { rows: &[1.0, 2.0], classes: &[0], dim: 2, n_classes: 3 };
        assert_eq!(problem.predict(&[0.0; 9]), [0]);
    }
}
