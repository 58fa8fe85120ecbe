//! What features are worth: linear probe, kNN, linear SVM, fine-tuning on few labels, cluster scores, extraction.
//!
//! [`extract`] gives [`Features`]; what judges them takes two of these, one to learn from and one to be asked about:
//! [`KnnClassifier`], [`LinearProbe`] (the protocols of published numbers), [`LogisticProbe`] (no schedule, to
//! convergence), [`LinearSvm`] (one for each class, also of few images). [`FineTuning`] takes the network itself, and
//! [`ClusteringScore`] compares clusters with true labels. Accuracies are percent.
//!
//! Invariants: features are judged frozen, and after fine-tuning a network's weights are what they were; images without a
//! true label take no part in a score; the same features give the same bits for any number of threads.

mod average_precision;
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
mod linear_svm;
mod logistic_probe;
mod mean_and_deviation;
mod row_norm;
mod softmax_regression;
mod task;
mod true_classes;

pub use average_precision::AveragePrecision;
pub use clustering_score::{ClusterSizes, ClusteringScore, normalized_mutual_information};
pub use error::EvalError;
pub use extraction::{ExtractionConfig, RandomView, extract, extract_layers, extract_on, extract_pixels, extract_with};
pub use feature_cache::FeatureCache;
pub use features::{FIFTHS, Features, fifths};
pub use few_labels::{draw_labelled, true_labels};
pub use fine_tuning::{FineTuning, FineTuningReport, GridPoint};
pub use knn::{KnnAccuracy, KnnClassifier, KnnReport};
pub use layer::{Layer, LayerSize};
pub use linear_probe::{LinearProbe, LinearReport};
pub use linear_svm::{Labelled, LinearSvm, LowShotReport, LowShotResult, SvmClass, SvmFit, SvmReport};
pub use logistic_probe::{LogisticProbe, LogisticReport, LogisticResult};
pub use mean_and_deviation::MeanAndDeviation;
pub use true_classes::TrueClasses;
