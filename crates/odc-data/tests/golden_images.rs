//! The image operations against torchvision on Pillow images (tests/golden/image_cifar and image_photo).

use odc_data::operations::{self, Crop};
use odc_data::{Image, PlainView, decode};
use odc_testkit::Golden;

/// Decoders and rounding differ by so many levels (the manifest says 1–2).
const DECODED: u8 = 2;
/// The operations themselves start from Pillow's own bytes and are equal to the last bit.
const EXACT: u8 = 0;

struct Case {
    golden: Golden,
    name: &'static str,
    side: usize,
}

fn cases() -> [Case; 2] {
    [("image_cifar", 32), ("image_photo", 96)].map(|(name, side)| Case { golden: Golden::open(name), name, side })
}

impl Case {
    fn decoded(&self) -> Image {
        decode(self.name, &self.golden.u8("jpeg")).expect("the golden JPEG can be decoded")
    }

    /// Pillow's crop, from which the other operations start.
    fn crop(&self) -> Image {
        Image { width: self.side, height: self.side, pixels: self.golden.u8("crop") }
    }

    fn compare(&self, tensor: &str, image: &Image, tolerance: u8) {
        let expected = self.golden.u8(tensor);
        assert_eq!(self.golden.shape(tensor), [image.height, image.width, 3], "{} {tensor}", self.name);
        let differences = image.pixels.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b));
        let largest = differences.clone().max().unwrap_or(0);
        let different = differences.filter(|&difference| difference > 0).count();
        assert!(
            largest <= tolerance,
            "{} {tensor}: {different} of {} bytes differ, by up to {largest} levels",
            self.name,
            expected.len()
        );
    }
}

#[test]
fn decoding_and_resizing_agree_with_torchvision() {
    for case in cases() {
        let decoded = case.decoded();
        if case.name == "image_cifar" {
            // The decoder rounds twice where libjpeg-turbo rounds once when it doubles the size of the colour planes.
            case.compare("decoded", &decoded, 3);
            let expected = case.golden.u8("decoded");
            let off = decoded.pixels.iter().zip(&expected).filter(|(a, b)| a.abs_diff(**b) > DECODED).count();
            assert!(off <= expected.len() / 1000, "{off} bytes are more than {DECODED} levels off");
        }
        let corner = case.golden.i64("box");
        let [top, left, height, width] = [0, 1, 2, 3].map(|i| corner[i] as usize);
        let crop = Crop { top, left, height, width };
        case.compare("crop", &operations::resized_crop(&decoded, crop, case.side, case.side), DECODED);
        case.compare("resize_short", &PlainView::Crop.apply(&decoded, case.side), DECODED);
    }
}

#[test]
fn resizing_pillow_s_own_pixels_is_exact() {
    let case = Case { golden: Golden::open("image_cifar"), name: "image_cifar", side: 32 };
    let decoded = Image { width: 32, height: 32, pixels: case.golden.u8("decoded") };
    let corner = case.golden.i64("box");
    let [top, left, height, width] = [0, 1, 2, 3].map(|i| corner[i] as usize);
    case.compare("crop", &operations::resized_crop(&decoded, Crop { top, left, height, width }, 32, 32), EXACT);
    case.compare("resize_short", &PlainView::Crop.apply(&decoded, 32), EXACT);
}

#[test]
fn flips_and_rotations_agree_with_pillow() {
    for case in cases() {
        let mut flipped = case.crop();
        operations::flip_horizontal(&mut flipped);
        case.compare("flip", &flipped, EXACT);
        case.compare("rotate_1.7", &operations::rotate(&case.crop(), 1.7), EXACT);
        case.compare("rotate_-0.9", &operations::rotate(&case.crop(), -0.9), EXACT);
    }
}

#[test]
fn colour_changes_agree_with_pillow() {
    for case in cases() {
        let changed = |change: &dyn Fn(&mut [u8])| {
            let mut image = case.crop();
            change(&mut image.pixels);
            image
        };
        for factor in ["0.6", "1.37"] {
            let value: f32 = factor.parse().expect("a number");
            case.compare(
                &format!("brightness_{factor}"),
                &changed(&|p| operations::adjust_brightness(p, value)),
                EXACT,
            );
            case.compare(&format!("contrast_{factor}"), &changed(&|p| operations::adjust_contrast(p, value)), EXACT);
        }
        for factor in ["0.0", "1.9"] {
            let value: f32 = factor.parse().expect("a number");
            case.compare(
                &format!("saturation_{factor}"),
                &changed(&|p| operations::adjust_saturation(p, value)),
                EXACT,
            );
        }
        for factor in ["-0.5", "-0.21", "0.33"] {
            let value: f64 = factor.parse().expect("a number");
            case.compare(&format!("hue_{factor}"), &changed(&|p| operations::adjust_hue(p, value)), EXACT);
        }
        case.compare("gray", &changed(&operations::to_grayscale), EXACT);
    }
}
