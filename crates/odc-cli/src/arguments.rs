//! What can be typed: commands, flags and their help.

use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use odc_data::{PlainView, ShapesColors, ShapesLabel};
use odc_model::{Architecture, Stem};
use odc_trainer::Method;

/// Learns image features without labels, by Online Deep Clustering and methods to compare it with.
///
/// A network and a grouping of the images into clusters are learned together: the network is trained to tell the
/// clusters apart, and every image that it looks at may move to another cluster. No label is needed. What comes out
/// is a backbone whose features are useful for other tasks, and the cluster of every image.
#[derive(Parser)]
#[command(name = "odc", version, max_term_width = 100, after_help = START, after_long_help = START)]
struct Typed {
    #[command(subcommand)]
    command: Command,
}

/// What the program can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    Train(TrainArguments),
    EvalLinear(EvalLinearArguments),
    EvalKnn(EvalKnnArguments),
    EvalSvm(EvalSvmArguments),
    EvalClusters(EvalClustersArguments),
    EvalFinetune(EvalFinetuneArguments),
    Extract(ExtractArguments),
    Assign(AssignArguments),
    Info(InfoArguments),
    Compare(CompareArguments),
    Ablate(AblateArguments),
}

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

    /// Folder of the run [default: runs/<name of the data>-<first free number>]
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
    /// shapes-palettes-plain, cifar10, cifar10-deepcluster, cifar10-rotation, imagenet, tiny
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

/// Where it computes.
#[derive(Args, Clone)]
pub(crate) struct MachineArguments {
    /// Threads [default: one per core]; their number does not change the result
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,

    /// Where to compute; this build knows `cpu`
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
}

/// How well a linear classifier does on the frozen features.
///
/// The usual measure of features: a linear layer is trained on them with labels, and tested on other images. Two ways
/// are printed: the published protocol (SGD) and logistic regression, the best of several weight decays. With --stages
/// every stage of the network is judged, too, all from one pass over the images.
#[derive(Args)]
#[command(after_help = EVAL_EXAMPLES)]
pub(crate) struct EvalLinearArguments {
    #[command(flatten)]
    pub(crate) backbone: BackboneArguments,

    #[command(flatten)]
    pub(crate) sets: LabelledSets,

    /// Judge each of the five stages, too: its map average-pooled to about 9,000 numbers, batch norm, a linear layer
    #[arg(long)]
    pub(crate) stages: bool,

    /// Epochs of the published protocol; the learning rate falls at three and four fifths
    #[arg(long, default_value_t = 100)]
    pub(crate) epochs: usize,

    /// Epochs of a stage's protocol; the learning rate falls at one and two thirds
    #[arg(long, requires = "stages", default_value_t = 90)]
    pub(crate) stage_epochs: usize,

    /// Train the published protocols with so many seeds; mean and deviation are told
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seeds: usize,

    /// Train the published protocols on so many random crops and flips of each image, which take turns over the epochs
    /// [default: on its plain view]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) views: usize,

    /// Most memory for features, in GiB; what would need more is refused
    #[arg(long, value_name = "GIB", default_value_t = 16.0)]
    pub(crate) memory: f64,

    #[command(flatten)]
    pub(crate) cache: CacheArguments,

    #[command(flatten)]
    pub(crate) machine: MachineArguments,

    /// Print the outcome as one JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// How well nearest neighbours do on the frozen features.
///
/// Every test image asks the k training images most similar to it for their labels; nothing is trained, so this is the
/// quickest honest measure of features.
#[derive(Args)]
#[command(after_help = EVAL_EXAMPLES)]
pub(crate) struct EvalKnnArguments {
    #[command(flatten)]
    pub(crate) backbone: BackboneArguments,

    #[command(flatten)]
    pub(crate) sets: LabelledSets,

    /// Numbers of neighbours
    #[arg(long, value_delimiter = ',', default_values_t = [10, 20, 100, 200])]
    pub(crate) k: Vec<usize>,

    /// A neighbour's vote weighs exp(cosine similarity / temperature)
    #[arg(long, default_value_t = 0.07)]
    pub(crate) temperature: f32,

    #[command(flatten)]
    pub(crate) cache: CacheArguments,

    #[command(flatten)]
    pub(crate) machine: MachineArguments,

    /// Print the outcome as one JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// How well the network does when all of it is fine-tuned on few labels.
///
/// Backbone and a new linear layer are trained together on a share of the labels of each class, for every learning rate with
/// every multiplier of the layer's own, and tested on other images. The whole grid is printed.
///
/// The best pair is chosen on a fifth of the labelled images where that is 100 images or more and every class has five
/// labels, and then trained on all of them; otherwise on the test images, as published numbers are.
#[derive(Args)]
#[command(after_help = EVAL_EXAMPLES)]
pub(crate) struct EvalFinetuneArguments {
    #[command(flatten)]
    pub(crate) backbone: BackboneArguments,

