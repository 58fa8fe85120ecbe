//! Times the training step of a ResNet-18 without its model crate: forward, backward, SGD.
//!
//! `step_time [width] [side] [batch] [stem: small|cifar|imagenet] [steps] [threads]`; defaults 16 32 128 small 10 1.

use candle_core::{DType, Device, Result, Tensor, Var};
use odc_kernels::memory::PoolAllocator;
use odc_kernels::random;
use odc_ops::{ParameterGroup, Sgd};
use std::io::Write;
use std::time::Instant;

#[global_allocator]
static MEMORY: PoolAllocator = PoolAllocator::new();

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: usize| {
        arguments.get(index).map_or(default, |argument| argument.parse().unwrap_or(default))
    };
    let (width, side, batch) = (number(0, 16), number(1, 32), number(2, 128));
    let stem = arguments.get(3).map_or("small", String::as_str);
    let (steps, threads) = (number(4, 10), number(5, 1));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(candle_core::Error::wrap)?;
    pool.install(|| time(width, side, batch, stem, steps))
}

fn time(width: usize, side: usize, batch: usize, stem: &str, steps: usize) -> Result<()> {
    let mut network = Network::default();
    let cpu = &Device::Cpu;
    let pixels = random_values(1, batch * side * side * 3);
    let images = Tensor::from_vec(pixels, (batch, side, side, 3), cpu)?;
    let labels = Tensor::from_vec((0..batch as u32).map(|n| n % 100).collect(), batch, cpu)?;
    let class_weights = Tensor::ones(100, DType::F32, cpu)?;
    let mut sgd = None;
    let mut times = Vec::new();
    let mut out = std::io::stdout();
    for step in 0..=steps {
        let start = Instant::now();
        network.used = 0;
        let loss = network.loss(&images, width, stem, &labels, &class_weights)?;
        let forward = start.elapsed();
        let gradients = odc_ops::backward(&loss)?;
        let backward = start.elapsed() - forward;
        let parameters = network.parameters.clone();
        if sgd.is_none() {
            sgd = Some(Sgd::new(vec![ParameterGroup { parameters, momentum: 0.9, weight_decay: 1e-5 }], 0.01)?);
        }
        if let Some(sgd) = &mut sgd {
            sgd.step(&gradients)?;
        }
        let all = start.elapsed();
        writeln!(out, "forward {forward:?}, backward {backward:?}, SGD {:?}, step {all:?}", all - forward - backward)?;
        // The first step allocates and warms up.
        if step > 0 {
            times.push(all);
        }
    }
    times.sort();
    writeln!(out, "median step {:?}, memory {:?}", times[times.len() / 2], MEMORY.usage())?;
    Ok(())
}

fn random_values(stream: u64, n: usize) -> Vec<f32> {
    (0..n as u64).map(|index| random::normal(stream, index)).collect()
}

/// Parameters in the order of first use.
#[derive(Default)]
struct Network {
    parameters: Vec<Var>,
    used: usize,
}

impl Network {
    fn parameter(&mut self, dims: &[usize], scale: f32) -> Result<Var> {
        if self.used == self.parameters.len() {
            let values = random_values(self.used as u64, dims.iter().product());
            let values = values.into_iter().map(|x| scale * x).collect();
            self.parameters.push(Var::from_vec(values, dims, &Device::Cpu)?);
        }
        self.used += 1;
        Ok(self.parameters[self.used - 1].clone())
    }

    /// A convolution and the weight and bias of its batch norm.
    fn convolution(&mut self, x: &Tensor, channels: usize, kernel: usize, stride: usize) -> Result<[Tensor; 3]> {
        let inputs = x.dim(3)?;
        let scale = (2.0 / (kernel * kernel * inputs) as f32).sqrt();
        let weight = self.parameter(&[kernel, kernel, inputs, channels], scale)?;
        let x = odc_ops::conv2d(x, &weight, stride, kernel / 2)?;
        let (gamma, beta) = (self.parameter(&[channels], 1.0)?, self.parameter(&[channels], 0.1)?);
        Ok([x, gamma.as_tensor().clone(), beta.as_tensor().clone()])
    }

    fn loss(&mut self, x: &Tensor, width: usize, stem: &str, labels: &Tensor, weights: &Tensor) -> Result<Tensor> {
        let relu = |[x, gamma, beta]: [Tensor; 3], residual: Option<&Tensor>| -> Result<Tensor> {
            Ok(odc_ops::batch_norm_relu_train(&x, Some(&gamma), Some(&beta), residual, 1e-5)?.0)
        };
        let mut x = match stem {
            "imagenet" => {
                let x = self.convolution(x, width, 7, 2)?;
                odc_ops::max_pool2d(&relu(x, None)?, 3, 2, 1)?
            }
            "cifar" => relu(self.convolution(x, width, 3, 1)?, None)?,
            _ => relu(self.convolution(x, width, 3, 2)?, None)?,
        };
        for stage in 0..4 {
            for block in 0..2 {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let channels = width << stage;
                let y = relu(self.convolution(&x, channels, 3, stride)?, None)?;
                let y = self.convolution(&y, channels, 3, 1)?;
                let shortcut = if stride == 2 {
                    let [x, gamma, beta] = self.convolution(&x, channels, 1, 2)?;
                    odc_ops::batch_norm_train(&x, Some(&gamma), Some(&beta), 1e-5)?.0
                } else {
                    x
                };
                x = relu(y, Some(&shortcut))?;
            }
        }
        let x = odc_ops::global_average_pool(&x)?;
        let weight = self.parameter(&[100, 8 * width], 0.01)?;
        odc_ops::weighted_cross_entropy(&odc_ops::linear(&x, &weight, None)?, labels, weights)
    }
}
