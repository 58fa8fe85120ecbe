//! Single convolutions, each pass, ours and PyTorch's in both layouts, in turns.

use super::child::Child;
use super::options::{Options, Placement};
use super::peak;
use super::report::{Report, median, short};
use super::step::peers;
use super::workload::{Layer, Workload};

const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/odc-kernels/benches/layers/peer_layers.py");

/// Name in the questions, and for people.
const PASSES: [(&str, &str); 3] = [("forward", "forward"), ("backward_data", "data"), ("backward_weight", "weight")];

/// The distinct convolutions of all workloads with all numbers of threads.
pub(crate) fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    for threads in &options.threads {
        let placement = options.placement(*threads);
        peak::measure(&placement, report)?;
        report.line("");
        report.line(
            "GFLOP/s (conventional operations) of forward, backward data and backward weight; PyTorch in its faster \
             layout. At the end what all such layers of a step take.",
        );
        let mut children = vec![Child::start("ours", peak::program()?, [""; 0], &placement)?];
        children.extend(peers(options, PEER, &[], &placement)?);
        for workload in &options.workloads {
            table(workload, &mut children, options, &placement, report)?;
        }
    }
    Ok(())
}

fn table(
    workload: &Workload,
    children: &mut [Child],
    options: &Options,
    placement: &Placement,
    report: &mut Report,
) -> anyhow::Result<()> {
    let with_peer = children.len() > 1;
    let mut columns = vec![workload.title(), "times".to_owned()];
    for (_, pass) in PASSES {
        columns.push(format!("{pass}: ours"));
        columns.extend(with_peer.then(|| format!("{pass}: PyTorch")));
    }
    columns.push("ours ms".to_owned());
    columns.extend(with_peer.then(|| "PyTorch ms".to_owned()));
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    report.head(&columns);
    let (mut all_ours, mut all_theirs) = (0.0, 0.0);
    for (layer, count) in counted(workload.layers()) {
        let mut cells = vec![layer.title(), count.to_string()];
        let (mut ours, mut theirs) = (0.0, 0.0);
        for (pass, _) in PASSES {
            if pass == "backward_data" && !layer.needs_input_gradient() {
                cells.extend(std::iter::repeat_n("–".to_owned(), 1 + usize::from(with_peer)));
                continue;
            }
            let seconds = rounds(children, &format!("{pass} {}", layer.arguments()), options.rounds)?;
            ours += seconds[0];
            cells.push(short(layer.gflop() / seconds[0]));
            if let Some(faster) = seconds[1..].iter().copied().min_by(f64::total_cmp) {
                theirs += faster;
                cells.push(short(layer.gflop() / faster));
            }
        }
        (all_ours, all_theirs) = (all_ours + count as f64 * ours, all_theirs + count as f64 * theirs);
        cells.push(short(1e3 * count as f64 * ours));
        cells.extend(with_peer.then(|| short(1e3 * count as f64 * theirs)));
        report.row(&cells);
    }
    report.line("");
    let theirs = if with_peer { format!(", PyTorch {} ms", short(1e3 * all_theirs)) } else { String::new() };
    report.line(&format!(
        "{}, {}: all convolutions ours {} ms{theirs}.",
        workload.letter,
        placement.title(),
        short(1e3 * all_ours)
    ));
    Ok(())
}

/// Seconds of one run on each side: the median over turns of each turn's best, which neighbours disturb least.
fn rounds(children: &mut [Child], question: &str, rounds: usize) -> anyhow::Result<Vec<f64>> {
    let mut turns = vec![Vec::new(); children.len()];
    for child in &mut *children {
        // The first answer makes the arrays.
        child.ask(question)?;
    }
    for _ in 0..rounds {
        for (child, turns) in children.iter_mut().zip(&mut turns) {
            turns.push(child.ask(question)?.seconds()?.into_iter().fold(f64::INFINITY, f64::min));
        }
    }
    Ok(turns.iter().map(|turns| median(turns)).collect())
}

/// Distinct layers in the order of their first use, and how often each is used.
fn counted(layers: Vec<Layer>) -> Vec<(Layer, usize)> {
    let mut counted: Vec<(Layer, usize)> = Vec::new();
    for layer in layers {
        match counted.iter_mut().find(|(known, _)| *known == layer) {
            Some((_, count)) => *count += 1,
            None => counted.push((layer, 1)),
        }
    }
    counted
}
