//! What a forward pass is for: training, evaluation, or filling running statistics.

use candle_core::{Tensor, Var};
use serde::{Deserialize, Serialize};

/// What a forward pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Batch norm uses and records the statistics of the batch; gradients reach every parameter.
    Train,
    /// Batch norm uses running statistics. Parameters are used detached: no gradient graph is built and no
    /// activation outlives its use, so extraction costs the memory of one layer. Gradients with respect to
    /// an input that is itself a variable are still there.
    Eval,
}

/// [`Mode`], and the one more kind of pass that [`crate::Backbone::accumulate_statistics`] makes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pass {
    Train,
    Eval,
    /// As `Train` but without a graph; running statistics become the mean over this batch and `earlier` ones.
    Accumulate {
        earlier: u64,
    },
}

impl Pass {
    /// A parameter as this pass uses it.
    pub(crate) fn parameter(self, parameter: &Var) -> Tensor {
        match self {
            Self::Train => parameter.as_tensor().clone(),
            Self::Eval | Self::Accumulate { .. } => parameter.as_detached_tensor(),
        }
    }
}

impl From<Mode> for Pass {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Train => Self::Train,
            Mode::Eval => Self::Eval,
        }
    }
}
