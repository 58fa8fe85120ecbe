//! CPU kernels for training: convolution, batch norm, pooling, matrix product, nearest row.
