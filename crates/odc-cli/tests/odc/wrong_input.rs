//! What a user gets wrong: one clear message and the right exit code.

use crate::support::{command, odc, scratch, write_images};

#[test]
fn what_to_train_on_is_not_there_or_not_images() {
    let (_keep, here) = scratch();
    odc(&here, &["train", "--data", "no/such/folder"]).failed(1, &["no/such/folder", "no such file or folder"]);
    std::fs::create_dir(here.join("empty")).expect("a folder");
    odc(&here, &["train", "--data", "empty"]).failed(1, &["empty"]);
    std::fs::write(here.join("notes.docx"), b"words").expect("writes");
    odc(&here, &["train", "--data", "notes.docx"]).failed(1, &["notes.docx"]);
    std::fs::create_dir(here.join("broken")).expect("a folder");
    for image in 0..30 {
        std::fs::write(here.join(format!("broken/{image}.jpg")), b"no picture").expect("writes");
    }
    let words = ["train", "--data", "broken", "--set", "data.side=16", "--arch", "resnet18", "--set", "model.width=8"];
    odc(&here, &words).failed(1, &["none of 30 images can be decoded", "0.jpg"]);
    write_images(&here.join("broken"), 1, 10);
    odc(&here, &words)
        .failed(1, &["30 of 40 images cannot be decoded", "data.max_bad_share = 0.5", "--set data.max_bad_share=0.75"]);
    assert!(!here.join("runs").exists(), "a run that did not begin leaves nothing");
}

#[test]
fn instructions_that_there_are_not() {
    let (_keep, here) = scratch();
    let output = command(&here, &["train", "--recipe", "tiny", "--out", "run"]).env("ODC_SIMD", "sse9").output();
    let output = output.expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("ODC_SIMD=sse9") && said.contains("portable") && !said.contains("panicked"), "{said}");
    assert!(!here.join("run").exists());
}

#[test]
fn settings_that_cannot_work() {
    let (_keep, here) = scratch();
    let train = |words: &[&str]| odc(&here, &[&["train", "--recipe", "tiny", "--out", "run"], words].concat());
    train(&["--clusters", "500"]).failed(2, &["500", "240"]);
    train(&["--clusters", "0"]).failed(2, &["clusters"]);
    train(&["--clusters", "many"]).failed(2, &["--clusters", "many"]);
    train(&["--batch-size", "1"]).failed(2, &["training.batch_size = 1"]);
    train(&["--epochs", "0"]).failed(2, &["training.epochs"]);
    train(&["--lr=-1"]).failed(2, &["optimizer.lr = -1"]);
    train(&["--lr", "nan"]).failed(2, &["optimizer.lr = NaN"]);
    train(&["--seed", "18446744073709551615"]).failed(2, &["--seed"]);
    train(&["--arch", "resnet51"]).failed(2, &["resnet51", "resnet50"]);
    train(&["--set", "memory.momentun=0.5"]).failed(2, &["memory.momentun", "unknown field"]);
    train(&["--set", "memory.momentum=high"]).failed(2, &["memory.momentum=high"]);
    train(&["--set", "memory.momentum"]).failed(2, &["table.key=value"]);
    train(&["--set", "memory.rule=mine"]).failed(2, &["memory.rule", "paper", "reference"]);
    train(&["--device", "cuda"]).failed(2, &["--device cuda", "cpu"]);
    train(&["--threads", "0"]).failed(2, &["--threads 0"]);
    train(&["--unknown-flag"]).failed(2, &["--unknown-flag"]);
    odc(&here, &["fly"]).failed(2, &["fly"]);
    odc(&here, &["train", "--recipe", "nowhere.toml"])
        .failed(2, &["nowhere.toml", "shapes, shapes-palettes, shapes-palettes-plain, cifar10, cifar10-deepcluster"]);
    std::fs::write(here.join("mine.toml"), "[memory]\ncluster = 3\n").expect("writes");
    odc(&here, &["train", "--recipe", "mine.toml"]).failed(2, &["mine.toml", "cluster"]);
    assert!(!here.join("run").exists(), "nothing was begun");
}

