//! A process that is asked for times, one line a question and one JSON object a line for an answer.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::Value;

use super::options::Placement;

/// One side of a comparison. It ends when it is dropped.
pub(crate) struct Child {
    pub(crate) name: String,
    /// What it says of itself at the start.
    pub(crate) version: String,
    cpu_time: bool,
    process: std::process::Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) value: Value,
    /// Share of the time that threads of the process were ready to run but had no core; above 1 where several waited.
    pub(crate) waited: f64,
    /// Seconds of work on a core, where that is what is asked for.
    worked: Option<f64>,
}

impl Child {
    /// Starts a program on the cores and with the threads of `placement`, and waits until it is ready.
    pub(crate) fn start(
        name: &str,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        placement: &Placement,
    ) -> anyhow::Result<Self> {
        let mut command = match placement.pinned() {
            Some(cores) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &cores]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(arguments).envs(placement.environment()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            bail!("{name} has no standard input or output");
        };
        let output = BufReader::new(output);
        let mut child = Self {
            name: name.to_owned(),
            version: String::new(),
            cpu_time: placement.cpu_time,
            process,
            input,
            output,
        };
        let ready = child.answer()?;
        child.version = ready["ready"].as_str().unwrap_or_default().to_owned();
        Ok(child)
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&mut self, question: &str) -> anyhow::Result<Answer> {
        let (start, before) = (Instant::now(), self.scheduled());
        writeln!(self.input, "{question}").with_context(|| format!("{} has ended", self.name))?;
        let value = self.answer()?;
        let (elapsed, after) = (start.elapsed().as_secs_f64(), self.scheduled());
        let worked = self.cpu_time.then_some(after[0] - before[0]);
        Ok(Answer { value, waited: (after[1] - before[1]) / elapsed, worked })
    }

    /// The most memory that the process has held, in MiB; `None` where the system does not tell.
    pub(crate) fn peak_mib(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().trim_end_matches(" kB").parse::<f64>().ok().map(|kib| kib / 1024.0)
    }

    fn answer(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        self.output.read_line(&mut line).with_context(|| format!("{} cannot be read", self.name))?;
        if line.is_empty() {
            bail!("{} has ended: see its messages above", self.name);
        }
        serde_json::from_str(&line).with_context(|| format!("{} said {line:?}", self.name))
    }

    /// Seconds that the process's threads have worked on a core, and waited for one, since they started.
    fn scheduled(&self) -> [f64; 2] {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", self.process.id())) else { return [0.0; 2] };
        let mut sums = [0.0; 2];
        for thread in threads.flatten() {
            let numbers = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            for (sum, number) in sums.iter_mut().zip(numbers.split_whitespace()) {
                *sum += number.parse().unwrap_or(0.0) / 1e9;
            }
        }
        sums
    }
}

impl Answer {
    /// The list `seconds`, or the work on the core for each of them on average; an error where the list is missing, or the
    /// loss is no finite number.
    pub(crate) fn seconds(&self) -> anyhow::Result<Vec<f64>> {
        let loss = &self.value["loss"];
        if !loss.is_null() && !loss.as_f64().is_some_and(f64::is_finite) {
            bail!("the loss is {loss}");
        }
        let seconds = self.value["seconds"].as_array().context("an answer without seconds")?;
        match self.worked {
            Some(worked) => Ok(vec![worked / seconds.len() as f64]),
            None => seconds.iter().map(|value| value.as_f64().context("seconds that are no number")).collect(),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
