//! Stochastic gradient descent with momentum per group of parameters, in place.

mod cpu;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, DType, InplaceOp2, InplaceOp3, Layout, Result, Tensor, Var, bail};

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
    /// A parameter that is not contiguous `f32`.
    pub fn new(groups: Vec<ParameterGroup>, learning_rate: f64) -> Result<Self> {
        let groups = groups.into_iter().map(Group::new).collect::<Result<_>>()?;
        Ok(Self { groups, learning_rate })
    }

    /// One step with the gradients of a backward pass.
    ///
    /// # Errors
    /// A gradient whose shape is not its parameter's.
    pub fn step(&mut self, gradients: &GradStore) -> Result<()> {
        for group in &self.groups {
            let update = UpdateVelocity { momentum: group.momentum as f32, weight_decay: group.weight_decay as f32 };
            let descend = Descend { learning_rate: self.learning_rate as f32 };
            for (parameter, velocity) in &group.parameters {
                let Some(gradient) = gradients.get(parameter) else { continue };
                if gradient.shape() != parameter.shape() {
                    bail!("a gradient {:?} for a parameter {:?}", gradient.shape(), parameter.shape());
                }
                velocity.inplace_op3(&gradient.detach().contiguous()?, parameter.as_tensor(), &update)?;
                parameter.inplace_op2(velocity, &descend)?;
            }
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

/// In place: velocity. Arguments: gradient, parameter.
struct UpdateVelocity {
    momentum: f32,
    weight_decay: f32,
}

/// In place: parameter. Argument: velocity.
struct Descend {
    learning_rate: f32,
}

impl InplaceOp3 for UpdateVelocity {
    fn name(&self) -> &'static str {
        "sgd-update-velocity"
    }

    fn cpu_fwd(
        &self,
        v: &mut CpuStorage,
        vl: &Layout,
        g: &CpuStorage,
        gl: &Layout,
        p: &CpuStorage,
        pl: &Layout,
    ) -> Result<()> {
        cpu::update_velocity(self, (v, vl), (g, gl), (p, pl))
    }
}

impl InplaceOp2 for Descend {
    fn name(&self) -> &'static str {
        "sgd-descend"
    }

    fn cpu_fwd(&self, p: &mut CpuStorage, pl: &Layout, v: &CpuStorage, vl: &Layout) -> Result<()> {
        cpu::descend(self, (p, pl), (v, vl))
    }
}
