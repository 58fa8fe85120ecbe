//! Several runs: `compare` and `ablate`.

use std::path::PathBuf;

use clap::Args;
use odc_trainer::Method;

use super::network::MachineArguments;

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

const COMPARE_EXAMPLES: &str = "\
Examples:
  odc compare odc deepcluster
  odc compare odc deepcluster --recipe cifar10 --data train.parquet --test test.parquet --seeds 2
  odc compare --runs runs/a runs/b --out a-and-b";

const ABLATE_EXAMPLES: &str = "\
Examples:
  odc ablate --recipe cifar10 --data train.parquet --test test.parquet --epochs 10 --dry-run
  odc ablate --recipe cifar10 --data train.parquet --only rule,clusters-half --seeds 2";
