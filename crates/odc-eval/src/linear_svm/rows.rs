//! Feature rows of unit length with a 1 behind each, and products with them for many columns at once.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};
use rayon::prelude::*;

use crate::{EvalError, Features};

/// Rows x/‖x‖ followed by 1, by which the last number of a weight vector becomes the bias.
pub(crate) struct UnitRows {
    /// `[len, width]`.
    values: Vec<f32>,
    /// Length of a feature, and one.
    width: usize,
}

/// At most this many blocks of rows are summed apart; with the least rows below, the blocks depend on the number of
/// rows alone.
const BLOCKS: usize = 32;
const LEAST_ROWS: usize = 64;
/// Rows whose products are held at once, so that a row is still in cache when it is needed again.
const HELD_ROWS: usize = 128;

impl UnitRows {
    /// A row of zeros stays one.
    ///
    /// # Errors
    /// Where sizes do not fit, there is no row, or a feature is not finite.
    pub(crate) fn new(features: &Features, what: &'static str) -> Result<Self, EvalError> {
        let (n, dim) = (features.len(), features.dim);
        if features.values.len() != n * dim {
            return Err(EvalError::Size { what, got: features.values.len(), expected: n * dim });
        }
        if n == 0 || dim == 0 {
            return Err(EvalError::Empty { what, reason: format!("{n} rows of {dim} numbers; give images") });
        }
        if let Some(place) = features.values.iter().position(|value| !value.is_finite()) {
            let name = features.names.get(place / dim).cloned().unwrap_or_else(|| format!("row {}", place / dim));
            return Err(EvalError::NotFinite { name, column: place % dim, value: features.values[place] });
        }
        let width = dim + 1;
        let mut values = vec![1.0; n * width];
        values.par_chunks_mut(width).zip(features.values.par_chunks(dim)).for_each(|(row, feature)| {
            let length = feature.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt().max(1e-12);
            row.iter_mut().zip(feature).for_each(|(to, &value)| *to = (f64::from(value) / length) as f32);
        });
        Ok(Self { values, width })
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len() / self.width
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The rows at these positions.
    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        let values = rows.iter().flat_map(|row| &self.values[row * self.width..(row + 1) * self.width]);
        Self { values: values.copied().collect(), width: self.width }
    }

    /// X v for each column v of length `width`.
    pub(crate) fn times(&self, columns: &[&[f64]]) -> Vec<Vec<f32>> {
        let (right, count) = (self.side_by_side(columns), columns.len());
        let product = |rows: &[f32]| {
            let mut product = vec![0.0; rows.len() / self.width * count];
            multiply(&matrix(rows, self.width), &matrix(&right, count), 0.0, &mut product, count);
            product
        };
        let parts: Vec<Vec<f32>> = self.values.par_chunks(HELD_ROWS * self.width).map(product).collect();
        let column = |place: usize| parts.iter().flat_map(move |part| part.iter().skip(place).step_by(count).copied());
        (0..count).into_par_iter().map(|place| column(place).collect()).collect()
    }

    /// Xᵀ u for each column u of one number a row.
    pub(crate) fn transposed_times(&self, columns: &[&[f32]]) -> Vec<Vec<f64>> {
        self.sum_of_rows(columns.len(), |first, held| {
            for (place, column) in columns.iter().enumerate() {
                let of_rows = column[first..].iter().copied();
                held.iter_mut().skip(place).step_by(columns.len()).zip(of_rows).for_each(|(to, value)| *to = value);
            }
        })
    }

    /// Xᵀ diag(d) X v for each column v and its d; each row is read from memory once.
    pub(crate) fn weighted_gram_times(&self, columns: &[&[f64]], weights: &[&[f32]]) -> Vec<Vec<f64>> {
        let (right, count) = (self.side_by_side(columns), columns.len());
        self.sum_of_rows(count, |first, held| {
            let rows = &self.values[first * self.width..][..held.len() / count * self.width];
            multiply(&matrix(rows, self.width), &matrix(&right, count), 0.0, held, count);
            for (place, weights) in weights.iter().enumerate() {
                let of_rows = &weights[first..];
                held.iter_mut().skip(place).step_by(count).zip(of_rows).for_each(|(to, weight)| *to *= weight);
            }
        })
    }

