//! Times the convolutions of narrow and wide ResNets: GFLOP/s of forward, backward data and backward weight, one thread.
//! An argument chooses the method: `fastest` (without any), `direct` or `winograd`.

use odc_kernels::convolution::{ConvolutionShape, Execution, Method, backward_data, backward_weight, forward};
use odc_kernels::{Window, random};
use std::io::Write;
use std::time::{Duration, Instant};

/// Name, images, side, kernel, stride, padding, in channels, out channels.
const LAYERS: [(&str, [usize; 7]); 22] = [
    ("w16 stem", [128, 32, 3, 2, 1, 3, 16]),
    ("w16 layer1", [128, 16, 3, 1, 1, 16, 16]),
    ("w16 layer2 down", [128, 16, 3, 2, 1, 16, 32]),
    ("w16 layer2", [128, 8, 3, 1, 1, 32, 32]),
    ("w16 layer2 1x1/2", [128, 16, 1, 2, 0, 16, 32]),
    ("w16 layer3", [128, 4, 3, 1, 1, 64, 64]),
    ("w16 layer4 down", [128, 4, 3, 2, 1, 64, 128]),
    ("w16 layer4", [128, 2, 3, 1, 1, 128, 128]),
    ("resnet50 stem", [8, 224, 7, 2, 3, 3, 64]),
    ("resnet50 1x1 64-256", [8, 56, 1, 1, 0, 64, 256]),
    ("resnet50 1x1 256-64", [8, 56, 1, 1, 0, 256, 64]),
    ("resnet50 3x3 64", [8, 56, 3, 1, 1, 64, 64]),
    ("resnet50 3x3 128", [8, 28, 3, 1, 1, 128, 128]),
    ("resnet50 3x3 256", [8, 14, 3, 1, 1, 256, 256]),
    ("resnet50 3x3 512", [8, 7, 3, 1, 1, 512, 512]),
    ("resnet50 3x3/2 128", [8, 56, 3, 2, 1, 128, 128]),
    ("resnet18 3x3 64", [64, 32, 3, 1, 1, 64, 64]),
    ("resnet18 3x3 128", [64, 16, 3, 1, 1, 128, 128]),
    ("resnet18 3x3 256", [64, 8, 3, 1, 1, 256, 256]),
    ("resnet18 3x3 512", [64, 4, 3, 1, 1, 512, 512]),
    ("resnet50 1x1 2048-512", [8, 7, 1, 1, 0, 2048, 512]),
    ("resnet50 1x1/2 1024-2048", [8, 14, 1, 2, 0, 1024, 2048]),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let method = match std::env::args().nth(1).as_deref() {
        None | Some("fastest") => Method::Fastest,
        Some("direct") => Method::Direct,
        Some("winograd") => Method::Winograd,
        Some(other) => return Err(format!("there is no method {other:?}: fastest, direct or winograd").into()),
    };
    let execution = Execution::by(method);
    let mut out = std::io::stdout();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    for (name, [images, side, kernel, stride, padding, ci, co]) in LAYERS {
        let window = Window::new((side, side), (kernel, kernel), stride, padding)?;
        let shape = ConvolutionShape::new(images, window, ci, co)?;
        let values = |stream, n: usize| (0..n as u64).map(|i| random::uniform(stream, i) - 0.5).collect::<Vec<f32>>();
        let (x, w, dy) = (values(1, shape.input_len()), values(2, shape.weight_len()), values(3, shape.output_len()));
        let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), w.clone());
        let operations = 2.0 * (shape.output_len() * window.kernel_area() * ci) as f64;
        let times = pool.install(|| {
            [
                best(|| forward(execution, &shape, &x, &w, &mut y)),
                best(|| backward_data(execution, &shape, &w, &dy, &mut dx)),
                best(|| backward_weight(execution, &shape, &x, &dy, &mut dw)),
            ]
        });
        write!(out, "{name:26}")?;
        for time in times {
            let seconds = time.as_secs_f64();
            write!(out, " {:8.2} ms {:4.0} GFLOP/s", 1e3 * seconds, operations / seconds / 1e9)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The shortest of several runs.
fn best(mut run: impl FnMut()) -> Duration {
    let start = Instant::now();
    let mut best = Duration::MAX;
    while start.elapsed() < Duration::from_millis(700) {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed());
    }
    best
}
