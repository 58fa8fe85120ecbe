//! A run: a folder, and a trainer that is moved on one iteration at a time until the recipe's end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use odc_data::{Augmentation, Batch, Dataset, Loader, LoaderConfig, Skipped, View};
use odc_model::Network;
use odc_model::weights::LoadReport;

use crate::checkpoint::{self, Checkpoint};
use crate::files::{remove_partial, write_atomically};
use crate::health::Health;
use crate::log::{Log, Window};
use crate::recipe::Reaction;
use crate::scores::{Scores, nmi, pixel_score, score};
use crate::skipped::{check_bad_share, read_skipped, write_skipped};
use crate::start::{self, Stage, first_network};
use crate::{LogLine, Recipe, StepOutcome, StepReport, Summary, Trainer, TrainerError};

/// A run in progress.
pub struct Run {
    folder: PathBuf,
    recipe: Recipe,
    dataset: Arc<dyn Dataset>,
    /// Sample i of the memory is image `images[i]` of the whole data set.
    images: Vec<u32>,
    fingerprint: u32,
    trainer: Trainer,
    loader: Option<Loader>,
    log: Log,
    window: Window,
    health: Health,
    before: Scores,
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

/// All that a run puts into its folder.
const PRODUCTS: [&str; 8] = [
    "recipe.toml",
    "log.jsonl",
    "tensorboard",
    "checkpoints",
    "skipped.csv",
    "backbone.safetensors",
    "clusters.csv",
    "summary.json",
];

/// Batches in a row without a finite loss after which even `on_nan = "warn"` gives up.
const NOT_FINITE_LIMIT: u32 = 10;

impl Run {
    /// Starts a run in `folder`: network, initial features, k-means, memories, a first checkpoint.
    ///
    /// # Errors
    /// Where the recipe does not fit the data, too many images are undecodable, the folder holds a run already or
    /// cannot be written. Folders that were not there before are removed again.
    pub fn create(mut recipe: Recipe, folder: &Path, progress: &mut dyn FnMut(Stage)) -> Result<Self, TrainerError> {
        if PRODUCTS.iter().any(|name| folder.join(name).exists()) {
            return Err(TrainerError::RunFolder(format!(
                "{} already holds a run, or files named as a run's: go on with it by --resume, or name another folder by \
                 --out",
                folder.display()
            )));
        }
        let dataset = odc_data::open(&recipe.data.source())?;
        recipe.resolve(dataset.as_ref());
        recipe.check(dataset.len())?;
        let (network, init_report) = first_network(&recipe)?;
        // The folders that are not there yet, innermost first.
        let new_folders: Vec<&Path> =
            folder.ancestors().take_while(|above| !above.as_os_str().is_empty() && !above.exists()).collect();
        std::fs::create_dir_all(folder).map_err(|error| TrainerError::file("create", folder, error))?;
        let run = Self::begin(recipe, folder, &dataset, network, progress);
        if run.is_err() {
            // A run that did not start leaves nothing that looks like one.
            // (None of this was there before: see above.)
            for name in PRODUCTS {
                let product = folder.join(name);
                let _ = if product.is_dir() { std::fs::remove_dir_all(product) } else { std::fs::remove_file(product) };
            }
            for new in new_folders {
                let _ = std::fs::remove_dir(new);
            }
        }
        run.map(|run| Self { init_report, ..run })
    }

    fn begin(
        recipe: Recipe,
        folder: &Path,
        dataset: &Arc<dyn Dataset>,
        network: Network,
        progress: &mut dyn FnMut(Stage),
    ) -> Result<Self, TrainerError> {
        write_atomically(&folder.join("recipe.toml"), recipe.to_toml().as_bytes())?;
        let start = start::extract_features(&recipe, &network, dataset, progress)?;
        write_skipped(folder, &start.skipped)?;
        check_bad_share(&recipe, start.skipped.len(), dataset.len(), &start.skipped)?;
        let images = start.images.clone();
        recipe.check(images.len())?;
        progress(Stage::Clustering);
        let memory = start.cluster(&recipe)?;
        let usable = start::usable(dataset, &images);
        progress(Stage::Scoring);
        let mut before = score(&recipe, &network, &usable, memory.labels())?;
        before.knn_pixels = pixel_score(&recipe, &usable)?;
        let fingerprint = fingerprint(dataset.as_ref());
        let total = iterations_per_epoch(images.len(), recipe.batch_size()) * recipe.training.epochs;
        let trainer = Trainer::new(&recipe, network, memory, total)?;
        Checkpoint::save(folder, &trainer, &recipe, &images, fingerprint, &before)?;
        Self::assemble(folder, recipe, usable, images, fingerprint, trainer, before)
    }

