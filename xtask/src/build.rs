//! Programs of the workspace, built in release mode when they are needed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// The path of a program, made now if it is not there or old: `selection` is what cargo is told to build, `target` the
/// program's name.
pub(crate) fn program(selection: &[&str], target: &str) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--release", "--message-format", "json-render-diagnostics"])
        .args(selection)
        .arg("--manifest-path")
        .arg(root().join("Cargo.toml"))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("{target} could not be built: see cargo's messages above");
    }
    executable(&output.stdout, target).with_context(|| format!("cargo built {target} but did not say where it is"))
}

/// The workspace's folder.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The program among cargo's messages, one JSON object a line.
fn executable(messages: &[u8], target: &str) -> Option<PathBuf> {
    let lines = messages.split(|byte| *byte == b'\n');
    lines.filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok()).find_map(|message| {
        let wanted = message["target"]["name"] == target;
        message["executable"].as_str().filter(|_| wanted).map(PathBuf::from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_cargo_s_messages() {
        let messages = br#"{"reason":"compiler-artifact","target":{"name":"odc_data"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"odc"},"executable":"/somewhere/release/odc"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(executable(messages, "odc"), Some(PathBuf::from("/somewhere/release/odc")));
        assert_eq!(executable(messages, "step"), None);
        assert_eq!(executable(b"{}\n", "odc"), None);
    }
}
