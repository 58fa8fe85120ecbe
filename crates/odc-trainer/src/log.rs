//! The log of a run: one JSON line per logged iteration and per clustering, and the same numbers for TensorBoard.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::tensorboard::EventFile;
use crate::{StepReport, TrainerError};

/// A training line of `log.jsonl`: means over the iterations since the line before. What a method does not have is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Iterations done.
    pub iteration: u64,
    /// Epochs done, with fraction.
    pub epoch: f64,
    /// Weighted loss of equation (1).
    pub loss: f64,
    /// Online Deep Clustering: share of a batch whose label changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_ratio: Option<f64>,
    /// Rotation prediction: share of the views whose rotation was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Learning rate.
    pub lr: f64,
    /// Images trained on per second of wall time.
    pub images_per_second: f64,
    /// Members of the smallest cluster, now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_min: Option<u32>,
    /// Members of the largest cluster, now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_max: Option<u32>,
    /// Clusters without members, now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_empty: Option<usize>,
    /// Online Deep Clustering: small clusters dissolved and refilled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters_handled: Option<usize>,
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
    /// At the end of an epoch: NMI of the pseudo-labels with those at the end of the epoch before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nmi_previous: Option<f64>,
    /// At the end of an epoch: share of images whose cluster is another one than an epoch before, clusters matched as
    /// well as they can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reassigned: Option<f64>,
}

/// Any other line of `log.jsonl`, told by its `event`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum LogEvent {
    /// All images were clustered: by Online Deep Clustering at the start of the run, by Deep Clustering at the start of
    /// every epoch.
    Clustering(ClusteringLine),
}

/// A clustering of all images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusteringLine {
    /// Iterations done.
    pub iteration: u64,
    /// The epoch that begins, from 0.
    pub epoch: u64,
    /// Sum of squared distances to the centroids.
    pub inertia: f64,
    /// Seconds for the features of all images.
    pub t_extract: f64,
    /// Seconds for the clustering.
    pub t_cluster: f64,
    /// Where true labels exist: NMI of the pseudo-labels with them.
    pub nmi: Option<f64>,
    /// NMI with the pseudo-labels of the epoch before, where there was one.
    pub nmi_previous: Option<f64>,
    /// Share of images whose cluster is another one than an epoch before, clusters matched as well as they can be.
    pub reassigned: Option<f64>,
    /// Members of the smallest cluster.
    pub cluster_min: u32,
    /// Members of the largest cluster.
    pub cluster_max: u32,
}

/// What the end of an epoch is compared with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Comparison {
    /// With true labels.
    pub(crate) nmi: Option<f64>,
    /// With the labels an epoch before.
    pub(crate) nmi_previous: Option<f64>,
    /// From those, after the best matching.
    pub(crate) reassigned: Option<f64>,
}

