//! Training and test rows of one evaluation, checked once: same width, finite, every row with a class.

use std::borrow::Cow;

use crate::{EvalError, Features};

/// The class of a test row whose true label no training row has: never predicted, so always wrong.
const UNSEEN: u32 = u32::MAX;

/// What a classifier is trained and tested on.
pub(crate) struct Task<'a> {
    pub(crate) train: Rows<'a>,
    pub(crate) test: Rows<'a>,
    pub(crate) dim: usize,
    /// Classes are 0 .. n_classes in the order of the true labels that occur in training.
    pub(crate) n_classes: usize,
}

/// Rows and their classes.
pub(crate) struct Rows<'a> {
    /// `[len, dim]`.
    pub(crate) values: Cow<'a, [f32]>,
    pub(crate) classes: Vec<u32>,
}

impl Rows<'_> {
    pub(crate) fn len(&self) -> usize {
        self.classes.len()
    }
}

impl<'a> Task<'a> {
    /// Rows without a true label are left out.
    pub(crate) fn new(train: &'a Features, test: &'a Features) -> Result<Self, EvalError> {
        let (train_values, train_labels) = labelled(train, "training features")?;
        let (test_values, test_labels) = labelled(test, "test features")?;
        if train.dim != test.dim {
            let what = "width of the test features (that of the training features is needed)";
            return Err(EvalError::Size { what, got: test.dim, expected: train.dim });
        }
        let mut labels = train_labels.clone();
        labels.sort_unstable();
        labels.dedup();
        let class = |label: &u32| labels.binary_search(label).map_or(UNSEEN, |class| class as u32);
        Ok(Self {
            train: Rows { values: train_values, classes: train_labels.iter().map(class).collect() },
            test: Rows { values: test_values, classes: test_labels.iter().map(class).collect() },
            dim: train.dim,
            n_classes: labels.len(),
        })
    }

    /// Percent of test rows whose class is predicted.
    pub(crate) fn test_accuracy(&self, predicted: &[u32]) -> f64 {
        let right = self.test.classes.iter().zip(predicted).filter(|(class, predicted)| class == predicted).count();
        100.0 * right as f64 / self.test.len() as f64
    }
}

fn labelled<'a>(features: &'a Features, what: &'static str) -> Result<(Cow<'a, [f32]>, Vec<u32>), EvalError> {
    let n = features.len();
    if features.values.len() != n * features.dim {
        return Err(EvalError::Size { what, got: features.values.len(), expected: n * features.dim });
    }
    if let Some(position) = features.values.iter().position(|value| !value.is_finite()) {
        let row = position / features.dim;
        let name = features.names.get(row).cloned().unwrap_or_else(|| format!("row {row}"));
        return Err(EvalError::NotFinite { name, column: position % features.dim, value: features.values[position] });
    }
    let labels: Vec<u32> = features.true_labels.iter().flatten().copied().collect();
    if labels.is_empty() || features.dim == 0 {
        let reason = format!(
            "none of {n} rows of {} numbers has a true label; give images with labels (folders by class, or a label column)",
            features.dim
        );
        return Err(EvalError::Empty { what, reason });
    }
    if labels.len() == n {
        return Ok((Cow::Borrowed(&features.values), labels));
    }
    let mut values = Vec::with_capacity(labels.len() * features.dim);
    let known = (0..n).filter(|&row| features.true_labels[row].is_some());
    known.for_each(|row| values.extend_from_slice(features.row(row)));
    Ok((Cow::Owned(values), labels))
}
