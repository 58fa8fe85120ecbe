//! Deep Clustering: the conductor that clusters all images anew before each epoch, and trains on those labels.
//!
//! Caron, Bojanowski, Joulin, Douze, "Deep Clustering for Unsupervised Learning of Visual Features", ECCV 2018.

use candle_core::{DType, Tensor};
use odc_data::{Batch, Sampling};
use odc_kmeans::{KMeans, Whitening};
use odc_model::Classifier;

use crate::classify::{self, Labelled};
use crate::learner::Learner;
use crate::recipe::Balance;
use crate::{Recipe, StepOutcome, TrainerError};

/// The conductor of Deep Clustering: a backbone with a classifier over clusters on its pooled features, its optimiser,
/// and the clustering of the epoch.
pub struct DeepCluster {
    pub(crate) network: Classifier,
    pub(crate) learner: Learner,
    clustering: EpochClustering,
    /// All alike, or by the sizes of clusters.
    loss_weights: Tensor,
    balance: Balance,
    reweight_power: f32,
}

/// The clusters of an epoch, and how features come to them.
#[derive(Clone, Debug)]
pub struct EpochClustering {
    /// The epoch, from 0.
    pub epoch: u64,
    /// What features went through before k-means; L2 normalisation comes after it.
    pub whitening: Whitening,
    /// `[n_clusters, n_components]`.
    pub centroids: Vec<f32>,
    /// The cluster of each image, `[n_samples]`.
    pub labels: Vec<u32>,
    /// Images in each cluster, `[n_clusters]`.
    pub sizes: Vec<u32>,
    /// Sum of squared distances to the centroids; `None` of a restored clustering.
    pub inertia: Option<f64>,
}

impl EpochClustering {
    /// Whitens the pooled features (`[n, dim]`) of the images `samples` and clusters them. `labels` (`[n_samples]`) are
    /// those before: an image that is not among `samples`, because it can no longer be read, keeps its own.
    ///
    /// # Errors
    /// Features that are not finite, fewer of them than clusters.
    pub fn new(
        recipe: &Recipe,
        epoch: u64,
        features: &[f32],
        samples: &[u32],
        mut labels: Vec<u32>,
    ) -> Result<Self, TrainerError> {
        let dim = features.len() / samples.len().max(1);
        let whitening = Whitening::fit(features, dim, recipe.deepcluster.pca_dim)?;
        let mut rows = whitening.apply(features)?;
        odc_kmeans::normalize_rows(&mut rows, whitening.n_components());
        let seed = odc_ops::random::key(recipe.seed, "kmeans", epoch);
        let kmeans = KMeans { n_clusters: recipe.n_clusters(), iterations: recipe.kmeans.iterations, seed };
        let clustering = kmeans.fit(&rows, whitening.n_components())?;
        let inertia = Some(clustering.inertia());
        let (centroids, of_samples) = clustering.into_parts();
        for (sample, label) in samples.iter().zip(of_samples) {
            labels[*sample as usize] = label;
        }
        Ok(Self { inertia, ..Self::from_parts(epoch, whitening, centroids, labels, recipe.n_clusters()) })
    }

    /// Labels must be below `n_clusters`.
    pub(crate) fn from_parts(
        epoch: u64,
        whitening: Whitening,
        centroids: Vec<f32>,
        labels: Vec<u32>,
        n_clusters: usize,
    ) -> Self {
        let mut sizes = vec![0; n_clusters];
        labels.iter().for_each(|label| sizes[*label as usize] += 1);
        Self { epoch, whitening, centroids, labels, sizes, inertia: None }
    }

    /// The nearest centroids of pooled features (`[n, dim]`).
    ///
    /// # Errors
    /// Features that are not finite, or not whole rows.
    pub fn assign(&self, features: &[f32]) -> Result<Vec<u32>, TrainerError> {
        let n_components = self.whitening.n_components();
        let mut rows = self.whitening.apply(features)?;
        odc_kmeans::normalize_rows(&mut rows, n_components);
        let mut labels = vec![0; rows.len() / n_components];
        odc_memory::nearest(odc_memory::Rule::Paper, &rows, &self.centroids, n_components, &mut labels);
        Ok(labels)
    }
}

impl DeepCluster {
    /// At iteration 0, with the clustering of epoch 0. `total` is the length of the run in iterations.
    ///
    /// # Errors
    /// From candle, where the optimiser's tensors cannot be made.
    pub fn new(
        recipe: &Recipe,
        network: Classifier,
        clustering: EpochClustering,
        total: u64,
    ) -> Result<Self, TrainerError> {
        let (body, head) = (network.backbone.params().trainable(), network.head.params().trainable());
        let learner = Learner::new(recipe, body, head, total)?;
        let (balance, reweight_power) = (recipe.deepcluster.balance, recipe.memory.reweight_power);
        let loss_weights = loss_weights(balance, reweight_power, &clustering, &learner)?;
        Ok(Self { network, learner, clustering, loss_weights, balance, reweight_power })
    }

    /// Backbone and head.
    pub fn network(&self) -> &Classifier {
        &self.network
    }

    /// The clustering that is trained on.
    pub fn clustering(&self) -> &EpochClustering {
        &self.clustering
    }

    /// A new epoch: its clustering, a classifier drawn anew from (seed, epoch), and no velocities of the old one.
    ///
    /// # Errors
    /// From candle.
    pub fn begin_epoch(&mut self, clustering: EpochClustering) -> Result<(), TrainerError> {
        self.loss_weights = loss_weights(self.balance, self.reweight_power, &clustering, &self.learner)?;
        self.network.head.reset(odc_ops::random::key(self.learner.seed, "head", clustering.epoch))?;
        self.learner.forget_head_velocities()?;
        self.clustering = clustering;
        Ok(())
    }

    /// The order of the epoch's images: from each cluster alike, or every image once.
    pub fn order(&self) -> Vec<u32> {
        let EpochClustering { epoch, labels, sizes, .. } = &self.clustering;
        match self.balance {
            Balance::Uniform => odc_data::uniform_over_labels(labels, sizes.len(), self.learner.seed, *epoch),
            Balance::Reweight => Sampling::Permutation.epoch(self.learner.seed, *epoch, labels.len()),
        }
    }

    /// One iteration: forward pass, cross-entropy against the epoch's labels, SGD.
    ///
    /// # Errors
    /// From candle where shapes do not fit.
    pub fn step(&mut self, batch: &Batch) -> Result<StepOutcome, TrainerError> {
        let labels = batch.indices.iter().map(|image| self.clustering.labels[*image as usize]).collect();
        let views = Labelled { pixels: &batch.pixels, side: batch.side, labels };
        odc_ops::in_pool(|| {
            let (outcome, _) = classify::step(&mut self.learner, &self.network, views, &self.loss_weights)?;
            Ok(outcome)
        })
    }
}

fn loss_weights(
    balance: Balance,
    power: f32,
    clustering: &EpochClustering,
    learner: &Learner,
) -> Result<Tensor, TrainerError> {
    let n_clusters = clustering.sizes.len();
    Ok(match balance {
        Balance::Uniform => Tensor::ones(n_clusters, DType::F32, &learner.device)?,
        Balance::Reweight => {
            Tensor::from_vec(odc_memory::loss_weights(&clustering.sizes, power), n_clusters, &learner.device)?
        }
    })
}
