//! The recipe's `[data]` table: where the images come from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cifar::is_cifar_folder;
use crate::folder::has_image_extension;
use crate::voc::{TEST_SPLIT, is_voc, other_split};
use crate::{
    Cifar, DataError, Dataset, ImageFolder, ListFile, Parquet, Shapes, ShapesColors, ShapesConfig, ShapesLabel, Subset,
    Voc,
};

/// Where the images come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Source {
    /// `shapes` for the generated set, or a path: a folder of images, a list file, a parquet file or a folder of
    /// them, a CIFAR binary file or its folder, a VOC folder or one of its lists of images.
    pub path: String,
    /// What is at the path.
    pub format: Format,
    /// Parquet: the column with the images; empty to find it.
    pub image_column: String,
    /// Parquet: the column with the true labels; empty to find it.
    pub label_column: String,
    /// Only so many images, drawn from all of them; 0 for all.
    pub limit: usize,
    /// `shapes`: how many images.
    pub shapes_images: usize,
    /// `shapes`: their width and height.
    pub shapes_side: usize,
    /// `shapes`: another seed gives other images of the same classes.
    pub shapes_seed: u64,
    /// `shapes`: what colours they have.
    pub shapes_colors: ShapesColors,
    /// `shapes`: what their true labels say.
    pub shapes_label: ShapesLabel,
}

impl Default for Source {
    fn default() -> Self {
        let shapes = ShapesConfig::default();
        Self {
            path: "shapes".to_owned(),
            format: Format::Auto,
            image_column: String::new(),
            label_column: String::new(),
            limit: 0,
            shapes_images: shapes.images,
            shapes_side: shapes.side,
            shapes_seed: shapes.seed,
            shapes_colors: shapes.colors,
            shapes_label: shapes.label,
        }
    }
}

/// The kinds of sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Told from the path.
    #[default]
    Auto,
    /// The generated set.
    Shapes,
    /// A folder of images, of any depth.
    Folder,
    /// A text file with `path` or `path,label` a line.
    List,
    /// A parquet file in the Hugging Face layout, or a folder of such files.
    Parquet,
    /// CIFAR-10 or CIFAR-100, binary version.
    Cifar,
    /// PASCAL VOC: the folder of a year, or a list in its `ImageSets/Main`.
    Voc,
}

impl Source {
    /// The same kind of source with images that this one does not have, for evaluation: `shapes` can make them, and a
    /// VOC folder may have its split `test` beside.
    pub fn held_out(&self) -> Option<Self> {
        match self.resolved_format().ok()? {
            Format::Shapes => Some(Self { shapes_seed: self.shapes_seed.wrapping_add(HELD_OUT), ..self.clone() }),
            Format::Voc => {
                let path = other_split(Path::new(&self.path), TEST_SPLIT)?.to_string_lossy().into_owned();
                Some(Self { path, ..self.clone() })
            }
            _ => None,
        }
    }

    fn resolved_format(&self) -> Result<Format, DataError> {
        if self.format != Format::Auto {
            return Ok(self.format);
        }
        if self.path == "shapes" {
            return Ok(Format::Shapes);
        }
        let path = Path::new(&self.path);
        let metadata = std::fs::metadata(path).map_err(|error| DataError::read(path, error))?;
        if metadata.is_dir() {
            return Ok(if is_cifar_folder(path) {
                Format::Cifar
            } else if is_voc(path) {
                Format::Voc
            } else if parquet_files(path).is_ok_and(|files| !files.is_empty()) {
                Format::Parquet
            } else {
                Format::Folder
            });
        }
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        match extension.as_str() {
            "parquet" => Ok(Format::Parquet),
            "bin" => Ok(Format::Cifar),
            "txt" if is_voc(path) => Ok(Format::Voc),
            "txt" | "csv" | "lst" | "list" => Ok(Format::List),
            _ if has_image_extension(path) => {
                Err(DataError::malformed(path, "this is a single image; give the folder that it is in"))
            }
            _ => {
                let reason = "neither a folder nor a .parquet, .bin, .txt or .csv file; unpack archives first, or say \
                              what it is by `format` (folder, list, parquet, cifar, voc)";
                Err(DataError::malformed(path, reason))
            }
        }
    }
}

/// Opens a source.
///
/// # Errors
/// Where nothing is at the path, or nothing in it that can be used; the message says what to do. Single images that
/// cannot be decoded are no error here.
pub fn open(source: &Source) -> Result<Arc<dyn Dataset>, DataError> {
    let path = Path::new(&source.path);
    let dataset: Arc<dyn Dataset> = match source.resolved_format()? {
        Format::Auto | Format::Shapes => Arc::new(Shapes::new(ShapesConfig {
            images: source.shapes_images,
            side: source.shapes_side,
            seed: source.shapes_seed,
            colors: source.shapes_colors,
            label: source.shapes_label,
            ..ShapesConfig::default()
        })?),
        Format::Folder => Arc::new(ImageFolder::open(path)?),
        Format::List => Arc::new(ListFile::open(path)?),
        Format::Cifar => Arc::new(Cifar::open(path)?),
        Format::Voc => Arc::new(Voc::open(path)?),
        Format::Parquet => {
            let files = if path.is_dir() { parquet_files(path)? } else { vec![path.to_owned()] };
            if files.is_empty() {
                return Err(DataError::empty(path, "no file in this folder ends in .parquet"));
            }
            Arc::new(Parquet::open(&files, &source.image_column, &source.label_column)?)
        }
    };
    if source.limit > 0 && source.limit < dataset.len() {
        return Ok(Arc::new(Subset::spread(dataset, source.limit)));
    }
    Ok(dataset)
}

/// The distance of the held-out seed: far from the small seeds that people choose.
const HELD_OUT: u64 = 1 << 32;

/// The parquet files directly in a folder, sorted.
fn parquet_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| DataError::read(folder, error))? {
        let path = entry.map_err(|error| DataError::read(folder, error))?.path();
        if path.extension().is_some_and(|extension| extension == "parquet") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
