//! Average precision: how well scores put the images that show a class before those that do not.

use serde::{Deserialize, Serialize};

/// How a curve of precision over recall becomes one number. Images of equal score enter the curve together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AveragePrecision {
    /// Σ (R_n − R_{n−1}) P_n over all scores; scikit-learn's `average_precision_score`.
    #[default]
    Area,
    /// The same with P_n replaced by the best precision at that recall or a higher one; PASCAL VOC from 2010 on, and
    /// the published SVM numbers of self-supervised networks.
    Interpolated,
    /// Mean of the best precision at recall t or higher, t = 0, 0.1, …, 1; PASCAL VOC 2007.
    Voc11,
}

impl AveragePrecision {
    /// Average precision of `scores`, from 0 to 1; `shows` says which of the images show the class. `None` where none
    /// does: there is nothing to find.
    pub(crate) fn of(self, scores: &[f32], shows: &[bool]) -> Option<f64> {
        let curve = curve(scores, shows)?;
        let steps = |precision: &[f64]| -> f64 {
            let mut before = 0.0;
            let step = |(point, precision): (&(f64, f64), &f64)| {
                let width = point.0 - before;
                before = point.0;
                width * precision
            };
            curve.iter().zip(precision).map(step).sum()
        };
        let precision: Vec<f64> = curve.iter().map(|point| point.1).collect();
        Some(match self {
            Self::Area => steps(&precision),
            Self::Interpolated => steps(&best_from_here_on(precision)),
            Self::Voc11 => {
                let best = best_from_here_on(precision);
                let at_least = |tenths: usize| {
                    // Recall is k / positives: compared as 10 k ≥ tenths · positives, without a rounded tenth.
                    let first = curve.partition_point(|point| point.0 * 10.0 < tenths as f64 - 1e-9);
                    best.get(first).copied().unwrap_or(0.0)
                };
                (0..=10).map(at_least).sum::<f64>() / 11.0
            }
        })
    }
}

/// (recall, precision) after each group of equal scores, from the highest score down.
fn curve(scores: &[f32], shows: &[bool]) -> Option<Vec<(f64, f64)>> {
    let positives = shows.iter().filter(|&&shows| shows).count();
    if positives == 0 {
        return None;
    }
    let mut ranked: Vec<(f32, bool)> = scores.iter().copied().zip(shows.iter().copied()).collect();
    ranked.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let (mut found, mut seen) = (0, 0);
    let point = |group: &[(f32, bool)]| {
        seen += group.len();
        found += group.iter().filter(|(_, shows)| *shows).count();
        (found as f64 / positives as f64, found as f64 / seen as f64)
    };
    Some(ranked.chunk_by(|a, b| a.0 == b.0).map(point).collect())
}

/// Each precision, or a later one that is higher.
fn best_from_here_on(mut precision: Vec<f64>) -> Vec<f64> {
    let mut best = 0.0_f64;
    for value in precision.iter_mut().rev() {
        best = best.max(*value);
        *value = best;
    }
    precision
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAYS: [AveragePrecision; 3] =
        [AveragePrecision::Area, AveragePrecision::Interpolated, AveragePrecision::Voc11];

    fn close(actual: Option<f64>, expected: f64) {
        assert!(actual.is_some_and(|actual| (actual - expected).abs() < 1e-12), "{actual:?} {expected}");
    }

    #[test]
    fn a_curve_by_hand() {
        // Ranked: yes no no yes yes: precision 1, 1/2, 1/3, 2/4, 3/5 at recall 1/3, 1/3, 1/3, 2/3, 1.
        let (scores, shows) = ([0.9, 0.8, 0.7, 0.6, 0.5], [true, false, false, true, true]);
        close(AveragePrecision::Area.of(&scores, &shows), (1.0 + 0.5 + 0.6) / 3.0);
        close(AveragePrecision::Interpolated.of(&scores, &shows), (1.0 + 0.6 + 0.6) / 3.0);
        // Recall 0 to 0.3 is met by the first, the other seven by the last.
        close(AveragePrecision::Voc11.of(&scores, &shows), (4.0 + 7.0 * 0.6) / 11.0);
    }

    #[test]
    fn perfect_and_worst_rankings() {
        for way in WAYS {
            close(way.of(&[3.0, 2.0, 1.0], &[true, true, false]), 1.0);
            close(way.of(&[3.0, 2.0, 1.0, 0.0], &[false, false, false, true]), 0.25);
            assert_eq!(way.of(&[3.0, 2.0], &[false, false]), None);
        }
    }

    #[test]
    fn equal_scores_share_one_threshold_whatever_their_order() {
        for way in WAYS {
            close(way.of(&[1.0; 4], &[true, false, false, false]), 0.25);
            close(way.of(&[1.0; 4], &[false, false, false, true]), 0.25);
        }
    }

    #[test]
    fn a_recall_of_exactly_a_tenth_counts() {
        // Ten positives, each followed by a negative: recall k/10 is met at precision k/(2k − 1).
        let shows: Vec<bool> = (0..20).map(|rank| rank % 2 == 0).collect();
        let scores: Vec<f32> = (0..20).map(|rank| -(rank as f32)).collect();
        let best = |k: usize| (k.max(1)..=10).map(|k| k as f64 / (2 * k - 1) as f64).fold(0.0, f64::max);
        close(AveragePrecision::Voc11.of(&scores, &shows), (0..=10).map(best).sum::<f64>() / 11.0);
    }
}
