//! Clusters against true labels: mutual information, pair counting, purity, best matching.

use pathfinding::kuhn_munkres::kuhn_munkres;
use pathfinding::matrix::Matrix;
use serde::{Deserialize, Serialize};

use crate::EvalError;

/// How well clusters agree with true labels. The names of clusters and classes play no role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusteringScore {
    /// Normalised mutual information, 0 to 1: I(clusters; classes) over the arithmetic mean of both entropies.
    pub nmi: f64,
    /// Adjusted Rand index: 1 for equal partitions, 0 on average for independent ones, at least −0.5.
    pub ari: f64,
    /// Percent of samples that belong to the most frequent class of their cluster. Grows with the number of clusters.
    pub purity: f64,
    /// Percent right when each cluster is given at most one class and each class at most one cluster, in the best way.
    pub hungarian_accuracy: f64,
    /// Samples compared: those with a true label.
    pub n_samples: usize,
    /// Samples without a true label, left out.
    pub n_unlabelled: usize,
    /// Clusters that hold a compared sample.
    pub n_clusters: usize,
    /// Classes that occur.
    pub n_classes: usize,
}

impl ClusteringScore {
    /// Compares the clusters `labels` with `true_labels`, sample by sample.
    ///
    /// # Errors
    /// Where the lengths differ or there is no sample.
    pub fn new(labels: &[u32], true_labels: &[u32]) -> Result<Self, EvalError> {
        if labels.len() != true_labels.len() {
            let what = "true labels beside the clusters' labels";
            return Err(EvalError::Size { what, got: true_labels.len(), expected: labels.len() });
        }
        if labels.is_empty() {
            let reason = "no sample has a true label to compare with".to_owned();
            return Err(EvalError::Empty { what: "cluster scores", reason });
        }
        let table = Contingency::new(labels, true_labels);
        Ok(Self {
            nmi: table.normalized_mutual_information(),
            ari: table.adjusted_rand_index(),
            purity: table.percent(table.purest()),
            hungarian_accuracy: table.percent(table.best_matching()),
            n_samples: labels.len(),
            n_unlabelled: 0,
            n_clusters: table.clusters.len(),
            n_classes: table.classes.len(),
        })
    }

    /// The same, samples without a true label left out.
    ///
    /// # Errors
    /// Where the lengths differ or no sample has a true label.
    pub fn where_known(labels: &[u32], true_labels: &[Option<u32>]) -> Result<Self, EvalError> {
        if labels.len() != true_labels.len() {
            let what = "true labels beside the clusters' labels";
            return Err(EvalError::Size { what, got: true_labels.len(), expected: labels.len() });
        }
        let known = labels.iter().zip(true_labels).filter_map(|(&label, known)| Some((label, (*known)?)));
        let (of_known, known): (Vec<u32>, Vec<u32>) = known.unzip();
        Ok(Self { n_unlabelled: labels.len() - known.len(), ..Self::new(&of_known, &known)? })
    }
}

/// Normalised mutual information of two labellings of the same samples alone, without the matching that takes longer
/// with the cube of the clusters.
///
/// # Errors
/// Where the lengths differ.
pub fn normalized_mutual_information(labels: &[u32], others: &[u32]) -> Result<f64, EvalError> {
    if labels.len() != others.len() {
        return Err(EvalError::Size { what: "labels beside other labels", got: others.len(), expected: labels.len() });
    }
    Ok(Contingency::new(labels, others).normalized_mutual_information())
}

/// How many samples each pair of cluster and class has in common.
struct Contingency {
    /// (cluster, class, samples), only where samples > 0, ascending.
    cells: Vec<(usize, usize, u64)>,
    /// Samples of each cluster that occurs.
    clusters: Vec<u64>,
    /// Samples of each class that occurs.
    classes: Vec<u64>,
    n: u64,
}

impl Contingency {
    fn new(labels: &[u32], true_labels: &[u32]) -> Self {
        let (cluster_of, n_clusters) = numbered(labels);
        let (class_of, n_classes) = numbered(true_labels);
        let mut pairs: Vec<(usize, usize)> = cluster_of.into_iter().zip(class_of).collect();
        pairs.sort_unstable();
        let (mut clusters, mut classes) = (vec![0; n_clusters], vec![0; n_classes]);
        let mut cells = Vec::new();
        for same in pairs.chunk_by(|a, b| a == b) {
            let ((cluster, class), samples) = (same[0], same.len() as u64);
            cells.push((cluster, class, samples));
            clusters[cluster] += samples;
            classes[class] += samples;
        }
        Self { cells, clusters, classes, n: labels.len() as u64 }
    }

    fn percent(&self, samples: u64) -> f64 {
        100.0 * samples as f64 / self.n as f64
    }

