//! Pooling, loss and SGD against their naive twins: every level of instructions, any number of threads.

use crate::support::{Draw, same_bits_everywhere};
use odc_kernels::pooling::{PoolingShape, global_average, global_average_backward, max_pool, max_pool_backward};
use odc_kernels::sgd::{SgdStep, descend};
use odc_kernels::{Window, cross_entropy, plain};
use odc_testkit::{Golden, assert_close};

const CHANNELS: [usize; 6] = [1, 3, 16, 17, 64, 100];

#[test]
fn max_pool_agrees_with_its_twin() {
    let mut draw = Draw::new(4);
    for round in 0..40 {
        let (kernel, stride, padding) = if round < 5 { (3, 2, 1) } else { (draw.size(1, 4), draw.size(1, 3), 0) };
        let padding = if padding == 0 && kernel > 1 { draw.size(0, kernel / 2) } else { padding };
        let size = (draw.size(kernel, kernel + 9), draw.size(kernel, kernel + 9));
        let window = Window::new(size, (kernel, kernel), stride, padding).expect("a window");
        let shape = PoolingShape::new(draw.size(1, 3), window, CHANNELS[round % CHANNELS.len()]).expect("a shape");
        let mut x = draw.values(shape.input_len());
        // Ties: the first wins.
        x.iter_mut().for_each(|x| *x = (*x * 2.0).round() - 3.0);
        let dy = draw.values(shape.output_len());
        let sources = plain::max_pool_sources(&shape, &x);
        let (mut positions, n) = (vec![0; shape.output_len()], shape.output_len());
        max_pool(&shape, &x, &mut vec![f32::NAN; n], &mut positions);
        let y = same_bits_everywhere("max pool", || {
            let (mut y, mut again) = (vec![f32::NAN; n], vec![255; n]);
            max_pool(&shape, &x, &mut y, &mut again);
            assert_eq!(again, positions, "{shape:?}");
            y
        });
        assert_eq!(y, sources.iter().map(|&source| x[source]).collect::<Vec<_>>(), "{shape:?}");
        let mut expected = vec![0.0; shape.input_len()];
        for (&source, dy) in sources.iter().zip(&dy) {
            expected[source] += dy;
        }
        let dx = same_bits_everywhere("max pool backward", || {
            let mut dx = vec![f32::NAN; shape.input_len()];
            max_pool_backward(&shape, &positions, &dy, &mut dx);
            dx
        });
        assert_close(&format!("{shape:?}"), &dx, &expected, 1e-6);
    }
}

#[test]
fn global_average_is_the_mean_and_shares_its_gradient() {
    let (images, pixels, channels) = (5, 35, 7);
    let x = Draw::new(6).values(images * pixels * channels);
    let y = same_bits_everywhere("global average", || {
        let mut y = vec![f32::NAN; images * channels];
        global_average(&x, pixels, channels, &mut y);
        y
    });
    for image in 0..images {
        for channel in 0..channels {
            let sum: f64 = (0..pixels).map(|p| f64::from(x[(image * pixels + p) * channels + channel])).sum();
            let expected = sum / pixels as f64;
            assert!((f64::from(y[image * channels + channel]) - expected).abs() < 1e-6);
        }
    }
    let mut dx = vec![f32::NAN; x.len()];
    global_average_backward(&y, pixels, channels, &mut dx);
    assert_eq!(dx[(2 * pixels + 9) * channels + 3], y[2 * channels + 3] * (1.0 / pixels as f32));
}

#[test]
fn the_largest_of_a_window_with_no_number_is_none() {
    let window = Window::new((1, 4), (1, 2), 2, 0).expect("a window");
    let shape = PoolingShape::new(1, window, 1).expect("a shape");
    let (mut y, mut positions) = ([0.0; 2], [9; 2]);
    max_pool(&shape, &[1.0, f32::NAN, f32::NAN, 2.0], &mut y, &mut positions);
    assert!(y[0].is_nan() && y[1].is_nan() && positions == [1, 0], "{y:?} {positions:?}");
}