    /// Σ over rows of x ⊗ h, where `fill` writes h, `[rows, count]`, of the rows from a first one on. The same bits for
    /// any number of threads.
    fn sum_of_rows(&self, count: usize, fill: impl Fn(usize, &mut [f32]) + Sync) -> Vec<Vec<f64>> {
        let block = self.len().div_ceil(BLOCKS).max(LEAST_ROWS);
        let part = |(number, rows): (usize, &[f32])| {
            let mut sum = vec![0.0; self.width * count];
            let mut held = vec![0.0; HELD_ROWS * count];
            for (place, rows) in rows.chunks(HELD_ROWS * self.width).enumerate() {
                let held = &mut held[..rows.len() / self.width * count];
                fill(number * block + place * HELD_ROWS, held);
                multiply(&matrix(rows, self.width).reversed_axes(), &matrix(held, count), 1.0, &mut sum, count);
            }
            sum
        };
        let parts: Vec<Vec<f32>> = self.values.par_chunks(block * self.width).enumerate().map(part).collect();
        let entry = |place: usize| parts.iter().map(|part| f64::from(part[place])).sum();
        let column = |place: usize| (0..self.width).map(|row| entry(row * count + place)).collect();
        (0..count).into_par_iter().map(column).collect()
    }

    /// `[width, columns]`.
    fn side_by_side(&self, columns: &[&[f64]]) -> Vec<f32> {
        (0..self.width).flat_map(|row| columns.iter().map(move |column| column[row] as f32)).collect()
    }
}

fn multiply(left: &ArrayView2<'_, f32>, right: &ArrayView2<'_, f32>, keep: f32, to: &mut [f32], columns: usize) {
    let mut to = ArrayViewMut2::from_shape((to.len() / columns, columns), to).expect("whole rows");
    general_mat_mul(1.0, left, right, keep, &mut to);
}

fn matrix(values: &[f32], columns: usize) -> ArrayView2<'_, f32> {
    ArrayView2::from_shape((values.len() / columns, columns), values).expect("whole rows")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_the_definition() {
        // Several blocks, the last one short.
        let (n, dim) = (2600, 7);
        let features = Features::from_rows(odc_testkit::formula(1, n * dim), dim, vec![None; n]).expect("rows");
        let rows = UnitRows::new(&features, "rows").expect("fits");
        let row = |row: usize| &rows.values[row * 8..(row + 1) * 8];
        for number in [0, 777, n - 1] {
            let length: f32 = features.row(number).iter().map(|value| value * value).sum::<f32>().sqrt();
            for (value, feature) in row(number).iter().zip(features.row(number)) {
                assert!((value - feature / length).abs() < 1e-6);
            }
            assert_eq!(row(number)[7], 1.0);
        }
        let columns: Vec<Vec<f64>> =
            (0..3).map(|seed| odc_testkit::formula(seed + 5, 8).into_iter().map(f64::from).collect()).collect();
        let weights: Vec<Vec<f32>> = (0..3).map(|seed| odc_testkit::formula(seed + 9, n)).collect();
        let (columns, weights): (Vec<&[f64]>, Vec<&[f32]>) =
            (columns.iter().map(Vec::as_slice).collect(), weights.iter().map(Vec::as_slice).collect());
        let (forward, back) = (rows.times(&columns), rows.transposed_times(&weights));
        let gram = rows.weighted_gram_times(&columns, &weights);
        for place in 0..3 {
            let product =
                |number: usize| -> f64 { row(number).iter().zip(columns[place]).map(|(x, v)| f64::from(*x) * v).sum() };
            assert_eq!(forward[place].len(), n);
            for (number, score) in forward[place].iter().enumerate() {
                assert!((f64::from(*score) - product(number)).abs() < 1e-5);
            }
            for entry in 0..8 {
                let sum = |of: &dyn Fn(usize) -> f64| -> f64 {
                    (0..n).map(|number| f64::from(row(number)[entry]) * of(number)).sum()
                };
                let weight = |number: usize| f64::from(weights[place][number]);
                assert!((back[place][entry] - sum(&weight)).abs() < 1e-3);
                assert!((gram[place][entry] - sum(&|number| weight(number) * product(number))).abs() < 1e-3);
            }
        }
        assert_eq!(rows.select(&[5, 2]).values, [row(5), row(2)].concat());
    }
}
