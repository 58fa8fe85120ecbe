//! What features are worth: linear probe, kNN, cluster scores, extraction.
//!
//! [`extract`] gives [`Features`]; what judges them takes two of these, one to learn from and one to be asked about:
//! [`KnnClassifier`], [`LinearProbe`] (the protocol of published numbers), [`LogisticProbe`] (no schedule, to
//! convergence). [`ClusteringScore`] compares clusters with true labels. Accuracies are percent.
//!
//! Invariants: features are judged frozen, nothing here changes a network; images without a true label take no part in a
//! score; the same features give the same bits for any number of threads.

mod clustering_score;
mod error;
mod export;
mod extraction;
mod feature_cache;
mod features;
mod few_labels;
mod fine_tuning;
mod knn;
mod layer;
mod lbfgs;
mod linear_probe;
mod logistic_probe;
mod over_seeds;
mod row_norm;
mod softmax_regression;
mod task;

pub use clustering_score::{ClusterSizes, ClusteringScore};
pub use error::EvalError;
pub use extraction::{ExtractionConfig, RandomView, extract, extract_layers, extract_on, extract_pixels, extract_with};
pub use feature_cache::FeatureCache;
pub use features::{FIFTHS, Features, fifths};
pub use few_labels::{draw_labelled, true_labels};
pub use fine_tuning::{FineTuning, FineTuningReport, GridPoint};
pub use knn::{KnnAccuracy, KnnClassifier, KnnReport};
pub use layer::{Layer, LayerSize};
pub use linear_probe::{LinearProbe, LinearReport};
pub use logistic_probe::{LogisticProbe, LogisticReport, LogisticResult};
pub use over_seeds::OverSeeds;
