//! Differentiable operations on candle tensors over odc-kernels, and SGD in place.
