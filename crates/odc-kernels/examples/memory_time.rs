//! Times the kernels that wait for memory, one thread: batch norm with what is fused, pooling, SGD, loss, beside the speed of
//! copying.
//!
//! Gigabytes count what a kernel has to read and write, each tensor once a pass.

use odc_kernels::batch_norm::{self, Gradient, Then};
use odc_kernels::pooling::{PoolingShape, global_average, global_average_backward, max_pool, max_pool_backward};
use odc_kernels::sgd::{SgdStep, descend};
use odc_kernels::{Window, cross_entropy, elementwise, random};
use std::io::Write;
use std::time::{Duration, Instant};

/// Rows and channels of activations: a narrow network, ResNet-18 on small images, ResNet-50 on large ones.
const SHAPES: [[usize; 2]; 6] = [[32_768, 16], [65_536, 64], [25_088, 64], [25_088, 256], [1568, 1024], [392, 2048]];

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    pool.install(|| {
        for [rows, channels] in SHAPES {
            normalization(rows, channels)?;
        }
        others()
    })
}

fn normalization(rows: usize, channels: usize) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let n = rows * channels;
    let (x, residual, dy) = (values(1, n), values(2, n), values(3, n));
    let (weight, bias) = (values(4, channels), values(5, channels));
    let (mut statistics, mut sums) = (vec![0.0; 3 * channels], vec![0.0; 2 * channels]);
    let (mut y, mut dx, mut masked) = (x.clone(), x.clone(), x.clone());
    batch_norm::statistics(&x, channels, 1e-5, &mut statistics);
    let (mean, inverse) = (statistics[..channels].to_vec(), statistics[channels..2 * channels].to_vec());
    writeln!(std::io::stdout(), "{rows} × {channels}, {:.1} MB", n as f64 * 4e-6)?;
    report("  copy", 2 * n, || y.copy_from_slice(&x))?;
    report("  statistics", n, || batch_norm::statistics(&x, channels, 1e-5, &mut statistics))?;
    for (name, tensors, then) in
        [("  forward, relu", 2, Then::Relu), ("  forward, add, relu", 3, Then::AddRelu(&residual))]
    {
        report(name, tensors * n, || batch_norm::normalize(&x, &mean, &inverse, &weight, &bias, then, &mut y))?;
    }
    let gradient = Gradient::ThroughRelu { dy: &dy, y: &y };
    report("  sums, relu", 3 * n, || batch_norm::backward_sums(&x, &mean, &inverse, gradient, &mut sums))?;
    report("  backward, relu", 4 * n, || {
        batch_norm::backward_train(&x, &mean, &inverse, &weight, &sums, gradient, &mut dx);
    })?;
    report("  sums and residual", 4 * n, || {
        batch_norm::backward_sums_and_residual(&x, &mean, &inverse, (&dy, &y), &mut masked, &mut sums);
    })?;
    let gradient = Gradient::Plain(&masked);
    report("  backward", 3 * n, || {
        batch_norm::backward_train(&x, &mean, &inverse, &weight, &sums, gradient, &mut dx);
    })?;
    report("  add in place", 3 * n, || elementwise::add_assign(&mut dx, &residual))
}

fn others() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let shape = PoolingShape::new(8, Window::new((112, 112), (3, 3), 2, 1)?, 64)?;
    let x = values(1, shape.input_len());
    let (mut dx, mut y, mut positions) = (x.clone(), vec![0.0; shape.output_len()], vec![0; shape.output_len()]);
    let touched = shape.input_len() + shape.output_len() * 5 / 4;
    report("max pool", touched, || max_pool(&shape, &x, &mut y, &mut positions))?;
    report("max pool backward", touched, || max_pool_backward(&shape, &positions, &y, &mut dx))?;
    let map = &x[..8 * 49 * 2048];
    report("average", map.len(), || global_average(map, 49, 2048, &mut y[..8 * 2048]))?;
    report("average backward", map.len(), || {
        global_average_backward(&y[..8 * 2048], 49, 2048, &mut dx[..8 * 49 * 2048])
    })?;
    let n = 5_000_000;
    let (mut parameter, mut velocity) = (vec![0.0; n], vec![0.0; n]);
    let step = SgdStep { learning_rate: 0.1, momentum: 0.9, weight_decay: 1e-4 };
    report("SGD", 5 * n, || descend(step, &x[..n], &mut parameter, &mut velocity))?;
    let (logits, labels, weights) = (&x[..128_000], (0..128).collect::<Vec<u32>>(), vec![1.0; 1000]);
    let (mut parts, mut gradient) = (vec![0.0; 256], vec![0.0; 128_000]);
    report("loss", 128_000, || cross_entropy::softmax_parts(logits, 1000, &mut parts))?;
    report("loss backward", 256_000, || {
        cross_entropy::backward(logits, &parts, &labels, &weights, 1.0, &mut gradient);
    })
}

fn values(stream: u64, n: usize) -> Vec<f32> {
    (0..n as u64).map(|index| random::uniform(stream, index) - 0.5).collect()
}

/// The shortest of several runs, and how many gigabytes a second that is for `numbers` of four bytes.
fn report(name: &str, numbers: usize, mut run: impl FnMut()) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let start = Instant::now();
    let mut best = Duration::MAX;
    while start.elapsed() < Duration::from_millis(250) {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed());
    }
    let seconds = best.as_secs_f64();
    writeln!(std::io::stdout(), "{name:22} {:8.3} ms {:6.1} GB/s", 1e3 * seconds, numbers as f64 * 4e-9 / seconds)?;
    Ok(())
}
