//! PyTorch's own files, `.pth`, `.pt` or `.tar`: where each tensor of a checkpoint lies in them.
//!
//! Since version 1.6 `torch.save` writes a zip archive of a pickle and one entry for each storage; before, several pickles
//! in a row and the storages behind them. Both are read; no code of a file is run (see [`super::pickle`]).

use std::collections::{HashMap, HashSet};
use std::io::{self, Cursor};
use std::ops::Range;

use candle_core::DType;
use zip::{CompressionMethod, ZipArchive};

use super::pickle::{Id, Object, Pickle, PickledTensor};
use super::stored_tensor::StoredTensor;

/// How a zip archive begins.
const ZIP: &[u8] = b"PK\x03\x04";
/// How an older file begins: a pickle of PyTorch's magic number.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// Containers in containers that are looked into: `state_dict`, `model`, `teacher`, …
const DEEPEST: usize = 4;

/// Whether `bytes` are of a file that PyTorch wrote.
pub(super) fn is_torch(bytes: &[u8]) -> bool {
    bytes.starts_with(ZIP) || bytes.starts_with(LEGACY)
}

/// All tensors that have a name, containers included: `state_dict.conv1.weight`.
///
/// # Errors
/// Says what is wrong with the file and what to do.
pub(super) fn tensors(bytes: &[u8]) -> Result<Vec<StoredTensor>, String> {
    let (pickle, storages) = if bytes.starts_with(ZIP) { of_archive(bytes)? } else { of_legacy(bytes)? };
    let mut found = Vec::new();
    collect(&pickle, pickle.root(), "", DEEPEST, &mut HashSet::new(), &mut found);
    if found.is_empty() {
        return Err("it holds no tensors by name; save the network's state_dict(), not the network".to_owned());
    }
    found.into_iter().map(|(name, tensor)| stored(name, tensor, &storages)).collect()
}

type Storages = HashMap<String, Range<usize>>;

fn of_archive(bytes: &[u8]) -> Result<(Pickle, Storages), String> {
    let broken = |error: &dyn std::fmt::Display| format!("it is a damaged archive ({error}); fetch it again");
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| broken(&error))?;
    if archive.file_names().flatten().any(|name| name.ends_with("/constants.pkl")) {
        return Err("it is a TorchScript program; save the network's state_dict() instead".to_owned());
    }
    let mut entries = HashMap::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|error| broken(&error))?;
        // Reading to the end compares the check sum.
        let length = io::copy(&mut entry, &mut io::sink()).map_err(|error| broken(&error))?;
        if entry.compression() != CompressionMethod::Stored {
            return Err("it is a compressed archive, not what torch.save writes".to_owned());
        }
        let start = entry.data_start().ok_or("it is a damaged archive; fetch it again")?;
        let (Ok(start), Ok(length)) = (usize::try_from(start), usize::try_from(length)) else { continue };
        let name = entry.name().map_err(|error| broken(&error))?.into_owned();
        entries.insert(name, start..start + length);
    }
    let data = |range: &Range<usize>| bytes.get(range.clone()).unwrap_or_default();
    let folder = entries.keys().filter_map(|name| name.strip_suffix("data.pkl")).min().map(str::to_owned);
    let folder = folder.ok_or("it is a zip archive without data.pkl, not what torch.save writes")?;
    if entries.get(&format!("{folder}byteorder")).is_some_and(|range| data(range) == b"big") {
        return Err("its numbers are big-endian; save it again on another machine".to_owned());
    }
    let pickle = Pickle::read(data(&entries[&format!("{folder}data.pkl")])).map_err(|error| unreadable(&error))?;
    let prefix = format!("{folder}data/");
    let storages =
        entries.into_iter().filter_map(|(name, range)| Some((name.strip_prefix(&prefix)?.to_owned(), range))).collect();
    Ok((pickle, storages))
}

