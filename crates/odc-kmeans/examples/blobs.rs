//! k-means on blobs: inertia and time of the two ways to choose the first centroids.
//!
//! Run with `cargo run --release -p odc-kmeans --example blobs`.

#![allow(clippy::print_stdout)]

use std::time::Instant;

use odc_kmeans::{KMeans, KMeansError};

const DIM: usize = 32;
const BLOBS: usize = 50;

fn main() -> Result<(), KMeansError> {
    let rows = blobs(20_000);
    let kmeans = KMeans { n_clusters: BLOBS, iterations: 20, seed: 1 };

    let start = Instant::now();
    let clustering = kmeans.fit(&rows, DIM)?;
    println!("k-means++ seeds: inertia {:.0} in {:.2?}", clustering.inertia(), start.elapsed());
    println!("{} iterations, {:?}", clustering.iterations(), clustering.stopped());

    // The first rows are from different blobs: as good as a start can be.
    let start = Instant::now();
    let clustering = kmeans.fit_from(&rows, DIM, rows[..BLOBS * DIM].to_vec())?;
    println!("one row of each blob: inertia {:.0} in {:.2?}", clustering.inertia(), start.elapsed());

    // All from one blob: as bad as it can be.
    let one_blob = (0..BLOBS).flat_map(|row| &rows[row * BLOBS * DIM..][..DIM]).copied().collect();
    let start = Instant::now();
    let clustering = kmeans.fit_from(&rows, DIM, one_blob)?;
    println!("all from one blob: inertia {:.0} in {:.2?}", clustering.inertia(), start.elapsed());
    Ok(())
}

/// `n` rows; row i belongs to blob i mod 50.
fn blobs(n: usize) -> Vec<f32> {
    let mut state = 1_u64;
    let mut uniform = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let centres: Vec<f32> = (0..BLOBS * DIM).map(|_| uniform()).collect();
    (0..n * DIM).map(|i| centres[i / DIM % BLOBS * DIM + i % DIM] + 0.7 * uniform()).collect()
}
