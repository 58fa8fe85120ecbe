//! The whole training step, ours and PyTorch's in both layouts, in turns.

use super::child::Child;
use super::options::{Options, Placement};
use super::peak;
use super::report::{Report, median, short, spread};
use super::workload::Workload;

/// How long a turn takes, in seconds, if a step is not longer.
const TURN: f64 = 1.0;

const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/odc-trainer/benches/peer_step.py");

/// The layouts of the peer; the faster one counts.
pub(crate) const LAYOUTS: [&str; 2] = ["nchw", "channels_last"];

/// All workloads with all numbers of threads.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let program = crate::build::program(&["--package", "odc-trainer", "--bench", "step"], "step")?;
    let mut ours = Vec::new();
    for threads in &options.threads {
        let placement = options.placement(*threads);
        let peak = peak::measure(&placement, report)?;
        head(options, report);
        for workload in &options.workloads {
            let mut children = vec![Child::start("ours", &program, workload.arguments(), &placement)?];
            children.extend(peers(options, PEER, &workload.arguments(), &placement)?);
            let sides = rounds(&mut children, options.rounds)?;
            row(workload, &sides, *threads, peak, report);
            ours.push((workload.letter, *threads, sides[0].milliseconds()));
        }
    }
    scaling(&ours, report);
    Ok(())
}

/// The peer in each layout, or nothing where no interpreter was named.
pub(crate) fn peers(
    options: &Options,
    script: &str,
    arguments: &[String],
    placement: &Placement,
) -> anyhow::Result<Vec<Child>> {
    let Some(python) = &options.peer_python else { return Ok(Vec::new()) };
    let start = |layout| {
        let threads = placement.threads.to_string();
        let mut all = vec![script, "--layout", layout, "--threads", &threads];
        all.extend(options.bf16.then_some("--bf16"));
        all.extend(arguments.iter().map(String::as_str));
        Child::start(&format!("PyTorch {layout}"), python, all, placement)
    };
    LAYOUTS.into_iter().map(start).collect()
}

/// What was measured of one process.
struct Side {
    /// Seconds of a step: the median of each turn.
    turns: Vec<f64>,
    peak_mib: Option<f64>,
    /// The greatest share of a turn that its threads waited for a core.
    waited: f64,
}

impl Side {
    fn milliseconds(&self) -> f64 {
        1e3 * median(&self.turns)
    }
}

/// Warms all up, then gives them turns.
fn rounds(children: &mut [Child], rounds: usize) -> anyhow::Result<Vec<Side>> {
    let mut steps = Vec::new();
    for child in &mut *children {
        // The first step allocates; the second tells how many make a turn.
        child.ask("run 1")?.seconds()?;
        let second = median(&child.ask("run 1")?.seconds()?);
        steps.push((TURN / second).ceil().max(1.0) as usize);
    }
    let mut sides: Vec<Side> =
        children.iter().map(|_| Side { turns: Vec::new(), peak_mib: None, waited: 0.0 }).collect();
    for _ in 0..rounds {
        for ((child, side), steps) in children.iter_mut().zip(&mut sides).zip(&steps) {
            let answer = child.ask(&format!("run {steps}"))?;
            side.turns.push(median(&answer.seconds()?));
            side.waited = side.waited.max(answer.waited);
        }
    }
    for (child, side) in children.iter().zip(&mut sides) {
        side.peak_mib = child.peak_mib();
    }
    Ok(sides)
}

fn head(options: &Options, report: &mut Report) {
    let mut columns = vec!["step", "threads", "ours ms", "GFLOP/s", "of peak", "MiB"];
    if options.peer_python.is_some() {
        let peers = if options.bf16 { ["bf16 nchw ms", "bf16 cl ms"] } else { ["nchw ms", "cl ms"] };
        columns.extend(peers);
        columns.extend(["ratio (least–greatest)", "PyTorch MiB"]);
    }
    columns.push("waited");
    report.head(&columns);
}

fn row(workload: &Workload, sides: &[Side], threads: usize, peak: f64, report: &mut Report) {
    let mib = |side: &Side| side.peak_mib.map_or("–".to_owned(), |mib| format!("{mib:.0}"));
    let (ours, peers) = (&sides[0], &sides[1..]);
    let gflops = workload.gflop() / ours.milliseconds() * 1e3;
    let share = format!("{:.0} %", 100.0 * gflops / peak);
    let mut cells = vec![workload.title(), threads.to_string(), short(ours.milliseconds()), short(gflops), share];
    cells.push(mib(ours));
    cells.extend(peers.iter().map(|peer| short(peer.milliseconds())));
    if let Some(faster) = peers.iter().min_by(|a, b| a.milliseconds().total_cmp(&b.milliseconds())) {
        let ratios: Vec<f64> = faster.turns.iter().zip(&ours.turns).map(|(theirs, ours)| theirs / ours).collect();
        cells.extend([spread(&ratios), mib(faster)]);
    }
    let waited = sides.iter().map(|side| side.waited).fold(0.0, f64::max);
    cells.push(format!("{:.0} %", 100.0 * waited));
    report.row(&cells);
}

/// How much faster more threads are than one, where both were measured.
fn scaling(ours: &[(char, usize, f64)], report: &mut Report) {
    let speedups = ours.iter().filter(|(_, threads, _)| *threads > 1).filter_map(|(letter, threads, more)| {
        let (_, _, one) = ours.iter().find(|(other, threads, _)| other == letter && *threads == 1)?;
        Some(format!("{letter} {:.2} with {threads}", one / more))
    });
    let speedups: Vec<String> = speedups.collect();
    if !speedups.is_empty() {
        report.line("");
        report.line(&format!("Our speed with more threads, of that with one: {}.", speedups.join(", ")));
    }
}
