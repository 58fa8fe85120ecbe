//! Minimises a smooth function of many variables: L-BFGS with a line search for the strong Wolfe conditions.
//!
//! Nocedal and Wright, "Numerical Optimization", 2nd edition: algorithms 7.4 (two-loop recursion), 3.5 and 3.6 (line
//! search), equation 3.59 (cubic interpolation).

use std::collections::VecDeque;

/// A function and its gradient: writes the gradient at a point, gives the value.
pub(crate) trait Objective: FnMut(&[f64], &mut [f64]) -> f64 {}
impl<F: FnMut(&[f64], &mut [f64]) -> f64> Objective for F {}

/// When to stop, and how much of the past to keep.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lbfgs {
    /// Steps whose curvature is remembered.
    pub(crate) history: usize,
    /// Most steps.
    pub(crate) iterations: usize,
    /// Done when no partial derivative exceeds this.
    pub(crate) gradient_tolerance: f64,
    /// Done when a step lowers the value by less.
    pub(crate) change_tolerance: f64,
}

/// Where the search ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Minimum {
    pub(crate) value: f64,
    /// Largest absolute partial derivative.
    pub(crate) steepest: f64,
    pub(crate) iterations: usize,
    /// False where the iterations ran out.
    pub(crate) converged: bool,
}

/// A point on the line x + t·direction.
struct Point {
    t: f64,
    value: f64,
    /// Derivative along the line.
    slope: f64,
    x: Vec<f64>,
    gradient: Vec<f64>,
}

const SUFFICIENT_DECREASE: f64 = 1e-4;
const CURVATURE: f64 = 0.9;
const LINE_EVALUATIONS: usize = 25;

impl Lbfgs {
    /// Goes down from `x`, which becomes the best point found.
    pub(crate) fn minimize(&self, x: &mut Vec<f64>, objective: &mut impl Objective) -> Minimum {
        let mut gradient = vec![0.0; x.len()];
        let mut value = objective(x, &mut gradient);
        // (s, y, 1 / ⟨s, y⟩) of the latest steps.
        let mut past: VecDeque<(Vec<f64>, Vec<f64>, f64)> = VecDeque::with_capacity(self.history);
        for iteration in 0..self.iterations {
            let steepest = largest(&gradient);
            if steepest <= self.gradient_tolerance {
                return Minimum { value, steepest, iterations: iteration, converged: true };
            }
            let mut direction = descent(&past, &gradient);
            if dot(&direction, &gradient) >= 0.0 {
                past.clear();
                direction = gradient.iter().map(|g| -g).collect();
            }
            // Without curvature the length of the gradient says nothing about the distance to go.
            let first = if past.is_empty() { (1.0 / sum_of_absolutes(&gradient)).min(1.0) } else { 1.0 };
            let start = Point { t: 0.0, value, slope: dot(&direction, &gradient), x: x.clone(), gradient };
            let next = line_search(&start, &direction, first, objective);
            let Some(next) = next.filter(|next| next.value < value) else {
                // Lower values along this line are below what the arithmetic can tell apart.
                return Minimum { value, steepest, iterations: iteration, converged: true };
            };
            let step: Vec<f64> = next.x.iter().zip(&*x).map(|(new, old)| new - old).collect();
            let turn: Vec<f64> = next.gradient.iter().zip(&start.gradient).map(|(new, old)| new - old).collect();
            let bend = dot(&step, &turn);
            if bend > 1e-10 * dot(&turn, &turn) {
                if past.len() == self.history {
                    past.pop_front();
                }
                past.push_back((step, turn, 1.0 / bend));
            }
            let change = value - next.value;
            (*x, gradient, value) = (next.x, next.gradient, next.value);
            if change < self.change_tolerance {
                let steepest = largest(&gradient);
                return Minimum { value, steepest, iterations: iteration + 1, converged: true };
            }
        }
        let steepest = largest(&gradient);
        Minimum { value, steepest, iterations: self.iterations, converged: steepest <= self.gradient_tolerance }
    }
}

