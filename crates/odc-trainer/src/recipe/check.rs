//! The bounds of every value of a recipe.

use odc_data::Augmentation;

use super::{Method, Recipe};
use crate::TrainerError;

impl Recipe {
    /// Checks every value against its bounds, and N, K, threshold and batch against each other.
    ///
    /// # Errors
    /// Names the setting, its value and which one to change.
    pub fn check(&self, n_samples: usize) -> Result<(), TrainerError> {
        let refuse = |message: String| Err(TrainerError::Recipe(message));
        let batch = self.batch_size();
        if n_samples < 2 {
            return refuse(format!("{} holds {n_samples} usable image(s); training needs at least 2", self.data.path));
        }
        if batch < 2 || batch > n_samples {
            return refuse(format!(
                "training.batch_size = {batch} must be at least 2 (batch norm) and at most N = {n_samples}: set --batch-size"
            ));
        }
        if self.method != Method::Rotation {
            self.check_clusters(n_samples)?;
        }
        Augmentation { steps: self.data.augmentation.clone() }
            .check()
            .map_err(|error| TrainerError::Recipe(format!("data.augmentation: {error}")))?;
        // The upper bounds are beyond any use, and keep a slip of the finger from asking for all memory there is.
        let counted = [
            ("seed", self.seed, 0, i64::MAX as u64),
            ("data.side", self.data.resolved_side() as u64, 8, 4096),
            ("data.workers", self.data.resolved_workers() as u64, 1, 1024),
            ("data.queue", self.data.queue as u64, 1, 1024),
            ("model.width", self.model.width as u64, 1, 1024),
            ("model.hidden", self.model.hidden as u64, 1, 1 << 16),
            ("model.dim", self.model.dim as u64, 1, 1 << 16),
            ("memory.centroid_every", self.memory.centroid_every, 1, i64::MAX as u64),
            ("deepcluster.pca_dim", self.deepcluster.pca_dim as u64, 1, 1 << 16),
            ("kmeans.iterations", self.kmeans.iterations as u64, 1, 100_000),
            ("training.epochs", self.training.epochs, 1, 1_000_000_000),
            ("training.batch_size", batch as u64, 2, 1 << 16),
            ("training.log_every", self.training.log_every, 1, i64::MAX as u64),
            ("training.checkpoint_every", self.training.checkpoint_every, 1, i64::MAX as u64),
            ("training.checkpoints_kept", self.training.checkpoints_kept as u64, 1, i64::MAX as u64),
            ("evaluation.knn_k", self.evaluation.knn_k as u64, 1, 100_000),
        ];
        for (setting, value, least, most) in counted {
            if !(least..=most).contains(&value) {
                return refuse(format!("{setting} = {value} must lie between {least} and {most}"));
            }
        }
        let (side, backbone) = (self.data.resolved_side(), self.model.backbone());
        if side < backbone.least_side() {
            return refuse(format!(
                "data.side = {side} is too small for the network, {backbone}: it takes {} pixels or more",
                backbone.least_side()
            ));
        }
        let bounded = [
            ("model.init_share", self.model.init_share, 0.0, 1.0),
            ("model.dropout", f64::from(self.model.dropout), 0.0, 0.999),
            ("model.neck_batch_norm_momentum", self.model.neck_batch_norm_momentum, 0.0, 1.0),
            ("memory.momentum", f64::from(self.memory.momentum), 1e-6, 1.0),
            ("memory.reweight_power", f64::from(self.memory.reweight_power), 0.0, 4.0),
            ("optimizer.lr", self.optimizer.lr, 0.0, 1e6),
            ("optimizer.momentum", self.optimizer.momentum, 0.0, 1.0),
            ("optimizer.head_momentum", self.optimizer.head_momentum, 0.0, 1.0),
            ("optimizer.weight_decay", self.optimizer.weight_decay, 0.0, 1e3),
            ("optimizer.gamma", self.optimizer.gamma, 0.0, 1e3),
            ("data.max_bad_share", self.data.max_bad_share, 0.0, 1.0),
            ("evaluation.temperature", f64::from(self.evaluation.temperature), 1e-3, 1e3),
        ];
        for (setting, value, least, most) in bounded {
            if !(least..=most).contains(&value) {
                return refuse(format!("{setting} = {value} must lie between {least} and {most}"));
            }
        }
        if self.data.std.iter().any(|std| !std.is_finite() || *std <= 0.0) {
            return refuse(format!("data.std = {:?} must be positive", self.data.std));
        }
        if self.data.mean.iter().any(|mean| !mean.is_finite()) {
            return refuse(format!("data.mean = {:?} must be finite", self.data.mean));
        }
        if let Some(share) = self.optimizer.decay_at.iter().find(|share| !(0.0..=1.0).contains(*share)) {
            return refuse(format!("optimizer.decay_at holds {share}: it takes shares of the run, from 0 to 1"));
        }
        Ok(())
    }

    /// K against N; for the memories, the threshold too.
    fn check_clusters(&self, n_samples: usize) -> Result<(), TrainerError> {
        let clusters = self.n_clusters();
        if clusters < 2 || clusters > n_samples {
            return Err(TrainerError::Recipe(format!(
                "memory.clusters = {clusters} must be at least 2 and at most N = {n_samples}: set --clusters"
            )));
        }
        if self.method == Method::Odc {
            self.memory_config().check(n_samples).map_err(|error| TrainerError::Recipe(error.to_string()))?;
        }
        Ok(())
    }
}
