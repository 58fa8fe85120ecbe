//! The network that a run begins with, and the random one whose numbers a checkpoint replaces.

use candle_core::Device;
use odc_model::weights::{self, LoadOptions, LoadReport};
use odc_model::{Classifier, Network};
use odc_ops::ConvolutionMethod;

use crate::recipe::{Convolution, Method};
use crate::rotation::ROTATIONS;
use crate::{Recipe, TrainerError};

/// The network that a run begins with, by its method.
pub(crate) enum FirstNetwork {
    Odc(Box<Network>),
    DeepCluster(Classifier),
    Rotation(Classifier),
}

impl FirstNetwork {
    /// At random, or its backbone from `model.init_from`; what was found in that file.
    pub(crate) fn new(recipe: &Recipe) -> Result<(Self, Option<LoadReport>), TrainerError> {
        let network = match recipe.method {
            Method::Odc => Self::Odc(Box::new(random_network(recipe)?)),
            Method::DeepCluster => Self::DeepCluster(random_classifier(recipe)?),
            Method::Rotation => Self::Rotation(random_classifier(recipe)?),
        };
        let backbone = match &network {
            Self::Odc(network) => &network.backbone,
            Self::DeepCluster(network) | Self::Rotation(network) => &network.backbone,
        };
        let model = &recipe.model;
        if model.init_from.is_empty() {
            return Ok((network, None));
        }
        let options = LoadOptions { share: model.init_share, bgr: model.init_bgr };
        let report = weights::load_reported(backbone.params(), &model.init_from, &options)?;
        Ok((network, Some(report)))
    }
}

/// The network of a recipe at random, with a neck.
pub(crate) fn random_network(recipe: &Recipe) -> Result<Network, TrainerError> {
    let (backbone, neck, seed) = (recipe.model.backbone(), recipe.model.neck(), recipe.network_seed());
    let mut network = Network::new(&backbone, &neck, recipe.n_clusters(), seed, &Device::Cpu)?;
    network.backbone.set_convolution_method(convolution_method(recipe));
    Ok(network)
}

/// The network of a recipe at random, without a neck.
pub(crate) fn random_classifier(recipe: &Recipe) -> Result<Classifier, TrainerError> {
    let n_classes = if recipe.method == Method::Rotation { ROTATIONS } else { recipe.n_clusters() };
    let mut network = Classifier::new(&recipe.model.backbone(), n_classes, recipe.network_seed(), &Device::Cpu)?;
    network.backbone.set_convolution_method(convolution_method(recipe));
    Ok(network)
}

fn convolution_method(recipe: &Recipe) -> ConvolutionMethod {
    match recipe.model.convolution {
        Convolution::Fastest => ConvolutionMethod::Fastest,
        Convolution::Direct => ConvolutionMethod::Direct,
    }
}
