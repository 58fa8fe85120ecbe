//! What features are worth: linear probe, kNN, linear SVM, cluster scores, extraction.
//!
//! [`extract`] gives [`Features`]; what judges them takes two of these, one to learn from and one to be asked about:
//! [`KnnClassifier`], [`LinearProbe`] (the protocol of published numbers), [`LogisticProbe`] (no schedule, to
//! convergence), [`LinearSvm`] (one for each class, also of few images). [`ClusteringScore`] compares clusters with true labels. Accuracies are percent.
//!
//! Invariants: features are judged frozen, nothing here changes a network; images without a true label take no part in a
//! score; the same features give the same bits for any number of threads.

mod average_precision;
mod clustering_score;
mod error;
mod export;
mod extraction;
mod features;
mod knn;
mod lbfgs;
mod linear_probe;
mod linear_svm;
mod logistic_probe;
mod softmax_regression;
mod task;
mod true_classes;

pub use average_precision::AveragePrecision;
pub use clustering_score::{ClusterSizes, ClusteringScore};
pub use error::EvalError;
pub use extraction::{ExtractionConfig, extract, extract_on, extract_pixels, extract_with};
pub use features::{FIFTHS, Features};
pub use knn::{KnnAccuracy, KnnClassifier, KnnReport};
pub use linear_probe::{LinearProbe, LinearReport};
pub use linear_svm::{
    Labelled, LinearSvm, LowShotReport, LowShotResult, MeanAndDeviation, SvmClass, SvmFit, SvmReport,
};
pub use logistic_probe::{LogisticProbe, LogisticReport, LogisticResult};
pub use true_classes::TrueClasses;
