//! `[memory]`, `[kmeans]` and `[deepcluster]`: how images come to clusters.

use odc_memory::Rule;
use serde::{Deserialize, Serialize};

/// Which features the initial clustering sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitialFeatures {
    /// Evaluation mode as it is: the neck's running statistics of a fresh network are 0 and 1 (the reference).
    #[default]
    Eval,
    /// A few forward passes in training mode fill the running statistics first.
    TrainStatistics,
}

/// `[memory]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryTable {
    /// K, for every method with clusters. Without it: N / 100, at least 10 (or N / 10), at most 10,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clusters: Option<usize>,
    /// Share of the new feature in a memory update, m of equation (2).
    pub momentum: f32,
    /// Clusters with fewer members are dissolved. Without it: a fifth of N / K, at most 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_cluster: Option<usize>,
    /// `paper` or `reference`.
    pub rule: Rule,
    /// Iterations between centroid updates.
    pub centroid_every: u64,
    /// Power of the loss weights, w ∝ 1 / N_c^power; 0 weighs all clusters alike.
    pub reweight_power: f32,
    /// Which features the initial clustering sees.
    pub initial_features: InitialFeatures,
}

impl Default for MemoryTable {
    fn default() -> Self {
        Self {
            clusters: None,
            momentum: 0.5,
            min_cluster: None,
            rule: Rule::Paper,
            centroid_every: 10,
            reweight_power: 0.5,
            initial_features: InitialFeatures::Eval,
        }
    }
}

/// `[kmeans]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KMeansTable {
    /// Lloyd iterations.
    pub iterations: usize,
}

impl Default for KMeansTable {
    fn default() -> Self {
        Self { iterations: 20 }
    }
}

/// `[deepcluster]`: what Deep Clustering alone reads. K is `memory.clusters`, as for every method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeepClusterTable {
    /// Principal components that are clustered, at most the pooled features' own number.
    pub pca_dim: usize,
    /// How clusters of unequal sizes weigh alike.
    pub balance: Balance,
}

/// How clusters of unequal sizes weigh alike in an epoch of Deep Clustering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// As many draws from each cluster.
    #[default]
    Uniform,
    /// Every image once; the loss weighs clusters by `memory.reweight_power`.
    Reweight,
}

impl Default for DeepClusterTable {
    fn default() -> Self {
        Self { pca_dim: 256, balance: Balance::Uniform }
    }
}
