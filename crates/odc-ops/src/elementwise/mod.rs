//! ReLU and the sum of two tensors of one shape.

mod cpu;

use crate::backward::{apply1, apply2};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, InplaceOp2, Layout, Result, Shape, Tensor, bail};

/// `max(x, 0)`; the gradient at 0 is 0.
///
/// # Errors
/// A tensor that is not `f32`.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    apply1(&x.contiguous()?, Relu)
}

/// `a + b`, shapes equal.
///
/// # Errors
/// Shapes that differ.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.shape() != b.shape() {
        bail!("add: {:?} and {:?} differ", a.shape(), b.shape());
    }
    apply2(&a.contiguous()?, &b.contiguous()?, Add)
}

/// `a + b` outside of any graph.
pub(crate) fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    a.contiguous()?.apply_op2_no_bwd(&b.contiguous()?, &Add)
}

/// `a += b`, where nothing else holds a's storage.
pub(crate) fn add_assign(a: &Tensor, b: &Tensor) -> Result<()> {
    a.inplace_op2(&b.contiguous()?, &AddAssign)
}

/// `dy` where the result `y` of a relu is positive, else 0, outside of any graph.
pub(crate) fn relu_backward(y: &Tensor, dy: &Tensor) -> Result<Tensor> {
    y.apply_op2_no_bwd(&dy.contiguous()?, &ReluBackward)
}

struct Relu;
/// Arguments: the result of [`Relu`], gradient by it. Result: gradient by x.
struct ReluBackward;
struct Add;
struct AddAssign;

impl CustomOp1 for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::relu((x, xl))
    }

    fn bwd(&self, _x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(relu_backward(y, dy)?))
    }
}

impl CustomOp2 for ReluBackward {
    fn name(&self) -> &'static str {
        "relu-backward"
    }

    fn cpu_fwd(&self, y: &CpuStorage, yl: &Layout, dy: &CpuStorage, dyl: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::relu_backward((y, yl), (dy, dyl))
    }
}

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(&self, a: &CpuStorage, al: &Layout, b: &CpuStorage, bl: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::add((a, al), (b, bl))
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((a.track_op().then(|| dy.clone()), b.track_op().then(|| dy.clone())))
    }
}

impl InplaceOp2 for AddAssign {
    fn name(&self) -> &'static str {
        "add-assign"
    }

    fn cpu_fwd(&self, a: &mut CpuStorage, al: &Layout, b: &CpuStorage, bl: &Layout) -> Result<()> {
        cpu::add_assign((a, al), (b, bl))
    }
}
