//! What a run needs before an iteration: features of all images, their clustering, the conductor that goes on from it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::{DType, Tensor};
use odc_data::{Dataset, Skipped, Subset};
use odc_eval::{ExtractionConfig, Features};
use odc_kmeans::KMeans;
use odc_memory::Memory;
use odc_model::{Dropout, Mode};

use crate::first_network::FirstNetwork;
use crate::recipe::InitialFeatures;
use crate::statistics;
use crate::{Conductor, DeepCluster, EpochClustering, Recipe, Rotation, Trainer, TrainerError};

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
    /// k-means over the features, where the method has clusters.
    Clustering,
    /// Nearest neighbours of labelled images.
    Scoring,
}

/// What the start gives.
pub(crate) struct Start {
    /// The images that could be decoded.
    pub(crate) images: Vec<u32>,
    pub(crate) skipped: Vec<Skipped>,
    network: FirstNetwork,
    /// Raw features of `images` that are to be clustered; rotation prediction has none.
    features: Vec<f32>,
    t_extract: Duration,
}

/// A conductor at iteration 0, and what its first clustering was like.
pub(crate) struct Begun {
    pub(crate) conductor: Conductor,
    pub(crate) clustered: Option<Clustered>,
}

/// What a clustering of all images was like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clustered {
    pub(crate) inertia: f64,
    pub(crate) t_extract: Duration,
    pub(crate) t_cluster: Duration,
}

/// Extracts the features that the method clusters, of every image in evaluation mode, and finds the images that cannot
/// be decoded.
pub(crate) fn extract_features(
    recipe: &Recipe,
    network: FirstNetwork,
    dataset: &Arc<dyn Dataset>,
    progress: &mut dyn FnMut(Stage),
) -> Result<Start, TrainerError> {
    let start = Instant::now();
    if let (FirstNetwork::Odc(network), InitialFeatures::TrainStatistics) = (&network, recipe.memory.initial_features) {
        statistics::fill_by_training_views(recipe, network, dataset)?;
    }
    let mut forward = |images: &Tensor| match &network {
        FirstNetwork::Odc(network) => network.features(images, Mode::Eval, Dropout::Off),
        FirstNetwork::DeepCluster(network) => {
            odc_ops::in_pool(|| network.backbone.forward(images, Mode::Eval, Dropout::Off))
        }
        // Only whether they can be decoded is asked.
        FirstNetwork::Rotation(_) => Tensor::zeros((images.dims()[0], 1), DType::F32, images.device()),
    };
    let mut told = |done, total| progress(Stage::Extracting { done, total });
    let Features { values, indices, skipped, .. } =
        odc_eval::extract_with(&mut forward, dataset, &extraction(recipe), &mut told)?;
    Ok(Start { images: indices, skipped, network, features: values, t_extract: start.elapsed() })
}

impl Start {
    /// The first clustering, and the conductor that goes on from it. Needs a recipe that was checked against N.
    pub(crate) fn conductor(self, recipe: &Recipe, total: u64) -> Result<Begun, TrainerError> {
        let start = Instant::now();
        let (conductor, inertia) = match self.network {
            FirstNetwork::Odc(network) => {
                let (memory, inertia) = first_memory(recipe, self.features)?;
                (Conductor::Odc(Box::new(Trainer::new(recipe, *network, memory, total)?)), Some(inertia))
            }
            FirstNetwork::DeepCluster(network) => {
                let samples: Vec<u32> = (0..self.images.len() as u32).collect();
                let labels = vec![0; samples.len()];
                let clustering = EpochClustering::new(recipe, 0, &self.features, &samples, labels)?;
                let inertia = clustering.inertia;
                let deep_cluster = DeepCluster::new(recipe, network, clustering, total)?;
                (Conductor::DeepCluster(Box::new(deep_cluster)), inertia)
            }
            FirstNetwork::Rotation(network) => {
                (Conductor::Rotation(Box::new(Rotation::new(recipe, network, total)?)), None)
            }
        };
        let (t_extract, t_cluster) = (self.t_extract, start.elapsed());
        Ok(Begun { conductor, clustered: inertia.map(|inertia| Clustered { inertia, t_extract, t_cluster }) })
    }
}

/// Global k-means, and both memories filled from it; its inertia.
fn first_memory(recipe: &Recipe, features: Vec<f32>) -> Result<(Memory, f64), TrainerError> {
    let config = recipe.memory_config();
    let mut rows = features.clone();
    odc_memory::normalize_rows(&mut rows, config.dim);
    let seed = odc_ops::random::key(recipe.seed, "kmeans", 0);
    let kmeans = KMeans { n_clusters: config.n_clusters, iterations: recipe.kmeans.iterations, seed };
    let clustering = kmeans.fit(&rows, config.dim)?;
    let (inertia, stopped) = (clustering.inertia(), clustering.stopped());
    tracing::info!(inertia, ?stopped, clusters = config.n_clusters, "initial clustering");
    let (_, labels) = clustering.into_parts();
    Ok((Memory::new(config, features, labels)?, inertia))
}

/// Deep Clustering's next epoch: features of all images by the network as it stands, their clustering, a new classifier.
pub(crate) fn cluster_anew(
    deep_cluster: &mut DeepCluster,
    recipe: &Recipe,
    epoch: u64,
    dataset: &Arc<dyn Dataset>,
) -> Result<Clustered, TrainerError> {
    let start = Instant::now();
    let backbone = &deep_cluster.network.backbone;
    let Features { values, indices, .. } = odc_eval::extract(backbone, dataset, &extraction(recipe), &mut |_, _| ())?;
    let t_extract = start.elapsed();
    let labels = deep_cluster.clustering().labels.clone();
    let clustering = EpochClustering::new(recipe, epoch, &values, &indices, labels)?;
    let inertia = clustering.inertia.unwrap_or_default();
    deep_cluster.begin_epoch(clustering)?;
    Ok(Clustered { inertia, t_extract, t_cluster: start.elapsed() - t_extract })
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
