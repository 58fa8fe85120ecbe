//! SGD on the CPU: odc-kernels.

use super::{Descend, UpdateVelocity};
use crate::slices::{slice, slice_mut};
use candle_core::{CpuStorage, Layout, Result};
use odc_kernels::sgd as kernel;

type Argument<'a> = (&'a CpuStorage, &'a Layout);
type Target<'a> = (&'a mut CpuStorage, &'a Layout);

pub(super) fn update_velocity(
    op: &UpdateVelocity,
    velocity: Target,
    gradient: Argument,
    parameter: Argument,
) -> Result<()> {
    let (gradient, parameter) = (slice(gradient.0, gradient.1)?, slice(parameter.0, parameter.1)?);
    kernel::update_velocity(slice_mut(velocity.0, velocity.1)?, gradient, parameter, op.momentum, op.weight_decay);
    Ok(())
}

pub(super) fn descend(op: &Descend, parameter: Target, velocity: Argument) -> Result<()> {
    kernel::descend(slice_mut(parameter.0, parameter.1)?, slice(velocity.0, velocity.1)?, op.learning_rate);
    Ok(())
}
