//! `eval-linear` and `eval-knn`: what the features of a network are worth on labelled images.

use std::sync::Arc;

use odc_data::Dataset;
use odc_eval::{Features, KnnClassifier, LinearProbe, LogisticProbe};
use serde_json::{Value, json};

use crate::arguments::{BackboneArguments, EvalKnnArguments, EvalLinearArguments, LabelledSets, MachineArguments};
use crate::backbone::Subject;
use crate::images::{label_translation, tell_skipped};
use crate::output::{Table, count, print, print_json};
use crate::progress::Task;

/// Features of labelled images to learn from and to test on.
pub(crate) struct Sets {
    subject: Subject,
    pub(crate) train: Features,
    pub(crate) test: Features,
    /// In words: which images.
    pub(crate) about: String,
}

/// Two linear classifiers on the frozen features: the published protocol, and logistic regression.
///
/// # Errors
/// Where the network or the images cannot be read, or there are no labels.
pub(crate) fn linear(arguments: EvalLinearArguments) -> anyhow::Result<()> {
    let epochs = arguments.epochs;
    let probe = LinearProbe { epochs, milestones: vec![epochs * 3 / 5, epochs * 4 / 5], ..LinearProbe::default() };
    let logistic = LogisticProbe::default();
    let sets = Sets::extract(&arguments.backbone, &arguments.sets, &arguments.machine)?;
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
    let sets = Sets::extract(&arguments.backbone, &arguments.sets, &arguments.machine)?;
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
    fn extract(
        backbone: &BackboneArguments,
        labelled: &LabelledSets,
        machine: &MachineArguments,
    ) -> anyhow::Result<Self> {
        Self::of_network(backbone.subject(machine)?, labelled)
    }

    /// The features of a network.
    ///
    /// # Errors
    /// Where it or the images cannot be read, or there are no labels.
    pub(crate) fn of_network(subject: Subject, labelled: &LabelledSets) -> anyhow::Result<Self> {
        let mut loaded = None;
        Self::of_features(subject, labelled, &mut |subject, dataset, what| {
            let network = match &mut loaded {
                Some(network) => network,
                none => none.insert(subject.load()?),
            };
            subject.features(network, dataset, what)
        })
    }

    /// Raw pixels in the place of features, from the view that the network gets.
    ///
    /// # Errors
    /// As [`Sets::of_network`].
    pub(crate) fn of_pixels(subject: Subject, labelled: &LabelledSets) -> anyhow::Result<Self> {
        Self::of_features(subject, labelled, &mut |subject, dataset, _| {
            Ok(odc_eval::extract_pixels(dataset, &subject.extraction())?)
        })
    }

    fn of_features(
        mut subject: Subject,
        labelled: &LabelledSets,
        extract: &mut dyn FnMut(&Subject, &Arc<dyn Dataset>, &str) -> anyhow::Result<Features>,
    ) -> anyhow::Result<Self> {
        let source = subject.source(labelled.data.as_deref(), &labelled.columns)?;
        // Both sets are opened before the work begins: a wrong path should not cost minutes.
        let dataset = labelled.columns.open_labelled("--data", &source)?;
        let test_source = match &labelled.test {
            Some(path) => Some(labelled.columns.source(path, &source)),
            None => source.held_out(),
        };
        let test_set =
            test_source.map(|test| Ok::<_, anyhow::Error>((labelled.columns.open_labelled("--test", &test)?, test)));
        let test_set = test_set.transpose()?;
        subject.resolve(dataset.as_ref());
        let mut features = |dataset: &Arc<dyn Dataset>, what: &str| -> anyhow::Result<Features> {
            let features = extract(&subject, dataset, what)?;
            tell_skipped(&features.skipped);
            Ok(features)
        };
        let (train, test, about) = match test_set {
            Some((test_set, test_source)) => {
                let translation = label_translation(test_set.as_ref(), dataset.as_ref())?;
                let mut test = features(&test_set, "the test images")?;
                for label in test.true_labels.iter_mut().flatten() {
                    *label = translation.get(*label as usize).copied().unwrap_or(*label);
                }
                let generated = labelled.test.is_none();
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
        Ok(Self { subject, train, test, about })
    }

    fn heading(&self) -> String {
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
    fn json(&self, mut result: Value) -> Value {
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