    #[command(flatten)]
    pub(crate) sets: LabelledSets,

    /// Shares of each class's labels to train on, one label a class at least
    #[arg(long, value_name = "SHARE", value_delimiter = ',', default_values_t = [0.01, 0.1])]
    pub(crate) labels: Vec<f64>,

    /// Learning rates of the backbone
    #[arg(long, value_name = "RATE", value_delimiter = ',', default_values_t = [0.001, 0.01, 0.1])]
    pub(crate) lr: Vec<f64>,

    /// Multiples of it for the linear layer
    #[arg(long, value_name = "FACTOR", value_delimiter = ',', default_values_t = [1.0, 10.0, 100.0])]
    pub(crate) head_multiplier: Vec<f64>,

    /// Passes over the labelled images; the learning rate falls at three and four fifths
    #[arg(long, default_value_t = 20)]
    pub(crate) epochs: usize,

    /// Images a step at most; a sixteenth of the labelled ones, and 16 at least, where that is less
    #[arg(long, default_value_t = 256)]
    pub(crate) batch_size: usize,

    /// Train the best pair with so many seeds, each with labels of its own; mean and deviation are told
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seeds: usize,

    #[command(flatten)]
    pub(crate) machine: MachineArguments,

    /// Print the outcome as one JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// How well linear SVMs do on the frozen features, also of a few images a class.
///
/// For each class one SVM is trained against all others on features of length 1, with the cost that does best in 3-fold
/// cross-validation; its measure is the average precision on the test images. Images may show several classes (a PASCAL
/// VOC folder; objects marked difficult are ignored).
#[derive(Args)]
#[command(after_help = EVAL_SVM_EXAMPLES)]
pub(crate) struct EvalSvmArguments {
    #[command(flatten)]
    pub(crate) backbone: BackboneArguments,

    #[command(flatten)]
    pub(crate) sets: LabelledSets,

    /// Costs to choose from [default: 1e-7, 1e-6, ..., 100 and 2^-4, 2^-5, ..., 2^-19]
    #[arg(long, value_name = "C,...", value_delimiter = ',')]
    pub(crate) costs: Option<Vec<f64>>,

    /// How many times an image that shows the class counts
    #[arg(long, value_name = "WEIGHT", default_value_t = 2.0)]
    pub(crate) positive_weight: f64,

    /// Average precision on the test images [default: voc11 where images show several classes, area elsewhere]
    #[arg(long, value_enum)]
    pub(crate) ap: Option<PrecisionMeasure>,

    /// Ways to cut the folds: the first by the order of images, others at random; mean and deviation are printed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seeds: usize,

    /// Also from so many images of each class [without numbers: 1,2,4,8,16,32,64,96]
    #[arg(long, value_name = "N,...", value_delimiter = ',', num_args = 0..=1, default_missing_value = SHOTS)]
    pub(crate) low_shot: Option<Vec<usize>>,

    /// Draws for each number of --low-shot; mean and deviation are printed
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) draws: usize,

    #[command(flatten)]
    pub(crate) cache: CacheArguments,

    #[command(flatten)]
    pub(crate) machine: MachineArguments,

    /// Print the outcome as one JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// How far clusters agree with true labels, or with other clusters of the same images.
///
/// NMI and ARI are 1 for equal partitions; ARI is 0 for independent ones. Purity is the share of images that belong to
/// the most frequent class of their cluster; it grows with the number of clusters. Hungarian accuracy gives each
/// cluster at most one class and each class at most one cluster.
#[derive(Args)]
#[command(after_help = EVAL_CLUSTERS_EXAMPLES)]
pub(crate) struct EvalClustersArguments {
    /// Run folder, checkpoint (.safetensors), or table with the columns index, name, cluster, true_label (.csv)
    #[arg(value_name = "PATH", required_unless_present = "run")]
    pub(crate) path: Option<PathBuf>,

    /// The same as PATH
    #[arg(long, value_name = "DIR", conflicts_with = "path")]
    pub(crate) run: Option<PathBuf>,

    /// Compare with these clusters, too: an earlier checkpoint of the run, another run, or a table
    #[arg(long, value_name = "PATH")]
    pub(crate) against: Option<PathBuf>,

