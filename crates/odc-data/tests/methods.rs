//! What single methods ask of the data: draws uniform over labels, and the four rotations of a batch.

use odc_data::operations::{self, quarter_turn};
use odc_data::{Batch, Image, SampleRandom, uniform_over_labels};

#[test]
fn every_label_is_drawn_equally_often() {
    // Sizes 1, 5, 30, 64 of 100 images; label 4 has none: 21 draws each, 84 in all.
    let labels: Vec<u32> =
        (0..100).map(|image| [0, 1, 6, 36].partition_point(|start| *start <= image) as u32 - 1).collect();
    let order = uniform_over_labels(&labels, 5, 7, 3);
    assert_eq!(order.len(), 84);
    let drawn =
        |label: u32| order.iter().filter(|image| labels[**image as usize] == label).copied().collect::<Vec<_>>();
    for label in 0..4 {
        assert_eq!(drawn(label).len(), 21, "label {label}");
    }
    // More images than draws: none twice. Fewer: all of them come.
    for label in [2, 3] {
        let mut images = drawn(label);
        images.sort_unstable();
        images.dedup();
        assert_eq!(images.len(), 21, "label {label}");
    }
    assert!((1..6).all(|image| drawn(1).contains(&image)));
    assert!(!order.is_sorted_by_key(|image| labels[*image as usize]), "labels are mixed");

    assert_eq!(uniform_over_labels(&labels, 5, 7, 3), order);
    assert_ne!(uniform_over_labels(&labels, 5, 7, 4), order);
    assert_ne!(uniform_over_labels(&labels, 5, 8, 3), order);
}

#[test]
fn an_epoch_of_uniform_draws_is_as_long_as_any() {
    for (n, n_labels) in [(10, 3), (9, 3), (100, 7), (5, 5)] {
        let labels: Vec<u32> = (0..n).map(|image| image % n_labels).collect();
        assert_eq!(uniform_over_labels(&labels, n_labels as usize, 0, 0).len(), n as usize, "{n} over {n_labels}");
    }
    assert!(uniform_over_labels(&[], 3, 0, 0).is_empty());
}

#[test]
fn quarter_turns_are_those_of_an_exact_rotation() {
    let mut random = SampleRandom::new(1, 0, 0);
    for side in [1, 2, 5, 8] {
        let pixels: Vec<u8> = (0..side * side * 3).map(|_| random.below(256) as u8).collect();
        let image = Image { width: side, height: side, pixels: pixels.clone() };
        let mut turned = pixels.clone();
        for quarters in 1..=4 {
            turned = quarter_turn(&turned, side);
            let expected = operations::rotate(&image, 90.0 * f64::from(quarters)).pixels;
            assert_eq!(turned, expected, "{quarters} quarters of side {side}");
        }
        assert_eq!(turned, pixels);
    }
    // By hand: the right column becomes the upper row.
    let pixels = [1, 2, 3, 4].map(|value| [value; 3]).concat();
    assert_eq!(quarter_turn(&pixels, 2), [2, 4, 1, 3].map(|value| [value; 3]).concat());
}

#[test]
fn a_batch_holds_each_image_in_four_rotations_one_after_the_other() {
    let image = |first: u8| (first..first + 12).collect::<Vec<u8>>();
    let batch = Batch { indices: vec![4, 9], pixels: [image(0), image(50)].concat(), side: 2, skipped: Vec::new() };
    let views = batch.four_rotations();
    assert_eq!(views.len(), 2 * 4 * 12);
    for (n, first) in [0, 50].into_iter().enumerate() {
        let mut expected = image(first);
        for quarters in 0..4 {
            assert_eq!(views[(4 * n + quarters) * 12..][..12], expected, "image {n}, {quarters} quarters");
            expected = quarter_turn(&expected, 2);
        }
    }
}
