//! The backbone: a ResNet or AlexNet, behind Sobel's filters or not.

use candle_core::{DType, Device, Result, Tensor, bail};
use odc_ops::ConvolutionMethod;

use crate::alexnet::AlexNet;
use crate::builder::Builder;
use crate::config::BackboneConfig;
use crate::neck::Dropout;
use crate::params::Params;
use crate::pass::{Mode, Pass};
use crate::resnet::ResNet;
use crate::sobel::Sobel;

/// From images to feature maps and one vector each, without a classifier.
#[derive(Debug)]
pub struct Backbone {
    config: BackboneConfig,
    sobel: Option<Sobel>,
    body: Body,
    params: Params,
}

#[derive(Debug)]
enum Body {
    ResNet(ResNet),
    AlexNet(AlexNet),
}

impl Backbone {
    /// A network at random, initialised as torchvision (ResNet) or DeepCluster (AlexNet) do. The same seed gives the same bits.
    ///
    /// # Errors
    /// Where the width is none that the architecture takes, or the device has no room.
    pub fn new(config: &BackboneConfig, seed: u64, device: &Device) -> Result<Self> {
        config.check()?;
        let mut builder = Builder::new("backbone", seed, device);
        let body = match config.arch.depths() {
            Some(depths) => Body::ResNet(ResNet::new(&mut builder, config, depths)?),
            None => Body::AlexNet(AlexNet::new(&mut builder, config)?),
        };
        let sobel = config.sobel.then(|| Sobel::new(&mut builder)).transpose()?;
        let mut params = builder.params;
        params.describe("arch", config.arch);
        params.describe("width", config.width);
        params.describe("stem", config.stem);
        if config.sobel {
            params.describe("sobel", true);
        }
        Ok(Self { config: *config, sobel, body, params })
    }

    /// What the network was built from.
    pub fn config(&self) -> &BackboneConfig {
        &self.config
    }

    /// Parameters and buffers, with the names of torchvision (`conv1.weight`, `layer1.0.bn2.running_var`, …) or, for AlexNet
    /// and Sobel's filters, of DeepCluster (`features.0.weight`, `classifier.1.bias`, `sobel.0.weight`, …).
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// How its convolutions are computed from now on; [`ConvolutionMethod::Fastest`] until then.
    pub fn set_convolution_method(&mut self, method: ConvolutionMethod) {
        match &mut self.body {
            Body::ResNet(body) => body.set_convolution_method(method),
            Body::AlexNet(body) => body.set_convolution_method(method),
        }
    }

    /// Length of the vector that [`Backbone::forward`] gives for each image.
    pub fn out_dim(&self) -> usize {
        self.config.out_dim()
    }

    /// Each image's vector: a ResNet's last map averaged over its positions, AlexNet's second fully connected layer after its
    /// relu. Only AlexNet has dropout; a mask, which is the neck's, drops nothing here.
    ///
    /// # Shapes
    /// `[N, H, W, 3]` f32, normalised pixels → `[N, out_dim]`
    ///
    /// # Errors
    /// Where the images have another shape or type or are too small for the pools (AlexNet needs 63 pixels with stem
    /// `imagenet`, 29 with `small`, 15 with `cifar`), or training has less than two values per channel somewhere.
    pub fn forward(&self, images: &Tensor, mode: Mode, dropout: Dropout<'_>) -> Result<Tensor> {
        self.forward_pass(images, mode.into(), dropout)
    }

    /// The five feature maps that linear evaluation looks at. ResNet: after the first convolution, batch norm and relu
    /// (before the pool), and after each of the four stages. AlexNet: after the relu of each convolution, before the pools.
    ///
    /// # Shapes
    /// `[N, H, W, 3]` → five of `[N, h, w, channels]`, NHWC
    ///
    /// # Errors
    /// As [`Backbone::forward`].
    pub fn stages(&self, images: &Tensor, mode: Mode) -> Result<Vec<Tensor>> {
        let input = self.input(images)?;
        match &self.body {
            Body::ResNet(body) => body.stages(&input, mode.into()),
            Body::AlexNet(body) => body.stages(&input, mode.into()),
        }
    }

    /// What [`Backbone::forward`] gives, from the last map of [`Backbone::stages`]: for both from one pass.
    ///
    /// # Shapes
    /// `[N, h, w, channels]` → `[N, out_dim]`
    ///
    /// # Errors
    /// Where the map is not one of this network's.
    pub fn vector(&self, last: &Tensor, mode: Mode, dropout: Dropout<'_>) -> Result<Tensor> {
        match &self.body {
            Body::ResNet(_) => odc_ops::global_average_pool(last),
            Body::AlexNet(body) => body.vector(last, mode.into(), dropout),
        }
    }

    /// A forward pass that only fills running statistics: each becomes the mean over this batch and `earlier` ones that
    /// were given before, however small the momentum. With `earlier` 0 what was there is forgotten.
    ///
    /// # Shapes
    /// `images`: `[N, H, W, 3]`, N at least 2
    ///
    /// # Errors
    /// As [`Backbone::forward`].
    pub fn accumulate_statistics(&self, images: &Tensor, earlier: u64) -> Result<()> {
        self.forward_pass(images, Pass::Accumulate { earlier }, Dropout::Off)?;
        Ok(())
    }

    pub(crate) fn forward_pass(&self, images: &Tensor, pass: Pass, dropout: Dropout<'_>) -> Result<Tensor> {
        let input = self.input(images)?;
        match &self.body {
            Body::ResNet(body) => body.forward(&input, pass),
            Body::AlexNet(body) => body.forward(&input, pass, dropout),
        }
    }

    /// What the first convolution sees.
    fn input(&self, images: &Tensor) -> Result<Tensor> {
        if images.rank() != 4 || images.dims()[3] != 3 || images.dtype() != DType::F32 {
            bail!(
                "a backbone takes normalised images [N, height, width, 3] of f32; it was given {:?} of {:?}",
                images.dims(),
                images.dtype()
            );
        }
        let (side, least) = (images.dims()[1].min(images.dims()[2]), self.config.least_side());
        if side < least {
            bail!(
                "{} takes images of at least {least} pixels; these have {side}. Use larger images or another stem",
                self.config
            );
        }
        match &self.sobel {
            Some(sobel) => sobel.forward(images),
            None => Ok(images.clone()),
        }
    }
}
