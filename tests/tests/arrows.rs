//! The arrows between the crates, as docs/ARCHITECTURE.md draws them, against what `cargo metadata` says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Crate → the crates that its arrows point to. What lies further down those arrows may be used, too.
const ARROWS: &[(&str, &[&str])] = &[
    ("odc-cli", &["odc-trainer"]),
    ("odc-trainer", &["odc-eval", "odc-kmeans", "odc-model", "odc-data"]),
    ("odc-eval", &["odc-model", "odc-data", "odc-ops"]),
    ("odc-kmeans", &["odc-memory"]),
    ("odc-model", &["odc-ops"]),
    ("odc-memory", &["odc-kernels"]),
    ("odc-ops", &["odc-kernels"]),
    ("odc-kernels", &[]),
    ("odc-data", &[]),
];

/// What a crate must not know: (crates, a dependency they must not have, why).
const STRANGERS: &[(&[&str], &str, &str)] = &[
    (&["odc-data", "odc-kernels", "odc-memory", "odc-kmeans"], "candle-core", "it works on slices, not on tensors"),
    (&["odc-kernels", "odc-memory", "odc-kmeans", "odc-ops", "odc-model"], "image", "only odc-data knows images"),
    (&["odc-trainer"], "clap", "only the program has a command line"),
];

#[test]
fn arrows_point_down_as_drawn() {
    let dependencies = normal_dependencies();
    let ours: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    for name in &ours {
        let reachable = reachable_from(name);
        let used = dependencies.get(*name).unwrap_or_else(|| panic!("the workspace has no crate {name}"));
        for used in used.iter().filter(|used| used.starts_with("odc-")) {
            assert!(
                reachable.contains(used.as_str()),
                "{name} depends on {used}, which is not below it: a new arrow is a decision (docs/ARCHITECTURE.md)"
            );
        }
    }
    for name in dependencies.keys().filter(|name| name.starts_with("odc-") && *name != "odc-testkit") {
        assert!(ours.contains(name.as_str()), "{name} has no place among the arrows of docs/ARCHITECTURE.md");
    }
}

#[test]
fn no_crate_knows_a_stranger() {
    let dependencies = normal_dependencies();
    for (crates, stranger, why) in STRANGERS {
        for name in *crates {
            assert!(!dependencies[*name].contains(*stranger), "{name} depends on {stranger}: {why}");
        }
    }
}

/// Everything below a crate.
fn reachable_from(name: &str) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    let mut open = vec![name.to_owned()];
    while let Some(next) = open.pop() {
        let (_, below) = ARROWS.iter().find(|(from, _)| *from == next).expect("every crate has its line in ARROWS");
        for one in *below {
            if found.insert(*one) {
                open.push((*one).to_owned());
            }
        }
    }
    found
}

/// The normal dependencies (not those of tests or builds) of every member of the workspace.
fn normal_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"])
        .arg(manifest)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("metadata lists packages");
    let text = |value: &serde_json::Value| value.as_str().expect("a name").to_owned();
    packages
        .iter()
        .map(|package| {
            let all = package["dependencies"].as_array().expect("a package lists its dependencies");
            let normal = all.iter().filter(|dependency| dependency["kind"].is_null());
            (text(&package["name"]), normal.map(|dependency| text(&dependency["name"])).collect())
        })
        .collect()
}
