//! Helpers for tests: golden files made by PyTorch, the weight formula of their manifest, and data on this disk.

use std::path::{Path, PathBuf};

/// A golden case: named tensors with expected numbers (see `tests/golden/manifest.json`).
#[derive(Debug)]
pub struct Golden {
    name: String,
    bytes: Vec<u8>,
}

impl Golden {
    /// Opens `tests/golden/<name>.safetensors`. Panics, naming the path, where it is absent.
    pub fn open(name: &str) -> Self {
        let path = golden_directory().join(format!("{name}.safetensors"));
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { name: name.to_owned(), bytes }
    }

    /// The names of all tensors.
    pub fn names(&self) -> Vec<String> {
        self.file().names().iter().map(|name| name.to_string()).collect()
    }

    /// The shape of a tensor.
    pub fn shape(&self, tensor: &str) -> Vec<usize> {
        self.view(tensor).shape().to_vec()
    }

    /// The values of an `f32` tensor, row-major.
    pub fn f32(&self, tensor: &str) -> Vec<f32> {
        self.elements(tensor, safetensors::Dtype::F32, |bytes: [u8; 4]| f32::from_le_bytes(bytes))
    }

    /// The values of an `f64` tensor, row-major.
    pub fn f64(&self, tensor: &str) -> Vec<f64> {
        self.elements(tensor, safetensors::Dtype::F64, |bytes: [u8; 8]| f64::from_le_bytes(bytes))
    }

    /// The values of an `i64` tensor, row-major.
    pub fn i64(&self, tensor: &str) -> Vec<i64> {
        self.elements(tensor, safetensors::Dtype::I64, |bytes: [u8; 8]| i64::from_le_bytes(bytes))
    }

    /// An `i64` tensor of labels or indices as `u32`.
    pub fn u32(&self, tensor: &str) -> Vec<u32> {
        self.i64(tensor).into_iter().map(|value| u32::try_from(value).expect("a label fits u32")).collect()
    }

    /// The values of a `u8` tensor, row-major.
    pub fn u8(&self, tensor: &str) -> Vec<u8> {
        self.elements(tensor, safetensors::Dtype::U8, |bytes: [u8; 1]| bytes[0])
    }

    fn file(&self) -> safetensors::SafeTensors<'_> {
        safetensors::SafeTensors::deserialize(&self.bytes).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn view(&self, tensor: &str) -> safetensors::tensor::TensorView<'_> {
        self.file().tensor(tensor).unwrap_or_else(|error| panic!("{}: {tensor}: {error}", self.name))
    }

    fn elements<T, const SIZE: usize>(
        &self,
        tensor: &str,
        dtype: safetensors::Dtype,
        read: impl Fn([u8; SIZE]) -> T,
    ) -> Vec<T> {
        let view = self.view(tensor);
        assert_eq!(view.dtype(), dtype, "{}: {tensor}", self.name);
        let (chunks, rest) = view.data().as_chunks::<SIZE>();
        assert!(rest.is_empty(), "{}: {tensor}: odd length", self.name);
        chunks.iter().map(|bytes| read(*bytes)).collect()
    }
}

/// The folder of golden files, `tests/golden` of this repository.
pub fn golden_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// `manifest.json`: what each golden case means, and its tolerances.
pub fn manifest() -> serde_json::Value {
    let path = golden_directory().join("manifest.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("manifest.json is JSON")
}

/// `n` floats in [-1, 1) by the manifest's `_formula`: the top 24 bits of splitmix64, exact in f32.
pub fn formula(seed: u64, n: usize) -> Vec<f32> {
    const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
    (1..=n as u64)
        .map(|i| {
            let mut z = seed.wrapping_mul(GAMMA).wrapping_add(i.wrapping_mul(GAMMA));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            ((z >> 40) as f64 / f64::from(1 << 23) - 1.0) as f32
        })
        .collect()
}

/// A BMP file of `side` × `side` pixels of noise, 24 bits each; `side` must be a multiple of four.
pub fn bmp(side: usize, seed: u64) -> Vec<u8> {
    assert!(side.is_multiple_of(4), "rows of a BMP are padded to four bytes: {side}");
    let pixels = formula(seed, side * side * 3).into_iter().map(|value| ((value + 1.0) * 127.5) as u8);
    let (side, length) = (side as u32, (side * side * 3) as u32);
    let numbers = [54 + length, 0, 54, 40, side, side, 1 | 24 << 16, 0, 0, 0, 0, 0, 0];
    b"BM".iter().copied().chain(numbers.into_iter().flat_map(u32::to_le_bytes)).chain(pixels).collect()
}

/// The folder with CIFAR-10 and the photographs: `ODC_TEST_DATA`, or `../shared/data` beside the repository.
/// `None`, said on standard error, where there is neither: the calling test has then nothing to do.
pub fn test_data(test: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("ODC_TEST_DATA").map_or(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: {test} needs {} (set ODC_TEST_DATA)", folder.display());
    None
}

/// Panics unless `actual` and `expected` agree within `tolerance` times the largest absolute expected value
/// (or 1e-30, where all are zero).
pub fn assert_close(what: &str, actual: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(actual.len(), expected.len(), "{what}: length");
    let scale = expected.iter().fold(1e-30_f32, |largest, value| largest.max(value.abs()));
    for (position, (a, e)) in actual.iter().zip(expected).enumerate() {
        let error = (a - e).abs() / scale;
        assert!(error <= tolerance, "{what}[{position}]: {a} where {e} is expected ({error:e} > {tolerance:e})");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formula_gives_the_manifest_s_first_five() {
        let expected = manifest()["_formula"]["first5_seed_42"].as_array().expect("an array").clone();
        let expected: Vec<f32> = expected.iter().map(|value| value.as_f64().expect("a number") as f32).collect();
        assert_eq!(formula(42, 5), expected);
    }
}
