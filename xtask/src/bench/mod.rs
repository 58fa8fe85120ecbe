//! `cargo xtask bench`: our training step on the CPU against PyTorch's, interleaved in one run.

mod child;
mod gradients;
mod iteration;
mod layers;
mod options;
mod peak;
mod report;
mod step;
mod workload;

use std::ffi::OsString;
use std::process::ExitCode;

use options::Options;
use report::Report;

/// What `cargo xtask bench` alone says.
pub(crate) const HELP: &str = "\
cargo xtask bench cpu [options]
  Times the training step (forward, cross-entropy, backward, SGD with momentum) of four workloads:
    a  ResNet-18, ImageNet stem, 32×32, batch 128       b  ResNet-18, CIFAR stem, 32×32, batch 64
    c  ResNet-50, 224×224, batch 8                      d  ResNet-50, 64×64, batch 32
  --peer-python PATH  time PyTorch as well: an interpreter that has torch and torchvision
  --workloads abcd    which                           --threads 1,2   how many threads, one after the other
  --rounds 5          rounds of about a second each   --core 0        the first core to pin to
  --isa avx2|avx512   for both sides                  --bf16          the peer under bfloat16 autocast
  --cpu-time          leave out the time that a process waits for its core, on a machine with others (one thread)
  --layers            single convolutions instead of steps
  --iteration         whole iterations of Online Deep Clustering (a, b, c) instead of steps; needs ODC_TEST_DATA, and of
                      the peer what tests/golden/make needs
  --step              steps as well as --layers or --iteration
  --markdown FILE     write the tables there as well

cargo xtask bench gradients --peer-python PATH [--isa avx2|avx512] [--markdown FILE]
  How far the gradients of whole networks are from those in double precision, ours and PyTorch's f32.";

/// Everything that `cargo xtask bench` does.
pub(crate) fn run(arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    match arguments.first().and_then(|what| what.to_str()) {
        Some("cpu") => {
            let options = Options::read(&arguments[1..])?;
            let mut report = Report::new();
            cpu(&options, &mut report)?;
            report.save(options.markdown.as_deref())?;
            Ok(ExitCode::SUCCESS)
        }
        Some("gradients") => {
            let options = Options::read(&arguments[1..])?;
            let mut report = Report::new();
            report.about_machine();
            gradients::measure(&options, &mut report)?;
            report.save(options.markdown.as_deref())?;
            Ok(ExitCode::SUCCESS)
        }
        _ => crate::say(HELP),
    }
}

fn cpu(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    report.about_machine();
    if options.step {
        step::measure(options, report)?;
    }
    if options.layers {
        layers::measure(options, report)?;
    }
    if options.iteration {
        iteration::measure(options, report)?;
    }
    Ok(())
}
