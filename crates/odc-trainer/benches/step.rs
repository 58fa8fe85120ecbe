//! Our side of `cargo xtask bench cpu`: the training step of a ResNet classifier, timed on demand.
//!
//! `step ARCH STEM SIDE BATCH CLASSES`, such as `step resnet18 cifar 32 64 10`. It writes `{"ready": ...}`; each line `run K`
//! on its standard input is answered by `{"seconds": [...], "loss": ...}`, the times of K steps and the last loss.
//! A step is what the trainer does with network and optimiser: forward in training mode, cross-entropy, backward, SGD.

use std::io::{BufRead, Write};
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use odc_kernels::memory::PoolAllocator;
use odc_model::{Backbone, BackboneConfig, Dropout, Head, Mode};
use odc_ops::{ParameterGroup, Sgd, random};

/// As in the program `odc`.
#[global_allocator]
static MEMORY: PoolAllocator = PoolAllocator::new();

/// Whatever goes wrong ends the program.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    // `cargo bench` adds an argument of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let mut out = std::io::stdout();
    let [arch, stem, side, batch, classes] = arguments.as_slice() else {
        writeln!(out, "step ARCH STEM SIDE BATCH CLASSES; `cargo xtask bench cpu` calls it")?;
        return Ok(());
    };
    let backbone = BackboneConfig { arch: arch.parse()?, width: 64, stem: stem.parse()?, sobel: false };
    let mut step = Step::new(&backbone, side.parse()?, batch.parse()?, classes.parse()?)?;
    writeln!(out, r#"{{"ready": "odc {}"}}"#, env!("CARGO_PKG_VERSION"))?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let steps: usize = line.strip_prefix("run ").ok_or("expected: run K")?.trim().parse()?;
        let mut seconds = Vec::new();
        let mut loss = 0.0;
        for _ in 0..steps {
            let start = Instant::now();
            loss = odc_ops::in_pool(|| step.run().map_err(|error| error.to_string()))?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        writeln!(out, r#"{{"seconds": {seconds:?}, "loss": {loss}}}"#)?;
    }
    Ok(())
}

/// A classifier, its optimiser, and the one batch that it learns by heart.
struct Step {
    backbone: Backbone,
    head: Head,
    sgd: Sgd,
    images: Tensor,
    labels: Tensor,
    class_weights: Tensor,
}

impl Step {
    fn new(config: &BackboneConfig, side: usize, batch: usize, classes: usize) -> Result<Self> {
        let cpu = &Device::Cpu;
        let backbone = Backbone::new(config, 0, cpu)?;
        let head = Head::new(backbone.out_dim(), classes, 0, cpu)?;
        let mut parameters = backbone.params().trainable();
        parameters.extend(head.params().trainable());
        let sgd = Sgd::new(vec![ParameterGroup { parameters, momentum: 0.9, weight_decay: 1e-4 }], 0.01)?;
        let pixels = (0..(batch * side * side * 3) as u64).map(|index| random::normal(0, index)).collect();
        let images = Tensor::from_vec(pixels, (batch, side, side, 3), cpu)?;
        let labels = Tensor::from_vec((0..batch as u32).map(|image| image % classes as u32).collect(), batch, cpu)?;
        let class_weights = Tensor::ones(classes, DType::F32, cpu)?;
        Ok(Self { backbone, head, sgd, images, labels, class_weights })
    }

    /// One step; gives the loss before it.
    fn run(&mut self) -> Result<f32> {
        let logits = self.head.forward(&self.backbone.forward(&self.images, Mode::Train, Dropout::Off)?)?;
        let loss = odc_ops::weighted_cross_entropy(&logits, &self.labels, &self.class_weights)?;
        let value = loss.to_scalar::<f32>()?;
        self.sgd.step(&odc_ops::backward(&loss)?)?;
        Ok(value)
    }
}
