//! `eval-svm`: linear SVMs on the frozen features, of all images and of a few of each class.

use odc_eval::{AveragePrecision, Labelled, LinearSvm, LowShotReport, MeanAndDeviation, SvmReport, TrueClasses};
use serde_json::json;

use crate::arguments::{ColumnArguments, EvalSvmArguments, PrecisionMeasure};
use crate::evaluate::Sets;
use crate::output::{Table, count, print, print_json};
use crate::progress::Task;

/// The table of classes, and with `--low-shot` that of few images.
///
/// # Errors
/// Where the network or the images cannot be read, there are no labels, or a setting is out of bounds.
pub(crate) fn run(arguments: EvalSvmArguments) -> anyhow::Result<()> {
    let open = arguments.sets.open(&arguments.backbone, &arguments.machine, ColumnArguments::open_with_classes)?;
    let sets = Sets::extract(open, &arguments.cache)?;
    let train_classes = TrueClasses::of(sets.open.train.as_ref(), &sets.train);
    let test_classes = TrueClasses::of(sets.open.test.as_ref(), &sets.test);
    let default = if train_classes.is_single_label() { PrecisionMeasure::Area } else { PrecisionMeasure::Voc11 };
    let measure = arguments.ap.unwrap_or(default);
    let svm = LinearSvm {
        positive_weight: arguments.positive_weight,
        seeds: arguments.seeds,
        average_precision: measure.meant(),
        ..LinearSvm::default()
    };
    let svm = match &arguments.costs {
        Some(costs) => LinearSvm { costs: costs.clone(), ..svm },
        None => svm,
    };
    let train = Labelled { features: &sets.train, classes: &train_classes };
    let test = Labelled { features: &sets.test, classes: &test_classes };
    // First, because it may refuse: a class can have fewer images than are to be drawn.
    let few = match &arguments.low_shot {
        Some(shots) => {
            let mut task = Task::begin("Linear SVMs from few images", shots.len() * arguments.draws);
            Some(svm.low_shot(shots, arguments.draws, train, test, &mut |done, all| task.at(done, all))?)
        }
        None => None,
    };
    let svms = train_classes.names().len() * (1 + svm.folds * svm.seeds) * svm.costs.len();
    let mut task = Task::begin("Linear SVMs", svms);
    let report = svm.evaluate(train, test, &mut |done, all| task.at(done, all))?;
    drop(task);
    if arguments.json {
        return print_json(&sets.json(json!({ "settings": svm, "svm": report, "low_shot": few })));
    }
    let few = few.map(|few| low_shot_table(&few)).unwrap_or_default();
    print(&format!("{}{}{}{few}", sets.heading(), class_table(&report), protocol(&svm, measure)))
}

fn class_table(report: &SvmReport) -> String {
    let mut table = Table::default();
    table.row(["class", "images", "not", "cost", "3-fold AP", "test images", "test AP"]);
    for class in &report.classes {
        let percent = |value: f64| format!("{value:.2} %");
        let none = || "-".to_owned();
        let unfinished = |svm: &odc_eval::SvmFit| if svm.converged { "" } else { " (not converged)" };
        table.row([
            &class.name,
            &class.positives.to_string(),
            &class.negatives.to_string(),
            &class.svm.as_ref().map_or_else(none, |svm| format!("{}{}", cost(svm.cost), unfinished(svm))),
            &class.svm.as_ref().map_or_else(none, |svm| percent(svm.validated_average_precision)),
            &class.test_positives.to_string(),
            &class.average_precision.map_or_else(none, percent),
        ]);
    }
    let judged = report.classes.iter().filter(|class| class.average_precision.is_some()).count();
    let mut text = format!("{table}\n  mean average precision of {judged} of {} classes   ", report.classes.len());
    text += &report.mean_average_precision.percent();
    if let Some(accuracy) = &report.accuracy {
        text += &format!("\n  accuracy of the largest score   {}", accuracy.percent());
    }
    text + "\n\n"
}

fn low_shot_table(report: &LowShotReport) -> String {
    let mut table = Table::default();
    table.row(["images a class", "cost", "mean average precision", "accuracy"]);
    for result in &report.results {
        table.row([
            &result.shots.to_string(),
            &cost(result.cost),
            &result.mean_average_precision.percent(),
            &result.accuracy.as_ref().map_or_else(|| "-".to_owned(), MeanAndDeviation::percent),
        ]);
    }
    let drawn = if report.single_label {
        "so many images of each class, from all of which every SVM learns"
    } else {
        "for each class so many images that show it, and (classes - 1) times as many that do not"
    };
    format!(
        "\n{table}Few images: mean and deviation of {}; drawn are {drawn}.\nThe cost, one for all classes and draws, is chosen \
         on the test images, as in published numbers.\n",
        count(report.draws, "draw")
    )
}

fn protocol(svm: &LinearSvm, measure: PrecisionMeasure) -> String {
    let ways = match svm.seeds {
        1 => String::new(),
        seeds => format!(" Mean and deviation of {seeds} ways to cut the folds; the table is of the first."),
    };
    let costs = svm.costs.iter().copied();
    let (least, most) = (costs.clone().fold(f64::INFINITY, f64::min), costs.fold(0.0, f64::max));
    format!(
        "One SVM a class, squared hinge loss, on features of length 1; images that show the class weigh {}. Costs: {} from {} to \
         {}, chosen by\n{}-fold average precision. Test AP: {}.{ways}\n",
        svm.positive_weight,
        svm.costs.len(),
        cost(least),
        cost(most),
        svm.folds,
        measure.in_words()
    )
}

impl PrecisionMeasure {
    fn meant(self) -> AveragePrecision {
        match self {
            Self::Area => AveragePrecision::Area,
            Self::Interpolated => AveragePrecision::Interpolated,
            Self::Voc11 => AveragePrecision::Voc11,
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Area => "area under precision over recall",
            Self::Interpolated => "area under interpolated precision, as VOC from 2010 on",
            Self::Voc11 => "interpolated precision at 11 recalls, as VOC 2007",
        }
    }
}

fn cost(cost: f64) -> String {
    if (1e-3..1e4).contains(&cost) { cost.to_string() } else { format!("{cost:.3e}") }
}