/// −H·gradient, H being the inverse Hessian that the past steps suggest.
fn descent(past: &VecDeque<(Vec<f64>, Vec<f64>, f64)>, gradient: &[f64]) -> Vec<f64> {
    let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut alphas = Vec::with_capacity(past.len());
    for (s, y, rho) in past.iter().rev() {
        let alpha = rho * dot(s, &q);
        add_scaled(&mut q, -alpha, y);
        alphas.push(alpha);
    }
    if let Some((_, y, rho)) = past.back() {
        let scale = 1.0 / (rho * dot(y, y));
        q.iter_mut().for_each(|value| *value *= scale);
    }
    for ((s, y, rho), alpha) in past.iter().zip(alphas.into_iter().rev()) {
        let beta = rho * dot(y, &q);
        add_scaled(&mut q, alpha - beta, s);
    }
    q
}

/// A point that satisfies the strong Wolfe conditions, or the lowest one seen where none is found.
fn line_search(start: &Point, direction: &[f64], first: f64, objective: &mut impl Objective) -> Option<Point> {
    let mut evaluate = |t: f64| {
        let x: Vec<f64> = start.x.iter().zip(direction).map(|(x, d)| x + t * d).collect();
        let mut gradient = vec![0.0; x.len()];
        let value = objective(&x, &mut gradient);
        Point { t, value, slope: dot(&gradient, direction), x, gradient }
    };
    let too_high = |point: &Point, low: f64| {
        // Asked this way round so that a value that is not a number is too high.
        let decreases = point.value <= start.value + SUFFICIENT_DECREASE * point.t * start.slope;
        !decreases || point.value >= low
    };
    let flat = |point: &Point| point.slope.abs() <= -CURVATURE * start.slope;

    // Steps out until an interval holds a good point.
    let mut low: Option<Point> = None;
    let (mut t, mut used) = (first, 0);
    let (mut low, mut high) = loop {
        let point = evaluate(t);
        used += 1;
        let low_value = low.as_ref().map_or(f64::INFINITY, |low| low.value);
        if too_high(&point, low_value) {
            break (low, point);
        }
        if flat(&point) || used == LINE_EVALUATIONS {
            return Some(point);
        }
        if point.slope >= 0.0 {
            let Some(previous) = low else { break (Some(point), end_of(start)) };
            break (Some(point), previous);
        }
        let (from_t, from_value, from_slope) = low.as_ref().unwrap_or(start).line();
        // Where the cubic falls for ever, farther than it is from the last point.
        let wanted = cubic_minimum((from_t, from_value, from_slope), point.line()).unwrap_or(point.t * 5.0);
        t = wanted.clamp(point.t + 0.01 * (point.t - from_t), point.t * 10.0);
        low = Some(point);
    };

    // Narrows the interval between the lowest good point and one that bounds it.
    while used < LINE_EVALUATIONS {
        let (low_line, high_line) = (low.as_ref().unwrap_or(start).line(), high.line());
        let (left, right) = (low_line.0.min(high_line.0), low_line.0.max(high_line.0));
        let margin = 0.1 * (right - left);
        if margin <= f64::EPSILON * right {
            break;
        }
        let wanted = cubic_minimum(low_line, high_line).unwrap_or((left + right) / 2.0);
        let point = evaluate(wanted.clamp(left + margin, right - margin));
        used += 1;
        if too_high(&point, low_line.1) {
            high = point;
            continue;
        }
        if flat(&point) {
            return Some(point);
        }
        if point.slope * (high_line.0 - low_line.0) >= 0.0 {
            high = low.take().unwrap_or_else(|| end_of(start));
        }
        low = Some(point);
    }
    low
}

impl Point {
    fn line(&self) -> (f64, f64, f64) {
        (self.t, self.value, self.slope)
    }
}

/// The start as a bound of an interval: only its place on the line is read.
fn end_of(start: &Point) -> Point {
    Point { t: start.t, value: start.value, slope: start.slope, x: Vec::new(), gradient: Vec::new() }
}

/// Where the cubic through two points (t, value, slope) has its local minimum, if it has one.
fn cubic_minimum((t0, f0, d0): (f64, f64, f64), (t1, f1, d1): (f64, f64, f64)) -> Option<f64> {
    let a = d0 + d1 - 3.0 * (f0 - f1) / (t0 - t1);
    let root = (a * a - d0 * d1).sqrt() * (t1 - t0).signum();
    let t = t1 - (t1 - t0) * (d1 + root - a) / (d1 - d0 + 2.0 * root);
    t.is_finite().then_some(t)
}

