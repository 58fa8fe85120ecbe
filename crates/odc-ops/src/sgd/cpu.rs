//! SGD on the CPU: odc-kernels.

use super::{Descend, Update};
use crate::slices::{slice, slice_mut};
use candle_core::{CpuStorage, Layout, Result};
use odc_kernels::sgd as kernel;
use std::sync::Mutex;

type Argument<'a> = (&'a CpuStorage, &'a Layout);
type Target<'a> = (&'a mut CpuStorage, &'a Layout);

/// Lends the velocity to the operation that lends the parameter.
pub(super) fn update(op: &Update, velocity: Target) -> Result<()> {
    let velocity = slice_mut(velocity.0, velocity.1)?;
    op.parameter.inplace_op2(op.gradient, &Descend { step: op.step, velocity: Mutex::new(velocity) })
}

pub(super) fn descend(op: &Descend, parameter: Target, gradient: Argument) -> Result<()> {
    let (parameter, gradient) = (slice_mut(parameter.0, parameter.1)?, slice(gradient.0, gradient.1)?);
    // Locked once, by the only thread that knows of it.
    if let Ok(mut velocity) = op.velocity.lock() {
        kernel::descend(op.step, gradient, parameter, &mut velocity);
    }
    Ok(())
}
