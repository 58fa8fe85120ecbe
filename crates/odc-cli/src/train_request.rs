//! What a `train` command line means: begin a run, go on with one, or tell of one that is done.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use odc_trainer::{Recipe, Summary, read_recipe};
use serde_json::Value;

use crate::arguments::{TrainArguments, called_as};
use crate::failure::WrongUse;
use crate::run_folder;

/// What `train` is to do.
pub(crate) enum TrainRequest {
    /// Begin a run in a folder that holds none.
    Begin { recipe: Box<Recipe>, folder: PathBuf },
    /// Go on with the run in a folder.
    GoOn { folder: PathBuf },
    /// Nothing is left to do.
    Finished { folder: PathBuf, summary: Box<Summary> },
}

impl TrainArguments {
    /// What was typed, seen together with what is on the disk.
    ///
    /// # Errors
    /// Where it contradicts itself or the run that it names, or a recipe or setting is wrong.
    pub(crate) fn request(&self) -> anyhow::Result<TrainRequest> {
        let Some(folder) = self.resumed_folder()? else { return self.beginning() };
        if !run_folder::holds_run(&folder) {
            if !self.recipe.define_a_run() {
                return Err(WrongUse(format!(
                    "{} holds no run (no recipe.toml) to go on with. To begin one there, say what to train on by --data \
                     or --recipe",
                    folder.display()
                ))
                .into());
            }
            return Ok(TrainRequest::Begin { recipe: Box::new(self.recipe.recipe()?), folder });
        }
        self.check_against(&folder)?;
        match run_folder::summary(&folder)? {
            Some(summary) => Ok(TrainRequest::Finished { folder, summary: Box::new(summary) }),
            None => Ok(TrainRequest::GoOn { folder }),
        }
    }

    /// The folder that `--resume` means; `None` without `--resume`.
    fn resumed_folder(&self) -> Result<Option<PathBuf>, WrongUse> {
        match (&self.resume, &self.out) {
            (None, _) => Ok(None),
            (Some(Some(resume)), Some(out)) if resume != out => Err(WrongUse(format!(
                "--resume {} and --out {} name different folders; leave one of them out",
                resume.display(),
                out.display()
            ))),
            (Some(Some(folder)), _) | (Some(None), Some(folder)) => Ok(Some(folder.clone())),
            (Some(None), None) => Err(WrongUse("--resume needs the folder of the run: --resume runs/mine".to_owned())),
        }
    }

    fn beginning(&self) -> anyhow::Result<TrainRequest> {
        let recipe = Box::new(self.recipe.recipe()?);
        let folder = self.out.clone().unwrap_or_else(|| first_free_folder(&recipe.data.path));
        if run_folder::holds_run(&folder) {
            return Err(WrongUse(format!(
                "{0} already holds a run: go on with it by `{1} train --resume {0}`, or name another folder by --out",
                folder.display(),
                called_as()
            ))
            .into());
        }
        Ok(TrainRequest::Begin { recipe, folder })
    }

    /// A run goes on with the settings that it began with; others are refused, not ignored.
    fn check_against(&self, folder: &Path) -> anyhow::Result<()> {
        let stored = read_recipe(&folder.join("recipe.toml"), &[])?;
        let asked = if self.recipe.define_a_run() { self.recipe.recipe()? } else { self.recipe.applied_to(&stored)? };
        let differences = differences(&asked, &stored)?;
        if differences.is_empty() {
            return Ok(());
        }
        Err(WrongUse(format!(
            "the run in {} has other settings than those given: {}. Leave them out to go on with the run, or begin another \
             in another folder by --out without --resume",
            folder.display(),
            differences.join("; ")
        ))
        .into())
    }
}

/// `runs/<name of the data>-<n>` with the first n that is free.
fn first_free_folder(data: &str) -> PathBuf {
    let stem = Path::new(data).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = stem.filter(|stem| !stem.starts_with('.')).unwrap_or_else(|| "images".to_owned());
    let free = (1..).map(|n| Path::new("runs").join(format!("{name}-{n}"))).find(|folder| !folder.exists());
    free.unwrap_or_else(|| Path::new("runs").join(name))
}

/// The settings of `asked` that `stored` has otherwise. What `asked` leaves open was chosen when the run began.
pub(crate) fn differences(asked: &Recipe, stored: &Recipe) -> anyhow::Result<Vec<String>> {
    let (asked, stored) = (leaves(serde_json::to_value(asked)?), leaves(serde_json::to_value(stored)?));
    let differing = asked.iter().filter(|(key, value)| stored.get(*key) != Some(value));
    let there = |key: &String| stored.get(key).map_or_else(|| "nothing".to_owned(), Value::to_string);
    Ok(differing.map(|(key, value)| format!("{key} = {value} (the run has {})", there(key))).collect())
}

/// Every value by its dotted name.
pub(crate) fn leaves(value: Value) -> BTreeMap<String, Value> {
    let Value::Object(tables) = value else { return BTreeMap::new() };
    let mut found = BTreeMap::new();
    for (name, value) in tables {
        match value {
            Value::Object(_) => {
                found.extend(leaves(value).into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
            }
            value => {
                found.insert(name, value);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_that_were_given_and_differ_are_named() {
        let mut stored = Recipe::default();
        stored.resolve_sizes(1000);
        let mut asked = Recipe::default();
        assert!(differences(&asked, &stored).expect("compares").is_empty());
        asked.optimizer.lr = 0.5;
        asked.memory.clusters = Some(11);
        let found = differences(&asked, &stored).expect("compares");
        assert_eq!(found, ["memory.clusters = 11 (the run has 10)", "optimizer.lr = 0.5 (the run has 0.06)"]);
    }

    #[test]
    fn a_run_is_named_after_its_data() {
        assert_eq!(first_free_folder("no/such/photos.parquet"), Path::new("runs/photos-1"));
        assert_eq!(first_free_folder(".."), Path::new("runs/images-1"));
    }
}
