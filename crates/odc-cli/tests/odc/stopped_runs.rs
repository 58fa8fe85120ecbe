//! Runs that are killed or stopped go on, and give the bits of a run that was left alone.
#![cfg(unix)]

use std::path::{Path, PathBuf};
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
fn twenty_kills_at_random_moments_change_nothing() {
    const KILLS: usize = 20;
    let (_keep, here) = scratch();
    let begun = Instant::now();
    odc(&here, &["train", "--recipe", "tiny", "--set", "training.checkpoint_every=3", "--out", "whole"]).succeeded();
    let whole = begun.elapsed();
    // From 0 to half the time of a whole run: a kill hits the start, an iteration, a checkpoint or the end. Where a run
    // gets to its end in between, another one takes the kills that are left.
    let mut delays = odc_testkit::formula(11, 10 * KILLS).into_iter().map(|value| whole.mul_f32((value + 1.0) / 4.0));
    let (mut kills, mut run) = (0, 0);
    loop {
        let out = format!("killed-{run}");
        let words =
            ["train", "--recipe", "tiny", "--set", "training.checkpoint_every=3", "--resume", "--out", out.as_str()];
        if kills == KILLS {
            odc(&here, &words).succeeded();
            assert_same(&here, "whole", &out);
            break;
        }
        let mut child = command(&here, &words).spawn().expect("starts");
        std::thread::sleep(delays.next().expect("runs do not get to their ends for ever"));
        child.kill().expect("kills, or has ended");
        match child.wait().expect("ends").code() {
            None => kills += 1,
            Some(code) => assert_eq!(code, 0, "a run that was not killed in time gets to its end"),
        }
        if here.join(&out).join("summary.json").exists() {
            odc(&here, &words).succeeded();
            assert_same(&here, "whole", &out);
            run += 1;
        }
    }
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

/// Two runs end in the same bits: weights, clusters, and the last checkpoint, which holds velocities and memories too.
/// Nothing half-written is left.
fn assert_same(here: &Path, one: &str, other: &str) {
    for file in ["backbone.safetensors", "clusters.csv"] {
        let read = |run: &str| std::fs::read(here.join(run).join(file)).expect("reads");
        assert!(read(one) == read(other), "{file} differs");
    }
    let newest = |run: &str| files(&here.join(run).join("checkpoints")).pop().expect("a checkpoint");
    assert_eq!(newest(one).file_name(), newest(other).file_name());
    assert!(tensors(&newest(one)) == tensors(&newest(other)), "the last checkpoint differs");
    for file in files(&here.join(other)).into_iter().chain(files(&here.join(other).join("checkpoints"))) {
        assert!(!file.to_string_lossy().contains("partial"), "{} is left", file.display());
    }
}

/// The bytes of all tensors of a checkpoint; its header holds the recipe, and with it the number of workers.
fn tensors(checkpoint: &Path) -> Vec<u8> {
    let bytes = std::fs::read(checkpoint).expect("reads");
    let (length, rest) = bytes.split_first_chunk::<8>().expect("the length of the header");
    rest[u64::from_le_bytes(*length) as usize..].to_vec()
}

/// What is in a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("lists");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}
