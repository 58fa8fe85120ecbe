//! A backbone with a head on its pooled features: no neck.

use candle_core::{Device, Result};

use crate::backbone::Backbone;
use crate::config::BackboneConfig;
use crate::head::Head;
use crate::params::Params;

/// The network of Deep Clustering and of rotation prediction.
#[derive(Debug)]
pub struct Classifier {
    /// From images to one vector each; what is kept for downstream tasks.
    pub backbone: Backbone,
    /// From that vector to a score for each class.
    pub head: Head,
    params: Params,
}

impl Classifier {
    /// A network at random. Its parts are those that `Backbone::new` and `Head::new` give for the seed.
    ///
    /// # Errors
    /// Where a size is 0.
    pub fn new(backbone: &BackboneConfig, n_classes: usize, seed: u64, device: &Device) -> Result<Self> {
        let backbone = Backbone::new(backbone, seed, device)?;
        let head = Head::new(backbone.out_dim(), n_classes, seed, device)?;
        let params = Params::joined(&[("backbone.", backbone.params()), ("head.", head.params())]);
        Ok(Self { backbone, head, params })
    }

    /// Everything, with the prefixes `backbone.` and `head.`; the tensors are those of the parts.
    pub fn params(&self) -> &Params {
        &self.params
    }
}
