//! Minimises the primal objective of linear SVMs with squared hinge loss, many of them over the same rows at once.
//!
//! For each column of targets t (sign: the side of the hyperplane y; size: the weight of the row, 0 for none):
//! f(w) = ½‖w‖² + C Σ |t| max(0, 1 − y w·x)², x ending in 1, so that the bias is regularised as liblinear's is with
//! `intercept_scaling` 1. f is a quadratic wherever no row crosses its margin: a step solves that quadratic by conjugate
//! gradients (Keerthi and DeCoste, JMLR 2005) and goes to the minimum of f along it. All columns go in step, so that each
//! pass over the rows serves all of them.
//!
//! The end is certain: with α = 2C|t| max(0, 1 − y w·x), a feasible point of the dual, the duality gap is exactly
//! ½‖∇f(w)‖².

use rayon::prelude::*;

use super::rows::UnitRows;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newton {
    /// Done when the duality gap is at most this share of the objective.
    pub(crate) tolerance: f64,
    /// Most steps.
    pub(crate) iterations: usize,
}

/// Where one column stands.
#[derive(Clone, Debug)]
pub(crate) struct Hyperplane {
    /// Weights, and the bias last.
    pub(crate) weights: Vec<f64>,
    /// w·x of every row.
    pub(crate) scores: Vec<f32>,
    /// f(w).
    pub(crate) objective: f64,
    /// ½‖∇f(w)‖²: f(w) is above the minimum by no more.
    pub(crate) gap: f64,
    /// False where the steps ran out, or single precision was exhausted, before the gap was small enough.
    pub(crate) converged: bool,
}

/// Passes of conjugate gradients in one step.
const PASSES: usize = 500;
/// A step's quadratic is solved until its gradient is this share of what it was, or small enough to end.
const FORCING: f64 = 0.1;

impl Hyperplane {
    /// The weights of no preference, where every search begins.
    pub(crate) fn zero(rows: &UnitRows) -> Self {
        let (weights, scores) = (vec![0.0; rows.width()], vec![0.0; rows.len()]);
        Self { weights, scores, objective: f64::INFINITY, gap: f64::INFINITY, converged: false }
    }
}

impl Newton {
    /// Moves each of `planes` to the minimum for the column of `targets` beside it.
    pub(crate) fn minimize(&self, rows: &UnitRows, targets: &[&[f32]], cost: f64, planes: &mut [Hyperplane]) {
        let mut open: Vec<Search<'_>> = planes.iter_mut().zip(targets).map(|(p, t)| Search::new(p, t, cost)).collect();
        for iteration in 0..=self.iterations {
            let scores = rows.times(&views(&open, |search| &search.plane.weights));
            open.par_iter_mut().zip(scores).for_each(|(search, scores)| search.plane.scores = scores);
            let pulls: Vec<Vec<f32>> = open.par_iter().map(Search::pull).collect();
            let pulls: Vec<&[f32]> = pulls.iter().map(Vec::as_slice).collect();
            let gradients = rows.transposed_times(&pulls);
            open.par_iter_mut().zip(gradients).for_each(|(search, gradient)| search.arrive(gradient, self.tolerance));
            open.retain(|search| !search.ended);
            if open.is_empty() || iteration == self.iterations {
                break;
            }
            self.solve_quadratics(rows, &mut open);
            let along = rows.times(&views(&open, |search| &search.step));
            open.par_iter_mut().zip(along).for_each(|(search, along)| search.go(&along));
        }
    }

    /// H step = −gradient for each search, by conjugate gradients.
    fn solve_quadratics(&self, rows: &UnitRows, open: &mut [Search<'_>]) {
        open.par_iter_mut().for_each(Search::begin_quadratic);
        for _ in 0..PASSES {
            let mut running: Vec<&mut Search<'_>> =
                open.iter_mut().filter(|search| !search.quadratic_is_solved(self.tolerance)).collect();
            if running.is_empty() {
                break;
            }
            let directions: Vec<&[f64]> = running.iter().map(|search| search.direction.as_slice()).collect();
            let curvatures: Vec<&[f32]> = running.iter().map(|search| search.curvature.as_slice()).collect();
            let bent = rows.weighted_gram_times(&directions, &curvatures);
            running.par_iter_mut().zip(bent).for_each(|(search, bent)| search.conjugate(bent));
        }
    }
}

/// One column on its way.
struct Search<'a> {
    plane: &'a mut Hyperplane,
    targets: &'a [f32],
    cost: f64,
    ended: bool,
    gradient: Vec<f64>,
    /// 2C|t| of the rows within the margin, 0 of others: H = 1 + Xᵀ diag(curvature) X.
    curvature: Vec<f32>,
    /// The state of conjugate gradients: solution, residual, its square, direction.
    step: Vec<f64>,
    residual: Vec<f64>,
    square: f64,
    direction: Vec<f64>,
}

impl<'a> Search<'a> {
    fn new(plane: &'a mut Hyperplane, targets: &'a [f32], cost: f64) -> Self {
        plane.objective = f64::INFINITY;
        plane.converged = false;
        let (gradient, curvature, step) = (Vec::new(), vec![0.0; targets.len()], Vec::new());
        Self {
            plane,
            targets,
            cost,
            ended: false,
            gradient,
            curvature,
            step,
            residual: Vec::new(),
            square: 0.0,
            direction: Vec::new(),
        }
    }

