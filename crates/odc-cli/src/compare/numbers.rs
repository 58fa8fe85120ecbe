//! All numbers of a comparison: what compare.json holds and the page shows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use odc_trainer::{
    ClusteringLine, EpochSeconds, LogEvent, LogLine, LossCurve, Method, Recipe, Spread, epoch_borders, epoch_middles,
    median, read_events, read_log,
};
use serde::Serialize;

use crate::failure::WrongUse;
use crate::judge::FeatureScores;
use crate::machine::{Stamp, stamp};
use crate::series::WITHOUT_EFFECT;
use crate::train_request::leaves;

/// A finished run and what its features are worth.
pub(crate) struct Scored {
    pub(crate) folder: PathBuf,
    pub(crate) recipe: Recipe,
    pub(crate) scores: Option<FeatureScores>,
    /// Of the network that it began with.
    pub(crate) random: Option<FeatureScores>,
}

/// Everything that the page shows.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) made: Stamp,
    /// Images, in words; those of the scores.
    pub(crate) data: String,
    pub(crate) scored_on: Option<String>,
    pub(crate) network: String,
    pub(crate) knn_k: usize,
    /// Runs that differ in their seeds only.
    pub(crate) groups: Vec<Group>,
    pub(crate) random: Option<ScoreSpread>,
    pub(crate) pixels: Option<FeatureScores>,
    /// The settings in which groups differ, with the value of each group.
    pub(crate) differences: BTreeMap<String, Vec<String>>,
}

/// Runs of one recipe with several seeds.
#[derive(Debug, Serialize)]
pub(crate) struct Group {
    pub(crate) label: String,
    pub(crate) method: Method,
    pub(crate) runs: Vec<RunNumbers>,
    pub(crate) scores: Option<ScoreSpread>,
    /// Over seeds, of the values in `runs`.
    pub(crate) loss_variance: Option<Spread>,
    pub(crate) jump_at_borders: Option<Spread>,
    pub(crate) jump_in_the_middle: Option<Spread>,
    pub(crate) reassigned_last: Option<Spread>,
    pub(crate) nmi_last: Option<Spread>,
    pub(crate) seconds_per_epoch: Option<Spread>,
}

/// [`FeatureScores`] over seeds.
#[derive(Debug, Serialize)]
pub(crate) struct ScoreSpread {
    pub(crate) knn: Option<Spread>,
    pub(crate) linear: Option<Spread>,
    pub(crate) linear_published: Option<Spread>,
}

/// One run.
#[derive(Debug, Serialize)]
pub(crate) struct RunNumbers {
    pub(crate) folder: PathBuf,
    pub(crate) seed: u64,
    pub(crate) epochs: u64,
    pub(crate) iterations: u64,
    pub(crate) iterations_per_epoch: u64,
    /// Most iterations that a logged loss is the mean of.
    pub(crate) iterations_per_line: u64,
    /// (iterations done, loss).
    pub(crate) loss: Vec<(u64, f64)>,
    /// Iterations at which all images were clustered and training waited.
    pub(crate) clusterings: Vec<u64>,
    /// Length of the sliding window in iterations.
    pub(crate) variance_window: u64,
    /// Mean over the windows that lie behind the first epoch.
    pub(crate) loss_variance: Option<f64>,
    /// Iterations on each side of a border.
    pub(crate) jump_window: u64,
    /// Mean over borders, and over the middles of epochs from the second on.
    pub(crate) jump_at_borders: Option<f64>,
    pub(crate) jump_in_the_middle: Option<f64>,
    /// (epochs done, value).
    pub(crate) nmi: Vec<(f64, f64)>,
    pub(crate) nmi_previous: Vec<(f64, f64)>,
    pub(crate) reassigned: Vec<(f64, f64)>,
    /// Of a typical epoch.
    pub(crate) seconds: EpochSeconds,
    /// Features of all images for clustering, and k-means; per epoch of the run.
    pub(crate) seconds_extracting: f64,
    pub(crate) seconds_clustering: f64,
    pub(crate) scores: Option<FeatureScores>,
}

