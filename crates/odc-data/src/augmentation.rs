//! The training view: a list of random steps, each as torchvision does it on a Pillow image.

use serde::{Deserialize, Serialize};

use crate::operations::{self, Crop};
use crate::{DataError, Image, SampleRandom};

/// The steps of the training view, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    /// Applied first to last.
    pub steps: Vec<Step>,
}

/// One random change of an image. In a recipe: `{ step = "rotation", degrees = 2.0 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// A random part of the image at the view's size.
    RandomResizedCrop {
        /// The part's share of the area, smallest and largest.
        scale: [f32; 2],
        /// Its width over its height, smallest and largest; drawn evenly in the logarithm.
        #[serde(default = "standard_ratio")]
        ratio: [f32; 2],
    },
    /// Left and right exchanged.
    HorizontalFlip {
        /// How often.
        #[serde(default = "half")]
        probability: f32,
    },
    /// Top and bottom exchanged.
    VerticalFlip {
        /// How often.
        #[serde(default = "half")]
        probability: f32,
    },
    /// Rotation by up to so many degrees to either side; black corners.
    Rotation {
        /// The largest angle.
        degrees: f32,
    },
    /// Brightness, contrast, saturation and hue, in random order.
    ColorJitter {
        /// The factor is drawn from 1 − this (at least 0) to 1 + this.
        #[serde(default)]
        brightness: f32,
        /// As for brightness.
        #[serde(default)]
        contrast: f32,
        /// As for brightness.
        #[serde(default)]
        saturation: f32,
        /// The hue turns by up to so much of the circle to either side; at most 0.5.
        #[serde(default)]
        hue: f32,
        /// How often there is any jitter.
        #[serde(default = "always")]
        probability: f32,
    },
    /// Gray in all channels.
    Grayscale {
        /// How often.
        probability: f32,
    },
    /// Gaussian blur.
    GaussianBlur {
        /// The deviation in pixels, smallest and largest.
        sigma: [f32; 2],
        /// How often.
        #[serde(default = "half")]
        probability: f32,
    },
    /// Bytes from the threshold on are inverted.
    Solarize {
        /// The threshold.
        #[serde(default = "middle")]
        threshold: u8,
        /// How often.
        probability: f32,
    },
}

impl Augmentation {
    /// The training view of docs/ALGORITHM.md: crops from `scale_min` of the area up to all of it.
    pub fn standard(scale_min: f32) -> Self {
        Self {
            steps: vec![
                Step::RandomResizedCrop { scale: [scale_min, 1.0], ratio: standard_ratio() },
                Step::HorizontalFlip { probability: 0.5 },
                Step::Rotation { degrees: 2.0 },
                Step::ColorJitter { brightness: 0.4, contrast: 0.4, saturation: 1.0, hue: 0.5, probability: 1.0 },
                Step::Grayscale { probability: 0.2 },
            ],
        }
    }

    /// # Errors
    /// Where a strength is outside its bounds; says which, and the bounds.
    pub fn check(&self) -> Result<(), DataError> {
        self.steps.iter().try_for_each(Step::check)
    }

    /// The image after all steps, `side` × `side`: where no step crops, the whole image is resized at the end.
    pub fn apply(&self, image: &Image, side: usize, random: &mut SampleRandom) -> Image {
        let mut steps = self.steps.iter();
        // A crop at the start, the usual case, spares the copy of the whole image.
        let mut view = match self.steps.first() {
            Some(Step::RandomResizedCrop { scale, ratio }) => {
                steps.next();
                operations::resized_crop(image, random_crop(image, *scale, *ratio, random), side, side)
            }
            _ => image.clone(),
        };
        for step in steps {
            step.apply(&mut view, side, random);
        }
        if (view.width, view.height) == (side, side) { view } else { operations::resize(&view, side, side) }
    }
}

impl Step {
    fn apply(&self, image: &mut Image, side: usize, random: &mut SampleRandom) {
        match *self {
            Self::RandomResizedCrop { scale, ratio } => {
                let crop = random_crop(image, scale, ratio, random);
                *image = operations::resized_crop(image, crop, side, side);
            }
            Self::HorizontalFlip { probability } if random.chance(probability.into()) => {
                operations::flip_horizontal(image);
            }
            Self::VerticalFlip { probability } if random.chance(probability.into()) => {
                operations::flip_vertical(image);
            }
            Self::Rotation { degrees } if degrees > 0.0 => {
                let degrees = f64::from(degrees);
                *image = operations::rotate(image, random.uniform(-degrees, degrees));
            }
            Self::ColorJitter { brightness, contrast, saturation, hue, probability }
                if random.chance(probability.into()) =>
            {
                jitter(&mut image.pixels, [brightness, contrast, saturation], hue, random);
            }
            Self::Grayscale { probability } if random.chance(probability.into()) => {
                operations::to_grayscale(&mut image.pixels);
            }
            Self::GaussianBlur { sigma: [low, high], probability } if random.chance(probability.into()) => {
                operations::gaussian_blur(image, random.uniform(low.into(), high.into()));
            }
            Self::Solarize { threshold, probability } if random.chance(probability.into()) => {
                operations::solarize(&mut image.pixels, threshold);
            }
            // The chance did not come.
            _ => {}
        }
    }

