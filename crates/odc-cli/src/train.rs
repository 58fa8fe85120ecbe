//! `train`: says what it will do, moves a run to its end, and tells what was learned.

use std::path::Path;
use std::process::ExitCode;

use odc_trainer::{Method, Recipe, Run, Stage, Summary, TrainerError};
use serde_json::json;

use crate::arguments::{TrainArguments, called_as};
use crate::failure::{self, WrongUse};
use crate::interrupt::{self, Phase};
use crate::output::{Table, count, duration, print, print_json};
use crate::progress::{Stages, Training};
use crate::train_request::TrainRequest;
use crate::{run_folder, screen};

/// Begins a run or goes on with one, until its end or Ctrl-C.
///
/// # Errors
/// Where the command line or the recipe is wrong, or the run fails.
pub(crate) fn run(arguments: TrainArguments) -> anyhow::Result<ExitCode> {
    arguments.machine.prepare()?;
    match arguments.request()? {
        TrainRequest::Finished { folder, summary } => {
            screen::say("This run is finished; here is what it learned.");
            report(&folder, &summary, arguments.json)?;
            Ok(ExitCode::SUCCESS)
        }
        TrainRequest::Begin { mut recipe, folder } => {
            if let Some(threads) = arguments.machine.threads {
                recipe.data.workers.get_or_insert(threads);
            }
            check_folder(&folder)?;
            interrupt::watch(format!("Begin it again by: {}", go_on(&folder)));
            let run = begin(*recipe, &folder)?;
            to_the_end(run, arguments.json)
        }
        TrainRequest::GoOn { folder } => {
            interrupt::watch(format!("Go on by: {}", go_on(&folder)));
            let mut stages = Stages::new("before");
            let run = Run::resume(&folder, &mut |stage| stages.show(stage))?;
            drop(stages);
            let (done, total) = (run.conductor().iteration(), run.total_iterations());
            screen::say(&format!("Going on with {} at iteration {done} of {total}.", folder.display()));
            to_the_end(run, arguments.json)
        }
    }
}

fn begin(recipe: Recipe, folder: &Path) -> anyhow::Result<Run> {
    let mut stages = Stages::new("before");
    let mut planned = false;
    let run = Run::create(recipe, folder, &mut |stage| {
        if let (false, Stage::Extracting { total, .. }) = (planned, stage) {
            planned = true;
            // What the run begins with is in its folder by now, every value chosen.
            if let Ok(recipe) = run_folder::recipe(folder) {
                screen::say(plan(&recipe, total, folder).trim_end());
            }
        }
        stages.show(stage);
    })?;
    drop(stages);
    if let Some(report) = run.init_report() {
        screen::say(&format!("The weights to start from: {report}"));
    }
    if let Some(left_out) = left_out(folder) {
        screen::say(&format!("{left_out}; training goes on with the others."));
    }
    let before = run.before();
    if let Some(knn) = before.knn {
        let pixels = before.knn_pixels.map(|knn| format!("; raw pixels give {knn:.1} %")).unwrap_or_default();
        screen::say(&format!("Before training, nearest neighbours name the right class for {knn:.1} %{pixels}."));
    }
    Ok(run)
}

/// Begins a run, or goes on with that in its folder, until its end; `None` where Ctrl-C came first. A folder that holds
/// a run must hold that of `recipe`.
///
/// # Errors
/// As [`run`].
pub(crate) fn bring_to_the_end(recipe: Recipe, folder: &Path) -> anyhow::Result<Option<Summary>> {
    interrupt::enter(Phase::Starting);
    if !run_folder::holds_run(folder) {
        check_folder(folder)?;
        return end(&mut begin(recipe, folder)?);
    }
    match run_folder::summary(folder)? {
        Some(summary) => Ok(Some(summary)),
        None => {
            let mut stages = Stages::new("before");
            let mut run = Run::resume(folder, &mut |stage| stages.show(stage))?;
            drop(stages);
            end(&mut run)
        }
    }
}

fn to_the_end(mut run: Run, json: bool) -> anyhow::Result<ExitCode> {
    let folder = run.folder().to_owned();
    if let Some(summary) = end(&mut run)? {
        report(&folder, &summary, json)?;
        return Ok(ExitCode::SUCCESS);
    }
    if json {
        print_json(&json!({
            "run": folder, "finished": false, "iteration": run.conductor().iteration(),
            "total_iterations": run.total_iterations(),
        }))?;
    }
    Ok(ExitCode::from(interrupt::STOPPED))
}

