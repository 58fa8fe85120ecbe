//! Which network a command is about: that of a run, of a weight file, or a random one; and how it sees images.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use candle_core::Device;
use odc_data::{Dataset, PlainView, Source};
use odc_eval::{ExtractionConfig, FeatureCache, Features, Layer, RandomView};
use odc_model::weights::{self, LoadOptions};
use odc_model::{Backbone, Stem};
use odc_trainer::{Conductor, Recipe};

use crate::arguments::{BackboneArguments, ColumnArguments, MachineArguments};
use crate::failure::WrongUse;
use crate::progress::Task;
use crate::{run_folder, screen};

/// A network that is asked about. Its recipe says what it is and how it sees images.
pub(crate) struct Subject {
    recipe: Recipe,
    origin: Origin,
    device: Device,
    workers: usize,
}

enum Origin {
    Run(PathBuf),
    Weights {
        file: PathBuf,
        options: LoadOptions,
    },
    Random {
        seed: u64,
    },
    /// Random weights in the place of a run's.
    Untrained {
        seed: u64,
    },
}

/// A network in memory.
pub(crate) enum Loaded {
    /// A backbone alone.
    Backbone(Box<Backbone>),
    /// All of a run.
    Conductor(Conductor),
}

impl Loaded {
    /// The backbone.
    pub(crate) fn backbone(&self) -> &Backbone {
        match self {
            Self::Backbone(backbone) => backbone,
            Self::Conductor(conductor) => conductor.backbone(),
        }
    }
}

impl BackboneArguments {
    /// The network that the flags mean, not yet loaded.
    ///
    /// # Errors
    /// Where the run or file is not there, or it is not clear which network the file is of.
    pub(crate) fn subject(&self, machine: &MachineArguments) -> anyhow::Result<Subject> {
        let device = machine.prepare()?;
        let (mut recipe, origin) = match (&self.origin.run, &self.origin.weights) {
            (Some(folder), _) => (run_folder::recipe(folder)?, Origin::Run(folder.clone())),
            (None, Some(file)) => (self.recipe_of_weights(file)?, self.origin_in(file)),
            (None, None) => (self.recipe_of_random(), Origin::Random { seed: self.seed }),
        };
        recipe.data.side = self.side.or(recipe.data.side);
        if recipe.data.side.is_some_and(|side| !(8..=4096).contains(&side)) {
            let message = format!("--side {}: give a number from 8 to 4096", recipe.data.resolved_side());
            return Err(WrongUse(message).into());
        }
        recipe.data.plain_view = self.view.unwrap_or(recipe.data.plain_view);
        Ok(Subject { recipe, origin, device, workers: machine.workers() })
    }

    fn origin_in(&self, file: &Path) -> Origin {
        Origin::Weights { file: file.to_owned(), options: LoadOptions { bgr: self.bgr, ..LoadOptions::default() } }
    }

    /// A recipe of the network that a weight file holds; flags say what the file leaves open.
    fn recipe_of_weights(&self, file: &Path) -> anyhow::Result<Recipe> {
        let description = weights::describe(file)?;
        let told = description.backbone.map(|told| (told.arch, told.width, Some(told.stem), told.sobel));
        let guessed = || description.guess.map(|guess| (guess.arch, guess.width, guess.stem, guess.sobel));
        let known = told.or_else(guessed);
        let unclear = |what: &str, flag: &str| {
            WrongUse(format!("--weights {}: the file does not say {what}; give it by {flag}", file.display()))
        };
        let arch = self.arch.or(known.map(|known| known.0));
        let mut recipe = Recipe::default();
        recipe.model.arch = arch.ok_or_else(|| unclear("which network it is of", "--arch"))?;
        recipe.model.width = self.width.or(known.map(|known| known.1)).unwrap_or(64);
        let stem = self.stem.or(known.and_then(|known| known.2));
        let stem = stem.ok_or_else(|| unclear("whether its stem is cifar or small", "--stem"))?;
        recipe.model.stem = Some(stem);
        recipe.model.sobel = self.sobel || known.is_some_and(|known| known.3);
        recipe.data.side = Some(if stem == Stem::Imagenet { 224 } else { 32 });
        Ok(recipe)
    }

    fn recipe_of_random(&self) -> Recipe {
        let mut recipe = Recipe::default();
        recipe.model.arch = self.arch.unwrap_or_default();
        recipe.model.width = self.width.unwrap_or(recipe.model.width);
        recipe.model.stem = self.stem;
        recipe.model.sobel = self.sobel;
        // So that it is the network that a run of this seed begins with.
        recipe.seed = self.seed;
        recipe
    }
}

impl Subject {
    /// The network in the folder of a run.
    ///
    /// # Errors
    /// Where the folder holds no run.
    pub(crate) fn of_run(folder: &Path, machine: &MachineArguments) -> anyhow::Result<Self> {
        let device = machine.prepare()?;
        let recipe = run_folder::recipe(folder)?;
        Ok(Self { recipe, origin: Origin::Run(folder.to_owned()), device, workers: machine.workers() })
    }

    /// The network of a recipe with random weights: that which a run from random weights begins with.
    ///
    /// # Errors
    /// Where there is no such device.
    pub(crate) fn untrained(recipe: Recipe, machine: &MachineArguments) -> anyhow::Result<Self> {
        let device = machine.prepare()?;
        let origin = Origin::Untrained { seed: recipe.seed };
        Ok(Self { recipe, origin, device, workers: machine.workers() })
    }

