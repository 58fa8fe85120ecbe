//! Makes the tensors of a network one after the other, each drawn from the seed and its own name.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use candle_core::{Device, Result, Tensor, Var};

use crate::params::{Params, Value, over_map};

/// Where the layers of a network under construction get their tensors.
pub(crate) struct Builder<'a> {
    pub(crate) params: Params,
    /// `backbone`, `neck` or `head`: parts made from one seed draw different numbers.
    part: &'static str,
    seed: u64,
    device: &'a Device,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(part: &'static str, seed: u64, device: &'a Device) -> Self {
        Self { params: Params::default(), part, seed, device }
    }

    /// Convolution weights `[kernel, kernel, inputs, outputs]`: He's normal initialisation for what flows back, as
    /// torchvision's `kaiming_normal_(mode="fan_out", nonlinearity="relu")`.
    pub(crate) fn convolution(&mut self, name: &str, kernel: usize, inputs: usize, outputs: usize) -> Result<Var> {
        let fan_out = outputs * kernel * kernel;
        let drawn = self.normal(name, &[outputs, inputs, kernel, kernel], (2.0 / fan_out as f64).sqrt())?;
        let var = Var::from_tensor(&drawn.permute((2, 3, 1, 0))?.force_contiguous()?)?;
        self.params.push(name.to_owned(), Value::Convolution(var.clone()));
        Ok(var)
    }

    /// A parameter drawn from N(0, `deviation`²).
    pub(crate) fn drawn(&mut self, name: &str, shape: &[usize], deviation: f64) -> Result<Var> {
        let var = Var::from_tensor(&self.normal(name, shape, deviation)?)?;
        self.params.push(name.to_owned(), Value::Parameter(var.clone()));
        Ok(var)
    }

    /// Weights of a linear layer over a flattened map, `[outputs, side · side · channels]`, drawn from N(0, `deviation`²).
    pub(crate) fn over_map(
        &mut self,
        name: &str,
        (side, channels): (usize, usize),
        outputs: usize,
        deviation: f64,
    ) -> Result<Var> {
        let drawn = self.normal(name, &[outputs, channels * side * side], deviation)?;
        let weight = Var::from_tensor(&over_map(&drawn, side)?)?;
        self.params.push(name.to_owned(), Value::OverMap { weight: weight.clone(), side });
        Ok(weight)
    }

    /// A convolution's weights that are never trained, given as they lie in memory, `[kernel, kernel, inputs, outputs]`.
    pub(crate) fn frozen_convolution(&mut self, name: &str, shape: [usize; 4], values: Vec<f32>) -> Result<Var> {
        let var = Var::from_vec(values, &shape, self.device)?;
        self.params.push(name.to_owned(), Value::FrozenConvolution(var.clone()));
        Ok(var)
    }

    /// Zeros that are never trained.
    pub(crate) fn frozen_zeros(&mut self, name: &str, length: usize) -> Result<Var> {
        let var = Var::from_vec(vec![0.0_f32; length], length, self.device)?;
        self.params.push(name.to_owned(), Value::Frozen(var.clone()));
        Ok(var)
    }

    /// A parameter of equal numbers.
    pub(crate) fn constant(&mut self, name: &str, length: usize, value: f32) -> Result<Var> {
        let var = Var::from_vec(vec![value; length], length, self.device)?;
        self.params.push(name.to_owned(), Value::Parameter(var.clone()));
        Ok(var)
    }

    /// A running statistic that starts with equal numbers.
    pub(crate) fn statistic(&mut self, name: &str, length: usize, value: f32) -> Result<Var> {
        let var = Var::from_vec(vec![value; length], length, self.device)?;
        self.params.push(name.to_owned(), Value::Statistic(var.clone()));
        Ok(var)
    }

    /// A counter at 0.
    pub(crate) fn counter(&mut self, name: &str) -> Arc<AtomicI64> {
        let count = Arc::new(AtomicI64::new(0));
        self.params.push(name.to_owned(), Value::Counter(Arc::clone(&count)));
        count
    }

    fn normal(&self, name: &str, shape: &[usize], deviation: f64) -> Result<Tensor> {
        normal(self.seed, &format!("{}.{name}", self.part), shape, deviation, self.device)
    }
}

/// Numbers from N(0, `deviation`²) that depend on the seed and the stream's name alone.
pub(crate) fn normal(seed: u64, stream: &str, shape: &[usize], deviation: f64, device: &Device) -> Result<Tensor> {
    let key = odc_ops::random::key(seed, stream, 0);
    let length = shape.iter().product::<usize>() as u64;
    let values = (0..length).map(|index| deviation as f32 * odc_ops::random::normal(key, index)).collect::<Vec<_>>();
    Tensor::from_vec(values, shape, device)
}
