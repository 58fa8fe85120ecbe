//! What a finished run says of itself: `summary.json`.

use serde::{Deserialize, Serialize};

use crate::LogLine;
use crate::recipe::Method;
use crate::run::Run;
use crate::scores::Scores;

/// The outcome of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Images that took part.
    pub n_samples: usize,
    /// How the network learned.
    #[serde(default)]
    pub method: Method,
    /// K, where the method has clusters.
    pub n_clusters: Option<usize>,
    /// Iterations of the run.
    pub iterations: u64,
    /// Epochs of the run.
    pub epochs: u64,
    /// Wall time of the process that finished it, in seconds.
    pub seconds: f64,
    /// Loss of the first and the last line of the log.
    pub loss_first_last: Option<(f64, f64)>,
    /// Change ratio of the first and the last line of the log, where the method has one.
    pub change_ratio_first_last: Option<(f64, f64)>,
    /// Accuracy of rotation prediction in the first and the last line of the log.
    #[serde(default)]
    pub accuracy_first_last: Option<(f64, f64)>,
    /// Members of the smallest and the largest cluster, where there are clusters.
    pub cluster_min_max: Option<(u32, u32)>,
    /// Against true labels, before training.
    pub before: Scores,
    /// Against true labels, at the end.
    pub after: Scores,
}

impl Summary {
    pub(crate) fn new(run: &Run, lines: &[LogLine], after: Scores) -> Self {
        let ends = |value: fn(&LogLine) -> Option<f64>| Some((value(lines.first()?)?, value(lines.last()?)?));
        let sizes = run.conductor().sizes();
        Self {
            n_samples: run.n_samples(),
            method: run.recipe().method,
            n_clusters: sizes.map(<[u32]>::len),
            iterations: run.conductor().iteration(),
            epochs: run.recipe().training.epochs,
            seconds: run.seconds(),
            loss_first_last: ends(|line| Some(line.loss)),
            change_ratio_first_last: ends(|line| line.change_ratio),
            accuracy_first_last: ends(|line| line.accuracy),
            cluster_min_max: sizes.and_then(|sizes| Some((*sizes.iter().min()?, *sizes.iter().max()?))),
            before: run.before().clone(),
            after,
        }
    }
}
