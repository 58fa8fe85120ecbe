//! `eval-linear` and `eval-knn`: what the features of a network are worth on labelled images.

use std::sync::Arc;

use odc_data::{Dataset, Source};
use odc_eval::{Features, KnnClassifier, LinearProbe, LogisticProbe};
use serde_json::{Value, json};

use crate::arguments::{
    BackboneArguments, ColumnArguments, EvalKnnArguments, EvalLinearArguments, LabelledSets, MachineArguments,
};
use crate::backbone::Subject;
use crate::images::{label_translation, tell_skipped};
use crate::output::{Table, count, print, print_json};
use crate::progress::Task;

/// Features of labelled images to learn from and to test on.
pub(crate) struct Sets {
    subject: Subject,
    pub(crate) train: Features,
    pub(crate) test: Features,
    /// The images of `train`.
    pub(crate) dataset: Arc<dyn Dataset>,
    /// The images of `test`.
    pub(crate) test_dataset: Arc<dyn Dataset>,
    /// In words: which images.
    about: String,
}

/// Two linear classifiers on the frozen features: the published protocol, and logistic regression.
///
/// # Errors
/// Where the network or the images cannot be read, or there are no labels.
pub(crate) fn linear(arguments: EvalLinearArguments) -> anyhow::Result<()> {
    let epochs = arguments.epochs;
    let probe = LinearProbe { epochs, milestones: vec![epochs * 3 / 5, epochs * 4 / 5], ..LinearProbe::default() };
    let logistic = LogisticProbe::default();
    let sets = Sets::extract(&arguments.backbone, &arguments.sets, &arguments.machine, ColumnArguments::open_labelled)?;
    let task = Task::begin("Linear probe, published protocol", 0);
    let published = probe.evaluate(&sets.train, &sets.test)?;
    drop(task);
    let task = Task::begin("Linear probe, logistic regression", 0);
    let regression = logistic.evaluate(&sets.train, &sets.test)?;
    drop(task);
    if arguments.json {
        return print_json(&sets.json(json!({
            "published_protocol": { "schedule": probe, "result": published },
            "logistic_regression": { "iterations_at_most": logistic.iterations, "result": regression },
        })));
    }
    let mut table = Table::default();
    table.row(["linear classifier", "accuracy"]);
    table.row(["published protocol (SGD)", &format!("{:.2} %", published.top1)]);
    for result in &regression.results {
        let ended = if result.converged { "" } else { " (not converged)" };
        let name = format!("logistic regression, weight decay {}{ended}", result.decay);
        table.row([&name, &format!("{:.2} %", result.top1)]);
    }
    let milestones: Vec<String> = probe.milestones.iter().map(usize::to_string).collect();
    print(&format!(
        "{}{table}Published protocol: {epochs} epochs of batches of {}, learning rate {} (×{} after {}), momentum {}, weight \
         decay {}.\nLogistic regression: on standardised features, at most {} steps of L-BFGS; its best is {:.2} %.\n",
        sets.heading(),
        probe.batch_size,
        probe.learning_rate,
        probe.gamma,
        milestones.join(" and "),
        probe.momentum,
        probe.weight_decay,
        logistic.iterations,
        regression.best
    ))
}

/// Votes of nearest neighbours.
///
/// # Errors
/// As [`linear`].
pub(crate) fn knn(arguments: EvalKnnArguments) -> anyhow::Result<()> {
    let sets = Sets::extract(&arguments.backbone, &arguments.sets, &arguments.machine, ColumnArguments::open_labelled)?;
    let task = Task::begin("Nearest neighbours", 0);
    let report = KnnClassifier::evaluate_each(&arguments.k, arguments.temperature, &sets.train, &sets.test)?;
    drop(task);
    if arguments.json {
        return print_json(&sets.json(json!({ "knn": report })));
    }
    let mut table = Table::default();
    table.row(["neighbours k", "accuracy", "by plain majority"]);
    for result in &report.results {
        let fewer =
            if result.neighbours < result.k { format!(" (only {} images)", result.neighbours) } else { String::new() };
        let k = format!("{}{fewer}", result.k);
        table.row([&k, &format!("{:.2} %", result.weighted), &format!("{:.2} %", result.majority)]);
    }
    print(&format!("{}{table}Votes weigh exp(cosine similarity / {}).\n", sets.heading(), report.temperature))
}

