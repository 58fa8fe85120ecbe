//! Threads and device, and what the machine is.

use std::time::SystemTime;

use anyhow::Context;
use candle_core::Device;
use serde::Serialize;

use crate::arguments::{MachineArguments, called_as};
use crate::failure::WrongUse;

impl MachineArguments {
    /// Sets the threads of this process and gives the device.
    ///
    /// # Errors
    /// Where there is no such device, number of threads or set of instructions (`ODC_SIMD`).
    pub(crate) fn prepare(&self) -> anyhow::Result<Device> {
        if self.device != "cpu" {
            let message = format!(
                "--device {}: this build computes on the CPU only; use --device cpu, or leave it out",
                self.device
            );
            return Err(WrongUse(message).into());
        }
        odc_kernels::simd::forced().map_err(WrongUse)?;
        if let Some(threads) = self.threads {
            if !(1..=MOST_THREADS).contains(&threads) {
                let message = format!("--threads {threads}: give a number from 1 to {MOST_THREADS}");
                return Err(WrongUse(message).into());
            }
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
            pool.with_context(|| format!("cannot start {threads} threads"))?;
        }
        Ok(Device::Cpu)
    }

    /// Threads that decode images.
    pub(crate) fn workers(&self) -> usize {
        self.threads.unwrap_or_else(rayon::current_num_threads)
    }
}

/// Far more than there are cores in one machine; a slip of the keyboard should not exhaust the system.
const MOST_THREADS: usize = 1024;

/// When, where and by what something was made.
#[derive(Debug, Serialize)]
pub(crate) struct Stamp {
    /// The command as typed.
    pub(crate) command: String,
    /// Year, month and day (UTC).
    pub(crate) date: String,
    /// Of this program.
    pub(crate) version: String,
    /// Processor, cores, system.
    pub(crate) machine: String,
    /// Threads that it computed with.
    pub(crate) threads: usize,
}

/// That of this process.
pub(crate) fn stamp() -> Stamp {
    let quoted = |word: String| if word.contains([' ', '"', '\'']) { format!("{word:?}") } else { word };
    let words: Vec<String> = std::env::args().skip(1).map(quoted).collect();
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = cpus.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    Stamp {
        command: format!("{} {}", called_as(), words.join(" ")),
        date: date(since.as_secs() / 86_400),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: format!(
            "{}, {cores} cores, {} on {}",
            processor.unwrap_or("a processor without a name"),
            std::env::consts::OS,
            std::env::consts::ARCH
        ),
        threads: rayon::current_num_threads(),
    }
}

/// The date so many days after 1 January 1970.
fn date(mut days: u64) -> String {
    let leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        let known = [(0, "1970-01-01"), (59, "1970-03-01"), (11_016, "2000-02-29"), (20_781, "2026-11-24")];
        for (days, expected) in known {
            assert_eq!(date(days), expected);
        }
        assert_eq!(date(10_956), "1999-12-31");
    }
}
