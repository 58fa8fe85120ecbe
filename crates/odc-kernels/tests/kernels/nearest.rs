//! Nearest centroids: golden labels, the naive twin, ties, and labels that do not depend on company or threads.

use crate::support::Draw;
use odc_kernels::{nearest_by_distance, nearest_by_dot_product, normalize_rows, plain};
use odc_testkit::Golden;

type Nearest = fn(&[f32], &[f32], usize, &mut [u32]);

fn labels(nearest: Nearest, rows: &[f32], centroids: &[f32], dim: usize) -> Vec<u32> {
    let mut labels = vec![u32::MAX; rows.len() / dim];
    nearest(rows, centroids, dim, &mut labels);
    labels
}

#[test]
fn agrees_with_pytorch_and_the_lowest_of_equal_centroids_wins() {
    let golden = Golden::open("reassign");
    let (rows, centroids) = (golden.f32("feature"), golden.f32("centroid"));
    assert_eq!(labels(nearest_by_distance, &rows, &centroids, 16), golden.u32("label_paper"));
    assert_eq!(labels(nearest_by_dot_product, &rows, &centroids, 16), golden.u32("label_code"));
}

#[test]
fn agrees_with_the_naive_twin_on_random_sizes() {
    let mut draw = Draw::new(11);
    for round in 0..30 {
        let dim = draw.size(1, 70);
        let n_centroids = if round % 5 == 0 { draw.size(500, 1100) } else { draw.size(1, 40) };
        let (rows, centroids) = (draw.size(1, 150), draw.values(n_centroids * dim));
        let rows = draw.values(rows * dim);
        assert_eq!(
            labels(nearest_by_distance, &rows, &centroids, dim),
            plain::nearest_by_distance(&rows, &centroids, dim)
        );
        assert_eq!(
            labels(nearest_by_dot_product, &rows, &centroids, dim),
            plain::nearest_by_dot_product(&rows, &centroids, dim)
        );
    }
}

/// Centroids so close together that rounding decides: only equal bits give equal labels.
#[test]
fn labels_depend_neither_on_other_rows_nor_on_threads() {
    let mut draw = Draw::new(12);
    let (dim, n_centroids, n) = (256, 700, 203);
    let one = draw.values(dim);
    let mut centroids = Vec::new();
    for _ in 0..n_centroids {
        centroids.extend(draw.values(dim).iter().zip(&one).map(|(noise, x)| x + 1e-7 * noise));
    }
    let rows = draw.values(n * dim);
    for nearest in [nearest_by_distance as Nearest, nearest_by_dot_product] {
        let all = labels(nearest, &rows, &centroids, dim);
        for threads in [1, 2, 3, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            assert_eq!(pool.install(|| labels(nearest, &rows, &centroids, dim)), all, "{threads} threads");
        }
        for (start, end) in [(0, 1), (1, 2), (5, 70), (63, 203), (202, 203)] {
            assert_eq!(
                labels(nearest, &rows[start * dim..end * dim], &centroids, dim),
                all[start..end],
                "{start}..{end}"
            );
        }
    }
}

#[test]
fn equal_centroids_in_different_tiles_and_lanes_give_the_lowest() {
    let mut draw = Draw::new(13);
    let (dim, n) = (33, 100);
    let rows = draw.values(n * dim);
    let mut centroids = draw.values(1200 * dim);
    for copy in [41, 57, 530, 1100, 1199] {
        centroids.copy_within(40 * dim..41 * dim, copy * dim);
    }
    for nearest in [nearest_by_distance as Nearest, nearest_by_dot_product] {
        let labels = labels(nearest, &centroids[40 * dim..41 * dim], &centroids, dim);
        assert!([40].contains(&labels[0]) || labels[0] < 40, "{labels:?}");
    }
    assert_eq!(labels(nearest_by_distance, &centroids[40 * dim..41 * dim], &centroids, dim), [40]);
    assert!(labels(nearest_by_distance, &rows, &centroids, dim).iter().all(|label| ![41, 57, 530].contains(label)));
}

#[test]
fn rows_become_unit_vectors_and_zero_stays_zero() {
    let mut rows = Draw::new(14).values(5 * 19);
    rows[..19].fill(0.0);
    normalize_rows(&mut rows, 19);
    assert!(rows[..19].iter().all(|&x| x == 0.0));
    for row in rows[19..].chunks_exact(19) {
        let norm: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        assert!((norm - 1.0).abs() < 1e-6, "{norm}");
    }
}
