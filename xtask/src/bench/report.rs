//! What a benchmark prints: lines and tables in Markdown, on the terminal at once and in a file at the end.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

/// All that was said.
pub(crate) struct Report {
    text: String,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { text: String::new() }
    }

    /// One line.
    pub(crate) fn line(&mut self, line: &str) {
        let _ = writeln!(std::io::stdout(), "{line}");
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// The head of a table; an empty line comes before it.
    pub(crate) fn head(&mut self, columns: &[&str]) {
        self.line("");
        self.row(&columns.iter().map(|column| (*column).to_owned()).collect::<Vec<_>>());
        let rules = columns.iter().enumerate().map(|(column, _)| if column == 0 { " --- |" } else { " ---: |" });
        self.line(&format!("|{}", rules.collect::<String>()));
    }

    /// A row of a table.
    pub(crate) fn row(&mut self, cells: &[String]) {
        let cells = cells
            .iter()
            .enumerate()
            .map(|(column, cell)| if column == 0 { format!(" {cell:<44} |") } else { format!(" {cell:>9} |") });
        self.line(&format!("|{}", cells.collect::<String>()));
    }

    /// Date, commit and processor.
    pub(crate) fn about_machine(&mut self) {
        let output = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).current_dir(crate::build::root()).output();
            output.ok().map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
        };
        let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let processor = processor.map_or(std::env::consts::ARCH, |(_, name)| name);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let commit = output("git", &["describe", "--always", "--dirty"]);
        self.line(&format!("{}, commit {commit}, {processor}, {cores} cores.", output("date", &["+%F"])));
    }

    /// Writes everything to a file, if one is named.
    pub(crate) fn save(&self, file: Option<&Path>) -> anyhow::Result<()> {
        match file {
            Some(file) => std::fs::write(file, &self.text).with_context(|| format!("cannot write {}", file.display())),
            None => Ok(()),
        }
    }
}

/// The value in the middle; of an even number the mean of the two.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// Three digits that count: `1234`, `56.7`, `8.90`.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Per-round ratios: the median, and in brackets the least and the greatest.
pub(crate) fn spread(ratios: &[f64]) -> String {
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.2} ({least:.2}–{most:.2})", median(ratios))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(spread(&[2.0, 1.0, 4.0]), "2.00 (1.00–4.00)");
        assert_eq!([short(1234.5), short(56.71), short(8.9)], ["1234", "56.7", "8.90"]);
    }
}
