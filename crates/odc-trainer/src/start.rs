//! The start of a run: features of all images, the initial clustering, both memories.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use odc_data::{Augmentation, Dataset, Loader, LoaderConfig, Skipped, Subset, View};
use odc_eval::{ExtractionConfig, Features};
use odc_kmeans::KMeans;
use odc_memory::Memory;
use odc_model::weights::{self, LoadOptions, LoadReport};
use odc_model::{Dropout, Mode, Network};
use odc_ops::ConvolutionMethod;

use crate::recipe::{Convolution, InitialFeatures};
use crate::{Recipe, TrainerError};

/// What the start is busy with, for a progress display.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    /// Features of all images are being computed.
    Extracting {
        /// Images done.
        done: usize,
        /// Images in all.
        total: usize,
    },
    /// k-means over the features.
    Clustering,
    /// Nearest neighbours of labelled images.
    Scoring,
}

/// What the start gives.
pub(crate) struct Start {
    /// The images that could be decoded.
    pub(crate) images: Vec<u32>,
    pub(crate) skipped: Vec<Skipped>,
    /// Raw neck features of `images`, `[N, d]`.
    features: Vec<f32>,
}

/// Extracts the neck's features of every image in evaluation mode, and finds the images that cannot be decoded.
pub(crate) fn extract_features(
    recipe: &Recipe,
    network: &Network,
    dataset: &Arc<dyn Dataset>,
    progress: &mut dyn FnMut(Stage),
) -> Result<Start, TrainerError> {
    if recipe.memory.initial_features == InitialFeatures::TrainStatistics {
        fill_statistics(recipe, network, dataset)?;
    }
    let Features { values, indices, skipped, .. } = odc_eval::extract_with(
        &mut |images: &Tensor| network.features(images, Mode::Eval, Dropout::Off),
        dataset,
        &extraction(recipe),
        &mut |done, total| progress(Stage::Extracting { done, total }),
    )?;
    Ok(Start { images: indices, skipped, features: values })
}

impl Start {
    /// Global k-means, and both memories filled from it. Needs a recipe that was checked against N.
    pub(crate) fn cluster(self, recipe: &Recipe) -> Result<Memory, TrainerError> {
        let config = recipe.memory_config();
        let mut rows = self.features.clone();
        odc_memory::normalize_rows(&mut rows, config.dim);
        let seed = odc_ops::random::key(recipe.seed, "kmeans", 0);
        let kmeans = KMeans { n_clusters: config.n_clusters, iterations: recipe.kmeans.iterations, seed };
        let clustering = kmeans.fit(&rows, config.dim)?;
        let (inertia, stopped) = (clustering.inertia(), clustering.stopped());
        tracing::info!(inertia, ?stopped, clusters = config.n_clusters, "initial clustering");
        let (_, labels) = clustering.into_parts();
        Ok(Memory::new(config, self.features, labels)?)
    }
}

/// How images are seen for extraction.
pub(crate) fn extraction(recipe: &Recipe) -> ExtractionConfig {
    ExtractionConfig {
        side: recipe.data.resolved_side(),
        view: recipe.data.plain_view,
        batch_size: EXTRACTION_BATCH.min(recipe.batch_size().max(1)),
        workers: recipe.data.resolved_workers(),
        mean: recipe.data.mean,
        std: recipe.data.std,
    }
}

const EXTRACTION_BATCH: usize = 128;

/// The images of `dataset` that could be decoded.
pub(crate) fn usable(dataset: &Arc<dyn Dataset>, images: &[u32]) -> Arc<dyn Dataset> {
    if images.len() == dataset.len() {
        return Arc::clone(dataset);
    }
    Arc::new(Subset::new(Arc::clone(dataset), images.to_vec()))
}

/// Lets forward passes in training mode fill the running statistics of batch norm: the cumulative mean over batches
/// of the training view.
fn fill_statistics(recipe: &Recipe, network: &Network, dataset: &Arc<dyn Dataset>) -> Result<(), TrainerError> {
    const BATCHES: usize = 20;
    let n_samples = dataset.len();
    let batch_size = EXTRACTION_BATCH.min(n_samples);
    let order = odc_data::Sampling::Permutation.epoch(odc_ops::random::key(recipe.seed, "statistics", 0), 0, n_samples);
    let order = order.into_iter().take(BATCHES * batch_size).collect();
    let config = LoaderConfig {
        batch_size,
        side: recipe.data.resolved_side(),
        workers: recipe.data.resolved_workers(),
        queue: recipe.data.queue,
        seed: recipe.seed,
        epoch: u64::MAX,
    };
    let view = View::Training(Augmentation { steps: recipe.data.augmentation.clone() });
    for (number, batch) in Loader::new(Arc::clone(dataset), order, 0, view, config).enumerate() {
        if batch.indices.len() < 2 {
            continue;
        }
        let shape = (batch.indices.len(), batch.side, batch.side, 3);
        let pixels = Tensor::from_slice(&batch.pixels, shape, &Device::Cpu)?;
        let images = odc_ops::normalize_pixels(&pixels, recipe.data.mean, recipe.data.std)?;
        network.accumulate_statistics(&images, number as u64)?;
    }
    Ok(())
}

/// The network of a recipe at random.
pub(crate) fn random_network(recipe: &Recipe) -> Result<Network, TrainerError> {
    let (backbone, neck, seed) = (recipe.model.backbone(), recipe.model.neck(), recipe.network_seed());
    let mut network = Network::new(&backbone, &neck, recipe.n_clusters(), seed, &Device::Cpu)?;
    network.backbone.set_convolution_method(match recipe.model.convolution {
        Convolution::Fastest => ConvolutionMethod::Fastest,
        Convolution::Direct => ConvolutionMethod::Direct,
    });
    Ok(network)
}

/// The network that a run begins with: at random, or its backbone from `model.init_from`.
pub(crate) fn first_network(recipe: &Recipe) -> Result<(Network, Option<LoadReport>), TrainerError> {
    let network = random_network(recipe)?;
    let model = &recipe.model;
    if model.init_from.is_empty() {
        return Ok((network, None));
    }
    let options = LoadOptions { share: model.init_share, bgr: model.init_bgr };
    let report = weights::load_reported(network.backbone.params(), &model.init_from, &options)?;
    Ok((network, Some(report)))
}
