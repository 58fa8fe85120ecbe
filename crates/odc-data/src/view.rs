//! What the network sees of an image: the random training view, or the plain view that is always alike.

use serde::{Deserialize, Serialize};

use crate::operations::{center_crop_of_resized, resize};
use crate::{Augmentation, Image, SampleRandom};

/// How the plain view makes an image `side` × `side`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlainView {
    /// The short side to `side · 256 / 224` (rounded), then the centre: for photographs.
    #[default]
    Crop,
    /// All of the image to `side` × `side`, its proportions not kept: for images that are nearly of that size.
    Resize,
}

impl PlainView {
    /// The plain view of an image.
    pub fn apply(self, image: &Image, side: usize) -> Image {
        match self {
            Self::Crop => center_crop_of_resized(image, (side as f64 * 256.0 / 224.0).round() as usize, side),
            Self::Resize => resize(image, side, side),
        }
    }
}

/// The training view or the plain view.
#[derive(Clone, Debug, PartialEq)]
pub enum View {
    /// Random, by the sample's key.
    Training(Augmentation),
    /// Always alike.
    Plain(PlainView),
}

impl View {
    /// The view of an image, `side` × `side`.
    pub fn apply(&self, image: &Image, side: usize, random: &mut SampleRandom) -> Image {
        match self {
            Self::Training(augmentation) => augmentation.apply(image, side, random),
            Self::Plain(plain) => plain.apply(image, side),
        }
    }
}
