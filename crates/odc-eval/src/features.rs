//! Features of images with what belongs to each row: index, name, true label.

use odc_data::Skipped;

use crate::EvalError;

/// Features of images, one row an image. All per-row vectors have the same length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features {
    /// `[len, dim]`, row after row, as the network gives them (not normalised).
    pub values: Vec<f32>,
    /// Length of a row.
    pub dim: usize,
    /// Index of each row's image in the data set that was read.
    pub indices: Vec<u32>,
    /// True label of each row, where there is one.
    pub true_labels: Vec<Option<u32>>,
    /// Name of each row's image: its path, or what else the data set calls it.
    pub names: Vec<String>,
    /// Images that could not be decoded; they have no row.
    pub skipped: Vec<Skipped>,
}

impl Features {
    /// Features that come from elsewhere: rows are numbered, and named by their number.
    ///
    /// # Errors
    /// Where `values` is not `true_labels.len()` rows of `dim`.
    pub fn from_rows(values: Vec<f32>, dim: usize, true_labels: Vec<Option<u32>>) -> Result<Self, EvalError> {
        let n = true_labels.len();
        if values.len() != n * dim {
            return Err(EvalError::Size { what: "feature values", got: values.len(), expected: n * dim });
        }
        let names = (0..n).map(|row| format!("#{row}")).collect();
        Ok(Self { values, dim, indices: (0..n as u32).collect(), true_labels, names, skipped: Vec::new() })
    }

    /// How many images have a row.
    pub fn len(&self) -> usize {
        self.true_labels.len()
    }

    /// Whether no image has a row.
    pub fn is_empty(&self) -> bool {
        self.true_labels.is_empty()
    }

    /// The feature of a row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dim..(row + 1) * self.dim]
    }

    /// Rows for reference and rows that ask: those whose position `asks` go into the second part. The order stays.
    pub fn split(&self, asks: impl Fn(usize) -> bool) -> (Self, Self) {
        let (queries, reference): (Vec<usize>, Vec<usize>) = (0..self.len()).partition(|&position| asks(position));
        (self.select(&reference), self.select(&queries))
    }

    /// Four fifths for reference, and a fifth that asks: of each five rows in order one, by a fixed draw. (Every fifth
    /// row would be of one class in a set whose classes take turns.)
    pub fn split_one_in_five(&self) -> (Self, Self) {
        self.split(|position| drawn(position as u64 / 5) == position as u64 % 5)
    }

    /// The rows at these positions. What was skipped is not part of a selection.
    pub fn select(&self, rows: &[usize]) -> Self {
        let mut values = Vec::with_capacity(rows.len() * self.dim);
        rows.iter().for_each(|&row| values.extend_from_slice(self.row(row)));
        Self {
            values,
            dim: self.dim,
            indices: rows.iter().map(|&row| self.indices[row]).collect(),
            true_labels: rows.iter().map(|&row| self.true_labels[row]).collect(),
            names: rows.iter().map(|&row| self.names[row].clone()).collect(),
            skipped: Vec::new(),
        }
    }
}

/// A number below five for each block of rows: the mixing function of splitmix64.
fn drawn(block: u64) -> u64 {
    let z = (block + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) % 5
}
