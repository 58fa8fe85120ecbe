//! The classifier over clusters.

use candle_core::{Device, Result, Tensor};

use crate::builder::{Builder, normal};
use crate::layers::Linear;
use crate::params::Params;
use crate::pass::Pass;

/// The deviation of the weights that a classifier starts with.
const DEVIATION: f64 = 0.01;

/// One linear layer from features to a score for each cluster.
#[derive(Debug)]
pub struct Head {
    fc_cls: Linear,
    params: Params,
}

impl Head {
    /// A classifier at random: weights from N(0, 0.01²), biases 0.
    ///
    /// # Errors
    /// Where a size is 0.
    pub fn new(dim: usize, n_clusters: usize, seed: u64, device: &Device) -> Result<Self> {
        if dim == 0 || n_clusters == 0 {
            candle_core::bail!("the head's dim is {dim} and its n_clusters is {n_clusters}; both must be at least 1");
        }
        let mut builder = Builder::new("head", seed, device);
        let fc_cls = Linear::new(&mut builder, "fc_cls", dim, n_clusters, DEVIATION)?;
        Ok(Self { fc_cls, params: builder.params })
    }

    /// Draws the classifier anew, in place: what a new clustering asks for. The seed that
    /// the head was made with gives the same weights again.
    ///
    /// # Errors
    /// From candle.
    pub fn reset(&self, seed: u64) -> Result<()> {
        let Linear { weight, bias } = &self.fc_cls;
        weight.set(&normal(seed, "head.fc_cls.weight", weight.dims(), DEVIATION, weight.device())?)?;
        bias.set(&bias.zeros_like()?)
    }

    /// Parameters: `fc_cls.weight` and `fc_cls.bias`, as in the reference.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// A score for each cluster, before softmax.
    ///
    /// # Shapes
    /// `[N, dim]` → `[N, n_clusters]`
    ///
    /// # Errors
    /// Where shapes do not fit.
    pub fn forward(&self, features: &Tensor) -> Result<Tensor> {
        self.fc_cls.forward(features, Pass::Train)
    }
}
