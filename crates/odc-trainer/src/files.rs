//! Writing files so that a reader, or a killed process, never sees half of one.

use std::path::Path;

use crate::TrainerError;

/// Writes `bytes` beside `path`, syncs, and renames: `path` is either as before or complete.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), TrainerError> {
    odc_model::weights::write_atomically(path, bytes).map_err(|error| TrainerError::file("write", path, error))
}

/// Removes what a killed process left half-written in `folder`.
pub(crate) fn remove_partial(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // The first is what `extract` and `assign` write beside their files, the second what this crate does.
        let partial = name.starts_with(".partial-") || name.starts_with('.') && name.ends_with(".partial");
        if partial && std::fs::remove_file(entry.path()).is_ok() {
            tracing::info!(file = %entry.path().display(), "removed what a stopped process left half-written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_fails_names_its_file_and_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.csv");
        write_atomically(&path, b"old").expect("writes");
        write_atomically(&path, b"new").expect("writes over it");
        assert_eq!(std::fs::read(&path).expect("reads"), b"new");
        // Nothing can be renamed over a folder that is not empty.
        std::fs::create_dir_all(folder.path().join("taken/inside")).expect("folders");
        let error = write_atomically(&folder.path().join("taken"), b"x").expect_err("fails").to_string();
        assert!(error.starts_with("cannot write") && error.contains("taken"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("lists").count(), 2);
    }

    #[test]
    fn only_what_is_half_written_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in [".partial-17-x.csv", ".summary.json.17.partial", ".hidden", "my.partial", "x.csv"] {
            std::fs::write(folder.path().join(name), b"x").expect("writes");
        }
        remove_partial(folder.path());
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .expect("lists")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        left.sort();
        assert_eq!(left, [".hidden", "my.partial", "x.csv"]);
        remove_partial(&folder.path().join("nowhere"));
    }
}
