//! What can be wrong with a shape, checked once where a shape value is made.

/// A shape that no kernel can work on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// A dimension or a stride is zero.
    #[error("{name} is 0; it must be at least 1")]
    Zero {
        /// Which one.
        name: &'static str,
    },
    /// The window is larger than the padded image.
    #[error("a window of {kernel} does not fit an image side of {side} with padding {padding} on both ends")]
    WindowTooLarge {
        /// Window side.
        kernel: usize,
        /// Image side.
        side: usize,
        /// Zeros added at each end.
        padding: usize,
    },
    /// The pooling window has more cells than a `u8` can tell apart.
    #[error("a pooling window of {kernel}×{kernel} has more than 256 cells; use a kernel of at most 16")]
    PoolingWindow {
        /// Window side.
        kernel: usize,
    },
    /// Padding of a pooling window reaches beyond half the window, so that a window could lie wholly in padding.
    #[error("padding {padding} is more than half of the pooling kernel {kernel}")]
    PoolingPadding {
        /// Zeros added at each end.
        padding: usize,
        /// Window side.
        kernel: usize,
    },
}
