//! Four SGD steps of neck and head against PyTorch: linear, batch norm, relu, mask, weighted loss, running statistics.

use crate::support::flat;
use candle_core::{Device, Result, Tensor, Var};
use odc_ops::{ParameterGroup, Sgd};
use odc_testkit::{Golden, assert_close};

struct Neck {
    /// fc0 weight and bias, fc1 weight and bias, head weight and bias.
    parameters: Vec<Var>,
    running_mean: Var,
    running_variance: Var,
}

const NAMES: [&str; 6] = ["fc0.weight", "fc0.bias", "fc1.weight", "fc1.bias", "head.weight", "head.bias"];

impl Neck {
    fn features(&self, hidden: &Tensor) -> Result<Tensor> {
        odc_ops::relu(&odc_ops::linear(hidden, &self.parameters[2], Some(&self.parameters[3]))?)
    }

    fn train(&self, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let x = odc_ops::linear(x, &self.parameters[0], Some(&self.parameters[1]))?;
        let (x, batch) = odc_ops::batch_norm_train(&x, None, None, 1e-5)?;
        odc_ops::update_running(&self.running_mean, &batch.mean, 0.001)?;
        odc_ops::update_running(&self.running_variance, &batch.variance, 0.001)?;
        self.features(&odc_ops::dropout_with_mask(&odc_ops::relu(&x)?, mask)?)
    }

    fn eval(&self, x: &Tensor) -> Result<Tensor> {
        let x = odc_ops::linear(x, &self.parameters[0], Some(&self.parameters[1]))?;
        let x = odc_ops::batch_norm_eval(&x, None, None, &self.running_mean, &self.running_variance, 1e-5)?;
        self.features(&odc_ops::relu(&x)?)
    }
}

#[test]
fn four_steps_agree_with_pytorch() -> Result<()> {
    let golden = Golden::open("neck_sgd");
    let cpu = &Device::Cpu;
    let load = |name: &str| Tensor::from_vec(golden.f32(name), golden.shape(name), cpu);
    let parameters =
        NAMES.iter().map(|name| Var::from_tensor(&load(&format!("{name}_0"))?)).collect::<Result<Vec<_>>>()?;
    let neck = Neck {
        parameters: parameters.clone(),
        running_mean: Var::zeros(24, candle_core::DType::F32, cpu)?,
        running_variance: Var::ones(24, candle_core::DType::F32, cpu)?,
    };
    let group =
        |parameters: &[Var], momentum| ParameterGroup { parameters: parameters.to_vec(), momentum, weight_decay: 1e-2 };
    let mut sgd = Sgd::new(vec![group(&parameters[..4], 0.9), group(&parameters[4..], 0.0)], 0.05)?;
    let (x, mask, weights) = (load("x")?, load("mask")?, load("class_weight")?);
    let labels = Tensor::from_vec(golden.u32("y"), (4, 20), cpu)?;

    assert_close("z_eval_0", &flat(&neck.eval(&x.get(0)?)?), &golden.f32("z_eval_0"), 1e-5);
    for step in 0..4 {
        let features = neck.train(&x.get(step)?, &mask.get(step)?)?;
        let logits = odc_ops::linear(&features, &parameters[4], Some(&parameters[5]))?;
        let loss = odc_ops::weighted_cross_entropy(&logits, &labels.get(step)?, &weights)?;
        assert_close(&format!("loss_{step}"), &flat(&loss), &golden.f32(&format!("loss_{step}")), 1e-5);
        let gradients = odc_ops::backward(&loss)?;
        if step == 0 {
            assert_close("z_0", &flat(&features), &golden.f32("z_0"), 1e-5);
            for (name, parameter) in [("grad_fc0.weight_0", 0), ("grad_head.weight_0", 4)] {
                let gradient = gradients.get(&parameters[parameter]).expect("a gradient");
                assert_close(name, &flat(gradient), &golden.f32(name), 1e-5);
            }
        }
        sgd.step(&gradients)?;
    }
    for (name, parameter) in NAMES.iter().zip(&parameters) {
        let name = format!("{name}_end");
        assert_close(&name, &flat(parameter), &golden.f32(&name), 1e-5);
    }
    assert_close("bn_mean_end", &flat(&neck.running_mean), &golden.f32("bn_mean_end"), 1e-5);
    assert_close("bn_var_end", &flat(&neck.running_variance), &golden.f32("bn_var_end"), 1e-5);
    assert_close("z_eval_end", &flat(&neck.eval(&x.get(0)?)?), &golden.f32("z_eval_end"), 1e-5);
    Ok(())
}
