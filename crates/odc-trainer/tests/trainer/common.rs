//! A recipe of seconds, and how a test moves its runs.

use std::path::{Path, PathBuf};

use candle_core::DType;
use odc_model::Params;
use odc_trainer::{Recipe, Run};

/// Four batches of 24 images an epoch.
pub(crate) const RECIPE: &str = r#"
[data]
path = "shapes"
shapes_images = 96
shapes_side = 16
side = 16
workers = 1
[model]
arch = "resnet18"
width = 4
stem = "small"
hidden = 16
dim = 8
[memory]
clusters = 6
min_cluster = 2
[optimizer]
lr = 0.2
[training]
epochs = 2
batch_size = 24
log_every = 1
checkpoint_every = 2
[evaluation]
images = 0
"#;

/// [`RECIPE`] with these settings; of two for one value, the last.
pub(crate) fn recipe(settings: &[&str]) -> Recipe {
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    Recipe::from_toml("of the test", RECIPE, &settings).expect("a recipe")
}

pub(crate) fn begin(folder: &Path, settings: &[&str]) -> Run {
    Run::create(recipe(settings), folder, &mut |_| ()).expect("a run begins")
}

/// Moves a run on, to this iteration.
pub(crate) fn advance(run: &mut Run, iteration: u64) {
    while run.conductor().iteration() < iteration {
        run.advance().expect("an iteration").expect("not the end");
    }
}

/// All numbers of a network, running statistics among them.
pub(crate) fn values(params: &Params) -> Vec<f32> {
    let tensors = params.named_tensors().expect("tensors");
    let floats = tensors.iter().filter(|(_, tensor)| tensor.dtype() == DType::F32);
    floats.flat_map(|(_, tensor)| tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("f32")).collect()
}

/// A folder that does not exist yet, and what removes it.
pub(crate) fn scratch() -> (tempfile::TempDir, PathBuf) {
    let keep = tempfile::tempdir().expect("a folder");
    let run = keep.path().join("run");
    (keep, run)
}
