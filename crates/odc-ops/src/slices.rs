//! From candle's CPU storage to plain slices and back.

use candle_core::{CpuStorage, Layout, Result, Shape, Storage, Tensor, WithDType, bail};
use odc_kernels::memory::unwritten;

/// The elements of a contiguous tensor.
pub(crate) fn slice<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let values = storage.as_slice::<T>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => bail!("an operation of odc-ops got a tensor {:?} that is not contiguous", layout.shape()),
    }
}

/// The elements of a contiguous `f32` tensor, to be changed in place.
pub(crate) fn slice_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a tensor {:?} that is changed in place is not contiguous", layout.shape())
    };
    match storage {
        CpuStorage::F32(values) => Ok(&mut values[start..end]),
        _ => bail!("a tensor {:?} that is changed in place is not f32", layout.shape()),
    }
}

/// Lends the elements of a contiguous `f32` tensor on the CPU that an operation holds beside its arguments.
pub(crate) fn with_slice<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(f(slice(storage, layout)?)),
        _ => bail!("a tensor {:?} is on a GPU where its partners are on the CPU", tensor.shape()),
    }
}

/// A new tensor's storage; `fill` writes every element.
pub(crate) fn filled(shape: impl Into<Shape>, fill: impl FnOnce(&mut [f32])) -> (CpuStorage, Shape) {
    let shape = shape.into();
    let mut values = unwritten(shape.elem_count());
    fill(&mut values);
    (CpuStorage::F32(values), shape)
}
