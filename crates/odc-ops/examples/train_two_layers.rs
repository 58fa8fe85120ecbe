//! Learns to tell vertical from horizontal stripes with one convolution and one linear layer.

use candle_core::{DType, Device, Result, Tensor, Var};
use odc_kernels::random;
use odc_ops::{ParameterGroup, Sgd};
use std::io::Write;

const SIDE: usize = 12;
const BATCH: usize = 32;

fn main() -> Result<()> {
    let cpu = &Device::Cpu;
    let variable = |name: &str, dims: &[usize], scale: f32| {
        let key = random::key(1, name, 0);
        let n = dims.iter().product::<usize>() as u64;
        Var::from_vec((0..n).map(|index| scale * random::normal(key, index)).collect(), dims, cpu)
    };
    let filters = variable("filters", &[3, 3, 1, 8], 0.3)?;
    let weight = variable("weight", &[2, 8], 0.3)?;
    let bias = Var::zeros(2, DType::F32, cpu)?;
    let parameters = vec![filters.clone(), weight.clone(), bias.clone()];
    let mut sgd = Sgd::new(vec![ParameterGroup { parameters, momentum: 0.9, weight_decay: 1e-4 }], 0.05)?;
    let class_weights = Tensor::ones(2, DType::F32, cpu)?;

    let mut out = std::io::stdout();
    for step in 0..=60 {
        let (images, labels) = stripes(step)?;
        let x = odc_ops::conv2d(&images, &filters, 1, 1)?;
        let (x, _) = odc_ops::batch_norm_train(&x, None, None, 1e-5)?;
        let x = odc_ops::global_average_pool(&odc_ops::relu(&x)?)?;
        let logits = odc_ops::linear(&x, &weight, Some(&bias))?;
        let loss = odc_ops::weighted_cross_entropy(&logits, &labels, &class_weights)?;
        if step % 10 == 0 {
            let right = logits.argmax(1)?.eq(&labels)?.to_dtype(DType::F32)?.mean_all()?.to_scalar::<f32>()?;
            let loss = loss.to_scalar::<f32>()?;
            writeln!(out, "step {step:2}   loss {loss:.4}   right {:.0} %", 100.0 * right)?;
        }
        sgd.step(&odc_ops::backward(&loss)?)?;
    }
    Ok(())
}

/// Noisy stripes: label 0 vertical, 1 horizontal.
fn stripes(step: u64) -> Result<(Tensor, Tensor)> {
    let key = random::key(1, "stripes", step);
    let labels: Vec<u32> = (0..BATCH as u64).map(|n| (random::bits(key, n) & 1) as u32).collect();
    let noise = random::key(1, "noise", step);
    let mut pixels = Vec::with_capacity(BATCH * SIDE * SIDE);
    for &label in &labels {
        for y in 0..SIDE {
            for x in 0..SIDE {
                let stripe = if label == 0 { x % 2 } else { y % 2 } as f32;
                pixels.push(stripe - 0.5 + 0.5 * random::normal(noise, pixels.len() as u64));
            }
        }
    }
    let images = Tensor::from_vec(pixels, (BATCH, SIDE, SIDE, 1), &Device::Cpu)?;
    Ok((images, Tensor::from_vec(labels, BATCH, &Device::Cpu)?))
}
