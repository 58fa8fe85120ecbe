//! The weight file itself: tensors of either format where they lie; bytes that depend on the tensors alone; writes that are
//! whole or not at all.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use candle_core::{DType, Device, Error, Result, Tensor, bail};
use safetensors::{SafeTensorError, SafeTensors};
use serde_json::{Map, Value, json};

use super::stored_tensor::StoredTensor;
use super::torch;

/// Replaces the file at `path` by `bytes`: written beside it, flushed to the disk, renamed.
///
/// # Errors
/// From the file system; what was at `path` is then still there and the new file is gone.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = folder.join(format!(".{}.{}.partial", name.to_string_lossy(), std::process::id()));
    let written = (|| {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
        return written;
    }
    // The rename itself survives a power cut only once the folder is on the disk; not every system can open one.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// The bytes of a safetensors file. The `safetensors` crate writes the metadata in the order of a hash map, so that two
/// files of equal content differ; here keys are sorted.
pub(super) fn to_bytes(tensors: &[(String, Tensor)], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    // i64 first: every number then lies at a multiple of its size, which readers that map the file rely on.
    let (wide, narrow): (Vec<_>, Vec<_>) = tensors.iter().partition(|(_, tensor)| tensor.dtype() == DType::I64);
    let mut header = String::from("{\"__metadata__\":");
    header.push_str(
        &json!(metadata.iter().map(|(key, value)| (key.clone(), json!(value))).collect::<Map<_, _>>()).to_string(),
    );
    let mut data = Vec::new();
    for (name, tensor) in wide.into_iter().chain(narrow) {
        let start = data.len();
        let dtype = match tensor.dtype() {
            DType::I64 => {
                data.extend(tensor.flatten_all()?.to_vec1::<i64>()?.iter().flat_map(|value| value.to_le_bytes()));
                "I64"
            }
            DType::F32 => {
                data.extend(tensor.flatten_all()?.to_vec1::<f32>()?.iter().flat_map(|value| value.to_le_bytes()));
                "F32"
            }
            other => bail!("{name}: {other:?} is no type that weights are saved in"),
        };
        let entry = json!({"dtype": dtype, "shape": tensor.dims(), "data_offsets": [start, data.len()]});
        header.push_str(&format!(",{}:{entry}", Value::from(name.as_str())));
    }
    header.push('}');
    // The format's alignment.
    while header.len() % 8 != 0 {
        header.push(' ');
    }
    let mut bytes = Vec::with_capacity(8 + header.len() + data.len());
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header.into_bytes());
    bytes.append(&mut data);
    Ok(bytes)
}

/// A weight file in memory: its header, and its tensors.
pub(super) struct WeightFile {
    bytes: Vec<u8>,
    /// Keys and values of the header; none in PyTorch's files.
    pub(super) metadata: BTreeMap<String, String>,
    /// In the order of the file.
    pub(super) tensors: Vec<StoredTensor>,
}

impl WeightFile {
    /// Reads a file of either format, and checks header and length.
    ///
    /// # Errors
    /// Names the file, and says what is wrong with it.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path)
            .map_err(|error| Error::Msg(format!("cannot read the weights {}: {error}", path.display())))?;
        if torch::is_torch(&bytes) {
            let tensors = torch::tensors(&bytes).map_err(|error| {
                Error::Msg(format!("{} is a PyTorch file that cannot be used: {error}", path.display()))
            })?;
            return Ok(Self { bytes, metadata: BTreeMap::new(), tensors });
        }
        let (metadata, tensors) = parse(&bytes).map_err(|error| {
            let advice = if bytes.is_empty() { "it is empty" } else { "is it complete, and is it the right file?" };
            Error::Msg(format!("{} is not a safetensors or PyTorch file ({error}): {advice}", path.display()))
        })?;
        Ok(Self { bytes, metadata, tensors })
    }

    /// All names and shapes.
    pub(super) fn shapes(&self) -> Vec<(&str, Vec<usize>)> {
        self.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.clone())).collect()
    }

    /// A copy of a tensor on the CPU.
    ///
    /// # Errors
    /// Where candle does not know the type of its numbers.
    pub(super) fn load(&self, tensor: &StoredTensor) -> Result<Tensor> {
        let StoredTensor { name, kind, number_size, shape, .. } = tensor;
        let Some(dtype) = tensor.dtype else {
            return Err(Error::Msg(format!("{name} is of type {kind}, which weights are not made of")));
        };
        let storage = self.bytes.get(tensor.storage.clone()).unwrap_or_default();
        if tensor.strides == contiguous(shape) {
            let count = shape.iter().product::<usize>();
            let values = &storage[tensor.offset * number_size..][..count * number_size];
            return Tensor::from_raw_buffer(values, dtype, shape, &Device::Cpu);
        }
        let count = shape.iter().product::<usize>();
        let mut values = Vec::with_capacity(count * number_size);
        for index in 0..count {
            let (mut rest, mut at) = (index, tensor.offset);
            for (length, stride) in shape.iter().zip(&tensor.strides).rev() {
                at += rest % length * stride;
                rest /= length;
            }
            values.extend(&storage[at * number_size..][..*number_size]);
        }
        Tensor::from_raw_buffer(&values, dtype, shape, &Device::Cpu)
    }
}

fn parse(bytes: &[u8]) -> std::result::Result<(BTreeMap<String, String>, Vec<StoredTensor>), SafeTensorError> {
    let (header_length, header) = SafeTensors::read_metadata(bytes)?;
    // Compares the header with the length of the file.
    SafeTensors::deserialize(bytes)?;
    // Eight bytes of length stand before the header.
    let data = 8 + header_length;
    let stored = |name: String| {
        let info = header.info(&name)?;
        let (start, end) = info.data_offsets;
        Some(StoredTensor {
            kind: info.dtype.to_string(),
            // Types of less than a byte have no place of their own.
            dtype: DType::try_from(info.dtype).ok().filter(|_| info.dtype.bitsize() % 8 == 0),
            number_size: info.dtype.bitsize() / 8,
            strides: contiguous(&info.shape),
            shape: info.shape.clone(),
            offset: 0,
            storage: data + start..data + end,
            name,
        })
    };
    let metadata = header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    Ok((metadata, header.offset_keys().into_iter().filter_map(stored).collect()))
}

/// Strides of a tensor without gaps.
fn contiguous(shape: &[usize]) -> Vec<usize> {
    let mut stride = 1_usize;
    let mut strides = shape
        .iter()
        .rev()
        .map(|length| {
            let own = stride;
            // An empty tensor may name any lengths.
            stride = own.saturating_mul(*length);
            own
        })
        .collect::<Vec<_>>();
    strides.reverse();
    strides
}
