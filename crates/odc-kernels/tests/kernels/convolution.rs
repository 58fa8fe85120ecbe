//! The convolution kernels against their naive twin, for fixed and for random shapes, and for any number of threads.

use crate::support::{Draw, same_bits_for_any_threads};
use odc_kernels::convolution::{ConvolutionShape, Execution, Method, backward_data, backward_weight, forward};
use odc_kernels::simd::Level;
use odc_kernels::{ShapeError, Window, plain};
use odc_testkit::assert_close;

/// All three passes by every method at every level that this processor has.
fn check(
    images: usize,
    size: (usize, usize),
    kernel: (usize, usize),
    stride: usize,
    padding: usize,
    ci: usize,
    co: usize,
) {
    let window = Window::new(size, kernel, stride, padding).expect("a window");
    let shape = ConvolutionShape::new(images, window, ci, co).expect("a shape");
    let mut draw = Draw::new(17);
    let (input, weight) = (draw.values(shape.input_len()), draw.values(shape.weight_len()));
    let gradient = draw.values(shape.output_len());

    let output = plain::convolution_forward(&shape, &input, &weight);
    let by_input = plain::convolution_backward_data(&shape, &weight, &gradient);
    let by_weight = plain::convolution_backward_weight(&shape, &input, &gradient);
    for level in Level::available() {
        for (method, tolerance) in [(Method::Direct, 3e-6), (Method::Winograd, 6e-6)] {
            let execution = Execution { level, method };
            let what = |pass: &str| format!("{pass} {shape:?} {execution:?}");
            let compare = |pass: &str, expected: &[f32], compute: &(dyn Fn(&mut [f32]) + Sync)| {
                let got = same_bits_for_any_threads(&what(pass), || {
                    let mut result = vec![f32::NAN; expected.len()];
                    compute(&mut result);
                    result
                });
                assert_close(&what(pass), &got, expected, tolerance);
            };
            compare("forward", &output, &|y| forward(execution, &shape, &input, &weight, y));
            compare("backward data", &by_input, &|dx| backward_data(execution, &shape, &weight, &gradient, dx));
            compare("backward weight", &by_weight, &|dw| backward_weight(execution, &shape, &input, &gradient, dw));
        }
    }
}

#[test]
fn agrees_with_the_naive_twin_on_the_layers_of_a_resnet() {
    for (size, kernel, stride, padding, ci, co) in [
        (32, 3, 2, 1, 3, 16),
        (16, 3, 1, 1, 16, 16),
        (16, 3, 2, 1, 16, 32),
        (16, 1, 2, 0, 16, 32),
        (4, 3, 1, 1, 64, 128),
        (2, 3, 1, 1, 128, 128),
        (1, 3, 1, 1, 64, 64),
        (21, 7, 2, 3, 3, 64),
        (7, 1, 1, 0, 256, 64),
        (7, 3, 1, 1, 600, 20),
    ] {
        check(3, (size, size), (kernel, kernel), stride, padding, ci, co);
    }
}

#[test]
fn agrees_with_the_naive_twin_on_the_layers_of_alexnet_and_sobel_s_filters() {
    for (size, kernel, stride, padding, ci, co) in [
        ((67, 63), 11, 4, 2, 3, 24),
        ((67, 63), 11, 4, 2, 2, 24),
        ((15, 13), 5, 1, 2, 24, 40),
        ((21, 18), 7, 2, 3, 2, 20),
        ((9, 10), 3, 1, 1, 2, 20),
        ((9, 10), 1, 1, 0, 3, 1),
        ((9, 10), 3, 1, 1, 1, 2),
    ] {
        check(2, size, (kernel, kernel), stride, padding, ci, co);
    }
}

#[test]
fn agrees_with_the_naive_twin_where_groups_of_windows_are_summed() {
    check(40, (10, 12), (3, 3), 1, 1, 16, 16);
    check(40, (13, 11), (3, 3), 2, 1, 8, 20);
    check(30, (11, 11), (1, 1), 1, 0, 130, 70);
}

