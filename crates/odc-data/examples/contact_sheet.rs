//! Writes a PNG with some images of a data set: each as it is and, below, in three training views.
//!
//! `cargo run --release -p odc-data --example contact_sheet -- [shapes | path] [sheet.png] [side]`

use odc_data::{Augmentation, DataError, Image, PlainView, SampleRandom, Source, View, open};

const COLUMNS: usize = 12;
const BLOCKS: usize = 4;
const VIEWS: usize = 4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or_else(|| "shapes".to_owned());
    let sheet_path = arguments.next().unwrap_or_else(|| "sheet.png".to_owned());
    let side: usize = arguments.next().map_or(Ok(64), |side| side.parse())?;
    let dataset = open(&Source { path, ..Source::default() })?;
    let training = View::Training(Augmentation::standard(0.2));

    let mut sheet = Image::black(COLUMNS * (side + 2), BLOCKS * VIEWS * (side + 2));
    for index in 0..(COLUMNS * BLOCKS).min(dataset.len()) {
        let image = match dataset.image(index) {
            Ok(image) => image,
            Err(DataError::Undecodable { name, reason }) => {
                eprintln!("{name}: {reason}");
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        for row in 0..VIEWS {
            let mut random = SampleRandom::new(0, row as u64, index as u64);
            let view = if row == 0 { &View::Plain(PlainView::Resize) } else { &training };
            let x = index % COLUMNS * (side + 2);
            let y = (index / COLUMNS * VIEWS + row) * (side + 2);
            paste(&view.apply(&image, side, &mut random), &mut sheet, x, y);
        }
    }
    let (width, height) = (sheet.width as u32, sheet.height as u32);
    image::save_buffer(&sheet_path, &sheet.pixels, width, height, image::ColorType::Rgb8)?;
    eprintln!("{sheet_path}: the first images of {} and three training views of each", dataset.len());
    Ok(())
}

fn paste(image: &Image, sheet: &mut Image, left: usize, top: usize) {
    for (y, row) in image.pixels.chunks_exact(image.width * 3).enumerate() {
        let start = ((top + y) * sheet.width + left) * 3;
        sheet.pixels[start..start + row.len()].copy_from_slice(row);
    }
}
