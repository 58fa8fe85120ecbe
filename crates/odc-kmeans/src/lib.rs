//! Global k-means that leaves no cluster empty.
//!
//! [`KMeans`] gives the clustering that Online Deep Clustering starts from: Lloyd's iteration over the two kernels of
//! `odc-memory`, the nearest centroid (a blocked matrix product on all threads) and the means of the members.
//!
//! # What always holds of a [`Clustering`]
//! - No cluster is empty, every label is below `n_clusters`, and the inertia is that of these labels and centroids.
//! - Each row is with its nearest centroid (lowest index on ties). The one exception: where the very last assignment
//!   left a cluster empty, it took half of the largest, and the centroids of these two moved to their new members.
//! - The same rows and seed give the same bits for any number of threads.
//!
//! # Where it starts
//! For a small set, linfa-clustering's k-means (one run from k-means++, at most [`KMeans::iterations`] iterations) finds
//! the centroids, and Lloyd's iteration goes on from them for at most as many again. Small is
//! n · dim · K · (K + iterations) ≤ 2·10⁸, about the multiply-adds that linfa's plain loops take; besides, there have to
//! be more rows than clusters, K distinct ones at least, and no entry above 10⁹ (linfa's sums of squares in `f32`).
//! All other sets, and those where linfa reports an error, start from rows: chosen by k-means++ up to 2²⁵ pairs of row
//! and cluster, at random beyond.
//!
//! linfa alone would not do: each of its means counts the old centroid as one more member, it gives no labels with its
//! centroids, and a cluster can end without members. Its k-means|| is not used since the rows that it draws depend on
//! how the threads share them; k-means++ draws on one thread.
//!
//! Distances are in `f32` as ‖c‖² − 2⟨x, c⟩: rows should lie around the origin, as normalised features do; far from it
//! (a mean a thousand times the spread) they lose their digits.
//!
//! Deep Clustering clusters principal components of equal variance: [`Whitening`], then [`normalize_rows`].
//!
//! Architecture invariant: this crate knows no images and no network; rows go in, a clustering comes out.

mod clustering;
mod error;
mod lloyd;
mod seeding;
mod small;
mod whitening;

pub use clustering::{Clustering, Stopped};
pub use error::KMeansError;
pub use lloyd::KMeans;
pub use odc_memory::normalize_rows;
pub use whitening::Whitening;
