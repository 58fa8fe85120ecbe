//! `[model]`: backbone and neck.

use odc_model::{Architecture, BackboneConfig, NeckConfig, Stem};
use serde::{Deserialize, Serialize};

/// `[model]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelTable {
    /// `resnet18`, `resnet34` or `resnet50`.
    pub arch: Architecture,
    /// Channels of the first stage; 64 is the published network.
    pub width: usize,
    /// `imagenet` (7×7/2 and pool), `cifar` (3×3/1) or `small` (3×3/2). Without it: after `data.side`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stem: Option<Stem>,
    /// Weights to start from (safetensors, torchvision's names); empty starts at random.
    pub init_from: String,
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
            init_from: String::new(),
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
        BackboneConfig { arch: self.arch, width: self.width, stem: self.stem.unwrap_or(Stem::Imagenet) }
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
