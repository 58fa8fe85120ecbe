//! What `cargo xtask bench` is told, and where its processes run.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::workload::Workload;

/// The command line, checked.
pub(crate) struct Options {
    /// An interpreter that has torch; without it only our side is timed.
    pub(crate) peer_python: Option<PathBuf>,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) threads: Vec<usize>,
    pub(crate) rounds: usize,
    pub(crate) layers: bool,
    pub(crate) iteration: bool,
    pub(crate) step: bool,
    /// Times are those of work on a core, without the wait for one.
    pub(crate) cpu_time: bool,
    /// The peer computes under bfloat16 autocast.
    pub(crate) bf16: bool,
    pub(crate) markdown: Option<PathBuf>,
    /// An instruction set for both sides, instead of the best that there is.
    pub(crate) isa: Option<String>,
    /// The first of the cores that the processes are pinned to.
    pub(crate) core: usize,
}

impl Options {
    pub(crate) fn read(arguments: &[OsString]) -> anyhow::Result<Self> {
        let mut options = Self {
            peer_python: None,
            workloads: letters("abcd")?,
            threads: vec![1],
            rounds: 5,
            layers: false,
            iteration: false,
            step: false,
            cpu_time: false,
            bf16: false,
            markdown: None,
            isa: None,
            core: 0,
        };
        let mut arguments = arguments.iter().map(|argument| argument.to_string_lossy());
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{name} needs a value"));
            match name.as_ref() {
                "--peer-python" => options.peer_python = Some(value()?.as_ref().into()),
                "--workloads" => options.workloads = letters(&value()?)?,
                "--threads" => {
                    options.threads = value()?.split(',').map(number).collect::<anyhow::Result<_>>()?;
                }
                "--rounds" => options.rounds = number(&value()?)?,
                "--core" => options.core = value()?.parse().context("--core takes the number of a core")?,
                "--markdown" => options.markdown = Some(value()?.as_ref().into()),
                "--isa" => options.isa = Some(isa(&value()?)?),
                "--layers" => options.layers = true,
                "--iteration" => options.iteration = true,
                "--step" => options.step = true,
                "--cpu-time" => options.cpu_time = true,
                "--bf16" => options.bf16 = true,
                other => bail!("bench has no option {other}: see `cargo xtask bench`"),
            }
        }
        if options.cpu_time && options.threads != [1] {
            bail!("--cpu-time is for one thread: of several it would tell the sum");
        }
        options.step |= !(options.layers || options.iteration);
        Ok(options)
    }

    /// Where and how processes with so many threads run.
    pub(crate) fn placement(&self, threads: usize) -> Placement {
        let cores = (self.core..self.core + threads).map(|core| core.to_string()).collect::<Vec<_>>().join(",");
        let usable = Command::new("taskset")
            .args(["-c", &cores, "true"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        Placement { threads, cores: usable.then_some(cores), isa: self.isa.clone(), cpu_time: self.cpu_time }
    }
}

/// Threads, cores and instruction set of a process: the same for both sides.
pub(crate) struct Placement {
    pub(crate) threads: usize,
    cores: Option<String>,
    isa: Option<String>,
    pub(crate) cpu_time: bool,
}

impl Placement {
    /// The cores that processes are pinned to, as `taskset` takes them; `None` where it cannot.
    pub(crate) fn pinned(&self) -> Option<String> {
        self.cores.clone()
    }

    /// For people.
    pub(crate) fn title(&self) -> String {
        let plural = if self.threads == 1 { "" } else { "s" };
        let pinned =
            self.cores.as_ref().map_or("not pinned: there is no taskset for these cores".to_owned(), |cores| {
                format!("pinned to core{plural} {cores}")
            });
        let clock = if self.cpu_time { ", times on the core" } else { "" };
        format!("{} thread{plural}, {pinned}{clock}", self.threads)
    }

    /// Each side reads its own names.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let mut all: Vec<_> = ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"]
            .map(|name| (name, self.threads.to_string()))
            .to_vec();
        // A benchmark leaves no compiled scripts behind.
        all.push(("PYTHONDONTWRITEBYTECODE", "1".to_owned()));
        if let Some(isa) = &self.isa {
            all.push(("ODC_SIMD", isa.clone()));
            let theirs = if isa == "avx2" { "AVX2" } else { "AVX512_CORE_BF16" };
            all.push(("ONEDNN_MAX_CPU_ISA", theirs.to_owned()));
            // PyTorch's own kernels and MKL's matrix product.
            if isa == "avx2" {
                all.extend([
                    ("ATEN_CPU_CAPABILITY", "avx2".to_owned()),
                    ("MKL_ENABLE_INSTRUCTIONS", "AVX2".to_owned()),
                ]);
            }
        }
        all
    }
}

fn letters(text: &str) -> anyhow::Result<Vec<Workload>> {
    let known = |letter| Workload::of(letter).with_context(|| format!("there is no workload {letter:?}: a, b, c, d"));
    text.chars().map(known).collect()
}

fn number(text: &str) -> anyhow::Result<usize> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => bail!("{text:?} is no number of threads or rounds"),
    }
}

fn isa(text: &str) -> anyhow::Result<String> {
    match text {
        "avx2" | "avx512" => Ok(text.to_owned()),
        other => bail!("--isa takes avx2 or avx512, not {other:?}"),
    }
}
