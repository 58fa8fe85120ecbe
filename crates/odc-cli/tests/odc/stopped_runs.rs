//! Runs that are killed or stopped go on, and give the bits of a run that was left alone.
#![cfg(unix)]

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::support::{command, odc, scratch};

#[test]
fn a_killed_run_goes_on_bit_for_bit() {
    let (_keep, here) = scratch();
    let whole = ["train", "--recipe", "tiny", "--threads", "1", "--out", "whole"];
    odc(&here, &whole).succeeded();
    // The same command starts the run and restarts it, as a supervisor would.
    let killed = ["train", "--recipe", "tiny", "--threads", "2", "--resume", "--out", "killed"];
    for iteration in [0, 5, 15] {
        let mut child = command(&here, &killed).spawn().expect("starts");
        wait_for_checkpoint(&mut child, &here.join("killed"), iteration);
        child.kill().expect("kills");
        child.wait().expect("ends");
    }
    odc(&here, &killed).succeeded();
    assert_same(&here, "whole", "killed");
}

#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let (_keep, here) = scratch();
    // Long enough not to be over before the signal arrives.
    let train = |out: &'static str| ["train", "--recipe", "tiny", "--epochs", "12", "--out", out];
    let mut child = command(&here, &train("stopped")).spawn().expect("starts");
    wait_for_checkpoint(&mut child, &here.join("stopped"), 5);
    let signal = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill is there");
    assert!(signal.success());
    let output = child.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("is saved in stopped") && said.contains("odc train --resume stopped"), "{said}");
    let told = odc(&here, &["info", "stopped"]).succeeded().stdout;
    assert!(told.contains("not finished") && told.contains("train --resume stopped"), "{told}");
    // A run that is not finished can already be asked.
    let early = odc(&here, &["eval-knn", "--run", "stopped", "--limit", "60", "--k", "5"]).succeeded();
    assert!(early.stderr.contains("not finished"), "{early:#?}");
    assert_eq!(odc(&here, &["assign", "--run", "stopped"]).succeeded().stdout.lines().count(), 241);

    odc(&here, &["train", "--resume", "stopped"]).succeeded();
    odc(&here, &train("whole")).succeeded();
    assert_same(&here, "whole", "stopped");
}

/// Waits until a checkpoint of at least this iteration is there, or the process has ended.
fn wait_for_checkpoint(child: &mut Child, run: &Path, iteration: u64) {
    let begun = Instant::now();
    while child.try_wait().expect("can be asked").is_none() {
        let found = std::fs::read_dir(run.join("checkpoints")).into_iter().flatten().flatten().any(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let number = name.strip_prefix("iteration-").and_then(|rest| rest.strip_suffix(".safetensors"));
            number.and_then(|number| number.parse::<u64>().ok()).is_some_and(|found| found >= iteration)
        });
        if found {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "no checkpoint of iteration {iteration}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn assert_same(here: &Path, one: &str, other: &str) {
    for file in ["backbone.safetensors", "clusters.csv"] {
        let read = |run: &str| std::fs::read(here.join(run).join(file)).expect("reads");
        assert!(read(one) == read(other), "{file} differs");
    }
}
