//! `[data]`: where images come from and how they are seen.

use odc_data::{Augmentation, Dataset, Format, PlainView, Sampling, ShapesColors, ShapesLabel, Source, Step};
use serde::{Deserialize, Serialize};

/// `[data]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataTable {
    /// `shapes` (generated), or a folder of images, a list file, a parquet file, CIFAR binaries.
    pub path: String,
    /// How to read `path`; `auto` looks at it.
    pub format: Format,
    /// Parquet: the column of images; empty finds it.
    pub image_column: String,
    /// Parquet: the column of true labels; empty finds it.
    pub label_column: String,
    /// Only so many images, drawn from all of them; 0 takes all.
    pub limit: usize,
    /// `shapes`: how many images.
    pub shapes_images: usize,
    /// `shapes`: side of the generated images in pixels.
    pub shapes_side: usize,
    /// `shapes`: seed of the generator, apart from the run's seed: runs of different seeds see the same set.
    pub shapes_seed: u64,
    /// `shapes`: `drawn` colours, weak and any, or those of six `palettes`, the easiest thing to tell images apart by.
    pub shapes_colors: ShapesColors,
    /// `shapes`: whether true labels, which scores alone see, are the `shape` (and texture) or the `palette`.
    pub shapes_label: ShapesLabel,
    /// Side in pixels of what the network sees. Without it: 32, 64 or 224, after the images' own size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<usize>,
    /// The evaluation view: `crop` (short side to 8/7 of `side`, centre crop) or `resize` (to `side` × `side`).
    pub plain_view: PlainView,
    /// `replacement`: N draws an epoch (the reference); `permutation`: every image once.
    pub sampling: Sampling,
    /// Threads that decode and augment. Without it: one per core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,
    /// Batches prepared ahead.
    pub queue: usize,
    /// Share of images that may be undecodable; with more the run stops. Those that are left out are listed in any case.
    pub max_bad_share: f64,
    /// Mean per channel of pixels in [0, 1] (ImageNet's).
    pub mean: [f32; 3],
    /// Standard deviation per channel of pixels in [0, 1] (ImageNet's).
    pub std: [f32; 3],
    /// The training view, step by step.
    pub augmentation: Vec<Step>,
}

impl Default for DataTable {
    fn default() -> Self {
        let source = Source::default();
        Self {
            path: source.path,
            format: source.format,
            image_column: source.image_column,
            label_column: source.label_column,
            limit: source.limit,
            shapes_images: source.shapes_images,
            shapes_side: source.shapes_side,
            shapes_seed: source.shapes_seed,
            shapes_colors: source.shapes_colors,
            shapes_label: source.shapes_label,
            side: None,
            plain_view: PlainView::Crop,
            sampling: Sampling::Replacement,
            workers: None,
            queue: 4,
            max_bad_share: 0.5,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            augmentation: Augmentation::standard(0.2).steps,
        }
    }
}

impl DataTable {
    /// The part of the table that says where images come from.
    pub fn source(&self) -> Source {
        Source {
            path: self.path.clone(),
            format: self.format,
            image_column: self.image_column.clone(),
            label_column: self.label_column.clone(),
            limit: self.limit,
            shapes_images: self.shapes_images,
            shapes_side: self.shapes_side,
            shapes_seed: self.shapes_seed,
            shapes_colors: self.shapes_colors,
            shapes_label: self.shapes_label,
        }
    }

    /// The side in pixels; the recipe must be resolved.
    pub fn resolved_side(&self) -> usize {
        self.side.unwrap_or(224)
    }

    /// Worker threads: the setting, or one per core.
    pub fn resolved_workers(&self) -> usize {
        self.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |cores| cores.get())).max(1)
    }
}

/// 32, 64 or 224: after the median short side of a few images spread over the set.
pub(super) fn side_for(dataset: &dyn Dataset) -> usize {
    const LOOKED_AT: usize = 9;
    let step = dataset.len().div_ceil(LOOKED_AT).max(1);
    let mut sides: Vec<usize> = (0..dataset.len())
        .step_by(step)
        .filter_map(|index| dataset.image(index).ok())
        .map(|image| image.width.min(image.height))
        .collect();
    sides.sort_unstable();
    match sides.get(sides.len() / 2) {
        Some(0..=48) => 32,
        Some(49..=96) => 64,
        _ => 224,
    }
}
