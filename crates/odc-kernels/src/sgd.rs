//! Stochastic gradient descent as PyTorch does it: v ← m·v + (g + λ·p), p ← p − lr·v.

use crate::elementwise::BLOCK;
use rayon::prelude::*;

/// `velocity = momentum · velocity + (gradient + weight_decay · parameter)`.
///
/// # Panics
/// Where the lengths differ.
pub fn update_velocity(velocity: &mut [f32], gradient: &[f32], parameter: &[f32], momentum: f32, weight_decay: f32) {
    assert_eq!(velocity.len(), gradient.len(), "one gradient for each velocity");
    assert_eq!(velocity.len(), parameter.len(), "one parameter for each velocity");
    let blocks = gradient.par_chunks(BLOCK).zip(parameter.par_chunks(BLOCK));
    velocity.par_chunks_mut(BLOCK).zip(blocks).for_each(|(velocity, (gradient, parameter))| {
        for ((v, &g), &p) in velocity.iter_mut().zip(gradient).zip(parameter) {
            *v = momentum * *v + (g + weight_decay * p);
        }
    });
}

/// `parameter -= learning_rate · velocity`.
///
/// # Panics
/// Where the lengths differ.
pub fn descend(parameter: &mut [f32], velocity: &[f32], learning_rate: f32) {
    assert_eq!(parameter.len(), velocity.len(), "one velocity for each parameter");
    parameter.par_chunks_mut(BLOCK).zip(velocity.par_chunks(BLOCK)).for_each(|(parameter, velocity)| {
        for (p, &v) in parameter.iter_mut().zip(velocity) {
            *p -= learning_rate * v;
        }
    });
}
