//! What a finished run says of itself: `summary.json`.

use serde::{Deserialize, Serialize};

use crate::LogLine;
use crate::run::Run;
use crate::scores::Scores;

/// The outcome of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Images that took part.
    pub n_samples: usize,
    /// K.
    pub n_clusters: usize,
    /// Iterations of the run.
    pub iterations: u64,
    /// Epochs of the run.
    pub epochs: u64,
    /// Wall time of the process that finished it, in seconds.
    pub seconds: f64,
    /// Loss of the first and the last line of the log.
    pub loss_first_last: Option<(f64, f64)>,
    /// Change ratio of the first and the last line of the log.
    pub change_ratio_first_last: Option<(f64, f64)>,
    /// Members of the smallest and the largest cluster.
    pub cluster_min_max: (u32, u32),
    /// Against true labels, before training.
    pub before: Scores,
    /// Against true labels, at the end.
    pub after: Scores,
}

impl Summary {
    pub(crate) fn new(run: &Run, lines: &[LogLine], after: Scores) -> Self {
        let ends = |value: fn(&LogLine) -> f64| Some((value(lines.first()?), value(lines.last()?)));
        let sizes = run.trainer().memory().sizes();
        Self {
            n_samples: run.n_samples(),
            n_clusters: run.recipe().n_clusters(),
            iterations: run.trainer().iteration(),
            epochs: run.recipe().training.epochs,
            seconds: run.seconds(),
            loss_first_last: ends(|line| line.loss),
            change_ratio_first_last: ends(|line| line.change_ratio),
            cluster_min_max: (sizes.iter().copied().min().unwrap_or(0), sizes.iter().copied().max().unwrap_or(0)),
            before: run.before().clone(),
            after,
        }
    }
}
