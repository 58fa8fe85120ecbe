//! Batch norm, pooling, loss, products and element-wise kernels against their naive twins, for any number of threads.

use crate::support::{Draw, same_bits_for_any_threads};
use odc_kernels::pooling::{
    PoolingShape, global_average, global_average_backward, max_pool, max_pool_backward, max_positions,
};
use odc_kernels::{Matrix, Window, batch_norm, cross_entropy, elementwise, matrix_multiply, plain, random, sgd};
use odc_testkit::{Golden, assert_close};

#[test]
fn products_agree_in_all_four_orientations() {
    let mut draw = Draw::new(2);
    for round in 0..24 {
        let (rows, inner, columns) = match round {
            0 => (300, 70, 530),
            1 => (1, 600, 300),
            2 => (129, 1, 257),
            _ => (draw.size(1, 60), draw.size(1, 90), draw.size(1, 60)),
        };
        let (a, b) = (draw.values(rows * inner), draw.values(inner * columns));
        let (mut a_turned, mut b_turned) = (vec![0.0; a.len()], vec![0.0; b.len()]);
        odc_kernels::matrix::transpose(&a, rows, &mut a_turned);
        odc_kernels::matrix::transpose(&b, inner, &mut b_turned);
        let expected = plain::matrix_multiply(&a, &b, inner);
        let a = [Matrix::row_major(&a, rows, inner), Matrix::row_major(&a_turned, inner, rows).transposed()];
        let b = [Matrix::row_major(&b, inner, columns), Matrix::row_major(&b_turned, columns, inner).transposed()];
        for a in a {
            for b in b {
                let out = same_bits_for_any_threads("product", || {
                    let mut out = vec![f32::NAN; rows * columns];
                    matrix_multiply(a, b, &mut out);
                    out
                });
                assert_close("product", &out, &expected, 3e-6);
            }
        }
    }
}

#[test]
fn batch_norm_agrees_with_its_twin() {
    let mut draw = Draw::new(3);
    for (rows, channels) in [(12, 1), (7, 3), (1000, 16), (5000, 70), (300, 300), (70_000, 3)] {
        let mut x = draw.values(rows * channels);
        for (index, x) in x.iter_mut().enumerate() {
            // Means far from zero must not cost digits.
            *x += (index % channels) as f32 * 3.0 - 20.0;
        }
        let (weight, bias, dy) = (draw.values(channels), draw.values(channels), draw.values(rows * channels));
        let expected = plain::batch_norm_statistics(&x, channels, 1e-5);
        let statistics = same_bits_for_any_threads("statistics", || {
            let mut statistics = vec![f32::NAN; 3 * channels];
            batch_norm::statistics(&x, channels, 1e-5, &mut statistics);
            statistics
        });
        assert_close("mean", &statistics[..channels], &expected[0], 1e-6);
        assert_close("inverse deviation", &statistics[channels..2 * channels], &expected[1], 1e-5);
        assert_close("unbiased variance", &statistics[2 * channels..], &expected[2], 1e-5);
        let [mean, inverse, _] = expected;

        let y = same_bits_for_any_threads("normalize", || {
            let mut y = vec![f32::NAN; x.len()];
            batch_norm::normalize(&x, &mean, &inverse, &weight, &bias, &mut y);
            y
        });
        assert_close("normalize", &y, &plain::batch_norm(&x, &mean, &inverse, &weight, &bias), 1e-6);

        let sums = same_bits_for_any_threads("backward sums", || {
            let mut sums = vec![f32::NAN; 2 * channels];
            batch_norm::backward_sums(&x, &mean, &inverse, &dy, &mut sums);
            sums
        });
        let [dx, dw, db] = plain::batch_norm_backward(&x, &mean, &inverse, &weight, &dy);
        assert_close("by bias", &sums[..channels], &db, 1e-5);
        assert_close("by weight", &sums[channels..], &dw, 1e-5);
        let by_x = same_bits_for_any_threads("backward", || {
            let mut by_x = vec![f32::NAN; x.len()];
            batch_norm::backward_train(&x, &mean, &inverse, &weight, &sums, &dy, &mut by_x);
            by_x
        });
        assert_close("by x", &by_x, &dx, 1e-5);
    }
}

#[test]
fn a_constant_channel_has_variance_zero() {
    let mut statistics = vec![f32::NAN; 3];
    batch_norm::statistics(&[1234.567; 500], 1, 1e-5, &mut statistics);
    assert_eq!(statistics[0], 1234.567);
    assert_eq!(statistics[2], 0.0);
}

