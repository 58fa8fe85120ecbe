//! What a finished run is used for: `extract`, `assign` and `info`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::images::ImageArguments;
use super::network::{BackboneArguments, MachineArguments};

/// Write the features of images as .npy or parquet, with their names.
///
/// The features are from the plain view of every image: the backbone's, after its average pool (AlexNet: its second fully
/// connected layer), or those that --features names.
#[derive(Args)]
#[command(after_help = EXTRACT_EXAMPLES)]
pub(crate) struct ExtractArguments {
    #[command(flatten)]
    pub(crate) backbone: BackboneArguments,

    #[command(flatten)]
    pub(crate) images: ImageArguments,

    /// File ending in .npy or .parquet, or a folder
    #[arg(long, value_name = "PATH", default_value = "features")]
    pub(crate) out: PathBuf,

    /// Format where --out is a folder
    #[arg(long, value_enum, default_value_t = FeatureFormat::Npy)]
    pub(crate) format: FeatureFormat,

    /// Which features: `pool`, the backbone's; `neck`, those that Online Deep Clustering clusters (only of its runs);
    /// `stage1` to `stage5`, as `eval-linear --stages` judges them
    #[arg(long, value_enum, default_value_t = FeatureKind::Pool)]
    pub(crate) features: FeatureKind,

    #[command(flatten)]
    pub(crate) machine: MachineArguments,

    /// Print the outcome as one JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// Write the cluster of every image as CSV.
///
/// Columns: index, name, cluster, and the true label where there is one.
/// Without --data: the images of the run. With --data: other images, each to the cluster whose centroid is nearest.
/// A run of rotation prediction has no clusters.
#[derive(Args)]
#[command(after_help = ASSIGN_EXAMPLES)]
pub(crate) struct AssignArguments {
    /// Folder of the run
    #[arg(long, value_name = "DIR")]
    pub(crate) run: PathBuf,

    #[command(flatten)]
    pub(crate) images: ImageArguments,

    /// CSV file [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) machine: MachineArguments,

    /// Print the outcome as one JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is in a run folder or a weight file.
#[derive(Args)]
#[command(after_help = INFO_EXAMPLES)]
pub(crate) struct InfoArguments {
    /// Run folder, or weight file: .safetensors, or PyTorch's .pth, .pt or .tar
    #[arg(value_name = "PATH", required_unless_present_any = ["run", "weights"])]
    pub(crate) path: Option<PathBuf>,

    /// The same as PATH
    #[arg(long, value_name = "DIR", conflicts_with_all = ["path", "weights"])]
    pub(crate) run: Option<PathBuf>,

    /// The same as PATH
    #[arg(long, value_name = "FILE", conflicts_with = "path")]
    pub(crate) weights: Option<PathBuf>,

    /// Print one JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// A format of feature files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FeatureFormat {
    /// features.npy and names.csv
    Npy,
    /// features.parquet
    Parquet,
}

/// Which of a network's features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FeatureKind {
    /// The backbone's, after its average pool; of AlexNet its second fully connected layer
    Pool,
    /// The neck's, those that are clustered
    Neck,
    /// The map before the first block, average-pooled
    Stage1,
    /// That after the first group of blocks
    Stage2,
    /// After the second
    Stage3,
    /// After the third
    Stage4,
    /// After the fourth
    Stage5,
}

const EXTRACT_EXAMPLES: &str = "\
Examples:
  odc extract --run runs/mine --out features
  odc extract --run runs/mine --data new-images --out new.parquet
  odc extract --weights resnet50.safetensors --data images --out images.npy";

const ASSIGN_EXAMPLES: &str = "\
Examples:
  odc assign --run runs/mine
  odc assign --run runs/mine --data new-images --out new.csv";

const INFO_EXAMPLES: &str = "\
Examples:
  odc info runs/mine
  odc info runs/mine/backbone.safetensors
  odc info checkpoint.pth";
