//! Fully connected layer on the CPU: odc-kernels.

use super::{Product, Side};
use crate::slices::{filled, slice};
use candle_core::{CpuStorage, Layout, Result, Shape};
use odc_kernels::{Matrix, elementwise, matrix_multiply};

type Argument<'a> = (&'a CpuStorage, &'a Layout);

pub(super) fn product(op: &Product, a: Argument, b: Argument) -> Result<(CpuStorage, Shape)> {
    let (a, rows, _) = matrix(a, op.a)?;
    let (b, _, columns) = matrix(b, op.b)?;
    Ok(filled((rows, columns), |y| matrix_multiply(a, b, y)))
}

pub(super) fn add_bias(x: Argument, bias: Argument) -> Result<(CpuStorage, Shape)> {
    let (values, bias) = (slice(x.0, x.1)?, slice(bias.0, bias.1)?);
    Ok(filled(x.1.shape(), |y| elementwise::add_bias(values, bias, y)))
}

pub(super) fn sum_rows(x: Argument) -> Result<(CpuStorage, Shape)> {
    let columns = x.1.dims().last().copied().unwrap_or(1);
    let values = slice(x.0, x.1)?;
    Ok(filled(columns, |sums| elementwise::sum_rows(values, sums)))
}

fn matrix<'a>(argument: Argument<'a>, side: Side) -> Result<(Matrix<'a>, usize, usize)> {
    let (rows, columns) = argument.1.shape().dims2()?;
    let matrix = Matrix::row_major(slice(argument.0, argument.1)?, rows, columns);
    Ok(match side {
        Side::Plain => (matrix, rows, columns),
        Side::Transposed => (matrix.transposed(), columns, rows),
    })
}
