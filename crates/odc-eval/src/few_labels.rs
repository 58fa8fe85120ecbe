//! A share of the labelled images of each class: what fine-tuning with few labels may look at.

use std::collections::BTreeMap;

use odc_data::{Dataset, Sampling};

use crate::EvalError;

/// The true label of every image.
pub fn true_labels(dataset: &dyn Dataset) -> Vec<Option<u32>> {
    (0..dataset.len()).map(|index| dataset.true_label(index)).collect()
}

/// Positions of `share` of each class's images (rounded, at least one), drawn by `seed`, in ascending order.
///
/// # Errors
/// Where `share` is not above 0 and at most 1, or nothing is labelled.
pub fn draw_labelled(true_labels: &[Option<u32>], share: f64, seed: u64) -> Result<Vec<u32>, EvalError> {
    if !(share > 0.0 && share <= 1.0) {
        return Err(EvalError::setting("labels", share, "above 0 and at most 1 (a share of all labels)"));
    }
    let mut of_class: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (position, label) in true_labels.iter().enumerate() {
        if let Some(label) = label {
            of_class.entry(*label).or_default().push(position as u32);
        }
    }
    if of_class.is_empty() {
        let reason = format!("none of {} images has a true label", true_labels.len());
        return Err(EvalError::Empty { what: "labelled images", reason });
    }
    let mut drawn = Vec::new();
    for (label, positions) in of_class {
        let count = ((positions.len() as f64 * share).round() as usize).max(1);
        // Classes draw apart: another class more or less leaves the others' images as they are.
        let order =
            Sampling::Permutation.epoch(odc_ops::random::key(seed, "few labels", 0), label.into(), positions.len());
        drawn.extend(order.into_iter().take(count).map(|place| positions[place as usize]));
    }
    drawn.sort_unstable();
    Ok(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_gives_its_share_and_one_at_least() {
        // Class 3: 200 images, class 8: 40, class 5: 3; every 7th has none.
        let labels: Vec<Option<u32>> = (0..283)
            .map(|i| match i % 7 {
                0 => None,
                _ => Some(if i < 234 {
                    3
                } else if i < 280 {
                    8
                } else {
                    5
                }),
            })
            .collect();
        let drawn = draw_labelled(&labels, 0.1, 4).expect("labels");
        let count = |share: f64, class: u32| {
            let drawn = draw_labelled(&labels, share, 4).expect("labels");
            drawn.iter().filter(|position| labels[**position as usize] == Some(class)).count()
        };
        let all = |class| labels.iter().filter(|label| **label == Some(class)).count();
        for class in [3, 8, 5] {
            assert_eq!(count(0.1, class), ((all(class) as f64 * 0.1).round() as usize).max(1), "class {class}");
            assert_eq!(count(1.0, class), all(class));
        }
        assert!(drawn.is_sorted() && drawn.iter().all(|position| labels[*position as usize].is_some()));
        assert_eq!(draw_labelled(&labels, 0.1, 4).expect("labels"), drawn);
        assert_ne!(draw_labelled(&labels, 0.1, 5).expect("labels"), drawn);
    }

    #[test]
    fn shares_that_mean_nothing_are_refused() {
        for share in [0.0, -0.5, 1.01, f64::NAN] {
            let error = draw_labelled(&[Some(0)], share, 0).expect_err("refused").to_string();
            assert!(error.contains("labels = ") && error.contains("at most 1"), "{error}");
        }
        assert!(draw_labelled(&[None], 0.5, 0).expect_err("refused").to_string().contains("none of 1 images"));
    }
}
