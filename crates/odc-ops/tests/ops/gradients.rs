//! The gradient of every operation against central differences.
//!
//! Operations linear in each argument are judged with a wide step (differences are exact but for rounding), others with a
//! narrow one.

use crate::support::{check_gradients, flat, score, tensor, variable};
use candle_core::{Device, Tensor, Var};
use odc_kernels::batch_norm::{Gradient, Then};
use odc_kernels::convolution::ConvolutionShape;
use odc_kernels::{Window, plain};
use odc_testkit::{Golden, assert_close};

#[test]
fn conv2d() {
    for (dims, kernel, co, stride, padding) in [
        ([2, 7, 5, 3], (3, 3), 4, 1, 1),
        ([2, 8, 9, 3], (3, 3), 4, 2, 1),
        ([2, 9, 8, 2], (3, 3), 5, 2, 1),
        ([1, 13, 10, 3], (7, 7), 4, 2, 3),
        ([3, 5, 6, 4], (1, 1), 6, 1, 0),
        ([3, 5, 6, 4], (1, 1), 6, 2, 0),
        ([1, 6, 7, 2], (3, 2), 3, 1, 0),
        ([1, 11, 12, 2], (2, 3), 3, 3, 2),
        // AlexNet's, from colours and from edges.
        ([1, 19, 23, 3], (11, 11), 3, 4, 2),
        ([2, 15, 14, 2], (11, 11), 4, 4, 2),
        ([1, 7, 6, 3], (5, 5), 4, 1, 2),
    ] {
        let (x, weight) = (variable(1, &dims), variable(2, &[kernel.0, kernel.1, dims[3], co]));
        check_gradients(&format!("conv2d {dims:?} {kernel:?}/{stride}/{padding}"), &[x, weight], 0.5, 1e-5, |t| {
            odc_ops::conv2d(&t[0], &t[1], stride, padding)
        });
    }
}

#[test]
fn conv2d_agrees_with_the_plain_kernels() {
    let (x, weight) = (variable(1, &[3, 9, 8, 5]), variable(2, &[3, 3, 5, 7]));
    let y = odc_ops::conv2d(&x, &weight, 2, 1).expect("forward");
    let gradients = score(&y).and_then(|score| score.backward()).expect("backward");
    let shape = ConvolutionShape::new(3, Window::new((9, 8), (3, 3), 2, 1).expect("a window"), 5, 7).expect("a shape");
    let (x_values, weight_values, dy) = (flat(&x), flat(&weight), flat(&tensor(99, y.dims())));
    assert_close("y", &flat(&y), &plain::convolution_forward(&shape, &x_values, &weight_values), 1e-6);
    let dx = plain::convolution_backward_data(&shape, &weight_values, &dy);
    assert_close("dx", &flat(gradients.get(&x).expect("dx")), &dx, 1e-6);
    let dw = plain::convolution_backward_weight(&shape, &x_values, &dy);
    assert_close("dw", &flat(gradients.get(&weight).expect("dw")), &dw, 1e-6);
}

#[test]
fn batch_norm_train() {
    for dims in [vec![2, 5, 4, 3], vec![11, 6], vec![40, 1]] {
        let channels = dims[dims.len() - 1];
        let inputs = [variable(1, &dims), variable(2, &[channels]), variable(3, &[channels])];
        check_gradients(&format!("batch_norm_train {dims:?}"), &inputs, 2e-3, 2e-3, |t| {
            Ok(odc_ops::batch_norm_train(&t[0], Some(&t[1]), Some(&t[2]), 1e-5)?.0)
        });
        check_gradients("batch_norm_train without affine", &inputs[..1], 2e-3, 2e-3, |t| {
            Ok(odc_ops::batch_norm_train(&t[0], None, None, 1e-5)?.0)
        });
    }
}