    /// Goes on with the run in `folder` from its newest readable checkpoint, bit for bit; a run that was killed before
    /// its first checkpoint starts over. `recipe`, where given, must be the stored one.
    ///
    /// # Errors
    /// Where the folder holds no run, its recipe differs from `recipe`, or its images are not those it began with.
    pub fn resume(folder: &Path, progress: &mut dyn FnMut(Stage)) -> Result<Self, TrainerError> {
        let stored = folder.join("recipe.toml");
        if !stored.exists() {
            return Err(TrainerError::RunFolder(format!("{} holds no run: it has no recipe.toml", folder.display())));
        }
        remove_partial(folder);
        remove_partial(&folder.join("checkpoints"));
        let Some(checkpoint) = checkpoint::newest_readable(folder)? else {
            let recipe = crate::read_recipe(&stored, &[])?;
            let dataset = odc_data::open(&recipe.data.source())?;
            let (network, init_report) = first_network(&recipe)?;
            return Ok(Self { init_report, ..Self::begin(recipe, folder, &dataset, network, progress)? });
        };
        let recipe = checkpoint.recipe.clone();
        let dataset = odc_data::open(&recipe.data.source())?;
        if fingerprint(dataset.as_ref()) != checkpoint.fingerprint {
            return Err(TrainerError::RunFolder(format!(
                "the images at {} are not those that the run in {} began with ({} now): a run goes on with the same set",
                recipe.data.path,
                folder.display(),
                dataset.len()
            )));
        }
        let (images, fingerprint, before) =
            (checkpoint.images.clone(), checkpoint.fingerprint, checkpoint.before.clone());
        let usable = start::usable(&dataset, &images);
        let total = iterations_per_epoch(images.len(), recipe.batch_size()) * recipe.training.epochs;
        let trainer = checkpoint.into_trainer(total)?;
        Self::assemble(folder, recipe, usable, images, fingerprint, trainer, before)
    }

    fn assemble(
        folder: &Path,
        recipe: Recipe,
        dataset: Arc<dyn Dataset>,
        images: Vec<u32>,
        fingerprint: u32,
        trainer: Trainer,
        before: Scores,
    ) -> Result<Self, TrainerError> {
        let last_checkpoint = trainer.iteration();
        Ok(Self {
            folder: folder.to_owned(),
            log: Log::open(folder, last_checkpoint)?,
            recipe,
            dataset,
            images,
            fingerprint,
            trainer,
            loader: None,
            window: Window::new(),
            health: Health::default(),
            before,
            init_report: None,
            not_finite_in_a_row: 0,
            started: Instant::now(),
            last_checkpoint,
        })
    }

    /// The resolved recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The run's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The trainer.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// N: images that take part.
    pub fn n_samples(&self) -> usize {
        self.images.len()
    }

    /// What the features were worth before training.
    pub fn before(&self) -> &Scores {
        &self.before
    }

    /// What was found in the weights that the run began with, if it just did and there were any.
    pub fn init_report(&self) -> Option<&LoadReport> {
        self.init_report.as_ref()
    }

    /// Iterations an epoch.
    pub fn iterations_per_epoch(&self) -> u64 {
        iterations_per_epoch(self.images.len(), self.recipe.batch_size())
    }

    /// Iterations of the whole run.
    pub fn total_iterations(&self) -> u64 {
        self.iterations_per_epoch() * self.recipe.training.epochs
    }

