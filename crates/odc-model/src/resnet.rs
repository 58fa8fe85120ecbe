//! The residual network: images to feature maps, and the mean of the last map.

use candle_core::{Result, Tensor};
use odc_ops::ConvolutionMethod;

use crate::block::{Block, BlockShape};
use crate::builder::Builder;
use crate::config::{BackboneConfig, Stem};
use crate::layers::{BatchNorm, Convolution};
use crate::pass::Pass;

/// ResNet-18, -34 or -50 of any width, without a classifier.
#[derive(Debug)]
pub(crate) struct ResNet {
    stem: Stem,
    convolution: Convolution,
    norm: BatchNorm,
    stages: Vec<Vec<Block>>,
}

impl ResNet {
    /// Convolutions by He's normal distribution with `fan_out`, batch norms 1 and 0, as torchvision does; `depths` blocks in
    /// the stages.
    pub(crate) fn new(builder: &mut Builder<'_>, config: &BackboneConfig, depths: [usize; 4]) -> Result<Self> {
        let BackboneConfig { arch, width, stem, .. } = *config;
        let (kernel, stride) = match stem {
            Stem::Imagenet => (7, 2),
            Stem::Cifar => (3, 1),
            Stem::Small => (3, 2),
        };
        let convolution = Convolution::new(builder, "conv1", kernel, config.in_channels(), width, stride)?;
        let norm = BatchNorm::affine(builder, "bn1", width)?;
        let mut inputs = width;
        let mut stages = Vec::new();
        for (stage, depth) in depths.into_iter().enumerate() {
            let planes = width << stage;
            let mut blocks = Vec::new();
            for position in 0..depth {
                let stride = if stage > 0 && position == 0 { 2 } else { 1 };
                let name = format!("layer{}.{position}", stage + 1);
                let shape = BlockShape { inputs, planes, stride };
                blocks.push(match arch.expansion() {
                    1 => Block::basic(builder, &name, shape)?,
                    _ => Block::bottleneck(builder, &name, shape)?,
                });
                inputs = planes * arch.expansion();
            }
            stages.push(blocks);
        }
        Ok(Self { stem, convolution, norm, stages })
    }

    pub(crate) fn set_convolution_method(&mut self, method: ConvolutionMethod) {
        self.convolution.set_method(method);
        for block in self.stages.iter_mut().flatten() {
            block.set_convolution_method(method);
        }
    }

    /// The maps after the first convolution, batch norm and relu (before the pool), and after each of the four stages.
    pub(crate) fn stages(&self, images: &Tensor, pass: Pass) -> Result<Vec<Tensor>> {
        let first = self.before_pool(images, pass)?;
        let mut maps = vec![first];
        let mut map = self.pool(&maps[0])?;
        for blocks in &self.stages {
            map = through(blocks, map, pass)?;
            maps.push(map.clone());
        }
        Ok(maps)
    }

    /// Each image's last feature map, averaged over its positions.
    pub(crate) fn forward(&self, images: &Tensor, pass: Pass) -> Result<Tensor> {
        let mut map = self.pool(&self.before_pool(images, pass)?)?;
        for blocks in &self.stages {
            map = through(blocks, map, pass)?;
        }
        odc_ops::global_average_pool(&map)
    }

    fn before_pool(&self, images: &Tensor, pass: Pass) -> Result<Tensor> {
        self.norm.forward_relu(&self.convolution.forward(images, pass)?, None, pass)
    }

    fn pool(&self, map: &Tensor) -> Result<Tensor> {
        match self.stem {
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
