//! Writing files so that a reader, or a killed process, never sees half of one.

use std::fs::File;
use std::path::Path;

use crate::TrainerError;

/// Writes `bytes` beside `path`, syncs, and renames: `path` is either as before or complete.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), TrainerError> {
    write_atomically_with_path(path, |temporary| std::fs::write(temporary, bytes))
}

/// As [`write_atomically`], the content written by `write` to the path that it is given.
pub(crate) fn write_atomically_with_path(
    path: &Path,
    write: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<(), TrainerError> {
    let failed = |error| TrainerError::file("write", path, error);
    let folder = path.parent().unwrap_or(Path::new("."));
    // The temporary file removes itself where anything below fails.
    let temporary = tempfile::Builder::new().prefix(".partial-").tempfile_in(folder).map_err(failed)?;
    write(temporary.path()).map_err(failed)?;
    temporary.as_file().sync_all().map_err(failed)?;
    // A temporary file is private; what is kept should have the permissions of any other file.
    #[cfg(unix)]
    set_ordinary_permissions(temporary.as_file(), folder).map_err(failed)?;
    temporary.persist(path).map_err(|error| failed(error.error))?;
    // The rename itself must survive a power cut.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// Read and write as the folder allows: the folder's own permissions without the execute bits.
#[cfg(unix)]
fn set_ordinary_permissions(file: &File, folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(folder)?.permissions().mode() & 0o666 & !0o022 | 0o600;
    file.set_permissions(std::fs::Permissions::from_mode(mode))
}

/// Removes temporary files that a killed process left in `folder`.
pub(crate) fn remove_partial(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(".partial-") && std::fs::remove_file(entry.path()).is_ok() {
            tracing::info!(file = %entry.path().display(), "removed what a stopped process left half-written");
        }
    }
}
