//! Builds a backbone, prints the names and shapes of its tensors, and runs a random image through it.
//!
//! `cargo run -p odc-model --example describe -- resnet50 64 imagenet` (architecture, width, stem);
//! a path instead describes a weight file.
#![allow(clippy::print_stdout)]

use candle_core::{Device, Result, Tensor};
use odc_model::{Architecture, Backbone, BackboneConfig, Dropout, Mode, weights};

fn main() -> Result<()> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    if let Some(path) = arguments.first().filter(|argument| argument.ends_with(".safetensors")) {
        println!("{}", weights::describe(path)?);
        return Ok(());
    }
    let message = |error: String| candle_core::Error::msg(error);
    let config = BackboneConfig {
        arch: arguments.first().map_or(Ok(Architecture::ResNet18), |text| text.parse()).map_err(message)?,
        width: arguments.get(1).map_or(Ok(64), |text| text.parse()).map_err(candle_core::Error::wrap)?,
        stem: arguments.get(2).map_or(Ok(odc_model::Stem::Imagenet), |text| text.parse()).map_err(message)?,
        sobel: false,
    };
    let backbone = Backbone::new(&config, 0, &Device::Cpu)?;
    for entry in backbone.params().entries() {
        println!("{:40} {:?}", entry.name(), entry.file_shape());
    }
    println!("{config}: {} parameters", backbone.params().parameter_count());

    let side = 64;
    let pixels = (0..(side * side * 3) as u64).map(|index| odc_ops::random::normal(0, index)).collect::<Vec<_>>();
    let image = Tensor::from_vec(pixels, (1, side, side, 3), &Device::Cpu)?;
    for (number, map) in backbone.stages(&image, Mode::Eval)?.iter().enumerate() {
        println!("stage {number}: {:?}", map.dims());
    }
    let vector = backbone.forward(&image, Mode::Eval, Dropout::Off)?;
    println!("vector:  {:?}, mean {}", vector.dims(), vector.mean_all()?.to_scalar::<f32>()?);
    Ok(())
}
