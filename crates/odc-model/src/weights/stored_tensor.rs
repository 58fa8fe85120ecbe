//! Where tensors lie in weight files, of either format.

use std::ops::Range;

use candle_core::DType;

/// Where a tensor lies in a file.
#[derive(Clone, Debug)]
pub(super) struct StoredTensor {
    pub(super) name: String,
    /// Type of its numbers, as safetensors writes it.
    pub(super) kind: String,
    /// The same, if candle has it.
    pub(super) dtype: Option<DType>,
    /// Bytes of a number.
    pub(super) number_size: usize,
    pub(super) shape: Vec<usize>,
    /// In numbers, as the offset. Every number that they reach lies in `storage`.
    pub(super) strides: Vec<usize>,
    pub(super) offset: usize,
    /// Bytes of the file.
    pub(super) storage: Range<usize>,
}
