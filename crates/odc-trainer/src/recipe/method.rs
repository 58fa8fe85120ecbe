//! `method`: how the network learns.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How the network learns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Online Deep Clustering.
    #[default]
    Odc,
    /// Deep Clustering: all images clustered anew before each epoch.
    DeepCluster,
    /// Rotation prediction: which of four rotations a view is in. No clusters.
    Rotation,
}

impl Method {
    /// All methods.
    pub const ALL: [Self; 3] = [Self::Odc, Self::DeepCluster, Self::Rotation];

    /// The name in recipes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Odc => "odc",
            Self::DeepCluster => "deepcluster",
            Self::Rotation => "rotation",
        }
    }

    /// The name in sentences.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Odc => "Online Deep Clustering",
            Self::DeepCluster => "Deep Clustering",
            Self::Rotation => "rotation prediction",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|method| method.name() == text)
            .ok_or_else(|| format!("there is no method {text:?}; choose odc, deepcluster or rotation"))
    }
}