#[test]
fn batch_norm_train_agrees_with_the_plain_kernels() {
    let (x, weight, bias) = (variable(1, &[6, 5, 7, 20]), variable(2, &[20]), variable(3, &[20]));
    let (y, batch) = odc_ops::batch_norm_train(&x, Some(&weight), Some(&bias), 1e-5).expect("forward");
    let gradients = score(&y).and_then(|score| score.backward()).expect("backward");
    let [mean, inverse, unbiased] = plain::batch_norm_statistics(&flat(&x), 20, 1e-5);
    assert_close("mean", &flat(&batch.mean), &mean, 1e-5);
    assert_close("variance", &flat(&batch.variance), &unbiased, 1e-5);
    assert!(!batch.mean.track_op() && !batch.variance.track_op());
    let expected = plain::batch_norm(&flat(&x), &mean, &inverse, &flat(&weight), &flat(&bias), Then::Nothing);
    assert_close("y", &flat(&y), &expected, 1e-5);
    let dy = flat(&tensor(99, y.dims()));
    let [dx, dw, db] = plain::batch_norm_backward(&flat(&x), &mean, &inverse, &flat(&weight), Gradient::Plain(&dy));
    for (what, variable, expected) in [("dx", &x, dx), ("dw", &weight, dw), ("db", &bias, db)] {
        assert_close(what, &flat(gradients.get(variable).expect(what)), &expected, 1e-5);
    }
}

#[test]
fn batch_norm_eval() {
    let inputs = [variable(1, &[4, 3, 2, 5]), variable(2, &[5]), variable(3, &[5])];
    let mean = tensor(4, &[5]);
    let variance = tensor(5, &[5]).sqr().expect("squares");
    check_gradients("batch_norm_eval", &inputs, 0.5, 1e-4, |t| {
        odc_ops::batch_norm_eval(&t[0], Some(&t[1]), Some(&t[2]), &mean, &variance, 1e-5)
    });
    let y = odc_ops::batch_norm_eval(&inputs[0], None, None, &mean, &variance, 1e-5).expect("forward");
    let (x, y, mean, variance) = (flat(&inputs[0]), flat(&y), flat(&mean), flat(&variance));
    let expected = |i: usize| (x[i] - mean[i % 5]) / (variance[i % 5] + 1e-5).sqrt();
    assert_close("batch_norm_eval", &y, &(0..x.len()).map(expected).collect::<Vec<_>>(), 1e-6);
}

/// Variables whose batch norm, with a residual, stays away from the relu's corner: differences would step over it.
fn away_from_zero(dims: &[usize]) -> [Var; 4] {
    let channels = dims[dims.len() - 1];
    let residual = (tensor(6, dims).sign().expect("signs") * 9.0).expect("a tensor");
    let residual = Var::from_tensor(&residual).expect("a variable");
    [variable(1, dims), variable(2, &[channels]), variable(3, &[channels]), residual]
}

#[test]
fn batch_norm_with_residual_and_relu() {
    for dims in [vec![2, 5, 4, 3], vec![11, 6], vec![40, 1]] {
        let inputs = away_from_zero(&dims);
        check_gradients(&format!("batch_norm_relu_train {dims:?}"), &inputs, 2e-3, 2e-3, |t| {
            Ok(odc_ops::batch_norm_relu_train(&t[0], Some(&t[1]), Some(&t[2]), Some(&t[3]), 1e-5)?.0)
        });
        let (x, residual) = (inputs[0].clone(), inputs[3].as_detached_tensor());
        check_gradients("a residual that is no variable", &[x], 2e-3, 2e-3, |t| {
            Ok(odc_ops::batch_norm_relu_train(&t[0], None, None, Some(&residual), 1e-5)?.0)
        });
        let channels = dims[dims.len() - 1];
        let (mean, variance) = (tensor(4, &[channels]), tensor(5, &[channels]).sqr().expect("squares"));
        let variance = (variance + 1.0).expect("variances");
        check_gradients(&format!("batch_norm_relu_eval {dims:?}"), &inputs, 2e-3, 2e-3, |t| {
            odc_ops::batch_norm_relu_eval(&t[0], Some(&t[1]), Some(&t[2]), Some(&t[3]), &mean, &variance, 1e-5)
        });
    }
}