#[test]
fn cross_entropy_agrees_with_its_twin_and_with_pytorch() {
    let golden = Golden::open("weighted_ce");
    let (logits, labels, weights) = (golden.f32("logits"), golden.u32("labels"), golden.f32("weight"));
    let loss = same_bits_everywhere("loss", || vec![loss(&logits, &labels, &weights)]);
    let gradient = same_bits_everywhere("loss gradient", || {
        let mut gradient = vec![f32::NAN; logits.len()];
        let parts = parts(&logits, weights.len());
        cross_entropy::backward(&logits, &parts, &labels, &weights, 1.0, &mut gradient);
        gradient
    });
    assert_close("loss", &loss, &golden.f32("loss_sum_w"), 1e-6);
    assert_close("gradient", &gradient, &golden.f32("grad_sum_w"), 1e-6);
    let (plain_loss, plain_gradient) = plain::cross_entropy(&logits, &labels, &weights);
    assert_close("twin's loss", &loss, &[plain_loss], 1e-6);
    assert_close("twin's gradient", &gradient, &plain_gradient, 1e-6);
}

#[test]
fn huge_logits_give_a_finite_loss() {
    let loss = loss(&[1e30, -1e30, 5.0, 900.0], &[0, 1], &[1.0, 3.0]);
    assert!(loss.is_finite(), "{loss}");
}

#[test]
fn a_long_row_of_logits() {
    let mut draw = Draw::new(11);
    for classes in [1, 31, 32, 33, 1000] {
        let logits = draw.values(3 * classes).into_iter().map(|x| 20.0 * x).collect::<Vec<_>>();
        let (labels, weights) = ([0, classes as u32 - 1, classes as u32 / 2], vec![1.5; classes]);
        let (expected_loss, expected) = plain::cross_entropy(&logits, &labels, &weights);
        assert_close("loss", &[loss(&logits, &labels, &weights)], &[expected_loss], 1e-6);
        let mut gradient = vec![f32::NAN; logits.len()];
        cross_entropy::backward(&logits, &parts(&logits, classes), &labels, &weights, 1.0, &mut gradient);
        assert_close("gradient", &gradient, &expected, 1e-6);
    }
}

#[test]
fn the_exponential_is_within_two_units_in_the_last_place() {
    let mut worst = 0.0_f64;
    for step in 0..2_000_000 {
        let x = -(step as f32) * 4.4e-5;
        let (ours, exact) = (f64::from(cross_entropy::exp_of_negative(x)), f64::from(x).exp());
        if x >= -87.3 {
            let unit = f64::from(exact as f32).abs() * f64::from(f32::EPSILON) / 2.0;
            worst = worst.max((ours - exact).abs() / unit);
        } else {
            assert_eq!(ours, 0.0, "{x}");
        }
    }
    // Half-units of a number just below a power of two: at most two units of any.
    assert!(worst <= 4.0, "{worst}");
    assert_eq!(cross_entropy::exp_of_negative(0.0), 1.0);
    assert_eq!(cross_entropy::exp_of_negative(f32::NEG_INFINITY), 0.0);
    assert!(cross_entropy::exp_of_negative(f32::NAN).is_nan());
}

#[test]
fn sgd_agrees_with_its_twin() {
    let mut draw = Draw::new(12);
    let step = SgdStep { learning_rate: 0.25, momentum: 0.9, weight_decay: 0.1 };
    for n in [1, 17, 100_003] {
        let (gradient, parameter, velocity) = (draw.values(n), draw.values(n), draw.values(n));
        let both = same_bits_everywhere("SGD", || {
            let (mut parameter, mut velocity) = (parameter.clone(), velocity.clone());
            descend(step, &gradient, &mut parameter, &mut velocity);
            [parameter, velocity].concat()
        });
        assert_eq!(both, plain::descend(step, &gradient, &parameter, &velocity).concat());
    }
}

fn parts(logits: &[f32], classes: usize) -> Vec<f32> {
    let mut parts = vec![f32::NAN; 2 * (logits.len() / classes)];
    cross_entropy::softmax_parts(logits, classes, &mut parts);
    parts
}

fn loss(logits: &[f32], labels: &[u32], weights: &[f32]) -> f32 {
    cross_entropy::forward(logits, &parts(logits, weights.len()), labels, weights)
}
