//! A run: a folder, and a conductor that is moved on one iteration at a time until the recipe's end.

mod begin;
mod finish;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use odc_data::{Augmentation, Batch, Dataset, Loader, LoaderConfig, Skipped, View};
use odc_model::weights::LoadReport;

use crate::checkpoint::{self, Checkpoint, RunState};
use crate::health::Health;
use crate::log::{ClusteringLine, Comparison, Log, Window};
use crate::recipe::Reaction;
use crate::scores::{Scores, compare_labels, nmi};
use crate::skipped::{check_bad_share, read_skipped, write_skipped};
use crate::start::{self, Clustered};
use crate::{Conductor, LogLine, Recipe, StepOutcome, StepReport, TrainerError};

/// A run in progress.
pub struct Run {
    folder: PathBuf,
    state: RunState,
    /// The images that take part.
    dataset: Arc<dyn Dataset>,
    conductor: Conductor,
    loader: Option<Loader>,
    log: Log,
    window: Window,
    health: Health,
    init_report: Option<LoadReport>,
    not_finite_in_a_row: u32,
    started: Instant,
    last_checkpoint: u64,
}

/// What one call of [`Run::advance`] did.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The iteration; `None` where its batch was left out.
    pub report: Option<StepReport>,
    /// The line that was logged after this iteration, if one was due.
    pub line: Option<LogLine>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Batches in a row without a finite loss after which even `on_nan = "warn"` gives up.
const NOT_FINITE_LIMIT: u32 = 10;