/// What is fused equals its parts, forward and backward, in both modes.
#[test]
fn fused_batch_norm_agrees_with_its_parts() {
    let dims = [3, 6, 5, 17];
    let v = [variable(1, &dims), variable(2, &[17]), variable(3, &[17]), variable(4, &dims)];
    let (mean, variance) = (tensor(5, &[17]), tensor(6, &[17]).sqr().expect("squares"));
    let norm = |train: bool| {
        if train {
            Ok(odc_ops::batch_norm_train(&v[0], Some(&v[1]), Some(&v[2]), 1e-5)?.0)
        } else {
            odc_ops::batch_norm_eval(&v[0], Some(&v[1]), Some(&v[2]), &mean, &variance, 1e-5)
        }
    };
    let fused = |train: bool, residual: Option<&Tensor>| {
        let (x, weight, bias) = (&v[0], Some(v[1].as_tensor()), Some(v[2].as_tensor()));
        if train {
            Ok(odc_ops::batch_norm_relu_train(x, weight, bias, residual, 1e-5)?.0)
        } else {
            odc_ops::batch_norm_relu_eval(x, weight, bias, residual, &mean, &variance, 1e-5)
        }
    };
    for (train, with_residual) in [(true, true), (true, false), (false, true), (false, false)] {
        let residual = with_residual.then(|| v[3].as_tensor());
        let parts = norm(train).and_then(|y| match residual {
            Some(residual) => odc_ops::relu(&odc_ops::add(&y, residual)?),
            None => odc_ops::relu(&y),
        });
        let (parts, fused) = (parts.expect("parts"), fused(train, residual).expect("fused"));
        assert_close("forward", &flat(&fused), &flat(&parts), 1e-6);
        let gradients = |y: &Tensor| score(y).and_then(|score| score.backward()).expect("backward");
        let (of_parts, of_fused) = (gradients(&parts), gradients(&fused));
        for (number, variable) in v.iter().enumerate().take(if with_residual { 4 } else { 3 }) {
            let [of_parts, of_fused] = [&of_parts, &of_fused].map(|all| flat(all.get(variable).expect("a gradient")));
            assert_close(&format!("train {train}, gradient {number}"), &of_fused, &of_parts, 1e-5);
        }
    }
}

#[test]
fn relu() {
    let x = variable(1, &[5, 37]);
    check_gradients("relu", &[x], 1e-4, 2e-3, |t| odc_ops::relu(&t[0]));
    let zero = Var::zeros(3, candle_core::DType::F32, &Device::Cpu).expect("zeros");
    let gradients = odc_ops::relu(&zero).and_then(|y| y.sum_all()?.backward()).expect("backward");
    assert_eq!(flat(gradients.get(&zero).expect("a gradient")), [0.0; 3]);
}

#[test]
fn add() {
    let inputs = [variable(1, &[3, 4, 5]), variable(2, &[3, 4, 5])];
    check_gradients("add", &inputs, 0.5, 1e-6, |t| odc_ops::add(&t[0], &t[1]));
    check_gradients("add to itself", &inputs[..1], 0.5, 1e-6, |t| odc_ops::add(&t[0], &t[0]));
}

#[test]
fn max_pool2d() {
    for (dims, kernel, stride, padding) in
        [([2, 9, 7, 3], 3, 2, 1), ([1, 6, 8, 2], 2, 2, 0), ([1, 7, 5, 2], 3, 1, 1), ([2, 9, 8, 3], 3, 2, 0)]
    {
        let x = variable(1, &dims);
        check_gradients(&format!("max_pool2d {dims:?}"), &[x], 1e-4, 2e-3, |t| {
            odc_ops::max_pool2d(&t[0], kernel, stride, padding)
        });
    }
}

#[test]
fn global_average_pool() {
    let x = variable(1, &[3, 5, 4, 6]);
    check_gradients("global_average_pool", &[x], 0.5, 1e-5, |t| odc_ops::global_average_pool(&t[0]));
}

#[test]
fn adaptive_average_rows() {
    for (dims, side) in [([2, 13, 7, 3], 6), ([1, 6, 6, 2], 6), ([2, 3, 5, 4], 6), ([1, 1, 1, 5], 6), ([1, 4, 9, 2], 1)]
    {
        let x = variable(1, &dims);
        check_gradients(&format!("adaptive_average_rows {dims:?}"), &[x], 0.5, 1e-5, |t| {
            odc_ops::adaptive_average_rows(&t[0], side)
        });
    }
}

#[test]
fn adaptive_average_rows_keeps_a_map_of_its_side_and_is_the_global_average_at_side_one() {
    let x = tensor(1, &[2, 5, 5, 3]);
    let rows = odc_ops::adaptive_average_rows(&x, 5).expect("rows");
    assert_eq!((rows.dims(), flat(&rows)), (&[2, 75][..], flat(&x)));
    let x = tensor(2, &[2, 4, 7, 3]);
    let mean = odc_ops::adaptive_average_rows(&x, 1).expect("means");
    assert_eq!(flat(&mean), flat(&odc_ops::global_average_pool(&x).expect("means")));
    // PyTorch's AdaptiveAvgPool2d(2) of a 3×3 map: cells overlap in the middle.
    let x = Tensor::from_vec((0..9).map(|value| value as f32).collect(), (1, 3, 3, 1), &Device::Cpu).expect("a map");
    assert_eq!(flat(&odc_ops::adaptive_average_rows(&x, 2).expect("means")), [2.0, 3.0, 5.0, 6.0]);
    assert!(odc_ops::adaptive_average_rows(&x, 0).is_err());
}

