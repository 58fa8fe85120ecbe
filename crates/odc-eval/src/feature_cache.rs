//! Features on disk, so that the next probe of the same network on the same images does not extract them again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use odc_data::{Dataset, Skipped};
use odc_model::Backbone;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::export::write_atomically;
use crate::{EvalError, ExtractionConfig, Features, Layer, RandomView, extract_layers};

/// A folder of feature files, one for each network, set of images, view and layer.
///
/// A file is found by a checksum of all that decides its values, and holds that in words: what does not fit, or is damaged,
/// is extracted again and replaced. Of images the checksum covers all names and labels and the pixels of 256 of them: who
/// changes other files in place, under their old names, takes another folder.
#[derive(Clone, Debug)]
pub struct FeatureCache {
    folder: PathBuf,
}

/// Images whose pixels enter the checksum.
const ASKED_IMAGES: usize = 256;

impl FeatureCache {
    /// The cache in `folder`, which is made where it is not there.
    ///
    /// # Errors
    /// Where the folder cannot be made or takes no file: better known before hours of extraction than after.
    pub fn open(folder: &Path) -> Result<Self, EvalError> {
        let open = || {
            std::fs::create_dir_all(folder)?;
            tempfile::Builder::new().prefix(".partial-").tempfile_in(folder)
        };
        open().map_err(|error| EvalError::write(folder, error))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// As [`extract_layers`]. What the folder holds is read; all else comes from one pass and is kept.
    ///
    /// # Errors
    /// As [`extract_layers`], and where a file cannot be written.
    pub fn extract_layers(
        &self,
        backbone: &Backbone,
        layers: &[Layer],
        dataset: &Arc<dyn Dataset>,
        config: &ExtractionConfig,
        view: Option<&RandomView>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Features>, EvalError> {
        let subject = format!("{}\n{}\n{}", network(backbone)?, images(dataset.as_ref()), seen(config, view));
        let key = |layer: Layer| format!("{subject}\n{layer}");
        let mut found: HashMap<Layer, Features> = HashMap::new();
        for &layer in layers {
            match read(&self.path(&key(layer)), &key(layer), dataset.as_ref()) {
                Ok(features) => drop(found.insert(layer, features)),
                Err(reason) => tracing::info!(%layer, reason, "features are not in the cache"),
            }
        }
        let missing: Vec<Layer> = layers.iter().copied().filter(|layer| !found.contains_key(layer)).collect();
        if !missing.is_empty() {
            let extracted = extract_layers(backbone, &missing, dataset, config, view, progress)?;
            for (layer, features) in missing.into_iter().zip(extracted) {
                write(&self.path(&key(layer)), &key(layer), &features)?;
                found.insert(layer, features);
            }
        }
        // A layer may be asked for twice; the last of the equal ones takes the features, so that usually nothing is copied.
        let take = |(position, layer): (usize, &Layer)| {
            let again = layers[position + 1..].contains(layer);
            let features = if again { found.get(layer).cloned() } else { found.remove(layer) };
            features.ok_or_else(|| EvalError::Empty { what: "features", reason: format!("{layer} is missing") })
        };
        layers.iter().enumerate().map(take).collect()
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("features-{:08x}.safetensors", crc32c::crc32c(key.as_bytes())))
    }
}

/// What the network is, and a checksum of its weights and running statistics.
fn network(backbone: &Backbone) -> Result<String, EvalError> {
    let mut sum = 0;
    for (name, tensor) in backbone.params().named_tensors()? {
        // How many batches training has seen changes no feature.
        if name.ends_with("num_batches_tracked") {
            continue;
        }
        sum = crc32c::crc32c_append(sum, name.as_bytes());
        sum = crc32c::crc32c_append(sum, &bytes(&tensor.flatten_all()?.to_vec1::<f32>()?));
    }
    let (version, level) = (env!("CARGO_PKG_VERSION"), odc_kernels::simd::level());
    Ok(format!("odc {version} with {level:?}: {}, weights {sum:08x}", backbone.config()))
}

fn images(dataset: &dyn Dataset) -> String {
    let n = dataset.len();
    let mut sum = 0;
    for index in 0..n {
        sum = crc32c::crc32c_append(sum, dataset.name(index).as_bytes());
        let label = dataset.true_label(index).map_or(-1, i64::from);
        sum = crc32c::crc32c_append(sum, &label.to_le_bytes());
    }
    for index in (0..n).step_by(n.div_ceil(ASKED_IMAGES).max(1)) {
        match dataset.image(index) {
            Ok(image) => {
                let size = [image.width as u64, image.height as u64];
                size.iter().for_each(|side| sum = crc32c::crc32c_append(sum, &side.to_le_bytes()));
                sum = crc32c::crc32c_append(sum, &image.pixels);
            }
            Err(error) => sum = crc32c::crc32c_append(sum, error.reason().as_bytes()),
        }
    }
    format!("{n} images, checksum {sum:08x}")
}

/// Workers are left out: they change nothing.
fn seen(config: &ExtractionConfig, view: Option<&RandomView>) -> String {
    let ExtractionConfig { side, view: plain, batch_size, workers: _, mean, std } = config;
    let view = match view {
        None => format!("plain view {plain:?}"),
        Some(RandomView { augmentation, seed, number }) => {
            format!("random view {number} of seed {seed} by {:?}", augmentation.steps)
        }
    };
    format!("side {side}, {view}, batches of {batch_size}, mean {mean:?}, deviation {std:?}")
}

/// The features in the file, or why they are not there.
fn read(path: &Path, key: &str, dataset: &dyn Dataset) -> Result<Features, String> {
    let damaged = |error: safetensors::SafeTensorError| error.to_string();
    let file = std::fs::read(path).map_err(|error| error.to_string())?;
    let (_, header) = SafeTensors::read_metadata(&file).map_err(damaged)?;
    let told = header.metadata().as_ref().ok_or("no metadata")?;
    if told.get("key").map(String::as_str) != Some(key) {
        return Err("the file is of other features".to_owned());
    }
    let tensors = SafeTensors::deserialize(&file).map_err(damaged)?;
    let (values, indices) = (tensors.tensor("features").map_err(damaged)?, tensors.tensor("indices").map_err(damaged)?);
    let sum = crc32c::crc32c_append(crc32c::crc32c(values.data()), indices.data());
    if told.get("checksum") != Some(&format!("{sum:08x}")) {
        return Err("the file is damaged".to_owned());
    }
    let skipped = told.get("skipped").ok_or("no list of skipped images")?;
    let skipped: Vec<(u32, String)> = serde_json::from_str(skipped).map_err(|error| error.to_string())?;
    let [n, dim] = *values.shape() else { return Err("the features are no matrix".to_owned()) };
    let indices: Vec<u32> = numbers(indices.data(), u32::from_le_bytes);
    if values.dtype() != Dtype::F32 || indices.len() != n || indices.iter().any(|i| *i as usize >= dataset.len()) {
        return Err("features and indices do not fit each other".to_owned());
    }
    let name = |index: u32| dataset.name(index as usize);
    Ok(Features {
        values: numbers(values.data(), f32::from_le_bytes),
        dim,
        true_labels: indices.iter().map(|&index| dataset.true_label(index as usize)).collect(),
        names: indices.iter().map(|&index| name(index)).collect(),
        indices,
        skipped: skipped.into_iter().map(|(index, reason)| Skipped { index, name: name(index), reason }).collect(),
    })
}

fn write(path: &Path, key: &str, features: &Features) -> Result<(), EvalError> {
    let failed = |reason: String| EvalError::write(path, reason);
    let values = bytes(&features.values);
    let indices: Vec<u8> = features.indices.iter().flat_map(|index| index.to_le_bytes()).collect();
    let skipped: Vec<(u32, &str)> = features.skipped.iter().map(|one| (one.index, one.reason.as_str())).collect();
    let skipped = serde_json::to_string(&skipped).map_err(|error| failed(error.to_string()))?;
    let sum = crc32c::crc32c_append(crc32c::crc32c(&values), &indices);
    let about = [("key", key.to_owned()), ("checksum", format!("{sum:08x}")), ("skipped", skipped)];
    let about = about.map(|(name, text)| (name.to_owned(), text)).into();
    let tensor = |dtype, shape, data| TensorView::new(dtype, shape, data).map_err(|error| failed(error.to_string()));
    let tensors = [
        ("features", tensor(Dtype::F32, vec![features.len(), features.dim], &values)?),
        ("indices", tensor(Dtype::U32, vec![features.len()], &indices)?),
    ];
    let file = safetensors::serialize(tensors, Some(about)).map_err(|error| failed(error.to_string()))?;
    write_atomically(path, |to| to.write_all(&file).map_err(|error| error.to_string()))
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn numbers<T>(bytes: &[u8], from: impl Fn([u8; 4]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|four| from(*four)).collect()
}
