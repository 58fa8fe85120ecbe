//! The safetensors file itself: bytes that depend on the tensors alone, and writes that are whole or not at all.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use candle_core::{DType, Error, Result, Tensor, bail};
use safetensors::SafeTensors;
use safetensors::tensor::Metadata;
use serde_json::{Map, Value, json};

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

pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Error::Msg(format!("cannot read the weights {}: {error}", path.display())))
}

/// A weight file in memory: its header, and its tensors.
pub(super) struct WeightFile<'a> {
    pub(super) header: Metadata,
    pub(super) tensors: SafeTensors<'a>,
}

impl WeightFile<'_> {
    /// Keys and values of the header.
    pub(super) fn metadata(&self) -> BTreeMap<String, String> {
        self.header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// All shapes by name.
    pub(super) fn shapes(&self) -> HashMap<String, Vec<usize>> {
        self.header.tensors().into_iter().map(|(name, info)| (name, info.shape.clone())).collect()
    }
}

/// Checks header and length.
pub(super) fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<WeightFile<'a>> {
    let parsed = SafeTensors::read_metadata(bytes)
        .and_then(|(_, header)| Ok(WeightFile { header, tensors: SafeTensors::deserialize(bytes)? }));
    parsed.map_err(|error| {
        // What torch.save writes: a zip archive, before 2020 a pickle.
        let advice = if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x80\x02") {
            "it looks like a PyTorch .pth file; convert it in Python: safetensors.torch.save_file(torch.load(path, \
             map_location=\"cpu\", weights_only=True), \"weights.safetensors\") (where the file holds more than the weights, take its \
             \"state_dict\")"
        } else if bytes.is_empty() {
            "it is empty"
        } else {
            "is it complete, and is it the right file?"
        };
        Error::Msg(format!("{} is not a safetensors file ({error}): {advice}", path.display()))
    })
}