#[test]
fn add_bias() {
    for dims in [vec![2, 3, 4, 5], vec![7, 2], vec![3]] {
        let vars = [variable(1, &dims), variable(2, &dims[dims.len() - 1..])];
        check_gradients(&format!("add_bias {dims:?}"), &vars, 0.5, 1e-5, |t| odc_ops::add_bias(&t[0], &t[1]));
    }
    assert!(odc_ops::add_bias(&tensor(1, &[2, 3]), &tensor(2, &[2])).is_err());
}

#[test]
fn linear() {
    for (n, inputs, outputs) in [(7, 5, 9), (1, 30, 2), (20, 1, 1)] {
        let vars = [variable(1, &[n, inputs]), variable(2, &[outputs, inputs]), variable(3, &[outputs])];
        check_gradients("linear", &vars, 0.5, 1e-5, |t| odc_ops::linear(&t[0], &t[1], Some(&t[2])));
        check_gradients("linear without bias", &vars[..2], 0.5, 1e-5, |t| odc_ops::linear(&t[0], &t[1], None));
    }
}

#[test]
fn dropout() {
    let x = variable(1, &[9, 31]);
    check_gradients("dropout", std::slice::from_ref(&x), 0.5, 1e-5, |t| odc_ops::dropout(&t[0], 0.4, 3));
    let mask = tensor(2, &[9, 31]);
    check_gradients("dropout_with_mask", &[x], 0.5, 1e-5, |t| odc_ops::dropout_with_mask(&t[0], &mask));
}

#[test]
fn weighted_cross_entropy() {
    let logits = variable(1, &[6, 5]);
    let labels = Tensor::new(&[0_u32, 4, 2, 2, 1, 3], &Device::Cpu).expect("labels");
    let weights = tensor(2, &[5]).abs().expect("weights");
    check_gradients("weighted_cross_entropy", &[logits], 2e-2, 1e-3, |t| {
        odc_ops::weighted_cross_entropy(&t[0], &labels, &weights)
    });
}

#[test]
fn weighted_cross_entropy_agrees_with_pytorch() {
    let golden = Golden::open("weighted_ce");
    let cpu = &Device::Cpu;
    let logits = Var::from_vec(golden.f32("logits"), (64, 50), cpu).expect("logits");
    let labels = Tensor::from_vec(golden.u32("labels"), 64, cpu).expect("labels");
    let weights = Tensor::from_vec(golden.f32("weight"), 50, cpu).expect("weights");
    let loss = odc_ops::weighted_cross_entropy(&logits, &labels, &weights).expect("loss");
    assert_close("loss", &flat(&loss), &golden.f32("loss_sum_w"), 1e-6);
    let gradients = loss.backward().expect("backward");
    assert_close("gradient", &flat(gradients.get(&logits).expect("gradient")), &golden.f32("grad_sum_w"), 1e-6);
}

/// An image is no variable: no gradient is computed for it, and none is stored.
#[test]
fn what_is_no_variable_gets_no_gradient() {
    let (image, weight) = (tensor(1, &[2, 6, 6, 3]), variable(2, &[3, 3, 3, 4]));
    let y = odc_ops::conv2d(&image, &weight, 1, 1).expect("forward");
    let gradients = y.sum_all().and_then(|sum| sum.backward()).expect("backward");
    assert!(gradients.get(&image).is_none());
    assert!(gradients.get(&weight).is_some());
    assert_eq!(gradients.get_ids().count(), 1);
}

#[test]
fn tensors_that_are_not_contiguous_are_understood() {
    let (x, weight) = (variable(1, &[3, 6, 5, 2]), variable(2, &[4, 3, 3, 3]));
    let permuted = |t: &[Tensor]| odc_ops::conv2d(&t[0].permute((3, 1, 2, 0))?, &t[1].permute((1, 2, 3, 0))?, 1, 1);
    check_gradients("conv2d of permuted tensors", &[x, weight], 0.5, 1e-5, permuted);
    let x = variable(1, &[5, 8]);
    check_gradients("relu of a transposed tensor", &[x], 1e-4, 2e-3, |t| odc_ops::relu(&t[0].t()?)?.t());
}