/// Trains until the end and writes what was learned; at Ctrl-C saves, says how to go on, and gives `None`.
fn end(run: &mut Run) -> anyhow::Result<Option<Summary>> {
    interrupt::enter(Phase::Training);
    let ended = train(run);
    let folder = run.folder().to_owned();
    // What can be mended from outside, such as a full disk, is no reason to begin again.
    let ended = ended.map_err(|error| match error {
        TrainerError::Unhealthy(_) => error.into(),
        other => anyhow::anyhow!(
            "{}. The run is as its newest checkpoint has it; when that is mended, go on by: {}",
            failure::message(&other.into()),
            go_on(&folder)
        ),
    });
    if !ended? {
        run.save()?;
        let (done, total) = (run.conductor().iteration(), run.total_iterations());
        screen::say(&format!(
            "Stopped: iteration {done} of {total} is saved in {}.\nGo on, bit for bit, by: {}",
            folder.display(),
            go_on(&folder)
        ));
        return Ok(None);
    }
    interrupt::enter(Phase::Finishing);
    let mut stages = Stages::new("after");
    Ok(Some(run.finish(&mut |stage| stages.show(stage))?))
}

/// Moves the run on; whether it reached its end.
fn train(run: &mut Run) -> Result<bool, TrainerError> {
    let mut display = Training::begin(run);
    while !interrupt::asked() {
        let Some(progress) = run.advance()? else { return Ok(true) };
        for warning in &progress.warnings {
            screen::say(&format!("warning: {warning}"));
        }
        display.step(&progress);
    }
    Ok(run.conductor().iteration() >= run.total_iterations())
}

/// A folder that cannot become a run's is better known before the work than after it.
fn check_folder(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() && !folder.is_dir() {
        let message = format!("--out {}: this is a file; name a folder", folder.display());
        return Err(WrongUse(message).into());
    }
    Ok(())
}

fn go_on(folder: &Path) -> String {
    format!("{} train --resume {}", called_as(), folder.display())
}

/// What the run will do, and what its numbers will mean.
fn plan(recipe: &Recipe, n_samples: usize, folder: &Path) -> String {
    let batch = recipe.batch_size();
    let backbone = recipe.model.backbone();
    let side = recipe.data.resolved_side();
    let start = match recipe.model.init_from.as_str() {
        "" => "random weights".to_owned(),
        path => format!("the weights {path}"),
    };
    let clusters = recipe.n_clusters();
    let features = if recipe.method == Method::Odc { recipe.model.dim } else { backbone.out_dim() };
    let mut table = Table::default();
    table.row([
        "network",
        &format!("{backbone}, from {start}; it sees {side} × {side} pixels, gives {features} numbers"),
    ]);
    match recipe.method {
        Method::Odc => table.row([
            "clusters",
            &format!(
                "{clusters}, at random about {} each; those below {} are dissolved",
                n_samples / clusters.max(1),
                recipe.memory_config().min_cluster
            ),
        ]),
        Method::DeepCluster => table.row([
            "clusters",
            &format!("{clusters}, at random about {} each; anew before each epoch", n_samples / clusters.max(1)),
        ]),
        Method::Rotation => table.row(["classes", "the four rotations of every image"]),
    }
    table.row([
        "training",
        &format!(
            "{} of about {}, {batch} images each; learning rate {:.4}",
            count(recipe.training.epochs as usize, "epoch"),
            count(n_samples.div_ceil(batch.max(1)), "iteration"),
            recipe.optimizer.lr * batch as f64 / 512.0
        ),
    ]);
    table.row(["folder", &format!("{} (recipe.toml there has every setting)", folder.display())]);
    let mut meanings = Table::default();
    let (about, guesses) =
        if recipe.method == Method::Rotation { ("views' rotations", 4) } else { ("images' clusters", clusters) };
    let guessing = format!("how wrong the network is about {about}; guessing gives {:.2}", (guesses as f64).ln());
    meanings.row(["loss", &guessing]);
    if recipe.method == Method::Odc {
        meanings.row(["change", "share of images that just moved to another cluster; falls as clusters settle"]);
    }
    if recipe.method == Method::Rotation {
        meanings.row(["accuracy", "share of views whose rotation the network tells; guessing gives 0.25"]);
    } else {
        meanings.row(["clusters", "images in the smallest and the largest cluster"]);
        meanings.row(["NMI", "how far clusters and true labels agree, 0 to 1; where there are labels, only to score"]);
    }
    meanings.row(["kNN", "percent of images whose class is that of their nearest neighbours by the features"]);
    format!(
        "Learning from {} of {}, without labels, by {}.\n{table}What the numbers mean:\n{meanings}",
        count(n_samples, "image"),
        recipe.data.path,
        recipe.method.title()
    )
}

