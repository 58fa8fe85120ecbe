//! Progress on standard error: a bar on a terminal, now and then a plain line elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use odc_trainer::{LogLine, Progress, Run, Stage, StepReport};

use crate::output::duration;
use crate::screen;

/// Between two plain lines, where no epoch ends.
const QUIET: Duration = Duration::from_secs(10);

/// Work of a known number of steps, or of an unknown one (`total` 0), with a title.
pub(crate) struct Task {
    title: String,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl Task {
    /// Shows the title.
    pub(crate) fn begin(title: &str, total: usize) -> Self {
        let bar = screen::is_terminal().then(|| {
            let bar = ProgressBar::new(total as u64);
            let template = if total == 0 { "{spinner} {msg}" } else { "{msg} {bar:24} {pos}/{len}, {eta} left" };
            bar.set_style(style(template));
            bar.set_message(title.to_owned());
            bar.enable_steady_tick(Duration::from_millis(150));
            bar
        });
        screen::show(bar.clone());
        if bar.is_none() {
            screen::say(&format!("{title} ..."));
        }
        Self { title: title.to_owned(), bar, last_line: Instant::now() }
    }

    /// Shows how far it is.
    pub(crate) fn at(&mut self, done: usize, total: usize) {
        match &self.bar {
            Some(bar) => bar.set_position(done as u64),
            None if self.last_line.elapsed() > QUIET && total > 0 => {
                self.last_line = Instant::now();
                screen::say(&format!("{} ... {done} of {total}", self.title));
            }
            None => {}
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.bar.is_some() {
            screen::show(None);
        }
    }
}

/// The stages before the first and after the last iteration.
pub(crate) struct Stages {
    /// `before` or `after`.
    when: &'static str,
    shown: Option<(std::mem::Discriminant<Stage>, Task)>,
}

impl Stages {
    /// Stages before (`"before"`) or after (`"after"`) training.
    pub(crate) fn new(when: &'static str) -> Self {
        Self { when, shown: None }
    }

    /// Shows a stage.
    pub(crate) fn show(&mut self, stage: Stage) {
        let (title, done, total) = match stage {
            Stage::Extracting { done, total } => ("First features of all images".to_owned(), done, total),
            Stage::Clustering => ("First clusters, by k-means over the features".to_owned(), 0, 0),
            Stage::Scoring => (format!("What the features are worth {} training", self.when), 0, 0),
        };
        let kind = std::mem::discriminant(&stage);
        if self.shown.as_ref().is_none_or(|(shown, _)| *shown != kind) {
            // The old one goes first: it takes its bar from the screen.
            self.shown = None;
            self.shown = Some((kind, Task::begin(&title, total)));
        }
        if let Some((_, task)) = &mut self.shown {
            task.at(done, total);
        }
    }
}

/// The iterations of a run.
pub(crate) struct Training {
    bar: Option<ProgressBar>,
    done: u64,
    total: u64,
    per_epoch: u64,
    epochs: u64,
    batch_size: f64,
    /// Of the process's first iteration, until the first logged line tells the speed.
    begun: (u64, Instant),
    line: Option<LogLine>,
    /// At the end of the latest epoch.
    nmi: Option<f64>,
    last_line: Instant,
}

impl Training {
    /// Shows a run where it stands.
    pub(crate) fn begin(run: &Run) -> Self {
        let (done, total) = (run.conductor().iteration(), run.total_iterations());
        let bar = screen::is_terminal().then(|| {
            let bar = ProgressBar::new(total).with_position(done);
            // Two lines, so that all of it fits a terminal of 80 columns.
            bar.set_style(style("{bar:30} {prefix}\n{wide_msg}"));
            bar
        });
        screen::show(bar.clone());
        Self {
            bar,
            done,
            total,
            per_epoch: run.iterations_per_epoch(),
            epochs: run.recipe().training.epochs,
            batch_size: run.recipe().batch_size() as f64,
            begun: (done, Instant::now()),
            line: None,
            nmi: None,
            last_line: Instant::now(),
        }
    }

    /// Shows an iteration.
    pub(crate) fn step(&mut self, progress: &Progress) {
        self.done += 1;
        if let Some(line) = &progress.line {
            self.line = Some(line.clone());
        }
        if let Some(nmi) = progress.line.as_ref().and_then(|line| line.nmi) {
            self.nmi = Some(nmi);
        }
        let (place, numbers) = (self.place(), self.numbers(progress.report.as_ref()));
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
            bar.set_prefix(place);
            bar.set_message(numbers);
            return;
        }
        let epoch_ends = self.done.is_multiple_of(self.per_epoch);
        if progress.line.is_some() && (epoch_ends || self.last_line.elapsed() > QUIET) {
            self.last_line = Instant::now();
            screen::say(&format!("{place}  {numbers}"));
        }
    }

    /// `epoch 3.2/20  310 images/s  3 min 12 s left`
    fn place(&self) -> String {
        let epoch = self.done as f64 / self.per_epoch as f64;
        let speed = self.images_per_second();
        let left = (self.total - self.done.min(self.total)) as f64 * self.batch_size / speed.max(1e-9);
        format!("epoch {epoch:.1}/{}  {speed:.0} images/s  {} left", self.epochs, duration(left))
    }

    /// `loss 3.210  change 0.45  clusters 12–140  NMI 0.312`
    fn numbers(&self, report: Option<&StepReport>) -> String {
        let (loss, change, accuracy, sizes) = match (&self.line, report) {
            (Some(line), _) => (line.loss, line.change_ratio, line.accuracy, line.cluster_min.zip(line.cluster_max)),
            (None, Some(report)) => {
                (report.loss.into(), report.change_ratio.map(f64::from), report.accuracy.map(f64::from), None)
            }
            (None, None) => return String::new(),
        };
        let mut numbers = format!("loss {loss:.3}");
        let parts = [
            change.map(|change| format!("  change {change:.2}")),
            accuracy.map(|accuracy| format!("  accuracy {accuracy:.2}")),
            sizes.map(|(least, most)| format!("  clusters {least}–{most}")),
            self.line.as_ref().and(self.nmi).map(|nmi| format!("  NMI {nmi:.3}")),
        ];
        numbers.extend(parts.into_iter().flatten());
        numbers
    }

    /// Of the latest logged line; before the first, of this process so far.
    fn images_per_second(&self) -> f64 {
        match &self.line {
            Some(line) => line.images_per_second,
            None => {
                (self.done - self.begun.0) as f64 * self.batch_size / self.begun.1.elapsed().as_secs_f64().max(1e-9)
            }
        }
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        if self.bar.is_some() {
            screen::show(None);
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─")
}
