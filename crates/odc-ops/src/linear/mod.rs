//! Fully connected layer, and a bias for every channel.

mod cpu;

use crate::backward::apply2;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};

/// `x · weightᵀ + bias` for `x` `[N, I]`, `weight` `[O, I]`, `bias` `[O]`; the result is `[N, O]`.
///
/// # Errors
/// Shapes that do not fit each other.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (_, inputs) = x.dims2()?;
    let (outputs, weight_inputs) = weight.dims2()?;
    if inputs != weight_inputs || outputs == 0 {
        bail!("linear: x {:?} does not fit the weight {:?} ([outputs, inputs])", x.shape(), weight.shape());
    }
    let y = apply2(&x.contiguous()?, &weight.contiguous()?, Product { a: Side::Plain, b: Side::Transposed })?;
    match bias {
        None => Ok(y),
        Some(bias) if bias.dims() == [outputs] => add_bias(&y, bias),
        Some(bias) => bail!("linear: bias {:?} for the weight {:?}", bias.shape(), weight.shape()),
    }
}

/// `x + bias` for `x` `[…, C]`, `bias` `[C]`.
///
/// # Errors
/// A bias of another length, a tensor without axes.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if x.dims().last().is_none_or(|channels| *channels == 0 || bias.dims() != [*channels]) {
        bail!("add_bias: x {:?}, bias {:?}; the bias must be as long as x's last axis", x.shape(), bias.shape());
    }
    apply2(&x.contiguous()?, &bias.contiguous()?, AddBias)
}

/// How a matrix enters a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Plain,
    Transposed,
}

/// The product of two matrices, each as it is or transposed. Its gradient is written for x · weightᵀ.
struct Product {
    a: Side,
    b: Side,
}

/// Arguments: rows `[…, O]`, bias `[O]`.
struct AddBias;
/// Argument: gradient `[…, O]`. Result: `[O]`.
struct SumRows;

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, a: &CpuStorage, al: &Layout, b: &CpuStorage, bl: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::product(self, (a, al), (b, bl))
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let plain = Self { a: Side::Plain, b: Side::Plain };
        let transposed = Self { a: Side::Transposed, b: Side::Plain };
        let dx = x.track_op().then(|| dy.apply_op2_no_bwd(weight, &plain)).transpose()?;
        let dw = weight.track_op().then(|| dy.apply_op2_no_bwd(x, &transposed)).transpose()?;
        Ok((dx, dw))
    }
}

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, b: &CpuStorage, bl: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::add_bias((x, xl), (b, bl))
    }

    fn bwd(&self, x: &Tensor, bias: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let db = bias.track_op().then(|| dy.contiguous()?.apply_op1_no_bwd(&SumRows)).transpose()?;
        Ok((x.track_op().then(|| dy.clone()), db))
    }
}

impl CustomOp1 for SumRows {
    fn name(&self) -> &'static str {
        "sum-rows"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::sum_rows((x, xl))
    }
}
