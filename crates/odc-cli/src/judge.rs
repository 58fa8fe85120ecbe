//! What the features of several networks are worth on the same labelled images, each judged once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use odc_eval::{KnnClassifier, LinearProbe, LogisticProbe};
use odc_trainer::Recipe;
use serde::{Deserialize, Serialize};

use crate::arguments::{CacheArguments, ColumnArguments, LabelledSets, MachineArguments};
use crate::backbone::Subject;
use crate::evaluate::Sets;
use crate::labelled_sets::OpenSets;
use crate::output::write_file;
use crate::progress::Task;
use crate::{interrupt, screen};

/// Percent of test images whose class is named rightly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FeatureScores {
    /// By weighted votes of nearest neighbours, as many as the recipe's `evaluation.knn_k`.
    pub(crate) knn: f64,
    /// By logistic regression: the best of several weight decays.
    pub(crate) linear: f64,
    /// By the linear classifier of the published protocol; not of raw pixels, which its learning rate is not made for.
    pub(crate) linear_published: Option<f64>,
    /// In words: which images.
    pub(crate) images: String,
}

/// Judges networks, and keeps what it found in a folder.
pub(crate) struct Judge {
    folder: PathBuf,
    sets: LabelledSets,
    /// Threads are set once; see [`Judge::new`].
    machine: MachineArguments,
}

/// What was found, and for which question: another question finds nothing.
#[derive(Serialize, Deserialize)]
struct Kept {
    question: String,
    scores: FeatureScores,
}

impl Judge {
    /// Keeps its findings in `folder`. The machine must be prepared.
    pub(crate) fn new(folder: PathBuf, sets: LabelledSets, machine: &MachineArguments) -> Self {
        // The number of threads of a process can be set once, and is.
        Self { folder, sets, machine: MachineArguments { threads: None, ..machine.clone() } }
    }

    /// The network of a run; `None` where its images have no true labels.
    ///
    /// # Errors
    /// Where the network or the images cannot be read.
    pub(crate) fn of_run(&self, run: &Path, recipe: &Recipe) -> anyhow::Result<Option<FeatureScores>> {
        let mut hasher = DefaultHasher::new();
        std::fs::read(run.join("backbone.safetensors")).unwrap_or_default().hash(&mut hasher);
        let name = run.file_name().unwrap_or_default().to_string_lossy();
        let subject = || Subject::of_run(run, &self.machine);
        self.scores(&format!("{name}-{:08x}", hasher.finish() as u32), recipe, &mut || {
            Sets::extract(self.open(subject()?)?, &CacheArguments { cache: None })
        })
    }

    /// The network that a run of `recipe` begins with.
    ///
    /// # Errors
    /// As [`Judge::of_run`].
    pub(crate) fn of_random(&self, recipe: &Recipe) -> anyhow::Result<Option<FeatureScores>> {
        self.scores(&format!("random-{}", recipe.seed), recipe, &mut || {
            let open = self.open(Subject::untrained(recipe.clone(), &self.machine)?)?;
            Sets::extract(open, &CacheArguments { cache: None })
        })
    }

    /// Raw pixels.
    ///
    /// # Errors
    /// As [`Judge::of_run`].
    pub(crate) fn of_pixels(&self, recipe: &Recipe) -> anyhow::Result<Option<FeatureScores>> {
        // Beyond small images, raw pixels are a long wait for a number that nobody doubts.
        if recipe.data.resolved_side() > 64 {
            return Ok(None);
        }
        self.scores(PIXELS, recipe, &mut || {
            Sets::of_pixels(self.open(Subject::untrained(recipe.clone(), &self.machine)?)?)
        })
    }

    fn open(&self, subject: Subject) -> anyhow::Result<OpenSets> {
        self.sets.open_for(subject, ColumnArguments::open_labelled)
    }

    fn scores(
        &self,
        name: &str,
        recipe: &Recipe,
        sets: &mut dyn FnMut() -> anyhow::Result<Sets>,
    ) -> anyhow::Result<Option<FeatureScores>> {
        interrupt::enter(interrupt::Phase::Finishing);
        let dataset = odc_data::open(&recipe.data.source())?;
        if (0..dataset.len()).all(|index| dataset.true_label(index).is_none()) {
            return Ok(None);
        }
        let path = self.folder.join(format!("{name}.json"));
        let data = &recipe.data;
        let question = format!(
            "{name}: {:?} by {:?}, {} pixels, {:?}; test {:?}; {:?}; version {}",
            data.source(),
            recipe.model,
            data.resolved_side(),
            (data.plain_view, data.mean, data.std),
            self.sets.test,
            recipe.evaluation,
            env!("CARGO_PKG_VERSION")
        );
        let kept = std::fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str::<Kept>(&text).ok());
        if let Some(kept) = kept.filter(|kept| kept.question == question) {
            return Ok(Some(kept.scores));
        }
        screen::say(&format!("Judging the features: {name}"));
        let sets = sets()?;
        let _task = Task::begin("Nearest neighbours and linear classifiers", 0);
        let evaluation = &recipe.evaluation;
        let knn = KnnClassifier { k: evaluation.knn_k, temperature: evaluation.temperature };
        let published = || LinearProbe::default().evaluate(&sets.train, &sets.test);
        let scores = FeatureScores {
            knn: knn.accuracy(&sets.train, &sets.test)?,
            linear: LogisticProbe::default().evaluate(&sets.train, &sets.test)?.best,
            linear_published: if name == PIXELS { None } else { Some(published()?.top1) },
            images: sets.open.about("trained on", sets.train.len(), sets.test.len()),
        };
        let text = serde_json::to_string_pretty(&Kept { question, scores: scores.clone() })? + "\n";
        write_file(&path, |file| Ok(file.write_all(text.as_bytes())?))?;
        Ok(Some(scores))
    }
}

const PIXELS: &str = "pixels";
