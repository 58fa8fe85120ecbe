//! Which images an epoch shows, and in what order.

use serde::{Deserialize, Serialize};

use crate::SampleRandom;

/// How an epoch's `n` draws are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampling {
    /// Every draw from all images, so that an epoch shows some of them several times and about 37 % not at all.
    #[default]
    Replacement,
    /// Every image once, in random order.
    Permutation,
}

impl Sampling {
    /// The order of an epoch: `n` indices below `n` (at most 2³² images). The same for the same arguments.
    pub fn epoch(self, seed: u64, epoch: u64, n: usize) -> Vec<u32> {
        let mut random = SampleRandom::keyed(b"sampler\0", seed, epoch, 0);
        match self {
            Self::Replacement => (0..n).map(|_| random.below(n) as u32).collect(),
            Self::Permutation => {
                let mut order: Vec<u32> = (0..n as u32).collect();
                random.shuffle(&mut order);
                order
            }
        }
    }
}

/// The order of an epoch of `labels.len()` draws that shows every label equally often, to within one draw before the
/// last are cut off: each takes ⌊n / `n_labels`⌋ + 1 draws, of distinct images where it has more than that, with
/// replacement otherwise. Labels without an image are passed over. The same for the same arguments.
///
/// # Panics
/// Where a label is not below `n_labels`.
pub fn uniform_over_labels(labels: &[u32], n_labels: usize, seed: u64, epoch: u64) -> Vec<u32> {
    let mut random = SampleRandom::keyed(b"uniform\0", seed, epoch, 0);
    let mut images = vec![Vec::new(); n_labels];
    for (image, &label) in labels.iter().enumerate() {
        images[label as usize].push(image as u32);
    }
    let draws = labels.len() / n_labels.max(1) + 1;
    let mut order = Vec::with_capacity(draws * n_labels);
    for mut images in images.into_iter().filter(|images| !images.is_empty()) {
        if images.len() > draws {
            random.shuffle(&mut images);
            order.extend(&images[..draws]);
        } else {
            order.extend((0..draws).map(|_| images[random.below(images.len())]));
        }
    }
    random.shuffle(&mut order);
    order.truncate(labels.len());
    order
}