/// Refuses runs whose numbers would not be about the same thing.
///
/// # Errors
/// Names the setting and two runs that differ in it.
pub(crate) fn check_comparable(runs: &[(PathBuf, Recipe)]) -> anyhow::Result<()> {
    let must_agree = |key: &str| {
        let data =
            ["limit", "shapes_images", "shapes_side", "shapes_seed", "path", "side", "plain_view", "mean", "std"];
        let model = ["arch", "width", "stem", "init_from"];
        match key.split_once('.') {
            Some(("data", key)) => data.contains(&key),
            Some(("model", key)) => model.contains(&key),
            Some(("evaluation", _)) => true,
            _ => false,
        }
    };
    check_agreement(runs, &must_agree, "compare runs that have the same images and network")
}

/// Refuses runs of different lengths.
///
/// # Errors
/// As [`check_comparable`].
pub(crate) fn check_same_length(runs: &[(PathBuf, Recipe)]) -> anyhow::Result<()> {
    let advice = "set the same for all by --epochs or --set";
    check_agreement(runs, &|key| ["training.epochs", "training.batch_size"].contains(&key), advice)
}

fn check_agreement(runs: &[(PathBuf, Recipe)], of: &dyn Fn(&str) -> bool, advice: &str) -> anyhow::Result<()> {
    let Some((first, recipe)) = runs.first() else { return Ok(()) };
    let expected = leaves(serde_json::to_value(recipe)?);
    for (folder, recipe) in &runs[1..] {
        let values = leaves(serde_json::to_value(recipe)?);
        let mut keys = expected.keys().chain(values.keys()).filter(|key| of(key));
        if let Some(key) = keys.find(|key| expected.get(*key) != values.get(*key)) {
            let value = |values: &BTreeMap<String, serde_json::Value>| {
                values.get(key).map_or_else(|| "nothing".to_owned(), serde_json::Value::to_string)
            };
            return Err(WrongUse(format!(
                "{} and {} cannot be compared: {key} is {} and {}; {advice}",
                first.display(),
                folder.display(),
                value(&expected),
                value(&values)
            ))
            .into());
        }
    }
    Ok(())
}

impl Comparison {
    /// Reads the logs.
    ///
    /// # Errors
    /// Where a log cannot be read.
    pub(crate) fn new(scored: &[Scored], pixels: Option<FeatureScores>) -> anyhow::Result<Self> {
        // By everything but the seed and what has no effect.
        let mut grouped: Vec<(BTreeMap<String, String>, Vec<&Scored>)> = Vec::new();
        for run in scored {
            let mut settings = settings(&run.recipe)?;
            settings.remove("seed");
            match grouped.iter_mut().find(|(known, _)| *known == settings) {
                Some((_, runs)) => runs.push(run),
                None => grouped.push((settings, vec![run])),
            }
        }
        let keys: Vec<String> = grouped.iter().flat_map(|(settings, _)| settings.keys().cloned()).collect();
        let mut differences = BTreeMap::new();
        for key in keys {
            let value =
                |settings: &BTreeMap<String, String>| settings.get(&key).cloned().unwrap_or_else(|| "–".to_owned());
            let values: Vec<String> = grouped.iter().map(|(settings, _)| value(settings)).collect();
            if values.iter().any(|value| *value != values[0]) {
                differences.insert(key, values);
            }
        }
        let alone = |method: Method| grouped.iter().filter(|(_, runs)| runs[0].recipe.method == method).count() == 1;
        let label = |run: &Scored| {
            let title = run.recipe.method.title();
            let mut title: String = title[..1].to_uppercase() + &title[1..];
            if !alone(run.recipe.method) {
                title += &format!(" ({})", run.folder.file_name().unwrap_or_default().to_string_lossy());
            }
            title
        };
        let groups = grouped.iter().map(|(_, runs)| Group::new(label(runs[0]), runs));
        let groups = groups.collect::<anyhow::Result<Vec<_>>>()?;
        let first = &scored[0];
        // The same seed begins with the same network, whatever the method.
        let mut random: BTreeMap<u64, &FeatureScores> = BTreeMap::new();
        for run in scored {
            if let Some(scores) = &run.random {
                random.entry(run.recipe.seed).or_insert(scores);
            }
        }
        Ok(Self {
            made: stamp(),
            data: first.recipe.data.path.clone(),
            scored_on: first.scores.as_ref().map(|scores| scores.images.clone()),
            network: format!("{}, at {} pixels", first.recipe.model.backbone(), first.recipe.data.resolved_side()),
            knn_k: first.recipe.evaluation.knn_k,
            groups,
            random: ScoreSpread::of(random.into_values()),
            pixels,
            differences,
        })
    }

