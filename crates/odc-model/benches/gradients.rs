//! Our side of `cargo xtask bench gradients`: the gradients of a whole network, with all that they were computed from.
//!
//! `gradients ARCH STEM SIDE BATCH CLASSES SEED FILE` writes a safetensors file in PyTorch's layout: `images` (NCHW), `labels`,
//! the weights by torchvision's names, and the gradient of each by either method of convolution, `fastest.NAME` and `direct.NAME`.

use std::collections::HashMap;
use std::io::Write;

use candle_core::{DType, Device, Tensor};
use odc_model::{Backbone, BackboneConfig, Dropout, Entry, Head, Mode, Value};
use odc_ops::{ConvolutionMethod, random};

/// Whatever goes wrong ends the program.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    // `cargo bench` adds an argument of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [arch, stem, side, batch, classes, seed, file] = arguments.as_slice() else {
        let usage = "gradients ARCH STEM SIDE BATCH CLASSES SEED FILE; `cargo xtask bench gradients` calls it";
        writeln!(std::io::stdout(), "{usage}")?;
        return Ok(());
    };
    let config = BackboneConfig { arch: arch.parse()?, width: 64, stem: stem.parse()?, sobel: false };
    let tensors = gradients(&config, side.parse()?, batch.parse()?, classes.parse()?, seed.parse()?)?;
    candle_core::safetensors::save(&tensors, file)?;
    Ok(())
}

fn gradients(
    config: &BackboneConfig,
    side: usize,
    batch: usize,
    classes: usize,
    seed: u64,
) -> Result<HashMap<String, Tensor>> {
    let cpu = &Device::Cpu;
    let mut backbone = Backbone::new(config, seed, cpu)?;
    let head = Head::new(backbone.out_dim(), classes, seed, cpu)?;
    let pixels = (0..(batch * side * side * 3) as u64).map(|index| random::normal(seed, index)).collect();
    let images = Tensor::from_vec(pixels, (batch, side, side, 3), cpu)?;
    let labels = (0..batch as u64).map(|image| random::key(seed, "label", image) % classes as u64);
    let labels = Tensor::from_vec(labels.map(|label| label as u32).collect(), batch, cpu)?;
    let weights = Tensor::ones(classes, DType::F32, cpu)?;

    let mut tensors = HashMap::from([
        ("images".to_owned(), images.permute((0, 3, 1, 2))?.contiguous()?),
        ("labels".to_owned(), labels.to_dtype(DType::I64)?),
    ]);
    let params = [backbone.params().clone(), head.params().clone()];
    let entries = || params.iter().flat_map(|params| params.entries());
    // Before the pass: it moves the running statistics.
    for entry in entries() {
        tensors.insert(peer_name(entry), entry.to_file_layout()?);
    }
    // The running statistics, which the first pass moves, have no part in the second.
    for (name, method) in [("fastest", ConvolutionMethod::Fastest), ("direct", ConvolutionMethod::Direct)] {
        backbone.set_convolution_method(method);
        let logits = head.forward(&backbone.forward(&images, Mode::Train, Dropout::Off)?)?;
        let gradients = odc_ops::backward(&odc_ops::weighted_cross_entropy(&logits, &labels, &weights)?)?;
        for entry in entries() {
            let (var, convolution) = match entry.value() {
                Value::Convolution(var) => (var, true),
                Value::Parameter(var) | Value::OverMap { weight: var, .. } => (var, false),
                Value::FrozenConvolution(_) | Value::Frozen(_) | Value::Statistic(_) | Value::Counter(_) => continue,
            };
            let gradient = gradients.get(var).ok_or_else(|| format!("{} has no gradient", entry.name()))?;
            let gradient = if convolution { gradient.permute((3, 2, 0, 1))? } else { gradient.clone() };
            tensors.insert(format!("{name}.{}", peer_name(entry)), gradient.contiguous()?);
        }
    }
    Ok(tensors)
}

/// torchvision calls the classifier `fc`.
fn peer_name(entry: &Entry) -> String {
    entry.name().replace("fc_cls.", "fc.")
}
