//! Which images, and what their labels are: parts of several commands.

use std::path::PathBuf;

use clap::Args;
use odc_data::{ShapesColors, ShapesLabel};

/// Images of a command that is not training.
#[derive(Args)]
pub(crate) struct ImageArguments {
    /// Images: a folder, a list file, a parquet file, CIFAR's binary files, a VOC folder, `shapes` [default: those of the run]
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<String>,

    #[command(flatten)]
    pub(crate) columns: ColumnArguments,
}

/// Labelled images to learn from and to test on.
#[derive(Args, Default)]
pub(crate) struct LabelledSets {
    /// Labelled images to learn from [default: those of the run]
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<String>,

    /// Labelled images to test on [default: new images of `shapes`; the split `test` of a VOC folder; otherwise one image
    /// in five of --data, held out]
    #[arg(long, value_name = "PATH")]
    pub(crate) test: Option<String>,

    #[command(flatten)]
    pub(crate) columns: ColumnArguments,
}

/// Where features are kept.
#[derive(Args)]
pub(crate) struct CacheArguments {
    /// Keep features in DIR: the next eval-linear, eval-knn or eval-svm of the same network and images does not extract them
    /// again
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
}

/// How a source is read.
#[derive(Args, Clone, Default)]
pub(crate) struct ColumnArguments {
    /// Parquet: the column of images [default: found by its type]
    #[arg(long, value_name = "NAME")]
    pub(crate) image_column: Option<String>,

    /// Parquet: the column of labels [default: found by its name]
    #[arg(long, value_name = "NAME")]
    pub(crate) label_column: Option<String>,

    /// Colours of `shapes`: `drawn` or `palettes` [default: those of the run; drawn otherwise]
    #[arg(long, value_name = "COLORS", value_parser = shapes_colors)]
    pub(crate) shapes_colors: Option<ShapesColors>,

    /// True labels of `shapes`: `shape` (and texture) or `palette` [default: those of the run; shape otherwise]
    #[arg(long, value_name = "LABEL", value_parser = shapes_label)]
    pub(crate) shapes_label: Option<ShapesLabel>,

    /// At most so many images of each set, drawn from all of it
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

fn shapes_colors(text: &str) -> Result<ShapesColors, String> {
    match text {
        "drawn" => Ok(ShapesColors::Drawn),
        "palettes" => Ok(ShapesColors::Palettes),
        _ => Err("choose drawn or palettes".to_owned()),
    }
}

fn shapes_label(text: &str) -> Result<ShapesLabel, String> {
    match text {
        "shape" => Ok(ShapesLabel::Shape),
        "palette" => Ok(ShapesLabel::Palette),
        _ => Err("choose shape or palette".to_owned()),
    }
}
