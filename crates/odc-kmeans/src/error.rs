//! Why rows cannot be clustered.

/// Why rows cannot be clustered.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum KMeansError {
    /// `dim`, `n_clusters` or `n_components` is zero.
    #[error("k-means was asked for {name} 0: it must be at least 1")]
    Zero {
        /// The setting.
        name: &'static str,
    },
    /// Fewer rows than clusters: some cluster would be empty.
    #[error("{n_rows} rows cannot fill {n_clusters} clusters: lower n_clusters to at most {n_rows}, or give more rows")]
    TooFewRows {
        /// Number of rows.
        n_rows: usize,
        /// Number of clusters.
        n_clusters: usize,
    },
    /// More rows than labels can number.
    #[error("{n_rows} rows are more than k-means takes, 2^32 - 1: cluster a part of them")]
    TooManyRows {
        /// Number of rows.
        n_rows: usize,
    },
    /// A slice that is not whole rows of `dim` entries, or not one row a cluster.
    #[error("k-means was given {found} {what}, which are not {expected}")]
    Shape {
        /// What the slice holds.
        what: &'static str,
        /// What its length should be.
        expected: String,
        /// How many entries there are.
        found: usize,
    },
    /// NaN, infinity, or a number whose square leaves the range of `f32`.
    #[error("{what} {row} holds {value} in entry {entry}: k-means needs finite numbers, at most 1e15 in magnitude")]
    NotFinite {
        /// `row` or `centroid`.
        what: &'static str,
        /// Which one.
        row: usize,
        /// The entry.
        entry: usize,
        /// What stands there.
        value: f32,
    },
    /// Principal components that could not be found.
    #[error("the covariance of the rows has no principal components: {reason}")]
    Decomposition {
        /// What the decomposition says.
        reason: String,
    },
}
