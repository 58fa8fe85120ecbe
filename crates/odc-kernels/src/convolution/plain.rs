//! The readable twin of the convolution kernels: seven loops, sums in f64.

use super::ConvolutionShape;

/// Calls `f(input position, weight position of (ky, kx), output position)`, positions counted in pixels and taps.
fn for_each_tap(shape: &ConvolutionShape, mut f: impl FnMut(usize, usize, usize)) {
    let window = shape.window();
    for image in 0..shape.images() {
        for oy in 0..window.out_height() {
            for ox in 0..window.out_width() {
                for ky in 0..window.kernel_height() {
                    for kx in 0..window.kernel_width() {
                        let y = (oy * window.stride() + ky).wrapping_sub(window.padding());
                        let x = (ox * window.stride() + kx).wrapping_sub(window.padding());
                        if y < window.height() && x < window.width() {
                            let input = (image * window.height() + y) * window.width() + x;
                            let output = (image * window.out_height() + oy) * window.out_width() + ox;
                            f(input, ky * window.kernel_width() + kx, output);
                        }
                    }
                }
            }
        }
    }
}

/// Twin of [`crate::convolution::forward`].
pub fn convolution_forward(shape: &ConvolutionShape, input: &[f32], weight: &[f32]) -> Vec<f32> {
    let (ci, co) = (shape.in_channels(), shape.out_channels());
    let mut sums = vec![0.0_f64; shape.output_len()];
    for_each_tap(shape, |pixel, tap, out| {
        for i in 0..ci {
            for o in 0..co {
                sums[out * co + o] += f64::from(input[pixel * ci + i]) * f64::from(weight[(tap * ci + i) * co + o]);
            }
        }
    });
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// Twin of [`crate::convolution::backward_data`].
pub fn convolution_backward_data(shape: &ConvolutionShape, weight: &[f32], output_gradient: &[f32]) -> Vec<f32> {
    let (ci, co) = (shape.in_channels(), shape.out_channels());
    let mut sums = vec![0.0_f64; shape.input_len()];
    for_each_tap(shape, |pixel, tap, out| {
        for i in 0..ci {
            for o in 0..co {
                sums[pixel * ci + i] +=
                    f64::from(weight[(tap * ci + i) * co + o]) * f64::from(output_gradient[out * co + o]);
            }
        }
    });
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// Twin of [`crate::convolution::backward_weight`].
pub fn convolution_backward_weight(shape: &ConvolutionShape, input: &[f32], output_gradient: &[f32]) -> Vec<f32> {
    let (ci, co) = (shape.in_channels(), shape.out_channels());
    let mut sums = vec![0.0_f64; shape.weight_len()];
    for_each_tap(shape, |pixel, tap, out| {
        for i in 0..ci {
            for o in 0..co {
                sums[(tap * ci + i) * co + o] +=
                    f64::from(input[pixel * ci + i]) * f64::from(output_gradient[out * co + o]);
            }
        }
    });
    sums.into_iter().map(|sum| sum as f32).collect()
}
