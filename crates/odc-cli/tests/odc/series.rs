//! Series of runs: methods side by side, and one setting changed at a time.

use std::path::Path;

use odc_trainer::{LogEvent, read_events, read_log};
use serde_json::Value;

use crate::support::{odc, scratch};

/// Both methods on the smallest recipe, two epochs of eight iterations.
const COMPARE: [&str; 10] =
    ["compare", "odc", "deepcluster", "--recipe", "tiny", "--epochs", "2", "--out", "both", "--json"];

#[test]
fn two_methods_on_one_page_with_the_numbers_of_their_logs() {
    let (_keep, here) = scratch();
    let told = odc(&here, &COMPARE).succeeded();
    assert!(told.stderr.contains("Run 1 of 2") && told.stderr.contains("1 more run to train"), "{}", told.stderr);
    let numbers = told.json();
    let stored = std::fs::read_to_string(here.join("both/compare.json")).expect("reads");
    assert_eq!(numbers, serde_json::from_str::<Value>(&stored).expect("JSON"));
    for (group, name) in ["odc-0", "deepcluster-0"].into_iter().enumerate() {
        let run = &numbers["groups"][group]["runs"][0];
        agrees_with_its_log(run, &here.join("both").join(name));
        assert!(numbers["groups"][group]["scores"]["linear"]["mean"].as_f64().is_some_and(|linear| linear > 0.0));
    }
    assert_eq!(numbers["groups"][0]["runs"][0]["clusterings"].as_array().map(Vec::len), Some(1));
    assert_eq!(numbers["groups"][1]["runs"][0]["clusterings"].as_array().map(Vec::len), Some(2));
    assert_eq!(numbers["differences"]["method"][1], "\"deepcluster\"");
    assert!(numbers["random"]["knn"]["mean"].is_number() && numbers["pixels"]["knn"].is_number());
    // The same question to the same network has one answer, whoever asks.
    let knn = odc(&here, &["eval-knn", "--run", "both/odc-0", "--k", "20", "--json"]).succeeded().json();
    assert_eq!(knn["knn"]["results"][0]["weighted"], numbers["groups"][0]["runs"][0]["scores"]["knn"]);

    let page = std::fs::read_to_string(here.join("both/compare.html")).expect("reads");
    for part in
        ["Online Deep Clustering beside Deep Clustering", "<svg", "Raw pixels", "compare odc deepcluster", "jump"]
    {
        assert!(page.contains(part), "{part}");
    }
    for outside in ["<script", "http://", "https://", "@import", "url(", "NaN", ">inf", " inf<"] {
        assert!(!page.contains(outside), "{outside}");
    }

    let before =
        std::fs::metadata(here.join("both/odc-0/summary.json")).and_then(|file| file.modified()).expect("a file");
    let again = odc(&here, &COMPARE).succeeded();
    assert_eq!(again.stderr.matches("is finished, and used as it is").count(), 2, "{}", again.stderr);
    assert!(!again.stderr.contains("Judging"), "what was judged is kept: {}", again.stderr);
    let after =
        std::fs::metadata(here.join("both/odc-0/summary.json")).and_then(|file| file.modified()).expect("a file");
    assert_eq!((before, &numbers["groups"]), (after, &again.json()["groups"]));

    // As a process leaves them that was killed: one before its last iteration, one before its summary.
    for file in ["odc-0/summary.json", "deepcluster-0/summary.json"] {
        std::fs::remove_file(here.join("both").join(file)).expect("removes");
    }
    std::fs::remove_file(here.join("both/odc-0/checkpoints/iteration-000000016.safetensors")).expect("removes");
    let mended = odc(&here, &COMPARE).succeeded();
    assert!(mended.stderr.contains("Run 1 of 2") && !mended.stderr.contains("used as it is"), "{}", mended.stderr);
    let losses = |numbers: &Value| {
        let groups = numbers["groups"].as_array().cloned().unwrap_or_default();
        groups.iter().map(|group| group["runs"][0]["loss"].clone()).collect::<Vec<Value>>()
    };
    assert_eq!(losses(&mended.json()), losses(&numbers));

    // Runs that are there, without training; and what cannot be compared.
    odc(&here, &["compare", "--runs", "both/odc-0", "both/deepcluster-0", "--out", "page"]).succeeded();
    assert!(here.join("page/compare.html").exists());
    let other = [&COMPARE[..6], &["3"], &COMPARE[7..]].concat();
    odc(&here, &other).failed(2, &["both/odc-0", "training.epochs = 3 (the run has 2)", "--out"]);
    odc(&here, &["train", "--recipe", "tiny", "--epochs", "1", "--set", "model.width=4", "--out", "narrow"])
        .succeeded();
    odc(&here, &["compare", "--runs", "both/odc-0", "narrow"]).failed(2, &["narrow", "model.width is 8 and 4"]);
    odc(&here, &["compare", "--runs", "both/odc-0", "nowhere"]).failed(2, &["nowhere", "does not exist"]);
    odc(&here, &["compare", "odc", "odc"]).failed(2, &["two or more different methods"]);
}