    /// A row for each group and baseline: label, kNN, linear, published protocol, NMI, loss variance, jump, seconds.
    pub(crate) fn rows(&self) -> Vec<[String; 8]> {
        let score = |spread: Option<Spread>| spread_text(spread, 2);
        let mut rows: Vec<[String; 8]> = Vec::new();
        for group in &self.groups {
            let scores = group.scores.as_ref();
            rows.push([
                group.label.clone(),
                score(scores.and_then(|scores| scores.knn)),
                score(scores.and_then(|scores| scores.linear)),
                score(scores.and_then(|scores| scores.linear_published)),
                spread_text(group.nmi_last, 3),
                spread_text(group.loss_variance, 4),
                spread_text(group.jump_at_borders, 3),
                spread_text(group.seconds_per_epoch, 1),
            ]);
        }
        let dash = || "–".to_owned();
        let baseline = |name: &str, scores: [Option<Spread>; 3]| {
            let [knn, linear, published] = scores.map(score);
            [name.to_owned(), knn, linear, published, dash(), dash(), dash(), dash()]
        };
        rows.extend(
            self.random
                .as_ref()
                .map(|random| baseline("Random network", [random.knn, random.linear, random.linear_published])),
        );
        rows.extend(
            self.pixels
                .as_ref()
                .map(|pixels| baseline("Raw pixels", [Spread::of(&[pixels.knn]), Spread::of(&[pixels.linear]), None])),
        );
        rows
    }
}

/// `31.30 ± 0.04`, or the value alone.
pub(crate) fn spread_text(spread: Option<Spread>, digits: usize) -> String {
    match spread {
        None => "–".to_owned(),
        Some(Spread { mean, deviation: None, .. }) => format!("{mean:.digits$}"),
        Some(Spread { mean, deviation: Some(deviation), .. }) => format!("{mean:.digits$} ± {deviation:.digits$}"),
    }
}

/// All settings that decide what is learned.
fn settings(recipe: &Recipe) -> anyhow::Result<BTreeMap<String, String>> {
    let leaves = leaves(serde_json::to_value(recipe)?);
    let deciding = leaves.into_iter().filter(|(key, _)| !WITHOUT_EFFECT.contains(&key.as_str()));
    Ok(deciding.map(|(key, value)| (key, value.to_string())).collect())
}

impl Group {
    fn new(label: String, runs: &[&Scored]) -> anyhow::Result<Self> {
        let numbers = runs.iter().map(|run| RunNumbers::read(run)).collect::<anyhow::Result<Vec<_>>>()?;
        let spread = |value: &dyn Fn(&RunNumbers) -> Option<f64>| {
            Spread::of(&numbers.iter().filter_map(value).collect::<Vec<f64>>())
        };
        let last = |series: &[(f64, f64)]| series.last().map(|(_, value)| *value);
        Ok(Self {
            label,
            method: runs[0].recipe.method,
            scores: ScoreSpread::of(runs.iter().filter_map(|run| run.scores.as_ref())),
            loss_variance: spread(&|run| run.loss_variance),
            jump_at_borders: spread(&|run| run.jump_at_borders),
            jump_in_the_middle: spread(&|run| run.jump_in_the_middle),
            reassigned_last: spread(&|run| last(&run.reassigned)),
            nmi_last: spread(&|run| last(&run.nmi)),
            seconds_per_epoch: spread(&|run| Some(run.seconds.sum() + run.seconds_extracting + run.seconds_clustering)),
            runs: numbers,
        })
    }
}

