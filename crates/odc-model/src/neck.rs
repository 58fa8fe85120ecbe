//! The neck: from the backbone's vector to the feature that is clustered.

use candle_core::{Device, Result, Tensor};

use crate::builder::Builder;
use crate::config::NeckConfig;
use crate::layers::{BatchNorm, Linear};
use crate::params::Params;
use crate::pass::{Mode, Pass};

/// fc – batch norm without affine – relu – dropout – fc – relu.
#[derive(Debug)]
pub struct Neck {
    config: NeckConfig,
    fc0: Linear,
    bn0: BatchNorm,
    fc1: Linear,
    params: Params,
}

/// Which hidden units a forward pass drops: of the neck, and of AlexNet. Evaluation drops none, whatever is given.
#[derive(Clone, Copy, Debug)]
pub enum Dropout<'a> {
    /// Masks drawn from this seed and the place, with the probability of the place.
    Seed(u64),
    /// This mask `[N, hidden]` in the neck: 0, or 1 / (1 − probability). None in the backbone.
    Mask(&'a Tensor),
    /// None.
    Off,
}

impl Neck {
    /// A neck at random: weights by He's normal distribution with `fan_in`, biases 0.
    ///
    /// # Errors
    /// Where a size is 0 or the dropout or momentum is out of range.
    pub fn new(in_dim: usize, config: &NeckConfig, seed: u64, device: &Device) -> Result<Self> {
        config.check()?;
        if in_dim == 0 {
            candle_core::bail!("the neck's in_dim is 0; it must be the backbone's out_dim");
        }
        let mut builder = Builder::new("neck", seed, device);
        let fan_in = |inputs: usize| (2.0 / inputs as f64).sqrt();
        let fc0 = Linear::new(&mut builder, "fc0", in_dim, config.hidden, fan_in(in_dim))?;
        let bn0 = BatchNorm::plain(&mut builder, "bn0", config.hidden, config.batch_norm_momentum)?;
        let fc1 = Linear::new(&mut builder, "fc1", config.hidden, config.dim, fan_in(config.hidden))?;
        Ok(Self { config: *config, fc0, bn0, fc1, params: builder.params })
    }

    /// What the neck was built from.
    pub fn config(&self) -> &NeckConfig {
        &self.config
    }

    /// Parameters and buffers: `fc0.weight`, `bn0.running_mean`, … as in the reference.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Features, before L2 normalisation.
    ///
    /// # Shapes
    /// `[N, in_dim]` → `[N, dim]`, none negative
    ///
    /// # Errors
    /// Where shapes do not fit, or training is given a single row.
    pub fn forward(&self, x: &Tensor, mode: Mode, dropout: Dropout<'_>) -> Result<Tensor> {
        let pass = Pass::from(mode);
        let mut hidden = self.hidden(x, pass)?;
        if mode == Mode::Train {
            hidden = match dropout {
                Dropout::Seed(seed) if self.config.dropout > 0.0 => {
                    odc_ops::dropout(&hidden, self.config.dropout, seed)?
                }
                Dropout::Mask(mask) => odc_ops::dropout_with_mask(&hidden, mask)?,
                Dropout::Seed(_) | Dropout::Off => hidden,
            };
        }
        odc_ops::relu(&self.fc1.forward(&hidden, pass)?)
    }

    /// The hidden layer; the last that touches running statistics.
    pub(crate) fn hidden(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        self.bn0.forward_relu(&self.fc0.forward(x, pass)?, None, pass)
    }
}
