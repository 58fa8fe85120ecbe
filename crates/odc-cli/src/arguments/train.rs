//! `train`: what is learned from, by which recipe.

use std::path::PathBuf;

use clap::Args;
use odc_model::Architecture;
use odc_trainer::Method;

use super::network::MachineArguments;

/// Train on images; needs no labels.
///
/// Without --data it trains on the built-in set `shapes` for a few minutes.
/// With --data it trains on your images:
///   - a folder of images, of any depth (subfolders, if any, are taken as
///     true labels, only to score the result)
///   - a .txt or .csv file with `path` or `path,label` a line
///   - a .parquet file in the Hugging Face layout, or a folder of them
///   - CIFAR's binary files
///   - a PASCAL VOC folder, such as VOCdevkit/VOC2007 (its split trainval), or
///     a list of its ImageSets/Main
///
/// The run folder gets recipe.toml (all settings), log.jsonl and tensorboard/
/// (the numbers of the progress bar), checkpoints/, and at the end
/// backbone.safetensors (torchvision's names; AlexNet: DeepCluster's),
/// clusters.csv (of a method with clusters) and summary.json.
///
/// Ctrl-C finishes the iteration, saves a checkpoint and says how to go on; a
/// second Ctrl-C quits at once.
#[derive(Args)]
#[command(after_help = TRAIN_EXAMPLES, verbatim_doc_comment)]
pub(crate) struct TrainArguments {
    #[command(flatten)]
    pub(crate) recipe: RecipeArguments,

    /// Folder of the run [default: runs/NAME-N: the data and the first free number]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Go on with the run in DIR (or in --out), bit for bit as if it had not been stopped
    ///
    /// Settings given beside it must be those of the run. Where the folder holds no run yet and --recipe or --data say
    /// what to train, the run is started: the same command starts and restarts it.
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    pub(crate) resume: Option<Option<PathBuf>>,

    #[command(flatten)]
    pub(crate) machine: MachineArguments,

    /// Print the outcome as one JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// What defines a run.
#[derive(Args, Clone, Default)]
pub(crate) struct RecipeArguments {
    /// Images: `shapes` (generated), a folder, a list file, a parquet file, CIFAR's binary files [default: shapes]
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<String>,

    /// How to learn: odc (Online Deep Clustering), deepcluster (Deep Clustering: all images clustered anew before each
    /// epoch) or rotation (rotation prediction) [default: that of the recipe, or odc]
    #[arg(long)]
    pub(crate) method: Option<Method>,

    /// Recipe: a TOML file, or one of the built-in shapes, shapes-palettes,
    /// shapes-palettes-plain, cifar10, cifar10-deepcluster, cifar10-rotation,
    /// cifar10-finetune, imagenet, tiny
    ///
    /// [default: shapes without --data; with --data the settings of the published run, fitted to the number and the
    /// size of the images]
    #[arg(long, value_name = "FILE|NAME")]
    pub(crate) recipe: Option<String>,

    /// Network: resnet18, resnet34, resnet50 or alexnet
    #[arg(long)]
    pub(crate) arch: Option<Architecture>,

    /// Weights to start from, learned by any method: .safetensors, or PyTorch's .pth, .pt or .tar
    ///
    /// The names of torchvision, timm, OpenSelfSup, mmselfsup, MoCo, SimCLR, SwAV, DINO, solo-learn, lightly and DeepCluster are
    /// known. Reading a PyTorch file runs no code of it.
    #[arg(long, value_name = "FILE")]
    pub(crate) init_from: Option<PathBuf>,

    /// Number of clusters, K; more than the kinds of things you expect to see
    #[arg(long, value_name = "K")]
    pub(crate) clusters: Option<usize>,

    /// Images per iteration
    #[arg(long, value_name = "B")]
    pub(crate) batch_size: Option<usize>,

    /// Passes over the images
    #[arg(long)]
    pub(crate) epochs: Option<u64>,

    /// Learning rate for a batch of 512; scaled to the batch size
    #[arg(long, value_name = "RATE")]
    pub(crate) lr: Option<f64>,

    /// Seed of all randomness; the same seed gives the same bits
    // TOML's integers end at 2^63 - 1.
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub(crate) seed: Option<u64>,

    /// Any value of the recipe, e.g. --set memory.momentum=0.25 (may be repeated)
    #[arg(long = "set", value_name = "TABLE.KEY=VALUE")]
    pub(crate) settings: Vec<String>,
}

const TRAIN_EXAMPLES: &str = "\
Examples:
  odc train
  odc train --data photos --arch resnet18 --out runs/photos
  odc train --data train.parquet --recipe cifar10 --set memory.rule=reference
  odc train --data photos --arch resnet50 --init-from moco_v2_800ep_pretrain.pth.tar
  odc train --resume runs/photos";
