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