    /// Print the outcome as one JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

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

/// Train by several methods on the same images and show their runs side by side.
///
/// Each method trains the same network, for as many epochs on the same images, with settings of its own: those of the
/// recipe made for it (cifar10-deepcluster beside cifar10), or the recipe with `method` set. Every iteration is logged.
/// Then their features are judged on labelled images, and one page shows curves, steadiness, times and scores:
/// compare.html in the folder --out, its numbers in compare.json.
///
/// The same command after an interruption goes on where it stopped; runs in --out that are finished are used as they
/// are.
#[derive(Args)]
#[command(after_help = COMPARE_EXAMPLES)]
pub(crate) struct CompareArguments {
    /// Two or more of odc, deepcluster and rotation
    #[arg(value_name = "METHOD", required_unless_present = "runs")]
    pub(crate) methods: Vec<Method>,

    /// Compare the runs in these folders, training nothing
    #[arg(long, value_name = "DIR", num_args = 1.., conflicts_with_all = ["methods", "data", "recipe", "epochs", "settings", "seeds"])]
    pub(crate) runs: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) series: SeriesArguments,

    /// Folder of the runs and of the page
    #[arg(long, value_name = "DIR", default_value = "runs/compare")]
    pub(crate) out: PathBuf,

    #[command(flatten)]
    pub(crate) machine: MachineArguments,

    /// Print the numbers of compare.json on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// Change one setting at a time and show what each change does.
///
/// Trains Online Deep Clustering by the recipe, and again with one setting changed: re-weighting, small clusters, centroid
/// interval, memory momentum, number of clusters, rule, strength of the colour jitter. One table tells kNN, linear
/// accuracy and what became of the clusters, and is kept in the folder --out as ablate.md and ablate.json.
///
/// That is twelve runs for each seed: see how long by --dry-run, and shorten them by --epochs. The same command after an
/// interruption goes on where it stopped.
#[derive(Args)]
#[command(after_help = ABLATE_EXAMPLES)]
pub(crate) struct AblateArguments {
    #[command(flatten)]
    pub(crate) series: SeriesArguments,

    /// Only these settings (re-weighting, small-clusters, centroid-interval, memory-momentum, clusters, rule, jitter) or
    /// changes (such as clusters-half), beside the recipe as it is
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) only: Vec<String>,

    /// List the runs and end
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Folder of the runs and of the table
    #[arg(long, value_name = "DIR", default_value = "runs/ablate")]
    pub(crate) out: PathBuf,

    #[command(flatten)]
    pub(crate) machine: MachineArguments,

    /// Print the numbers of ablate.json on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a series of runs has in common.
#[derive(Args)]
pub(crate) struct SeriesArguments {
    /// Images to train on: as for `train` [default: shapes]
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<String>,

    /// Recipe: as for `train`
    #[arg(long, value_name = "FILE|NAME")]
    pub(crate) recipe: Option<String>,

    /// Passes over the images [default: those of the recipe]
    #[arg(long)]
    pub(crate) epochs: Option<u64>,

    /// Runs of each kind, with the seeds 0, 1, ... [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) seeds: Option<u64>,

    /// Any value of the recipe, for all runs, e.g. --set memory.momentum=0.25 (may be repeated)
    #[arg(long = "set", value_name = "TABLE.KEY=VALUE")]
    pub(crate) settings: Vec<String>,

    /// Labelled images to test on [default: new images of `shapes`; otherwise one image in five of --data, held out]
    #[arg(long, value_name = "PATH")]
    pub(crate) test: Option<String>,
}

/// The network that a command is about.
#[derive(Args)]
pub(crate) struct BackboneArguments {
    #[command(flatten)]
    pub(crate) origin: BackboneOrigin,

    /// Network of --weights or --random, where the file does not say [default for --random: resnet18]
    #[arg(long, conflicts_with = "run")]
    pub(crate) arch: Option<Architecture>,

    /// Channels of its first stage; 64 is the published network
    #[arg(long, conflicts_with = "run")]
    pub(crate) width: Option<usize>,

    /// What comes before its first block: imagenet, cifar or small
    #[arg(long, conflicts_with = "run")]
    pub(crate) stem: Option<Stem>,

    /// It sees Sobel's edges of the grey image in place of colours
    #[arg(long, conflicts_with = "run")]
    pub(crate) sobel: bool,

    /// The network of --weights sees blue, green, red, as those from Caffe do
    #[arg(long, requires = "weights")]
    pub(crate) bgr: bool,

    /// Seed of --random
    #[arg(long, requires = "random", default_value_t = 0)]
    pub(crate) seed: u64,

    /// Side in pixels of what the network sees [default: that of the run; 224 otherwise]
    #[arg(long, value_name = "PIXELS")]
    pub(crate) side: Option<usize>,

