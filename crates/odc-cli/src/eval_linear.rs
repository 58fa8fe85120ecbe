//! `eval-linear`: what a linear layer makes of the frozen features, of the pooled ones and of each stage.

use std::sync::Arc;

use odc_data::Dataset;
use odc_eval::{
    Features, Layer, LayerSize, LinearProbe, LinearReport, LogisticProbe, LogisticReport, MeanAndDeviation, RandomView,
};
use serde_json::json;

use crate::arguments::{ColumnArguments, EvalLinearArguments};
use crate::failure::WrongUse;
use crate::images::tell_skipped;
use crate::labelled_sets::OpenSets;
use crate::output::{Table, print, print_json};
use crate::progress::Task;

/// A layer's features: plain or random views of the training images, and plain ones of the test images.
struct Judged {
    size: LayerSize,
    views: Vec<Features>,
    test: Features,
}

/// A layer by one protocol, with every seed.
struct Outcome {
    size: LayerSize,
    reports: Vec<LinearReport>,
    top1: MeanAndDeviation,
}

/// Linear classifiers on the frozen features: the published protocols and logistic regression.
///
/// # Errors
/// Where the network or the images cannot be read, there are no labels, or the features need too much memory.
pub(crate) fn run(arguments: EvalLinearArguments) -> anyhow::Result<()> {
    let pooled = LinearProbe {
        epochs: arguments.epochs,
        milestones: vec![arguments.epochs * 3 / 5, arguments.epochs * 4 / 5],
        ..LinearProbe::default()
    };
    let per_stage = LinearProbe {
        epochs: arguments.stage_epochs,
        milestones: vec![arguments.stage_epochs / 3, arguments.stage_epochs * 2 / 3],
        ..LinearProbe::per_stage()
    };
    let open = arguments.sets.open(&arguments.backbone, &arguments.machine, ColumnArguments::open_labelled)?;
    let (layers, plain) = extract(&arguments, &open)?;
    let outcome = |judged: Judged| -> anyhow::Result<Outcome> {
        let Judged { size, views, test } = judged;
        let probe = if size.layer == Layer::Vector { &pooled } else { &per_stage };
        let task = Task::begin(&format!("Linear probe, {}", size.layer), 0);
        let reports = probe.evaluate_seeds(arguments.seeds, &views.iter().collect::<Vec<_>>(), &test)?;
        drop(task);
        Ok(Outcome { size, top1: MeanAndDeviation::new(reports.iter().map(|report| report.top1).collect()), reports })
    };
    let logistic = LogisticProbe::default();
    let Some(last) = layers.last() else { anyhow::bail!("no layer was extracted") };
    let task = Task::begin("Linear probe, logistic regression", 0);
    let regression = logistic.evaluate(plain.as_ref().unwrap_or(&last.views[0]), &last.test)?;
    drop(task);
    let mut outcomes = layers.into_iter().map(outcome).collect::<anyhow::Result<Vec<_>>>()?;
    let Some(published) = outcomes.pop() else { anyhow::bail!("no layer was judged") };
    let (train, test) = (published.reports[0].train_images, published.reports[0].test_images);
    if !arguments.json {
        let table = table(&outcomes, &published, &regression);
        let notes = notes(&arguments, &pooled, &per_stage, &logistic, &regression);
        return print(&format!("{}\n\n{table}{notes}", open.heading("trained on", train, test)));
    }
    let stages: Vec<_> = outcomes.iter().map(Outcome::json).collect();
    let mut result = json!({
        "dim": published.size.dim(), "seeds": arguments.seeds, "views": arguments.views,
        "published_protocol": {
            "schedule": pooled, "result": published.reports[0], "results": published.reports, "top1": published.top1,
        },
        "logistic_regression": { "iterations_at_most": logistic.iterations, "result": regression },
    });
    if arguments.stages {
        result["stages"] = json!({ "schedule": per_stage, "results": stages });
    }
    print_json(&open.json("trained on", train, test, result))
}

