//! Stochastic gradient descent as PyTorch does it: v ← m·v + (g + λ·p), p ← p − lr·v, both in one pass.

use crate::elementwise::BLOCK;
use crate::vectorized::{current_level, vectorized};
use rayon::prelude::*;

/// The factors of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdStep {
    /// lr
    pub learning_rate: f32,
    /// m, the share of the last velocity that is kept
    pub momentum: f32,
    /// λ, the factor of the parameter that is added to its gradient
    pub weight_decay: f32,
}

/// One step, in place.
///
/// # Panics
/// Where the lengths differ.
pub fn descend(step: SgdStep, gradient: &[f32], parameter: &mut [f32], velocity: &mut [f32]) {
    assert_eq!(parameter.len(), gradient.len(), "one gradient for each parameter");
    assert_eq!(parameter.len(), velocity.len(), "one velocity for each parameter");
    let level = current_level();
    let blocks = parameter.par_chunks_mut(BLOCK).zip(velocity.par_chunks_mut(BLOCK)).zip(gradient.par_chunks(BLOCK));
    blocks.for_each(|((parameter, velocity), gradient)| descend_block(level, step, gradient, parameter, velocity));
}

vectorized! {
    fn descend_block(step: SgdStep, gradient: &[f32], parameter: &mut [f32], velocity: &mut [f32]) {
        let SgdStep { learning_rate, momentum, weight_decay } = step;
        for ((p, v), &g) in parameter.iter_mut().zip(velocity).zip(gradient) {
            *v = momentum * *v + (g + weight_decay * *p);
            *p -= learning_rate * *v;
        }
    }
}
