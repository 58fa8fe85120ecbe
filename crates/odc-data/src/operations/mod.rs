//! The image operations of the views, each equal to Pillow's (and so to torchvision's on a Pillow image).

mod blur;
mod color;
mod geometry;
mod hue;
mod pixels;
mod resize;

pub use blur::gaussian_blur;
pub use color::{adjust_brightness, adjust_contrast, adjust_saturation, luma, solarize, to_grayscale};
pub use geometry::{flip_horizontal, flip_vertical, quarter_turn, rotate};
pub use hue::adjust_hue;
pub use resize::{Crop, center_crop_of_resized, resize, resized_crop};
