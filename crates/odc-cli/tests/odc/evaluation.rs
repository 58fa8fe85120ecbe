//! `eval-svm` and `eval-clusters`: tables, JSON, PASCAL VOC folders, and what they refuse.

use std::path::Path;

use crate::support::{odc, scratch};

const RANDOM: [&str; 6] = ["--random", "--width", "8", "--side", "16", "--json"];

#[test]
fn svms_of_one_label_each() {
    let (_keep, here) = scratch();
    let images = ["--data", "shapes", "--limit", "120"];
    let words = ["--random", "--width", "8", "--low-shot", "1,4", "--draws", "2", "--seeds", "2"];
    let table = odc(&here, &[&["eval-svm"], &images[..], &words[..]].concat()).succeeded().stdout;
    for said in [
        "mean average precision of",
        "accuracy of the largest score",
        "features of length 1",
        "Costs: 26 from 1.000e-7 to 100",
        "2 ways to cut the folds",
        "area under precision over recall",
        "so many images of each class",
        "of 2 draws",
        "tested on 120 new ones",
        " ± ",
    ] {
        assert!(table.contains(said), "{said:?} is not said: {table}");
    }
    let few = ["--costs", "0.1,10", "--ap", "voc11", "--low-shot"];
    let limit = ["--limit", "1400"];
    let report =
        odc(&here, &[&["eval-svm", "--data", "shapes"], &RANDOM[..], &few, &limit].concat()).succeeded().json();
    assert_eq!(report["settings"]["average_precision"], "voc11");
    assert_eq!(report["svm"]["train_images"], 1400);
    assert!(report["svm"]["accuracy"]["mean"].is_number());
    let shots: Vec<u64> = report["low_shot"]["results"]
        .as_array()
        .expect("results")
        .iter()
        .filter_map(|result| result["shots"].as_u64())
        .collect();
    assert_eq!(shots, [1, 2, 4, 8, 16, 32, 64, 96]);
    odc(&here, &[&["eval-svm"], &images[..], &RANDOM[..], &["--costs", "0"]].concat()).failed(2, &["costs = 0"]);
    odc(&here, &[&["eval-svm"], &images[..], &RANDOM[..], &["--costs", "1", "--low-shot", "90"]].concat())
        .failed(1, &["low-shot: 90 images", "ask for at most"]);
}

#[test]
fn svms_of_a_voc_folder() {
    let (_keep, here) = scratch();
    write_voc(&here.join("VOC2007"), 24);
    let words = [&["eval-svm", "--data", "VOC2007", "--low-shot", "1,2"], &RANDOM[..]].concat();
    let report = odc(&here, &words).succeeded().json();
    assert_eq!((report["train_images"].as_u64(), report["test_images"].as_u64()), (Some(24), Some(24)));
    assert_eq!(report["settings"]["average_precision"], "voc11");
    assert_eq!(report["low_shot"]["single_label"], false);
    assert!(report["svm"]["accuracy"].is_null());
    let class = &report["svm"]["classes"][1];
    // Of 24 images every third shows a dog; every eighth is to be ignored, of which one in three would have shown one.
    assert_eq!(
        (class["name"].as_str(), class["positives"].as_u64(), class["negatives"].as_u64()),
        (Some("dog"), Some(7), Some(14))
    );
    let lists = ["--data", "VOC2007/ImageSets/Main/test.txt", "--test", "VOC2007/ImageSets/Main/trainval.txt"];
    let report = odc(&here, &[&["eval-svm"], &lists[..], &RANDOM[..]].concat()).succeeded();
    assert_eq!(report.json()["train_images"], 24);
    // Nearest neighbours ask for one label an image.
    odc(&here, &[&["eval-knn", "--data", "VOC2007"], &RANDOM[..]].concat())
        .failed(2, &["--data VOC2007", "several classes each", "eval-svm"]);
}

