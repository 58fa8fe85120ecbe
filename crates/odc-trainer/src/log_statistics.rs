//! What the log of a run says of it: how steady its loss is, what happens where an epoch ends, where the time goes.

use crate::LogLine;

/// The logged losses of a run, each the mean over the iterations since the one before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LossCurve {
    /// Iterations done at each point, ascending.
    pub iterations: Vec<u64>,
    /// The loss at each point.
    pub losses: Vec<f64>,
}

impl LossCurve {
    /// The curve of a log's lines.
    pub fn new(lines: &[LogLine]) -> Self {
        Self {
            iterations: lines.iter().map(|line| line.iteration).collect(),
            losses: lines.iter().map(|line| line.loss).collect(),
        }
    }

    /// Variance of the loss in each sliding window of `window` iterations that the curve covers: about the mean of the
    /// window, every iteration counting as much as the others. Each with the iteration at which its window ends.
    pub fn windowed_variance(&self, window: u64) -> Vec<(u64, f64)> {
        let full = self.iterations.iter().filter(|end| **end >= window);
        full.filter_map(|&end| Some((end, self.moments(end - window, end)?.1))).collect()
    }

    /// |mean loss of the `window` iterations after − mean loss of those before| at each of `places`; places without
    /// logged losses on both sides are left out.
    pub fn jumps(&self, places: &[u64], window: u64) -> Vec<f64> {
        let jump = |&place: &u64| {
            let before = self.moments(place.saturating_sub(window), place)?.0;
            Some((self.moments(place, place + window)?.0 - before).abs())
        };
        places.iter().filter_map(jump).collect()
    }

    /// Mean and variance over the points after iteration `after` up to `until`, weighted by the iterations that each
    /// stands for there; `None` without a point.
    fn moments(&self, after: u64, until: u64) -> Option<(f64, f64)> {
        let first = self.iterations.partition_point(|iteration| *iteration <= after);
        let last = self.iterations.partition_point(|iteration| *iteration <= until);
        let weight = |point: usize| {
            let since = if point == 0 { 0 } else { self.iterations[point - 1] };
            (self.iterations[point] - since.max(after)) as f64
        };
        let total: f64 = (first..last).map(weight).sum();
        if total == 0.0 {
            return None;
        }
        let mean = (first..last).map(|point| weight(point) * self.losses[point]).sum::<f64>() / total;
        let square = |point: usize| weight(point) * (self.losses[point] - mean).powi(2);
        Some((mean, (first..last).map(square).sum::<f64>() / total))
    }
}

/// Iterations at which an epoch ends and another begins: the borders inside a run.
pub fn epoch_borders(per_epoch: u64, total: u64) -> Vec<u64> {
    (1..).map(|epoch| epoch * per_epoch).take_while(|iteration| per_epoch > 0 && *iteration < total).collect()
}

/// The middles of the epochs of a run, to compare its borders with.
pub fn epoch_middles(per_epoch: u64, total: u64) -> Vec<u64> {
    (0..).map(|epoch| epoch * per_epoch + per_epoch / 2).take_while(|middle| per_epoch > 0 && *middle < total).collect()
}

/// Seconds of an epoch, by what they went into.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct EpochSeconds {
    /// Waiting for batches.
    pub data: f64,
    /// Forward passes.
    pub forward: f64,
    /// Backward passes and SGD.
    pub backward: f64,
    /// Memories, small clusters, loss weights.
    pub memory: f64,
}

impl EpochSeconds {
    /// Those of a typical epoch: of each part the median over the log's lines, times the iterations of an epoch. So a
    /// machine that stood still for a while does not count.
    pub fn typical(lines: &[LogLine], per_epoch: u64) -> Self {
        let of_epoch =
            |part: fn(&LogLine) -> f64| median(lines.iter().map(part).collect()).unwrap_or(0.0) * per_epoch as f64;
        Self {
            data: of_epoch(|line| line.t_data),
            forward: of_epoch(|line| line.t_forward),
            backward: of_epoch(|line| line.t_backward),
            memory: of_epoch(|line| line.t_memory),
        }
    }

    /// All parts.
    pub fn sum(&self) -> f64 {
        self.data + self.forward + self.backward + self.memory
    }
}

/// The middle value, or the mean of the two middle ones; `None` of nothing.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        even if even % 2 == 0 => Some((values[middle - 1] + values[middle]) / 2.0),
        _ => Some(values[middle]),
    }
}

