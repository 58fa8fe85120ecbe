//! The log of a run: one JSON line per logged iteration, and the same numbers for TensorBoard.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::tensorboard::EventFile;
use crate::{StepReport, TrainerError};

/// A line of `log.jsonl`: means over the iterations since the line before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Iterations done.
    pub iteration: u64,
    /// Epochs done, with fraction.
    pub epoch: f64,
    /// Weighted loss of equation (1).
    pub loss: f64,
    /// Share of a batch whose label changed.
    pub change_ratio: f64,
    /// Learning rate.
    pub lr: f64,
    /// Images trained on per second of wall time.
    pub images_per_second: f64,
    /// Members of the smallest cluster, now.
    pub cluster_min: u32,
    /// Members of the largest cluster, now.
    pub cluster_max: u32,
    /// Clusters without members, now.
    pub cluster_empty: usize,
    /// Small clusters dissolved and refilled.
    pub clusters_handled: usize,
    /// Share of features that are all zero.
    pub dead_share: f64,
    /// Seconds an iteration waited for its batch.
    pub t_data: f64,
    /// Seconds of an iteration's forward pass.
    pub t_forward: f64,
    /// Seconds of an iteration's backward pass and SGD.
    pub t_backward: f64,
    /// Seconds of an iteration's memories, small clusters and loss weights.
    pub t_memory: f64,
    /// At the end of an epoch, where true labels exist: NMI of the pseudo-labels with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nmi: Option<f64>,
}

/// Sums of reports since the last line.
#[derive(Debug)]
pub(crate) struct Window {
    since: Instant,
    iterations: f64,
    images: usize,
    loss: f64,
    change_ratio: f64,
    dead_share: f64,
    clusters_handled: usize,
    data: Duration,
    forward: Duration,
    backward: Duration,
    memory: Duration,
}

impl Window {
    pub(crate) fn new() -> Self {
        Self {
            since: Instant::now(),
            iterations: 0.0,
            images: 0,
            loss: 0.0,
            change_ratio: 0.0,
            dead_share: 0.0,
            clusters_handled: 0,
            data: Duration::ZERO,
            forward: Duration::ZERO,
            backward: Duration::ZERO,
            memory: Duration::ZERO,
        }
    }

    pub(crate) fn add(&mut self, report: &StepReport, t_data: Duration) {
        self.iterations += 1.0;
        self.images += report.images;
        self.loss += f64::from(report.loss);
        self.change_ratio += f64::from(report.change_ratio);
        self.dead_share += f64::from(report.dead_share);
        self.clusters_handled += report.small_clusters.handled;
        self.data += t_data;
        self.forward += report.t_forward;
        self.backward += report.t_backward;
        self.memory += report.t_memory;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.iterations == 0.0
    }

    /// The line of this window, and a new window.
    pub(crate) fn close(&mut self, iteration: u64, epoch: f64, lr: f64, sizes: &[u32], nmi: Option<f64>) -> LogLine {
        let done = std::mem::replace(self, Self::new());
        let mean = |sum: f64| sum / done.iterations.max(1.0);
        LogLine {
            iteration,
            epoch,
            loss: mean(done.loss),
            change_ratio: mean(done.change_ratio),
            lr,
            images_per_second: done.images as f64 / done.since.elapsed().as_secs_f64().max(1e-9),
            cluster_min: sizes.iter().copied().min().unwrap_or(0),
            cluster_max: sizes.iter().copied().max().unwrap_or(0),
            cluster_empty: sizes.iter().filter(|size| **size == 0).count(),
            clusters_handled: done.clusters_handled,
            dead_share: mean(done.dead_share),
            t_data: mean(done.data.as_secs_f64()),
            t_forward: mean(done.forward.as_secs_f64()),
            t_backward: mean(done.backward.as_secs_f64()),
            t_memory: mean(done.memory.as_secs_f64()),
            nmi,
        }
    }
}

/// `log.jsonl` and the TensorBoard events of a run folder.
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    events: EventFile,
}

impl Log {
    /// Opens the log of a run that stands at `iteration`: lines of later iterations, which a killed process left
    /// behind, are dropped.
    pub(crate) fn open(folder: &Path, iteration: u64) -> Result<Self, TrainerError> {
        let path = folder.join("log.jsonl");
        if path.exists() {
            let text = std::fs::read_to_string(&path).map_err(|error| TrainerError::file("read", &path, error))?;
            let done =
                |line: &&str| serde_json::from_str::<LogLine>(line).is_ok_and(|line| line.iteration <= iteration);
            let kept: String = text.lines().filter(done).flat_map(|line| [line, "\n"]).collect();
            crate::files::write_atomically(&path, kept.as_bytes())?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|error| TrainerError::file("open the log", &path, error))?;
        let events = EventFile::create(&folder.join("tensorboard"), iteration)?;
        Ok(Self { path, file, events })
    }

    pub(crate) fn write(&mut self, line: &LogLine) -> Result<(), TrainerError> {
        let text = serde_json::to_string(line).unwrap_or_default() + "\n";
        self.file.write_all(text.as_bytes()).map_err(|error| TrainerError::file("write", &self.path, error))?;
        let mut scalars = vec![
            ("train/loss", line.loss),
            ("train/change_ratio", line.change_ratio),
            ("train/lr", line.lr),
            ("train/dead_share", line.dead_share),
            ("clusters/smallest", f64::from(line.cluster_min)),
            ("clusters/largest", f64::from(line.cluster_max)),
            ("clusters/handled", line.clusters_handled as f64),
            ("speed/images_per_second", line.images_per_second),
            ("speed/t_data", line.t_data),
            ("speed/t_forward", line.t_forward),
            ("speed/t_backward", line.t_backward),
            ("speed/t_memory", line.t_memory),
        ];
        scalars.extend(line.nmi.map(|nmi| ("clusters/nmi", nmi)));
        self.events.write(line.iteration, &scalars)
    }
}

/// All whole lines of a log; a last line cut short by a killed process is left out.
///
/// # Errors
/// Where the file cannot be read.
pub fn read_log(path: &Path) -> Result<Vec<LogLine>, TrainerError> {
    let file = File::open(path).map_err(|error| TrainerError::file("read the log", path, error))?;
    let lines: Result<Vec<String>, _> = BufReader::new(file).lines().collect();
    let lines = lines.map_err(|error| TrainerError::file("read the log", path, error))?;
    Ok(lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect())
}
