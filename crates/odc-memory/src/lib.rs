//! The sample memory and the centroid memory of Online Deep Clustering.
//!
//! [`Memory`] holds both and keeps them in step: a unit feature and a pseudo-label for every image, the mean feature of
//! every cluster. One training iteration calls, in this order, [`Memory::labels_of`], then (after the backward pass)
//! [`Memory::update_samples`], every so often [`Memory::update_centroids`], then
//! [`Memory::redistribute_small_clusters`] and [`Memory::loss_weights`].
//!
//! # What always holds
//! - Every label is below `n_clusters`; every feature is finite, each entry within [-1, 1].
//! - The sum of a cluster's features is kept as integers (see [`CentroidMemory`]): exactly what a recount from scratch
//!   would give, whatever the order and the history of the changes.
//! - A centroid that is not marked dirty is the mean of its members, unless the cluster has none (it then keeps its
//!   centroid) or the state came from outside with other centroids.
//! - No cluster is empty, nor below `min_cluster`, after [`Memory::redistribute_small_clusters`]; only
//!   [`Memory::update_samples`] can make one so.
//! - The same calls give the same bits for any number of threads, and after a restart from [`Memory::state`].
//!
//! # What an iteration costs
//! Nothing here looks at all images: [`Memory::update_samples`] costs batch × `n_clusters` × `dim` (the nearest
//! centroid), [`Memory::update_centroids`] costs dirty clusters × `dim`, and small clusters cost their members, the
//! members of the clusters that are split, and a pass over `n_clusters` sizes.
//!
//! Architecture invariant: this crate knows no network, no gradients and no tensors; only slices.

mod centroid_memory;
mod config;
mod error;
mod means;
mod memory;
mod nearest;
mod sample_memory;
mod small_clusters;
mod two_means;

pub use centroid_memory::CentroidMemory;
pub use config::{MAX_SAMPLES, MemoryConfig, Rule};
pub use error::MemoryError;
pub use means::{MembersByCluster, means};
pub use memory::{Memory, MemoryState, loss_weights};
pub use nearest::nearest;
pub use odc_kernels::normalize_rows;
pub use sample_memory::SampleMemory;
pub use small_clusters::SmallClusterReport;
pub use two_means::{Split, split_in_two, two_means};
