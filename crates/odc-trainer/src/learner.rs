//! What every conductor moves: the parameters of its network by SGD, on the recipe's schedule.

use candle_core::{Device, Tensor, Var};
use odc_model::Dropout;
use odc_ops::{MultiStep, ParameterGroup, Sgd};

use crate::{Recipe, TrainerError};

/// The optimiser, its schedule, the count of iterations, and how pixels become numbers.
pub(crate) struct Learner {
    pub(crate) sgd: Sgd,
    /// Iterations done.
    pub(crate) iteration: u64,
    pub(crate) seed: u64,
    pub(crate) device: Device,
    schedule: MultiStep,
    mean: [f32; 3],
    std: [f32; 3],
    /// Parameters of the classifier; they are the last of `sgd`.
    head_parameters: usize,
}

impl Learner {
    /// At iteration 0 of `total`; `body` and `head` differ in momentum.
    pub(crate) fn new(recipe: &Recipe, body: Vec<Var>, head: Vec<Var>, total: u64) -> Result<Self, TrainerError> {
        let optimizer = &recipe.optimizer;
        let lr = optimizer.lr * recipe.batch_size() as f64 / 512.0;
        let group =
            |parameters, momentum| ParameterGroup { parameters, momentum, weight_decay: optimizer.weight_decay };
        let head_parameters = head.len();
        let sgd = Sgd::new(vec![group(body, optimizer.momentum), group(head, optimizer.head_momentum)], lr)?;
        let milestones = optimizer.decay_at.iter().map(|share| (share * total as f64).ceil() as u64).collect();
        Ok(Self {
            sgd,
            iteration: 0,
            seed: recipe.seed,
            device: Device::Cpu,
            schedule: MultiStep { base: lr, gamma: optimizer.gamma, milestones },
            mean: recipe.data.mean,
            std: recipe.data.std,
            head_parameters,
        })
    }

    /// Sets the learning rate of this iteration, and gives it.
    pub(crate) fn begin_iteration(&mut self) -> f64 {
        let lr = self.schedule.at(self.iteration);
        self.sgd.set_learning_rate(lr);
        lr
    }

    /// Masks drawn from (seed, iteration).
    pub(crate) fn dropout(&self) -> Dropout<'static> {
        Dropout::Seed(odc_ops::random::key(self.seed, "dropout", self.iteration))
    }

    /// Backward pass and SGD.
    pub(crate) fn descend(&mut self, loss: &Tensor) -> Result<(), TrainerError> {
        Ok(self.sgd.step(&odc_ops::backward(loss)?)?)
    }

    /// The classifier's optimiser starts anew.
    pub(crate) fn forget_head_velocities(&mut self) -> Result<(), TrainerError> {
        let velocities = self.sgd.velocities();
        let body = velocities.len() - self.head_parameters;
        let forgotten = velocities
            .iter()
            .enumerate()
            .map(|(position, velocity)| if position < body { Ok((*velocity).clone()) } else { velocity.zeros_like() });
        let forgotten = forgotten.collect::<Result<_, _>>()?;
        Ok(self.sgd.restore(forgotten)?)
    }

    /// Bytes `[views, side, side, 3]` to a normalised tensor of that shape.
    pub(crate) fn upload(&self, pixels: &[u8], views: usize, side: usize) -> Result<Tensor, TrainerError> {
        let pixels = Tensor::from_slice(pixels, (views, side, side, 3), &self.device)?;
        Ok(odc_ops::normalize_pixels(&pixels, self.mean, self.std)?)
    }
}
