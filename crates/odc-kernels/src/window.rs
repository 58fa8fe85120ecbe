//! A sliding window: the geometry that convolution and pooling share.

use crate::ShapeError;

/// Square stride and padding over images of one size; made by [`Window::new`], which checks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    height: usize,
    width: usize,
    kernel_height: usize,
    kernel_width: usize,
    stride: usize,
    padding: usize,
}

impl Window {
    /// A window of `kernel_height` × `kernel_width` moving by `stride` over `height` × `width` with `padding` on all sides.
    ///
    /// # Errors
    /// A zero dimension or stride, or a window larger than the padded image.
    pub fn new(
        (height, width): (usize, usize),
        (kernel_height, kernel_width): (usize, usize),
        stride: usize,
        padding: usize,
    ) -> Result<Self, ShapeError> {
        let sizes = [
            ("height", height),
            ("width", width),
            ("kernel height", kernel_height),
            ("kernel width", kernel_width),
            ("stride", stride),
        ];
        for (name, size) in sizes {
            if size == 0 {
                return Err(ShapeError::Zero { name });
            }
        }
        for (kernel, side) in [(kernel_height, height), (kernel_width, width)] {
            if kernel > side + 2 * padding {
                return Err(ShapeError::WindowTooLarge { kernel, side, padding });
            }
        }
        Ok(Self { height, width, kernel_height, kernel_width, stride, padding })
    }

    /// Height of the image.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Width of the image.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height of the window.
    pub fn kernel_height(&self) -> usize {
        self.kernel_height
    }

    /// Width of the window.
    pub fn kernel_width(&self) -> usize {
        self.kernel_width
    }

    /// Cells of the window.
    pub fn kernel_area(&self) -> usize {
        self.kernel_height * self.kernel_width
    }

    /// Step between windows.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Padding on each side.
    pub fn padding(&self) -> usize {
        self.padding
    }

    /// Windows from top to bottom.
    pub fn out_height(&self) -> usize {
        (self.height + 2 * self.padding - self.kernel_height) / self.stride + 1
    }

    /// Windows from left to right.
    pub fn out_width(&self) -> usize {
        (self.width + 2 * self.padding - self.kernel_width) / self.stride + 1
    }

    /// Pixels of the image.
    pub fn in_area(&self) -> usize {
        self.height * self.width
    }

    /// Windows over the image.
    pub fn out_area(&self) -> usize {
        self.out_height() * self.out_width()
    }
}
