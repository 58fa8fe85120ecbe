//! `compare`: several methods, or runs that are there, side by side on one page.

mod chart;
mod numbers;
mod page;

use std::path::PathBuf;
use std::process::ExitCode;

use odc_trainer::Recipe;

use crate::arguments::{CompareArguments, called_as};
use crate::failure::WrongUse;
use crate::interrupt;
use crate::judge::Judge;
use crate::output::{Table, print, print_json, write_file};
use crate::run_folder;
use crate::series::{PlannedRun, bring_all_to_the_end};
use numbers::{Comparison, Scored};

pub(crate) use numbers::spread_text;

/// Logged at every iteration: losses are then those of single batches, and steadiness means the same in all runs.
const FIRST_SETTINGS: [&str; 1] = ["training.log_every=1"];

/// Trains what is not trained yet, judges, and writes the page.
///
/// # Errors
/// Where the command line is wrong, runs cannot be compared, or one of them fails.
pub(crate) fn run(arguments: CompareArguments) -> anyhow::Result<ExitCode> {
    arguments.machine.prepare()?;
    let folders = if arguments.runs.is_empty() {
        let runs = planned(&arguments)?;
        if bring_all_to_the_end(&runs, "compare")?.is_none() {
            return Ok(ExitCode::from(interrupt::STOPPED));
        }
        runs.into_iter().map(|run| run.folder).collect()
    } else {
        arguments.runs.clone()
    };
    let runs = finished(folders)?;
    numbers::check_comparable(&runs)?;
    let judge = Judge::new(arguments.out.join("scores"), arguments.series.labelled_sets(), &arguments.machine);
    let scored = runs.into_iter().map(|(folder, recipe)| {
        let scores = judge.of_run(&folder, &recipe)?;
        let random = judge.of_random(&recipe)?;
        Ok(Scored { folder, recipe, scores, random })
    });
    let scored = scored.collect::<anyhow::Result<Vec<_>>>()?;
    let pixels = match scored.first() {
        Some(first) => judge.of_pixels(&first.recipe)?,
        None => None,
    };
    let comparison = Comparison::new(&scored, pixels)?;
    let (json, html) = (arguments.out.join("compare.json"), arguments.out.join("compare.html"));
    let text = serde_json::to_string_pretty(&comparison)? + "\n";
    write_file(&json, |file| Ok(file.write_all(text.as_bytes())?))?;
    write_file(&html, |file| Ok(file.write_all(page::page(&comparison).as_bytes())?))?;
    if arguments.json {
        print_json(&comparison)?;
    } else {
        print(&format!("\n{}\nThe page: {}\nIts numbers: {}\n", table(&comparison), html.display(), json.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn planned(arguments: &CompareArguments) -> anyhow::Result<Vec<PlannedRun>> {
    let mut methods = arguments.methods.clone();
    methods.sort_by_key(|method| method.name());
    methods.dedup();
    if methods.len() < arguments.methods.len() || methods.len() < 2 {
        return Err(WrongUse(format!(
            "name two or more different methods, such as `{} compare odc deepcluster`",
            called_as()
        ))
        .into());
    }
    let series = &arguments.series;
    let mut runs = Vec::new();
    for method in &arguments.methods {
        let recipe = series.recipe(*method, &FIRST_SETTINGS)?;
        runs.extend(PlannedRun::for_seeds(method.name(), &recipe, series.seeds(), &arguments.out));
    }
    let Some(first) = runs.first() else { return Ok(runs) };
    let dataset = odc_data::open(&first.recipe.data.source())?;
    for run in &mut runs {
        run.prepare(dataset.as_ref())?;
    }
    let recipes: Vec<(PathBuf, Recipe)> = runs.iter().map(|run| (run.folder.clone(), run.recipe.clone())).collect();
    numbers::check_comparable(&recipes)?;
    numbers::check_same_length(&recipes)?;
    Ok(runs)
}

/// The recipes of finished runs.
fn finished(folders: Vec<PathBuf>) -> anyhow::Result<Vec<(PathBuf, Recipe)>> {
    if folders.len() < 2 {
        return Err(WrongUse("--runs needs two or more folders to compare".to_owned()).into());
    }
    let finished = |folder: PathBuf| {
        let recipe = run_folder::recipe(&folder)?;
        if run_folder::summary(&folder)?.is_none() {
            anyhow::bail!(
                "the run in {} is not finished: go on with it by `{} train --resume {0}`",
                folder.display(),
                called_as()
            );
        }
        Ok((folder, recipe))
    };
    folders.into_iter().map(finished).collect()
}

fn table(comparison: &Comparison) -> Table {
    let mut table = Table::default();
    table.row(["", "kNN", "linear", "published protocol", "NMI", "loss variance", "jump at borders", "s an epoch"]);
    for row in comparison.rows() {
        table.row(row.each_ref().map(String::as_str));
    }
    table
}
