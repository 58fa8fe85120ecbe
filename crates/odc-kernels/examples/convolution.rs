//! Convolves random images with the fast kernel and with its naive twin, and prints how far apart they are.

use odc_kernels::convolution::{ConvolutionShape, Execution, forward};
use odc_kernels::{Window, plain, random};
use std::io::Write;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let window = Window::new((32, 32), (3, 3), 1, 1)?;
    let shape = ConvolutionShape::new(4, window, 16, 32)?;
    let values = |name, n: usize| -> Vec<f32> {
        (0..n as u64).map(|index| random::normal(random::key(1, name, 0), index)).collect()
    };
    let (input, weight) = (values("input", shape.input_len()), values("weight", shape.weight_len()));
    let mut output = vec![0.0; shape.output_len()];

    let start = Instant::now();
    forward(Execution::default(), &shape, &input, &weight, &mut output);
    let fast = start.elapsed();
    let start = Instant::now();
    let expected = plain::convolution_forward(&shape, &input, &weight);
    let naive = start.elapsed();

    let largest = expected.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let error = output.iter().zip(&expected).fold(0.0_f32, |error, (a, b)| error.max((a - b).abs()));
    let mut out = std::io::stdout();
    writeln!(out, "4 images of 32×32, 16 → 32 channels, 3×3: {fast:?} where the naive loops take {naive:?}")?;
    writeln!(out, "largest difference {error:.1e} beside values up to {largest:.1}")?;
    Ok(())
}
