//! Which network, on which machine: parts of several commands.

use std::path::PathBuf;

use clap::Args;
use odc_data::PlainView;
use odc_model::{Architecture, Stem};

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

fn plain_view(text: &str) -> Result<PlainView, String> {
    match text {
        "crop" => Ok(PlainView::Crop),
        "resize" => Ok(PlainView::Resize),
        _ => Err("choose crop or resize".to_owned()),
    }
}
