//! The centroids of a small set, by the k-means of linfa-clustering.

use std::collections::HashSet;

use linfa::DatasetBase;
use linfa::traits::Fit;
use linfa_clustering::KMeansInit;
use ndarray::ArrayView2;
use rand_xoshiro::Xoshiro256Plus;
use rand_xoshiro::rand_core::SeedableRng;

use crate::KMeans;

/// Up to this many multiply-adds a set is small: a fraction of a second of linfa's plain loops. Beyond, the blocked
/// matrix product is worth more than they are.
const MULTIPLY_ADDS: usize = 200_000_000;
/// linfa adds up squares in `f32` and draws below the sum, which therefore has to be finite: of numbers up to this
/// magnitude, as many as a small set has, it is.
const LARGEST: f32 = 1e9;

/// Where linfa's k-means leaves the centroids (`[n_clusters, dim]`) of `rows` (`[n, dim]`, checked); `None` where the
/// set is not for it, or it fails.
///
/// The numbers depend on the seed alone, not on the threads: linfa takes the nearest centroid of the rows in parallel,
/// each row for itself, and everything that goes over rows (the sums of k-means++, the means) on one thread. Its
/// k-means|| is not like that.
pub(crate) fn centroids(kmeans: &KMeans, rows: &[f32], dim: usize) -> Option<Vec<f32>> {
    if !is_small(kmeans, rows, dim) {
        return None;
    }
    let records = ArrayView2::from_shape((rows.len() / dim, dim), rows).ok()?;
    // linfa's own tolerance (1e-4) stays: what it leaves undone is done by Lloyd's iteration.
    let params =
        linfa_clustering::KMeans::params_with_rng(kmeans.n_clusters, Xoshiro256Plus::seed_from_u64(kmeans.seed))
            .init_method(KMeansInit::KMeansPlusPlus)
            .n_runs(1)
            .max_n_iterations(kmeans.iterations as u64);
    match params.fit(&DatasetBase::from(records)) {
        Ok(model) => Some(model.centroids().iter().copied().collect()),
        Err(error) => {
            tracing::debug!(%error, "linfa's k-means failed: seeds of our own");
            None
        }
    }
}

/// Whether a set is for linfa: cheap enough, more rows than clusters, as many distinct rows as clusters at least, none
/// too large in magnitude.
fn is_small(kmeans: &KMeans, rows: &[f32], dim: usize) -> bool {
    // Its k-means++ goes back to all centroids so far for each next one, K²/2 pairs with each row; an iteration is K.
    let passes = kmeans.n_clusters.saturating_add(kmeans.iterations);
    let multiply_adds = rows.len().saturating_mul(kmeans.n_clusters).saturating_mul(passes);
    kmeans.iterations > 0
        && multiply_adds <= MULTIPLY_ADDS
        && kmeans.n_clusters < rows.len() / dim
        && rows.iter().all(|entry| entry.abs() <= LARGEST)
        && has_distinct(rows, dim, kmeans.n_clusters)
}

/// Whether so many rows are distinct in value.
fn has_distinct(rows: &[f32], dim: usize, wanted: usize) -> bool {
    let mut seen = HashSet::with_capacity(wanted);
    rows.chunks_exact(dim).any(|row| {
        // Zero has two signs, hence the sum.
        seen.insert(row.iter().map(|entry| (entry + 0.0).to_bits()).collect::<Vec<u32>>());
        seen.len() >= wanted
    })
}

#[cfg(test)]
mod tests {
    use odc_testkit::formula;

    use super::*;
    use crate::clustering::inertia;
    use crate::seeding::seeds;

    fn kmeans(n_clusters: usize) -> KMeans {
        KMeans { n_clusters, iterations: 20, seed: 3 }
    }

    #[test]
    fn a_small_set_starts_from_linfa_and_ends_no_worse() {
        let (rows, dim) = (formula(1, 900 * 5), 5);
        let by_linfa = centroids(&kmeans(30), &rows, dim).expect("a small set");
        assert_eq!(by_linfa.len(), 30 * dim);
        let clustering = kmeans(30).fit(&rows, dim).expect("rows that fit");
        assert_eq!(clustering, kmeans(30).fit_from(&rows, dim, by_linfa.clone()).expect("rows that fit"));
        // The first entry of the objective is the inertia of linfa's centroids, before any of our means.
        let labels = KMeans { iterations: 0, ..kmeans(30) }.fit_from(&rows, dim, by_linfa.clone());
        let of_linfa = inertia(&rows, dim, &by_linfa, labels.expect("rows that fit").labels());
        assert_eq!(clustering.objective()[0], of_linfa);
        assert!(clustering.inertia() <= of_linfa);
    }

    #[test]
    fn other_sets_start_from_our_seeds() {
        let rows = formula(2, 900 * 5);
        let refused = |kmeans: KMeans, rows: &[f32], dim: usize| {
            assert_eq!(centroids(&kmeans, rows, dim), None);
            let start = seeds(rows, dim, kmeans.n_clusters, kmeans.seed);
            assert_eq!(kmeans.fit(rows, dim), kmeans.fit_from(rows, dim, start));
        };
        // Too many clusters for the bound; as many as rows; no iteration allowed; too few distinct rows; too large.
        refused(kmeans(300), &rows, 5);
        refused(kmeans(90), &rows[..450], 5);
        refused(KMeans { iterations: 0, ..kmeans(3) }, &rows, 5);
        refused(kmeans(7), &[[0.0, 1.0, 0.0], [-0.0, 1.0, 0.0], [0.5, 0.5, 0.5]].concat().repeat(20), 3);
        refused(kmeans(3), &rows.iter().map(|entry| 1e12 * entry).collect::<Vec<f32>>(), 5);
    }

    #[test]
    fn the_bound_is_where_it_is_said_to_be() {
        // rows · dim = 1e5: K · (K + iterations) may be up to 2000.
        let rows = formula(3, 50_000 * 2);
        assert!(is_small(&kmeans(25), &rows, 2));
        assert!(is_small(&KMeans { iterations: 10, ..kmeans(40) }, &rows, 2));
        assert!(!is_small(&KMeans { iterations: 11, ..kmeans(40) }, &rows, 2));
        assert!(!is_small(&KMeans { iterations: usize::MAX, ..kmeans(40) }, &rows, 2));
    }
}
