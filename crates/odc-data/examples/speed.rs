//! How long decoding and the views take, one thread, in milliseconds an image; and what could not be decoded.
//!
//! `cargo run --release -p odc-data --example speed -- path [side] [images]`

use std::time::{Duration, Instant};

use odc_data::{Augmentation, PlainView, SampleRandom, Source, View, open};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or_else(|| "shapes".to_owned());
    let side: usize = arguments.next().map_or(Ok(32), |side| side.parse())?;
    let limit: usize = arguments.next().map_or(Ok(0), |images| images.parse())?;
    let dataset = open(&Source { path, limit, ..Source::default() })?;
    let views = [View::Training(Augmentation::standard(0.2)), View::Plain(PlainView::Crop)];
    let (mut decoding, mut viewing) = (Duration::ZERO, [Duration::ZERO; 2]);
    let mut good = 0;
    for index in 0..dataset.len() {
        let start = Instant::now();
        let image = match dataset.image(index) {
            Ok(image) => image,
            Err(error) => {
                eprintln!("{error}");
                continue;
            }
        };
        decoding += start.elapsed();
        good += 1;
        for (view, time) in views.iter().zip(&mut viewing) {
            let start = Instant::now();
            std::hint::black_box(view.apply(&image, side, &mut SampleRandom::new(0, 0, index as u64)));
            *time += start.elapsed();
        }
    }
    let each = |time: Duration| time.as_secs_f64() * 1e3 / f64::from(good.max(1));
    let [training, plain] = viewing.map(each);
    eprintln!("{good} of {} images; each: decoding {:.3} ms", dataset.len(), each(decoding));
    eprintln!("at {side}: training view {training:.3} ms more, plain view {plain:.3} ms more");
    Ok(())
}
