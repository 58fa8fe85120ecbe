//! Which of a backbone's features are meant, and how a stage's map becomes a row of about 9,000 numbers.

use std::fmt;

use candle_core::{DType, Device, Result, Tensor, bail};
use odc_model::{Backbone, Dropout, Mode};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::EvalError;

/// Features of a backbone, by where they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// One of the maps of [`Backbone::stages`], from 1, average-pooled to about 9,000 numbers.
    Stage(usize),
    /// What [`Backbone::forward`] gives: of a ResNet the last map's mean over its positions, of AlexNet its second fully
    /// connected layer.
    Vector,
}

/// How many numbers a layer gives for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerSize {
    /// Which.
    pub layer: Layer,
    /// Height, width and channels of the map that it is taken from; of the vector itself.
    pub map: [usize; 3],
    /// Height and width that the map is pooled to.
    pub pooled: [usize; 2],
}

/// At most so many numbers come of a stage: 12 × 12 × 64, and so 6 × 6 × 256, 4 × 4 × 512, 3 × 3 × 1024 and 2 × 2 × 2048, the
/// maps of ResNet-50 in published evaluations.
const MOST_NUMBERS: usize = 9216;

impl LayerSize {
    /// A map of a stage is pooled to the largest square that gives at most 9,216 numbers and is not larger than the map.
    fn of_stage(number: usize, map: &Tensor) -> Result<Self> {
        let (_, height, width, channels) = map.dims4()?;
        let side = (MOST_NUMBERS / channels.max(1)).isqrt().max(1);
        let pooled = [side.min(height), side.min(width)];
        Ok(Self { layer: Layer::Stage(number), map: [height, width, channels], pooled })
    }

    fn of_vector(length: usize) -> Self {
        Self { layer: Layer::Vector, map: [1, 1, length], pooled: [1, 1] }
    }

    /// Length of a row.
    pub fn dim(&self) -> usize {
        self.pooled[0] * self.pooled[1] * self.map[2]
    }
}

impl Layer {
    /// The five stages that linear evaluation looks at.
    pub const STAGES: [Self; 5] = [Self::Stage(1), Self::Stage(2), Self::Stage(3), Self::Stage(4), Self::Stage(5)];

    /// What the layers give for images of this side, in the order asked for.
    ///
    /// # Errors
    /// Where the backbone has no such stage, or cannot take images of this side.
    pub fn sizes(layers: &[Self], backbone: &Backbone, side: usize) -> std::result::Result<Vec<LayerSize>, EvalError> {
        let device = device_of(backbone);
        let image = Tensor::zeros((1, side, side, 3), DType::F32, &device)?;
        let maps = odc_ops::in_pool(|| backbone.stages(&image, Mode::Eval))?;
        let size = |&layer: &Self| match layer {
            Self::Stage(number) => LayerSize::of_stage(number, stage(number, &maps)?),
            Self::Vector => Ok(LayerSize::of_vector(backbone.out_dim())),
        };
        Ok(layers.iter().map(size).collect::<Result<_>>()?)
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stage(number) => write!(formatter, "stage {number}"),
            Self::Vector => formatter.write_str("vector"),
        }
    }
}

/// The rows of each layer, `[N, dim]`, from one forward pass in evaluation mode.
pub(crate) fn rows(backbone: &Backbone, layers: &[Layer], images: &Tensor) -> Result<Vec<Tensor>> {
    // The vector alone needs no map but the last.
    if layers == [Layer::Vector] {
        return Ok(vec![backbone.forward(images, Mode::Eval, Dropout::Off)?]);
    }
    let maps = backbone.stages(images, Mode::Eval)?;
    let row = |&layer: &Layer| match layer {
        Layer::Vector => backbone.vector(stage(maps.len(), &maps)?, Mode::Eval, Dropout::Off),
        Layer::Stage(number) => {
            let map = stage(number, &maps)?;
            adaptive_average_pool(map, LayerSize::of_stage(number, map)?.pooled)
        }
    };
    layers.iter().map(row).collect()
}

