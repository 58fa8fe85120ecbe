//! The probes of a network by the program: stages, seeds, views, cache, few labels.

use crate::support::{odc, scratch};

/// A network at random that sees little.
const NETWORK: [&str; 9] = ["--random", "--width", "4", "--side", "16", "--data", "shapes", "--limit", "120"];

#[test]
fn stages_are_judged_from_one_pass_that_the_cache_keeps() {
    let (_keep, here) = scratch();
    let words = ["eval-linear", "--stages", "--seeds", "2", "--epochs", "2", "--stage-epochs", "3", "--cache", "kept"];
    let words = [&words[..], &NETWORK].concat();
    let first = odc(&here, &[&words[..], &["--json"]].concat()).succeeded().json();
    let stages = first["stages"]["results"].as_array().expect("stages");
    let layers: Vec<&str> = stages.iter().filter_map(|stage| stage["layer"].as_str()).collect();
    assert_eq!(layers, ["stage 1", "stage 2", "stage 3", "stage 4", "stage 5"]);
    assert_eq!(first["stages"]["schedule"]["milestones"], serde_json::json!([1, 2]));
    for outcome in stages.iter().chain([&first["published_protocol"]]) {
        let top1 = &outcome["top1"];
        let values: Vec<f64> = top1["values"].as_array().expect("two").iter().filter_map(|v| v.as_f64()).collect();
        assert_eq!(values.len(), 2);
        assert!((top1["mean"].as_f64().expect("a mean") - (values[0] + values[1]) / 2.0).abs() < 1e-9);
    }
    assert_eq!(std::fs::read_dir(here.join("kept")).expect("lists").count(), 12, "six layers of two sets");

    let again = odc(&here, &words).succeeded();
    for said in ["stage 5", " ± ", "Nesterov", "mean and deviation over 2 seeds", "logistic regression"] {
        assert!(again.stdout.contains(said), "{said:?} is not said: {again:#?}");
    }
    let mean = stages[2]["top1"]["mean"].as_f64().expect("a mean");
    assert!(again.stdout.contains(&format!("{mean:.2} ±")), "kept features give the same numbers: {again:#?}");
    odc(&here, &[&["eval-knn", "--cache", "kept"], &NETWORK[..]].concat()).succeeded();
    assert_eq!(std::fs::read_dir(here.join("kept")).expect("lists").count(), 12, "the vectors were there");
    odc(&here, &[&["eval-svm", "--costs", "1", "--cache", "kept"], &NETWORK[..]].concat()).succeeded();
    assert_eq!(std::fs::read_dir(here.join("kept")).expect("lists").count(), 12, "for SVMs, too");

    let views = [&["eval-linear", "--epochs", "2", "--views", "2", "--json"], &NETWORK[..]].concat();
    let views = odc(&here, &views).succeeded().json();
    assert_eq!(views["views"], 2);
    assert!(views["stages"].is_null());
    assert_ne!(views["published_protocol"]["results"][0], first["published_protocol"]["results"][0]);
    assert_eq!(views["logistic_regression"], first["logistic_regression"], "that is of the plain view");

    odc(&here, &[&["extract", "--features", "stage3", "--out", "x.npy"], &NETWORK[..]].concat()).succeeded();
    let npy = std::fs::read(here.join("x.npy")).expect("reads");
    let shape = format!("(120, {})", stages[2]["dim"]);
    assert!(String::from_utf8_lossy(&npy[..128]).contains(&shape), "{shape}");
}

#[test]
fn stages_of_alexnet_are_judged_beside_its_vector() {
    let (_keep, here) = scratch();
    let words =
        ["eval-linear", "--stages", "--epochs", "2", "--stage-epochs", "3", "--arch", "alexnet", "--stem", "small"];
    let network = ["--random", "--width", "4", "--side", "32", "--data", "shapes", "--limit", "60", "--json"];
    let told = odc(&here, &[&words[..], &network].concat()).succeeded().json();
    assert_eq!(told["stages"]["results"].as_array().map(Vec::len), Some(5));
    assert_eq!(told["dim"], 256, "of the second fully connected layer");
}

#[test]
fn few_labels_by_the_program() {
    let (_keep, here) = scratch();
    let words =
        ["eval-finetune", "--labels", "0.05,0.5", "--lr", "0.01,0.05", "--head-multiplier", "2", "--epochs", "2"];
    let words = [&words[..], &NETWORK].concat();
    let told = odc(&here, &[&words[..], &["--json"]].concat()).succeeded().json();
    let reports = told["fine_tuning"].as_array().expect("two shares");
    assert_eq!((reports[0]["share"].as_f64(), reports[1]["share"].as_f64()), (Some(0.05), Some(0.5)));
    assert_eq!(reports[0]["grid"].as_array().map(Vec::len), Some(2));
    assert_eq!(told["schedule"]["milestones"], serde_json::json!([1, 1]));
    let said = odc(&here, &words).succeeded().stdout;
    for word in
        ["learning rate", "× 2", "5 % of the labels", "50 % of the labels", "too few to hold some out", "2 epochs"]
    {
        assert!(said.contains(word), "{word:?} is not said: {said}");
    }
}

#[test]
fn probes_that_make_no_sense_are_wrong_use() {
    let (_keep, here) = scratch();
    let refused = |words: &[&str], said: &[&str]| {
        odc(&here, &[words, &NETWORK].concat()).failed(2, said);
    };
    refused(&["eval-linear", "--stages", "--memory", "0.0001"], &["GiB", "--memory allows 0.0001", "--limit"]);
    for command in ["eval-linear", "eval-svm", "eval-finetune"] {
        refused(&[command, "--seeds", "0"], &["invalid value '0' for '--seeds", "1..=1000"]);
    }
    refused(&["eval-linear", "--stage-epochs", "5"], &["--stages"]);
    refused(&["eval-finetune", "--labels", "1.5"], &["labels = 1.5", "at most 1"]);
    refused(&["eval-finetune", "--lr", "0"], &["learning_rates = 0"]);
    std::fs::write(here.join("file"), b"").expect("writes");
    odc(&here, &[&["eval-knn", "--cache", "file"], &NETWORK[..]].concat()).failed(1, &["cannot write file"]);
}

#[test]
fn labels_of_shapes_are_palettes_where_that_is_asked() {
    let (_keep, here) = scratch();
    let of = |words: &[&str]| odc(&here, &[&["eval-linear", "--json", "--epochs", "2"], &NETWORK[..], words].concat());
    let palette = of(&["--shapes-colors", "palettes", "--shapes-label", "palette"]).succeeded().json();
    assert_eq!(palette["logistic_regression"]["result"]["classes"], 6, "{palette}");
    let shape = of(&["--shapes-colors", "palettes"]).succeeded().json();
    assert_eq!(shape["logistic_regression"]["result"]["classes"], 12, "{shape}");
    of(&["--shapes-label", "palette"]).failed(2, &["shapes_label = palette", "shapes_colors = palettes"]);
    of(&["--shapes-label", "hue"]).failed(2, &["shape or palette"]);
}
