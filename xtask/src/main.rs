//! `cargo xtask <command>`: commands for users go to `odc` built in release mode; commands for developers stay here.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail};

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1).collect()) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Everything that `cargo xtask` does.
fn run(arguments: Vec<OsString>) -> anyhow::Result<ExitCode> {
    let command = arguments.first().map(|command| command.to_string_lossy().into_owned()).unwrap_or_default();
    match command.as_str() {
        "train" | "eval-linear" | "eval-knn" | "extract" | "assign" | "info" => hand_over_to_odc(&arguments),
        "ci" => run_to_the_end(Command::new(root().join(".ci/run"))),
        "golden" => say(GOLDEN),
        "" | "help" | "--help" | "-h" => say(HELP),
        other => {
            let _ = writeln!(std::io::stderr(), "error: there is no command {other:?}\n\n{HELP}");
            Ok(ExitCode::from(2))
        }
    }
}

const HELP: &str = "\
cargo xtask <command>

Learn image features without labels (each runs the program `odc`, built in release mode; add --help to learn more):
  train        train on the built-in set `shapes`, or on your images: --data path/to/images
  eval-linear  how well a linear classifier does on the learned features
  eval-knn     how well nearest neighbours do on them
  extract      write the features of images as .npy or parquet
  assign       write the cluster of every image as CSV
  info         what is in a run folder or a weight file

For developers:
  ci           what every change must pass: formatting, lints, all tests
  golden       how the golden files are made again

Start with:  cargo xtask train";

const GOLDEN: &str = "\
The golden files in tests/golden are made by PyTorch; tests/golden/manifest.json says what each holds and how closely it
is met. To make them again (Python 3.11):

  python3 -m venv golden-venv
  golden-venv/bin/pip install torch torchvision scikit-learn faiss-cpu pyarrow tqdm pillow safetensors scipy
  golden-venv/bin/python tests/golden/make/golden.py --out tests/golden --cifar test.parquet --jpeg photo.jpg

The two image cases need a CIFAR-10 parquet file and a photograph; all others need no file. Then: cargo test --workspace";

/// Builds `odc` in release mode and becomes it: its exit code, its terminal and its Ctrl-C are those of this process.
fn hand_over_to_odc(arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    let mut odc = Command::new(build_odc()?);
    // `odc` then says `cargo xtask` where it proposes a next command.
    odc.args(arguments).env("ODC_CALLED_AS", "cargo xtask");
    become_process(odc)
}

/// The path of the release build of `odc`, made now if it is not there or old.
fn build_odc() -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--release", "--package", "odc-cli", "--message-format", "json-render-diagnostics"])
        .arg("--manifest-path")
        .arg(root().join("Cargo.toml"))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("odc could not be built: see cargo's messages above");
    }
    executable(&output.stdout).context("cargo built odc but did not say where it is")
}

/// The program among cargo's messages, one JSON object a line.
fn executable(messages: &[u8]) -> Option<PathBuf> {
    let lines = messages.split(|byte| *byte == b'\n');
    lines.filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok()).find_map(|message| {
        let of_odc = message["target"]["name"] == "odc";
        message["executable"].as_str().filter(|_| of_odc).map(PathBuf::from)
    })
}

#[cfg(unix)]
fn become_process(mut command: Command) -> anyhow::Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start {}", command.get_program().display()))
}

#[cfg(not(unix))]
fn become_process(command: Command) -> anyhow::Result<ExitCode> {
    run_to_the_end(command)
}

fn run_to_the_end(mut command: Command) -> anyhow::Result<ExitCode> {
    let status = command.status().with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn say(text: &str) -> anyhow::Result<ExitCode> {
    // A reader that has gone away is no failure.
    let _ = writeln!(std::io::stdout(), "{text}");
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_cargo_s_messages() {
        let messages = br#"{"reason":"compiler-artifact","target":{"name":"odc_data"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"odc"},"executable":"/somewhere/release/odc"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(executable(messages), Some(PathBuf::from("/somewhere/release/odc")));
        assert_eq!(executable(b"{}\n"), None);
    }
}
