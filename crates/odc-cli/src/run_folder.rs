//! What a run folder holds, for the commands that look at one.

use std::path::Path;

use anyhow::Context;
use odc_trainer::{Checkpoint, Recipe, Summary, checkpoints, read_recipe};

use crate::failure::WrongUse;

/// Whether a run began in `folder`.
pub(crate) fn holds_run(folder: &Path) -> bool {
    folder.join("recipe.toml").exists()
}

/// The resolved recipe of a run.
///
/// # Errors
/// Where the folder holds no run, or its recipe cannot be read.
pub(crate) fn recipe(folder: &Path) -> anyhow::Result<Recipe> {
    if !holds_run(folder) {
        let what = if folder.exists() { "holds no run: it has no recipe.toml" } else { "does not exist" };
        let message = format!("the folder {} {what}. A run begins with `train`", folder.display());
        return Err(WrongUse(message).into());
    }
    Ok(read_recipe(&folder.join("recipe.toml"), &[])?)
}

/// The summary of a finished run; `None` where it is not finished.
///
/// # Errors
/// Where it is there and cannot be read.
pub(crate) fn summary(folder: &Path) -> anyhow::Result<Option<Summary>> {
    let path = folder.join("summary.json");
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Some(serde_json::from_str(&text).with_context(|| format!("{} is not a summary", path.display()))?))
}

/// The newest checkpoint that can be read.
///
/// # Errors
/// Where there is none; names the newest one's fault.
pub(crate) fn newest_checkpoint(folder: &Path) -> anyhow::Result<Checkpoint> {
    let mut fault = None;
    for path in checkpoints(folder).iter().rev() {
        match Checkpoint::read(path) {
            Ok(checkpoint) => return Ok(checkpoint),
            Err(error) => fault = fault.or(Some(error)),
        }
    }
    match fault {
        Some(error) => Err(error.into()),
        None => anyhow::bail!(
            "{} has no checkpoint: it was stopped before the first (`train --resume` begins it again), or they were deleted",
            folder.display()
        ),
    }
}
