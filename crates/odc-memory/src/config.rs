//! The settings of a memory, and the check that they fit the data set.

use serde::{Deserialize, Serialize};

use crate::MemoryError;

/// The largest data set a memory takes. With entries within [-1, 1] in units of 2⁻³⁶, a sum over this many features
/// is at most 2⁶², so an `i64` cannot overflow.
pub const MAX_SAMPLES: usize = 1 << 26;

/// Which of the two published behaviours the memory follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// The paper's equations (2) and (3): the moved feature is stored as is; its label is the centroid nearest in
    /// Euclidean distance.
    #[default]
    Paper,
    /// The authors' code: the moved feature is scaled back to unit length; its label is the centroid (not scaled)
    /// with the largest dot product.
    Reference,
}

/// The settings of a memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryConfig {
    /// Length of a feature (256 in the paper).
    pub dim: usize,
    /// Number of clusters, K (10,000 in the paper).
    pub n_clusters: usize,
    /// Share of the new feature in the stored one, m of equation (2), in (0, 1] (0.5 in the paper).
    pub momentum: f32,
    /// A cluster with fewer members than this is dissolved and refilled (20 in the paper); at least 1.
    pub min_cluster: usize,
    /// The paper's equations or the authors' code.
    pub rule: Rule,
}

impl MemoryConfig {
    /// Whether a memory of `n_samples` images can have these settings.
    ///
    /// # Errors
    /// Names the setting, its value and its bound. Where there are fewer images than `n_clusters` × `min_cluster`, no
    /// assignment could keep every cluster at the threshold: [`MemoryError::TooFewSamples`] says how far to lower which.
    pub fn check(&self, n_samples: usize) -> Result<(), MemoryError> {
        let setting = |name, value: String, bound| Err(MemoryError::Setting { name, value, bound });
        if self.dim == 0 {
            return setting("dim", "0".into(), "must be at least 1");
        }
        if self.n_clusters == 0 || self.n_clusters > MAX_SAMPLES {
            return setting("n_clusters", self.n_clusters.to_string(), "must be between 1 and 2^26");
        }
        if !(self.momentum > 0.0 && self.momentum <= 1.0) {
            return setting("momentum", self.momentum.to_string(), "must be above 0 and at most 1");
        }
        if self.min_cluster == 0 {
            return setting("min_cluster", "0".into(), "must be at least 1, which refills empty clusters only");
        }
        if n_samples > MAX_SAMPLES {
            return Err(MemoryError::TooManySamples { n_samples });
        }
        if self.n_clusters.saturating_mul(self.min_cluster) > n_samples {
            return Err(MemoryError::TooFewSamples {
                n_samples,
                n_clusters: self.n_clusters,
                min_cluster: self.min_cluster,
            });
        }
        Ok(())
    }
}
