//! What a network is worth where labels are few: all of it is fine-tuned on a share of them.

use std::sync::Arc;

use candle_core::Tensor;
use odc_data::{Batch, Dataset, Loader, LoaderConfig, Sampling, Skipped, Subset, View};
use odc_model::{Backbone, Dropout, Head, Mode};
use odc_ops::{ParameterGroup, Sgd};
use serde::{Deserialize, Serialize};

use crate::extraction::images;
use crate::layer::device_of;
use crate::{
    EvalError, ExtractionConfig, FIFTHS, MeanAndDeviation, RandomView, draw_labelled, extract_with, fifths, true_labels,
};

/// Backbone and a new linear layer trained together on few labelled images, for each learning rate with each multiplier of
/// the layer's own. Training shows a random resized crop and a flip, [`RandomView::standard`]; batch norm trains, too.
///
/// The best of the grid is chosen on a fifth of the labelled images where that fifth is 100 images or more and every class
/// has five: it is then trained anew on all of them and tested once. Where labels are fewer, the best is chosen on the test
/// images, as published numbers are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FineTuning {
    /// Step lengths of the backbone at the start.
    pub learning_rates: Vec<f64>,
    /// The linear layer's step length is the backbone's times one of these.
    pub head_multipliers: Vec<f64>,
    /// Share of the last velocity that is kept.
    pub momentum: f64,
    /// L2 penalty on all parameters, as PyTorch's SGD applies it.
    pub weight_decay: f64,
    /// Passes over the labelled images.
    pub epochs: usize,
    /// Epochs at which the learning rate is multiplied by `gamma`.
    pub milestones: Vec<usize>,
    /// See `milestones`.
    pub gamma: f64,
    /// Images a step at most. Where labels are few, a step has a sixteenth of them (16 at least): an epoch of a single step
    /// would train nothing.
    pub batch_size: usize,
    /// Decides which images are labelled, their order and views, and the weights of the linear layer.
    pub seed: u64,
}

impl Default for FineTuning {
    /// The grid and the schedule of OpenSelfSup's benchmark.
    fn default() -> Self {
        Self {
            learning_rates: vec![0.001, 0.01, 0.1],
            head_multipliers: vec![1.0, 10.0, 100.0],
            momentum: 0.9,
            weight_decay: 5e-4,
            epochs: 20,
            milestones: vec![12, 16],
            gamma: 0.2,
            batch_size: 256,
            seed: 0,
        }
    }
}

/// What [`FineTuning`] found with one share of the labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FineTuningReport {
    /// Share of each class's images whose labels were used.
    pub share: f64,
    /// So many images that is.
    pub labelled_images: usize,
    /// Of them, those that chose the best of the grid; 0 where it was chosen on the test images.
    pub validation_images: usize,
    /// Test images with a true label that can be decoded.
    pub test_images: usize,
    /// Classes that occur in training.
    pub classes: usize,
    /// Images a step, on all labelled images.
    pub batch_size: usize,
    /// Every pair of the grid, learning rates first.
    pub grid: Vec<GridPoint>,
    /// The pair that was chosen, the first of equals.
    pub best: GridPoint,
    /// Percent of test images that are right after training with the best pair on all labelled images, for each seed. The
    /// first seed chose the pair; every seed draws its own labelled images.
    pub top1: MeanAndDeviation,
    /// Images that could not be decoded; they take no part, `labelled_images` counts them.
    #[serde(skip)]
    pub skipped: Vec<Skipped>,
}

/// One pair of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GridPoint {
    /// Step length of the backbone at the start.
    pub learning_rate: f64,
    /// That of the linear layer, as a multiple.
    pub head_multiplier: f64,
    /// Percent of the images that choose the best whose class is right; none where training diverged.
    pub accuracy: Option<f64>,
}

/// A fifth of the labelled images chooses where it has so many.
const LEAST_VALIDATION: usize = 100;
/// A batch has this share of few labelled images, and so many at least.
const STEPS_PER_EPOCH: usize = 16;
const LEAST_BATCH: usize = 16;

