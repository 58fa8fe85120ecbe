//! k-means against that of linfa-clustering, on blobs: small sets, which linfa starts, and larger ones, which it does not.

use linfa::DatasetBase;
use linfa::traits::Fit;
use ndarray::Array2;
use odc_kmeans::KMeans;
use odc_testkit::formula;

/// `n` rows around `n_blobs` centres; blobs overlap where `spread` is large.
fn blobs(seed: u64, n: usize, dim: usize, n_blobs: usize, spread: f32) -> Vec<f32> {
    let centres = formula(seed, n_blobs * dim);
    let noise = formula(seed + 1, n * dim);
    (0..n * dim).map(|i| centres[(i / dim) % n_blobs * dim + i % dim] + spread * noise[i]).collect()
}

/// linfa's inertia: the best of its runs, each from k-means++.
fn linfa_inertia(rows: &[f32], dim: usize, n_clusters: usize, runs: usize) -> f64 {
    let rows = Array2::from_shape_vec((rows.len() / dim, dim), rows.to_vec()).expect("whole rows");
    let n_rows = rows.nrows() as f64;
    let params = linfa_clustering::KMeans::params(n_clusters).n_runs(runs).max_n_iterations(60).tolerance(1e-5_f32);
    let model = params.fit(&DatasetBase::from(rows)).expect("linfa clusters");
    f64::from(model.inertia()) * n_rows
}

/// Holds the inertia of five seeds against linfa's best of some runs.
fn compare(rows: &[f32], dim: usize, n_clusters: usize, runs: usize) {
    let oracle = linfa_inertia(rows, dim, n_clusters, runs);
    let ours = (0..5)
        .map(|seed| KMeans { n_clusters, iterations: 20, seed }.fit(rows, dim).expect("rows that fit").inertia())
        .collect::<Vec<_>>();
    let mean = ours.iter().sum::<f64>() / ours.len() as f64;
    let best = ours.iter().fold(f64::INFINITY, |best, &inertia| best.min(inertia));
    eprintln!("{n_clusters} clusters: linfa {oracle:.1}, ours {ours:.1?}");
    assert!(best <= 1.03 * oracle, "best of five seeds {best}, linfa's best of {runs} runs {oracle}");
    assert!(mean <= 1.25 * oracle, "mean of five seeds {mean}, linfa's best of {runs} runs {oracle}");
}

#[test]
fn inertia_is_within_a_few_percent_of_linfa_on_small_sets() {
    for (number, (n_blobs, n_clusters, spread)) in [(10, 10, 0.2), (20, 20, 0.6), (30, 15, 0.5)].into_iter().enumerate()
    {
        compare(&blobs(50 + 10 * number as u64, 1500, 8, n_blobs, spread), 8, n_clusters, 3);
    }
}

#[test]
fn inertia_is_within_a_few_percent_of_linfa_on_sets_too_large_for_it() {
    // 6000 · 16 · 40 · (40 + 20) = 2.3e8, above the bound.
    compare(&blobs(80, 6000, 16, 40, 0.6), 16, 40, 2);
}
