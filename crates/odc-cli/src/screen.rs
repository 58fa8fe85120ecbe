//! Standard error: lines that do not tear the progress bar, and tracing.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;

use indicatif::ProgressBar;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The bar that stands on the screen now.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Prints a line, above the bar where one is shown. A closed standard error is no reason to stop working.
pub(crate) fn say(text: &str) {
    write(format!("{text}\n").as_bytes());
}

/// Whether a bar can be drawn.
pub(crate) fn is_terminal() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// Shows `bar` from now on in the place of what was shown.
pub(crate) fn show(bar: Option<ProgressBar>) {
    let mut shown = BAR.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(old) = std::mem::replace(&mut *shown, bar) {
        old.finish_and_clear();
    }
}

/// Sends what the crates trace to standard error, warnings unless RUST_LOG says otherwise.
pub(crate) fn start_tracing() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(BesideTheBar)
        .with_ansi(is_terminal())
        .with_target(false);
    // Only a second subscriber could make this fail.
    let _ = subscriber.try_init();
}

fn write(bytes: &[u8]) {
    let shown = BAR.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let print = || {
        let _ = std::io::stderr().write_all(bytes);
    };
    match &*shown {
        Some(bar) => bar.suspend(print),
        None => print(),
    }
}

/// Writes each event of tracing as [`say`] does.
struct BesideTheBar;

impl Write for BesideTheBar {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        write(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for BesideTheBar {
    type Writer = Self;
    fn make_writer(&self) -> Self {
        Self
    }
}
