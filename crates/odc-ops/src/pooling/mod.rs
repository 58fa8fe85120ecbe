//! Max pooling, the global average, and averages over a grid.

mod cpu;

use crate::backward::apply1;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Error, Layout, Result, Shape, Tensor, bail};
use odc_kernels::Window;
use odc_kernels::pooling::{GridAverage, PoolingShape};
use std::sync::OnceLock;

/// The largest value under each `kernel` × `kernel` window of `x` `[N, H, W, C]`; padding counts as −∞. The gradient goes
/// to the first of equals.
///
/// # Errors
/// A stride of zero, a window larger than the padded image or than 16, padding beyond half the window.
pub fn max_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: usize) -> Result<Tensor> {
    let (images, height, width, channels) = x.dims4()?;
    let window = Window::new((height, width), (kernel, kernel), stride, padding).map_err(Error::wrap)?;
    let shape = PoolingShape::new(images, window, channels).map_err(Error::wrap)?;
    apply1(&x.contiguous()?, MaxPool { shape, positions: OnceLock::new() })
}

/// The mean over the pixels of `x` `[N, H, W, C]`: `[N, C]`.
///
/// # Errors
/// A tensor without pixels or of another rank.
pub fn global_average_pool(x: &Tensor) -> Result<Tensor> {
    let (_, height, width, channels) = x.dims4()?;
    if height * width * channels == 0 {
        bail!("global_average_pool: x {:?} has no pixels", x.shape());
    }
    apply1(&x.contiguous()?, GlobalAverage)
}

/// The means over a grid of `side` × `side` cells of `x` `[N, H, W, C]`, as rows `[N, side · side · C]`: PyTorch's
/// `AdaptiveAvgPool2d(side)`, flattened. A map of that side stays as it is; a smaller one is repeated.
///
/// # Errors
/// A tensor without pixels or of another rank, a side of 0.
pub fn adaptive_average_rows(x: &Tensor, side: usize) -> Result<Tensor> {
    let (_, height, width, channels) = x.dims4()?;
    if height * width * channels * side == 0 {
        bail!("adaptive_average_rows: x {:?} has no pixels, or side {side} no cells", x.shape());
    }
    apply1(&x.contiguous()?, GridRows(GridAverage { size: (height, width), side, channels }))
}

/// Argument: x. The same pass leaves here, for each output, the window cell with the largest input, `u8`.
struct MaxPool {
    shape: PoolingShape,
    positions: OnceLock<Tensor>,
}

/// Arguments: positions, gradient by the output. Result: gradient by x.
struct MaxPoolBackward(PoolingShape);

struct GlobalAverage;

/// Argument: gradient `[N, C]`. Result: gradient by x `[N, H, W, C]`.
struct GlobalAverageBackward {
    height: usize,
    width: usize,
}

struct GridRows(GridAverage);

/// Argument: gradient `[N, side · side · C]`. Result: gradient by x `[N, H, W, C]`.
struct GridRowsBackward(GridAverage);

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max-pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::max_pool(self, (x, xl))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let Some(positions) = self.positions.get() else { bail!("max_pool2d: a gradient before the forward pass") };
        Ok(Some(positions.apply_op2_no_bwd(&dy.contiguous()?, &MaxPoolBackward(self.shape))?))
    }
}

impl CustomOp2 for MaxPoolBackward {
    fn name(&self) -> &'static str {
        "max-pool-backward"
    }

    fn cpu_fwd(&self, p: &CpuStorage, pl: &Layout, dy: &CpuStorage, dyl: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::max_pool_backward(&self.0, (p, pl), (dy, dyl))
    }
}

impl CustomOp1 for GlobalAverage {
    fn name(&self) -> &'static str {
        "global-average-pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::global_average((x, xl))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (_, height, width, _) = x.dims4()?;
        Ok(Some(dy.contiguous()?.apply_op1_no_bwd(&GlobalAverageBackward { height, width })?))
    }
}

impl CustomOp1 for GlobalAverageBackward {
    fn name(&self) -> &'static str {
        "global-average-pool-backward"
    }

    fn cpu_fwd(&self, dy: &CpuStorage, dyl: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::global_average_backward(self, (dy, dyl))
    }
}

impl CustomOp1 for GridRows {
    fn name(&self) -> &'static str {
        "adaptive-average-rows"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::grid_rows(&self.0, (x, xl))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(dy.contiguous()?.apply_op1_no_bwd(&GridRowsBackward(self.0))?))
    }
}

impl CustomOp1 for GridRowsBackward {
    fn name(&self) -> &'static str {
        "adaptive-average-rows-backward"
    }

    fn cpu_fwd(&self, dy: &CpuStorage, dyl: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::grid_rows_backward(&self.0, (dy, dyl))
    }
}