#[test]
fn max_pool_agrees_with_its_twin() {
    let mut draw = Draw::new(4);
    for round in 0..40 {
        let (kernel, stride, padding) = if round < 5 { (3, 2, 1) } else { (draw.size(1, 4), draw.size(1, 3), 0) };
        let padding = if padding == 0 && kernel > 1 { draw.size(0, kernel / 2) } else { padding };
        let size = (draw.size(kernel, kernel + 9), draw.size(kernel, kernel + 9));
        let window = Window::new(size, (kernel, kernel), stride, padding).expect("a window");
        let shape = PoolingShape::new(draw.size(1, 3), window, draw.size(1, 20)).expect("a shape");
        let mut x = draw.values(shape.input_len());
        // Ties: the first wins.
        x.iter_mut().for_each(|x| *x = (*x * 2.0).round() - 3.0);
        let dy = draw.values(shape.output_len());
        let sources = plain::max_pool_sources(&shape, &x);
        let mut positions = vec![0; shape.output_len()];
        max_positions(&shape, &x, &mut positions);
        let y = same_bits_for_any_threads("max pool", || {
            let mut y = vec![f32::NAN; shape.output_len()];
            max_pool(&shape, &x, &positions, &mut y);
            y
        });
        assert_eq!(y, sources.iter().map(|&source| x[source]).collect::<Vec<_>>(), "{shape:?}");
        let mut expected = vec![0.0; shape.input_len()];
        for (&source, dy) in sources.iter().zip(&dy) {
            expected[source] += dy;
        }
        let dx = same_bits_for_any_threads("max pool backward", || {
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
    let y = same_bits_for_any_threads("global average", || {
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
fn cross_entropy_agrees_with_its_twin_and_with_pytorch() {
    let golden = Golden::open("weighted_ce");
    let (logits, labels, weights) = (golden.f32("logits"), golden.u32("labels"), golden.f32("weight"));
    let loss = same_bits_for_any_threads("loss", || vec![cross_entropy::forward(&logits, &labels, &weights)]);
    let gradient = same_bits_for_any_threads("loss gradient", || {
        let mut gradient = vec![f32::NAN; logits.len()];
        cross_entropy::backward(&logits, &labels, &weights, 1.0, &mut gradient);
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
    let loss = cross_entropy::forward(&[1e30, -1e30, 5.0, 900.0], &[0, 1], &[1.0, 3.0]);
    assert!(loss.is_finite(), "{loss}");
}

#[test]
fn element_wise_kernels_do_what_they_say() {
    let n = 40_000;
    let mut draw = Draw::new(8);
    let (a, b) = (draw.values(n), draw.values(n));
    let check = |what: &str, f: &(dyn Fn(&mut [f32]) + Sync), expected: &dyn Fn(usize) -> f32| {
        let y = same_bits_for_any_threads(what, || {
            let mut y = vec![f32::NAN; n];
            f(&mut y);
            y
        });
        assert_eq!(y, (0..n).map(expected).collect::<Vec<_>>(), "{what}");
    };
    check("relu", &|y| elementwise::relu(&a, y), &|i| a[i].max(0.0));
    check("relu backward", &|y| elementwise::relu_backward(&a, &b, y), &|i| if a[i] > 0.0 { b[i] } else { 0.0 });
    check("add", &|y| elementwise::add(&a, &b, y), &|i| a[i] + b[i]);
    check("multiply", &|y| elementwise::multiply(&a, &b, y), &|i| a[i] * b[i]);
    check("dropout", &|y| elementwise::dropout(&a, 0.3, 9, y), &|i| {
        if random::uniform(9, i as u64) < 0.3 { 0.0 } else { a[i] * (1.0 / 0.7) }
    });
    check("add bias", &|y| elementwise::add_bias(&a, &b[..50], y), &|i| a[i] + b[i % 50]);
    check(
        "velocity",
        &|y| {
            y.copy_from_slice(&b);
            sgd::update_velocity(y, &a, &b, 0.9, 0.1);
        },
        &|i| 0.9 * b[i] + (a[i] + 0.1 * b[i]),
    );
    check(
        "descend",
        &|y| {
            y.copy_from_slice(&a);
            sgd::descend(y, &b, 0.25);
        },
        &|i| a[i] - 0.25 * b[i],
    );

    let sums = same_bits_for_any_threads("sum rows", || {
        let mut sums = vec![f32::NAN; 50];
        elementwise::sum_rows(&a, &mut sums);
        sums
    });
    let expected: Vec<f32> =
        (0..50).map(|c| a[c..].iter().step_by(50).map(|&x| f64::from(x)).sum::<f64>() as f32).collect();
    assert_close("sum rows", &sums, &expected, 1e-6);
}

#[test]
fn pixels_are_normalized_as_torchvision_does() {
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let mut y = vec![f32::NAN; 6];
    elementwise::normalize_pixels(&[0, 128, 255, 7, 90, 1], mean, std, &mut y);
    let expected = |byte: u8, c: usize| (f32::from(byte) / 255.0 - mean[c]) / std[c];
    assert_eq!(
        y,
        [expected(0, 0), expected(128, 1), expected(255, 2), expected(7, 0), expected(90, 1), expected(1, 2)]
    );
}

#[test]
fn dropout_keeps_the_mean() {
    let n = 100_000;
    let mut y = vec![0.0; n];
    elementwise::dropout(&vec![1.0; n], 0.5, 1, &mut y);
    let mean = y.iter().map(|&y| f64::from(y)).sum::<f64>() / n as f64;
    assert!((mean - 1.0).abs() < 0.02, "{mean}");
}
