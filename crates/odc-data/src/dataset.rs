//! What every source of images gives: how many there are, the image at an index, its true label if any.

use std::sync::Arc;

use crate::{DataError, Sampling};

/// An RGB image, rows from top to bottom, three bytes a pixel (`[height, width, 3]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height * width * 3` bytes.
    pub pixels: Vec<u8>,
}

impl Image {
    /// A black image.
    pub fn black(width: usize, height: usize) -> Self {
        Self { width, height, pixels: vec![0; width * height * 3] }
    }

    /// The three bytes of a pixel.
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        let start = (y * self.width + x) * 3;
        [self.pixels[start], self.pixels[start + 1], self.pixels[start + 2]]
    }
}

/// A set of images, read by index from any thread.
pub trait Dataset: Send + Sync {
    /// How many images there are, those included that will turn out not to be readable.
    fn len(&self) -> usize;

    /// Whether there is no image at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The image at an index, as a viewer shows it.
    ///
    /// # Errors
    /// Where it cannot be read or decoded. The others are not concerned.
    fn image(&self, index: usize) -> Result<Image, DataError>;

    /// The true label of an image, below `class_names().len()`; for evaluation only.
    fn true_label(&self, index: usize) -> Option<u32>;

    /// Whether an image shows a class, where images may show several; `None` where that is unknown or to be ignored.
    /// By default it shows its true label's class and no other.
    fn shows(&self, index: usize, class: u32) -> Option<bool> {
        self.true_label(index).map(|label| label == class)
    }

    /// The image's path or another identifier, as shown in reports.
    fn name(&self, index: usize) -> String;

    /// The classes' names by true label; empty where there are no true labels.
    fn class_names(&self) -> &[String];
}

/// A data set restricted to some of its images, in the given order.
pub struct Subset {
    whole: Arc<dyn Dataset>,
    indices: Vec<u32>,
}

impl Subset {
    /// The images of `whole` at `indices`. An index past the end of `whole` gives an error when its image is asked for.
    pub fn new(whole: Arc<dyn Dataset>, indices: Vec<u32>) -> Self {
        Self { whole, indices }
    }

    /// `limit` images drawn from all of `whole`, always the same ones, in their order there. Drawn, not counted off:
    /// a set whose classes take turns, or are sorted, keeps all of them.
    pub fn spread(whole: Arc<dyn Dataset>, limit: usize) -> Self {
        let mut indices = Sampling::Permutation.epoch(0, 0, whole.len());
        indices.truncate(limit);
        indices.sort_unstable();
        Self { whole, indices }
    }

    /// The indices in the whole data set.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    fn index_in_whole(&self, index: usize) -> Result<usize, DataError> {
        let found = self.indices.get(index).map(|&i| i as usize).filter(|&i| i < self.whole.len());
        found.ok_or(DataError::OutOfRange { index, len: self.indices.len() })
    }
}

impl Dataset for Subset {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        self.whole.image(self.index_in_whole(index)?)
    }

    fn true_label(&self, index: usize) -> Option<u32> {
        self.index_in_whole(index).ok().and_then(|index| self.whole.true_label(index))
    }

    fn shows(&self, index: usize, class: u32) -> Option<bool> {
        self.index_in_whole(index).ok().and_then(|index| self.whole.shows(index, class))
    }

    fn name(&self, index: usize) -> String {
        self.index_in_whole(index).map_or_else(|_| format!("#{index}"), |index| self.whole.name(index))
    }

    fn class_names(&self) -> &[String] {
        self.whole.class_names()
    }
}
