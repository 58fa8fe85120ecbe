//! Our side of `cargo xtask bench cpu --layers`: single convolutions and the processor's peak, timed on demand.
//!
//! It writes `{"ready": ...}`. The line `peak` on its standard input is answered by `{"gflops": ..., "isa": ...}`; the line
//! `PASS IMAGES SIDE KERNEL STRIDE PADDING IN OUT`, where PASS is `forward`, `backward_data` or `backward_weight`, by
//! `{"seconds": [...]}`, the times of some runs.

mod peak;

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use odc_kernels::convolution::{ConvolutionShape, Execution, backward_data, backward_weight, forward};
use odc_kernels::memory::PoolAllocator;
use odc_kernels::{Window, random};

/// As in the program `odc`.
#[global_allocator]
static MEMORY: PoolAllocator = PoolAllocator::new();

/// Whatever goes wrong ends the program.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How long one answer takes, and its least number of runs.
const LEAST: (Duration, usize) = (Duration::from_millis(100), 3);

fn main() -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, r#"{{"ready": "odc {}"}}"#, env!("CARGO_PKG_VERSION"))?;
    let mut layer = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line == "peak" {
            let (gflops, isa) = peak::measure();
            writeln!(out, r#"{{"gflops": {gflops}, "isa": "{isa}"}}"#)?;
            continue;
        }
        let (pass, sizes) = line.split_once(' ').ok_or("expected: PASS SIZES")?;
        if layer.as_ref().is_none_or(|layer: &Layer| layer.sizes != sizes) {
            layer = Some(Layer::new(sizes)?);
        }
        let seconds = layer.as_mut().map(|layer| layer.time(pass)).ok_or("no layer")??;
        writeln!(out, r#"{{"seconds": {seconds:?}}}"#)?;
    }
    Ok(())
}

/// A convolution with all that its three passes read and write.
struct Layer {
    sizes: String,
    shape: ConvolutionShape,
    x: Vec<f32>,
    weight: Vec<f32>,
    y: Vec<f32>,
    dx: Vec<f32>,
    dweight: Vec<f32>,
    dy: Vec<f32>,
}

impl Layer {
    fn new(sizes: &str) -> Result<Self> {
        let numbers = sizes.split_whitespace().map(str::parse).collect::<std::result::Result<Vec<usize>, _>>()?;
        let [images, side, kernel, stride, padding, inputs, outputs] = numbers[..] else {
            return Err("expected: IMAGES SIDE KERNEL STRIDE PADDING IN OUT".into());
        };
        let window = Window::new((side, side), (kernel, kernel), stride, padding)?;
        let shape = ConvolutionShape::new(images, window, inputs, outputs)?;
        let values = |stream, n: usize| (0..n as u64).map(|index| random::uniform(stream, index) - 0.5).collect();
        let (x, weight, dy): (Vec<_>, Vec<_>, Vec<_>) =
            (values(1, shape.input_len()), values(2, shape.weight_len()), values(3, shape.output_len()));
        let (y, dx, dweight) = (dy.clone(), x.clone(), weight.clone());
        Ok(Self { sizes: sizes.to_owned(), shape, x, weight, y, dx, dweight, dy })
    }

    fn time(&mut self, pass: &str) -> Result<Vec<f64>> {
        match pass {
            "forward" => Ok(times(|| forward(Execution::default(), &self.shape, &self.x, &self.weight, &mut self.y))),
            "backward_data" => {
                Ok(times(|| backward_data(Execution::default(), &self.shape, &self.weight, &self.dy, &mut self.dx)))
            }
            "backward_weight" => {
                Ok(times(|| backward_weight(Execution::default(), &self.shape, &self.x, &self.dy, &mut self.dweight)))
            }
            other => Err(format!("there is no pass {other:?}").into()),
        }
    }
}

/// The seconds of each run.
fn times(mut run: impl FnMut()) -> Vec<f64> {
    let start = Instant::now();
    let mut seconds = Vec::new();
    while start.elapsed() < LEAST.0 || seconds.len() < LEAST.1 {
        let start = Instant::now();
        run();
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds
}
