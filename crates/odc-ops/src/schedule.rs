//! Learning rates over the run.

/// A rate that is multiplied by `gamma` at each milestone.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiStep {
    /// The rate at the start.
    pub base: f64,
    /// Factor at each milestone.
    pub gamma: f64,
    /// Iterations from which on one more factor holds.
    pub milestones: Vec<u64>,
}

impl MultiStep {
    /// The rate of an iteration, counted from 0.
    pub fn at(&self, iteration: u64) -> f64 {
        let passed = self.milestones.iter().filter(|&&milestone| milestone <= iteration).count();
        (0..passed).fold(self.base, |rate, _| rate * self.gamma)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_milestone_multiplies_once() {
        let schedule = MultiStep { base: 0.06, gamma: 0.4, milestones: vec![10, 20] };
        assert_eq!(schedule.at(0), 0.06);
        assert_eq!(schedule.at(9), 0.06);
        assert_eq!(schedule.at(10), 0.06 * 0.4);
        assert_eq!(schedule.at(20), 0.06 * 0.4 * 0.4);
    }
}
