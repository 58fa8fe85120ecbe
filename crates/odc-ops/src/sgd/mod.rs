//! Stochastic gradient descent with momentum per group of parameters, in place.

mod cpu;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, DType, InplaceOp1, InplaceOp2, Layout, Result, Tensor, Var, bail};
use odc_kernels::sgd::SgdStep;
use rayon::prelude::*;
use std::collections::HashSet;
use std::sync::Mutex;

/// Parameters that share momentum and weight decay.
#[derive(Debug, Clone)]
pub struct ParameterGroup {
    /// The variables, contiguous `f32`.
    pub parameters: Vec<Var>,
    /// Share of the last velocity that is kept.
    pub momentum: f64,
    /// Factor λ of the parameter that is added to its gradient.
    pub weight_decay: f64,
}

/// Settings of [`Sgd`] with a single group, for [`candle_nn::Optimizer`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdConfig {
    /// Learning rate.
    pub learning_rate: f64,
    /// Share of the last velocity that is kept.
    pub momentum: f64,
    /// Factor λ of the parameter that is added to its gradient.
    pub weight_decay: f64,
}

/// PyTorch's SGD: v ← m·v + (g + λ·p), p ← p − lr·v, with v = 0 before the first step. Velocities and parameters change in
/// place; a parameter without gradient stays as it is.
#[derive(Debug)]
pub struct Sgd {
    groups: Vec<Group>,
    learning_rate: f64,
}

#[derive(Debug)]
struct Group {
    /// Each parameter with its velocity, which is no part of any graph.
    parameters: Vec<(Var, Tensor)>,
    momentum: f64,
    weight_decay: f64,
}

impl Sgd {
    /// All velocities start at zero.
    ///
    /// # Errors
    /// A parameter that is not contiguous `f32`, or is there twice.
    pub fn new(groups: Vec<ParameterGroup>, learning_rate: f64) -> Result<Self> {
        // A thread that waits for the blocks of one parameter may begin another; the same one would wait for itself.
        let mut seen = HashSet::new();
        if let Some(twice) = groups.iter().flat_map(|group| &group.parameters).find(|var| !seen.insert(var.id())) {
            bail!("SGD: a parameter {:?} is there twice", twice.shape());
        }
        let groups = groups.into_iter().map(Group::new).collect::<Result<_>>()?;
        Ok(Self { groups, learning_rate })
    }

    /// One step with the gradients of a backward pass.
    ///
    /// # Errors
    /// A gradient whose shape is not its parameter's.
    pub fn step(&mut self, gradients: &GradStore) -> Result<()> {
        for group in &self.groups {
            let step = SgdStep {
                learning_rate: self.learning_rate as f32,
                momentum: group.momentum as f32,
                weight_decay: group.weight_decay as f32,
            };
            // One parallel section for all: small parameters side by side, large ones cut up inside.
            group.parameters.par_iter().try_for_each(|(parameter, velocity)| {
                let Some(gradient) = gradients.get(parameter) else { return Ok(()) };
                if gradient.shape() != parameter.shape() {
                    bail!("a gradient {:?} for a parameter {:?}", gradient.shape(), parameter.shape());
                }
                let gradient = gradient.detach().contiguous()?;
                velocity.inplace_op1(&Update { step, parameter, gradient: &gradient })
            })?;
        }
        Ok(())
    }

    /// The learning rate of the next step.
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    /// Sets the learning rate from the next step on.
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        self.learning_rate = learning_rate;
    }

    /// The velocities, group by group in the order of the parameters. They change in place at the next step.
    pub fn velocities(&self) -> Vec<&Tensor> {
        self.groups.iter().flat_map(|group| group.parameters.iter().map(|(_, velocity)| velocity)).collect()
    }

    /// Goes on with stored velocities, in the order of [`Sgd::velocities`].
    ///
    /// # Errors
    /// Another number or other shapes than the parameters have; nothing has changed then.
    pub fn restore(&mut self, velocities: Vec<Tensor>) -> Result<()> {
        let parameters = self.groups.iter().map(|group| group.parameters.len()).sum::<usize>();
        if velocities.len() != parameters {
            bail!("{} velocities for {parameters} parameters", velocities.len());
        }
        for (stored, current) in velocities.iter().zip(self.velocities()) {
            if stored.shape() != current.shape() || stored.dtype() != DType::F32 {
                bail!("a velocity {:?} {:?} for a parameter {:?}", stored.dtype(), stored.shape(), current.shape());
            }
        }
        let current = self.groups.iter_mut().flat_map(|group| &mut group.parameters);
        for ((parameter, velocity), stored) in current.zip(velocities) {
            // A copy: a caller who keeps the tensor must not see it change.
            *velocity = stored.detach().to_device(parameter.device())?.copy()?;
        }
        Ok(())
    }
}

impl Group {
    fn new(group: ParameterGroup) -> Result<Self> {
        let ParameterGroup { parameters, momentum, weight_decay } = group;
        let with_velocity = |parameter: Var| {
            if parameter.dtype() != DType::F32 || !parameter.is_contiguous() {
                bail!("SGD: a parameter {:?} {:?} is not contiguous f32", parameter.dtype(), parameter.shape());
            }
            let velocity = Tensor::zeros(parameter.shape(), DType::F32, parameter.device())?;
            Ok((parameter, velocity))
        };
        let parameters = parameters.into_iter().map(with_velocity).collect::<Result<_>>()?;
        Ok(Self { parameters, momentum, weight_decay })
    }
}

impl candle_nn::Optimizer for Sgd {
    type Config = SgdConfig;

    fn new(parameters: Vec<Var>, config: SgdConfig) -> Result<Self> {
        let SgdConfig { learning_rate, momentum, weight_decay } = config;
        Self::new(vec![ParameterGroup { parameters, momentum, weight_decay }], learning_rate)
    }

    fn step(&mut self, gradients: &GradStore) -> Result<()> {
        self.step(gradients)
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate()
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.set_learning_rate(learning_rate);
    }
}

/// In place: velocity, and inside the parameter, as a candle operation changes one tensor only.
struct Update<'a> {
    step: SgdStep,
    parameter: &'a Tensor,
    gradient: &'a Tensor,
}

/// In place: parameter, and the velocity that is lent. Argument: gradient.
struct Descend<'a> {
    step: SgdStep,
    velocity: Mutex<&'a mut [f32]>,
}

impl InplaceOp1 for Update<'_> {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn cpu_fwd(&self, v: &mut CpuStorage, vl: &Layout) -> Result<()> {
        cpu::update(self, (v, vl))
    }
}

impl InplaceOp2 for Descend<'_> {
    fn name(&self) -> &'static str {
        "sgd-descend"
    }

    fn cpu_fwd(&self, p: &mut CpuStorage, pl: &Layout, g: &CpuStorage, gl: &Layout) -> Result<()> {
        cpu::descend(self, (p, pl), (g, gl))
    }
}
