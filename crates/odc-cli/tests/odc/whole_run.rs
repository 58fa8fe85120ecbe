//! From the first command to the last one, with a network that is too small to learn much.

use crate::support::{odc, scratch, write_images};

#[test]
fn a_run_of_shapes_from_training_to_assignment() {
    let (_keep, here) = scratch();
    let trained = odc(&here, &["train", "--recipe", "tiny"]).succeeded();
    let run = here.join("runs/shapes-1");
    for file in [
        "recipe.toml",
        "log.jsonl",
        "tensorboard",
        "checkpoints",
        "backbone.safetensors",
        "clusters.csv",
        "summary.json",
    ] {
        assert!(run.join(file).exists(), "{file}");
    }
    for said in ["240 images", "12", "resnet18", "NMI", "change", "guessing gives 2.48", "images/s", "left"] {
        assert!(trained.stderr.contains(said), "{said:?} is not said: {trained:#?}");
    }
    for said in ["kNN accuracy", "NMI", "before", "after", "runs/shapes-1", "Next: odc eval-linear --run runs/shapes-1"]
    {
        assert!(trained.stdout.contains(said), "{said:?} is not said: {trained:#?}");
    }

    let told = odc(&here, &["info", "runs/shapes-1"]).succeeded();
    assert!(told.stdout.contains("finished; iteration 24 of 24"), "{told:#?}");
    let told = odc(&here, &["info", "--run", "runs/shapes-1", "--json"]).succeeded().json();
    assert_eq!(told["recipe"]["memory"]["clusters"], 12);
    assert_eq!(told["finished"], true);
    let told = odc(&here, &["info", "runs/shapes-1/backbone.safetensors"]).succeeded();
    assert!(told.stdout.contains("resnet18 of width 8 with stem small") && told.stdout.contains("conv1.weight"));

    let knn = odc(&here, &["eval-knn", "--run", "runs/shapes-1", "--k", "5,500", "--json"]).succeeded().json();
    assert_eq!(knn["knn"]["results"][1]["neighbours"], 240);
    assert_eq!(knn["test_images"], 240);
    let linear = odc(&here, &["eval-linear", "--run", "runs/shapes-1", "--epochs", "2"]).succeeded();
    assert!(
        linear.stdout.contains("logistic regression, weight decay") && linear.stdout.contains("SGD"),
        "{linear:#?}"
    );
    let weights =
        ["--weights", "runs/shapes-1/backbone.safetensors", "--data", "shapes", "--limit", "60", "--view", "resize"];
    let knn = odc(&here, &[&["eval-knn", "--json"], &weights[..]].concat()).succeeded().json();
    assert_eq!(knn["side"], 32);
    odc(&here, &["eval-knn", "--random", "--arch", "resnet18", "--width", "8", "--data", "shapes", "--limit", "60"])
        .succeeded();

    odc(&here, &["extract", "--run", "runs/shapes-1", "--out", "x.npy"]).succeeded();
    let npy = std::fs::read(here.join("x.npy")).expect("reads");
    assert!(npy.starts_with(b"\x93NUMPY") && String::from_utf8_lossy(&npy[..128]).contains("(240, 64)"));
    odc(&here, &["extract", "--run", "runs/shapes-1", "--out", "x.parquet", "--features", "neck"]).succeeded();
    assert!(std::fs::read(here.join("x.parquet")).expect("reads").starts_with(b"PAR1"));
    odc(&here, &["extract", "--run", "runs/shapes-1", "--out", "x"]).succeeded();
    let names = std::fs::read_to_string(here.join("x/names.csv")).expect("reads");
    assert_eq!(names.lines().count(), 241);

    let own = odc(&here, &["assign", "--run", "runs/shapes-1"]).succeeded();
    let stored = std::fs::read_to_string(run.join("clusters.csv")).expect("reads");
    assert_eq!(own.stdout, stored);
    let others =
        odc(&here, &["assign", "--run", "runs/shapes-1", "--data", "shapes", "--limit", "30", "--out", "new.csv"]);
    others.succeeded();
    let table = std::fs::read_to_string(here.join("new.csv")).expect("reads");
    let clusters: Vec<u32> = table
        .lines()
        .skip(1)
        .map(|row| row.split(',').nth(2).and_then(|cell| cell.parse().ok()).expect("a cluster"))
        .collect();
    assert_eq!(clusters.len(), 30);
    assert!(clusters.iter().all(|cluster| *cluster < 12));

    let again = odc(&here, &["train", "--resume", "runs/shapes-1"]).succeeded();
    assert!(again.stdout.contains("kNN accuracy") && again.stderr.contains("finished"), "{again:#?}");
    let refused = ["train", "--resume", "runs/shapes-1", "--epochs", "9", "--set", "memory.momentum=0.25"];
    odc(&here, &refused)
        .failed(2, &["training.epochs = 9 (the run has 3)", "memory.momentum = 0.25 (the run has 0.5)"]);
    odc(&here, &["train", "--recipe", "tiny", "--out", "runs/shapes-1"])
        .failed(2, &["already holds a run", "--resume"]);
    let second = odc(&here, &["train", "--recipe", "tiny", "--epochs", "1", "--json"]).succeeded().json();
    assert_eq!(second["run"], "runs/shapes-2");
    assert_eq!(second["finished"], true);
    assert!(second["after"]["knn"].is_number());
}

