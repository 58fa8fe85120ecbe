//! `ablate`: one setting changed at a time, and one table of what each change does.

use std::path::Path;
use std::process::ExitCode;

use odc_data::{Dataset, Step};
use odc_trainer::{Method, Recipe, Spread, Summary, mean_of_last_epoch, read_log};
use serde::Serialize;

use crate::arguments::{AblateArguments, called_as};
use crate::compare::spread_text;
use crate::failure::WrongUse;
use crate::interrupt;
use crate::judge::{FeatureScores, Judge};
use crate::machine::{Stamp, stamp};
use crate::output::{Table, count, print, print_json, write_file};
use crate::series::{PlannedRun, bring_all_to_the_end};

/// The recipe with one change, or with none.
struct Variant {
    /// The setting that it is about.
    setting: &'static str,
    /// Name of its runs' folders.
    name: String,
    /// In words.
    title: String,
    change: Box<dyn Fn(&mut Recipe)>,
}

/// Everything that ablate.json holds.
#[derive(Debug, Serialize)]
struct Ablation {
    made: Stamp,
    data: String,
    images: Option<String>,
    epochs: u64,
    seeds: u64,
    rows: Vec<Row>,
}

/// A variant over seeds.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    title: String,
    knn: Option<Spread>,
    linear: Option<Spread>,
    /// Of clusters and true labels at the end.
    nmi: Option<Spread>,
    /// Over the last epoch.
    change_ratio: Option<Spread>,
    /// Images in it at the end.
    largest_cluster: Option<Spread>,
}

/// A finished run in numbers.
struct Outcome {
    summary: Summary,
    change_ratio: Option<f64>,
    scores: Option<FeatureScores>,
}