    /// How an image becomes a square: `crop` its middle, or `resize` it [default: that of the run; crop otherwise]
    #[arg(long, value_parser = plain_view)]
    pub(crate) view: Option<PlainView>,
}

/// Where the network comes from.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct BackboneOrigin {
    /// Folder of a run
    #[arg(long, value_name = "DIR")]
    pub(crate) run: Option<PathBuf>,

    /// Weight file, of this program or another: .safetensors, or PyTorch's .pth, .pt or .tar
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,

    /// A network with random weights, to compare with
    #[arg(long)]
    pub(crate) random: bool,
}

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

/// How average precision is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrecisionMeasure {
    /// Area under precision over recall, as scikit-learn
    Area,
    /// The same of interpolated precision, as PASCAL VOC from 2010 on and published SVM numbers
    Interpolated,
    /// Mean of interpolated precision at 11 recalls, as PASCAL VOC 2007
    Voc11,
}

/// The command line as typed. Help, and what cannot be understood, end the program here (exit code 0 or 2).
pub(crate) fn parse() -> Command {
    let command = Typed::command().bin_name(called_as());
    let matches = command.get_matches();
    match Typed::from_arg_matches(&matches) {
        Ok(typed) => typed.command,
        Err(error) => error.exit(),
    }
}

/// How the user called the program, for the commands that it proposes.
pub(crate) fn called_as() -> String {
    std::env::var("ODC_CALLED_AS").unwrap_or_else(|_| "odc".to_owned())
}

fn plain_view(text: &str) -> Result<PlainView, String> {
    match text {
        "crop" => Ok(PlainView::Crop),
        "resize" => Ok(PlainView::Resize),
        _ => Err("choose crop or resize".to_owned()),
    }
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

const START: &str = "\
Start with `train`, then ask `eval-knn` or `eval-linear` what was learned.
Exit codes: 0 done; 1 failed; 2 wrong use; 130 stopped by Ctrl-C, a checkpoint is saved.
RUST_LOG=info tells more on standard error.";

const TRAIN_EXAMPLES: &str = "\
Examples:
  odc train
  odc train --data photos --arch resnet18 --out runs/photos
  odc train --data train.parquet --recipe cifar10 --set memory.rule=reference
  odc train --data photos --arch resnet50 --init-from moco_v2_800ep_pretrain.pth.tar
  odc train --resume runs/photos";

const EVAL_EXAMPLES: &str = "\
Examples (NAME is eval-linear, eval-knn or eval-finetune):
  odc NAME --run runs/shapes-1
  odc NAME --run runs/mine --data train-set --test test-set
  odc NAME --weights resnet50.safetensors --data train-set --test test-set
  odc NAME --random --arch resnet18 --side 32 --data train.parquet --test test.parquet";

/// Numbers of images a class in published low-shot results.
const SHOTS: &str = "1,2,4,8,16,32,64,96";

const EVAL_SVM_EXAMPLES: &str = "\
Examples:
  odc eval-svm --run runs/mine --data train-set --test test-set
  odc eval-svm --run runs/mine --data VOCdevkit/VOC2007
  odc eval-svm --run runs/mine --data VOCdevkit/VOC2007/ImageSets/Main/train.txt \\
               --test VOCdevkit/VOC2007/ImageSets/Main/val.txt --ap interpolated
  odc eval-svm --weights resnet50.safetensors --data train-set --test test-set --low-shot 1,4,16";

const EVAL_CLUSTERS_EXAMPLES: &str = "\
Examples:
  odc eval-clusters runs/mine
  odc eval-clusters runs/mine --against runs/mine/checkpoints/iteration-000002200.safetensors
  odc eval-clusters new.csv --against old.csv";

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

const COMPARE_EXAMPLES: &str = "\
Examples:
  odc compare odc deepcluster
  odc compare odc deepcluster --recipe cifar10 --data train.parquet --test test.parquet --seeds 2
  odc compare --runs runs/a runs/b --out a-and-b";

const ABLATE_EXAMPLES: &str = "\
Examples:
  odc ablate --recipe cifar10 --data train.parquet --test test.parquet --epochs 10 --dry-run
  odc ablate --recipe cifar10 --data train.parquet --only rule,clusters-half --seeds 2";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Typed::command().debug_assert();
    }

    #[test]
    fn resume_takes_a_folder_or_leaves_it_to_out() {
        let resume = |words: &[&str]| match Typed::try_parse_from(words).map(|typed| typed.command) {
            Ok(Command::Train(train)) => train.resume,
            _ => panic!("{words:?} is a way to train"),
        };
        assert_eq!(resume(&["odc", "train"]), None);
        assert_eq!(resume(&["odc", "train", "--resume", "--out", "runs/x"]), Some(None));
        assert_eq!(resume(&["odc", "train", "--resume", "runs/x"]), Some(Some("runs/x".into())));
    }
}