#[test]
fn a_folder_of_images_with_one_that_is_broken() {
    let (_keep, here) = scratch();
    write_images(&here.join("photos"), 3, 16);
    std::fs::write(here.join("photos/class-1/broken.png"), b"no picture").expect("writes");
    let words = [
        "train",
        "--data",
        "photos",
        "--arch",
        "resnet18",
        "--epochs",
        "1",
        "--out",
        "run",
        "--seed",
        "3",
        "--threads",
        "2",
        "--set",
        "model.width=8",
        "--set",
        "data.side=16",
        "--set",
        "model.hidden=16",
        "--set",
        "model.dim=8",
    ];
    let trained = odc(&here, &words).succeeded();
    assert!(trained.stdout.contains("48 images") && trained.stdout.contains("skipped.csv"), "{trained:#?}");
    assert!(trained.stderr.contains("1 image could not be read"), "{trained:#?}");
    assert!(trained.stdout.contains("kNN accuracy"), "{trained:#?}");
    let table = odc(&here, &["assign", "--run", "run"]).succeeded().stdout;
    assert_eq!(table.lines().count(), 49);
    assert!(table.contains("class-2") && !table.contains("broken"));

    // Another folder lacks a class: labels are compared by the names of classes, not by their numbers.
    write_images(&here.join("test"), 3, 4);
    std::fs::remove_dir_all(here.join("test/class-0")).expect("removes");
    let knn = odc(&here, &["eval-knn", "--run", "run", "--test", "test", "--k", "3", "--json"]).succeeded().json();
    assert_eq!((knn["train_images"].as_u64(), knn["test_images"].as_u64()), (Some(48), Some(8)));
    let held_out = odc(&here, &["eval-knn", "--run", "run", "--k", "3"]).succeeded().stdout;
    assert!(held_out.contains("one image in five, held out"), "{held_out}");
}

#[test]
fn help_teaches() {
    let (_keep, here) = scratch();
    let help = odc(&here, &["--help"]).succeeded().stdout;
    assert!(help.contains("without labels") && help.contains("eval-linear") && help.contains("Exit codes"), "{help}");
    for command in [
        "train",
        "eval-linear",
        "eval-knn",
        "eval-finetune",
        "eval-svm",
        "eval-clusters",
        "extract",
        "assign",
        "info",
        "compare",
        "ablate",
    ] {
        let help = odc(&here, &[command, "--help"]).succeeded().stdout;
        assert!(help.contains("Examples"), "{command}: {help}");
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    use crate::support::command;
    let (_keep, here) = scratch();
    let mut child = command(&here, &["train", "--help"]).spawn().expect("starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("ends").code().is_some_and(|code| code == 0));
}
