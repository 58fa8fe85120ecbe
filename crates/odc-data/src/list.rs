//! List files: one image a line, `path` or `path,label`.

use std::path::{Path, PathBuf};

use crate::decode::decode_file;
use crate::{DataError, Dataset, Image};

/// The images that a text file names, in its order. Paths are relative to the list's folder; quotes as in CSV.
///
/// Labels are numbers from 0 or names, in all lines or in some; a first line `path` or `path,label` is a heading.
pub struct ListFile {
    folder: PathBuf,
    paths: Vec<String>,
    labels: Vec<Option<u32>>,
    class_names: Vec<String>,
}

impl ListFile {
    /// Reads a list.
    ///
    /// # Errors
    /// Where it cannot be read, a line has no path or more than two fields, or none of its images exists. Single
    /// missing images are not an error here: they are skipped and listed when their turn comes.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let text = std::fs::read_to_string(path).map_err(|error| DataError::read(path, error))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let mut lines = csv::ReaderBuilder::new();
        lines.has_headers(false).flexible(true).trim(csv::Trim::All);
        let (mut paths, mut words) = (Vec::new(), Vec::new());
        for record in lines.from_reader(text.as_bytes()).records() {
            let record = record.map_err(|error| DataError::malformed(path, error.to_string()))?;
            let line = record.position().map_or(0, csv::Position::line);
            if paths.is_empty() && record.get(0) == Some("path") && matches!(record.get(1), None | Some("label")) {
                continue;
            }
            let fields = (record.get(0).unwrap_or_default(), record.get(1).unwrap_or_default());
            if fields.0.is_empty() || record.len() > 2 {
                let reason = format!("line {line}: expected `path` or `path,label` (a path with a comma in quotes)");
                return Err(DataError::malformed(path, reason));
            }
            paths.push(fields.0.to_owned());
            words.push((!fields.1.is_empty()).then(|| fields.1.to_owned()));
        }
        if paths.is_empty() {
            return Err(DataError::empty(path, "the list names no image; write one `path` or `path,label` a line"));
        }
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        if !paths.iter().any(|image| folder.join(image).exists()) {
            let first = folder.join(&paths[0]);
            let reason = format!(
                "none of the {} images exists, the first is looked for at {}; paths are relative to the list's folder",
                paths.len(),
                first.display()
            );
            return Err(DataError::malformed(path, reason));
        }
        let (labels, class_names) = labels_from_words(&words);
        Ok(Self { folder, paths, labels, class_names })
    }
}

impl Dataset for ListFile {
    fn len(&self) -> usize {
        self.paths.len()
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        let path = self.paths.get(index).ok_or(DataError::OutOfRange { index, len: self.paths.len() })?;
        decode_file(&self.folder.join(path), path)
    }

    fn true_label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied().flatten()
    }

    fn name(&self, index: usize) -> String {
        self.paths.get(index).cloned().unwrap_or_else(|| format!("#{index}"))
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }
}

/// Numbers up to a million stay what they are; anything else is a class name, numbered in alphabetical order.
pub(crate) fn labels_from_words(words: &[Option<String>]) -> (Vec<Option<u32>>, Vec<String>) {
    let number = |word: &String| word.parse::<u32>().ok().filter(|&number| number <= 1_000_000);
    if words.iter().flatten().all(|word| number(word).is_some()) {
        let labels: Vec<Option<u32>> = words.iter().map(|word| word.as_ref().and_then(number)).collect();
        let n_classes = labels.iter().flatten().max().map_or(0, |&largest| largest + 1);
        return (labels, (0..n_classes).map(|class| class.to_string()).collect());
    }
    let mut names: Vec<String> = words.iter().flatten().cloned().collect();
    names.sort();
    names.dedup();
    let label = |word: &String| names.binary_search(word).ok().map(|label| label as u32);
    (words.iter().map(|word| word.as_ref().and_then(label)).collect(), names)
}
