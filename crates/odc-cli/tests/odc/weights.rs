//! Weights of other programs, and AlexNet, from the command line.

use odc_testkit::golden_directory;

use crate::support::{odc, scratch};

/// A file of tests/golden/foreign: ResNet-18 of width 1 with the stem `small`.
fn foreign(name: &str) -> String {
    golden_directory().join("foreign").join(name).display().to_string()
}

#[test]
fn a_run_starts_from_another_method_s_weights_and_says_whose() {
    let (_keep, here) = scratch();
    let file = foreign("moco_legacy.pth");
    let begin = ["train", "--recipe", "tiny", "--epochs", "1", "--init-from", &file, "--set", "model.stem=small"];
    let wide = odc(&here, &[&begin[..], &["--out", "run", "--set", "model.width=2"]].concat());
    wide.failed(1, &["moco_legacy.pth", "resnet18 of width 1", "resnet18 of width 2", "layer4.1.bn2.running_var"]);
    assert!(!here.join("run").exists());
    let run = odc(&here, &[&begin[..], &["--out", "run", "--set", "model.width=1"]].concat()).succeeded();
    assert!(run.stderr.contains("120 of the network's 120 tensors fit") && run.stderr.contains("MoCo's"), "{run:#?}");
    let recipe = std::fs::read_to_string(here.join("run/recipe.toml")).expect("reads");
    assert!(recipe.contains("moco_legacy.pth") && recipe.contains("init_share = 1.0"), "{recipe}");
    // The settings belong to the run, so they may stand beside --resume.
    odc(&here, &["train", "--resume", "run", "--init-from", &file]).succeeded();
}

#[test]
fn pytorch_files_are_described_and_evaluated() {
    let (_keep, here) = scratch();
    let told = odc(&here, &["info", &foreign("dino.pth")]).succeeded();
    for said in ["resnet18 of width 1 with stem cifar or small", "DINO's, of the teacher", "student.module.backbone."] {
        assert!(told.stdout.contains(said), "{said:?} is not said: {told:#?}");
    }
    let told = odc(&here, &["info", &foreign("half.pth"), "--json"]).succeeded().json();
    assert_eq!(told["tensors"][0]["dtype"], "F16");
    let knn = |file: &str, more: &[&str]| {
        let words = ["eval-knn", "--json", "--data", "shapes", "--limit", "60", "--stem", "small", "--weights", file];
        odc(&here, &[&words[..], more].concat())
    };
    let expected = knn(&foreign("torchvision.safetensors"), &[]).succeeded().json();
    for name in ["mmselfsup.pth", "lightly.pth", "swav_parameters.pth"] {
        assert_eq!(knn(&foreign(name), &[]).succeeded().json()["knn"], expected["knn"], "{name}");
    }
    knn(&foreign("mmselfsup.pth"), &["--bgr"]).succeeded();
    knn(&foreign("mmselfsup.pth"), &["--arch", "resnet50"]).failed(1, &["mmselfsup.pth", "resnet18", "resnet50"]);
    odc(&here, &["info", &foreign("command_only.pth")]).failed(1, &["command_only.pth", "state_dict()"]);
}

#[test]
fn alexnet_behind_sobel_s_filters_trains_and_its_file_says_so() {
    let (_keep, here) = scratch();
    let network = ["--arch", "alexnet", "--set", "model.width=4", "--set", "model.sobel=true"];
    let begin = [&["train", "--recipe", "tiny", "--epochs", "1"], &network[..]].concat();
    let imagenet = odc(&here, &[&begin[..], &["--out", "run", "--set", "model.stem=imagenet"]].concat());
    imagenet.failed(2, &["data.side = 32", "63 pixels"]);
    odc(&here, &[&begin[..], &["--out", "run", "--set", "model.stem=cifar"]].concat()).succeeded();
    let told = odc(&here, &["info", "run/backbone.safetensors"]).succeeded();
    for said in ["alexnet of width 4 with stem cifar behind Sobel's filters (by its header)", "sobel.1.weight"] {
        assert!(told.stdout.contains(said), "{said:?} is not said: {told:#?}");
    }
    let weights = ["--weights", "run/backbone.safetensors", "--view", "resize"];
    let labelled = ["--data", "shapes", "--limit", "60", "--json"];
    odc(&here, &[&["eval-knn"], &weights[..], &labelled[..]].concat()).succeeded();
    odc(&here, &[&["eval-knn", "--run", "run"], &labelled[..]].concat()).succeeded();
}