    /// The derivative of the loss by each row's score.
    fn pull(&self) -> Vec<f32> {
        let derivative = |(&target, &score): (&f32, &f32)| {
            let target = f64::from(target);
            (-2.0 * self.cost * target * shortfall(target, f64::from(score))) as f32
        };
        self.targets.iter().zip(&self.plane.scores).map(derivative).collect()
    }

    /// Judges the point from its scores and the loss's gradient by the weights.
    fn arrive(&mut self, mut gradient: Vec<f64>, tolerance: f64) {
        let plane = &mut *self.plane;
        gradient.iter_mut().zip(&plane.weights).for_each(|(gradient, weight)| *gradient += weight);
        let mut loss = 0.0;
        for ((&target, &score), curvature) in self.targets.iter().zip(&plane.scores).zip(&mut self.curvature) {
            let (target, size) = (f64::from(target), f64::from(target.abs()));
            let short = shortfall(target, f64::from(score));
            loss += size * short * short;
            *curvature = if short > 0.0 { (2.0 * self.cost * size) as f32 } else { 0.0 };
        }
        let objective = 0.5 * dot(&plane.weights, &plane.weights) + self.cost * loss;
        plane.gap = 0.5 * dot(&gradient, &gradient);
        plane.converged = plane.gap <= tolerance * objective;
        // A step that does not go down is below what the products can tell apart.
        self.ended = plane.converged || objective >= plane.objective;
        plane.objective = objective;
        self.gradient = gradient;
    }

    fn begin_quadratic(&mut self) {
        self.step = vec![0.0; self.gradient.len()];
        self.residual = self.gradient.iter().map(|gradient| -gradient).collect();
        self.square = dot(&self.residual, &self.residual);
        self.direction.clone_from(&self.residual);
    }

    /// Whether what is left is little, or leaves a gap that ends the search where no row crosses its margin.
    fn quadratic_is_solved(&self, tolerance: f64) -> bool {
        let wanted = (FORCING * FORCING * 2.0 * self.plane.gap).max(0.5 * tolerance * self.plane.objective);
        self.square <= wanted
    }

    /// One pass of conjugate gradients; `bent` is Xᵀ diag(curvature) X direction.
    fn conjugate(&mut self, mut bent: Vec<f64>) {
        bent.iter_mut().zip(&self.direction).for_each(|(bent, direction)| *bent += direction);
        let length = self.square / dot(&self.direction, &bent);
        add_scaled(&mut self.step, length, &self.direction);
        add_scaled(&mut self.residual, -length, &bent);
        let square = dot(&self.residual, &self.residual);
        let keep = square / self.square;
        self.square = square;
        self.direction.iter_mut().zip(&self.residual).for_each(|(d, r)| *d = r + keep * *d);
    }

    /// Goes to the minimum along the step; `along` is X step.
    ///
    /// The derivative along the line is increasing and made of straight pieces: Newton's method finds its zero, kept
    /// between what is known to be too short and too far.
    fn go(&mut self, along: &[f32]) {
        let plane = &mut *self.plane;
        let (from, square) = (dot(&plane.weights, &self.step), dot(&self.step, &self.step));
        let derivatives = |t: f64| {
            let (mut slope, mut bend) = (from + t * square, square);
            for ((&target, &score), &along) in self.targets.iter().zip(&plane.scores).zip(along) {
                let (target, along) = (f64::from(target), f64::from(along));
                let short = shortfall(target, f64::from(score) + t * along);
                if short > 0.0 {
                    slope -= 2.0 * self.cost * target * along * short;
                    bend += 2.0 * self.cost * target.abs() * along * along;
                }
            }
            (slope, bend)
        };
        let (start, _) = derivatives(0.0);
        let (mut short, mut far, mut t) = (0.0, f64::INFINITY, 1.0);
        for _ in 0..50 {
            let (slope, bend) = derivatives(t);
            if slope.abs() <= 1e-3 * start.abs() {
                break;
            }
            if slope < 0.0 {
                short = t
            } else {
                far = t
            }
            t -= slope / bend;
            if t <= short || t >= far {
                t = if far.is_finite() { 0.5 * (short + far) } else { 2.0 * short };
            }
        }
        add_scaled(&mut plane.weights, t, &self.step);
    }
}

/// max(0, 1 − y·score); 0 for a row of no weight.
fn shortfall(target: f64, score: f64) -> f64 {
    if target == 0.0 { 0.0 } else { (1.0 - target.signum() * score).max(0.0) }
}

fn views<'a>(open: &'a [Search<'_>], of: impl Fn(&'a Search<'_>) -> &'a Vec<f64>) -> Vec<&'a [f64]> {
    open.iter().map(|search| of(search).as_slice()).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add_scaled(to: &mut [f64], factor: f64, values: &[f64]) {
    to.iter_mut().zip(values).for_each(|(to, value)| *to += factor * value);
}
