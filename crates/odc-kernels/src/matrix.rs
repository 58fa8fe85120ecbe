//! Matrix product: the `gemm` crate, single-threaded, over blocks fixed by shape that rayon distributes.

use gemm::Parallelism;
use rayon::prelude::*;

use crate::disjoint::Disjoint;

/// Rows and columns of one block of [`matrix_multiply`]'s result.
const BLOCK: (usize, usize) = (128, 256);

/// A matrix in a slice: row-major, or the transpose of one.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows` × `columns`, row after row.
    ///
    /// # Panics
    /// Where the slice has another length.
    pub fn row_major(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "a matrix of {rows} × {columns} in a slice");
        Self { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The same values with rows and columns exchanged; nothing moves.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Rows `start .. start + count`.
    ///
    /// # Panics
    /// Where there are fewer.
    pub fn rows(self, start: usize, count: usize) -> Self {
        assert!(start + count <= self.rows, "rows {start} + {count} of {}", self.rows);
        if count == 0 || self.columns == 0 {
            return Self { values: &[], rows: count, ..self };
        }
        Self { values: &self.values[start * self.row_stride..], rows: count, ..self }
    }

    /// Columns `start .. start + count`.
    ///
    /// # Panics
    /// Where there are fewer.
    pub fn columns(self, start: usize, count: usize) -> Self {
        self.transposed().rows(start, count).transposed()
    }
}

/// `out = a · b`, all threads of the current rayon pool; `out` is row-major, `a.rows` × `b.columns`.
///
/// # Panics
/// Where the shapes do not fit each other.
pub fn matrix_multiply(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32]) {
    check(a, b, out.len());
    if out.is_empty() {
        return;
    }
    let (block_rows, block_columns) = BLOCK;
    let row_blocks = a.rows.div_ceil(block_rows);
    let column_blocks = b.columns.div_ceil(block_columns);
    let width = b.columns;
    let target = Disjoint::new(out);
    (0..row_blocks * column_blocks).into_par_iter().for_each(|block| {
        let row = block / column_blocks * block_rows;
        let column = block % column_blocks * block_columns;
        let a = a.rows(row, block_rows.min(a.rows - row));
        let b = b.columns(column, block_columns.min(b.columns - column));
        // SAFETY: (row, column) lies inside `out`, whose length `check` compared with a.rows × b.columns, and the
        // block ends inside it; blocks do not overlap, and `out` is borrowed mutably for the whole parallel loop.
        unsafe { product(a, b, target.at(row * width + column), width) }
    });
}

/// `out = a · b` on the calling thread.
///
/// # Panics
/// Where the shapes do not fit each other.
pub fn multiply_block(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32]) {
    check(a, b, out.len());
    // SAFETY: `check` compared the length of `out`, borrowed mutably here, with a.rows × b.columns.
    unsafe { product(a, b, out.as_mut_ptr(), b.columns) }
}

fn check(a: Matrix<'_>, b: Matrix<'_>, out: usize) {
    assert_eq!(a.columns, b.rows, "inner dimensions of {} × {} · {} × {}", a.rows, a.columns, b.rows, b.columns);
    assert_eq!(out, a.rows * b.columns, "result of {} × {} · {} × {}", a.rows, a.columns, b.rows, b.columns);
    for m in [a, b] {
        let last = m.rows.saturating_sub(1) * m.row_stride + m.columns.saturating_sub(1) * m.column_stride;
        assert!(m.rows * m.columns == 0 || last < m.values.len(), "a matrix view ends inside its slice");
    }
}

/// `out = a · b`, rows of `out` being `stride` apart.
///
/// # Safety
/// `out` must be valid for writes of a.rows × b.columns elements with rows `stride` ≥ b.columns apart, and nothing
/// else may access them meanwhile. The last element of `a` and of `b` must lie inside its slice.
unsafe fn product(a: Matrix<'_>, b: Matrix<'_>, out: *mut f32, stride: usize) {
    // SAFETY: the caller vouches for `out`; `a` and `b` are shared borrows whose last element (rows − 1, columns − 1)
    // lies inside (asserted by `check`; sub-views only shrink). gemm reads and writes no other elements, and
    // Parallelism::None keeps it on this thread.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out,
            1,
            stride as isize,
            false,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
