//! AlexNet with batch norm, as DeepCluster has it: five convolutions, two fully connected layers with dropout.

use candle_core::{Result, Tensor};
use odc_ops::ConvolutionMethod;

use crate::builder::Builder;
use crate::config::{BackboneConfig, Stem};
use crate::layers::{BatchNorm, Convolution, Linear};
use crate::neck::Dropout;
use crate::pass::Pass;

/// The side of the map that the first fully connected layer takes. Images of about 224 pixels have it after the last pool; the
/// maps of others are averaged to it.
const MAP_SIDE: usize = 6;
/// Of the fully connected layers' weights, as in DeepCluster.
const DEVIATION: f64 = 0.01;
const DROPPED: f32 = 0.5;

/// DeepCluster's AlexNet of any even width, without a classifier.
#[derive(Debug)]
pub(crate) struct AlexNet {
    layers: Vec<Layer>,
    fc6: Linear,
    fc7: Linear,
}

/// Convolution, batch norm, relu and, where said, max pool 3×3 with stride 2.
#[derive(Debug)]
struct Layer {
    convolution: Convolution,
    norm: BatchNorm,
    is_pooled: bool,
}

impl AlexNet {
    /// Convolutions by He's normal distribution with `fan_out`, batch norms 1 and 0, linear layers from N(0, 0.01²), biases 0.
    pub(crate) fn new(builder: &mut Builder<'_>, config: &BackboneConfig) -> Result<Self> {
        let width = config.width;
        let first = match config.stem {
            Stem::Imagenet => (11, 4, 2),
            Stem::Cifar => (3, 1, 1),
            Stem::Small => (3, 2, 1),
        };
        let shapes = [
            (first, 3 * width / 2, true),
            ((5, 1, 2), 4 * width, true),
            ((3, 1, 1), 6 * width, false),
            ((3, 1, 1), 6 * width, false),
            ((3, 1, 1), 4 * width, true),
        ];
        let mut layers = Vec::new();
        let mut inputs = config.in_channels();
        // PyTorch counts convolution, batch norm, relu and pool.
        let mut number = 0;
        for (window, outputs, is_pooled) in shapes {
            let convolution = Convolution::with_bias(builder, &format!("features.{number}"), window, inputs, outputs)?;
            let norm = BatchNorm::affine(builder, &format!("features.{}", number + 1), outputs)?;
            layers.push(Layer { convolution, norm, is_pooled });
            number += if is_pooled { 4 } else { 3 };
            inputs = outputs;
        }
        let hidden = config.out_dim();
        let fc6 = Linear::over_map(builder, "classifier.1", (MAP_SIDE, inputs), hidden, DEVIATION)?;
        let fc7 = Linear::new(builder, "classifier.4", hidden, hidden, DEVIATION)?;
        Ok(Self { layers, fc6, fc7 })
    }

    pub(crate) fn set_convolution_method(&mut self, method: ConvolutionMethod) {
        for layer in &mut self.layers {
            layer.convolution.set_method(method);
        }
    }

    /// The maps after each convolution, batch norm and relu, before the pools.
    pub(crate) fn stages(&self, images: &Tensor, pass: Pass) -> Result<Vec<Tensor>> {
        let mut maps = Vec::new();
        let mut x = images.clone();
        for layer in &self.layers {
            let map = layer.forward(&x, pass)?;
            x = layer.pool(&map)?;
            maps.push(map);
        }
        Ok(maps)
    }

    /// The second fully connected layer, after its relu.
    pub(crate) fn forward(&self, images: &Tensor, pass: Pass, dropout: Dropout<'_>) -> Result<Tensor> {
        let mut map = images.clone();
        for layer in &self.layers {
            map = layer.pool(&layer.forward(&map, pass)?)?;
        }
        self.connected(&map, pass, dropout)
    }

    /// The same from the last map of [`AlexNet::stages`].
    pub(crate) fn vector(&self, last: &Tensor, pass: Pass, dropout: Dropout<'_>) -> Result<Tensor> {
        self.connected(&pool(last)?, pass, dropout)
    }

    fn connected(&self, map: &Tensor, pass: Pass, dropout: Dropout<'_>) -> Result<Tensor> {
        let flat = odc_ops::adaptive_average_rows(map, MAP_SIDE)?;
        let hidden = odc_ops::relu(&self.fc6.forward(&drop(&flat, "classifier.0", pass, dropout)?, pass)?)?;
        odc_ops::relu(&self.fc7.forward(&drop(&hidden, "classifier.3", pass, dropout)?, pass)?)
    }
}

impl Layer {
    fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        self.norm.forward_relu(&self.convolution.forward(x, pass)?, None, pass)
    }

    fn pool(&self, map: &Tensor) -> Result<Tensor> {
        if self.is_pooled { pool(map) } else { Ok(map.clone()) }
    }
}

fn pool(map: &Tensor) -> Result<Tensor> {
    odc_ops::max_pool2d(map, 3, 2, 0)
}

/// Dropout in training; each place draws a mask of its own.
fn drop(x: &Tensor, place: &str, pass: Pass, dropout: Dropout<'_>) -> Result<Tensor> {
    match (pass, dropout) {
        (Pass::Train, Dropout::Seed(seed)) => odc_ops::dropout(x, DROPPED, odc_ops::random::key(seed, place, 0)),
        _ => Ok(x.clone()),
    }
}
