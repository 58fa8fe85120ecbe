//! Calling the program, and small folders of images.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a call of the program gave.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Calls the program in `folder`.
pub(crate) fn odc(folder: &Path, words: &[&str]) -> Outcome {
    let output = command(folder, words).output().expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Outcome { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// The program in `folder`, not yet started.
pub(crate) fn command(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_odc"));
    command.args(words).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("RUST_LOG").env_remove("ODC_CALLED_AS");
    command
}

impl Outcome {
    /// The outcome, which must be a success.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// The outcome, which must be this exit code and an error that holds all of `words`, and must not look like a
    /// defect.
    #[track_caller]
    pub(crate) fn failed(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert!(self.stderr.contains("error: "), "{self:#?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not said: {self:#?}");
        }
        for defect in ["panicked", "RUST_BACKTRACE", "unwrap", "Err("] {
            assert!(!self.stderr.contains(defect), "{self:#?}");
        }
        self
    }

    /// Standard output as JSON: nothing else may be there.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// `images` pictures of noise in each of `classes` subfolders of `folder`.
pub(crate) fn write_images(folder: &Path, classes: usize, images: usize) {
    for class in 0..classes {
        let class_folder = folder.join(format!("class-{class}"));
        std::fs::create_dir_all(&class_folder).expect("a folder");
        for image in 0..images {
            let bytes = odc_testkit::bmp(20, (class * 1000 + image) as u64);
            std::fs::write(class_folder.join(format!("image-{image:03}.bmp")), bytes).expect("writes");
        }
    }
}

/// A folder that is gone after the test.
pub(crate) fn scratch() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_owned();
    (folder, path)
}
