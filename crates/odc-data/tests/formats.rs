//! Every kind of file comes out as the RGB that a viewer shows; what is damaged is refused.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::{DynamicImage, GrayAlphaImage, GrayImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgb, RgbImage, Rgba};
use odc_data::{Image, MAX_PIXELS, decode};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn decoded(name: &str) -> Image {
    let bytes = std::fs::read(fixture(name)).expect("the fixture is there");
    decode(name, &bytes).unwrap_or_else(|error| panic!("{error}"))
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).expect("the image crate writes what it can read");
    bytes.into_inner()
}

fn assert_near(name: &str, image: &Image, expected: &Image, tolerance: u8) {
    assert_eq!((image.width, image.height), (expected.width, expected.height), "{name}");
    let largest = image.pixels.iter().zip(&expected.pixels).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(largest <= Some(tolerance), "{name}: up to {} levels off", largest.unwrap_or(0));
}

fn gradient() -> RgbImage {
    RgbImage::from_fn(20, 12, |x, y| Rgb([(x * 12) as u8, (y * 20) as u8, (200 - x * 10) as u8]))
}

#[test]
fn files_written_by_pillow_look_as_in_pillow() {
    let lossless = ["turned.png", "turned.webp", "turned.tif", "cmyk.tif", "palette.bmp", "palette_transparent.png"];
    for name in lossless.into_iter().chain(["animated.gif"]) {
        assert_near(name, &decoded(name), &decoded(&format!("{name}.png")), 1);
    }
    // Decoders of lossy formats differ; so does chroma where it is stored at half size.
    for (name, tolerance) in
        [("progressive.jpg", 3), ("gray.jpg", 1), ("cmyk.jpg", 4), ("ycck.jpg", 4), ("lossy.webp", 2)]
    {
        assert_near(name, &decoded(name), &decoded(&format!("{name}.png")), tolerance);
    }
}

#[test]
fn all_eight_exif_orientations_are_applied() {
    for orientation in 1..=8 {
        let name = format!("orientation_{orientation}.jpg");
        let image = decoded(&name);
        assert_near(&name, &image, &decoded(&format!("{name}.png")), 2);
        assert_eq!(image.width < image.height, orientation >= 5, "{name}");
    }
}

#[test]
fn all_formats_give_the_same_picture() {
    let rgb = gradient();
    let original = Image { width: 20, height: 12, pixels: rgb.clone().into_raw() };
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Tiff] {
        let bytes = encoded(&DynamicImage::ImageRgb8(rgb.clone()), format);
        assert_eq!(decode("x", &bytes).expect("can be decoded"), original, "{format:?}");
    }
    let bytes = encoded(&DynamicImage::ImageRgb8(rgb), ImageFormat::Jpeg);
    assert_near("jpeg", &decode("x", &bytes).expect("can be decoded"), &original, 40);
}

#[test]
fn gray_sixteen_bits_and_transparency() {
    let decode_png = |image: DynamicImage| decode("x", &encoded(&image, ImageFormat::Png)).expect("can be decoded");

    let gray = GrayImage::from_fn(4, 3, |x, y| Luma([(x * 60 + y) as u8]));
    let image = decode_png(gray.clone().into());
    assert_eq!(image.pixel(2, 1), [121; 3]);

    // 16 bits to 8: the whole range to the whole range, not the low byte and not cut off at 255.
    let deep: ImageBuffer<Luma<u16>, Vec<u16>> =
        ImageBuffer::from_fn(3, 1, |x, _| Luma([[0, 32_896, 65_535][x as usize]]));
    assert_eq!(decode_png(deep.into()).pixels, [0, 0, 0, 128, 128, 128, 255, 255, 255]);
    let deep: ImageBuffer<Rgb<u16>, Vec<u16>> = ImageBuffer::from_pixel(1, 1, Rgb([257 * 10, 257 * 20, 257 * 30]));
    assert_eq!(decode_png(deep.into()).pixels, [10, 20, 30]);

    // Transparent is white, half transparent is half white.
    let alpha: ImageBuffer<Rgba<u8>, Vec<u8>> =
        ImageBuffer::from_fn(3, 1, |x, _| Rgba([100, 0, 200, [0, 128, 255][x as usize]]));
    assert_eq!(decode_png(alpha.into()).pixels, [255, 255, 255, 177, 127, 227, 100, 0, 200]);
    let alpha = GrayAlphaImage::from_pixel(1, 1, LumaA([0, 0]));
    assert_eq!(decode_png(alpha.into()).pixels, [255; 3]);
    let deep: ImageBuffer<Rgba<u16>, Vec<u16>> = ImageBuffer::from_pixel(1, 1, Rgba([0, 0, 0, 0]));
    assert_eq!(decode_png(deep.into()).pixels, [255; 3]);
}