#[test]
fn going_on_with_what_is_not_there() {
    let (_keep, here) = scratch();
    odc(&here, &["train", "--resume"]).failed(2, &["--resume"]);
    odc(&here, &["train", "--resume", "a", "--out", "b"]).failed(2, &["different folders"]);
    odc(&here, &["train", "--resume", "nowhere"]).failed(2, &["nowhere", "holds no run"]);
    odc(&here, &["assign", "--run", "nowhere"]).failed(2, &["nowhere", "does not exist"]);
    odc(&here, &["eval-knn", "--run", "."]).failed(2, &["recipe.toml"]);
    odc(&here, &["eval-knn"]).failed(2, &["--run", "--weights", "--random"]);
    odc(&here, &["eval-knn", "--random"]).failed(2, &["--data"]);
    odc(&here, &["info", "nowhere"]).failed(1, &["nowhere"]);
}

#[test]
fn weights_that_are_none_or_another_network_s() {
    let (_keep, here) = scratch();
    odc(&here, &["train", "--recipe", "tiny", "--epochs", "1", "--out", "run"]).succeeded();
    let of_run = "run/backbone.safetensors";
    let begin = ["train", "--recipe", "tiny", "--out", "other", "--set", "model.init_from=run/backbone.safetensors"];
    odc(&here, &[&begin[..], &["--arch", "resnet50"]].concat()).failed(1, &[of_run, "resnet18", "resnet50"]);
    assert!(!here.join("other").exists());
    let knn = ["eval-knn", "--data", "shapes", "--limit", "60", "--weights"];
    odc(&here, &[&knn[..], &[of_run, "--arch", "resnet34"]].concat()).failed(1, &[of_run, "resnet34"]);
    std::fs::write(here.join("text.safetensors"), b"no weights at all").expect("writes");
    odc(&here, &[&knn[..], &["text.safetensors"]].concat()).failed(1, &["text.safetensors"]);
    odc(&here, &["info", "text.safetensors"]).failed(1, &["text.safetensors"]);
    odc(&here, &[&knn[..], &["nowhere.safetensors"]].concat()).failed(1, &["nowhere.safetensors"]);

    // A checkpoint cut short, as a failing disk leaves it.
    for checkpoint in std::fs::read_dir(here.join("run/checkpoints")).expect("lists") {
        std::fs::write(checkpoint.expect("a file").path(), b"half").expect("writes");
    }
    odc(&here, &["extract", "--run", "run", "--features", "neck"]).failed(1, &["checkpoint", "iteration-"]);
    odc(&here, &["extract", "--weights", of_run, "--data", "shapes", "--features", "neck"]).failed(2, &["--run"]);
}

#[test]
fn images_without_labels_cannot_be_scored() {
    let (_keep, here) = scratch();
    write_images(&here.join("sorted"), 1, 12);
    std::fs::rename(here.join("sorted/class-0"), here.join("flat")).expect("moves");
    let words = ["eval-knn", "--random", "--width", "8", "--side", "16", "--data", "flat"];
    odc(&here, &words).failed(2, &["--data flat", "no true labels"]);
}

#[cfg(unix)]
#[test]
fn folders_that_cannot_be_written_and_disks_that_are_full() {
    let (_keep, here) = scratch();
    std::fs::write(here.join("file"), b"").expect("writes");
    odc(&here, &["train", "--recipe", "tiny", "--out", "file"]).failed(2, &["--out file"]);
    odc(&here, &["train", "--recipe", "tiny", "--out", "file/run"]).failed(1, &["file/run"]);
    odc(&here, &["train", "--recipe", "tiny", "--out", "/proc/odc-run"]).failed(1, &["/proc/odc-run"]);
    odc(&here, &["train", "--recipe", "tiny", "--epochs", "1", "--out", "run"]).succeeded();
    odc(&here, &["assign", "--run", "run", "--out", "file/x.csv"]).failed(1, &["file/x.csv"]);
    if std::path::Path::new("/dev/full").exists() {
        odc(&here, &["assign", "--run", "run", "--out", "/dev/full"]).failed(1, &["/dev/full", "Free some space"]);
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("opens");
        let status = command(&here, &["assign", "--run", "run"]).stdout(full).status().expect("starts");
        assert_eq!(status.code(), Some(1));
    }
}
