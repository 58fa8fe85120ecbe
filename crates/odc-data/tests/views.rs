//! The views: sizes, bounds, chances, and what a recipe may say.

use odc_data::operations::{self, Crop};
use odc_data::{Augmentation, Image, PlainView, SampleRandom, Sampling, Step, View};

fn noise(width: usize, height: usize, random: &mut SampleRandom) -> Image {
    Image { width, height, pixels: (0..width * height * 3).map(|_| random.below(256) as u8).collect() }
}

#[test]
fn every_view_of_every_size_is_side_by_side() {
    let mut random = SampleRandom::new(5, 0, 0);
    let sizes = [(1, 1), (1, 300), (300, 1), (2, 3), (31, 33), (224, 224), (500, 375), (3000, 4)];
    let all_steps = Augmentation {
        steps: vec![
            Step::ColorJitter { brightness: 2.0, contrast: 2.0, saturation: 2.0, hue: 0.5, probability: 1.0 },
            Step::Rotation { degrees: 180.0 },
            Step::VerticalFlip { probability: 0.5 },
            Step::RandomResizedCrop { scale: [0.01, 1.0], ratio: [0.1, 10.0] },
            Step::GaussianBlur { sigma: [0.1, 2.0], probability: 1.0 },
            Step::Solarize { threshold: 100, probability: 1.0 },
        ],
    };
    let views = [
        View::Training(Augmentation::standard(0.08)),
        View::Training(all_steps),
        View::Training(Augmentation { steps: Vec::new() }),
        View::Plain(PlainView::Crop),
        View::Plain(PlainView::Resize),
    ];
    for (width, height) in sizes {
        let image = noise(width, height, &mut random);
        for view in &views {
            for side in [1, 7, 32] {
                let seen = view.apply(&image, side, &mut random);
                assert_eq!((seen.width, seen.height, seen.pixels.len()), (side, side, side * side * 3));
            }
        }
    }
}

#[test]
fn the_key_alone_decides_the_training_view() {
    let image = noise(40, 30, &mut SampleRandom::new(0, 0, 0));
    let view = Augmentation::standard(0.2);
    let of = |seed, epoch, position| view.apply(&image, 16, &mut SampleRandom::new(seed, epoch, position));
    assert_eq!(of(1, 2, 3), of(1, 2, 3));
    assert_ne!(of(1, 2, 3), of(2, 2, 3));
    assert_ne!(of(1, 2, 3), of(1, 3, 3));
    assert_ne!(of(1, 2, 3), of(1, 2, 4));
}

#[test]
fn resizing_keeps_flat_images_flat_and_identities_exact() {
    let mut random = SampleRandom::new(9, 0, 0);
    for _ in 0..50 {
        let (width, height) = (1 + random.below(60), 1 + random.below(60));
        let (to_width, to_height) = (1 + random.below(60), 1 + random.below(60));
        let level = random.below(256) as u8;
        let flat = Image { width, height, pixels: vec![level; width * height * 3] };
        let resized = operations::resize(&flat, to_width, to_height);
        assert!(resized.pixels.iter().all(|&byte| byte == level), "{width}x{height} to {to_width}x{to_height}");

        let image = noise(width, height, &mut random);
        assert_eq!(operations::resize(&image, width, height), image);
        // The centre crop makes the same pixels as cropping what was resized as a whole.
        let side = 1 + random.below(20);
        let short = side + random.below(10);
        let (all_width, all_height) =
            if width <= height { (short, short * height / width) } else { (short * width / height, short) };
        let whole = operations::resize(&image, all_width, all_height);
        let even = |n: usize| (n as f64 / 2.0).round_ties_even() as usize;
        let crop = Crop { top: even(all_height - side), left: even(all_width - side), height: side, width: side };
        let expected = operations::resized_crop(&whole, crop, side, side);
        assert_eq!(operations::center_crop_of_resized(&image, short, side), expected);
    }
}

#[test]
fn neutral_strengths_change_nothing() {
    let image = noise(20, 10, &mut SampleRandom::new(1, 0, 0));
    let mut changed = image.clone();
    operations::adjust_brightness(&mut changed.pixels, 1.0);
    operations::adjust_contrast(&mut changed.pixels, 1.0);
    operations::adjust_saturation(&mut changed.pixels, 1.0);
    operations::gaussian_blur(&mut changed, 0.0);
    assert_eq!(changed, image);
    assert_eq!(operations::rotate(&image, 0.0), image);
    for _ in 0..2 {
        operations::flip_horizontal(&mut changed);
        operations::flip_vertical(&mut changed);
    }
    assert_eq!(changed, image);
    // Half a turn is both flips, as Pillow has it too.
    operations::flip_horizontal(&mut changed);
    operations::flip_vertical(&mut changed);
    assert_eq!(operations::rotate(&image, 180.0), changed);
    let flat = Image { width: 9, height: 5, pixels: vec![77; 135] };
    let mut blurred = flat.clone();
    operations::gaussian_blur(&mut blurred, 1.5);
    assert_eq!(blurred, flat);
}

