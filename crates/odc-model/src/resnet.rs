//! The backbone: a residual network that turns images into feature maps and one vector each.

use candle_core::{DType, Device, Result, Tensor, bail};
use odc_ops::ConvolutionMethod;

use crate::block::{Block, BlockShape};
use crate::builder::Builder;
use crate::config::{Architecture, BackboneConfig, Stem};
use crate::layers::{BatchNorm, Convolution};
use crate::params::Params;
use crate::pass::{Mode, Pass};

/// ResNet-18, -34 or -50 of any width, without a classifier.
#[derive(Debug)]
pub struct ResNet {
    config: BackboneConfig,
    convolution: Convolution,
    norm: BatchNorm,
    stages: Vec<Vec<Block>>,
    params: Params,
}

impl ResNet {
    /// A network at random, initialised as torchvision does: convolutions by He's normal distribution with
    /// `fan_out`, batch norms 1 and 0. The same seed gives the same bits.
    ///
    /// # Errors
    /// Where the width is 0, or the device has no room.
    pub fn new(config: &BackboneConfig, seed: u64, device: &Device) -> Result<Self> {
        config.check()?;
        let BackboneConfig { arch, width, stem } = *config;
        let mut builder = Builder::new("backbone", seed, device);
        let convolution = Convolution::new(&mut builder, "conv1", stem.kernel(), 3, width, stem.stride())?;
        let norm = BatchNorm::affine(&mut builder, "bn1", width)?;
        let mut inputs = width;
        let mut stages = Vec::new();
        for (stage, depth) in arch.depths().into_iter().enumerate() {
            let planes = width << stage;
            let mut blocks = Vec::new();
            for position in 0..depth {
                let stride = if stage > 0 && position == 0 { 2 } else { 1 };
                let name = format!("layer{}.{position}", stage + 1);
                let shape = BlockShape { inputs, planes, stride };
                blocks.push(match arch {
                    Architecture::ResNet18 | Architecture::ResNet34 => Block::basic(&mut builder, &name, shape)?,
                    Architecture::ResNet50 => Block::bottleneck(&mut builder, &name, shape)?,
                });
                inputs = planes * arch.expansion();
            }
            stages.push(blocks);
        }
        let mut params = builder.params;
        params.describe("arch", arch);
        params.describe("width", width);
        params.describe("stem", stem);
        Ok(Self { config: *config, convolution, norm, stages, params })
    }

    /// What the network was built from.
    pub fn config(&self) -> &BackboneConfig {
        &self.config
    }

    /// Parameters and buffers, with torchvision's names (`conv1.weight`, `layer1.0.bn2.running_var`, …).
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// How its convolutions are computed from now on; [`ConvolutionMethod::Fastest`] until then.
    pub fn set_convolution_method(&mut self, method: ConvolutionMethod) {
        self.convolution.set_method(method);
        for block in self.stages.iter_mut().flatten() {
            block.set_convolution_method(method);
        }
    }

    /// Length of the vector that [`ResNet::forward`] gives for each image.
    pub fn out_dim(&self) -> usize {
        self.config.out_dim()
    }

    /// Each image's last feature map, averaged over its positions.
    ///
    /// # Shapes
    /// `[N, H, W, 3]` f32, normalised pixels → `[N, out_dim]`
    ///
    /// # Errors
    /// Where the images have another shape or type, or training has less than two values per channel somewhere.
    pub fn forward(&self, images: &Tensor, mode: Mode) -> Result<Tensor> {
        self.forward_pass(images, mode.into())
    }

    /// The five feature maps that linear evaluation looks at: after the first convolution, batch norm and relu
    /// (before the pool), and after each of the four stages.
    ///
    /// # Shapes
    /// `[N, H, W, 3]` → five of `[N, h, w, channels]`, NHWC
    ///
    /// # Errors
    /// As [`ResNet::forward`].
    pub fn stages(&self, images: &Tensor, mode: Mode) -> Result<Vec<Tensor>> {
        let pass = mode.into();
        let first = self.before_pool(images, pass)?;
        let mut maps = vec![first];
        let mut map = self.pool(&maps[0])?;
        for blocks in &self.stages {
            map = through(blocks, map, pass)?;
            maps.push(map.clone());
        }
        Ok(maps)
    }

    pub(crate) fn forward_pass(&self, images: &Tensor, pass: Pass) -> Result<Tensor> {
        let mut map = self.pool(&self.before_pool(images, pass)?)?;
        for blocks in &self.stages {
            map = through(blocks, map, pass)?;
        }
        odc_ops::global_average_pool(&map)
    }

    fn before_pool(&self, images: &Tensor, pass: Pass) -> Result<Tensor> {
        if images.rank() != 4 || images.dims()[3] != 3 || images.dtype() != DType::F32 {
            bail!(
                "a ResNet takes normalised images [N, height, width, 3] of f32; it was given {:?} of {:?}",
                images.dims(),
                images.dtype()
            );
        }
        self.norm.forward_relu(&self.convolution.forward(images, pass)?, None, pass)
    }

    fn pool(&self, map: &Tensor) -> Result<Tensor> {
        match self.config.stem {
            Stem::Imagenet => odc_ops::max_pool2d(map, 3, 2, 1),
            Stem::Cifar | Stem::Small => Ok(map.clone()),
        }
    }
}

/// Each map is dropped as soon as the next is there.
fn through(blocks: &[Block], mut map: Tensor, pass: Pass) -> Result<Tensor> {
    for block in blocks {
        map = block.forward(&map, pass)?;
    }
    Ok(map)
}
