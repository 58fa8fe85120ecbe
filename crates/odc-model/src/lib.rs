//! Backbones (ResNet, AlexNet), neck and head with torchvision's parameter names; weights in and out.
//!
//! Activations are NHWC and convolution weights HWIO in memory; OIHW, PyTorch's layout, exists only in files.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use odc_model::{Backbone, BackboneConfig, Dropout, Mode};
//!
//! let config = BackboneConfig { width: 4, ..BackboneConfig::default() };
//! let backbone = Backbone::new(&config, 0, &Device::Cpu)?;
//! let images = Tensor::zeros((2, 32, 32, 3), DType::F32, &Device::Cpu)?;
//! assert_eq!(backbone.forward(&images, Mode::Eval, Dropout::Off)?.dims(), [2, backbone.out_dim()]);
//! # candle_core::Result::Ok(())
//! ```

mod alexnet;
mod backbone;
mod block;
mod builder;
mod config;
mod head;
mod layers;
mod neck;
mod network;
mod params;
mod pass;
mod resnet;
mod sobel;
pub mod weights;

pub use backbone::Backbone;
pub use config::{Architecture, BackboneConfig, NeckConfig, Stem};
pub use head::Head;
pub use neck::{Dropout, Neck};
pub use network::Network;
pub use params::{Entry, Params, Value};
pub use pass::Mode;