    /// 2 I(U; V) / (H(U) + H(V)); 1 where neither divides the samples, 0 where nothing is shared.
    fn normalized_mutual_information(&self) -> f64 {
        if self.clusters.len() == 1 && self.classes.len() == 1 {
            return 1.0;
        }
        let n = self.n as f64;
        let entropy =
            |sizes: &[u64]| -> f64 { sizes.iter().map(|&size| -(size as f64 / n) * (size as f64 / n).ln()).sum() };
        let term = |&(cluster, class, samples): &(usize, usize, u64)| {
            let (both, alone) = (samples as f64, self.clusters[cluster] as f64 * self.classes[class] as f64);
            both / n * (both * n / alone).ln()
        };
        let shared: f64 = self.cells.iter().map(term).sum();
        if shared <= f64::EPSILON {
            return 0.0;
        }
        // Rounding may end above 1.
        (2.0 * shared / (entropy(&self.clusters) + entropy(&self.classes))).min(1.0)
    }

    /// (pairs together in both − expected) / (mean of pairs together in each − expected), after Hubert and Arabie.
    fn adjusted_rand_index(&self) -> f64 {
        let pairs = |size: u64| u128::from(size) * u128::from(size.saturating_sub(1)) / 2;
        let together: u128 = self.cells.iter().map(|cell| pairs(cell.2)).sum();
        let in_clusters: u128 = self.clusters.iter().map(|&size| pairs(size)).sum();
        let in_classes: u128 = self.classes.iter().map(|&size| pairs(size)).sum();
        // The same partition, be it one set or all singletons: the formula is 0 / 0 for those two.
        if together == in_clusters && together == in_classes {
            return 1.0;
        }
        let expected = in_clusters as f64 * in_classes as f64 / pairs(self.n) as f64;
        (together as f64 - expected) / ((in_clusters + in_classes) as f64 / 2.0 - expected)
    }

    /// Samples of each cluster's most frequent class, summed.
    fn purest(&self) -> u64 {
        self.cells.chunk_by(|a, b| a.0 == b.0).filter_map(|row| row.iter().map(|cell| cell.2).max()).sum()
    }

    /// The most samples that pairs of one cluster and one class can cover, no cluster and no class in two pairs.
    fn best_matching(&self) -> u64 {
        // The matching wants no more rows than columns.
        let (rows, columns) = (self.clusters.len(), self.classes.len());
        let flat = rows > columns;
        let mut weights = Matrix::new(rows.min(columns), rows.max(columns), 0_i64);
        for &(cluster, class, samples) in &self.cells {
            weights[if flat { (class, cluster) } else { (cluster, class) }] = samples as i64;
        }
        kuhn_munkres(&weights).0.unsigned_abs()
    }
}

/// Labels replaced by 0, 1, 2, … in ascending order of those that occur, and how many occur.
fn numbered(labels: &[u32]) -> (Vec<usize>, usize) {
    let mut present = labels.to_vec();
    present.sort_unstable();
    present.dedup();
    let number = |label| present.partition_point(|other| other < label);
    (labels.iter().map(number).collect(), present.len())
}

/// How the samples are spread over clusters; what true labels are not needed for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterSizes {
    /// Clusters there are, empty ones included.
    pub n_clusters: usize,
    /// Clusters without a sample.
    pub empty: usize,
    /// Samples of the smallest cluster.
    pub smallest: usize,
    /// Median of the sizes (the lower one of two).
    pub median: usize,
    /// Samples of the largest cluster.
    pub largest: usize,
    /// exp(entropy of the sizes): how many clusters of equal size would be as evenly spread.
    pub effective: f64,
}

impl ClusterSizes {
    /// Counts `labels`, all below `n_clusters`.
    ///
    /// # Errors
    /// Where a label is not below `n_clusters`, or there is no cluster.
    pub fn of(labels: &[u32], n_clusters: usize) -> Result<Self, EvalError> {
        if n_clusters == 0 {
            return Err(EvalError::setting("n_clusters", n_clusters, "at least 1"));
        }
        let mut sizes = vec![0_usize; n_clusters];
        for &label in labels {
            let Some(size) = sizes.get_mut(label as usize) else {
                return Err(EvalError::setting("label", label, "below the number of clusters"));
            };
            *size += 1;
        }
        sizes.sort_unstable();
        let share = |size: &usize| *size as f64 / labels.len() as f64;
        let entropy: f64 = sizes.iter().filter(|&&size| size > 0).map(|size| -share(size) * share(size).ln()).sum();
        Ok(Self {
            n_clusters,
            empty: sizes.partition_point(|&size| size == 0),
            smallest: sizes[0],
            median: sizes[(n_clusters - 1) / 2],
            largest: sizes[n_clusters - 1],
            effective: if labels.is_empty() { 0.0 } else { entropy.exp() },
        })
    }
}
