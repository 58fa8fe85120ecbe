//! Runs of the other methods, and every command that looks at one.

use crate::support::{odc, scratch};

#[test]
fn deep_clustering_from_the_first_image_to_clusters_of_new_ones() {
    let (_keep, here) = scratch();
    let words = ["train", "--recipe", "tiny", "--method", "deepcluster", "--out", "run"];
    let trained = odc(&here, &words).succeeded();
    for said in ["by Deep Clustering", "anew before each epoch", "gives 64 numbers", "NMI"] {
        assert!(trained.stderr.contains(said), "{said:?} is not said: {trained:#?}");
    }
    assert!(!trained.stderr.contains("change"), "{trained:#?}");
    assert!(trained.stdout.contains("into 12 clusters") && trained.stdout.contains("clusters.csv"), "{trained:#?}");
    assert!(!trained.stdout.contains("change ratio"), "{trained:#?}");
    let told = odc(&here, &["info", "run"]).succeeded().stdout;
    assert!(told.contains("Deep Clustering") && told.contains("64 features") && told.contains("clusters of"), "{told}");
    let told = odc(&here, &["info", "run", "--json"]).succeeded().json();
    assert_eq!((&told["recipe"]["method"], &told["summary"]["method"]), (&"deepcluster".into(), &"deepcluster".into()));

    odc(&here, &["eval-knn", "--run", "run", "--k", "5", "--json"]).succeeded();
    odc(&here, &["eval-linear", "--run", "run", "--epochs", "2"]).succeeded();
    odc(&here, &["extract", "--run", "run", "--out", "x.npy"]).succeeded();
    odc(&here, &["extract", "--run", "run", "--features", "neck"]).failed(2, &["Deep Clustering has no neck", "pool"]);
    let own = odc(&here, &["assign", "--run", "run"]).succeeded();
    assert_eq!(own.stdout, std::fs::read_to_string(here.join("run/clusters.csv")).expect("reads"));
    let others = odc(&here, &["assign", "--run", "run", "--data", "shapes", "--limit", "30"]).succeeded().stdout;
    let clusters: Vec<u32> = others
        .lines()
        .skip(1)
        .map(|row| row.split(',').nth(2).and_then(|cell| cell.parse().ok()).expect("a cluster"))
        .collect();
    assert!(clusters.len() == 30 && clusters.iter().all(|cluster| *cluster < 12), "{others}");
    let checkpoints = odc_trainer::checkpoints(&here.join("run"));
    let newest = checkpoints.last().expect("a checkpoint").to_string_lossy().into_owned();
    let told = odc(&here, &["eval-clusters", "run", "--against", &newest, "--json"]).succeeded().json();
    assert_eq!(told["against_score"]["hungarian_accuracy"], 100.0, "{told}");
    odc(&here, &["train", "--resume", "run", "--method", "odc"]).failed(2, &["method = \"odc\" (the run has"]);
}

#[test]
fn rotation_prediction_has_features_and_no_clusters() {
    let (_keep, here) = scratch();
    let words = ["train", "--recipe", "tiny", "--method", "rotation", "--epochs", "2", "--out", "run"];
    let trained = odc(&here, &words).succeeded();
    for said in ["by rotation prediction", "guessing gives 1.39", "accuracy"] {
        assert!(trained.stderr.contains(said), "{said:?} is not said: {trained:#?}");
    }
    assert!(trained.stdout.contains("accuracy of rotations") && !trained.stdout.contains("cluster"), "{trained:#?}");
    assert!(!here.join("run/clusters.csv").exists());
    let told = odc(&here, &["info", "run"]).succeeded().stdout;
    assert!(told.contains("rotation prediction") && told.contains("accuracy") && !told.contains("cluster"), "{told}");
    let knn = odc(&here, &["eval-knn", "--run", "run", "--k", "5", "--json"]).succeeded().json();
    assert_eq!(knn["dim"], 64);
    odc(&here, &["eval-linear", "--run", "run", "--epochs", "2"]).succeeded();
    odc(&here, &["extract", "--run", "run", "--out", "x.npy"]).succeeded();
    odc(&here, &["extract", "--run", "run", "--features", "neck"]).failed(2, &["rotation prediction has no neck"]);
    odc(&here, &["assign", "--run", "run"]).failed(2, &["rotation prediction has no clusters", "extract"]);
    odc(&here, &["eval-clusters", "run"]).failed(2, &["rotation prediction learns without any"]);
    odc(&here, &["train", "--recipe", "tiny", "--method", "colours"]).failed(2, &["colours", "deepcluster"]);
    let summary = odc(&here, &["train", "--resume", "run", "--json"]).succeeded().json();
    assert!(summary["n_clusters"].is_null() && summary["accuracy_first_last"].is_array(), "{summary}");
}
