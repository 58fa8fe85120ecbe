//! `info`: what is in a run folder or a weight file.

use std::path::Path;

use odc_model::weights;
use odc_trainer::{Recipe, checkpoints, read_log};
use serde_json::json;

use crate::arguments::{InfoArguments, called_as};
use crate::failure::WrongUse;
use crate::output::{Table, count, print, print_json};
use crate::run_folder;
use crate::train::next_command;

/// Tells what is at the path.
///
/// # Errors
/// Where there is nothing, or neither a run nor a weight file.
pub(crate) fn run(arguments: InfoArguments) -> anyhow::Result<()> {
    let Some(path) = arguments.path.or(arguments.run).or(arguments.weights) else {
        return Err(WrongUse("name a run folder or a weight file".to_owned()).into());
    };
    if !path.exists() {
        anyhow::bail!("{}: there is no such file or folder", path.display());
    }
    if path.is_dir() { of_run(&path, arguments.json) } else { of_weights(&path, arguments.json) }
}

fn of_run(folder: &Path, json: bool) -> anyhow::Result<()> {
    let recipe = run_folder::recipe(folder)?;
    let summary = run_folder::summary(folder)?;
    let log = folder.join("log.jsonl");
    let lines = if log.exists() { read_log(&log)? } else { Vec::new() };
    let last = lines.last();
    let saved: Vec<String> = checkpoints(folder).iter().map(|path| path.display().to_string()).collect();
    let total = total_iterations(folder, &recipe);
    let iterations =
        summary.as_ref().map(|summary| summary.iterations).or_else(|| saved_iteration(folder)).unwrap_or(0);
    if json {
        return print_json(&json!({
            "run": folder, "finished": summary.is_some(), "iterations": iterations, "total_iterations": total,
            "recipe": recipe, "last_log_line": last, "checkpoints": saved, "summary": summary,
        }));
    }
    let mut table = Table::default();
    table.row(["images", &recipe.data.path]);
    table.row([
        "network",
        &format!(
            "{} at {} pixels, {} features",
            recipe.model.backbone(),
            recipe.data.resolved_side(),
            recipe.model.dim
        ),
    ]);
    table.row(["clusters", &recipe.n_clusters().to_string()]);
    table.row([
        "recipe",
        &format!(
            "{} of batches of {}, lr {}, seed {}; all settings in recipe.toml",
            count(recipe.training.epochs as usize, "epoch"),
            recipe.batch_size(),
            recipe.optimizer.lr,
            recipe.seed
        ),
    ]);
    let total = total.map_or_else(String::new, |total| format!(" of {total}"));
    let state = if summary.is_some() { "finished" } else { "not finished" };
    table.row(["state", &format!("{state}; iteration {iterations}{total} is saved")]);
    if let Some(line) = last {
        let nmi = lines.iter().rev().find_map(|line| line.nmi).map(|nmi| format!(", NMI {nmi:.3}")).unwrap_or_default();
        table.row([
            "log",
            &format!(
                "epoch {:.1}: loss {:.3}, change ratio {:.2}, clusters of {} to {}{nmi}, {:.0} images/s",
                line.epoch, line.loss, line.change_ratio, line.cluster_min, line.cluster_max, line.images_per_second
            ),
        ]);
    }
    if let Some(newest) = saved.last() {
        table.row(["checkpoints", &format!("{}, the newest {newest}", saved.len())]);
    }
    if let Some(summary) = &summary {
        let (before, after) = (&summary.before, &summary.after);
        if let (Some(before), Some(after)) = (before.knn, after.knn) {
            table.row(["kNN", &format!("{before:.1} % before, {after:.1} % after training")]);
        }
        if let (Some(before), Some(after)) = (before.nmi, after.nmi) {
            table.row(["NMI", &format!("{before:.3} before, {after:.3} after training")]);
        }
    }
    let next = match &summary {
        Some(summary) => next_command(folder, summary),
        None => format!("{} train --resume {}", called_as(), folder.display()),
    };
    print(&format!("Run {}\n{table}Next: {next}\n", folder.display()))
}

fn of_weights(path: &Path, json: bool) -> anyhow::Result<()> {
    let description = weights::describe(path)?;
    if json {
        let tensors: Vec<_> = description
            .tensors
            .iter()
            .map(|tensor| json!({ "name": tensor.name, "dtype": tensor.dtype, "shape": tensor.shape }))
            .collect();
        return print_json(&json!({
            "path": path,
            "backbone": description.backbone,
            "by_shapes": description.guess.map(|guess| guess.to_string()),
            "naming": description.naming,
            "numbers": description.element_count(),
            "metadata": description.metadata,
            "tensors": tensors,
        }));
    }
    print(&format!("{description}\n"))
}

/// The iteration of the newest checkpoint, by its name.
fn saved_iteration(folder: &Path) -> Option<u64> {
    let newest = checkpoints(folder).pop()?;
    newest.file_stem()?.to_str()?.strip_prefix("iteration-")?.parse().ok()
}

/// The length of the run, known once it began.
fn total_iterations(folder: &Path, recipe: &Recipe) -> Option<u64> {
    let checkpoint = run_folder::newest_checkpoint(folder).ok()?;
    let (n_samples, batch) = (checkpoint.images.len(), recipe.batch_size().max(1));
    // As the trainer counts: a last batch of one image is left out.
    let per_epoch = n_samples / batch + usize::from(n_samples % batch >= 2);
    Some(per_epoch as u64 * recipe.training.epochs)
}
