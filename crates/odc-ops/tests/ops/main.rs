//! Every operation: gradients by finite differences, golden files, bits that no number of threads changes, refusals.

mod backward;
mod gradients;
mod neck;
mod refusals;
mod support;
mod threads;
mod training;