#[test]
fn crops_have_the_areas_and_ratios_that_were_asked_for() {
    // Every pixel tells where it is; a crop at its own size keeps that: √(0.25 · 20,000) = 71 pixels.
    let image = Image {
        width: 200,
        height: 100,
        pixels: (0..20_000).flat_map(|i| [(i % 200) as u8, (i / 200) as u8, 0]).collect(),
    };
    let augmentation = Augmentation { steps: vec![Step::RandomResizedCrop { scale: [0.25, 0.25], ratio: [1.0, 1.0] }] };
    let (mut smallest, mut largest) = (255, 0);
    for position in 0..200 {
        let view = augmentation.apply(&image, 71, &mut SampleRandom::new(0, 0, position));
        let ([left, top, _], [right, bottom, _]) = (view.pixel(0, 0), view.pixel(70, 70));
        assert_eq!((right - left, bottom - top), (70, 70));
        smallest = smallest.min(left);
        largest = largest.max(right);
    }
    assert!(smallest < 10 && largest > 189, "crops come from everywhere: {smallest} to {largest}");
}

#[test]
fn chances_come_as_often_as_they_should() {
    let image = Image { width: 2, height: 1, pixels: vec![200, 0, 0, 0, 0, 200] };
    let steps = vec![Step::HorizontalFlip { probability: 0.5 }, Step::Grayscale { probability: 0.2 }];
    let augmentation = Augmentation { steps };
    let (mut flips, mut grays) = (0, 0);
    for position in 0..2000 {
        let mut random = SampleRandom::new(0, 0, position);
        // Not square, so the view is resized at the end; look at the two columns of its first row.
        let view = augmentation.apply(&image, 2, &mut random);
        let [left, right] = [view.pixel(0, 0), view.pixel(1, 0)];
        let is_gray = left[0] == left[2];
        grays += usize::from(is_gray);
        flips += usize::from(if is_gray { left[0] < right[0] } else { left[2] > left[0] });
    }
    assert!((900..1100).contains(&flips), "{flips}");
    assert!((330..470).contains(&grays), "{grays}");
}

#[test]
fn jitter_comes_in_every_order_and_strength() {
    let image = noise(8, 8, &mut SampleRandom::new(3, 0, 0));
    let jitter = Step::ColorJitter { brightness: 0.4, contrast: 0.4, saturation: 1.0, hue: 0.5, probability: 1.0 };
    let augmentation = Augmentation { steps: vec![jitter] };
    let mut seen: Vec<Vec<u8>> =
        (0..100).map(|position| augmentation.apply(&image, 8, &mut SampleRandom::new(0, 0, position)).pixels).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 100);
}

#[test]
fn samplers_draw_with_and_without_replacement() {
    let n = 10_000;
    let order = Sampling::Permutation.epoch(1, 2, n);
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert!(sorted.iter().copied().eq(0..n as u32));
    assert_ne!(order, sorted);
    assert_eq!(order, Sampling::Permutation.epoch(1, 2, n));
    assert_ne!(order, Sampling::Permutation.epoch(1, 3, n));

    let mut drawn = Sampling::Replacement.epoch(1, 2, n);
    assert_eq!((drawn.len(), drawn.iter().max() < Some(&(n as u32))), (n, true));
    assert_eq!(drawn, Sampling::Replacement.epoch(1, 2, n));
    drawn.sort_unstable();
    drawn.dedup();
    // 1 − 1/e of them.
    assert!((6_150..6_500).contains(&drawn.len()), "{}", drawn.len());
    assert!(Sampling::Replacement.epoch(0, 0, 0).is_empty() && Sampling::Permutation.epoch(0, 0, 0).is_empty());
}

#[test]
fn a_recipe_can_say_any_list_of_steps() {
    let text = r#"
        [[steps]]
        step = "random_resized_crop"
        scale = [0.2, 1.0]
        [[steps]]
        step = "color_jitter"
        hue = 0.1
        [[steps]]
        step = "horizontal_flip"
        [[steps]]
        step = "gaussian_blur"
        sigma = [0.1, 2.0]
    "#;
    let augmentation: Augmentation = toml::from_str(text).expect("a recipe");
    assert_eq!(augmentation.steps[2], Step::HorizontalFlip { probability: 0.5 });
    assert!(augmentation.check().is_ok());
    let written = toml::to_string(&Augmentation::standard(0.08)).expect("can be written");
    assert_eq!(toml::from_str::<Augmentation>(&written).expect("and read"), Augmentation::standard(0.08));
    assert!(toml::from_str::<Augmentation>("[[steps]]\nstep = \"rotation\"\ndegrees = 2.0\ncolour = 1").is_err());
    assert!(toml::from_str::<Augmentation>("[[steps]]\nstep = \"rotated\"").is_err());
}

#[test]
fn strengths_outside_their_bounds_are_named() {
    let wrong = [
        (Step::Rotation { degrees: -1.0 }, "degrees = -1: must be from 0 to 180"),
        (Step::Grayscale { probability: 1.5 }, "probability = 1.5: must be from 0 to 1"),
        (Step::RandomResizedCrop { scale: [0.0, 1.0], ratio: [0.75, 1.33] }, "scale = 0: must be above 0"),
        (Step::RandomResizedCrop { scale: [0.5, 1.5], ratio: [0.75, 1.33] }, "scale = 1.5: must be at most 1"),
        (Step::RandomResizedCrop { scale: [0.5, 1.0], ratio: [2.0, 1.0] }, "ratio = 2: must be above 0"),
        (Step::GaussianBlur { sigma: [0.0, f32::NAN], probability: 0.5 }, "sigma = 0"),
    ];
    for (step, message) in wrong {
        let error = Augmentation { steps: vec![step] }.check().expect_err("out of bounds");
        assert!(error.to_string().contains(message), "{error}");
    }
}
