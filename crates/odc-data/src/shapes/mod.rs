//! `shapes`: a generated labelled set, its classes told apart by shape and texture alone.

mod draw;
mod palette;

use serde::{Deserialize, Serialize};

use crate::{DataError, Dataset, Image, SampleRandom};
use draw::Scene;
use palette::Palette;

/// The numbers of the generated set.
#[derive(Clone, Debug, PartialEq)]
pub struct ShapesConfig {
    /// How many images; the first ones of a larger set are the smaller set.
    pub images: usize,
    /// Width and height, 8 to 1024.
    pub side: usize,
    /// Another seed gives other images of the same classes.
    pub seed: u64,
    /// The deviation of the pixel noise, in levels of 0 to 255.
    pub noise: f32,
    /// The largest number of small spots that lie about.
    pub clutter: usize,
    /// What colours there are.
    pub colors: ShapesColors,
    /// What the true labels say; the images are the same.
    pub label: ShapesLabel,
}

/// What colours the images have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShapesColors {
    /// Weak ones, drawn for each image anew.
    #[default]
    Drawn,
    /// Those of one of six palettes, which is drawn for each image whatever its class: by far the easiest thing to tell
    /// images apart by.
    Palettes,
}

/// What the true label of an image is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShapesLabel {
    /// Its shape and texture.
    #[default]
    Shape,
    /// Its palette.
    Palette,
}

impl Default for ShapesConfig {
    fn default() -> Self {
        Self {
            images: 4_800,
            side: 32,
            seed: 0,
            noise: 6.0,
            clutter: 3,
            colors: ShapesColors::Drawn,
            label: ShapesLabel::Shape,
        }
    }
}

/// Textured shapes on a background: image `i` is of class `i % 12`, one of four shapes with one of three textures.
///
/// Colours, position, size, rotation, background, clutter and noise are drawn from the same distributions for every
/// class, so that they tell nothing. An image depends on the seed, the index, the side, noise, clutter and kind of colours
/// only, and is made when it is asked for.
pub struct Shapes {
    config: ShapesConfig,
    class_names: Vec<String>,
}

impl Shapes {
    /// # Errors
    /// Where there is to be no image, the side is outside 8 to 1024, or labels are palettes that the images do not have.
    pub fn new(config: ShapesConfig) -> Result<Self, DataError> {
        let setting = |name: &str, value: String, bound: &str| {
            Err(DataError::Setting { name: name.to_owned(), value, bound: bound.to_owned() })
        };
        if config.images == 0 || config.images > u32::MAX as usize {
            return setting("shapes_images", config.images.to_string(), "from 1 to 4294967295");
        }
        if !(8..=1024).contains(&config.side) {
            return setting("shapes_side", config.side.to_string(), "from 8 to 1024");
        }
        let class_names = match (config.label, config.colors) {
            (ShapesLabel::Shape, _) => draw::class_names(),
            (ShapesLabel::Palette, ShapesColors::Palettes) => Palette::names(),
            (ShapesLabel::Palette, ShapesColors::Drawn) => {
                return setting("shapes_label", "palette".to_owned(), "shape, unless shapes_colors = palettes");
            }
        };
        Ok(Self { config, class_names })
    }

    fn palette(&self, index: usize) -> Palette {
        Palette::draw(self.config.seed, index)
    }
}

impl Dataset for Shapes {
    fn len(&self) -> usize {
        self.config.images
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        if index >= self.config.images {
            return Err(DataError::OutOfRange { index, len: self.config.images });
        }
        let mut random = SampleRandom::keyed(b"shapes\0\0", self.config.seed, index as u64, 0);
        let palette = match self.config.colors {
            ShapesColors::Drawn => None,
            ShapesColors::Palettes => Some(self.palette(index)),
        };
        let scene = Scene::draw(index % draw::CLASSES, palette, self.config.clutter, &mut random);
        Ok(scene.render(self.config.side, self.config.noise.into(), &mut random))
    }

    fn true_label(&self, index: usize) -> Option<u32> {
        (index < self.config.images).then(|| match self.config.label {
            ShapesLabel::Shape => (index % draw::CLASSES) as u32,
            ShapesLabel::Palette => self.palette(index).label(),
        })
    }

    fn name(&self, index: usize) -> String {
        format!("shapes#{index}")
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }
}