/// The features of all layers, the vector last; and its plain view where `views` are random.
fn extract(arguments: &EvalLinearArguments, open: &OpenSets) -> anyhow::Result<(Vec<Judged>, Option<Features>)> {
    let mut layers = if arguments.stages { Layer::STAGES.to_vec() } else { Vec::new() };
    layers.push(Layer::Vector);
    let cache = arguments.cache.open()?;
    let loaded = open.subject.load()?;
    let side = open.subject.recipe().data.resolved_side();
    let sizes = Layer::sizes(&layers, loaded.backbone(), side)?;
    refuse_too_much(arguments, open, &sizes)?;
    let of = |layers: &[Layer], dataset: &Arc<dyn Dataset>, view: Option<&RandomView>, what: &str| {
        open.subject.layers(&loaded, layers, dataset, view, cache.as_ref(), what)
    };
    let test = of(&layers, &open.test, None, "the test images")?;
    tell_skipped(&test[0].skipped);
    let (mut views, plain): (Vec<Vec<Features>>, _) = if arguments.views == 0 {
        (vec![of(&layers, &open.train, None, "the training images")?], None)
    } else {
        let random = |number: usize| {
            let view = RandomView { augmentation: RandomView::standard(side), seed: 0, number: number as u64 };
            let what = format!("the training images, view {} of {}", number + 1, arguments.views);
            of(&layers, &open.train, Some(&view), &what)
        };
        let views = (0..arguments.views).map(random).collect::<anyhow::Result<_>>()?;
        (views, of(&[Layer::Vector], &open.train, None, "the training images")?.pop())
    };
    tell_skipped(&views[0][0].skipped);
    // From the last layer to the first: each takes its features from the end of every view.
    let judged = sizes.into_iter().zip(test).rev().map(|(size, test)| {
        let views = views.iter_mut().filter_map(Vec::pop).collect();
        Judged { size, views, test }
    });
    let mut judged: Vec<Judged> = judged.collect();
    judged.reverse();
    Ok((judged, plain))
}

fn refuse_too_much(arguments: &EvalLinearArguments, open: &OpenSets, sizes: &[LayerSize]) -> anyhow::Result<()> {
    let rows = open.train.len() * arguments.views.max(1) + open.test.len();
    let dims: usize = sizes.iter().map(LayerSize::dim).sum();
    let need = rows as f64 * dims as f64 * 4.0 / f64::from(1 << 30);
    if need <= arguments.memory {
        return Ok(());
    }
    let message = format!(
        "the features need {need:.1} GiB of memory ({rows} views of images, {dims} numbers each) and --memory allows {}: \
         give fewer images by --limit, fewer --views, or more --memory if the machine has it",
        arguments.memory
    );
    Err(WrongUse(message).into())
}

fn table(stages: &[Outcome], published: &Outcome, regression: &LogisticReport) -> Table {
    let mut table = Table::default();
    table.row(["linear classifier", "features", "accuracy"]);
    for Outcome { size, top1, .. } in stages {
        let ([height, width, channels], [to_height, to_width]) = (size.map, size.pooled);
        let map = format!("{height}×{width}×{channels}");
        let features = if size.map[..2] == size.pooled { map } else { format!("{map} to {to_height}×{to_width}") };
        table.row([&size.layer.to_string(), &format!("{} ({features})", size.dim()), &top1.percent()]);
    }
    let dim = published.size.dim().to_string();
    table.row(["vector, published protocol (SGD)", &dim, &published.top1.percent()]);
    for result in &regression.results {
        let ended = if result.converged { "" } else { " (not converged)" };
        let name = format!("vector, logistic regression, weight decay {}{ended}", result.decay);
        table.row([&name, &dim, &format!("{:.2} %", result.top1)]);
    }
    table
}

/// How it was done.
fn notes(
    arguments: &EvalLinearArguments,
    pooled: &LinearProbe,
    per_stage: &LinearProbe,
    logistic: &LogisticProbe,
    regression: &LogisticReport,
) -> String {
    let stages = if arguments.stages { format!("Stages: {}.\n", schedule(per_stage)) } else { String::new() };
    let by = if arguments.stages { "Both by" } else { "By" };
    let views = match arguments.views {
        0 => "the plain view of each image; published runs draw a random view in every epoch (--views)".to_owned(),
        n => format!("{n} random views of each image, which take turns"),
    };
    let seeds = match arguments.seeds {
        0 | 1 => String::new(),
        n => format!("; mean and deviation over {n} seeds"),
    };
    format!(
        "{stages}Published protocol: {}.\n{by} SGD on {views}{seeds}.\nLogistic regression: on standardised features of the \
         plain view, at most {} steps of L-BFGS; its best is {:.2} %.\n",
        schedule(pooled),
        logistic.iterations,
        regression.best
    )
}

fn schedule(probe: &LinearProbe) -> String {
    let milestones: Vec<String> = probe.milestones.iter().map(usize::to_string).collect();
    format!(
        "{}{} epochs of batches of {}, learning rate {} (×{} after {}), {} {}, weight decay {}",
        if probe.batch_norm { "batch norm, " } else { "" },
        probe.epochs,
        probe.batch_size,
        probe.learning_rate,
        probe.gamma,
        milestones.join(" and "),
        if probe.nesterov { "Nesterov's momentum" } else { "momentum" },
        probe.momentum,
        probe.weight_decay
    )
}

impl Outcome {
    fn json(&self) -> serde_json::Value {
        let LayerSize { map, pooled, .. } = self.size;
        json!({
            "layer": self.size.layer.to_string(), "map": map, "pooled": pooled, "dim": self.size.dim(),
            "top1": self.top1, "results": self.reports,
        })
    }
}
