//! `eval-knn`, and what all judges of pooled features begin with: features of labelled images.

use odc_eval::{Features, KnnClassifier, Layer};
use serde_json::{Value, json};

use crate::arguments::{CacheArguments, ColumnArguments, EvalKnnArguments};
use crate::images::tell_skipped;
use crate::labelled_sets::OpenSets;
use crate::output::{Table, print, print_json};
use crate::progress::Task;

/// Pooled features of labelled images to learn from and to test on.
pub(crate) struct Sets {
    pub(crate) open: OpenSets,
    pub(crate) train: Features,
    pub(crate) test: Features,
}

/// Votes of nearest neighbours.
///
/// # Errors
/// Where the network or the images cannot be read, or there are no labels.
pub(crate) fn knn(arguments: EvalKnnArguments) -> anyhow::Result<()> {
    let open = arguments.sets.open(&arguments.backbone, &arguments.machine, ColumnArguments::open_labelled)?;
    let sets = Sets::extract(open, &arguments.cache)?;
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
    /// Loads the network and extracts, or reads what the cache holds.
    ///
    /// # Errors
    /// As [`knn`].
    pub(crate) fn extract(open: OpenSets, cache: &CacheArguments) -> anyhow::Result<Self> {
        let cache = cache.open()?;
        let loaded = open.subject.load()?;
        let pool = |dataset, what| -> anyhow::Result<Features> {
            let mut features = open.subject.layers(&loaded, &[Layer::Vector], dataset, None, cache.as_ref(), what)?;
            tell_skipped(&features[0].skipped);
            Ok(features.swap_remove(0))
        };
        let (train, test) = (pool(&open.train, "the training images")?, pool(&open.test, "the test images")?);
        Ok(Self { open, train, test })
    }

    /// Raw pixels in the place of features, from the view that the network gets.
    ///
    /// # Errors
    /// Where no image can be read.
    pub(crate) fn of_pixels(open: OpenSets) -> anyhow::Result<Self> {
        let pixels = |dataset| odc_eval::extract_pixels(dataset, &open.subject.extraction());
        let (train, test) = (pixels(&open.train)?, pixels(&open.test)?);
        Ok(Self { open, train, test })
    }

    /// What was judged, for the head of a table.
    pub(crate) fn heading(&self) -> String {
        let images = self.open.heading("trained on", self.train.len(), self.test.len());
        format!("{images}\n{} features an image\n\n", self.train.dim)
    }

    /// The result with what it is about.
    pub(crate) fn json(&self, result: Value) -> Value {
        let mut result = self.open.json("trained on", self.train.len(), self.test.len(), result);
        if let Some(result) = result.as_object_mut() {
            result.insert("dim".to_owned(), json!(self.train.dim));
        }
        result
    }
}