    fn check(&self) -> Result<(), DataError> {
        match *self {
            Self::RandomResizedCrop { scale: [low, high], ratio: [narrow, wide] } => {
                bound("scale", low, low > 0.0 && low <= high, "above 0 and at most the largest scale")?;
                bound("scale", high, high <= 1.0, "at most 1")?;
                bound("ratio", narrow, narrow > 0.0 && narrow <= wide, "above 0 and at most the largest ratio")?;
                bound("ratio", wide, wide.is_finite(), "finite")
            }
            Self::HorizontalFlip { probability }
            | Self::VerticalFlip { probability }
            | Self::Grayscale { probability }
            | Self::Solarize { probability, .. } => chance(probability),
            Self::Rotation { degrees } => bound("degrees", degrees, (0.0..=180.0).contains(&degrees), "from 0 to 180"),
            Self::ColorJitter { brightness, contrast, saturation, hue, probability } => {
                for (name, value) in [("brightness", brightness), ("contrast", contrast), ("saturation", saturation)] {
                    bound(name, value, value >= 0.0 && value.is_finite(), "0 or more")?;
                }
                bound("hue", hue, (0.0..=0.5).contains(&hue), "from 0 to 0.5")?;
                chance(probability)
            }
            Self::GaussianBlur { sigma: [low, high], probability } => {
                bound("sigma", low, low >= 0.0 && low <= high, "0 or more and at most the largest sigma")?;
                bound("sigma", high, high <= 100.0, "at most 100")?;
                chance(probability)
            }
        }
    }
}

/// torchvision's `RandomResizedCrop.get_params`: ten tries, then the largest centre crop within the ratios.
fn random_crop(image: &Image, scale: [f32; 2], ratio: [f32; 2], random: &mut SampleRandom) -> Crop {
    let (width, height) = (image.width, image.height);
    let area = (width * height) as f64;
    let [narrow, wide] = ratio.map(f64::from);
    for _ in 0..10 {
        let target = area * random.uniform(scale[0].into(), scale[1].into());
        let aspect = random.uniform(narrow.ln(), wide.ln()).exp();
        let crop_width = (target * aspect).sqrt().round_ties_even() as usize;
        let crop_height = (target / aspect).sqrt().round_ties_even() as usize;
        if (1..=width).contains(&crop_width) && (1..=height).contains(&crop_height) {
            let top = random.below(height - crop_height + 1);
            let left = random.below(width - crop_width + 1);
            return Crop { top, left, height: crop_height, width: crop_width };
        }
    }
    let own = width as f64 / height as f64;
    // At least one pixel, where torchvision would fail: an image one pixel wide and a ratio above 2.
    let (crop_width, crop_height) = if own < narrow {
        (width, ((width as f64 / narrow).round_ties_even() as usize).clamp(1, height))
    } else if own > wide {
        (((height as f64 * wide).round_ties_even() as usize).clamp(1, width), height)
    } else {
        (width, height)
    };
    Crop { top: (height - crop_height) / 2, left: (width - crop_width) / 2, height: crop_height, width: crop_width }
}

/// torchvision's `ColorJitter`; `strengths` are brightness, contrast, saturation.
fn jitter(pixels: &mut [u8], strengths: [f32; 3], hue: f32, random: &mut SampleRandom) {
    let mut order = [0, 1, 2, 3];
    random.shuffle(&mut order);
    // All four are drawn whatever the strengths are, so that changing one leaves the others' draws alone.
    let factors = strengths.map(|s| random.uniform((1.0 - f64::from(s)).max(0.0), 1.0 + f64::from(s)) as f32);
    let turn = random.uniform(-f64::from(hue), f64::from(hue));
    for operation in order {
        match operation {
            0 if strengths[0] > 0.0 => operations::adjust_brightness(pixels, factors[0]),
            1 if strengths[1] > 0.0 => operations::adjust_contrast(pixels, factors[1]),
            2 if strengths[2] > 0.0 => operations::adjust_saturation(pixels, factors[2]),
            3 if hue > 0.0 => operations::adjust_hue(pixels, turn),
            _ => {}
        }
    }
}

fn bound(name: &str, value: f32, holds: bool, bound: &str) -> Result<(), DataError> {
    if holds {
        return Ok(());
    }
    let name = format!("augmentation: {name}");
    Err(DataError::Setting { name, value: value.to_string(), bound: bound.to_owned() })
}

fn chance(probability: f32) -> Result<(), DataError> {
    bound("probability", probability, (0.0..=1.0).contains(&probability), "from 0 to 1")
}

fn standard_ratio() -> [f32; 2] {
    [3.0 / 4.0, 4.0 / 3.0]
}

fn half() -> f32 {
    0.5
}

fn always() -> f32 {
    1.0
}

fn middle() -> u8 {
    128
}
