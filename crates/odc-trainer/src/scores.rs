//! What features and pseudo-labels are worth against true labels, where there are any.

use std::sync::Arc;

use odc_data::{Dataset, Subset};
use odc_eval::{ClusteringScore, FIFTHS, Features, KnnClassifier, normalized_mutual_information};
use odc_model::Backbone;
use serde::{Deserialize, Serialize};

use crate::{Recipe, TrainerError, start};

/// What the features and pseudo-labels are worth against true labels, where there are any.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// kNN accuracy in percent of the backbone's pooled features, each fifth of the images against the others.
    pub knn: Option<f64>,
    /// kNN accuracy in percent of raw pixels, on the same images.
    pub knn_pixels: Option<f64>,
    /// Normalised mutual information of pseudo-labels and true labels.
    pub nmi: Option<f64>,
}

/// kNN of the backbone's features on a spread of the images, and NMI of all pseudo-labels.
pub(crate) fn score(
    recipe: &Recipe,
    backbone: &Backbone,
    dataset: &Arc<dyn Dataset>,
    labels: Option<&[u32]>,
) -> Result<Scores, TrainerError> {
    let Some(subset) = scored_images(recipe, dataset) else { return Ok(Scores::default()) };
    let features = odc_eval::extract(backbone, &subset, &start::extraction(recipe), &mut |_, _| ())?;
    let knn = knn_by_fifths(recipe, &features)?;
    Ok(Scores { knn, knn_pixels: None, nmi: labels.and_then(|labels| nmi(dataset, labels)) })
}

pub(crate) fn pixel_score(recipe: &Recipe, dataset: &Arc<dyn Dataset>) -> Result<Option<f64>, TrainerError> {
    // Beyond small images, raw pixels are a long wait for a number that nobody doubts.
    if recipe.data.resolved_side() > 64 {
        return Ok(None);
    }
    let Some(subset) = scored_images(recipe, dataset) else { return Ok(None) };
    knn_by_fifths(recipe, &odc_eval::extract_pixels(&subset, &start::extraction(recipe))?)
}

/// Whether there are two true labels to tell apart: with one, any answer would be right.
fn has_classes(dataset: &dyn Dataset) -> bool {
    let mut labels = (0..dataset.len()).filter_map(|index| dataset.true_label(index));
    labels.next().is_some_and(|first| labels.any(|label| label != first))
}

/// At most `evaluation.images` images, drawn from all; `None` where there is nothing to score.
fn scored_images(recipe: &Recipe, dataset: &Arc<dyn Dataset>) -> Option<Arc<dyn Dataset>> {
    let most = recipe.evaluation.images;
    if most == 0 || !has_classes(dataset.as_ref()) {
        return None;
    }
    Some(Arc::new(Subset::spread(Arc::clone(dataset), most)))
}

/// Each image asks its neighbours among the four fifths that it is not in.
fn knn_by_fifths(recipe: &Recipe, features: &Features) -> Result<Option<f64>, TrainerError> {
    let classifier = KnnClassifier { k: recipe.evaluation.knn_k, temperature: recipe.evaluation.temperature };
    let (mut right, mut asked) = (0.0, 0.0);
    for fold in 0..FIFTHS {
        let (reference, queries) = features.split_fifth(fold);
        let labelled = queries.true_labels.iter().flatten().count() as f64;
        if reference.len() <= recipe.evaluation.knn_k || labelled == 0.0 {
            return Ok(None);
        }
        right += classifier.accuracy(&reference, &queries)? * labelled;
        asked += labelled;
    }
    Ok(Some(right / asked))
}

pub(crate) fn nmi(dataset: &Arc<dyn Dataset>, labels: &[u32]) -> Option<f64> {
    let known: Vec<(u32, u32)> =
        labels.iter().enumerate().filter_map(|(sample, label)| Some((*label, dataset.true_label(sample)?))).collect();
    if !has_classes(dataset.as_ref()) {
        return None;
    }
    let (clusters, true_labels): (Vec<u32>, Vec<u32>) = known.into_iter().unzip();
    normalized_mutual_information(&clusters, &true_labels).ok()
}

/// Clusters up to which the best matching is looked for: its time grows with their cube.
const MATCHED_CLUSTERS: usize = 2000;

/// NMI of labels with earlier ones, and the share of images that changed cluster when clusters are matched in the best
/// way; no share beyond [`MATCHED_CLUSTERS`].
pub(crate) fn compare_labels(labels: &[u32], earlier: &[u32], n_clusters: usize) -> (Option<f64>, Option<f64>) {
    if n_clusters > MATCHED_CLUSTERS {
        return (normalized_mutual_information(labels, earlier).ok(), None);
    }
    match ClusteringScore::new(labels, earlier) {
        Ok(score) => (Some(score.nmi), Some(1.0 - score.hungarian_accuracy / 100.0)),
        Err(_) => (None, None),
    }
}
