//! Running statistics of batch norm that forward passes fill, apart from training.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use odc_data::{Augmentation, Dataset, Loader, LoaderConfig, Sampling, View};
use odc_model::{Backbone, Network};

use crate::{Recipe, TrainerError};

/// Batches that statistics are the mean of: with [`BATCH_SIZE`] some thousands of images.
const BATCHES: usize = 20;
/// Images in each of them.
const BATCH_SIZE: usize = 128;

/// Fills the statistics of a network, neck and all, by training views.
pub(crate) fn fill_by_training_views(
    recipe: &Recipe,
    network: &Network,
    dataset: &Arc<dyn Dataset>,
) -> Result<(), TrainerError> {
    let view = View::Training(Augmentation { steps: recipe.data.augmentation.clone() });
    fill(recipe, view, dataset, &|images, earlier| network.accumulate_statistics(images, earlier))
}

/// A copy of the backbone whose statistics are those of plain views: of what it will see once it is trained.
pub(crate) fn with_plain_statistics(
    recipe: &Recipe,
    backbone: &Backbone,
    dataset: &Arc<dyn Dataset>,
) -> Result<Backbone, TrainerError> {
    let copy = Backbone::new(backbone.config(), 0, &Device::Cpu)?;
    for (name, tensor) in backbone.params().named_tensors()? {
        copy.params().set(&name, &tensor)?;
    }
    let view = View::Plain(recipe.data.plain_view);
    fill(recipe, view, dataset, &|images, earlier| copy.accumulate_statistics(images, earlier))?;
    Ok(copy)
}

/// Batches of a few thousand images, the same for the same seed.
fn fill(
    recipe: &Recipe,
    view: View,
    dataset: &Arc<dyn Dataset>,
    accumulate: &(dyn Fn(&Tensor, u64) -> candle_core::Result<()> + Sync),
) -> Result<(), TrainerError> {
    let n_samples = dataset.len();
    let batch_size = BATCH_SIZE.min(n_samples);
    let order = Sampling::Permutation.epoch(odc_ops::random::key(recipe.seed, "statistics", 0), 0, n_samples);
    let order = order.into_iter().take(BATCHES * batch_size).collect();
    let config = LoaderConfig {
        batch_size,
        side: recipe.data.resolved_side(),
        workers: recipe.data.resolved_workers(),
        queue: recipe.data.queue,
        seed: recipe.seed,
        epoch: u64::MAX,
    };
    let batches = Loader::new(Arc::clone(dataset), order, 0, view, config).filter(|batch| batch.indices.len() > 1);
    for (earlier, batch) in batches.enumerate() {
        let shape = (batch.indices.len(), batch.side, batch.side, 3);
        let pixels = Tensor::from_slice(&batch.pixels, shape, &Device::Cpu)?;
        let images = odc_ops::normalize_pixels(&pixels, recipe.data.mean, recipe.data.std)?;
        odc_ops::in_pool(|| accumulate(&images, earlier as u64))?;
    }
    Ok(())
}
