//! Which source pixels each result pixel sees: the geometry of a convolution, forward or backward.
//!
//! The gradient by the images is a convolution as well. For stride s, the pixels (s·a + i, s·b + j) with fixed i, j (a
//! parity class) see only the taps with ky ≡ i + padding (mod s), kx alike, and over those the gradient is a convolution
//! of stride 1 of the output gradient with transposed weights. Stride 1 has one class with all taps.

use std::ops::Range;

use super::ConvolutionShape;

/// Result pixels `images × height × width`, and for each the source pixels under its taps.
#[derive(Debug, Clone)]
pub(super) struct Grid {
    images: usize,
    height: usize,
    width: usize,
    source: Source,
    taps: Vec<Tap>,
    result: Placement,
    /// Rows are counted with the images innermost, so that neighbours in a tile share the taps that are padding.
    by_position: bool,
}

/// An image stack to read from.
#[derive(Debug, Clone, Copy)]
struct Source {
    height: usize,
    width: usize,
    /// Numbers from one pixel to the next.
    pixel: usize,
    /// Source pixels between the windows of neighbouring results.
    step: usize,
}

/// Where grid position (a, b) lies among the results: (a · step + y, b · step + x) of `height` × `width`.
#[derive(Debug, Clone, Copy)]
struct Placement {
    height: usize,
    width: usize,
    step: usize,
    y: usize,
    x: usize,
}

/// The source pixel (a · step + y, b · step + x) of grid position (a, b), and its place among the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tap {
    y: isize,
    x: isize,
    weight: usize,
}

/// A result pixel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    image: usize,
    y: usize,
    x: usize,
}

impl Grid {
    /// Results are the output's pixels, sources the input's.
    pub(super) fn forward(shape: &ConvolutionShape) -> Self {
        let window = shape.window();
        let offset = |k: usize| k as isize - window.padding() as isize;
        let (width, kernel_width) = (window.kernel_area(), window.kernel_width());
        let taps =
            (0..width).map(|weight| Tap { y: offset(weight / kernel_width), x: offset(weight % kernel_width), weight });
        let (height, width) = (window.out_height(), window.out_width());
        Self::new(
            (shape.images(), height, width),
            Source {
                height: window.height(),
                width: window.width(),
                pixel: shape.in_channels(),
                step: window.stride(),
            },
            taps.collect(),
            Placement { height, width, step: 1, y: 0, x: 0 },
        )
    }

    /// As [`Grid::forward`], from images that were padded with zeros. A kernel row is one tap: its pixels are neighbours.
    pub(super) fn forward_by_kernel_rows(shape: &ConvolutionShape) -> Self {
        let window = shape.window();
        let taps = (0..window.kernel_height()).map(|weight| Tap { y: weight as isize, x: 0, weight }).collect();
        let (height, width) = (window.out_height(), window.out_width());
        Self::new(
            (shape.images(), height, width),
            Source {
                height: window.height() + 2 * window.padding(),
                width: window.width() + 2 * window.padding(),
                pixel: shape.in_channels(),
                step: window.stride(),
            },
            taps,
            Placement { height, width, step: 1, y: 0, x: 0 },
        )
    }

    /// One grid for each parity class: results are the class's pixels of the input, sources the output's.
    pub(super) fn backward(shape: &ConvolutionShape) -> Vec<Self> {
        let window = shape.window();
        let stride = window.stride();
        let class = |y: usize, x: usize| {
            let reached = |start: usize, k: usize| (start + window.padding()) as isize - k as isize;
            let taps = (0..window.kernel_area()).filter_map(|weight| {
                let offsets = (reached(y, weight / window.kernel_width()), reached(x, weight % window.kernel_width()));
                let whole = |offset: isize| offset.rem_euclid(stride as isize) == 0;
                let step = stride as isize;
                (whole(offsets.0) && whole(offsets.1)).then(|| Tap {
                    y: offsets.0.div_euclid(step),
                    x: offsets.1.div_euclid(step),
                    weight,
                })
            });
            Self::new(
                (
                    shape.images(),
                    (window.height().saturating_sub(y)).div_ceil(stride),
                    (window.width().saturating_sub(x)).div_ceil(stride),
                ),
                Source { height: window.out_height(), width: window.out_width(), pixel: shape.out_channels(), step: 1 },
                taps.collect(),
                Placement { height: window.height(), width: window.width(), step: stride, y, x },
            )
        };
        (0..stride * stride).map(|index| class(index / stride, index % stride)).collect()
    }

