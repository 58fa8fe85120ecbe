//! For each row the nearest of many centroids, and rows of unit length.
//!
//! Scores come from matrix products over tiles of one fixed shape, filled up with zeros: a row's scores, and so its label,
//! do not depend on which other rows are in the call, nor on threads.

use crate::matrix::{Matrix, multiply_block};
use rayon::prelude::*;

/// Rows of a tile.
const ROWS: usize = 64;
/// Centroids of a tile, a multiple of [`LANES`].
const CENTROIDS: usize = 512;
/// Running minima kept side by side.
const LANES: usize = 16;

/// `labels[i]` = argmin over centroids c of ‖rowᵢ − c‖², the lowest index on ties (spec, eq. 3).
///
/// ‖row‖² is the same for all c, so ‖c‖² − 2·⟨row, c⟩ is compared.
///
/// # Panics
/// Where the lengths do not fit or there are no centroids.
pub fn nearest_by_distance(rows: &[f32], centroids: &[f32], dim: usize, labels: &mut [u32]) {
    let square = |centroid: &[f32]| centroid.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() as f32;
    nearest(rows, centroids, dim, labels, square, 2.0);
}

/// `labels[i]` = argmax over centroids c of ⟨rowᵢ, c⟩, the lowest index on ties.
///
/// # Panics
/// Where the lengths do not fit or there are no centroids.
pub fn nearest_by_dot_product(rows: &[f32], centroids: &[f32], dim: usize, labels: &mut [u32]) {
    nearest(rows, centroids, dim, labels, |_| 0.0, 1.0);
}

/// Makes each row x / (‖x‖ + 1e-10).
///
/// # Panics
/// Where the length is not a multiple of `dim`.
pub fn normalize_rows(rows: &mut [f32], dim: usize) {
    assert!(dim > 0 && rows.len().is_multiple_of(dim), "{} numbers in rows of {dim}", rows.len());
    rows.par_chunks_mut(dim).with_min_len(64).for_each(|row| {
        let mut lanes = [0.0_f64; 8];
        let (chunks, rest) = row.as_chunks::<8>();
        for chunk in chunks {
            for (lane, &x) in lanes.iter_mut().zip(chunk) {
                *lane += f64::from(x) * f64::from(x);
            }
        }
        let rest: f64 = rest.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        let norm = (lanes.iter().sum::<f64>() + rest).sqrt() as f32 + 1e-10;
        for x in row {
            *x /= norm;
        }
    });
}

/// The lowest `constant(c) − factor · ⟨row, c⟩`.
fn nearest(
    rows: &[f32],
    centroids: &[f32],
    dim: usize,
    labels: &mut [u32],
    constant: impl Fn(&[f32]) -> f32 + Sync,
    factor: f32,
) {
    assert!(dim > 0 && !centroids.is_empty(), "nearest of no centroids");
    assert!(centroids.len().is_multiple_of(dim), "{} numbers in centroids of {dim}", centroids.len());
    assert_eq!(rows.len(), labels.len() * dim, "a row of {dim} for each label");
    let tiles: Vec<Tile> = centroids.par_chunks(CENTROIDS * dim).map(|tile| Tile::new(tile, dim, &constant)).collect();
    labels.par_chunks_mut(ROWS).zip(rows.par_chunks(ROWS * dim)).for_each(|(labels, rows)| {
        let mut filled = Vec::new();
        let rows = if labels.len() == ROWS {
            rows
        } else {
            filled.resize(ROWS * dim, 0.0);
            filled[..rows.len()].copy_from_slice(rows);
            &filled
        };
        let rows = Matrix::row_major(rows, ROWS, dim);
        let mut products = vec![0.0; ROWS * tiles[0].constants.len()];
        let mut lowest = vec![(f32::INFINITY, 0); labels.len()];
        for (index, tile) in tiles.iter().enumerate() {
            let width = tile.constants.len();
            let products = &mut products[..ROWS * width];
            multiply_block(rows, Matrix::row_major(&tile.columns, dim, width), products);
            for (lowest, products) in lowest.iter_mut().zip(products.chunks_exact(width)) {
                let (score, position) = tile.lowest(products, factor);
                if score < lowest.0 {
                    *lowest = (score, index * CENTROIDS + position);
                }
            }
        }
        for (label, (_, position)) in labels.iter_mut().zip(lowest) {
            *label = position as u32;
        }
    });
}

/// Up to [`CENTROIDS`] centroids as the columns of a matrix, filled up to whole lanes with ones that never win.
struct Tile {
    columns: Vec<f32>,
    constants: Vec<f32>,
}

impl Tile {
    fn new(centroids: &[f32], dim: usize, constant: impl Fn(&[f32]) -> f32) -> Self {
        let width = (centroids.len() / dim).next_multiple_of(LANES);
        let mut columns = vec![0.0; dim * width];
        let mut constants = vec![f32::INFINITY; width];
        for (index, centroid) in centroids.chunks_exact(dim).enumerate() {
            constants[index] = constant(centroid);
            for (row, &x) in columns.chunks_exact_mut(width).zip(centroid) {
                row[index] = x;
            }
        }
        Self { columns, constants }
    }

    /// The lowest score and the first position that has it.
    fn lowest(&self, products: &[f32], factor: f32) -> (f32, usize) {
        let mut scores = [f32::INFINITY; LANES];
        let mut starts = [0_u32; LANES];
        let products = products.as_chunks::<LANES>().0;
        let constants = self.constants.as_chunks::<LANES>().0;
        for (start, (products, constants)) in products.iter().zip(constants).enumerate() {
            for lane in 0..LANES {
                let score = constants[lane] - factor * products[lane];
                let lower = score < scores[lane];
                scores[lane] = if lower { score } else { scores[lane] };
                starts[lane] = if lower { start as u32 } else { starts[lane] };
            }
        }
        let mut lowest = (f32::INFINITY, 0);
        for lane in 0..LANES {
            let candidate = (scores[lane], starts[lane] as usize * LANES + lane);
            if candidate.0 < lowest.0 || (candidate.0 == lowest.0 && candidate.1 < lowest.1) {
                lowest = candidate;
            }
        }
        lowest
    }
}
