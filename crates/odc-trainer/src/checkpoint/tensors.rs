//! Tensors and slices on their way into a checkpoint's file, and out of it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Tensor};
use safetensors::{Dtype, View};

use crate::TrainerError;

/// A tensor's bytes on their way into a file.
pub(super) struct Bytes<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Cow<'a, [u8]>,
}

impl View for &Bytes<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

pub(super) fn take(tensors: &mut HashMap<String, Tensor>, name: &str, path: &Path) -> Result<Tensor, TrainerError> {
    let reason = || TrainerError::Checkpoint { path: path.to_owned(), reason: format!("it lacks {name}") };
    tensors.remove(name).ok_or_else(reason)
}

pub(super) fn tensor_bytes(tensor: &Tensor) -> Result<Bytes<'static>, TrainerError> {
    let shape = tensor.dims().to_vec();
    let flat = tensor.detach().flatten_all()?;
    let (dtype, bytes) = match tensor.dtype() {
        DType::F32 => (Dtype::F32, bytemuck::cast_slice(&flat.to_vec1::<f32>()?).to_vec()),
        DType::I64 => (Dtype::I64, bytemuck::cast_slice(&flat.to_vec1::<i64>()?).to_vec()),
        other => return Err(candle_core::Error::Msg(format!("a checkpoint holds no {other:?} tensors")).into()),
    };
    Ok(Bytes { dtype, shape, bytes: Cow::Owned(bytes) })
}

/// A network that holds numbers that are not finite cannot go on: better no checkpoint than one of it.
pub(super) fn check_finite(name: &str, tensor: &Bytes<'_>) -> Result<(), TrainerError> {
    let (numbers, _) = tensor.bytes.as_chunks::<4>();
    let finite = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes).is_finite();
    if tensor.dtype != Dtype::F32 || numbers.iter().all(finite) {
        return Ok(());
    }
    Err(TrainerError::Unhealthy(format!(
        "the network's {name} holds numbers that are not finite, as happens when the learning rate is too high: no \
         checkpoint was written over the last good one. Start again with a lower --lr"
    )))
}

pub(super) fn float_bytes(values: &[f32], dim: usize) -> Bytes<'_> {
    let bytes = Cow::Borrowed(bytemuck::cast_slice(values));
    Bytes { dtype: Dtype::F32, shape: vec![values.len() / dim.max(1), dim], bytes }
}

pub(super) fn integer_bytes(values: &[u32]) -> Bytes<'_> {
    Bytes { dtype: Dtype::U32, shape: vec![values.len()], bytes: Cow::Borrowed(bytemuck::cast_slice(values)) }
}

pub(super) fn number_bytes(value: u32) -> Bytes<'static> {
    Bytes { dtype: Dtype::U32, shape: vec![1], bytes: Cow::Owned(value.to_ne_bytes().to_vec()) }
}

pub(super) fn flag_bytes(values: &[bool]) -> Bytes<'static> {
    let bytes: Vec<u8> = values.iter().map(|flag| u8::from(*flag)).collect();
    Bytes { dtype: Dtype::U8, shape: vec![bytes.len()], bytes: Cow::Owned(bytes) }
}