/// What was learned.
fn report(folder: &Path, summary: &Summary, json: bool) -> anyhow::Result<()> {
    if json {
        let mut value = json!({ "run": folder, "finished": true });
        if let (Some(object), serde_json::Value::Object(fields)) =
            (value.as_object_mut(), serde_json::to_value(summary)?)
        {
            object.extend(fields);
        }
        return print_json(&value);
    }
    let skipped = left_out(folder).map(|left_out| format!(" ({left_out})")).unwrap_or_default();
    let into = summary.n_clusters.map(|clusters| format!(" into {}", count(clusters, "cluster"))).unwrap_or_default();
    let table = if into.is_empty() { "" } else { "  clusters.csv          the cluster of every image\n" };
    print(&format!(
        "\nLearned from {} in {}, {}{into}{skipped}.\n\n{}\n{}\nThe run: {}\n  backbone.safetensors  the network, with \
         PyTorch's names\n{table}  log.jsonl, tensorboard/, summary.json, \
         recipe.toml, checkpoints/\n\nNext: {}\n",
        count(summary.n_samples, "image"),
        duration(summary.seconds),
        count(summary.epochs as usize, "epoch"),
        before_and_after(summary),
        judgement(summary),
        folder.display(),
        next_command(folder, summary),
    ))
}

/// How many images could not be read, and where they are listed; `None` where all could.
fn left_out(folder: &Path) -> Option<String> {
    let path = folder.join("skipped.csv");
    // One record an image, below the header; a name may hold a line break.
    let records = csv::Reader::from_path(&path).ok()?.into_records().count();
    (records > 0).then(|| format!("{} could not be read: see {}", count(records, "image"), path.display()))
}

fn before_and_after(summary: &Summary) -> Table {
    let (before, after) = (&summary.before, &summary.after);
    let mut table = Table::default();
    table.row(["", "before", "after"]);
    let percent = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1} %"));
    let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
    if before.knn.is_some() || after.knn.is_some() {
        table.row(["kNN accuracy", &percent(before.knn), &percent(after.knn)]);
    }
    if before.nmi.is_some() || after.nmi.is_some() {
        table.row(["NMI of clusters and true labels", &number(before.nmi), &number(after.nmi)]);
    }
    let ends = |ends: Option<(f64, f64)>| (number(ends.map(|ends| ends.0)), number(ends.map(|ends| ends.1)));
    let (first, last) = ends(summary.loss_first_last);
    table.row(["loss", &first, &last]);
    let of_some_methods =
        [("change ratio", summary.change_ratio_first_last), ("accuracy of rotations", summary.accuracy_first_last)];
    for (name, values) in of_some_methods.into_iter().filter(|(_, values)| values.is_some()) {
        let (first, last) = ends(values);
        table.row([name, &first, &last]);
    }
    if let Some((least, most)) = summary.cluster_min_max {
        table.row(["images in a cluster", "", &format!("{least} to {most}")]);
    }
    table
}

/// The numbers in words.
fn judgement(summary: &Summary) -> String {
    let (before, after) = (&summary.before, &summary.after);
    let (Some(first), Some(last)) = (before.knn, after.knn) else {
        let look = if summary.n_clusters.is_some() { " Look at clusters.csv." } else { "" };
        return format!(
            "Nothing was scored: that takes images with true labels to tell apart, and evaluation.images above 0.{look}\n"
        );
    };
    let pixels = before.knn_pixels.map(|knn| format!(" (raw pixels: {knn:.1} %)")).unwrap_or_default();
    let advice = match summary.n_clusters {
        _ if last > first => "",
        None => "This run did not improve on it: give it more --epochs or images, or try another --lr.\n",
        Some(_) => {
            "This run did not improve on it: give it more --epochs or images, or try another --lr or number of --clusters.\n"
        }
    };
    format!(
        "By the learned features, nearest neighbours name the right class for {last:.1} % of the images;\nby those of the \
         untrained network for {first:.1} %{pixels}.\n{advice}"
    )
}

/// What to ask of a finished run next.
pub(crate) fn next_command(folder: &Path, summary: &Summary) -> String {
    let command = match (summary.after.knn, summary.n_clusters) {
        (Some(_), _) => "eval-linear",
        (None, Some(_)) => "assign",
        (None, None) => "extract",
    };
    format!("{} {command} --run {}", called_as(), folder.display())
}
