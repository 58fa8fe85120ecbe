//! Backbone, neck and head as one.

use candle_core::{Device, Result, Tensor};

use crate::backbone::Backbone;
use crate::config::{BackboneConfig, NeckConfig};
use crate::head::Head;
use crate::neck::{Dropout, Neck};
use crate::params::Params;
use crate::pass::{Mode, Pass};

/// The network `f_θ` and the classifier `g_w` of docs/ALGORITHM.md.
#[derive(Debug)]
pub struct Network {
    /// From images to one vector each; what is kept for downstream tasks.
    pub backbone: Backbone,
    /// From that vector to the feature that is clustered.
    pub neck: Neck,
    /// From the feature to a score for each cluster.
    pub head: Head,
    params: Params,
}

impl Network {
    /// A network at random. Its parts are those that `Backbone::new`, `Neck::new` and `Head::new` give for the seed.
    ///
    /// # Errors
    /// Where a size is 0 or a setting out of range.
    pub fn new(
        backbone: &BackboneConfig,
        neck: &NeckConfig,
        n_clusters: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let backbone = Backbone::new(backbone, seed, device)?;
        let neck_config = neck;
        let neck = Neck::new(backbone.out_dim(), neck_config, seed, device)?;
        let head = Head::new(neck_config.dim, n_clusters, seed, device)?;
        let parts = [("backbone.", backbone.params()), ("neck.", neck.params()), ("head.", head.params())];
        let params = Params::joined(&parts);
        Ok(Self { backbone, neck, head, params })
    }

    /// Everything, with the prefixes `backbone.`, `neck.` and `head.`; the tensors are those of the parts.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// `F = f_θ(x)`, before L2 normalisation.
    ///
    /// # Shapes
    /// `[N, H, W, 3]` → `[N, dim]`
    ///
    /// # Errors
    /// As [`Backbone::forward`] and [`Neck::forward`].
    pub fn features(&self, images: &Tensor, mode: Mode, dropout: Dropout<'_>) -> Result<Tensor> {
        self.neck.forward(&self.backbone.forward(images, mode, dropout)?, mode, dropout)
    }

    /// [`Backbone::accumulate_statistics`], those of the neck among them.
    ///
    /// # Errors
    /// As [`Network::features`].
    pub fn accumulate_statistics(&self, images: &Tensor, earlier: u64) -> Result<()> {
        let pass = Pass::Accumulate { earlier };
        self.neck.hidden(&self.backbone.forward_pass(images, pass, Dropout::Off)?, pass)?;
        Ok(())
    }
}
