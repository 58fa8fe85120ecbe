//! Encoded bytes → the RGB that a viewer shows: orientation applied, transparency over white, 16 bits to 8.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::{DataError, Image};

/// The most pixels an image may have (2²⁷: 400 MB as RGB). Larger ones are refused by their header, before any
/// memory is taken.
pub const MAX_PIXELS: u64 = 1 << 27;

/// The most bytes an image's file may have (1 GiB).
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// Decodes JPEG, PNG, WebP, BMP, TIFF or the first frame of a GIF; the contents decide, not the name.
///
/// Transparent pixels are put over white. Colour profiles are not applied.
///
/// # Errors
/// Where the bytes are not such an image, are damaged or end early, or the image has more than [`MAX_PIXELS`].
pub fn decode(name: &str, bytes: &[u8]) -> Result<Image, DataError> {
    let decoded = match bytes {
        [] => Err("the file is empty".to_owned()),
        [0xFF, 0xD8, ..] => decode_jpeg(bytes),
        _ => decode_other(bytes),
    };
    decoded.map_err(|reason| DataError::undecodable(name, reason))
}

/// Reads and decodes a file.
pub(crate) fn decode_file(path: &Path, name: &str) -> Result<Image, DataError> {
    let read = || -> Result<Vec<u8>, String> {
        let reason = |error: std::io::Error| match std::fs::symlink_metadata(path) {
            Ok(link) if link.is_symlink() => format!("the symbolic link cannot be followed: {error}"),
            _ => error.to_string(),
        };
        // Asked before opening: opening a named pipe would wait for its other end.
        let metadata = std::fs::metadata(path).map_err(reason)?;
        if !metadata.is_file() {
            return Err("not a regular file".to_owned());
        }
        if metadata.len() > MAX_FILE_BYTES {
            return Err(format!("{} bytes; an image may have {MAX_FILE_BYTES}", metadata.len()));
        }
        let mut bytes = Vec::with_capacity(metadata.len() as usize);
        File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)).map_err(reason)?;
        Ok(bytes)
    };
    decode(name, &read().map_err(|reason| DataError::undecodable(name, reason))?)
}

fn decode_jpeg(bytes: &[u8]) -> Result<Image, String> {
    // Headers may have odd bytes between them; damaged image data is refused, where a lenient decoder fills with gray.
    let options = DecoderOptions::default()
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options.set_strict_mode(false));
    decoder.decode_headers().map_err(|error| format!("JPEG: {error}"))?;
    let (width, height) = decoder.dimensions().ok_or("JPEG: no dimensions in the header")?;
    check_size(width as u64, height as u64)?;
    if !jpeg_reaches_its_end(bytes) {
        return Err("JPEG: truncated, the end-of-image marker is missing".to_owned());
    }
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    decoder.set_options(options.set_strict_mode(true));
    let pixels = decoder.decode().map_err(|error| format!("JPEG: {error}"))?;
    oriented(width, height, pixels, orientation)
}

/// Whether the markers lead to an end-of-image marker. Thumbnails in metadata segments are stepped over.
fn jpeg_reaches_its_end(bytes: &[u8]) -> bool {
    let mut position = 2;
    loop {
        let Some(marker) = bytes[position.min(bytes.len())..].iter().position(|&byte| byte == 0xFF) else {
            return false;
        };
        position += marker + 1;
        match bytes.get(position) {
            None => return false,
            Some(0xD9) => return true,
            // Fill byte, or stuffing, restart and start markers: nothing to step over.
            Some(0xFF) => {}
            Some(0x00 | 0x01 | 0xD0..=0xD8) => position += 1,
            Some(_) => match bytes.get(position + 1..position + 3) {
                Some(&[high, low]) => position += 1 + usize::from(u16::from_be_bytes([high, low])),
                _ => return false,
            },
        }
    }
}

fn decode_other(bytes: &[u8]) -> Result<Image, String> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| error.to_string())?;
    if reader.format().is_none() {
        return Err("not a JPEG, PNG, WebP, BMP, TIFF or GIF image".to_owned());
    }
    let mut decoder = reader.into_decoder().map_err(|error| error.to_string())?;
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into())?;
    let mut limits = Limits::default();
    // Sixteen bytes a pixel (RGBA in f32), and as much again for the decoder itself.
    limits.max_alloc = Some(32 * u64::from(width) * u64::from(height) + (64 << 20));
    decoder.set_limits(limits).map_err(|error| error.to_string())?;
    let orientation = decoder.orientation().ok();
    let decoded = DynamicImage::from_decoder(decoder).map_err(|error| error.to_string())?;
    let (width, height) = (width as usize, height as usize);
    oriented(width, height, rgb_over_white(decoded), orientation)
}

fn rgb_over_white(decoded: DynamicImage) -> Vec<u8> {
    if let DynamicImage::ImageRgb8(rgb) = decoded {
        return rgb.into_raw();
    }
    if !decoded.color().has_alpha() {
        return decoded.into_rgb8().into_raw();
    }
    let rgba = decoded.into_rgba8().into_raw();
    let (pixels, _) = rgba.as_chunks::<4>();
    let over_white = |byte: u8, alpha: u8| {
        let alpha = u32::from(alpha);
        ((u32::from(byte) * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    pixels.iter().flat_map(|&[r, g, b, alpha]| [r, g, b].map(|byte| over_white(byte, alpha))).collect()
}

fn oriented(width: usize, height: usize, pixels: Vec<u8>, orientation: Option<Orientation>) -> Result<Image, String> {
    match orientation {
        None | Some(Orientation::NoTransforms) if pixels.len() == width * height * 3 => {
            Ok(Image { width, height, pixels })
        }
        _ => {
            let buffer = RgbImage::from_raw(width as u32, height as u32, pixels)
                .ok_or("the decoder gave another number of pixels than the header says")?;
            let mut turned = DynamicImage::ImageRgb8(buffer);
            turned.apply_orientation(orientation.unwrap_or(Orientation::NoTransforms));
            let (width, height) = (turned.width() as usize, turned.height() as usize);
            Ok(Image { width, height, pixels: turned.into_rgb8().into_raw() })
        }
    }
}

fn check_size(width: u64, height: u64) -> Result<(), String> {
    if width == 0 || height == 0 {
        return Err(format!("{width} x {height} pixels: nothing to see"));
    }
    if width * height > MAX_PIXELS {
        return Err(format!("{width} x {height} pixels; an image may have {MAX_PIXELS}"));
    }
    Ok(())
}
