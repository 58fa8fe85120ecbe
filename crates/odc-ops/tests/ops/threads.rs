//! Forward and backward of every operation give the same bits under pools of 1, 2, 3 and 7 threads.

use crate::support::{flat, score, tensor, variable};
use candle_core::{Device, Result, Tensor, Var};
use odc_ops::{ParameterGroup, Sgd};
use rayon::prelude::*;

fn check(what: &str, inputs: &[Var], f: impl Fn(&[Var]) -> Result<Tensor> + Sync) {
    let run = |threads| -> Vec<u32> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| {
            let y = f(inputs).expect("forward");
            let gradients = score(&y).and_then(|score| score.backward()).expect("backward");
            let tensors = inputs.iter().map(|input| gradients.get(input).expect("a gradient"));
            std::iter::once(&y).chain(tensors).flat_map(flat).map(f32::to_bits).collect()
        })
    };
    let one = run(1);
    for threads in [2, 3, 7] {
        assert!(one == run(threads), "{what}: {threads} threads give other bits than one");
    }
}

#[test]
fn every_operation_gives_the_same_bits() {
    for (kernel, stride, padding) in [(3, 1, 1), (3, 2, 1), (1, 1, 0), (7, 2, 3)] {
        let inputs = [variable(1, &[9, 17, 15, 16]), variable(2, &[kernel, kernel, 16, 24])];
        check("conv2d", &inputs, |v| odc_ops::conv2d(&v[0], &v[1], stride, padding));
    }
    let inputs = [variable(1, &[9, 17, 15, 48]), variable(2, &[48]), variable(3, &[48])];
    check("batch_norm_train", &inputs, |v| {
        let (y, batch) = odc_ops::batch_norm_train(&v[0], Some(&v[1]), Some(&v[2]), 1e-5)?;
        y.broadcast_add(&batch.mean)?.broadcast_add(&batch.variance)
    });
    let (mean, variance) = (tensor(4, &[48]), tensor(5, &[48]).sqr().expect("squares"));
    check("batch_norm_eval", &inputs, |v| {
        odc_ops::batch_norm_eval(&v[0], Some(&v[1]), Some(&v[2]), &mean, &variance, 1e-5)
    });
    let with_residual = [&inputs[..], &[variable(7, &[9, 17, 15, 48])]].concat();
    check("batch_norm_relu_train", &with_residual, |v| {
        Ok(odc_ops::batch_norm_relu_train(&v[0], Some(&v[1]), Some(&v[2]), Some(&v[3]), 1e-5)?.0)
    });
    check("relu", &inputs[..1], |v| odc_ops::relu(&v[0]));
    check("add", &inputs[..1], |v| odc_ops::add(&v[0], &v[0]));
    check("max_pool2d", &inputs[..1], |v| odc_ops::max_pool2d(&v[0], 3, 2, 1));
    check("global_average_pool", &inputs[..1], |v| odc_ops::global_average_pool(&v[0]));
    check("dropout", &inputs[..1], |v| odc_ops::dropout(&v[0], 0.5, 11));
    let mask = tensor(6, &[9, 17, 15, 48]);
    check("dropout_with_mask", &inputs[..1], |v| odc_ops::dropout_with_mask(&v[0], &mask));
    let inputs = [variable(1, &[200, 130]), variable(2, &[700, 130]), variable(3, &[700])];
    check("linear", &inputs, |v| odc_ops::linear(&v[0], &v[1], Some(&v[2])));
    let labels = Tensor::from_vec((0..200_u32).map(|n| n * 7 % 130).collect(), 200, &Device::Cpu).expect("labels");
    let weights = tensor(8, &[130]).abs().expect("weights");
    check("weighted_cross_entropy", &inputs[..1], |v| odc_ops::weighted_cross_entropy(&v[0], &labels, &weights));
}

#[test]
fn a_training_run_gives_the_same_bits() {
    let run = |threads| -> Vec<u32> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| train().expect("training")).into_iter().map(f32::to_bits).collect()
    };
    let one = run(1);
    assert!(one == run(2) && one == run(3) && one == run(7));
}

/// Three steps of a small network; the parameters and velocities at the end.
fn train() -> Result<Vec<f32>> {
    let parameters = vec![
        variable(1, &[3, 3, 3, 16]),
        variable(2, &[16]),
        variable(3, &[16]),
        variable(4, &[10, 16]),
        variable(5, &[10]),
    ];
    let group = ParameterGroup { parameters: parameters.clone(), momentum: 0.9, weight_decay: 1e-3 };
    let mut sgd = Sgd::new(vec![group], 0.1)?;
    let labels = Tensor::from_vec((0..24_u32).map(|n| n % 10).collect(), 24, &Device::Cpu)?;
    let weights = Tensor::ones(10, candle_core::DType::F32, &Device::Cpu)?;
    for step in 0..3 {
        let p = &parameters;
        let x = odc_ops::conv2d(&tensor(20 + step, &[24, 16, 16, 3]), &p[0], 1, 1)?;
        let (x, _) = odc_ops::batch_norm_train(&x, Some(&p[1]), Some(&p[2]), 1e-5)?;
        let x = odc_ops::global_average_pool(&odc_ops::max_pool2d(&odc_ops::relu(&x)?, 3, 2, 1)?)?;
        let logits = odc_ops::linear(&odc_ops::dropout(&x, 0.2, step)?, &p[3], Some(&p[4]))?;
        let loss = odc_ops::weighted_cross_entropy(&logits, &labels, &weights)?;
        sgd.step(&odc_ops::backward(&loss)?)?;
    }
    let tensors = parameters.iter().map(Var::as_tensor).chain(sgd.velocities());
    Ok(tensors.flat_map(flat).collect())
}

/// Sums 0..n in the pool, in pieces that other threads may take.
fn sum_in_pool(n: u64) -> u64 {
    odc_ops::in_pool(|| {
        let halves =
            rayon::join(|| (0..n / 2).into_par_iter().sum::<u64>(), || (n / 2..n).into_par_iter().sum::<u64>());
        halves.0 + halves.1
    })
}

#[test]
fn callers_at_the_same_time_all_come_to_an_end() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("a pool");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for n in 1..100 {
                    // One inside another, too.
                    let sum = pool.install(|| odc_ops::in_pool(|| sum_in_pool(n) + sum_in_pool(n + 1)));
                    assert_eq!(sum, n * (n - 1) / 2 + (n + 1) * n / 2);
                }
            });
        }
    });
}

#[test]
fn a_panic_comes_out_and_the_next_caller_goes_on() {
    let caught = std::panic::catch_unwind(|| odc_ops::in_pool(|| -> u64 { panic!("on purpose") }));
    assert!(caught.is_err());
    assert_eq!(sum_in_pool(100), 4950);
}
