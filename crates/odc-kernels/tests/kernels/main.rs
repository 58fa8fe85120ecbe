//! Every kernel against its naive twin, golden files, and itself with other numbers of threads.

mod batch_norm;
mod convolution;
mod layers;
mod nearest;
mod pooling_and_loss;
mod support;
