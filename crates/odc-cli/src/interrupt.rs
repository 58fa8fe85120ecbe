//! Ctrl-C: the first finishes the iteration and saves, the second quits at once.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use crate::screen;

/// Exit code of a run that was stopped, as shells have it for Ctrl-C.
pub(crate) const STOPPED: u8 = 130;

/// How far a run is.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Phase {
    /// There is nothing to save yet.
    Starting,
    /// There is a state to save.
    Training,
    /// The last iteration is done and saved; the results are being written.
    Finishing,
}

static ASKED: AtomicBool = AtomicBool::new(false);
static PHASE: AtomicU8 = AtomicU8::new(Phase::Starting as u8);

/// Watches for Ctrl-C (and for the request to terminate that supervisors send). `go_on` says how to start again.
pub(crate) fn watch(go_on: String) {
    let watching = ctrlc::set_handler(move || {
        if ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(STOPPED.into());
        }
        let phase = PHASE.load(Ordering::SeqCst);
        if phase == Phase::Starting as u8 {
            screen::show(None);
            screen::say(&format!("Stopped before the first iteration, with nothing to save yet. {go_on}"));
            std::process::exit(STOPPED.into());
        }
        screen::say(if phase == Phase::Training as u8 {
            "Stopping after this iteration; Ctrl-C again quits at once."
        } else {
            "Training is done and saved; its results are being written. Ctrl-C again quits at once."
        });
    });
    if let Err(error) = watching {
        screen::say(&format!("warning: Ctrl-C will not save a checkpoint: {error}"));
    }
}

/// Says how far the run is now.
pub(crate) fn enter(phase: Phase) {
    PHASE.store(phase as u8, Ordering::SeqCst);
}

/// Whether the user wants to stop.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
