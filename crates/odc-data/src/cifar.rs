//! The binary files of CIFAR-10 and CIFAR-100.

use std::path::{Path, PathBuf};

use crate::{DataError, Dataset, Image};

/// CIFAR-10 or CIFAR-100: one `.bin` file, or the training files of a folder (`data_batch_*.bin` or `train.bin`).
///
/// A record is the label (CIFAR-100: coarse, then fine, which is the one used) and 32 × 32 red, green and blue bytes.
pub struct Cifar {
    files: Vec<(String, Vec<u8>)>,
    record: usize,
    /// The index of each file's first image.
    starts: Vec<usize>,
    class_names: Vec<String>,
    len: usize,
}

const SIDE: usize = 32;
const IMAGE_BYTES: usize = SIDE * SIDE * 3;

impl Cifar {
    /// Reads all records into memory.
    ///
    /// # Errors
    /// Where nothing of the kind is at the path, or a file is not a whole number of records.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let metadata = std::fs::metadata(path).map_err(|error| DataError::read(path, error))?;
        let (folder, paths) = if metadata.is_dir() {
            (path, training_files(path)?)
        } else {
            (path.parent().unwrap_or(Path::new("")), vec![path.to_owned()])
        };
        let mut files = Vec::new();
        for path in paths {
            let bytes = std::fs::read(&path).map_err(|error| DataError::read(&path, error))?;
            files.push((path, bytes));
        }
        let record = record_bytes(&files)?;
        let n_classes = if record == IMAGE_BYTES + 1 { 10 } else { 100 };
        let mut starts = Vec::new();
        let mut len = 0;
        for (path, bytes) in &files {
            starts.push(len);
            len += bytes.len() / record;
            let label = |record_bytes: &[u8]| record_bytes[record - IMAGE_BYTES - 1];
            if let Some(wrong) = bytes.chunks_exact(record).map(label).find(|&label| label >= n_classes) {
                let reason = format!("label {wrong} in CIFAR-{n_classes} data; is this CIFAR's binary version?");
                return Err(DataError::malformed(path, reason));
            }
        }
        let class_names = class_names(folder, n_classes.into());
        let name = |path: PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let files = files.into_iter().map(|(path, bytes)| (name(path), bytes)).collect();
        Ok(Self { files, record, starts, class_names, len })
    }

    /// The file's name, the index in it, and the record.
    fn record(&self, index: usize) -> Option<(&str, usize, &[u8])> {
        let file = self.starts.partition_point(|&start| start <= index).checked_sub(1)?;
        let (name, bytes) = &self.files[file];
        let within = index - self.starts[file];
        bytes.get(within * self.record..(within + 1) * self.record).map(|record| (name.as_str(), within, record))
    }
}

impl Dataset for Cifar {
    fn len(&self) -> usize {
        self.len
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        let (_, _, record) = self.record(index).ok_or(DataError::OutOfRange { index, len: self.len })?;
        let planes = &record[self.record - IMAGE_BYTES..];
        let area = SIDE * SIDE;
        let pixels = (0..area).flat_map(|i| [planes[i], planes[area + i], planes[2 * area + i]]).collect();
        Ok(Image { width: SIDE, height: SIDE, pixels })
    }

    fn true_label(&self, index: usize) -> Option<u32> {
        self.record(index).map(|(_, _, record)| record[self.record - IMAGE_BYTES - 1].into())
    }

    fn name(&self, index: usize) -> String {
        self.record(index).map_or_else(|| format!("#{index}"), |(file, within, _)| format!("{file}#{within}"))
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }
}

/// Whether a folder looks like an unpacked CIFAR archive.
pub(crate) fn is_cifar_folder(folder: &Path) -> bool {
    training_files(folder).is_ok()
}

fn training_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files: Vec<PathBuf> = (1..=5).map(|batch| folder.join(format!("data_batch_{batch}.bin"))).collect();
    files.push(folder.join("train.bin"));
    files.retain(|file| file.is_file());
    if files.is_empty() {
        let reason = "no data_batch_1.bin … data_batch_5.bin or train.bin; unpack CIFAR's binary version there";
        return Err(DataError::empty(folder, reason));
    }
    Ok(files)
}

fn record_bytes(files: &[(PathBuf, Vec<u8>)]) -> Result<usize, DataError> {
    let fits = |record: usize| files.iter().all(|(_, bytes)| !bytes.is_empty() && bytes.len() % record == 0);
    let [of_10, of_100] = [IMAGE_BYTES + 1, IMAGE_BYTES + 2];
    // CIFAR-100's own file names decide where both lengths fit.
    let first = files[0].0.file_name().unwrap_or_default();
    let named_100 = first == "train.bin" || first == "test.bin";
    match (fits(of_10), fits(of_100)) {
        (true, true) => Ok(if named_100 { of_100 } else { of_10 }),
        (true, false) => Ok(of_10),
        (false, true) => Ok(of_100),
        (false, false) => {
            let reason =
                format!("not a whole number of CIFAR-10 records ({of_10} bytes) or CIFAR-100 records ({of_100} bytes)");
            Err(DataError::malformed(&files[0].0, reason))
        }
    }
}

/// From the text file beside the data; numbers where it is absent.
fn class_names(folder: &Path, n_classes: usize) -> Vec<String> {
    let file = if n_classes == 10 { "batches.meta.txt" } else { "fine_label_names.txt" };
    let text = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
    let names: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if names.len() == n_classes { names } else { (0..n_classes).map(|class| class.to_string()).collect() }
}
