//! `cargo xtask <command>`: commands for users go to `odc` built in release mode; commands for developers stay here.

mod bench;
mod build;

use std::ffi::OsString;
use std::io::Write;
use std::process::{Command, ExitCode};

use anyhow::Context;

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
        "train" | "eval-linear" | "eval-knn" | "eval-finetune" | "eval-svm" | "eval-clusters" | "extract"
        | "assign" | "info" | "compare" | "ablate" => hand_over_to_odc(&arguments),
        "ci" => run_to_the_end(Command::new(build::root().join(".ci/run"))),
        "bench" => bench::run(&arguments[1..]),
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
  train          train on the built-in set `shapes`, or on your images: --data path/to/images
  eval-linear    how well a linear classifier does on the learned features
  eval-knn       how well nearest neighbours do on them
  eval-finetune  how well the network does when fine-tuned on few labels
  eval-svm       how well linear SVMs do on them, also of a few images a class
  eval-clusters  how far the clusters agree with true labels or with other clusters
  extract        write the features of images as .npy or parquet
  assign         write the cluster of every image as CSV
  info           what is in a run folder or a weight file
  compare        train by several methods, and one page that shows them side by side
  ablate         change one setting at a time, and one table of what each change does

For developers:
  ci             what every change must pass: formatting, lints, all tests
  bench          how fast the training step is, against PyTorch's where there is one: bench cpu
  golden         how the golden files are made again

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
    let mut odc = Command::new(build::program(&["--package", "odc-cli"], "odc")?);
    // `odc` then says `cargo xtask` where it proposes a next command.
    odc.args(arguments).env("ODC_CALLED_AS", "cargo xtask");
    become_process(odc)
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

fn say(text: &str) -> anyhow::Result<ExitCode> {
    // A reader that has gone away is no failure.
    let _ = writeln!(std::io::stdout(), "{text}");
    Ok(ExitCode::SUCCESS)
}
