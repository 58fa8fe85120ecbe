//! What the documents name is there: the tests of `docs/ALGORITHM.md`, the golden files, and the pages that are linked.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use odc_testkit::golden_directory;

#[test]
fn every_deviation_names_a_test_that_exists() {
    let functions = functions();
    let text = read("docs/ALGORITHM.md");
    let table = text.split("## Deviations, all of them").nth(1).expect("the section of deviations");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    assert!(rows.len() > 10, "the deviations are a table");
    for row in rows {
        let held_by = row.trim_end_matches([' ', '|']).rsplit(" | ").next().expect("a last cell");
        let mut held = held_by.contains("/tests");
        for name in held_by.split('`').skip(1).step_by(2) {
            held = true;
            let golden = name.trim_end_matches('*');
            assert!(
                functions.contains(name) || golden_files().iter().any(|file| file.starts_with(golden)),
                "{name} is neither a test nor a golden file: {row}"
            );
        }
        assert!(held, "no test is named: {row}");
    }
}

#[test]
fn every_linked_page_exists() {
    for page in [
        "README.md",
        "docs/ALGORITHM.md",
        "docs/ARCHITECTURE.md",
        "docs/BENCHMARKS.md",
        "docs/GUIDE.md",
        "docs/TESTING.md",
    ] {
        let folder = root().join(page).parent().expect("a folder").to_owned();
        for link in read(page).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(link.starts_with("http") || folder.join(link).exists(), "{page} links {link}");
        }
    }
}

/// The names of all functions in the tests of the workspace.
fn functions() -> HashSet<String> {
    let mut found = HashSet::new();
    let mut folders = vec![root().join("crates"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("lists").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&entry).expect("reads");
                let names = text.split("fn ").skip(1).filter_map(|rest| rest.split('(').next());
                found.extend(names.map(str::to_owned));
            }
        }
    }
    found
}

fn golden_files() -> Vec<String> {
    let entries = std::fs::read_dir(golden_directory()).expect("lists");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

fn read(page: &str) -> String {
    std::fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