impl Run {
    /// The resolved recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.state.recipe
    }

    /// The run's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The conductor.
    pub fn conductor(&self) -> &Conductor {
        &self.conductor
    }

    /// N: images that take part.
    pub fn n_samples(&self) -> usize {
        self.state.images.len()
    }

    /// What the features were worth before training.
    pub fn before(&self) -> &Scores {
        &self.state.before
    }

    /// What was found in the weights that the run began with, if it just did and there were any.
    pub fn init_report(&self) -> Option<&LoadReport> {
        self.init_report.as_ref()
    }

    /// Iterations an epoch.
    pub fn iterations_per_epoch(&self) -> u64 {
        iterations_per_epoch(self.state.images.len(), self.state.recipe.batch_size())
    }

    /// Iterations of the whole run.
    pub fn total_iterations(&self) -> u64 {
        self.iterations_per_epoch() * self.state.recipe.training.epochs
    }

    /// One iteration: a batch, [`Conductor::step`], and what is due after it: a line of the log, a checkpoint. `None` at
    /// the end of the run.
    ///
    /// # Errors
    /// Where a file cannot be written, too many images have become undecodable, or the run goes wrong and its recipe
    /// says stop. The newest checkpoint is then as good as before.
    pub fn advance(&mut self) -> Result<Option<Progress>, TrainerError> {
        if self.conductor.iteration() >= self.total_iterations() {
            return Ok(None);
        }
        self.cluster_where_due()?;
        let waiting = Instant::now();
        let Some(batch) = self.next_batch() else {
            return Err(TrainerError::RunFolder("the loader ended before its epoch did".into()));
        };
        let t_data = waiting.elapsed();
        let mut warnings = Vec::new();
        self.note_lost(&batch, &mut warnings)?;

        let mut report = None;
        if batch.indices.len() < 2 {
            self.conductor.pass_over();
        } else {
            match self.conductor.step(&batch)? {
                StepOutcome::Done(done) => {
                    self.not_finite_in_a_row = 0;
                    self.window.add(&done, t_data);
                    report = Some(done);
                }
                StepOutcome::NotFinite { loss } => {
                    self.react_to_nan(loss, &mut warnings)?;
                    self.conductor.pass_over();
                }
            }
        }
        let iteration = self.conductor.iteration();
        let epoch_ends = iteration.is_multiple_of(self.iterations_per_epoch());
        if epoch_ends {
            self.loader = None;
        }
        let log_due = epoch_ends || iteration.is_multiple_of(self.state.recipe.training.log_every);
        let line = if log_due && !self.window.is_empty() { Some(self.write_line(epoch_ends)?) } else { None };
        if epoch_ends {
            self.state.earlier_labels = self.conductor.labels().map(<[u32]>::to_vec);
        }
        if let Some(line) = &line {
            let found = self.health.examine(line, self.state.images.len(), self.state.recipe.n_clusters());
            if let (Reaction::Stop, Some(first)) = (self.state.recipe.training.on_collapse, found.first()) {
                return Err(TrainerError::Unhealthy(format!(
                    "stopped at iteration {iteration} (training.on_collapse = \"stop\"): {first}. The newest checkpoint \
                     is of iteration {}",
                    self.last_checkpoint
                )));
            }
            warnings.extend(found);
        }
        if iteration.is_multiple_of(self.state.recipe.training.checkpoint_every) || iteration == self.total_iterations()
        {
            self.save()?;
        }
        Ok(Some(Progress { report, line, warnings }))
    }

    /// Saves a checkpoint of the present state, if the newest is older.
    ///
    /// # Errors
    /// Names the file where it cannot be written.
    pub fn save(&mut self) -> Result<(), TrainerError> {
        if self.last_checkpoint != self.conductor.iteration() || checkpoint::list(&self.folder).is_empty() {
            Checkpoint::save(&self.folder, &self.conductor, &self.state)?;
            self.last_checkpoint = self.conductor.iteration();
        }
        Ok(())
    }

    /// Wall time of this process's part of the run.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// The next batch of the epoch that the conductor is in.
    fn next_batch(&mut self) -> Option<Batch> {
        let per_epoch = self.iterations_per_epoch();
        let (epoch, first) = (self.conductor.iteration() / per_epoch, self.conductor.iteration() % per_epoch);
        if self.loader.is_none() {
            let batch_size = self.state.recipe.batch_size();
            let mut order = self.conductor.order(&self.state.recipe, epoch, self.state.images.len());
            order.truncate(usize::try_from(per_epoch).unwrap_or(usize::MAX).saturating_mul(batch_size));
            let config = LoaderConfig {
                batch_size,
                side: self.state.recipe.data.resolved_side(),
                workers: self.state.recipe.data.resolved_workers(),
                queue: self.state.recipe.data.queue,
                seed: self.state.recipe.seed,
                epoch,
            };
            let view = View::Training(Augmentation { steps: self.state.recipe.data.augmentation.clone() });
            self.loader = Some(Loader::new(Arc::clone(&self.dataset), order, first as usize, view, config));
        }
        self.loader.as_mut()?.next()
    }

    /// Images that could be decoded at the start and no longer can.
    fn note_lost(&mut self, batch: &Batch, warnings: &mut Vec<String>) -> Result<(), TrainerError> {
        if batch.skipped.is_empty() {
            return Ok(());
        }
        let mut all = read_skipped(&self.folder)?;
        for skipped in &batch.skipped {
            let index = self.state.images[skipped.index as usize];
            if !all.iter().any(|known| known.index == index) {
                warnings.push(format!("{} can no longer be read: {}", skipped.name, skipped.reason));
                all.push(Skipped { index, ..skipped.clone() });
            }
        }
        write_skipped(&self.folder, &all)?;
        // The images of the whole set: those that take part, and those that never did.
        let never = all.iter().filter(|known| self.state.images.binary_search(&known.index).is_err()).count();
        check_bad_share(&self.state.recipe, all.len(), self.state.images.len() + never, &batch.skipped)
    }

    fn react_to_nan(&mut self, loss: f32, warnings: &mut Vec<String>) -> Result<(), TrainerError> {
        self.not_finite_in_a_row += 1;
        let at = self.conductor.iteration() + 1;
        let message = format!(
            "iteration {at}: the loss is {loss} or a feature is no finite number, as happens when the learning rate is \
             too high (optimizer.lr = {})",
            self.state.recipe.optimizer.lr
        );
        let give_up = self.not_finite_in_a_row >= NOT_FINITE_LIMIT;
        if self.state.recipe.training.on_nan == Reaction::Stop || give_up {
            return Err(TrainerError::Unhealthy(format!(
                "{message}. The newest checkpoint is of iteration {}; start again with a lower --lr",
                self.last_checkpoint
            )));
        }
        warnings.push(message + "; the batch was left out");
        Ok(())
    }

    /// Deep Clustering clusters all images where an epoch begins; that of epoch 0 was made before the run.
    fn cluster_where_due(&mut self) -> Result<(), TrainerError> {
        let epoch = self.conductor.iteration() / self.iterations_per_epoch();
        let Conductor::DeepCluster(deep_cluster) = &mut self.conductor else { return Ok(()) };
        if deep_cluster.clustering().epoch == epoch {
            return Ok(());
        }
        let clustered = start::cluster_anew(deep_cluster, &self.state.recipe, epoch, &self.dataset)?;
        self.log_clustering(clustered, self.compared())
    }

    fn log_clustering(&mut self, clustered: Clustered, compared: Comparison) -> Result<(), TrainerError> {
        let Comparison { nmi, nmi_previous, reassigned } = compared;
        let sizes = self.conductor.sizes().unwrap_or_default();
        self.log.write_clustering(ClusteringLine {
            iteration: self.conductor.iteration(),
            epoch: self.conductor.clustered_epoch(),
            inertia: clustered.inertia,
            t_extract: clustered.t_extract.as_secs_f64(),
            t_cluster: clustered.t_cluster.as_secs_f64(),
            nmi,
            nmi_previous,
            reassigned,
            cluster_min: sizes.iter().copied().min().unwrap_or(0),
            cluster_max: sizes.iter().copied().max().unwrap_or(0),
        })
    }

    /// The line of the window that ends; at the end of an epoch its labels are those that the next one is compared with.
    fn write_line(&mut self, epoch_ends: bool) -> Result<LogLine, TrainerError> {
        let iteration = self.conductor.iteration();
        let epoch = iteration as f64 / self.iterations_per_epoch() as f64;
        let compared = if epoch_ends { self.compared() } else { Comparison::default() };
        let lr = self.conductor.learning_rate();
        let line = self.window.close(iteration, epoch, lr, self.conductor.sizes(), compared);
        self.log.write(&line)?;
        Ok(line)
    }

    /// The pseudo-labels against true ones and against those of the epoch before.
    fn compared(&self) -> Comparison {
        let Some(labels) = self.conductor.labels() else { return Comparison::default() };
        let (nmi_previous, reassigned) = match &self.state.earlier_labels {
            Some(earlier) => compare_labels(labels, earlier, self.state.recipe.n_clusters()),
            None => (None, None),
        };
        Comparison { nmi: self.nmi(), nmi_previous, reassigned }
    }

    /// NMI of pseudo-labels and true labels, where there are both.
    fn nmi(&self) -> Option<f64> {
        nmi(&self.dataset, self.conductor.labels()?)
    }
}

/// Iterations an epoch: a last batch of one image is left out, batch norm needs two.
fn iterations_per_epoch(n_samples: usize, batch_size: usize) -> u64 {
    let rest = n_samples % batch_size;
    (n_samples / batch_size + usize::from(rest >= 2)) as u64
}