/// Loss, borders, labels and times of a run in compare.json against plain sums over its log.
fn agrees_with_its_log(run: &Value, folder: &Path) {
    let log = folder.join("log.jsonl");
    let lines = read_log(&log).expect("a log");
    let losses: Vec<f64> = lines.iter().map(|line| line.loss).collect();
    assert_eq!((losses.len(), run["iterations"].as_u64()), (16, Some(16)), "every iteration is logged");
    let told: Vec<f64> = run["loss"].as_array().expect("a list").iter().filter_map(|point| point[1].as_f64()).collect();
    assert_eq!(told, losses);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let close = |value: &Value, expected: f64| {
        assert!(value.as_f64().is_some_and(|value| (value - expected).abs() < 1e-9), "{value} {expected}");
    };
    // One border, two iterations on each side; the window of the second epoch is the only one behind the first.
    close(&run["jump_at_borders"], (mean(&losses[8..10]) - mean(&losses[6..8])).abs());
    let second = &losses[8..16];
    close(&run["loss_variance"], second.iter().map(|loss| (loss - mean(second)).powi(2)).sum::<f64>() / 8.0);
    let mut forward: Vec<f64> = lines.iter().map(|line| line.t_forward).collect();
    forward.sort_by(f64::total_cmp);
    close(&run["seconds"]["forward"], (forward[7] + forward[8]) / 2.0 * 8.0);
    let events: Vec<_> =
        read_events(&log).expect("events").into_iter().map(|LogEvent::Clustering(line)| line).collect();
    let last = if events.len() > 1 { events[1].reassigned } else { lines[15].reassigned };
    let told = run["reassigned"].as_array().and_then(|series| series.last()).expect("a point");
    assert_eq!(told[1].as_f64(), last);
}

#[test]
fn one_setting_at_a_time() {
    let (_keep, here) = scratch();
    let words = ["ablate", "--recipe", "tiny", "--epochs", "1", "--only", "rule,small-clusters", "--out", "changes"];
    let listed = odc(&here, &[&words[..], &["--dry-run"]].concat()).succeeded().stdout;
    assert!(listed.contains("3 runs, 3 of them to train") && !here.join("changes").exists(), "{listed}");
    let told = odc(&here, &words).succeeded();
    let table = std::fs::read_to_string(here.join("changes/ablate.md")).expect("reads");
    assert!(told.stdout.contains(&table), "{told:#?}");
    for row in ["the recipe as it is (`base`)", "`small-clusters-off`", "`rule-reference`", "One seed a row"] {
        assert!(table.contains(row), "{row}: {table}");
    }
    let recipe = std::fs::read_to_string(here.join("changes/small-clusters-off-0/recipe.toml")).expect("reads");
    assert!(recipe.contains("min_cluster = 1\n"), "{recipe}");
    let json = std::fs::read_to_string(here.join("changes/ablate.json")).expect("reads");
    let numbers: Value = serde_json::from_str(&json).expect("JSON");
    let lines = read_log(&here.join("changes/base-0/log.jsonl")).expect("a log");
    let sum: f64 =
        lines.iter().zip([5.0, 3.0]).filter_map(|(line, iterations)| Some(line.change_ratio? * iterations)).sum();
    let told = numbers["rows"][0]["change_ratio"]["mean"].as_f64().expect("a number");
    assert!((told - sum / 8.0).abs() < 1e-9, "{told}");

    let again = odc(&here, &words).succeeded();
    assert_eq!(again.stderr.matches("is finished, and used as it is").count(), 3, "{}", again.stderr);
    odc(&here, &["ablate", "--recipe", "tiny", "--only", "colour"]).failed(2, &["colour", "jitter-half"]);
    let other = ["ablate", "--recipe", "tiny", "--epochs", "2", "--only", "rule", "--out", "changes"];
    odc(&here, &other).failed(2, &["changes/base-0", "training.epochs = 2 (the run has 1)"]);
    let many = ["ablate", "--recipe", "tiny", "--set", "memory.min_cluster=11", "--only", "clusters-double"];
    odc(&here, &many).failed(2, &["clusters-double"]);
}