/// In eight sums side by side, so that one addition need not wait for another.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

fn add_scaled(to: &mut [f64], factor: f64, values: &[f64]) {
    to.iter_mut().zip(values).for_each(|(to, value)| *to += factor * value);
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| value.abs().max(largest))
}

fn sum_of_absolutes(values: &[f64]) -> f64 {
    values.iter().map(|value| value.abs()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXACT: Lbfgs = Lbfgs { history: 10, iterations: 500, gradient_tolerance: 1e-9, change_tolerance: 0.0 };

    #[test]
    fn a_badly_scaled_quadratic_is_solved() {
        let scale = |i: usize| 10_f64.powi(i as i32 % 4);
        let mut x = vec![0.0; 30];
        let mut quadratic = |x: &[f64], gradient: &mut [f64]| {
            x.iter().enumerate().for_each(|(i, x)| gradient[i] = scale(i) * (x - i as f64));
            x.iter().enumerate().map(|(i, x)| 0.5 * scale(i) * (x - i as f64).powi(2)).sum()
        };
        let end = EXACT.minimize(&mut x, &mut quadratic);
        assert!(end.converged && end.iterations < 200, "{end:?}");
        x.iter().enumerate().for_each(|(i, x)| assert!((x - i as f64).abs() < 1e-8, "{i}: {x}"));
    }

    #[test]
    fn rosenbrock_s_valley_is_followed_to_its_end() {
        let mut evaluations = 0;
        let mut valley = |x: &[f64], gradient: &mut [f64]| {
            evaluations += 1;
            gradient.fill(0.0);
            x.windows(2)
                .enumerate()
                .map(|(i, pair)| {
                    let (bend, rest) = (pair[1] - pair[0] * pair[0], 1.0 - pair[0]);
                    gradient[i] += -400.0 * bend * pair[0] - 2.0 * rest;
                    gradient[i + 1] += 200.0 * bend;
                    100.0 * bend * bend + rest * rest
                })
                .sum()
        };
        let mut x = vec![-1.2, 1.0, -1.2, 1.0];
        let end = EXACT.minimize(&mut x, &mut valley);
        assert!(end.converged && evaluations < 200, "{end:?} {evaluations}");
        // From this start the valley's end is either the global minimum, all ones, or none.
        x.iter().for_each(|x| assert!((x - 1.0).abs() < 1e-6, "{x}"));
    }

    #[test]
    fn values_never_rise_and_infinite_ones_are_stepped_back_from() {
        // −log x + x: infinite left of 0, least at 1.
        let mut barrier = |x: &[f64], gradient: &mut [f64]| {
            gradient[0] = 1.0 - 1.0 / x[0];
            if x[0] <= 0.0 { f64::INFINITY } else { x[0] - x[0].ln() }
        };
        let mut x = vec![50.0];
        let end = EXACT.minimize(&mut x, &mut barrier);
        assert!((x[0] - 1.0).abs() < 1e-6 && end.converged, "{x:?} {end:?}");
    }

    #[test]
    fn running_out_of_iterations_is_said() {
        let mut x = vec![5.0, -3.0];
        let mut bowl = |x: &[f64], gradient: &mut [f64]| {
            gradient[0] = 2.0 * x[0];
            gradient[1] = 2000.0 * x[1];
            x[0] * x[0] + 1000.0 * x[1] * x[1]
        };
        let end = Lbfgs { iterations: 1, ..EXACT }.minimize(&mut x, &mut bowl);
        assert_eq!((end.converged, end.iterations), (false, 1));
    }

    #[test]
    fn dot_products_take_every_element() {
        let a: Vec<f64> = (1..=19).map(f64::from).collect();
        assert_eq!(dot(&a, &a), (1..=19).map(|i| f64::from(i * i)).sum::<f64>());
    }

    #[test]
    fn a_minimum_at_the_start_needs_no_step() {
        let mut x = vec![0.0];
        let end = EXACT.minimize(&mut x, &mut |x: &[f64], gradient: &mut [f64]| {
            gradient[0] = 2.0 * x[0];
            x[0] * x[0]
        });
        assert_eq!((end.iterations, end.value, x[0]), (0, 0.0, 0.0));
    }
}
