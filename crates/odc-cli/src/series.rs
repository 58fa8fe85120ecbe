//! Runs that belong together: checked before the first begins, brought to their ends one after the other.

use std::path::{Path, PathBuf};
use std::time::Instant;

use odc_data::Dataset;
use odc_trainer::{Method, Recipe, Summary, read_recipe};

use crate::arguments::{LabelledSets, RecipeArguments, SeriesArguments, called_as};
use crate::failure::WrongUse;
use crate::interrupt;
use crate::output::{count, duration};
use crate::train::bring_to_the_end;
use crate::train_request::differences;
use crate::{run_folder, screen};

/// A run to bring to its end.
pub(crate) struct PlannedRun {
    /// What kind of run, in a word; with the seed the name of its folder.
    pub(crate) name: String,
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// Its recipe, resolved.
    pub(crate) recipe: Recipe,
}

/// Settings that decide how fast a run is, and nothing of what it learns.
pub(crate) const WITHOUT_EFFECT: [&str; 2] = ["data.workers", "data.queue"];

impl SeriesArguments {
    /// The recipe by `method`. `first` are settings that those typed may change.
    ///
    /// # Errors
    /// Names the recipe or setting and what is wrong with it.
    pub(crate) fn recipe(&self, method: Method, first: &[&str]) -> anyhow::Result<Recipe> {
        let settings = first.iter().map(|setting| (*setting).to_owned()).chain(self.settings.iter().cloned()).collect();
        let typed = RecipeArguments {
            data: self.data.clone(),
            recipe: self.recipe.clone(),
            epochs: self.epochs,
            settings,
            ..RecipeArguments::default()
        };
        typed.recipe_by(method)
    }

    /// How many runs of each kind.
    pub(crate) fn seeds(&self) -> u64 {
        self.seeds.unwrap_or(1)
    }

    /// The images that runs are judged on.
    pub(crate) fn labelled_sets(&self) -> LabelledSets {
        LabelledSets { test: self.test.clone(), ..LabelledSets::default() }
    }
}

impl PlannedRun {
    /// The runs of `recipe` in `out`, with seeds from 0 on.
    pub(crate) fn for_seeds(name: &str, recipe: &Recipe, seeds: u64, out: &Path) -> Vec<Self> {
        let run = |seed| Self {
            name: name.to_owned(),
            folder: out.join(format!("{name}-{seed}")),
            recipe: Recipe { seed, ..recipe.clone() },
        };
        (0..seeds).map(run).collect()
    }

    /// Fills in what the recipe leaves open, and checks it against the images and against what the folder holds.
    ///
    /// # Errors
    /// Where the recipe cannot work, or the folder holds a run of another recipe.
    pub(crate) fn prepare(&mut self, dataset: &dyn Dataset) -> anyhow::Result<()> {
        let name = &self.name;
        self.recipe.resolve(dataset);
        self.recipe.check(dataset.len()).map_err(|error| WrongUse(format!("{name}: {error}")))?;
        if !run_folder::holds_run(&self.folder) {
            return Ok(());
        }
        let stored = read_recipe(&self.folder.join("recipe.toml"), &[])?;
        let asked = Recipe {
            data: odc_trainer::DataTable { workers: None, queue: stored.data.queue, ..self.recipe.data.clone() },
            ..self.recipe.clone()
        };
        let differences = differences(&asked, &stored)?;
        if differences.is_empty() {
            return Ok(());
        }
        Err(WrongUse(format!(
            "the run in {} has another recipe than the one asked for: {}. Name another folder by --out, or delete that run",
            self.folder.display(),
            differences.join("; ")
        ))
        .into())
    }
}

/// Brings all runs to their ends in their order, telling how far the series is; `None` where Ctrl-C came first.
///
/// # Errors
/// Where a run fails; those before it are done and stay.
pub(crate) fn bring_all_to_the_end(runs: &[PlannedRun], command: &str) -> anyhow::Result<Option<Vec<Summary>>> {
    interrupt::watch(format!("The same {} command goes on from here.", command_name(command)));
    let mut summaries = Vec::new();
    let (mut seconds, mut trained) = (0.0, 0);
    for (position, run) in runs.iter().enumerate() {
        let place = format!("Run {} of {}, {}", position + 1, runs.len(), run.folder.display());
        let begun = Instant::now();
        let finished = run_folder::summary(&run.folder)?.is_some();
        if !finished {
            screen::say(&format!("\n{place}"));
        }
        let Some(summary) = bring_to_the_end(run.recipe.clone(), &run.folder)? else {
            screen::say(&format!("The series goes on by the same {} command.", command_name(command)));
            return Ok(None);
        };
        summaries.push(summary);
        if finished {
            screen::say(&format!("{place}: is finished, and used as it is."));
        } else {
            (seconds, trained) = (seconds + begun.elapsed().as_secs_f64(), trained + 1);
            let rest = runs[position + 1..].iter().filter(|run| !run.folder.join("summary.json").exists()).count();
            let left = if rest == 0 {
                "the last".to_owned()
            } else {
                let left = duration(seconds / f64::from(trained) * rest as f64);
                format!("{} to train, about {left} if they take as long", count(rest, "more run"))
            };
            screen::say(&format!("{place}: took {}; {left}.", duration(begun.elapsed().as_secs_f64())));
        }
        if interrupt::asked() {
            return Ok(None);
        }
    }
    Ok(Some(summaries))
}

fn command_name(command: &str) -> String {
    format!("`{} {command}`", called_as())
}