/// Sums of reports since the last line.
#[derive(Debug)]
pub(crate) struct Window {
    since: Instant,
    iterations: f64,
    images: usize,
    loss: f64,
    change_ratio: Option<f64>,
    accuracy: Option<f64>,
    dead_share: f64,
    clusters_handled: Option<usize>,
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
            change_ratio: None,
            accuracy: None,
            dead_share: 0.0,
            clusters_handled: None,
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
        let add =
            |sum: Option<f64>, value: Option<f32>| value.map(|value| sum.unwrap_or(0.0) + f64::from(value)).or(sum);
        self.change_ratio = add(self.change_ratio, report.change_ratio);
        self.accuracy = add(self.accuracy, report.accuracy);
        self.dead_share += f64::from(report.dead_share);
        if let Some(small) = &report.small_clusters {
            *self.clusters_handled.get_or_insert(0) += small.handled;
        }
        self.data += t_data;
        self.forward += report.t_forward;
        self.backward += report.t_backward;
        self.memory += report.t_memory;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.iterations == 0.0
    }

    /// The line of this window, and a new window.
    pub(crate) fn close(
        &mut self,
        iteration: u64,
        epoch: f64,
        lr: f64,
        sizes: Option<&[u32]>,
        compared: Comparison,
    ) -> LogLine {
        let done = std::mem::replace(self, Self::new());
        let mean = |sum: f64| sum / done.iterations.max(1.0);
        LogLine {
            iteration,
            epoch,
            loss: mean(done.loss),
            change_ratio: done.change_ratio.map(mean),
            accuracy: done.accuracy.map(mean),
            lr,
            images_per_second: done.images as f64 / done.since.elapsed().as_secs_f64().max(1e-9),
            cluster_min: sizes.and_then(|sizes| sizes.iter().copied().min()),
            cluster_max: sizes.and_then(|sizes| sizes.iter().copied().max()),
            cluster_empty: sizes.map(|sizes| sizes.iter().filter(|size| **size == 0).count()),
            clusters_handled: done.clusters_handled,
            dead_share: mean(done.dead_share),
            t_data: mean(done.data.as_secs_f64()),
            t_forward: mean(done.forward.as_secs_f64()),
            t_backward: mean(done.backward.as_secs_f64()),
            t_memory: mean(done.memory.as_secs_f64()),
            nmi: compared.nmi,
            nmi_previous: compared.nmi_previous,
            reassigned: compared.reassigned,
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
    /// The log of a run that begins: what a process killed before its first checkpoint wrote is dropped.
    pub(crate) fn create(folder: &Path) -> Result<Self, TrainerError> {
        crate::files::write_atomically(&folder.join("log.jsonl"), b"")?;
        Self::open(folder, 0)
    }

    /// The log of a run that goes on at `iteration`, having clustered for `epoch`: what a killed process wrote of later
    /// ones is dropped.
    pub(crate) fn resume(folder: &Path, iteration: u64, epoch: u64) -> Result<Self, TrainerError> {
        let path = folder.join("log.jsonl");
        if path.exists() {
            let text = std::fs::read_to_string(&path).map_err(|error| TrainerError::file("read", &path, error))?;
            let trained =
                |line: &str| serde_json::from_str::<LogLine>(line).is_ok_and(|line| line.iteration <= iteration);
            let clustered = |line: &str| match serde_json::from_str(line) {
                Ok(LogEvent::Clustering(line)) => line.iteration <= iteration && line.epoch <= epoch,
                Err(_) => false,
            };
            let kept = text.lines().filter(|line| trained(line) || clustered(line));
            let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
            crate::files::write_atomically(&path, kept.as_bytes())?;
        }
        Self::open(folder, iteration)
    }

    fn open(folder: &Path, iteration: u64) -> Result<Self, TrainerError> {
        let path = folder.join("log.jsonl");
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|error| TrainerError::file("open the log", &path, error))?;
        let events = EventFile::create(&folder.join("tensorboard"), iteration)?;
        Ok(Self { path, file, events })
    }

    pub(crate) fn write(&mut self, line: &LogLine) -> Result<(), TrainerError> {
        self.append(line)?;
        let mut scalars = vec![
            ("train/loss", line.loss),
            ("train/lr", line.lr),
            ("train/dead_share", line.dead_share),
            ("speed/images_per_second", line.images_per_second),
            ("speed/t_data", line.t_data),
            ("speed/t_forward", line.t_forward),
            ("speed/t_backward", line.t_backward),
            ("speed/t_memory", line.t_memory),
        ];
        let of_some_methods = [
            ("train/change_ratio", line.change_ratio),
            ("train/accuracy", line.accuracy),
            ("clusters/smallest", line.cluster_min.map(f64::from)),
            ("clusters/largest", line.cluster_max.map(f64::from)),
            ("clusters/handled", line.clusters_handled.map(|handled| handled as f64)),
            ("clusters/nmi", line.nmi),
            ("clusters/nmi_previous", line.nmi_previous),
            ("clusters/reassigned", line.reassigned),
        ];
        scalars.extend(of_some_methods.into_iter().filter_map(|(name, value)| Some((name, value?))));
        self.events.write(line.iteration, &scalars)
    }

    pub(crate) fn write_clustering(&mut self, line: ClusteringLine) -> Result<(), TrainerError> {
        let scalars = [
            ("clustering/inertia", line.inertia),
            ("clustering/t_extract", line.t_extract),
            ("clustering/t_cluster", line.t_cluster),
        ];
        self.events.write(line.iteration, &scalars)?;
        self.append(&LogEvent::Clustering(line))
    }

    fn append(&mut self, line: &impl Serialize) -> Result<(), TrainerError> {
        let text = serde_json::to_string(line).unwrap_or_default() + "\n";
        self.file.write_all(text.as_bytes()).map_err(|error| TrainerError::file("write", &self.path, error))
    }
}

/// All whole training lines of a log; a last line cut short by a killed process is left out.
///
/// # Errors
/// Where the file cannot be read.
pub fn read_log(path: &Path) -> Result<Vec<LogLine>, TrainerError> {
    read_lines(path)
}

/// All whole event lines of a log.
///
/// # Errors
/// Where the file cannot be read.
pub fn read_events(path: &Path) -> Result<Vec<LogEvent>, TrainerError> {
    read_lines(path)
}

/// The lines of a log that are a `T`.
fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, TrainerError> {
    let file = File::open(path).map_err(|error| TrainerError::file("read the log", path, error))?;
    let lines: Result<Vec<String>, _> = BufReader::new(file).lines().collect();
    let lines = lines.map_err(|error| TrainerError::file("read the log", path, error))?;
    Ok(lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect())
}
