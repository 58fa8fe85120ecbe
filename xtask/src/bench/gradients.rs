//! Gradients of whole networks against double precision: ours and PyTorch's f32, on the same weights and images.

use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

use super::options::Options;
use super::report::Report;

const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/odc-model/benches/peer_gradients.py");

/// Architecture, stem, side, batch, classes.
const NETWORKS: [[&str; 5]; 4] = [
    ["resnet18", "cifar", "32", "32", "10"],
    ["resnet18", "imagenet", "32", "32", "1000"],
    ["resnet34", "imagenet", "96", "8", "1000"],
    ["resnet50", "imagenet", "64", "16", "1000"],
];

/// Which relus fall on the other side of their edge is chance: one seed says little.
const SEEDS: u64 = 5;

/// All networks.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let python = options.peer_python.as_ref().context("gradients are compared with PyTorch's: name --peer-python")?;
    let program = crate::build::program(&["--package", "odc-model", "--bench", "gradients"], "gradients")?;
    let file = std::env::temp_dir().join(format!("odc-gradients-{}.safetensors", std::process::id()));
    let placement = options.placement(options.threads[0]);
    report.line("");
    report.line(&format!(
        "Relative error of gradients against f64, greatest / median over parameters, each the median of seeds 1 to {SEEDS}:"
    ));
    report.head(&["network", "ours", "ours, direct", "PyTorch nchw", "PyTorch channels_last"]);
    for network in NETWORKS {
        let [arch, stem, side, batch, classes] = network;
        let mut answers = Vec::new();
        for seed in 1..=SEEDS {
            let ours = Command::new(&program)
                .args(network)
                .arg(seed.to_string())
                .arg(&file)
                .envs(placement.environment())
                .status();
            if !ours.context("cannot start our side")?.success() {
                bail!("our gradients were not computed: see the messages above");
            }
            let peer = Command::new(python)
                .args([PEER, arch, stem, classes])
                .arg(&file)
                .envs(placement.environment())
                .stderr(std::process::Stdio::inherit())
                .output();
            // The next network writes it anew; the last one leaves nothing behind.
            std::fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
            let peer = peer.context("cannot start the peer")?;
            if !peer.status.success() {
                bail!("the peer failed: see its messages above");
            }
            answers.push(serde_json::from_slice(&peer.stdout).context("the peer's answer is no JSON")?);
        }
        let mut cells = vec![format!("{arch}, {stem} stem, {side}×{side}, batch {batch}")];
        cells.extend(["fastest", "direct", "nchw", "channels_last"].map(|side| errors(&answers, side)));
        report.row(&cells);
    }
    Ok(())
}

/// Medians over the seeds.
fn errors(answers: &[Value], side: &str) -> String {
    let median = |name: &str| {
        let mut numbers: Vec<f64> =
            answers.iter().map(|answer| answer[side][name].as_f64().unwrap_or(f64::NAN)).collect();
        numbers.sort_by(f64::total_cmp);
        numbers[numbers.len() / 2]
    };
    format!("{:.1e} / {:.1e}", median("max"), median("median"))
}
