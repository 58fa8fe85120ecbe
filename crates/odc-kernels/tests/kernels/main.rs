//! Every kernel against its naive twin, golden files, and itself with other numbers of threads.

mod convolution;
mod layers;
mod nearest;
mod support;
