//! Where Lloyd's iteration starts on sets too large for linfa: k-means++ up to a bound, distinct rows at random beyond.

use rayon::prelude::*;

use crate::clustering::squared_distance;

/// Up to this many pairs of row and cluster the seeds are chosen by k-means++. It costs about one more iteration but
/// without a matrix product; beyond, it would take longer than all iterations together.
pub(crate) const PLUS_PLUS_PAIRS: usize = 1 << 25;
/// How many rows one thread takes at a time.
const BLOCK: usize = 512;

/// `n_clusters` rows of `rows` (`[n, dim]`), by the seed alone; distinct as rows, not necessarily in value.
pub(crate) fn seeds(rows: &[f32], dim: usize, n_clusters: usize, seed: u64) -> Vec<f32> {
    let n_rows = rows.len() / dim;
    let chosen = match n_rows.saturating_mul(n_clusters) {
        0..=PLUS_PLUS_PAIRS => plus_plus(rows, dim, n_clusters, seed),
        _ => distinct(n_rows, n_clusters, seed),
    };
    chosen.iter().flat_map(|&row| &rows[row * dim..][..dim]).copied().collect()
}

/// Distinct rows, all equally likely: the first steps of a Fisher-Yates shuffle.
pub(crate) fn distinct(n_rows: usize, n_clusters: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n_rows).collect();
    for position in 0..n_clusters {
        let left = n_rows - position;
        // `left` is far below 2^53, so the product is below it even after rounding.
        let step = (uniform(seed, position as u64) * left as f64) as usize;
        order.swap(position, position + step.min(left - 1));
    }
    order.truncate(n_clusters);
    order
}

/// k-means++: each next seed with a probability proportional to the squared distance from the nearest seed so far.
/// Where all rows are at distance zero, the first row not yet chosen.
pub(crate) fn plus_plus(rows: &[f32], dim: usize, n_clusters: usize, seed: u64) -> Vec<usize> {
    let n_rows = rows.len() / dim;
    let row = |index: usize| &rows[index * dim..][..dim];
    let mut distances = vec![f64::INFINITY; n_rows];
    let mut taken = vec![false; n_rows];
    let mut chosen = Vec::with_capacity(n_clusters);
    let mut next = ((uniform(seed, 0) * n_rows as f64) as usize).min(n_rows - 1);
    loop {
        chosen.push(next);
        taken[next] = true;
        if chosen.len() == n_clusters {
            return chosen;
        }
        let newest = row(next);
        distances.par_iter_mut().with_min_len(BLOCK).enumerate().for_each(|(index, distance)| {
            *distance = distance.min(squared_distance(row(index), newest));
        });
        next = draw(&distances, uniform(seed, chosen.len() as u64))
            .or_else(|| taken.iter().position(|taken| !taken))
            .unwrap_or(0);
    }
}

/// A position with a probability proportional to its weight; `None` where all weights are zero. The sum runs in the
/// order of the rows, on one thread: its bits must not depend on how many there are.
fn draw(weights: &[f64], uniform: f64) -> Option<usize> {
    let mut left = uniform * weights.iter().sum::<f64>();
    let mut last = None;
    for (position, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
        last = Some(position);
        left -= weight;
        if left < 0.0 {
            break;
        }
    }
    last
}

/// Number `index` of the stream of uniform numbers in [0, 1) that belongs to `seed`: splitmix64, top 53 bits.
fn uniform(seed: u64, index: u64) -> f64 {
    const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
    let mixed = mix(mix(seed.wrapping_add(GAMMA)).wrapping_add(index.wrapping_mul(GAMMA)));
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use odc_testkit::formula;

    use super::*;
    use crate::KMeans;

    #[test]
    fn seeds_are_distinct_rows_even_where_rows_are_equal() {
        let equal = vec![1.0; 40];
        for seed in 0..20 {
            for mut chosen in [distinct(40, 30, seed), plus_plus(&equal, 1, 30, seed), plus_plus(&equal, 1, 40, seed)] {
                let n_clusters = chosen.len();
                chosen.sort_unstable();
                chosen.dedup();
                assert_eq!(chosen.len(), n_clusters, "seed {seed}");
                assert!(chosen.iter().all(|&row| row < 40));
            }
        }
    }

    #[test]
    fn every_row_is_chosen_as_often_as_any_other() {
        let mut counts = [0; 10];
        (0..5000).flat_map(|seed| distinct(10, 3, seed)).for_each(|row| counts[row] += 1);
        assert!(counts.iter().all(|count| (1350..1650).contains(count)), "{counts:?}");
    }

    #[test]
    fn plus_plus_ends_in_a_lower_inertia_than_rows_at_random() {
        let (dim, n_blobs) = (8, 40);
        let (centres, noise) = (formula(1, n_blobs * dim), formula(2, 2000 * dim));
        let blob_of = |i: usize| i / dim % n_blobs * dim + i % dim;
        let rows: Vec<f32> = noise.iter().enumerate().map(|(i, noise)| centres[blob_of(i)] + 0.2 * noise).collect();
        let inertia = |chosen: Vec<usize>| {
            let centroids = chosen.iter().flat_map(|&row| &rows[row * dim..][..dim]).copied().collect();
            let kmeans = KMeans { n_clusters: n_blobs, iterations: 20, seed: 0 };
            kmeans.fit_from(&rows, dim, centroids).expect("rows that fit").inertia()
        };
        let sum = |of: &dyn Fn(u64) -> Vec<usize>| (0..5).map(|seed| inertia(of(seed))).sum::<f64>();
        let by_plus_plus = sum(&|seed| plus_plus(&rows, dim, n_blobs, seed));
        let at_random = sum(&|seed| distinct(2000, n_blobs, seed));
        assert!(by_plus_plus < 0.9 * at_random, "k-means++ {by_plus_plus}, at random {at_random}");
    }
}
