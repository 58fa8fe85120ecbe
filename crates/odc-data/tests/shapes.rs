//! The generated set: the same from the same seed, and its classes not to be told by colour, brightness or place.

use odc_data::{Dataset, Image, Shapes, ShapesColors, ShapesConfig, ShapesLabel, Source, open};

fn shapes(images: usize, seed: u64) -> Shapes {
    Shapes::new(ShapesConfig { images, seed, ..ShapesConfig::default() }).expect("a set")
}

fn with_palettes(images: usize, seed: u64, label: ShapesLabel) -> Shapes {
    let colors = ShapesColors::Palettes;
    Shapes::new(ShapesConfig { images, seed, colors, label, ..ShapesConfig::default() }).expect("a set")
}

#[test]
fn images_depend_on_seed_and_index_alone() {
    let (small, large) = (shapes(20, 4), shapes(1000, 4));
    for index in [0, 7, 19] {
        assert_eq!(small.image(index).expect("there"), large.image(index).expect("there"));
    }
    assert_ne!(small.image(0).expect("there"), shapes(20, 5).image(0).expect("there"));
    assert_ne!(small.image(0).expect("there"), small.image(12).expect("there"));
    assert!(small.image(20).is_err() && small.true_label(20).is_none());
}

#[test]
fn every_class_is_there_as_often() {
    let set = shapes(1200, 0);
    let n_classes = set.class_names().len();
    assert!(n_classes >= 10);
    let mut counts = vec![0; n_classes];
    (0..1200).for_each(|index| counts[set.true_label(index).expect("labelled") as usize] += 1);
    assert!(counts.iter().all(|&count| count == 1200 / n_classes));
}

#[test]
fn any_size_can_be_made_and_nonsense_is_refused() {
    for side in [8, 33, 96] {
        let set = Shapes::new(ShapesConfig { images: 3, side, ..ShapesConfig::default() }).expect("a set");
        assert_eq!(set.image(2).expect("there").pixels.len(), side * side * 3);
    }
    for (images, side) in [(0, 32), (5, 7), (5, 5000)] {
        let refused = Shapes::new(ShapesConfig { images, side, ..ShapesConfig::default() });
        assert!(refused.is_err_and(|error| error.to_string().contains("must be from")));
    }
}

#[test]
fn the_held_out_set_has_other_images_of_the_same_classes() {
    let source = Source { shapes_images: 30, ..Source::default() };
    let held_out = source.held_out().expect("shapes have one");
    let (train, test) = (open(&source).expect("a set"), open(&held_out).expect("a set"));
    assert_eq!(train.class_names(), test.class_names());
    assert!((0..30).all(|index| train.image(index).expect("there") != test.image(index).expect("there")));
    assert!(Source { path: "photos".to_owned(), ..Source::default() }.held_out().is_none());
}

/// Share of `test`, in percent, that the `k` nearest of `train` by cosine name rightly (votes weighted as in
/// docs/ALGORITHM.md).
fn nearest_neighbours(train: &[(Vec<f32>, u32)], test: &[(Vec<f32>, u32)], n_classes: usize, k: usize) -> f64 {
    let right = test.iter().filter(|(row, label)| {
        let mut near: Vec<(f32, u32)> = train.iter().map(|(other, label)| (dot_product(row, other), *label)).collect();
        near.select_nth_unstable_by(k, |a, b| b.0.total_cmp(&a.0));
        let mut votes = vec![0.0; n_classes];
        for (similarity, label) in &near[..k] {
            votes[*label as usize] += f64::from(similarity / 0.07).exp();
        }
        let winner = (0..n_classes).max_by(|&a, &b| votes[a].total_cmp(&votes[b]));
        winner == Some(*label as usize)
    });
    100.0 * right.count() as f64 / test.len() as f64
}

/// In eight sums, so that the compiler may use vectors.
fn dot_product(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

/// Rows of unit length, made from each image.
fn rows(set: &Shapes, features: impl Fn(&Image) -> Vec<f32>) -> Vec<(Vec<f32>, u32)> {
    (0..set.len())
        .map(|index| {
            let mut row = features(&set.image(index).expect("there"));
            let length = row.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-10);
            row.iter_mut().for_each(|value| *value /= length);
            (row, set.true_label(index).expect("labelled"))
        })
        .collect()
}

