//! Notices a run that goes wrong: labels in few clusters, labels that never settle or never move, dead features.

use crate::LogLine;

/// Watches the lines of a log. Each complaint is made once until its cause has gone.
#[derive(Debug, Default)]
pub(crate) struct Health {
    standing: Vec<Complaint>,
    /// Lines in a row with all labels fixed, or all changing.
    frozen: u32,
    restless: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Complaint {
    Collapsed,
    Dead,
    Frozen,
    Restless,
}

/// Share of all images in one cluster from which a run counts as collapsed.
const COLLAPSED_SHARE: f64 = 0.5;
/// Share of all-zero features in a batch from which the features count as dead.
const DEAD_SHARE: f64 = 0.5;
/// Lines in a row before a change ratio stuck at an end is worth a word.
const PATIENCE: u32 = 20;

impl Health {
    /// What is newly wrong, each with what it means and what to try.
    pub(crate) fn examine(&mut self, line: &LogLine, n_samples: usize, n_clusters: usize) -> Vec<String> {
        let count = |held: bool, lines: u32| if held { lines + 1 } else { 0 };
        self.frozen = count(line.change_ratio == Some(0.0), self.frozen);
        let change_ratio = line.change_ratio.unwrap_or_default();
        self.restless = count(n_clusters > 2 && change_ratio > 0.98, self.restless);
        let cluster_max = line.cluster_max.unwrap_or_default();
        let largest = f64::from(cluster_max) / n_samples as f64;
        let found = [
            (
                Complaint::Collapsed,
                n_clusters > 2 && largest > COLLAPSED_SHARE,
                format!(
                    "one cluster holds {} of {n_samples} images: the features tell few images apart. Try a lower \
                     optimizer.lr, more memory.clusters, or a higher memory.reweight_power",
                    cluster_max
                ),
            ),
            (
                Complaint::Dead,
                line.dead_share > DEAD_SHARE,
                format!(
                    "{:.0} % of the features are zero in every dimension: the last relu has died. Try a lower \
                     optimizer.lr or more features",
                    100.0 * line.dead_share
                ),
            ),
            (
                Complaint::Frozen,
                self.frozen >= PATIENCE,
                format!(
                    "no label has changed in {} logged intervals: clustering stands still. Try a higher optimizer.lr \
                     or memory.momentum, if this is not simply the end of the run",
                    self.frozen
                ),
            ),
            (
                Complaint::Restless,
                self.restless >= PATIENCE,
                format!(
                    "nearly every label changes at every visit ({:.2} of them, for {} logged intervals): clusters mean \
                     nothing yet. Try a lower memory.momentum, fewer memory.clusters or a lower optimizer.lr",
                    change_ratio, self.restless
                ),
            ),
        ];
        let mut new = Vec::new();
        for (complaint, wrong, message) in found {
            let known = self.standing.contains(&complaint);
            if wrong && !known {
                self.standing.push(complaint);
                new.push(message);
            } else if !wrong && known {
                self.standing.retain(|standing| *standing != complaint);
            }
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(cluster_max: u32, change_ratio: f64, dead_share: f64) -> LogLine {
        LogLine {
            iteration: 1,
            epoch: 1.0,
            loss: 1.0,
            change_ratio: Some(change_ratio),
            accuracy: None,
            lr: 0.1,
            images_per_second: 1.0,
            cluster_min: Some(1),
            cluster_max: Some(cluster_max),
            cluster_empty: Some(0),
            clusters_handled: Some(0),
            dead_share,
            t_data: 0.0,
            t_forward: 0.0,
            t_backward: 0.0,
            t_memory: 0.0,
            nmi: None,
            nmi_previous: None,
            reassigned: None,
        }
    }

    #[test]
    fn a_sound_run_gives_no_complaint() {
        let mut health = Health::default();
        for _ in 0..100 {
            assert!(health.examine(&line(30, 0.5, 0.0), 1000, 50).is_empty());
        }
    }

    #[test]
    fn a_method_without_clusters_has_no_complaint_about_them() {
        let mut health = Health::default();
        let line = LogLine { change_ratio: None, cluster_min: None, cluster_max: None, ..line(0, 0.0, 0.0) };
        for _ in 0..2 * PATIENCE {
            assert!(health.examine(&line, 1000, 50).is_empty());
        }
    }

    #[test]
    fn collapse_is_said_once_until_it_has_gone() {
        let mut health = Health::default();
        assert_eq!(health.examine(&line(800, 0.5, 0.0), 1000, 50).len(), 1);
        assert!(health.examine(&line(800, 0.5, 0.0), 1000, 50).is_empty());
        assert!(health.examine(&line(80, 0.5, 0.0), 1000, 50).is_empty());
        assert_eq!(health.examine(&line(800, 0.5, 0.0), 1000, 50).len(), 1);
    }

    #[test]
    fn dead_features_and_stuck_labels_are_named() {
        let mut health = Health::default();
        assert!(health.examine(&line(30, 0.5, 0.9), 1000, 50)[0].contains("90 %"));
        let mut complaints = Vec::new();
        for _ in 0..PATIENCE {
            complaints.extend(health.examine(&line(30, 0.0, 0.0), 1000, 50));
        }
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].contains("no label has changed"));
    }
}
