//! Features of all images of a data set: views of them through a frozen network, batch by batch.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use odc_data::{Augmentation, Batch, Dataset, Loader, LoaderConfig, PlainView, Step, View};
use odc_model::Backbone;

use crate::layer::{device_of, rows};
use crate::{EvalError, Features, Layer};

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

/// One random view of every image, always the same for the same seed and number.
#[derive(Clone, Debug, PartialEq)]
pub struct RandomView {
    /// What is done to an image.
    pub augmentation: Augmentation,
    /// Seed of all random views of an evaluation.
    pub seed: u64,
    /// Which of them.
    pub number: u64,
}

impl RandomView {
    /// The training view of published evaluations: a random resized crop and a horizontal flip.
    ///
    /// Crops of photographs have 8 % of the area or more, torchvision's default; those of images of at most 64 pixels, in
    /// which that would be a handful of pixels, 20 %.
    pub fn standard(side: usize) -> Augmentation {
        let smallest = if side > 64 { 0.08 } else { 0.2 };
        let crop = Step::RandomResizedCrop { scale: [smallest, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] };
        Augmentation { steps: vec![crop, Step::HorizontalFlip { probability: 0.5 }] }
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
    let mut features = extract_layers(backbone, &[Layer::Vector], dataset, config, None, progress)?;
    Ok(features.swap_remove(0))
}

/// Features of several layers from one pass over the images, in the order asked for: of the plain view, or of `view`.
///
/// # Errors
/// As [`extract_on`], and where the backbone has no such layer.
pub fn extract_layers(
    backbone: &Backbone,
    layers: &[Layer],
    dataset: &Arc<dyn Dataset>,
    config: &ExtractionConfig,
    view: Option<&RandomView>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Features>, EvalError> {
    if layers.is_empty() {
        return Err(EvalError::setting("layers", "[]", "at least one"));
    }
    let mut forward = |images: &Tensor| odc_ops::in_pool(|| rows(backbone, layers, images));
    extract_each(&device_of(backbone), &mut forward, dataset, config, view, progress)
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
    let mut forward = |images: &Tensor| Ok(vec![forward(images)?]);
    let mut features = extract_each(device, &mut forward, dataset, config, None, progress)?;
    Ok(features.swap_remove(0))
}

/// `forward` gives one tensor of rows or more, always as many; each becomes features.
fn extract_each(
    device: &Device,
    forward: &mut dyn FnMut(&Tensor) -> candle_core::Result<Vec<Tensor>>,
    dataset: &Arc<dyn Dataset>,
    config: &ExtractionConfig,
    view: Option<&RandomView>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Features>, EvalError> {
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
        seed: view.map_or(0, |view| view.seed),
        epoch: view.map_or(0, |view| view.number),
    };
    let order = (0..n as u32).collect();
    let view = view.map_or(View::Plain(config.view), |view| View::Training(view.augmentation.clone()));
    // What belongs to the rows is the same for all; their values come beside it.
    let (mut about, mut all) = (Features::default(), Vec::new());
    let mut done = 0;
    progress(0, n);
    for batch in Loader::new(Arc::clone(dataset), order, 0, view, loader_config) {
        done += batch.indices.len() + batch.skipped.len();
        if !batch.indices.is_empty() {
            let outputs = forward(&images(&batch, device, config)?)?;
            all.resize_with(outputs.len(), Features::default);
            for (features, rows) in all.iter_mut().zip(&outputs) {
                features.append(rows, &batch.indices, n)?;
            }
        }
        for index in &batch.indices {
            about.true_labels.push(dataset.true_label(*index as usize));
            about.names.push(dataset.name(*index as usize));
        }
        about.indices.extend(batch.indices);
        about.skipped.extend(batch.skipped);
        progress(done, n);
    }
    if done != n {
        return Err(EvalError::Size { what: "images that came from the loader's threads", got: done, expected: n });
    }
    if about.is_empty() {
        let reason = match about.skipped.first() {
            Some(first) => format!("none of {n} images can be decoded (the first: {}: {})", first.name, first.reason),
            None => "the data set has no images".to_owned(),
        };
        return Err(EvalError::Empty { what: "features", reason });
    }
    let whole = |Features { values, dim, .. }| Features { values, dim, ..about.clone() };
    Ok(all.into_iter().map(whole).collect())
}

pub(crate) fn images(batch: &Batch, device: &Device, config: &ExtractionConfig) -> candle_core::Result<Tensor> {
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