    /// One iteration: a batch, [`Trainer::step`], and what is due after it: a line of the log, a checkpoint. `None` at
    /// the end of the run.
    ///
    /// # Errors
    /// Where a file cannot be written, too many images have become undecodable, or the run goes wrong and its recipe
    /// says stop. The newest checkpoint is then as good as before.
    pub fn advance(&mut self) -> Result<Option<Progress>, TrainerError> {
        if self.trainer.iteration() >= self.total_iterations() {
            return Ok(None);
        }
        let waiting = Instant::now();
        let Some(batch) = self.next_batch() else {
            return Err(TrainerError::RunFolder("the loader ended before its epoch did".into()));
        };
        let t_data = waiting.elapsed();
        let mut warnings = Vec::new();
        self.note_lost(&batch, &mut warnings)?;

        let mut report = None;
        if batch.indices.len() < 2 {
            self.trainer.pass_over();
        } else {
            match self.trainer.step(&batch)? {
                StepOutcome::Done(done) => {
                    self.not_finite_in_a_row = 0;
                    self.window.add(&done, t_data);
                    report = Some(done);
                }
                StepOutcome::NotFinite { loss } => {
                    self.react_to_nan(loss, &mut warnings)?;
                    self.trainer.pass_over();
                }
            }
        }
        let iteration = self.trainer.iteration();
        let epoch_ends = iteration.is_multiple_of(self.iterations_per_epoch());
        if epoch_ends {
            self.loader = None;
        }
        let log_due = epoch_ends || iteration.is_multiple_of(self.recipe.training.log_every);
        let line = if log_due && !self.window.is_empty() { Some(self.write_line(epoch_ends)?) } else { None };
        if let Some(line) = &line {
            let found = self.health.examine(line, self.images.len(), self.recipe.n_clusters());
            if let (Reaction::Stop, Some(first)) = (self.recipe.training.on_collapse, found.first()) {
                return Err(TrainerError::Unhealthy(format!(
                    "stopped at iteration {iteration} (training.on_collapse = \"stop\"): {first}. The newest checkpoint \
                     is of iteration {}",
                    self.last_checkpoint
                )));
            }
            warnings.extend(found);
        }
        if iteration.is_multiple_of(self.recipe.training.checkpoint_every) || iteration == self.total_iterations() {
            self.save()?;
        }
        Ok(Some(Progress { report, line, warnings }))
    }

    /// Saves a checkpoint of the present state, if the newest is older.
    ///
    /// # Errors
    /// Names the file where it cannot be written.
    pub fn save(&mut self) -> Result<(), TrainerError> {
        if self.last_checkpoint != self.trainer.iteration() || checkpoint::list(&self.folder).is_empty() {
            Checkpoint::save(&self.folder, &self.trainer, &self.recipe, &self.images, self.fingerprint, &self.before)?;
            self.last_checkpoint = self.trainer.iteration();
        }
        Ok(())
    }

    /// Writes what a run is for: `backbone.safetensors`, `clusters.csv` and `summary.json`.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub fn finish(&mut self, progress: &mut dyn FnMut(Stage)) -> Result<Summary, TrainerError> {
        self.save()?;
        odc_model::weights::save(self.trainer.network.backbone.params(), self.folder.join("backbone.safetensors"))?;
        self.write_clusters()?;
        progress(Stage::Scoring);
        let after = score(&self.recipe, &self.trainer.network, &self.dataset, self.trainer.memory.labels())?;
        let lines = crate::read_log(&self.folder.join("log.jsonl"))?;
        let summary = Summary::new(self, &lines, after);
        let text = serde_json::to_string_pretty(&summary).unwrap_or_default() + "\n";
        write_atomically(&self.folder.join("summary.json"), text.as_bytes())?;
        Ok(summary)
    }

