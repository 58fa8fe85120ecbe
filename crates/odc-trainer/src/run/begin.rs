//! How a run begins in a folder, and how it goes on with what it finds there.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use odc_data::Dataset;

use super::{Run, iterations_per_epoch};
use crate::checkpoint::{self, RunState};
use crate::files::{remove_partial, write_atomically};
use crate::first_network::FirstNetwork;
use crate::health::Health;
use crate::log::{Comparison, Log, Window};
use crate::recipe::Method;
use crate::scores::{pixel_score, score};
use crate::skipped::{check_bad_share, write_skipped};
use crate::start::{self, Stage};
use crate::{Conductor, Recipe, TrainerError};

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

impl Run {
    /// Starts a run in `folder`: network, first features and clustering as the method asks for them, conductor, a first
    /// checkpoint.
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
        let (network, init_report) = FirstNetwork::new(&recipe)?;
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
        network: FirstNetwork,
        progress: &mut dyn FnMut(Stage),
    ) -> Result<Self, TrainerError> {
        write_atomically(&folder.join("recipe.toml"), recipe.to_toml().as_bytes())?;
        let log = Log::create(folder)?;
        let start = start::extract_features(&recipe, network, dataset, progress)?;
        write_skipped(folder, &start.skipped)?;
        check_bad_share(&recipe, start.skipped.len(), dataset.len(), &start.skipped)?;
        let images = start.images.clone();
        recipe.check(images.len())?;
        if recipe.method != Method::Rotation {
            progress(Stage::Clustering);
        }
        let total = iterations_per_epoch(images.len(), recipe.batch_size()) * recipe.training.epochs;
        let begun = start.conductor(&recipe, total)?;
        let conductor = begun.conductor;
        let usable = start::usable(dataset, &images);
        progress(Stage::Scoring);
        let mut before = score(&recipe, conductor.backbone(), &usable, conductor.labels())?;
        before.knn_pixels = pixel_score(&recipe, &usable)?;
        // Labels that training moves begin with the first clustering; those that last an epoch have none before.
        let earlier_labels = match &conductor {
            Conductor::Odc(trainer) => Some(trainer.memory().labels().to_vec()),
            Conductor::DeepCluster(_) | Conductor::Rotation(_) => None,
        };
        let state = RunState { recipe, images, fingerprint: fingerprint(dataset.as_ref()), before, earlier_labels };
        let mut run = Self::assemble(folder, state, usable, conductor, log);
        if let Some(clustered) = begun.clustered {
            let nmi = run.nmi();
            run.log_clustering(clustered, Comparison { nmi, ..Comparison::default() })?;
        }
        run.save()?;
        Ok(run)
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
            let (network, init_report) = FirstNetwork::new(&recipe)?;
            return Ok(Self { init_report, ..Self::begin(recipe, folder, &dataset, network, progress)? });
        };
        let state = checkpoint.run.clone();
        let dataset = odc_data::open(&state.recipe.data.source())?;
        if fingerprint(dataset.as_ref()) != state.fingerprint {
            return Err(TrainerError::RunFolder(format!(
                "the images at {} are not those that the run in {} began with ({} now): a run goes on with the same set",
                state.recipe.data.path,
                folder.display(),
                dataset.len()
            )));
        }
        let usable = start::usable(&dataset, &state.images);
        let total = iterations_per_epoch(state.images.len(), state.recipe.batch_size()) * state.recipe.training.epochs;
        let conductor = checkpoint.into_conductor(total)?;
        let log = Log::resume(folder, conductor.iteration(), conductor.clustered_epoch())?;
        Ok(Self::assemble(folder, state, usable, conductor, log))
    }

    fn assemble(folder: &Path, state: RunState, dataset: Arc<dyn Dataset>, conductor: Conductor, log: Log) -> Self {
        Self {
            folder: folder.to_owned(),
            log,
            last_checkpoint: conductor.iteration(),
            state,
            dataset,
            conductor,
            loader: None,
            window: Window::new(),
            health: Health::default(),
            init_report: None,
            not_finite_in_a_row: 0,
            started: Instant::now(),
        }
    }
}

/// A checksum over the names of all images.
fn fingerprint(dataset: &dyn Dataset) -> u32 {
    let count = crc32c::crc32c(&(dataset.len() as u64).to_le_bytes());
    (0..dataset.len()).fold(count, |sum, index| crc32c::crc32c_append(sum, dataset.name(index).as_bytes()))
}
