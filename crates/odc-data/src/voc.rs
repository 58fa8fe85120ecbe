//! PASCAL VOC folders: images of several classes each, listed by split.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::decode::decode_file;
use crate::{DataError, Dataset, Image};

/// A split of a VOC folder (`JPEGImages`, `ImageSets/Main`), in the order of its list.
///
/// `ImageSets/Main/<split>.txt` names the images, `<class>_<split>.txt` says of each whether it shows the class: 1 yes,
/// −1 no, 0 only in objects that are marked difficult, which is to be ignored. An image has no single true label.
pub struct Voc {
    root: PathBuf,
    ids: Vec<String>,
    class_names: Vec<String>,
    /// `[ids, classes]`.
    shows: Vec<Option<bool>>,
}

/// The split that a folder alone means, and the one to test on.
pub(crate) const TRAINING_SPLIT: &str = "trainval";
pub(crate) const TEST_SPLIT: &str = "test";

impl Voc {
    /// Opens the folder of a year, such as `VOCdevkit/VOC2007`, for its split `trainval`; or one of the lists in its
    /// `ImageSets/Main`, such as `test.txt`, for that split.
    ///
    /// # Errors
    /// Where the list is not there or empty, or a class's list does not fit it. Single missing images are no error here.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let list = split_list(path, TRAINING_SPLIT);
        let text = read(&list)?;
        let ids: Vec<String> =
            text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
        if ids.is_empty() {
            return Err(DataError::empty(&list, "the list names no image"));
        }
        let main = list.parent().unwrap_or(Path::new("")).to_owned();
        let split = list.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let class_names = classes_of(&main, &split)?;
        let position: HashMap<&str, usize> = ids.iter().enumerate().map(|(index, id)| (id.as_str(), index)).collect();
        let mut shows = vec![None; ids.len() * class_names.len()];
        for (class, name) in class_names.iter().enumerate() {
            let file = main.join(format!("{name}_{split}.txt"));
            for (number, line) in read(&file)?.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                let wrong = |reason: &str| DataError::malformed(&file, format!("line {}: {reason}", number + 1));
                let mut words = line.split_whitespace();
                let (Some(id), Some(flag), None) = (words.next(), words.next(), words.next()) else {
                    return Err(wrong("expected the name of an image and 1, -1 or 0"));
                };
                let index = position.get(id).ok_or_else(|| wrong(&format!("{id} is not in {}", list.display())))?;
                shows[index * class_names.len() + class] = match flag {
                    "1" | "+1" => Some(true),
                    "-1" => Some(false),
                    "0" => None,
                    _ => return Err(wrong(&format!("{flag:?} is neither 1 nor -1 nor 0"))),
                };
            }
        }
        // ImageSets/Main lies two levels below the folder of the year.
        let root = main.ancestors().nth(2).unwrap_or(Path::new("")).to_owned();
        Ok(Self { root, ids, class_names, shows })
    }

    fn file(&self, index: usize) -> Option<String> {
        self.ids.get(index).map(|id| format!("JPEGImages/{id}.jpg"))
    }
}

impl Dataset for Voc {
    fn len(&self) -> usize {
        self.ids.len()
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        let file = self.file(index).ok_or(DataError::OutOfRange { index, len: self.ids.len() })?;
        decode_file(&self.root.join(&file), &file)
    }

    fn true_label(&self, _: usize) -> Option<u32> {
        None
    }

    fn shows(&self, index: usize, class: u32) -> Option<bool> {
        let class = Some(class as usize).filter(|&class| class < self.class_names.len())?;
        self.shows.get(index * self.class_names.len() + class).copied().flatten()
    }

    fn name(&self, index: usize) -> String {
        self.file(index).unwrap_or_else(|| format!("#{index}"))
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }
}

/// Whether a path is the folder of a VOC year, or a list of its images.
pub(crate) fn is_voc(path: &Path) -> bool {
    let year = |folder: &Path| folder.join("JPEGImages").is_dir() && folder.join("ImageSets/Main").is_dir();
    if path.is_dir() {
        return year(path);
    }
    let list = path.extension().is_some_and(|extension| extension == "txt");
    list && path.parent().is_some_and(|main| main.ends_with("ImageSets/Main"))
        && path.ancestors().nth(3).is_some_and(year)
}

/// The list of `split` beside that of `path` or in the folder `path`, where there is one.
pub(crate) fn other_split(path: &Path, split: &str) -> Option<PathBuf> {
    let list = match path.is_dir() {
        true => split_list(path, split),
        false => path.with_file_name(format!("{split}.txt")),
    };
    (list.is_file() && list != split_list(path, TRAINING_SPLIT)).then_some(list)
}

fn split_list(path: &Path, split: &str) -> PathBuf {
    if path.is_dir() { path.join("ImageSets/Main").join(format!("{split}.txt")) } else { path.to_owned() }
}

/// The classes that have a list for the split, in alphabetical order.
fn classes_of(main: &Path, split: &str) -> Result<Vec<String>, DataError> {
    let ending = format!("_{split}.txt");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(main).map_err(|error| DataError::read(main, error))? {
        let entry = entry.map_err(|error| DataError::read(main, error))?;
        if let Some(name) = entry.file_name().to_string_lossy().strip_suffix(&ending) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn read(path: &Path) -> Result<String, DataError> {
    std::fs::read_to_string(path).map_err(|error| DataError::read(path, error))
}