    /// Wall time of this process's part of the run.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// The cluster of every image as CSV: index, name, cluster, true label where there is one.
    fn write_clusters(&self) -> Result<(), TrainerError> {
        let path = self.folder.join("clusters.csv");
        let mut table = csv::Writer::from_writer(Vec::new());
        let failed = |error: csv::Error| TrainerError::file("write", &path, error.into());
        table.write_record(["index", "name", "cluster", "true_label"]).map_err(failed)?;
        for (sample, cluster) in self.trainer.memory.labels().iter().enumerate() {
            let true_label = self.dataset.true_label(sample).map(|label| label.to_string()).unwrap_or_default();
            let name = self.dataset.name(sample);
            table
                .write_record([&self.images[sample].to_string(), &name, &cluster.to_string(), &true_label])
                .map_err(failed)?;
        }
        let bytes = table.into_inner().map_err(|error| TrainerError::file("write", &path, error.into_error()))?;
        write_atomically(&path, &bytes)
    }

    /// The next batch of the epoch that the trainer is in.
    fn next_batch(&mut self) -> Option<Batch> {
        let per_epoch = self.iterations_per_epoch();
        let (epoch, first) = (self.trainer.iteration() / per_epoch, self.trainer.iteration() % per_epoch);
        if self.loader.is_none() {
            let batch_size = self.recipe.batch_size();
            let mut order = self.recipe.data.sampling.epoch(self.recipe.seed, epoch, self.images.len());
            order.truncate(usize::try_from(per_epoch).unwrap_or(usize::MAX).saturating_mul(batch_size));
            let config = LoaderConfig {
                batch_size,
                side: self.recipe.data.resolved_side(),
                workers: self.recipe.data.resolved_workers(),
                queue: self.recipe.data.queue,
                seed: self.recipe.seed,
                epoch,
            };
            let view = View::Training(Augmentation { steps: self.recipe.data.augmentation.clone() });
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
            let index = self.images[skipped.index as usize];
            if !all.iter().any(|known| known.index == index) {
                warnings.push(format!("{} can no longer be read: {}", skipped.name, skipped.reason));
                all.push(Skipped { index, ..skipped.clone() });
            }
        }
        write_skipped(&self.folder, &all)?;
        // The images of the whole set: those that take part, and those that never did.
        let never = all.iter().filter(|known| self.images.binary_search(&known.index).is_err()).count();
        check_bad_share(&self.recipe, all.len(), self.images.len() + never, &batch.skipped)
    }

    fn react_to_nan(&mut self, loss: f32, warnings: &mut Vec<String>) -> Result<(), TrainerError> {
        self.not_finite_in_a_row += 1;
        let at = self.trainer.iteration() + 1;
        let message = format!(
            "iteration {at}: the loss is {loss} or a feature is no finite number, as happens when the learning rate is \
             too high (optimizer.lr = {})",
            self.recipe.optimizer.lr
        );
        let give_up = self.not_finite_in_a_row >= NOT_FINITE_LIMIT;
        if self.recipe.training.on_nan == Reaction::Stop || give_up {
            return Err(TrainerError::Unhealthy(format!(
                "{message}. The newest checkpoint is of iteration {}; start again with a lower --lr",
                self.last_checkpoint
            )));
        }
        warnings.push(message + "; the batch was left out");
        Ok(())
    }

    fn write_line(&mut self, epoch_ends: bool) -> Result<LogLine, TrainerError> {
        let iteration = self.trainer.iteration();
        let epoch = iteration as f64 / self.iterations_per_epoch() as f64;
        let nmi = if epoch_ends { nmi(&self.dataset, self.trainer.memory.labels()) } else { None };
        let lr = self.trainer.learning_rate();
        let line = self.window.close(iteration, epoch, lr, self.trainer.memory.sizes(), nmi);
        self.log.write(&line)?;
        Ok(line)
    }
}

/// Iterations an epoch: a last batch of one image is left out, batch norm needs two.
fn iterations_per_epoch(n_samples: usize, batch_size: usize) -> u64 {
    let rest = n_samples % batch_size;
    (n_samples / batch_size + usize::from(rest >= 2)) as u64
}

/// A checksum over the names of all images.
fn fingerprint(dataset: &dyn Dataset) -> u32 {
    let count = crc32c::crc32c(&(dataset.len() as u64).to_le_bytes());
    (0..dataset.len()).fold(count, |sum, index| crc32c::crc32c_append(sum, dataset.name(index).as_bytes()))
}