/// Pickles of the magic number, the version, the machine, the object and the storages' keys; then each storage: its
/// length in numbers, and the numbers.
fn of_legacy(bytes: &[u8]) -> Result<(Pickle, Storages), String> {
    let mut at = 0;
    let mut next = || {
        let pickle = Pickle::read(&bytes[at..]).map_err(|error| unreadable(&error))?;
        at += pickle.end;
        Ok::<_, String>((pickle, at))
    };
    for _ in 0..3 {
        next()?;
    }
    let (pickle, _) = next()?;
    let (keys, mut at) = next()?;
    let Object::List(list) = keys.object(keys.root()) else { return Err(unreadable("the list of storages is none")) };
    let sizes = pickle.storages().map(|(class, key)| (key, kind(class).1)).collect::<HashMap<_, _>>();
    let mut storages = HashMap::new();
    for id in list {
        let Some(key) = keys.text(*id) else { return Err(unreadable("the key of a storage is no text")) };
        let Some(size) = sizes.get(key) else {
            return Err(unreadable(&format!("nothing says what storage {key} holds")));
        };
        let length = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()).map(|length| u64::from_le_bytes(*length));
        let end = length
            .and_then(|length| usize::try_from(length).ok())
            .and_then(|length| length.checked_mul(*size)?.checked_add(at + 8))
            .filter(|end| *end <= bytes.len())
            .ok_or_else(|| unreadable("it ends too early"))?;
        storages.insert(key.to_owned(), at + 8..end);
        at = end;
    }
    Ok((pickle, storages))
}

fn unreadable(error: &str) -> String {
    format!("its pickle cannot be read ({error}); is the file complete?")
}

/// Tensors under text keys. A container that is there twice counts once.
fn collect<'a>(
    pickle: &'a Pickle,
    container: Id,
    prefix: &str,
    depth: usize,
    seen: &mut HashSet<Id>,
    found: &mut Vec<(String, &'a PickledTensor)>,
) {
    let Object::Dict(entries) = pickle.object(container) else { return };
    if !seen.insert(container) {
        return;
    }
    for (key, value) in entries {
        let Some(key) = pickle.text(*key) else { continue };
        match pickle.object(*value) {
            Object::Tensor(tensor) => found.push((format!("{prefix}{key}"), tensor)),
            Object::Dict(_) if depth > 0 => {
                collect(pickle, *value, &format!("{prefix}{key}."), depth - 1, seen, found);
            }
            _ => {}
        }
    }
}

/// A storage's numbers: their name as safetensors writes it, their size in bytes, their type if candle has it.
fn kind(storage_class: &str) -> (&str, usize, Option<DType>) {
    match storage_class {
        "FloatStorage" => ("F32", 4, Some(DType::F32)),
        "HalfStorage" => ("F16", 2, Some(DType::F16)),
        "BFloat16Storage" => ("BF16", 2, Some(DType::BF16)),
        "DoubleStorage" => ("F64", 8, Some(DType::F64)),
        "LongStorage" => ("I64", 8, Some(DType::I64)),
        "ByteStorage" => ("U8", 1, Some(DType::U8)),
        "IntStorage" => ("I32", 4, Some(DType::I32)),
        "ShortStorage" => ("I16", 2, Some(DType::I16)),
        "CharStorage" => ("I8", 1, None),
        "BoolStorage" => ("BOOL", 1, None),
        other => (other, 1, None),
    }
}

fn stored(name: String, tensor: &PickledTensor, storages: &Storages) -> Result<StoredTensor, String> {
    let storage = storages.get(&tensor.storage_key);
    let storage = storage.ok_or_else(|| unreadable(&format!("the storage of {name} is missing")))?.clone();
    let (label, size, dtype) = kind(&tensor.storage_class);
    // The last number that the view reaches.
    let last =
        tensor.shape.iter().zip(&tensor.strides).try_fold(tensor.offset, |at, (length, stride)| {
            at.checked_add(length.saturating_sub(1).checked_mul(*stride)?)
        });
    let is_empty = tensor.shape.contains(&0);
    let fits = last.and_then(|last| last.checked_add(1)?.checked_mul(size)).is_some_and(|end| end <= storage.len());
    if !is_empty && !fits {
        return Err(unreadable(&format!("{name} is larger than its storage")));
    }
    Ok(StoredTensor {
        name,
        kind: label.to_owned(),
        dtype,
        number_size: size,
        shape: tensor.shape.clone(),
        strides: tensor.strides.clone(),
        offset: tensor.offset,
        storage,
    })
}