    fn new(
        (images, height, width): (usize, usize, usize),
        source: Source,
        mut taps: Vec<Tap>,
        result: Placement,
    ) -> Self {
        // A tap that lies in the padding for every position (the outer ones over a map of one pixel) is none.
        let reaches = |offset: isize, positions: usize, side: usize| {
            (0..positions).any(|position| inside(position * source.step, offset, side).is_some())
        };
        taps.retain(|tap| reaches(tap.y, height, source.height) && reaches(tap.x, width, source.width));
        let pixels = height * width;
        let by_position = taps.len() > 1 && (pixels <= 64 || (images >= 32 && pixels <= 256));
        Self { images, height, width, source, taps, result, by_position }
    }

    /// Result pixels.
    pub(super) fn rows(&self) -> usize {
        self.images * self.height * self.width
    }

    /// Whether rows go through source and results from front to back.
    pub(super) fn is_in_order(&self) -> bool {
        !self.by_position
    }

    /// Which of the kernel's taps each slot is.
    pub(super) fn tap_weights(&self) -> Vec<usize> {
        self.taps.iter().map(|tap| tap.weight).collect()
    }

    /// Pairs of result pixel and tap that are not padding.
    pub(super) fn pairs(&self) -> usize {
        let count = |offset: isize, positions: usize, side: usize| {
            (0..positions).filter(|position| inside(position * self.source.step, offset, side).is_some()).count()
        };
        let per_image = self
            .taps
            .iter()
            .map(|tap| count(tap.y, self.height, self.source.height) * count(tap.x, self.width, self.source.width));
        self.images * per_image.sum::<usize>()
    }

    /// The positions of some rows, in order.
    pub(super) fn positions(&self, rows: Range<usize>) -> impl Iterator<Item = Position> {
        let pixels = (self.height * self.width).max(1);
        let (images, height, width, by_position) =
            (self.images.max(1), self.height, self.width.max(1), self.by_position);
        let (image, pixel) = if by_position {
            (rows.start % images, rows.start / images)
        } else {
            (rows.start / pixels, rows.start % pixels)
        };
        let mut next = Position { image, y: pixel / width, x: pixel % width };
        // Divisions for every row would cost as much as the addresses.
        rows.map(move |_| {
            let position = next;
            if by_position {
                next.image += 1;
                if next.image < images {
                    return position;
                }
                next.image = 0;
            }
            next.x += 1;
            if next.x == width {
                (next.x, next.y) = (0, next.y + 1);
                if next.y == height && !by_position {
                    (next.y, next.image) = (0, next.image + 1);
                }
            }
            position
        })
    }

    /// Where the source pixel under a tap begins, `None` in the padding.
    pub(super) fn source_offset(&self, position: Position, slot: usize) -> Option<usize> {
        let tap = &self.taps[slot];
        let y = inside(position.y * self.source.step, tap.y, self.source.height)?;
        let x = inside(position.x * self.source.step, tap.x, self.source.width)?;
        Some(((position.image * self.source.height + y) * self.source.width + x) * self.source.pixel)
    }

    /// Which pixel of all results this is.
    pub(super) fn result_pixel(&self, position: Position) -> usize {
        let Placement { height, width, step, y, x } = self.result;
        (position.image * height + position.y * step + y) * width + position.x * step + x
    }
}

fn inside(position: usize, offset: isize, side: usize) -> Option<usize> {
    position.checked_add_signed(offset).filter(|&position| position < side)
}
