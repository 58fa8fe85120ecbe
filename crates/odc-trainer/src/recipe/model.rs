//! `[model]`: backbone and neck.

use odc_model::{Architecture, BackboneConfig, NeckConfig, Stem};
use serde::{Deserialize, Serialize};

/// `[model]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelTable {
    /// `resnet18`, `resnet34`, `resnet50` or `alexnet`.
    pub arch: Architecture,
    /// Channels of the first stage; 64 is the published network.
    pub width: usize,
    /// `imagenet` (7×7/2 and pool; alexnet 11×11/4), `cifar` (3×3/1) or `small` (3×3/2). Without it: after `data.side`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stem: Option<Stem>,
    /// Whether the network sees Sobel's edges of the grey image in place of colours.
    pub sobel: bool,
    /// Weights to start from, as safetensors or PyTorch's file, of this program or another; empty starts at random.
    pub init_from: String,
    /// The least share of the backbone's tensors that `init_from` must hold.
    pub init_share: f64,
    /// Whether the network of `init_from` sees blue, green, red.
    pub init_bgr: bool,
    /// Width of the neck's hidden layer.
    pub hidden: usize,
    /// Dimension d of the features that are clustered.
    pub dim: usize,
    /// Dropout in the neck.
    pub dropout: f32,
    /// Momentum of the neck's batch norm (the reference's 0.001).
    pub neck_batch_norm_momentum: f64,
    /// How convolutions are computed.
    pub convolution: Convolution,
}

/// How convolutions are computed on the CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Convolution {
    /// By Winograd's method where it is faster: about a bit less exact in these layers.
    #[default]
    Fastest,
    /// By the definition everywhere.
    Direct,
}

impl Default for ModelTable {
    fn default() -> Self {
        Self {
            arch: Architecture::ResNet50,
            width: 64,
            stem: None,
            sobel: false,
            init_from: String::new(),
            init_share: 1.0,
            init_bgr: false,
            hidden: 512,
            dim: 256,
            dropout: 0.5,
            neck_batch_norm_momentum: 0.001,
            convolution: Convolution::Fastest,
        }
    }
}

impl ModelTable {
    /// The backbone's configuration; the recipe must be resolved.
    pub fn backbone(&self) -> BackboneConfig {
        BackboneConfig {
            arch: self.arch,
            width: self.width,
            stem: self.stem.unwrap_or(Stem::Imagenet),
            sobel: self.sobel,
        }
    }

    /// The neck's configuration.
    pub fn neck(&self) -> NeckConfig {
        NeckConfig {
            hidden: self.hidden,
            dim: self.dim,
            dropout: self.dropout,
            batch_norm_momentum: self.neck_batch_norm_momentum,
        }
    }
}
