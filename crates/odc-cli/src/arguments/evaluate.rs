//! The judges: `eval-linear`, `eval-knn`, `eval-finetune`, `eval-svm` and `eval-clusters`.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};

use super::images::{CacheArguments, LabelledSets};
use super::network::{BackboneArguments, MachineArguments};

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
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = seeds())]
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
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = seeds())]
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
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = seeds())]
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

/// Refused where it is typed: none would be found out after minutes of extraction only.
fn seeds() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=1000)
}

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