#[test]
fn taps_that_are_always_padding_have_no_gradient_in_any_group() {
    // Maps of one pixel: of nine taps one is used; many windows: several partial sums.
    check(4000, (1, 1), (3, 3), 1, 1, 9, 6);
    check(900, (1, 5), (3, 3), 1, 1, 9, 6);
}

#[test]
fn agrees_with_the_naive_twin_where_winograd_can_go_either_way() {
    // Small weights with many tiles and with one; large weights with few; sides that tiles do not fill.
    check(40, (10, 13), (3, 3), 1, 1, 16, 48);
    check(1, (3, 1), (3, 3), 1, 1, 32, 16);
    check(3, (7, 7), (3, 3), 1, 1, 256, 160);
    check(150, (4, 4), (3, 3), 1, 1, 192, 176);
}

#[test]
fn agrees_with_the_naive_twin_on_random_shapes() {
    let mut draw = Draw::new(5);
    for _ in 0..60 {
        let kernel = [1_usize, 2, 3, 5, 7];
        let kernel = (kernel[draw.size(0, 4)], kernel[draw.size(0, 4)]);
        let padding = draw.size(0, 3);
        let low = kernel.0.max(kernel.1).saturating_sub(2 * padding).max(1);
        let size = (draw.size(low, low + 9), draw.size(low, low + 12));
        let stride = draw.size(1, 3);
        check(draw.size(1, 4), size, kernel, stride, padding, draw.size(1, 20), draw.size(1, 35));
    }
}

#[test]
fn long_sums_are_made_of_shorter_ones() {
    // 4,608 products a sum. In one chain the error would be 1.2e-6 of the deviation; in runs of 256 it is 3.2e-7.
    let window = Window::new((3, 3), (3, 3), 1, 1).expect("a window");
    let shape = ConvolutionShape::new(4, window, 512, 32).expect("a shape");
    let mut draw = Draw::new(3);
    let (input, weight) = (draw.values(shape.input_len()), draw.values(shape.weight_len()));
    // The pixel in the middle sees all taps.
    let exact = |image: usize, column: usize| -> f64 {
        let pixels = &input[image * 9 * 512..][..9 * 512];
        pixels.iter().enumerate().map(|(k, &x)| f64::from(x) * f64::from(weight[k * 32 + column])).sum()
    };
    for level in Level::available() {
        let mut output = vec![0.0; shape.output_len()];
        forward(Execution { level, method: Method::Direct }, &shape, &input, &weight, &mut output);
        let errors = (0..4 * 32).map(|n| f64::from(output[(n / 32 * 9 + 4) * 32 + n % 32]) - exact(n / 32, n % 32));
        let deviation = (9.0 * 512.0_f64).sqrt();
        let error = (errors.map(|error| error * error).sum::<f64>() / (4.0 * 32.0)).sqrt() / deviation;
        assert!(error < 5e-7, "{level}: {error:e}");
    }
}

#[test]
fn no_images_give_empty_results_and_a_zero_weight_gradient() {
    let window = Window::new((4, 4), (3, 3), 1, 1).expect("a window");
    let shape = ConvolutionShape::new(0, window, 2, 3).expect("a shape");
    let execution = Execution::default();
    forward(execution, &shape, &[], &vec![1.0; shape.weight_len()], &mut []);
    backward_data(execution, &shape, &vec![1.0; shape.weight_len()], &[], &mut []);
    let mut gradient = vec![f32::NAN; shape.weight_len()];
    backward_weight(execution, &shape, &[], &[], &mut gradient);
    assert!(gradient.iter().all(|&x| x == 0.0));
}

#[test]
fn impossible_windows_are_refused() {
    assert_eq!(Window::new((4, 4), (3, 3), 0, 1), Err(ShapeError::Zero { name: "stride" }));
    let too_large = ShapeError::WindowTooLarge { kernel: 7, side: 4, padding: 1 };
    assert_eq!(Window::new((4, 9), (7, 7), 1, 1), Err(too_large));
}