/// The mean of each channel, and a constant, so that length is told too.
fn mean_color(image: &Image) -> Vec<f32> {
    let mean = |channel| {
        let values = image.pixels.iter().skip(channel).step_by(3).map(|&byte| f32::from(byte));
        values.sum::<f32>() / (image.width * image.height) as f32
    };
    vec![128.0, mean(0), mean(1), mean(2)]
}

#[test]
fn pixels_and_mean_colours_tell_little() {
    let (train, test) = (shapes(1800, 0), shapes(360, 1));
    let n_classes = train.class_names().len();
    let chance = 100.0 / n_classes as f64;
    let of = |features: &dyn Fn(&Image) -> Vec<f32>| {
        nearest_neighbours(&rows(&train, features), &rows(&test, features), n_classes, 20)
    };
    // Around the mean, which is harder on the set than bytes as they are (20 %).
    let pixels = of(&|image| image.pixels.iter().map(|&byte| f32::from(byte) - 120.0).collect());
    assert!(pixels < 40.0, "raw pixels: {pixels:.1} %");
    let colors = of(&mean_color);
    eprintln!("of 100: raw pixels {pixels:.1}, mean colours {colors:.1}, chance {chance:.1}");
    assert!(colors < 1.6 * chance, "mean colours: {colors:.1} % where chance is {chance:.1} %");
}

#[test]
fn mean_colours_tell_the_palette_and_not_the_class() {
    let by_mean_color = |label| {
        let (train, test) = (with_palettes(1800, 0, label), with_palettes(360, 1, label));
        nearest_neighbours(&rows(&train, mean_color), &rows(&test, mean_color), train.class_names().len(), 20)
    };
    let (palette, shape) = (by_mean_color(ShapesLabel::Palette), by_mean_color(ShapesLabel::Shape));
    eprintln!("of 100 by mean colours: palettes {palette:.1}, classes {shape:.1}");
    assert!(palette > 95.0, "palettes: {palette:.1} %");
    assert!(shape < 1.6 * 100.0 / 12.0, "classes: {shape:.1} %");
}

#[test]
fn a_palette_is_drawn_whatever_the_class() {
    let n_images = 12_000;
    let (shape, palette) =
        (with_palettes(n_images, 3, ShapesLabel::Shape), with_palettes(n_images, 3, ShapesLabel::Palette));
    let (n_classes, n_palettes) = (shape.class_names().len(), palette.class_names().len());
    assert_eq!((n_classes, n_palettes), (12, 6));
    let mut counts = vec![0.0_f64; n_classes * n_palettes];
    for index in 0..n_images {
        let (class, palette) = (shape.true_label(index).expect("there"), palette.true_label(index).expect("there"));
        counts[class as usize * n_palettes + palette as usize] += 1.0;
    }
    // Pearson's statistic for equal cells, 60 degrees of freedom: above 100 once in a thousand.
    let expected = n_images as f64 / counts.len() as f64;
    let statistic: f64 = counts.iter().map(|count| (count - expected).powi(2) / expected).sum();
    assert!(statistic < 100.0, "{statistic}");
}

#[test]
fn the_label_changes_no_pixel_and_the_default_colours_have_no_palette() {
    let (shape, palette) = (with_palettes(30, 0, ShapesLabel::Shape), with_palettes(30, 0, ShapesLabel::Palette));
    for index in 0..30 {
        assert_eq!(shape.image(index).expect("there"), palette.image(index).expect("there"));
        assert_ne!(shape.image(index).expect("there"), shapes(30, 0).image(index).expect("there"));
        assert_eq!(shape.true_label(index), shapes(30, 0).true_label(index));
    }
    assert!(palette.true_label(30).is_none());
    let refused = Shapes::new(ShapesConfig { label: ShapesLabel::Palette, ..ShapesConfig::default() });
    assert!(refused.is_err_and(|error| error.to_string().contains("shapes_colors = palettes")));
    // A held-out set has palettes of its own.
    let source = Source {
        shapes_images: 60,
        shapes_colors: ShapesColors::Palettes,
        shapes_label: ShapesLabel::Palette,
        ..Source::default()
    };
    let (train, test) =
        (open(&source).expect("a set"), open(&source.held_out().expect("shapes have one")).expect("a set"));
    assert_eq!(train.class_names(), test.class_names());
    assert!((0..60).any(|index| train.true_label(index) != test.true_label(index)));
}
