//! Sobel's filters before a backbone: the network sees edges in place of colours.

use candle_core::{Result, Tensor, Var};

use crate::builder::Builder;

/// Grey, the mean of the three normalised channels, then its derivatives along x and y. Never trained; kept in files under
/// DeepCluster's names.
#[derive(Debug)]
pub(crate) struct Sobel {
    grey: Var,
    grey_bias: Var,
    filters: Var,
    filters_bias: Var,
}

impl Sobel {
    pub(crate) fn new(builder: &mut Builder<'_>) -> Result<Self> {
        // [3, 3, 1, 2]: at each place of the kernel the weight by x, then that by y.
        let filters = [1, 1, 0, 2, -1, 1, 2, 0, 0, 0, -2, 0, 1, -1, 0, -2, -1, -1].map(|weight| weight as f32);
        Ok(Self {
            grey: builder.frozen_convolution("sobel.0.weight", [1, 1, 3, 1], vec![1.0 / 3.0; 3])?,
            grey_bias: builder.frozen_zeros("sobel.0.bias", 1)?,
            filters: builder.frozen_convolution("sobel.1.weight", [3, 3, 1, 2], filters.to_vec())?,
            filters_bias: builder.frozen_zeros("sobel.1.bias", 2)?,
        })
    }

    /// # Shapes
    /// `[N, H, W, 3]` → `[N, H, W, 2]`
    pub(crate) fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let apply = |x: &Tensor, weight: &Var, bias: &Var, padding| {
            let y = odc_ops::conv2d(x, &weight.as_detached_tensor(), 1, padding)?;
            odc_ops::add_bias(&y, &bias.as_detached_tensor())
        };
        apply(&apply(images, &self.grey, &self.grey_bias, 0)?, &self.filters, &self.filters_bias, 1)
    }
}