impl Sets {
    /// Features of the images that the flags mean; `open` refuses images that lack the labels that are needed.
    ///
    /// # Errors
    /// Where the network or the images cannot be read, or there are no labels.
    pub(crate) fn extract(
        backbone: &BackboneArguments,
        labelled: &LabelledSets,
        machine: &MachineArguments,
        open: impl Fn(&ColumnArguments, &str, &Source) -> anyhow::Result<Arc<dyn Dataset>>,
    ) -> anyhow::Result<Self> {
        let mut subject = backbone.subject(machine)?;
        let source = subject.source(labelled.data.as_deref(), &labelled.columns)?;
        // Both sets are opened before the work begins: a wrong path should not cost minutes.
        let dataset = open(&labelled.columns, "--data", &source)?;
        let test_source = match &labelled.test {
            Some(path) => Some(labelled.columns.source(path, &source)),
            None => source.held_out(),
        };
        let test_set =
            test_source.map(|test| Ok::<_, anyhow::Error>((open(&labelled.columns, "--test", &test)?, test)));
        let test_set = test_set.transpose()?;
        subject.resolve(dataset.as_ref());
        let loaded = subject.load()?;
        let features = |dataset: &Arc<dyn Dataset>, what: &str| -> anyhow::Result<Features> {
            let features = subject.features(&loaded, dataset, what)?;
            tell_skipped(&features.skipped);
            Ok(features)
        };
        let test_dataset = test_set.as_ref().map_or_else(|| Arc::clone(&dataset), |(test_set, _)| Arc::clone(test_set));
        let (train, test, about) = match test_set {
            Some((test_set, test_source)) => {
                let translation = label_translation(test_set.as_ref(), dataset.as_ref())?;
                let mut test = features(&test_set, "the test images")?;
                for label in test.true_labels.iter_mut().flatten() {
                    *label = translation.get(*label as usize).copied().unwrap_or(*label);
                }
                let generated = labelled.test.is_none() && test_source.path == source.path;
                let of = if generated { "new ones".to_owned() } else { format!("of {}", test_source.path) };
                (features(&dataset, "the training images")?, test, of)
            }
            None => {
                let (train, test) = features(&dataset, "the images")?.split_fifth(0);
                (train, test, "others: one image in five, held out".to_owned())
            }
        };
        let about =
            format!("trained on {} of {}, tested on {} {about}", count(train.len(), "image"), source.path, test.len());
        Ok(Self { subject, train, test, dataset, test_dataset, about })
    }

    /// What the result is about, in words.
    pub(crate) fn heading(&self) -> String {
        let data = &self.subject.recipe().data;
        format!(
            "{}\n{}\n{} features an image, from {side} × {side} pixels (view: {})\n\n",
            self.subject.describe(),
            self.about,
            self.train.dim,
            self.subject.view(),
            side = data.resolved_side(),
        )
    }

    /// The result with what it is about.
    pub(crate) fn json(&self, mut result: Value) -> Value {
        let recipe = self.subject.recipe();
        let about = json!({
            "network": self.subject.describe(), "backbone": recipe.model.backbone(), "side": recipe.data.resolved_side(),
            "view": recipe.data.plain_view, "images": self.about, "train_images": self.train.len(),
            "test_images": self.test.len(), "dim": self.train.dim,
        });
        if let (Some(result), Value::Object(about)) = (result.as_object_mut(), about) {
            result.extend(about);
        }
        result
    }
}
