//! How the program ends when something is wrong: one message on standard error, and the exit code.

use std::io;
use std::process::ExitCode;

use odc_data::DataError;
use odc_eval::EvalError;
use odc_trainer::TrainerError;

use crate::screen;

/// The command cannot mean anything: exit code 2.
#[derive(Debug)]
pub(crate) struct WrongUse(pub(crate) String);

impl std::fmt::Display for WrongUse {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for WrongUse {}

/// Whoever read standard output has had enough: no failure.
#[derive(Debug)]
pub(crate) struct ReaderHasGone;

impl std::fmt::Display for ReaderHasGone {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("standard output was closed")
    }
}

impl std::error::Error for ReaderHasGone {}

/// Prints the message and gives the exit code.
pub(crate) fn tell(error: &anyhow::Error) -> ExitCode {
    if error.is::<ReaderHasGone>() {
        return ExitCode::SUCCESS;
    }
    screen::say(&format!("error: {}", message(error)));
    ExitCode::from(if error.chain().any(is_wrong_use) { 2 } else { 1 })
}

/// The chain of causes as one message, and what to do about a disk that takes nothing.
pub(crate) fn message(error: &anyhow::Error) -> String {
    let message = causes(error);
    let advice = error.chain().find_map(|cause| match cause.downcast_ref::<io::Error>()?.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("Free some space, or name another place by --out")
        }
        io::ErrorKind::ReadOnlyFilesystem => Some("Name a place that can be written by --out"),
        _ => None,
    });
    match advice {
        Some(advice) => format!("{message}. {advice}"),
        None => message,
    }
}

fn causes(error: &anyhow::Error) -> String {
    let mut message = String::new();
    for cause in error.chain() {
        let text = without_backtrace(&cause.to_string());
        // Some messages already hold that of their cause.
        if message.is_empty() {
            message = text;
        } else if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
    }
    message
}

/// candle appends a backtrace to its messages where RUST_BACKTRACE asks for one.
fn without_backtrace(text: &str) -> String {
    let frame = |line: &str| {
        let number = line.trim_start().split(':').next().unwrap_or_default();
        line.starts_with(' ') && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let lines: Vec<&str> = text.lines().take_while(|line| !frame(line)).collect();
    lines.join("\n").trim().to_owned()
}

fn is_wrong_use(cause: &(dyn std::error::Error + 'static)) -> bool {
    let data = |error: &DataError| matches!(error, DataError::Setting { .. });
    cause.is::<WrongUse>()
        || cause.downcast_ref::<DataError>().is_some_and(data)
        || matches!(cause.downcast_ref::<EvalError>(), Some(EvalError::Setting { .. }))
        || match cause.downcast_ref::<TrainerError>() {
            Some(TrainerError::Recipe(_)) => true,
            Some(TrainerError::Data(error)) => data(error),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_joined_without_repetition_and_backtraces() {
        let cause = io::Error::other("disk full");
        let error = anyhow::Error::new(cause).context("cannot write x: disk full").context("no summary");
        assert_eq!(message(&error), "no summary: cannot write x: disk full");
        let full = anyhow::Error::new(io::Error::from(io::ErrorKind::StorageFull)).context("cannot write x");
        assert!(message(&full).ends_with("Free some space, or name another place by --out"), "{}", message(&full));
        assert_eq!(without_backtrace("shape mismatch\n   0: candle_core::x\n             at y.rs"), "shape mismatch");
    }

    #[test]
    fn a_wrong_setting_is_wrong_use_and_a_missing_folder_is_not() {
        let wrong = |error: anyhow::Error| error.chain().any(is_wrong_use);
        assert!(wrong(TrainerError::Recipe("K".into()).into()));
        assert!(wrong(anyhow::Error::new(WrongUse("x".into())).context("y")));
        assert!(!wrong(DataError::Missing { path: "x".into() }.into()));
    }
}