/// The map of a stage, counted from 1.
fn stage(number: usize, maps: &[Tensor]) -> Result<&Tensor> {
    match number.checked_sub(1).and_then(|position| maps.get(position)) {
        Some(map) => Ok(map),
        None => bail!("there is no stage {number}: this backbone has stages 1 to {}", maps.len()),
    }
}

pub(crate) fn device_of(backbone: &Backbone) -> Device {
    backbone.params().trainable().first().map_or(Device::Cpu, |parameter| parameter.device().clone())
}

/// PyTorch's adaptive average pool: row `i` of the result is the mean of the map's rows ⌊i·h/H⌋ to ⌈(i+1)·h/H⌉, so with
/// columns. Computed on the host.
///
/// # Shapes
/// `[N, h, w, C]` → `[N, H · W · C]`, positions first, channels last
fn adaptive_average_pool(map: &Tensor, [height, width]: [usize; 2]) -> Result<Tensor> {
    let (images, map_height, map_width, channels) = map.dims4()?;
    if [map_height, map_width] == [height, width] {
        return map.flatten_from(1)?.to_device(&Device::Cpu);
    }
    let values = map.flatten_all()?.to_vec1::<f32>()?;
    let range = |i: usize, of: usize, to: usize| i * of / to..((i + 1) * of).div_ceil(to);
    let dim = height * width * channels;
    let mut pooled = vec![0.0_f32; images * dim];
    let per_image = values.par_chunks(map_height * map_width * channels).zip(pooled.par_chunks_mut(dim));
    per_image.for_each(|(map, pooled)| {
        for (place, sums) in pooled.chunks_mut(channels).enumerate() {
            let rows = range(place / width, map_height, height);
            let columns = range(place % width, map_width, width);
            for row in rows.clone() {
                for column in columns.clone() {
                    let pixel = &map[(row * map_width + column) * channels..][..channels];
                    sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value);
                }
            }
            let count = (rows.len() * columns.len()) as f32;
            sums.iter_mut().for_each(|sum| *sum /= count);
        }
    });
    Tensor::from_vec(pooled, (images, dim), &Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(height: usize, channels: usize) -> LayerSize {
        let map = Tensor::zeros((1, height, height, channels), DType::F32, &Device::Cpu).expect("a map");
        LayerSize::of_stage(1, &map).expect("four axes")
    }

    #[test]
    fn maps_of_resnet50_are_pooled_as_in_published_evaluations() {
        let sides = [(112, 64), (56, 256), (28, 512), (14, 1024), (7, 2048)].map(|(side, channels)| {
            let size = size(side, channels);
            (size.pooled, size.dim())
        });
        assert_eq!(sides, [([12; 2], 9216), ([6; 2], 9216), ([4; 2], 8192), ([3; 2], 9216), ([2; 2], 8192)]);
        assert_eq!(size(4, 16).pooled, [4, 4], "a map does not grow");
        assert_eq!(size(2, 10_000).pooled, [1, 1], "every channel is kept");
        assert_eq!(LayerSize::of_vector(2048).dim(), 2048);
    }

    #[test]
    fn pooling_takes_the_windows_of_pytorch() {
        // torch.nn.functional.adaptive_avg_pool2d of 0 … 24 as 5 × 5, to 2 × 3; a second channel is the first, negative.
        let map: Vec<f32> = (0..25).flat_map(|value| [value as f32, -(value as f32)]).collect();
        let map = Tensor::from_vec(map, (1, 5, 5, 2), &Device::Cpu).expect("a map");
        let pooled = adaptive_average_pool(&map, [2, 3]).expect("pools");
        let expected: [f32; 6] = [5.5, 7.0, 8.5, 15.5, 17.0, 18.5];
        let expected: Vec<f32> = expected.into_iter().flat_map(|value| [value, -value]).collect();
        assert_eq!(pooled.flatten_all().and_then(|values| values.to_vec1::<f32>()).expect("values"), expected);
    }
}