/// Trains every variant that is not trained yet, judges, and writes the table.
///
/// # Errors
/// Where the command line is wrong, a change cannot be made to this recipe, or a run fails.
pub(crate) fn run(arguments: AblateArguments) -> anyhow::Result<ExitCode> {
    arguments.machine.prepare()?;
    let series = &arguments.series;
    let mut recipe = series.recipe(Method::Odc, &[])?;
    let dataset = odc_data::open(&recipe.data.source())?;
    recipe.resolve(dataset.as_ref());
    let variants = chosen(variants(&recipe), &arguments.only)?;
    let runs = planned(&variants, &recipe, series.seeds(), dataset.as_ref(), &arguments.out)?;
    if arguments.dry_run {
        return list(&runs, &variants, dataset.len()).map(|()| ExitCode::SUCCESS);
    }
    let Some(summaries) = bring_all_to_the_end(&runs, "ablate")? else {
        return Ok(ExitCode::from(interrupt::STOPPED));
    };
    let judge = Judge::new(arguments.out.join("scores"), series.labelled_sets(), &arguments.machine);
    let outcomes = runs.iter().zip(summaries).map(|(run, summary)| outcome(run, summary, &judge));
    let outcomes = outcomes.collect::<anyhow::Result<Vec<_>>>()?;
    let images = outcomes.iter().find_map(|outcome| Some(outcome.scores.as_ref()?.images.clone()));
    let of_variants = variants.iter().zip(outcomes.chunks(series.seeds() as usize));
    let ablation = Ablation {
        made: stamp(),
        data: recipe.data.path.clone(),
        images,
        epochs: recipe.training.epochs,
        seeds: series.seeds(),
        rows: of_variants.map(|(variant, outcomes)| Row::new(variant, outcomes)).collect(),
    };
    let (json, markdown) = (arguments.out.join("ablate.json"), arguments.out.join("ablate.md"));
    let text = serde_json::to_string_pretty(&ablation)? + "\n";
    write_file(&json, |file| Ok(file.write_all(text.as_bytes())?))?;
    let table = ablation.markdown();
    write_file(&markdown, |file| Ok(file.write_all(table.as_bytes())?))?;
    if arguments.json {
        print_json(&ablation)?;
    } else {
        print(&format!("\n{table}\nThe table: {}\nIts numbers: {}\n", markdown.display(), json.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The recipe as it is, and every change that does change it.
fn variants(recipe: &Recipe) -> Vec<Variant> {
    let mut found = vec![Variant {
        setting: BASE,
        name: BASE.to_owned(),
        title: "the recipe as it is".to_owned(),
        change: Box::new(|_| ()),
    }];
    let mut add = |setting, name: String, title: String, change: Box<dyn Fn(&mut Recipe)>| {
        let mut changed = recipe.clone();
        change(&mut changed);
        if changed != *recipe {
            found.push(Variant { setting, name, title, change });
        }
    };
    add(
        "re-weighting",
        "re-weighting-off".into(),
        "no re-weighting of the loss".into(),
        Box::new(|recipe| recipe.memory.reweight_power = 0.0),
    );
    // A threshold of 1 still refills a cluster that lost its last member: a cluster must never be empty.
    add(
        "small-clusters",
        "small-clusters-off".into(),
        "small clusters are left alone (empty ones are refilled)".into(),
        Box::new(|recipe| recipe.memory.min_cluster = Some(1)),
    );
    for interval in [1, 10, 100] {
        let title = format!("centroids every {}", count(interval as usize, "iteration"));
        let change = move |recipe: &mut Recipe| recipe.memory.centroid_every = interval;
        add("centroid-interval", format!("centroid-interval-{interval}"), title, Box::new(change));
    }
    for momentum in [0.25, 0.5, 0.9] {
        let change = move |recipe: &mut Recipe| recipe.memory.momentum = momentum;
        let title = format!("memory momentum {momentum}");
        add("memory-momentum", format!("memory-momentum-{momentum}"), title, Box::new(change));
    }
    for (name, clusters) in [("half", recipe.n_clusters() / 2), ("double", recipe.n_clusters() * 2)] {
        let change = move |recipe: &mut Recipe| recipe.memory.clusters = Some(clusters);
        add("clusters", format!("clusters-{name}"), format!("{clusters} clusters"), Box::new(change));
    }
    for rule in [odc_memory::Rule::Paper, odc_memory::Rule::Reference] {
        let name = if rule == odc_memory::Rule::Paper { "paper" } else { "reference" };
        let change = move |recipe: &mut Recipe| recipe.memory.rule = rule;
        add("rule", format!("rule-{name}"), format!("the {name}'s rule"), Box::new(change));
    }
    for (name, title, factor) in [("off", "no colour jitter", 0.0), ("half", "colour jitter of half the strength", 0.5)]
    {
        add("jitter", format!("jitter-{name}"), title.into(), Box::new(move |recipe| weaken_jitter(recipe, factor)));
    }
    found
}

const BASE: &str = "base";

fn weaken_jitter(recipe: &mut Recipe, factor: f32) {
    for step in &mut recipe.data.augmentation {
        if let Step::ColorJitter { brightness, contrast, saturation, hue, .. } = step {
            for strength in [brightness, contrast, saturation, hue] {
                *strength *= factor;
            }
        }
    }
}

/// The base, and those that were asked for.
fn chosen(variants: Vec<Variant>, only: &[String]) -> anyhow::Result<Vec<Variant>> {
    for name in only {
        if !variants.iter().any(|variant| variant.is_called(name)) {
            let mut known: Vec<&str> = variants.iter().flat_map(|variant| [variant.setting, &variant.name]).collect();
            known.dedup();
            let message = format!("--only {name}: with this recipe there are {}", known.join(", "));
            return Err(WrongUse(message).into());
        }
    }
    let asked = |variant: &Variant| {
        only.is_empty() || variant.setting == BASE || only.iter().any(|name| variant.is_called(name))
    };
    Ok(variants.into_iter().filter(asked).collect())
}

impl Variant {
    fn is_called(&self, name: &str) -> bool {
        self.setting == name || self.name == name
    }
}

/// All seeds of the first variant, then of the second, and so on.
fn planned(
    variants: &[Variant],
    recipe: &Recipe,
    seeds: u64,
    dataset: &dyn Dataset,
    out: &Path,
) -> anyhow::Result<Vec<PlannedRun>> {
    let mut runs = Vec::new();
    for variant in variants {
        let mut changed = recipe.clone();
        (variant.change)(&mut changed);
        runs.extend(PlannedRun::for_seeds(&variant.name, &changed, seeds, out));
    }
    for run in &mut runs {
        run.prepare(dataset)?;
    }
    Ok(runs)
}

fn list(runs: &[PlannedRun], variants: &[Variant], n_samples: usize) -> anyhow::Result<()> {
    let mut table = Table::default();
    table.row(["run", "what it changes", "state"]);
    for run in runs {
        let title = variants.iter().find(|variant| variant.name == run.name).map_or("", |variant| &variant.title);
        let finished = run.folder.join("summary.json").exists();
        let state = if finished { "finished" } else { "to train" };
        table.row([&run.folder.display().to_string(), title, state]);
    }
    let rest = runs.iter().filter(|run| !run.folder.join("summary.json").exists()).count();
    let epochs = runs.first().map_or(0, |run| run.recipe.training.epochs) as usize;
    print(&format!(
        "{table}{}, {} of them to train: {} over {} each. How long that is, the first run will tell; `{} train` with this \
         recipe and --epochs 1 tells it sooner.\n",
        count(runs.len(), "run"),
        rest,
        count(epochs, "epoch"),
        count(n_samples, "image"),
        called_as()
    ))
}

fn outcome(run: &PlannedRun, summary: Summary, judge: &Judge) -> anyhow::Result<Outcome> {
    let lines = read_log(&run.folder.join("log.jsonl"))?;
    let per_epoch = summary.iterations / summary.epochs.max(1);
    Ok(Outcome {
        change_ratio: mean_of_last_epoch(&lines, per_epoch, |line| line.change_ratio),
        scores: judge.of_run(&run.folder, &run.recipe)?,
        summary,
    })
}

impl Row {
    fn new(variant: &Variant, outcomes: &[Outcome]) -> Self {
        let spread =
            |value: fn(&Outcome) -> Option<f64>| Spread::of(&outcomes.iter().filter_map(value).collect::<Vec<f64>>());
        Self {
            name: variant.name.clone(),
            title: variant.title.clone(),
            knn: spread(|outcome| Some(outcome.scores.as_ref()?.knn)),
            linear: spread(|outcome| Some(outcome.scores.as_ref()?.linear)),
            nmi: spread(|outcome| outcome.summary.after.nmi),
            change_ratio: spread(|outcome| outcome.change_ratio),
            largest_cluster: spread(|outcome| Some(f64::from(outcome.summary.cluster_min_max?.1))),
        }
    }
}

impl Ablation {
    /// The table, with what its columns are.
    fn markdown(&self) -> String {
        let mut text = "| change | kNN | linear | NMI | change ratio | largest cluster |\n".to_owned();
        text += "| --- | ---: | ---: | ---: | ---: | ---: |\n";
        for row in &self.rows {
            text += &format!(
                "| {} (`{}`) | {} | {} | {} | {} | {} |\n",
                row.title,
                row.name,
                spread_text(row.knn, 2),
                spread_text(row.linear, 2),
                spread_text(row.nmi, 3),
                spread_text(row.change_ratio, 3),
                spread_text(row.largest_cluster, 0)
            );
        }
        let seeds = match self.seeds {
            1 => "One seed a row: differences of the size that another seed makes mean nothing.".to_owned(),
            seeds => format!("Mean ± deviation over {seeds} seeds."),
        };
        let images = self.images.as_deref().unwrap_or("not scored: the images have no true labels");
        text + &format!(
            "\nOne setting changed at a time; {} of {}. kNN and linear (logistic regression): percent right, {images}. NMI of \
             clusters and true labels, and images in the largest cluster: at the end. Change ratio: share of images \
             whose label changed when they were drawn, over the last epoch. {seeds}\n\n`{}`, {}, version {}, {}.\n",
            count(self.epochs as usize, "epoch"),
            self.data,
            self.made.command,
            self.made.date,
            self.made.version,
            self.made.machine
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved() -> Recipe {
        let mut recipe = Recipe::default();
        recipe.resolve_sizes(10_000);
        recipe
    }

    #[test]
    fn every_variant_changes_the_recipe_once() {
        let recipe = resolved();
        let all = variants(&recipe);
        assert_eq!(all.len(), 12);
        for variant in &all[1..] {
            let mut changed = recipe.clone();
            (variant.change)(&mut changed);
            let differing = crate::train_request::differences(&changed, &recipe).expect("compares");
            assert_eq!(differing.len(), 1, "{}: {differing:?}", variant.name);
        }
        let mut other = resolved();
        other.memory.rule = odc_memory::Rule::Reference;
        let names: Vec<String> = variants(&other).into_iter().map(|variant| variant.name).collect();
        assert!(names.contains(&"rule-paper".to_owned()) && !names.contains(&"rule-reference".to_owned()));
    }

    #[test]
    fn only_takes_settings_and_single_changes() {
        let names = |only: &[&str]| {
            let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
            chosen(variants(&resolved()), &only)
                .map(|chosen| chosen.into_iter().map(|variant| variant.name).collect::<Vec<String>>())
        };
        let found = names(&["rule", "clusters-half"]).expect("known names");
        assert_eq!(found, ["base", "clusters-half", "rule-reference"]);
        let refused = names(&["colour"]).expect_err("unknown").to_string();
        assert!(refused.contains("colour") && refused.contains("jitter-half"), "{refused}");
    }
}