    /// Its recipe: what it is and how it sees images.
    pub(crate) fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The images at `path`, or those of the run.
    ///
    /// # Errors
    /// Where neither is given.
    pub(crate) fn source(&self, path: Option<&str>, columns: &ColumnArguments) -> anyhow::Result<Source> {
        let own = self.recipe.data.source();
        match (path, &self.origin) {
            (Some(path), _) => Ok(columns.source(path, &own)),
            (None, Origin::Run(_) | Origin::Untrained { .. }) => Ok(Source {
                image_column: columns.image_column.clone().unwrap_or(own.image_column),
                label_column: columns.label_column.clone().unwrap_or(own.label_column),
                shapes_colors: columns.shapes_colors.unwrap_or(own.shapes_colors),
                shapes_label: columns.shapes_label.unwrap_or(own.shapes_label),
                ..own
            }),
            (None, _) => Err(WrongUse("--data is missing: only a run knows its own images".to_owned()).into()),
        }
    }

    /// Chooses from the images what no flag and no file said.
    pub(crate) fn resolve(&mut self, dataset: &dyn Dataset) {
        self.recipe.resolve(dataset);
    }

    /// In words.
    pub(crate) fn describe(&self) -> String {
        let backbone = self.recipe.model.backbone();
        match &self.origin {
            Origin::Run(folder) => format!("{backbone}, of the run {}", folder.display()),
            Origin::Weights { file, .. } => format!("{backbone}, from {}", file.display()),
            Origin::Random { seed } | Origin::Untrained { seed } => {
                format!("{backbone}, random weights of seed {seed}")
            }
        }
    }

    /// The view of an image that the network gets, in a word.
    pub(crate) fn view(&self) -> &'static str {
        match self.recipe.data.plain_view {
            PlainView::Crop => "crop",
            PlainView::Resize => "resize",
        }
    }

    /// The backbone.
    ///
    /// # Errors
    /// Where the weights cannot be read or are another network's.
    pub(crate) fn load(&self) -> anyhow::Result<Loaded> {
        let backbone = |seed| Backbone::new(&self.recipe.model.backbone(), seed, &self.device);
        match &self.origin {
            Origin::Random { .. } | Origin::Untrained { .. } => {
                Ok(Loaded::Backbone(Box::new(backbone(self.recipe.network_seed())?)))
            }
            Origin::Weights { file, options } => {
                let backbone = backbone(0)?;
                let report = weights::load_reported(backbone.params(), file, options)?;
                if !report.is_complete() || report.note.is_some() {
                    screen::say(&format!("warning: {report}"));
                }
                Ok(Loaded::Backbone(Box::new(backbone)))
            }
            Origin::Run(folder) => {
                let file = folder.join("backbone.safetensors");
                if !file.exists() {
                    return self.load_all().map(Loaded::Conductor);
                }
                let backbone = backbone(0)?;
                weights::load_strict(backbone.params(), &file)?;
                Ok(Loaded::Backbone(Box::new(backbone)))
            }
        }
    }

    /// All of a run, from its newest checkpoint.
    ///
    /// # Errors
    /// Where there is no run, or no checkpoint that can be read.
    pub(crate) fn load_all(&self) -> anyhow::Result<Conductor> {
        let Origin::Run(folder) = &self.origin else {
            let message = "a neck belongs to a run: give --run, or leave --features at pool";
            return Err(WrongUse(message.to_owned()).into());
        };
        let checkpoint = run_folder::newest_checkpoint(folder)?;
        if run_folder::summary(folder)?.is_none() {
            screen::say(&format!(
                "note: the run in {} is not finished; this is how it stands after {} iterations",
                folder.display(),
                checkpoint.iteration
            ));
        }
        // The length of the run only sets the learning rates to come.
        checkpoint.into_conductor(0).with_context(|| format!("cannot load the run in {}", folder.display()))
    }

    /// Features of several layers from one pass over all images, in the order asked for; the cache may hold them.
    ///
    /// # Errors
    /// Where no image can be read, or the cache cannot be written.
    pub(crate) fn layers(
        &self,
        loaded: &Loaded,
        layers: &[Layer],
        dataset: &Arc<dyn Dataset>,
        view: Option<&RandomView>,
        cache: Option<&FeatureCache>,
        of: &str,
    ) -> anyhow::Result<Vec<Features>> {
        let (backbone, config) = (loaded.backbone(), self.extraction());
        let mut task = Task::begin(&format!("Features of {of}"), dataset.len());
        let mut progress = |done, total| task.at(done, total);
        Ok(match cache {
            Some(cache) => cache.extract_layers(backbone, layers, dataset, &config, view, &mut progress)?,
            None => odc_eval::extract_layers(backbone, layers, dataset, &config, view, &mut progress)?,
        })
    }

    /// How images are seen.
    pub(crate) fn extraction(&self) -> ExtractionConfig {
        let data = &self.recipe.data;
        ExtractionConfig {
            side: data.resolved_side(),
            view: data.plain_view,
            batch_size: EXTRACTION_BATCH,
            workers: self.workers,
            mean: data.mean,
            std: data.std,
        }
    }
}

const EXTRACTION_BATCH: usize = 64;