impl FineTuning {
    /// Fine-tunes on `share` of the labels of `train`, scores on `test`, whose true labels are numbered as those of `train`.
    /// The backbone's weights are afterwards what they were. The same bits for any number of threads and workers.
    /// `progress` hears trainings done and trainings in all.
    ///
    /// # Errors
    /// Where nothing is labelled, a setting is out of bounds, every pair diverges, or no image can be decoded.
    pub fn evaluate(
        &self,
        backbone: &Backbone,
        (train, test): (&Arc<dyn Dataset>, &Arc<dyn Dataset>),
        config: &ExtractionConfig,
        share: f64,
        seeds: usize,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<FineTuningReport, EvalError> {
        self.check(seeds)?;
        let start = backbone.params().named_tensors()?;
        let labels = true_labels(train.as_ref());
        let mut classes: Vec<u32> = labels.iter().flatten().copied().collect();
        classes.sort_unstable();
        classes.dedup();
        let subject = Subject { backbone, start, train, labels, classes, config };
        let report = self.grid(&subject, test, share, seeds, progress);
        subject.restore()?;
        report
    }

    fn grid(
        &self,
        subject: &Subject<'_>,
        test: &Arc<dyn Dataset>,
        share: f64,
        seeds: usize,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<FineTuningReport, EvalError> {
        let labelled = draw_labelled(&subject.labels, share, self.seed)?;
        let parts = subject.validation(&labelled);
        let pairs: Vec<(f64, f64)> = self
            .learning_rates
            .iter()
            .flat_map(|&rate| self.head_multipliers.iter().map(move |&multiplier| (rate, multiplier)))
            .collect();
        let total = pairs.len() + seeds - usize::from(parts.is_none());
        let mut done = 0;
        let mut step = |done: &mut usize| {
            *done += 1;
            progress(*done, total);
        };
        let mut grid = Vec::with_capacity(pairs.len());
        let mut test_images = 0;
        let mut skipped = Vec::new();
        for (learning_rate, head_multiplier) in pairs {
            let pair = (learning_rate, head_multiplier);
            let (learn, ask): (&[u32], Arc<dyn Dataset>) = match &parts {
                Some((learn, ask)) => (learn, Arc::new(Subset::new(Arc::clone(subject.train), ask.clone()))),
                None => (&labelled, Arc::clone(test)),
            };
            let head = self.train(subject, learn, pair, self.seed, &mut skipped)?;
            let score = head.map(|head| subject.accuracy(&head, &ask, &mut skipped)).transpose()?;
            test_images = score.map_or(test_images, |(_, images)| images);
            grid.push(GridPoint { learning_rate, head_multiplier, accuracy: score.map(|(accuracy, _)| accuracy) });
            step(&mut done);
        }
        // The first of equals.
        let better = |best: GridPoint, point: GridPoint| if point.accuracy > best.accuracy { point } else { best };
        let best = grid.iter().copied().reduce(better);
        let Some(best @ GridPoint { accuracy: Some(chosen), .. }) = best else { return Err(diverged()) };

        let mut top1 = Vec::with_capacity(seeds);
        for seed in (0..seeds as u64).map(|number| self.seed.wrapping_add(number)) {
            // Where the test images chose, the first seed has been trained on all labelled images and tested.
            if seed == self.seed && parts.is_none() {
                top1.push(chosen);
                continue;
            }
            let labelled = draw_labelled(&subject.labels, share, seed)?;
            let head =
                self.train(subject, &labelled, (best.learning_rate, best.head_multiplier), seed, &mut skipped)?;
            let (accuracy, images) = subject.accuracy(&head.ok_or_else(diverged)?, test, &mut skipped)?;
            test_images = images;
            top1.push(accuracy);
            step(&mut done);
        }
        // Every training and every test meets them again.
        skipped.sort_by(|a: &Skipped, b| (&a.name, a.index).cmp(&(&b.name, b.index)));
        skipped.dedup();
        Ok(FineTuningReport {
            share,
            labelled_images: labelled.len(),
            validation_images: parts.map_or(0, |(_, ask)| ask.len()),
            test_images,
            classes: subject.classes.len(),
            batch_size: self.batch_size_of(labelled.len()),
            grid,
            best,
            top1: MeanAndDeviation::new(top1),
            skipped,
        })
    }

    /// From the weights at the start; none where the loss is no finite number.
    fn train(
        &self,
        subject: &Subject<'_>,
        labelled: &[u32],
        pair: (f64, f64),
        seed: u64,
        skipped: &mut Vec<Skipped>,
    ) -> Result<Option<Head>, EvalError> {
        subject.restore()?;
        let backbone = subject.backbone;
        let head = Head::new(backbone.out_dim(), subject.classes.len(), seed, &device_of(backbone))?;
        Ok(self.train_on(subject, &head, labelled, pair, seed, skipped)?.then_some(head))
    }

    /// From the weights as they are; false where the loss is no finite number.
    fn train_on(
        &self,
        subject: &Subject<'_>,
        head: &Head,
        labelled: &[u32],
        (learning_rate, head_multiplier): (f64, f64),
        seed: u64,
        skipped: &mut Vec<Skipped>,
    ) -> Result<bool, EvalError> {
        let backbone = subject.backbone;
        let group =
            |parameters| vec![ParameterGroup { parameters, momentum: self.momentum, weight_decay: self.weight_decay }];
        let mut optimisers = [
            (Sgd::new(group(backbone.params().trainable()), learning_rate)?, learning_rate),
            (Sgd::new(group(head.params().trainable()), learning_rate)?, learning_rate * head_multiplier),
        ];
        let set: Arc<dyn Dataset> = Arc::new(Subset::new(Arc::clone(subject.train), labelled.to_vec()));
        let ExtractionConfig { side, workers, .. } = *subject.config;
        let view = View::Training(RandomView::standard(side));
        let mut steps = 0;
        for epoch in 0..self.epochs {
            let passed = self.milestones.iter().filter(|&&milestone| milestone <= epoch).count();
            for (sgd, rate) in &mut optimisers {
                sgd.set_learning_rate(*rate * self.gamma.powi(passed as i32));
            }
            let batch_size = self.batch_size_of(labelled.len());
            let loader_config =
                LoaderConfig { batch_size, side, workers, queue: workers + 1, seed, epoch: epoch as u64 };
            let order = Sampling::Permutation.epoch(seed, epoch as u64, set.len());
            for batch in Loader::new(Arc::clone(&set), order, 0, view.clone(), loader_config) {
                if epoch == 0 {
                    skipped.extend_from_slice(&batch.skipped);
                }
                // Batch norm needs two images; one that is left over has its turn in another epoch.
                if batch.indices.len() < 2 {
                    continue;
                }
                let dropout = Dropout::Seed(odc_ops::random::key(seed, "fine-tuning dropout", steps));
                steps += 1;
                let loss = odc_ops::in_pool(|| subject.step(head, &mut optimisers, set.as_ref(), &batch, dropout))?;
                if !loss.is_finite() {
                    tracing::info!(learning_rate, head_multiplier, epoch, "fine-tuning diverged");
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn batch_size_of(&self, labelled: usize) -> usize {
        (labelled / STEPS_PER_EPOCH).max(LEAST_BATCH).min(self.batch_size)
    }

    fn check(&self, seeds: usize) -> Result<(), EvalError> {
        for (name, value, least) in
            [("epochs", self.epochs, 1), ("batch_size", self.batch_size, 2), ("seeds", seeds, 1)]
        {
            if value < least {
                let bound = if least == 1 { "at least 1" } else { "at least 2, for batch norm" };
                return Err(EvalError::setting(name, value, bound));
            }
        }
        let lists = [("learning_rates", &self.learning_rates), ("head_multipliers", &self.head_multipliers)];
        for (name, list) in lists {
            if list.is_empty() {
                return Err(EvalError::setting(name, "[]", "at least one number"));
            }
            if let Some(value) = list.iter().find(|value| !(value.is_finite() && **value > 0.0)) {
                return Err(EvalError::setting(name, value, "above 0"));
            }
        }
        let shares = [("momentum", self.momentum), ("weight_decay", self.weight_decay), ("gamma", self.gamma)];
        match shares.iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
            Some((name, value)) => Err(EvalError::setting(name, value, "from 0 to 1")),
            None => Ok(()),
        }
    }
}

/// What is fine-tuned, and on what.
struct Subject<'a> {
    backbone: &'a Backbone,
    /// The weights that every training starts from.
    start: Vec<(String, Tensor)>,
    train: &'a Arc<dyn Dataset>,
    labels: Vec<Option<u32>>,
    /// The true labels that occur, ascending: the linear layer's outputs.
    classes: Vec<u32>,
    config: &'a ExtractionConfig,
}

impl Subject<'_> {
    fn restore(&self) -> Result<(), EvalError> {
        Ok(self.start.iter().try_for_each(|(name, tensor)| self.backbone.params().set(name, tensor))?)
    }

    /// Four fifths to learn from and the fifth that chooses, where there is enough of it.
    fn validation(&self, labelled: &[u32]) -> Option<(Vec<u32>, Vec<u32>)> {
        let labels: Vec<Option<u32>> = labelled.iter().map(|&index| self.labels[index as usize]).collect();
        let every_class_has_five =
            self.classes.iter().all(|class| labels.iter().filter(|label| **label == Some(*class)).count() >= FIFTHS);
        let folds = fifths(&labels);
        let (ask, learn): (Vec<_>, Vec<_>) = labelled.iter().zip(&folds).partition(|(_, fold)| **fold == 0);
        let indices = |part: Vec<(&u32, &usize)>| part.into_iter().map(|(index, _)| *index).collect::<Vec<u32>>();
        (every_class_has_five && ask.len() >= LEAST_VALIDATION).then(|| (indices(learn), indices(ask)))
    }

    /// One step; the loss before it. Nothing moves where that is no finite number.
    fn step(
        &self,
        head: &Head,
        optimisers: &mut [(Sgd, f64); 2],
        set: &dyn Dataset,
        batch: &Batch,
        dropout: Dropout<'_>,
    ) -> Result<f32, EvalError> {
        let device = device_of(self.backbone);
        let pixels = images(batch, &device, self.config)?;
        let class = |index: &u32| {
            let label = set.true_label(*index as usize);
            label.and_then(|label| self.classes.binary_search(&label).ok()).unwrap_or(0) as u32
        };
        let classes: Vec<u32> = batch.indices.iter().map(class).collect();
        let classes = Tensor::from_vec(classes, batch.indices.len(), &device)?;
        let equal = Tensor::ones(self.classes.len(), candle_core::DType::F32, &device)?;
        let logits = head.forward(&self.backbone.forward(&pixels, Mode::Train, dropout)?)?;
        let loss = odc_ops::weighted_cross_entropy(&logits, &classes, &equal)?;
        let value = loss.to_scalar::<f32>()?;
        if value.is_finite() {
            let gradients = odc_ops::backward(&loss)?;
            optimisers.iter_mut().try_for_each(|(sgd, _)| sgd.step(&gradients))?;
        }
        Ok(value)
    }

    /// Percent of the labelled images that are right, and how many there are.
    fn accuracy(
        &self,
        head: &Head,
        dataset: &Arc<dyn Dataset>,
        skipped: &mut Vec<Skipped>,
    ) -> Result<(f64, usize), EvalError> {
        let mut forward = |images: &Tensor| {
            odc_ops::in_pool(|| head.forward(&self.backbone.forward(images, Mode::Eval, Dropout::Off)?))
        };
        let logits = extract_with(&mut forward, dataset, self.config, &mut |_, _| ())?;
        skipped.extend_from_slice(&logits.skipped);
        let (mut right, mut all) = (0, 0);
        for (row, label) in logits.true_labels.iter().enumerate() {
            let Some(label) = label else { continue };
            let row = logits.row(row);
            let best = (0..row.len()).reduce(|best, class| if row[class] > row[best] { class } else { best });
            all += 1;
            right += usize::from(best.is_some_and(|best| self.classes[best] == *label));
        }
        if all == 0 {
            let reason = "none of the images that can be decoded has a true label".to_owned();
            return Err(EvalError::Empty { what: "test images", reason });
        }
        Ok((100.0 * right as f64 / all as f64, all))
    }
}

fn diverged() -> EvalError {
    let reason = "its loss is no finite number with any learning rate that was tried; give smaller ones".to_owned();
    EvalError::Empty { what: "fine-tuning", reason }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use odc_data::{DataError, Image, PlainView};
    use odc_model::{BackboneConfig, Entry, Stem};
    use odc_testkit::{assert_close, formula};

    use super::*;

    /// Images of one colour each: every crop and flip of one is the same.
    struct Colours;

    impl Dataset for Colours {
        fn len(&self) -> usize {
            16
        }
        fn image(&self, index: usize) -> Result<Image, DataError> {
            let colour: Vec<u8> =
                formula(36, 48).iter().map(|&value| ((f64::from(value) + 1.0) * 127.5) as u8).collect();
            Ok(Image { width: 16, height: 16, pixels: colour[3 * index..3 * index + 3].repeat(256) })
        }
        fn true_label(&self, index: usize) -> Option<u32> {
            Some(index as u32 % 4)
        }
        fn name(&self, index: usize) -> String {
            index.to_string()
        }
        fn class_names(&self) -> &[String] {
            &[]
        }
    }

    fn fill(entry: &Entry, seed: usize, value: impl Fn(f32) -> f32) {
        let shape = entry.file_shape();
        let values: Vec<f32> = formula(seed as u64, shape.iter().product()).into_iter().map(value).collect();
        entry.set_from_file_layout(&Tensor::from_vec(values, shape, &Device::Cpu).expect("fits")).expect("is set");
    }

    #[test]
    fn five_epochs_are_those_of_pytorch() {
        // As in tests/make_expected.py.
        let network = BackboneConfig { width: 4, stem: Stem::Small, ..BackboneConfig::default() };
        let backbone = Backbone::new(&network, 0, &Device::Cpu).expect("a small network");
        let trainable = backbone.params().entries().iter().filter(|entry| entry.trainable().is_some());
        for (place, entry) in trainable.enumerate() {
            let middle = if entry.name().ends_with("weight") { 1.0 } else { 0.0 };
            let is_of_norm = entry.file_shape().len() == 1;
            fill(entry, 100 + place, |value| if is_of_norm { middle + 0.2 * value } else { 0.3 * value });
        }
        let head = Head::new(32, 4, 0, &Device::Cpu).expect("a head");
        for (place, entry) in head.params().entries().iter().enumerate() {
            fill(entry, 90 + place, |value| 0.3 * value);
        }
        let (train, labelled): (Arc<dyn Dataset>, Vec<u32>) = (Arc::new(Colours), (0..16).collect());
        let config = ExtractionConfig { side: 16, view: PlainView::Resize, ..ExtractionConfig::default() };
        let labels = true_labels(train.as_ref());
        let (start, classes) = (Vec::new(), vec![0, 1, 2, 3]);
        let subject = Subject { backbone: &backbone, start, train: &train, labels, classes, config: &config };
        let fine_tuning = FineTuning { epochs: 5, milestones: vec![2, 4], ..FineTuning::default() };
        let finite = fine_tuning.train_on(&subject, &head, &labelled, (0.02, 10.0), 0, &mut Vec::new());
        assert!(finite.expect("trains"));

        let expected: serde_json::Value =
            serde_json::from_str(include_str!("../tests/expected.json")).expect("expected.json is JSON");
        let close = |name: &str, ours: &[f32]| {
            let all = expected["fine_tuning"][name].as_array().expect("numbers");
            let theirs: Vec<f32> = all.iter().map(|number| number.as_f64().expect("a number") as f32).collect();
            assert_close(name, ours, &theirs, 2e-4);
        };
        let values = |tensor: Tensor| tensor.flatten_all().and_then(|values| values.to_vec1()).expect("values");
        let of = |params: &odc_model::Params, name: &str| {
            values(params.get(name).expect(name).to_file_layout().expect("a copy"))
        };
        close("conv1", &of(backbone.params(), "conv1.weight"));
        close("running_mean", &of(backbone.params(), "layer4.1.bn2.running_mean"));
        close("head", &of(head.params(), "fc_cls.weight"));
        let logits = extract_with(
            &mut |images| head.forward(&backbone.forward(images, Mode::Eval, Dropout::Off)?),
            &train,
            &config,
            &mut |_, _| (),
        );
        close("logits", &logits.expect("logits").values);
    }
}
