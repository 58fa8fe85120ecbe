//! Whole iterations of Online Deep Clustering, ours and PyTorch's, in turns: where their time goes.

use std::path::PathBuf;

use super::child::Child;
use super::options::{Options, Placement};
use super::report::{Report, median, short, spread};
use super::step::peers;
use super::workload::Workload;

/// How long a turn takes, in seconds, if an iteration is not longer.
const TURN: f64 = 2.0;

const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/odc-trainer/benches/peer_iteration.py");

const PARTS: [&str; 3] = ["data", "network", "memory"];

/// All workloads that have images, with all numbers of threads.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let program = crate::build::program(&["--package", "odc-trainer", "--bench", "iteration"], "iteration")?;
    for threads in &options.threads {
        let placement = options.placement(*threads);
        report.line("");
        report.line(&format!("{}: whole iterations, N = 10,000 and K = 100.", placement.title()));
        report.head(&[
            "iteration",
            "ms",
            "data",
            "network",
            "memory",
            "refilled",
            "ratio (least–greatest)",
            "of network",
        ]);
        for workload in &options.workloads {
            let Some(images) = images(workload) else { continue };
            if !images.exists() {
                report.line(&format!("| {}: skipped, {} is not there |", workload.letter, images.display()));
                continue;
            }
            compare(&program, workload, &images, options, &placement, report)?;
        }
    }
    Ok(())
}

/// Images of the size that a workload is about, in the folder that the tests read as well.
fn images(workload: &Workload) -> Option<PathBuf> {
    let beside = crate::build::root().join("../shared/data");
    let folder = std::env::var_os("ODC_TEST_DATA").map_or(beside, PathBuf::from);
    match workload.side {
        32 => Some(folder.join("cifar10/train10k.parquet")),
        224 => Some(folder.join("imagenet-sample")),
        _ => None,
    }
}

fn compare(
    program: &PathBuf,
    workload: &Workload,
    images: &std::path::Path,
    options: &Options,
    placement: &Placement,
    report: &mut Report,
) -> anyhow::Result<()> {
    let [arch, stem, side, batch, _] = workload.arguments();
    let arguments = [arch, stem, side, batch, images.display().to_string()];
    // With one core the caller's thread loads, so that the parts do not overlap; else one thread a core does, as in a run.
    let workers = if placement.threads == 1 { 0 } else { placement.threads };
    let ours = Child::start("ours", program, arguments.iter().chain([&workers.to_string()]), placement)?;
    let mut children = vec![ours];
    children.extend(peers(options, PEER, &arguments, placement)?);
    let sides = rounds(&mut children, options.rounds)?;
    let faster = sides[1..].iter().min_by(|a, b| median(&a.turns).total_cmp(&median(&b.turns)));
    for (side, child) in sides.iter().zip(&children) {
        let name = if child.name == "ours" { workload.title() } else { format!("{}: {}", workload.letter, child.name) };
        let mut cells = vec![name, short(1e3 * median(&side.turns))];
        cells.extend(
            side.parts.iter().map(|part| format!("{} %", short(100.0 * part / side.parts.iter().sum::<f64>()))),
        );
        cells.push(side.refilled.to_string());
        match faster {
            Some(faster) if child.name == "ours" => {
                let ratios: Vec<f64> =
                    faster.turns.iter().zip(&side.turns).map(|(theirs, ours)| theirs / ours).collect();
                cells.extend([spread(&ratios), format!("{:.2}", faster.network() / side.network())]);
            }
            _ => cells.extend(["".to_owned(), "".to_owned()]),
        }
        report.row(&cells);
    }
    Ok(())
}

/// What was measured of one process.
#[derive(Default)]
struct Side {
    /// Seconds of an iteration: the mean of each turn, for centroids move in one of ten only.
    turns: Vec<f64>,
    /// Seconds of all turns for each of [`PARTS`].
    parts: [f64; 3],
    refilled: u64,
}

impl Side {
    /// Seconds of an iteration that are the network's.
    fn network(&self) -> f64 {
        median(&self.turns) * self.parts[1] / self.parts.iter().sum::<f64>()
    }
}

/// Warms all up, then gives them turns.
fn rounds(children: &mut [Child], rounds: usize) -> anyhow::Result<Vec<Side>> {
    let mut iterations = Vec::new();
    for child in &mut *children {
        child.ask("run 1")?.seconds()?;
        let second = median(&child.ask("run 1")?.seconds()?);
        // Centroids move in one iteration of ten: whole tens, where that does not take too long.
        let turn = (TURN / second).ceil().max(2.0) as usize;
        iterations.push(if turn < 5 { turn } else { turn.next_multiple_of(10) });
    }
    let mut sides: Vec<Side> = children.iter().map(|_| Side::default()).collect();
    for _ in 0..rounds {
        for ((child, side), iterations) in children.iter_mut().zip(&mut sides).zip(&iterations) {
            let answer = child.ask(&format!("run {iterations}"))?;
            let seconds = answer.seconds()?;
            side.turns.push(seconds.iter().sum::<f64>() / seconds.len() as f64);
            for (part, name) in side.parts.iter_mut().zip(PARTS) {
                *part += answer.value[name].as_f64().unwrap_or(f64::NAN);
            }
            side.refilled += answer.value["refilled"].as_u64().unwrap_or(0);
        }
    }
    Ok(sides)
}
