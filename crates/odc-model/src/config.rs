//! What a network is made of: architecture, width, stem, Sobel's filters, and the sizes of the neck.

use std::fmt;
use std::str::FromStr;

use candle_core::{Result, bail};
use serde::{Deserialize, Serialize};

/// A residual network of He et al., "Deep Residual Learning", CVPR 2016, table 1; or AlexNet as DeepCluster has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// Basic blocks, 2-2-2-2.
    #[default]
    ResNet18,
    /// Basic blocks, 3-4-6-3.
    ResNet34,
    /// Bottleneck blocks, 3-4-6-3, with the stride in the 3×3 convolution, as torchvision has it.
    ResNet50,
    /// Five convolutions with batch norm, two fully connected layers with dropout (Caron et al., "Deep Clustering for
    /// Unsupervised Learning of Visual Features", ECCV 2018).
    AlexNet,
}

/// How much the first layers shrink an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stem {
    /// Convolution 7×7 with stride 2, then max pool 3×3 with stride 2; AlexNet: convolution 11×11 with stride 4. For images
    /// of about 224 pixels.
    #[default]
    Imagenet,
    /// Convolution 3×3 with stride 1: for images of about 32 pixels.
    Cifar,
    /// Convolution 3×3 with stride 2: for images of 32 to 96 pixels, a quarter of the work of `Cifar`.
    Small,
}

/// A backbone. Width 64 and the stem `imagenet` make the published network: torchvision's ResNet, DeepCluster's AlexNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackboneConfig {
    /// Depth and kind of blocks.
    pub arch: Architecture,
    /// ResNet: channels after the stem; stage i has `width · 2^i` (times 4 for bottleneck blocks). AlexNet, an even number:
    /// convolutions of 1.5, 4, 6, 6, 4 times `width` channels, fully connected layers of 64 times. Default 64.
    pub width: usize,
    /// How much the first layers shrink an image.
    pub stem: Stem,
    /// Whether the network sees the edges of the grey image, by Sobel's two filters, in place of its colours.
    pub sobel: bool,
}

/// The neck of docs/ALGORITHM.md.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NeckConfig {
    /// Width of the hidden layer. Default 512.
    pub hidden: usize,
    /// Dimension d of the features. Default 256.
    pub dim: usize,
    /// Probability that a hidden unit is dropped in training, in [0, 1). Default 0.5.
    pub dropout: f32,
    /// Weight of the newest batch in the running statistics. Default 0.001, the reference's.
    pub batch_norm_momentum: f64,
}

impl Architecture {
    /// All architectures.
    pub const ALL: [Self; 4] = [Self::ResNet18, Self::ResNet34, Self::ResNet50, Self::AlexNet];

    /// The name in recipes and files, torchvision's: `resnet18`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ResNet18 => "resnet18",
            Self::ResNet34 => "resnet34",
            Self::ResNet50 => "resnet50",
            Self::AlexNet => "alexnet",
        }
    }

    /// Number of residual blocks in each of the four stages of a ResNet.
    pub const fn depths(self) -> Option<[usize; 4]> {
        match self {
            Self::ResNet18 => Some([2, 2, 2, 2]),
            Self::ResNet34 | Self::ResNet50 => Some([3, 4, 6, 3]),
            Self::AlexNet => None,
        }
    }

    /// Channels that a residual block puts out for each of its own: 1 for basic, 4 for bottleneck blocks.
    pub(crate) const fn expansion(self) -> usize {
        match self {
            Self::ResNet18 | Self::ResNet34 | Self::AlexNet => 1,
            Self::ResNet50 => 4,
        }
    }
}

impl Stem {
    /// All stems.
    pub const ALL: [Self; 3] = [Self::Imagenet, Self::Cifar, Self::Small];

    /// The name in recipes and files: `imagenet`, `cifar` or `small`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Imagenet => "imagenet",
            Self::Cifar => "cifar",
            Self::Small => "small",
        }
    }
}

impl BackboneConfig {
    /// Length of the feature vector: 512 for ResNet-18, 2048 for ResNet-50, 4096 for AlexNet at width 64.
    pub const fn out_dim(&self) -> usize {
        match self.arch {
            Architecture::AlexNet => 64 * self.width,
            arch => 8 * self.width * arch.expansion(),
        }
    }

    /// The least height and width of an image: AlexNet's third pool must be left a pixel.
    pub const fn least_side(&self) -> usize {
        match (self.arch, self.stem) {
            (Architecture::AlexNet, Stem::Imagenet) => 63,
            (Architecture::AlexNet, Stem::Small) => 29,
            (Architecture::AlexNet, Stem::Cifar) => 15,
            _ => 1,
        }
    }

    /// Channels that the first convolution takes.
    pub(crate) const fn in_channels(&self) -> usize {
        if self.sobel { 2 } else { 3 }
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.width == 0 {
            bail!("the backbone's width is 0; it must be at least 1 (64 is the published network)");
        }
        if self.arch == Architecture::AlexNet && !self.width.is_multiple_of(2) {
            bail!(
                "alexnet's width is {}; it must be even, for its first layer has 1.5 times as many channels",
                self.width
            );
        }
        Ok(())
    }
}

impl NeckConfig {
    pub(crate) fn check(&self) -> Result<()> {
        if self.hidden == 0 || self.dim == 0 {
            bail!("the neck's hidden is {} and its dim is {}; both must be at least 1", self.hidden, self.dim);
        }
        if !(0.0..1.0).contains(&self.dropout) {
            bail!("the neck's dropout is {}; it must be at least 0 and less than 1", self.dropout);
        }
        if !(self.batch_norm_momentum > 0.0 && self.batch_norm_momentum <= 1.0) {
            bail!(
                "the neck's batch norm momentum is {}; it must be greater than 0 and at most 1",
                self.batch_norm_momentum
            );
        }
        Ok(())
    }
}

impl Default for BackboneConfig {
    fn default() -> Self {
        Self { arch: Architecture::default(), width: 64, stem: Stem::default(), sobel: false }
    }
}

impl Default for NeckConfig {
    fn default() -> Self {
        Self { hidden: 512, dim: 256, dropout: 0.5, batch_norm_momentum: 0.001 }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl fmt::Display for Stem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl fmt::Display for BackboneConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of width {} with stem {}", self.arch, self.width, self.stem)?;
        if self.sobel { formatter.write_str(" behind Sobel's filters") } else { Ok(()) }
    }
}

impl FromStr for Architecture {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|arch| arch.name() == text)
            .ok_or_else(|| format!("there is no architecture {text:?}; choose resnet18, resnet34, resnet50 or alexnet"))
    }
}

impl FromStr for Stem {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|stem| stem.name() == text)
            .ok_or_else(|| format!("there is no stem {text:?}; choose imagenet, cifar or small"))
    }
}
