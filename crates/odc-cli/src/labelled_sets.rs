//! Labelled images to learn from and to test on, opened; the true labels of both are numbered alike.

use std::sync::Arc;

use odc_data::{DataError, Dataset, Image, Source, Subset};
use odc_eval::{FeatureCache, fifths, true_labels};
use serde_json::{Value, json};

use crate::arguments::{BackboneArguments, CacheArguments, ColumnArguments, LabelledSets, MachineArguments};
use crate::backbone::Subject;
use crate::images::label_translation;
use crate::output::count;

/// The network that is judged, not yet loaded, and the images.
pub(crate) struct OpenSets {
    pub(crate) subject: Subject,
    pub(crate) train: Arc<dyn Dataset>,
    pub(crate) test: Arc<dyn Dataset>,
    /// In words: where the training images are from.
    train_from: String,
    /// And the test images.
    test_from: String,
}

impl LabelledSets {
    /// Opens both sets before any work begins: a wrong path should not cost minutes. `opener` refuses images that lack the
    /// labels that are needed.
    ///
    /// # Errors
    /// Where the network is unclear, or the images cannot be read or have no labels.
    pub(crate) fn open(
        &self,
        backbone: &BackboneArguments,
        machine: &MachineArguments,
        opener: impl Fn(&ColumnArguments, &str, &Source) -> anyhow::Result<Arc<dyn Dataset>>,
    ) -> anyhow::Result<OpenSets> {
        self.open_for(backbone.subject(machine)?, opener)
    }

    /// As [`LabelledSets::open`], for a network that is already named.
    ///
    /// # Errors
    /// Where the images cannot be read or have no labels.
    pub(crate) fn open_for(
        &self,
        mut subject: Subject,
        opener: impl Fn(&ColumnArguments, &str, &Source) -> anyhow::Result<Arc<dyn Dataset>>,
    ) -> anyhow::Result<OpenSets> {
        let source = subject.source(self.data.as_deref(), &self.columns)?;
        let dataset = opener(&self.columns, "--data", &source)?;
        let test_source = match &self.test {
            Some(path) => Some(self.columns.source(path, &source)),
            None => source.held_out(),
        };
        let (train, test, test_from) = match test_source {
            Some(test_source) => {
                let test = Relabelled::new(opener(&self.columns, "--test", &test_source)?, dataset.as_ref())?;
                let generated = self.test.is_none() && test_source.path == source.path;
                let from = if generated { "new ones".to_owned() } else { format!("of {}", test_source.path) };
                (Arc::clone(&dataset), Arc::new(test) as Arc<dyn Dataset>, from)
            }
            None => {
                let folds = fifths(&true_labels(dataset.as_ref()));
                let part = |held_out: bool| -> Arc<dyn Dataset> {
                    let chosen = (0..dataset.len()).filter(|&index| (folds[index] == 0) == held_out);
                    Arc::new(Subset::new(Arc::clone(&dataset), chosen.map(|index| index as u32).collect()))
                };
                (part(false), part(true), "others: one image in five, held out".to_owned())
            }
        };
        subject.resolve(dataset.as_ref());
        Ok(OpenSets { subject, train, test, train_from: source.path, test_from })
    }
}

impl OpenSets {
    /// Network, images and view, for the head of a table. `learned` says what was done with the first, `trained on`.
    pub(crate) fn heading(&self, learned: &str, train_images: usize, test_images: usize) -> String {
        format!(
            "{}\n{}\nfrom {side} × {side} pixels (view: {})",
            self.subject.describe(),
            self.about(learned, train_images, test_images),
            self.subject.view(),
            side = self.subject.recipe().data.resolved_side(),
        )
    }

    /// The result with what it is about.
    pub(crate) fn json(&self, learned: &str, train_images: usize, test_images: usize, mut result: Value) -> Value {
        let recipe = self.subject.recipe();
        let about = json!({
            "network": self.subject.describe(), "backbone": recipe.model.backbone(), "side": recipe.data.resolved_side(),
            "view": recipe.data.plain_view, "images": self.about(learned, train_images, test_images),
            "train_images": train_images, "test_images": test_images,
        });
        if let (Some(result), Value::Object(about)) = (result.as_object_mut(), about) {
            result.extend(about);
        }
        result
    }

    /// In words: which images.
    pub(crate) fn about(&self, learned: &str, train_images: usize, test_images: usize) -> String {
        let train = count(train_images, "image");
        format!("{learned} {train} of {}, tested on {test_images} {}", self.train_from, self.test_from)
    }
}

impl CacheArguments {
    /// The cache, if one is asked for.
    ///
    /// # Errors
    /// Where its folder cannot be written.
    pub(crate) fn open(&self) -> anyhow::Result<Option<FeatureCache>> {
        Ok(self.cache.as_deref().map(FeatureCache::open).transpose()?)
    }
}

/// A data set whose true labels are numbered as another set's.
struct Relabelled {
    whole: Arc<dyn Dataset>,
    /// By the label in `whole`.
    labels: Vec<u32>,
    /// The other set's.
    class_names: Vec<String>,
}

impl Relabelled {
    /// # Errors
    /// Where `whole` has a class that `other` lacks.
    fn new(whole: Arc<dyn Dataset>, other: &dyn Dataset) -> anyhow::Result<Self> {
        let labels = label_translation(whole.as_ref(), other)?;
        Ok(Self { whole, labels, class_names: other.class_names().to_vec() })
    }
}

impl Dataset for Relabelled {
    fn len(&self) -> usize {
        self.whole.len()
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        self.whole.image(index)
    }

    fn true_label(&self, index: usize) -> Option<u32> {
        self.whole.true_label(index).map(|label| self.labels.get(label as usize).copied().unwrap_or(label))
    }

    /// Nothing is known of a class that only the other set has.
    fn shows(&self, index: usize, class: u32) -> Option<bool> {
        let in_whole = self.labels.iter().position(|label| *label == class)?;
        self.whole.shows(index, in_whole as u32)
    }

    fn name(&self, index: usize) -> String {
        self.whole.name(index)
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }
}
