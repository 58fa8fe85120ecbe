//! Image folders of any depth; the first level of folders gives the true labels.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use crate::decode::decode_file;
use crate::{DataError, Dataset, Image};

/// The images under a folder, sorted by path.
///
/// A file is an image by its extension, whatever the case; other files and everything hidden (`.name`) are passed
/// over. Symbolic links are followed; one that leads nowhere or back stays listed, and its image is an error.
pub struct ImageFolder {
    root: PathBuf,
    /// Relative to `root`.
    files: Vec<PathBuf>,
    labels: Vec<Option<u32>>,
    class_names: Vec<String>,
}

impl ImageFolder {
    /// Lists a folder.
    ///
    /// # Errors
    /// Where it cannot be read, or has no image at any depth.
    pub fn open(root: &Path) -> Result<Self, DataError> {
        std::fs::read_dir(root).map_err(|error| DataError::read(root, error))?;
        let mut files: Vec<PathBuf> = WalkDir::new(root)
            .follow_links(true)
            .into_iter()
            .filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry))
            .filter_map(|entry| listed(root, entry))
            .collect();
        if files.is_empty() {
            let wanted = EXTENSIONS.join(", ");
            return Err(DataError::empty(root, format!("no image at any depth; files are taken that end in {wanted}")));
        }
        files.sort();
        let folder_of = |file: &PathBuf| -> Option<String> {
            let mut components = file.components();
            let first = components.next()?;
            components.next().map(|_| first.as_os_str().to_string_lossy().into_owned())
        };
        let folders: Vec<Option<String>> = files.iter().map(folder_of).collect();
        let names: BTreeSet<&String> = folders.iter().flatten().collect();
        let class_names: Vec<String> = names.into_iter().cloned().collect();
        let label = |folder: &Option<String>| folder.as_ref().and_then(|name| class_names.binary_search(name).ok());
        let labels = folders.iter().map(|folder| label(folder).map(|label| label as u32)).collect();
        Ok(Self { root: root.to_owned(), files, labels, class_names })
    }
}

impl Dataset for ImageFolder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        let file = self.files.get(index).ok_or(DataError::OutOfRange { index, len: self.files.len() })?;
        decode_file(&self.root.join(file), &self.name(index))
    }

    fn true_label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied().flatten()
    }

    fn name(&self, index: usize) -> String {
        self.files.get(index).map_or_else(|| format!("#{index}"), |file| file.to_string_lossy().into_owned())
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }
}

/// What counts as an image's name.
const EXTENSIONS: [&str; 11] = ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib", "tif", "tiff", "gif"];

pub(crate) fn has_image_extension(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

/// The path below `root` where the entry is to be listed: an image, or something that should have been readable.
fn listed(root: &Path, entry: walkdir::Result<DirEntry>) -> Option<PathBuf> {
    let below = |path: &Path| path.strip_prefix(root).ok().map(Path::to_owned);
    match entry {
        Ok(entry) if !entry.file_type().is_dir() && has_image_extension(entry.path()) => below(entry.path()),
        Ok(_) => None,
        // A link back to a folder above: what it shows is listed there.
        Err(error) if error.loop_ancestor().is_some() => None,
        Err(error) => {
            let path = error.path()?;
            let unreadable_folder = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_dir());
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if !hidden && (unreadable_folder || has_image_extension(path)) { below(path) } else { None }
        }
    }
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with('.')
}
