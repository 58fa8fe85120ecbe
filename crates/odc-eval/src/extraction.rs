//! Features of all images of a data set: plain views through a frozen network, batch by batch.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use odc_data::{Batch, Dataset, Loader, LoaderConfig, PlainView, View};
use odc_model::{Backbone, Dropout, Mode};

use crate::{EvalError, Features};

/// How images are shown to the network.
#[derive(Clone, Debug, PartialEq)]
pub struct ExtractionConfig {
    /// Width and height of the views.
    pub side: usize,
    /// How an image becomes a view.
    pub view: PlainView,
    /// Images that go through the network at once; the features do not depend on it beyond rounding.
    pub batch_size: usize,
    /// Threads that decode images.
    pub workers: usize,
    /// Mean of each channel, of pixels from 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, likewise.
    pub std: [f32; 3],
}

impl Default for ExtractionConfig {
    /// 224 pixels, centre crop, the usual mean and deviation of ImageNet.
    fn default() -> Self {
        Self {
            side: 224,
            view: PlainView::Crop,
            batch_size: 128,
            workers: 2,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }
    }
}

/// The backbone's pooled features in evaluation mode, `[images, out_dim]`. `progress` hears images done and images in all.
///
/// # Errors
/// As [`extract_on`].
pub fn extract(
    backbone: &Backbone,
    dataset: &Arc<dyn Dataset>,
    config: &ExtractionConfig,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Features, EvalError> {
    let device = backbone.params().trainable().first().map_or(Device::Cpu, |parameter| parameter.device().clone());
    extract_on(
        &device,
        &mut |images| odc_ops::in_pool(|| backbone.forward(images, Mode::Eval, Dropout::Off)),
        dataset,
        config,
        progress,
    )
}

/// What `forward` makes of normalised images `[N, side, side, 3]` (f32, on the CPU): `[N, …]`, flattened to rows.
///
/// # Errors
/// As [`extract_on`].
pub fn extract_with(
    forward: &mut dyn FnMut(&Tensor) -> candle_core::Result<Tensor>,
    dataset: &Arc<dyn Dataset>,
    config: &ExtractionConfig,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Features, EvalError> {
    extract_on(&Device::Cpu, forward, dataset, config, progress)
}

/// The normalised pixels themselves, for comparison: what a network's features must beat.
///
/// # Errors
/// As [`extract_on`].
pub fn extract_pixels(dataset: &Arc<dyn Dataset>, config: &ExtractionConfig) -> Result<Features, EvalError> {
    extract_with(&mut |images| Ok(images.clone()), dataset, config, &mut |_, _| ())
}

/// As [`extract_with`], the images being on `device`.
///
/// Rows come in the data set's order. Images that cannot be decoded have no row; they are listed in
/// [`Features::skipped`].
///
/// # Errors
/// Where a setting is out of bounds, no image can be decoded, or `forward` fails or gives another number of rows.
pub fn extract_on(
    device: &Device,
    forward: &mut dyn FnMut(&Tensor) -> candle_core::Result<Tensor>,
    dataset: &Arc<dyn Dataset>,
    config: &ExtractionConfig,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Features, EvalError> {
    for (name, value) in [("side", config.side), ("batch_size", config.batch_size)] {
        if value == 0 {
            return Err(EvalError::setting(name, value, "at least 1"));
        }
    }
    let n = dataset.len();
    let loader_config = LoaderConfig {
        batch_size: config.batch_size,
        side: config.side,
        workers: config.workers,
        queue: config.workers + 1,
        // The plain view has no randomness.
        seed: 0,
        epoch: 0,
    };
    let order = (0..n as u32).collect();
    let mut features = Features::default();
    let mut done = 0;
    progress(0, n);
    for batch in Loader::new(Arc::clone(dataset), order, 0, View::Plain(config.view), loader_config) {
        done += batch.indices.len() + batch.skipped.len();
        if !batch.indices.is_empty() {
            let rows = forward(&images(&batch, device, config)?)?;
            features.append(&rows, &batch.indices, n)?;
        }
        for index in &batch.indices {
            features.true_labels.push(dataset.true_label(*index as usize));
            features.names.push(dataset.name(*index as usize));
        }
        features.indices.extend(batch.indices);
        features.skipped.extend(batch.skipped);
        progress(done, n);
    }
    if done != n {
        return Err(EvalError::Size { what: "images that came from the loader's threads", got: done, expected: n });
    }
    if features.is_empty() {
        let reason = match features.skipped.first() {
            Some(first) => format!("none of {n} images can be decoded (the first: {}: {})", first.name, first.reason),
            None => "the data set has no images".to_owned(),
        };
        return Err(EvalError::Empty { what: "features", reason });
    }
    Ok(features)
}

fn images(batch: &Batch, device: &Device, config: &ExtractionConfig) -> candle_core::Result<Tensor> {
    let shape = (batch.indices.len(), batch.side, batch.side, 3);
    odc_ops::normalize_pixels(&Tensor::from_slice(&batch.pixels, shape, device)?, config.mean, config.std)
}

impl Features {
    /// Adds the values of a batch; the first one decides the width.
    fn append(&mut self, rows: &Tensor, indices: &[u32], n_images: usize) -> Result<(), EvalError> {
        let rows = rows.flatten_from(1)?.to_dtype(DType::F32)?;
        let (n, dim) = rows.dims2()?;
        if n != indices.len() {
            return Err(EvalError::Size { what: "rows that the network gave", got: n, expected: indices.len() });
        }
        if self.values.is_empty() {
            self.dim = dim;
            self.values.reserve_exact(n_images * dim);
        }
        if dim != self.dim {
            return Err(EvalError::Size { what: "width of the network's rows", got: dim, expected: self.dim });
        }
        self.values.extend(rows.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    }
}
