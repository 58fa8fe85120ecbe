//! One number for each of several seeds or draws, their mean and their deviation.

use serde::{Deserialize, Serialize};

/// A result over several seeds or draws.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MeanAndDeviation {
    /// One for each seed or draw.
    pub values: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, with n − 1 below; 0 for a single one.
    pub deviation: f64,
}

impl MeanAndDeviation {
    /// Of these values, one or more.
    pub fn new(values: Vec<f64>) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        Self { mean, deviation: (squares / (n - 1.0).max(1.0)).sqrt(), values }
    }

    /// `53.42 %`, or of several values `53.42 ± 0.10 %`.
    pub fn percent(&self) -> String {
        match self.values.len() {
            1 => format!("{:.2} %", self.mean),
            _ => format!("{:.2} ± {:.2} %", self.mean, self.deviation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_deviation_by_hand() {
        let three = MeanAndDeviation::new(vec![1.0, 2.0, 6.0]);
        assert_eq!((three.mean, three.deviation), (3.0, 7.0_f64.sqrt()));
        assert_eq!(three.percent(), "3.00 ± 2.65 %");
        let one = MeanAndDeviation::new(vec![5.0]);
        assert_eq!((one.deviation, one.percent().as_str()), (0.0, "5.00 %"));
    }
}