#[test]
fn the_contents_decide_not_the_name() {
    let png = encoded(&gradient().into(), ImageFormat::Png);
    assert_eq!(decode("photo.jpg", &png).expect("a PNG by any name").width, 20);
}

#[test]
fn a_truncated_file_is_refused_wherever_it_ends() {
    let photo: RgbImage = RgbImage::from_fn(64, 48, |x, y| Rgb([(x * y) as u8, (x * 4) as u8, (y * 5) as u8]));
    let sources = [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp]
        .map(|format| (format!("{format:?}"), encoded(&photo.clone().into(), format)));
    let progressive = std::fs::read(fixture("progressive.jpg")).expect("the fixture is there");
    for (name, bytes) in sources.into_iter().chain([("progressive".to_owned(), progressive)]) {
        assert!(decode(&name, &bytes).is_ok(), "{name}");
        // PNG and WebP may end in bytes that the picture does not need.
        let needed = if name == "Png" { bytes.len() - 16 } else { bytes.len() - 2 };
        for end in (0..needed).step_by(1 + needed / 97).chain([needed]) {
            assert!(decode(&name, &bytes[..end]).is_err(), "{name}: {end} of {} bytes", bytes.len());
        }
    }
}

#[test]
fn an_embedded_thumbnail_s_end_is_not_the_image_s_end() {
    let bytes = encoded(&gradient().into(), ImageFormat::Jpeg);
    // A comment segment with a whole small JPEG in it, before the rest of the file.
    let mut nested = vec![0xFF, 0xD8, 0xFF, 0xFE];
    nested.extend((bytes.len() as u16 + 2).to_be_bytes());
    nested.extend(&bytes);
    nested.extend(&bytes[2..]);
    assert_eq!(decode("nested", &nested).expect("whole"), decode("plain", &bytes).expect("whole"));
    let error = decode("nested", &nested[..nested.len() - 30]).expect_err("truncated");
    assert!(error.to_string().contains("truncated"), "{error}");
}

#[test]
fn text_nothing_and_noise_are_refused_with_a_reason() {
    let error = decode("notes.jpg", b"these are no pixels").expect_err("text");
    assert_eq!(error.to_string(), "notes.jpg: not a JPEG, PNG, WebP, BMP, TIFF or GIF image");
    let error = decode("empty.png", b"").expect_err("nothing");
    assert_eq!(error.to_string(), "empty.png: the file is empty");
    let mut noise = odc_data::SampleRandom::new(1, 2, 3);
    for start in [&b"\xFF\xD8\xFF"[..], b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"RIFF\0\0\0\0WEBP"] {
        for length in [0, 1, 10, 100, 1000] {
            let mut bytes = start.to_vec();
            bytes.extend((0..length).map(|_| noise.below(256) as u8));
            assert!(decode("noise", &bytes).is_err());
        }
    }
}

#[test]
fn a_huge_header_is_refused_before_any_memory_is_taken() {
    let crc = |bytes: &[u8]| {
        let mut crc = u32::MAX;
        for &byte in bytes {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
            }
        }
        !crc
    };
    let mut header = b"IHDR".to_vec();
    header.extend(60_000_u32.to_be_bytes());
    header.extend(60_000_u32.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    bytes.extend(&header);
    bytes.extend(crc(&header).to_be_bytes());
    bytes.extend(b"\0\0\0\x04IDAT\0\0\0\0");
    bytes.extend(crc(b"IDAT\0\0\0\0").to_be_bytes());
    let error = decode("bomb.png", &bytes).expect_err("too large");
    assert_eq!(error.to_string(), format!("bomb.png: 60000 x 60000 pixels; an image may have {MAX_PIXELS}"));

    let mut jpeg = encoded(&gradient().into(), ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|bytes| bytes == [0xFF, 0xC0]).expect("a baseline JPEG");
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xEA, 0x60, 0xEA, 0x60]);
    let error = decode("bomb.jpg", &jpeg).expect_err("too large");
    assert!(error.to_string().contains("60000 x 60000"), "{error}");
}

#[test]
fn one_pixel_is_an_image() {
    let one = RgbImage::from_pixel(1, 1, Rgb([7, 8, 9]));
    assert_eq!(decode("one", &encoded(&one.into(), ImageFormat::Png)).expect("one pixel").pixels, [7, 8, 9]);
}
