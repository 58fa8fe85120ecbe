//! k-means against that of linfa-clustering, on blobs.

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

#[test]
fn inertia_is_within_a_few_percent_of_linfa_on_blobs() {
    for (number, (n_blobs, n_clusters, spread)) in [(10, 10, 0.2), (20, 20, 0.6), (30, 15, 0.5)].into_iter().enumerate()
    {
        let rows = blobs(50 + 10 * number as u64, 1500, 8, n_blobs, spread);
        let oracle = linfa_inertia(&rows, 8, n_clusters, 3);
        let ours = (0..5)
            .map(|seed| KMeans { n_clusters, iterations: 20, seed }.fit(&rows, 8).expect("rows that fit").inertia())
            .collect::<Vec<_>>();
        let mean = ours.iter().sum::<f64>() / ours.len() as f64;
        let best = ours.iter().fold(f64::INFINITY, |best, &inertia| best.min(inertia));
        eprintln!("{n_blobs} blobs, {n_clusters} clusters: linfa {oracle:.1}, ours {ours:.1?}");
        assert!(best <= 1.03 * oracle, "best of five seeds {best}, linfa's best of three runs {oracle}");
        assert!(mean <= 1.25 * oracle, "mean of five seeds {mean}, linfa's best of three runs {oracle}");
    }
}
