//! The measured peak of the cores: what a share of it is a share of.

use super::child::Child;
use super::options::Placement;
use super::report::{Report, short};

/// GFLOP/s of f32 fused multiply-adds on all threads of `placement` together; said in the report.
pub(crate) fn measure(placement: &Placement, report: &mut Report) -> anyhow::Result<f64> {
    let program = program()?;
    let mut child = Child::start("the peak's loop", program, [""; 0], placement)?;
    let answer = child.ask("peak")?.value;
    let gflops = answer["gflops"].as_f64().unwrap_or(f64::NAN);
    let isa = answer["isa"].as_str().unwrap_or("?");
    report.line("");
    report.line(&format!("{}: peak of f32 FMA ({isa}) {} GFLOP/s.", placement.title(), short(gflops)));
    Ok(gflops)
}

/// The program that measures layers, and the peak.
pub(crate) fn program() -> anyhow::Result<std::path::PathBuf> {
    crate::build::program(&["--package", "odc-kernels", "--bench", "layers"], "layers")
}