impl ScoreSpread {
    fn of<'s>(scores: impl Iterator<Item = &'s FeatureScores>) -> Option<Self> {
        let scores: Vec<&FeatureScores> = scores.collect();
        let spread = |value: fn(&FeatureScores) -> Option<f64>| {
            Spread::of(&scores.iter().filter_map(|scores| value(scores)).collect::<Vec<f64>>())
        };
        Some(Self {
            knn: Some(spread(|scores| Some(scores.knn))?),
            linear: spread(|scores| Some(scores.linear)),
            linear_published: spread(|scores| scores.linear_published),
        })
    }
}

impl RunNumbers {
    fn read(run: &Scored) -> anyhow::Result<Self> {
        let log = run.folder.join("log.jsonl");
        let lines = read_log(&log)?;
        let clusterings: Vec<ClusteringLine> =
            read_events(&log)?.into_iter().map(|LogEvent::Clustering(line)| line).collect();
        Self::of(&run.folder, run, &lines, &clusterings)
    }

    fn of(folder: &Path, run: &Scored, lines: &[LogLine], clusterings: &[ClusteringLine]) -> anyhow::Result<Self> {
        let epochs = run.recipe.training.epochs;
        let Some(last) = lines.last() else { anyhow::bail!("the log of {} has no line", folder.display()) };
        let iterations = last.iteration;
        let per_epoch = iterations / epochs.max(1);
        let curve = LossCurve::new(lines);
        let mean = |values: Vec<f64>| Spread::of(&values).map(|spread| spread.mean);
        let windows = curve.windowed_variance(per_epoch);
        let settled = windows.iter().filter(|(end, _)| *end >= 2 * per_epoch).map(|(_, variance)| *variance);
        let jump_window = (per_epoch / 4).clamp(1, 10);
        let middles: Vec<u64> = epoch_middles(per_epoch, iterations).into_iter().skip(1).collect();
        // Where every epoch has a clustering, its labels are those of the epoch: they are told where they come to be.
        let anew = clusterings.len() > 1;
        let series = |of_line: fn(&LogLine) -> Option<f64>, of_clustering: fn(&ClusteringLine) -> Option<f64>| {
            let made = clusterings.iter().filter_map(|line| Some((line.epoch as f64, of_clustering(line)?)));
            let moved = lines.iter().filter(|_| !anew).filter_map(|line| Some((line.epoch, of_line(line)?)));
            made.chain(moved).collect::<Vec<(f64, f64)>>()
        };
        let per_clustering = |seconds: fn(&ClusteringLine) -> f64| {
            let typical = median(clusterings.iter().map(seconds).collect()).unwrap_or(0.0);
            typical * clusterings.len() as f64 / epochs.max(1) as f64
        };
        Ok(Self {
            folder: folder.to_owned(),
            seed: run.recipe.seed,
            epochs,
            iterations,
            iterations_per_epoch: per_epoch,
            iterations_per_line: run.recipe.training.log_every.min(per_epoch),
            loss: curve.iterations.iter().copied().zip(curve.losses.iter().copied()).collect(),
            clusterings: clusterings.iter().map(|line| line.iteration).collect(),
            variance_window: per_epoch,
            loss_variance: mean(settled.collect()),
            jump_window,
            jump_at_borders: mean(curve.jumps(&epoch_borders(per_epoch, iterations), jump_window)),
            jump_in_the_middle: mean(curve.jumps(&middles, jump_window)),
            nmi: series(|line| line.nmi, |line| line.nmi),
            nmi_previous: series(|line| line.nmi_previous, |line| line.nmi_previous),
            reassigned: series(|line| line.reassigned, |line| line.reassigned),
            seconds: EpochSeconds::typical(lines, per_epoch),
            seconds_extracting: per_clustering(|line| line.t_extract),
            seconds_clustering: per_clustering(|line| line.t_cluster),
            scores: run.scores.clone(),
        })
    }
}