/// Mean and sample standard deviation of a score over seeds.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// By n − 1; `None` of a single value.
    pub deviation: Option<f64>,
    /// How many values.
    pub count: usize,
}

impl Spread {
    /// Of these values; `None` of nothing.
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len();
        if count == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Self { mean, deviation: (count > 1).then(|| (squares / (count - 1) as f64).sqrt()), count })
    }
}

/// Mean of a value over the iterations of the last `per_epoch`; `None` where no line there has it.
pub fn mean_of_last_epoch(lines: &[LogLine], per_epoch: u64, value: fn(&LogLine) -> Option<f64>) -> Option<f64> {
    let (mut iterations, mut values) = (vec![0], vec![0.0]);
    for line in lines {
        iterations.push(line.iteration);
        values.push(value(line)?);
    }
    let end = *iterations.last()?;
    Some(LossCurve { iterations, losses: values }.moments(end.saturating_sub(per_epoch), end)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loss for every iteration from 1 on.
    fn curve(losses: &[f64]) -> LossCurve {
        LossCurve { iterations: (1..=losses.len() as u64).collect(), losses: losses.to_vec() }
    }

    fn noise(count: usize) -> Vec<f64> {
        (0..count).map(|place| ((place * 7919 + 13) % 101) as f64 / 17.0).collect()
    }

    #[test]
    fn windowed_variance_is_that_of_every_window() {
        let losses = noise(60);
        let window = 7;
        let found = curve(&losses).windowed_variance(window as u64);
        assert_eq!(found.len(), losses.len() - window + 1);
        for (part, (end, variance)) in losses.windows(window).zip(&found) {
            let mean = part.iter().sum::<f64>() / window as f64;
            let plain = part.iter().map(|loss| loss * loss).sum::<f64>() / window as f64 - mean * mean;
            assert!((plain - variance).abs() < 1e-9, "{plain} {variance} at {end}");
        }
        assert_eq!((found[0].0, found[found.len() - 1].0), (window as u64, 60));
        assert!(curve(&losses[..6]).windowed_variance(7).is_empty());
    }

    #[test]
    fn jumps_are_seen_where_they_are() {
        // Steps of 2 at iterations 10 and 20, and a wave that a window of 4 averages away.
        let losses: Vec<f64> = (1..=30).map(|i| f64::from((i - 1) / 10 * 2) + [0.5, -0.5][i as usize % 2]).collect();
        let curve = curve(&losses);
        let borders = epoch_borders(10, 30);
        assert_eq!((borders.as_slice(), epoch_middles(10, 30)), (&[10, 20][..], vec![5, 15, 25]));
        assert_eq!(curve.jumps(&borders, 4), [2.0, 2.0]);
        assert_eq!(curve.jumps(&epoch_middles(10, 30), 4), [0.0, 0.0, 0.0]);
        assert!(curve.jumps(&[30, 40], 4).is_empty());
        assert!(epoch_borders(0, 30).is_empty() && epoch_middles(0, 30).is_empty());
    }

    #[test]
    fn lines_of_many_iterations_weigh_as_many() {
        let sparse = LossCurve { iterations: vec![3, 4, 8], losses: vec![1.0, 5.0, 2.0] };
        let dense = curve(&[1.0, 1.0, 1.0, 5.0, 2.0, 2.0, 2.0, 2.0]);
        let (few, many) = (sparse.windowed_variance(5), dense.windowed_variance(5));
        let last = many.last().expect("a window");
        assert!(few.len() == 1 && few[0].0 == last.0 && (few[0].1 - last.1).abs() < 1e-12, "{few:?} {last:?}");
        assert_eq!(sparse.jumps(&[4], 4), dense.jumps(&[4], 4));
    }

    #[test]
    fn medians_and_spreads() {
        assert_eq!((median(vec![]), median(vec![3.0, 1.0, 2.0]), median(vec![4.0, 1.0])), (None, Some(2.0), Some(2.5)));
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[3.0]), Some(Spread { mean: 3.0, deviation: None, count: 1 }));
        // NumPy: std([1, 2, 4], ddof=1) = 1.5275252316519468.
        let spread = Spread::of(&[1.0, 2.0, 4.0]).expect("three values");
        assert!((spread.deviation.expect("more than one") - 1.527_525_231_651_946_8).abs() < 1e-12);
    }
}