#[test]
fn clusters_against_labels_and_other_clusters() {
    let (_keep, here) = scratch();
    odc(&here, &["train", "--recipe", "tiny", "--out", "run"]).succeeded();
    let table = odc(&here, &["eval-clusters", "run"]).succeeded().stdout;
    for said in ["run/clusters.csv: 240 images in 12 clusters", "NMI", "ARI", "purity", "Hungarian accuracy"] {
        assert!(table.contains(said), "{said:?} is not said: {table}");
    }
    let report = odc(&here, &["eval-clusters", "--run", "run", "--against", "run", "--json"]).succeeded().json();
    assert_eq!(report["against_score"]["ari"], 1.0);
    assert_eq!(report["true_labels"]["n_samples"], 240);
    let checkpoint =
        std::fs::read_dir(here.join("run/checkpoints")).expect("lists").next().expect("one").expect("one").path();
    let checkpoint = checkpoint.to_string_lossy().into_owned();
    let report = odc(&here, &["eval-clusters", &checkpoint, "--against", "run", "--json"]).succeeded().json();
    assert_eq!(report["true_labels"]["n_samples"], 240);
    assert!(report["clusters"].as_str().is_some_and(|about| about.contains("iterations")));
    assert!(report["against_score"]["nmi"].as_f64().is_some_and(|nmi| nmi > 0.2));

    let write = |name: &str, text: &str| std::fs::write(here.join(name), text).expect("writes");
    write("a.csv", "index,name,cluster,true_label\n0,x,7,cat\n1,y,7,cat\n2,z,9,dog\n3,w,9,\n");
    write("b.csv", "cluster,index\n3,3\n3,2\n1,1\n");
    let report = odc(&here, &["eval-clusters", "a.csv", "--against", "b.csv", "--json"]).succeeded().json();
    assert_eq!(
        (report["true_labels"]["purity"].as_f64(), report["true_labels"]["n_unlabelled"].as_u64()),
        (Some(100.0), Some(1))
    );
    assert_eq!(
        (report["against_score"]["nmi"].as_f64(), report["against_score"]["n_samples"].as_u64()),
        (Some(1.0), Some(3))
    );
    odc(&here, &["eval-clusters", "b.csv"]).failed(2, &["b.csv", "none of 3 images has a true label", "--against"]);
    write("c.csv", "index,name,cluster\n0,other,1\n");
    odc(&here, &["eval-clusters", "a.csv", "--against", "c.csv"])
        .failed(1, &["image 0 is x in a.csv and other in c.csv"]);
    write("d.csv", "index,cluster\n90,1\n");
    odc(&here, &["eval-clusters", "a.csv", "--against", "d.csv"]).failed(1, &["no image in common"]);
    write("e.csv", "path,label\nx,1\n");
    odc(&here, &["eval-clusters", "e.csv"]).failed(1, &["e.csv", "index, name, cluster and true_label"]);
    odc(&here, &["eval-clusters", "nowhere.csv"]).failed(1, &["nowhere.csv"]);
    odc(&here, &["eval-clusters", "."]).failed(2, &["recipe.toml"]);
    odc(&here, &["eval-clusters"]).failed(2, &["PATH"]);
}

/// Two splits of `images` pictures of noise each; every second shows a cat, every third a dog, every eighth is to be
/// ignored for dogs.
fn write_voc(root: &Path, images: usize) {
    let (main, pictures) = (root.join("ImageSets/Main"), root.join("JPEGImages"));
    std::fs::create_dir_all(&main).expect("a folder");
    std::fs::create_dir_all(&pictures).expect("a folder");
    for (split, first) in [("trainval", 0), ("test", images)] {
        let (mut list, mut cats, mut dogs) = (String::new(), String::new(), String::new());
        for index in 0..images {
            let id = format!("{:06}", first + index);
            // The decoder looks at the bytes, not at the name.
            std::fs::write(pictures.join(format!("{id}.jpg")), odc_testkit::bmp(20, (first + index) as u64))
                .expect("writes");
            let sign = |shows: bool| if shows { " 1" } else { "-1" };
            list += &format!("{id}\n");
            cats += &format!("{id} {}\n", sign(index.is_multiple_of(2)));
            dogs += &format!("{id} {}\n", if index % 8 == 6 { " 0" } else { sign(index.is_multiple_of(3)) });
        }
        for (name, text) in
            [(format!("{split}.txt"), list), (format!("cat_{split}.txt"), cats), (format!("dog_{split}.txt"), dogs)]
        {
            std::fs::write(main.join(name), text).expect("writes");
        }
    }
}
