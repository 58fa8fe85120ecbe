//! `eval-finetune`: what the network is worth when all of it is fine-tuned on few labels.

use odc_eval::{FineTuning, FineTuningReport};
use serde_json::json;

use crate::arguments::{ColumnArguments, EvalFinetuneArguments};
use crate::images::tell_skipped;
use crate::output::{Table, count, print, print_json};
use crate::progress::Task;

/// Fine-tunes on each share of the labels.
///
/// # Errors
/// Where the network or the images cannot be read, there are no labels, or nothing can be learned from them.
pub(crate) fn run(arguments: EvalFinetuneArguments) -> anyhow::Result<()> {
    let epochs = arguments.epochs;
    let fine_tuning = FineTuning {
        learning_rates: arguments.lr,
        head_multipliers: arguments.head_multiplier,
        epochs,
        milestones: vec![epochs * 3 / 5, epochs * 4 / 5],
        batch_size: arguments.batch_size,
        ..FineTuning::default()
    };
    let open = arguments.sets.open(&arguments.backbone, &arguments.machine, ColumnArguments::open_labelled)?;
    let loaded = open.subject.load()?;
    let config = open.subject.extraction();
    let trainings = fine_tuning.learning_rates.len() * fine_tuning.head_multipliers.len() + arguments.seeds;
    let mut reports = Vec::new();
    for &share in &arguments.labels {
        let mut task = Task::begin(&format!("Fine-tuning on {} of the labels", percent_of(share)), trainings);
        let mut progress = |done, total| task.at(done, total);
        let sets = (&open.train, &open.test);
        let report = fine_tuning.evaluate(loaded.backbone(), sets, &config, share, arguments.seeds, &mut progress)?;
        drop(task);
        tell_skipped(&report.skipped);
        reports.push(report);
    }
    let (train, test) = (open.train.len(), reports.first().map_or(0, |report| report.test_images));
    if arguments.json {
        let result = json!({ "schedule": fine_tuning, "seeds": arguments.seeds, "fine_tuning": reports });
        return print_json(&open.json(LEARNED, train, test, result));
    }
    let mut text = format!("{}\n", open.heading(LEARNED, train, test));
    for report in &reports {
        text += &format!("\n{}{}", table(report), outcome(report));
    }
    let milestones: Vec<String> = fine_tuning.milestones.iter().map(usize::to_string).collect();
    print(&format!(
        "{text}\nSGD, {epochs} epochs, learning rate ×{} after {}, momentum {}, weight decay {}; random resized crops and \
         flips.\n",
        fine_tuning.gamma,
        milestones.join(" and "),
        fine_tuning.momentum,
        fine_tuning.weight_decay
    ))
}

/// Of the training images only a share of the labels is looked at: each table says how many.
const LEARNED: &str = "labels drawn from";

/// The grid.
fn table(report: &FineTuningReport) -> Table {
    let mut table = Table::default();
    let asked = if report.validation_images > 0 { "held-out labelled images" } else { "test images" };
    table.row(["learning rate", "of the linear layer", &format!("accuracy on {asked}")]);
    for point in &report.grid {
        let accuracy = point.accuracy.map_or("diverged".to_owned(), |accuracy| format!("{accuracy:.2} %"));
        let multiplier = format!("× {}", point.head_multiplier);
        table.row([&point.learning_rate.to_string(), &multiplier, &accuracy]);
    }
    table
}

/// What the grid led to.
fn outcome(report: &FineTuningReport) -> String {
    let chosen = match report.validation_images {
        0 => "on the test images, as labels are too few to hold some out: an upper end".to_owned(),
        n => format!("on {} held out, then trained on all", count(n, "labelled image")),
    };
    let seeds = match report.top1.values.len() {
        1 => String::new(),
        n => format!(", mean and deviation over {n} seeds"),
    };
    format!(
        "{} of the labels ({}, batches of {}): {} at learning rate {} × {}{seeds}\n(chosen {chosen}).\n",
        percent_of(report.share),
        count(report.labelled_images, "image"),
        report.batch_size,
        report.top1.percent(),
        report.best.learning_rate,
        report.best.head_multiplier
    )
}

fn percent_of(share: f64) -> String {
    // Rounded, so that 0.07 is not 7.000000000000001 %.
    format!("{} %", (share * 1e6).round() / 1e4)
}
