//! The other methods: what Deep Clustering and rotation prediction compute, log, go on from and leave behind; and what
//! the log of all methods says of moving labels.

use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use odc_data::{Augmentation, Batch, Dataset, Loader, LoaderConfig, View};
use odc_eval::{ClusteringScore, ExtractionConfig};
use odc_model::{Classifier, Dropout, Mode};
use odc_ops::{ParameterGroup, Sgd};
use odc_trainer::{ClusteringLine, Conductor, DeepCluster, LogEvent, Recipe, Run, checkpoints, read_events, read_log};

use crate::common::{self, advance, scratch, values};

/// With 98 images: four batches of 24 and one of two.
const PER_EPOCH: u64 = 5;

const SETTINGS: [&str; 6] = [
    "data.shapes_images=98",
    "deepcluster.pca_dim=10",
    "optimizer.head_momentum=0.5",
    "training.epochs=3",
    "training.log_every=2",
    "training.checkpoints_kept=100",
];

fn begin(folder: &Path, settings: &[&str]) -> Run {
    common::begin(folder, &[&SETTINGS, settings].concat())
}

fn to_the_end(mut run: Run) -> Run {
    while run.advance().expect("an iteration").is_some() {}
    run
}

fn deep_cluster(run: &Run) -> &DeepCluster {
    match run.conductor() {
        Conductor::DeepCluster(deep_cluster) => deep_cluster,
        _ => panic!("a run of Deep Clustering"),
    }
}

fn clusterings(folder: &Path) -> Vec<ClusteringLine> {
    let events = read_events(&folder.join("log.jsonl")).expect("reads");
    events.into_iter().map(|LogEvent::Clustering(line)| line).collect()
}

/// The bytes of the newest checkpoint: all that there is to go on from.
fn newest(folder: &Path) -> Vec<u8> {
    std::fs::read(checkpoints(folder).pop().expect("a checkpoint")).expect("reads")
}

/// The log without what is measured by a clock.
fn log(folder: &Path) -> Vec<String> {
    let lines = read_log(&folder.join("log.jsonl")).expect("reads");
    let lines = lines.iter().map(|line| {
        format!("{} {} {:?} {:?} {:?}", line.iteration, line.loss, line.accuracy, line.nmi_previous, line.reassigned)
    });
    let events = clusterings(folder);
    let events = events.iter().map(|line| {
        format!("{} {} {} {:?} {:?}", line.iteration, line.epoch, line.inertia, line.nmi_previous, line.reassigned)
    });
    lines.chain(events).collect()
}

/// Every method, both ways of Deep Clustering to weigh clusters alike, and its own network, which drops units out.
const METHODS: [&[&str]; 5] = [
    &["method=odc"],
    &["method=deepcluster"],
    &["method=deepcluster", "deepcluster.balance=reweight"],
    &["method=deepcluster", "model.arch=alexnet", "model.stem=cifar", "model.sobel=true"],
    &["method=rotation"],
];

#[test]
fn a_run_stopped_anywhere_goes_on_bit_for_bit() {
    for settings in METHODS {
        let (keep, folder) = scratch();
        let whole = keep.path().join("whole");
        drop(to_the_end(begin(&whole, settings)));
        // Before the first iteration, within an epoch, at its end, within the last.
        let mut run = begin(&folder, settings);
        for stop in [0, 3, 5, 8, 10, 12] {
            advance(&mut run, stop);
            run.save().expect("saves");
            run = Run::resume(&folder, &mut |_| ()).expect("goes on");
            assert_eq!(run.conductor().iteration(), stop);
        }
        drop(to_the_end(run));
        assert!(newest(&whole) == newest(&folder), "{settings:?}");
        let (expected, found) = (log(&whole), log(&folder));
        // Lines are means since the line before, so that those of an interrupted run begin anew where it was stopped.
        let events = |lines: &[String]| lines.iter().rev().take(3).cloned().collect::<Vec<_>>();
        assert_eq!(expected.len(), found.len(), "{settings:?}: {expected:#?} {found:#?}");
        assert_eq!(events(&expected), events(&found), "{settings:?}");
    }
}

#[test]
fn what_a_killed_process_logged_beyond_its_checkpoint_is_logged_once() {
    let (_keep, folder) = scratch();
    let mut run = begin(&folder, &["method=deepcluster", "training.checkpoint_every=5"]);
    // The second epoch's clustering is logged, its checkpoint is still the one before it.
    advance(&mut run, 7);
    drop(run);
    assert_eq!(clusterings(&folder).len(), 2);
    let run = Run::resume(&folder, &mut |_| ()).expect("goes on");
    assert_eq!((run.conductor().iteration(), clusterings(&folder).len()), (5, 1));
    drop(to_the_end(run));
    let epochs: Vec<(u64, u64)> = clusterings(&folder).iter().map(|line| (line.epoch, line.iteration)).collect();
    assert_eq!(epochs, [(0, 0), (1, 5), (2, 10)]);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for settings in METHODS {
        let (keep, _) = scratch();
        let by = |threads: usize| {
            let folder = keep.path().join(threads.to_string());
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let mut run = pool.install(|| begin(&folder, settings));
            pool.install(|| advance(&mut run, PER_EPOCH + 2));
            (values(run.conductor().params()), run.conductor().labels().map(<[u32]>::to_vec))
        };
        assert!(by(1) == by(3), "{settings:?}");
    }
}

#[test]
fn epochs_of_deep_clustering_equal_a_plain_twin() {
    for balance in ["uniform", "reweight"] {
        let (_keep, folder) = scratch();
        let balance_setting = format!("deepcluster.balance={balance}");
        let mut run = begin(&folder, &["method=deepcluster", "optimizer.decay_at=[0.5]", &balance_setting]);
        let mut twin = Twin::new(run.recipe());
        for epoch in 0..3 {
            twin.begin_epoch(epoch);
            for (position, batch) in twin.batches(epoch).into_iter().enumerate() {
                let iteration = epoch * PER_EPOCH + position as u64;
                let lr = if iteration < 8 { 0.2 * 24.0 / 512.0 } else { 0.4 * 0.2 * 24.0 / 512.0 };
                let expected = twin.step(&batch, lr);
                let report = run.advance().expect("an iteration").expect("not the end").report.expect("trained");
                assert_eq!(deep_cluster(&run).clustering().labels, twin.labels, "epoch {epoch}");
                assert!((report.lr - lr).abs() < 1e-12, "{} for {lr}", report.lr);
                assert!((report.loss - expected).abs() < 1e-5, "{iteration}: {} for {expected}", report.loss);
            }
        }
        let (ours, plain) = (values(run.conductor().params()), values(twin.network.params()));
        odc_testkit::assert_close("parameters", &ours, &plain, 1e-5);
    }
}

/// Deep Clustering as it is written down, from the parts that have tests of their own: everything of an epoch is made
/// anew, and the order is looked at image by image.
struct Twin {
    recipe: Recipe,
    dataset: Arc<dyn Dataset>,
    network: Classifier,
    body: Sgd,
    head: Sgd,
    labels: Vec<u32>,
    weights: Vec<f32>,
}

impl Twin {
    fn new(recipe: &Recipe) -> Self {
        let dataset = odc_data::open(&recipe.data.source()).expect("images");
        let network = Classifier::new(&recipe.model.backbone(), 6, recipe.network_seed(), &Device::Cpu).expect("fits");
        let sgd = |parameters, momentum| {
            let group = ParameterGroup { parameters, momentum, weight_decay: recipe.optimizer.weight_decay };
            Sgd::new(vec![group], 1.0).expect("an optimiser")
        };
        let (body, head) = (network.backbone.params().trainable(), network.head.params().trainable());
        let (body, head) = (sgd(body, 0.9), sgd(head, 0.5));
        Self { recipe: recipe.clone(), dataset, network, body, head, labels: Vec::new(), weights: Vec::new() }
    }

    fn begin_epoch(&mut self, epoch: u64) {
        let data = &self.recipe.data;
        let config = ExtractionConfig {
            side: 16,
            view: data.plain_view,
            batch_size: 24,
            workers: 0,
            mean: data.mean,
            std: data.std,
        };
        let mut forward = |images: &Tensor| self.network.backbone.forward(images, Mode::Eval, Dropout::Off);
        let features = odc_eval::extract_with(&mut forward, &self.dataset, &config, &mut |_, _| ()).expect("features");
        let whitening = odc_kmeans::Whitening::fit(&features.values, 32, 10).expect("rows");
        let mut rows = whitening.apply(&features.values).expect("rows");
        for row in rows.chunks_exact_mut(10) {
            let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt();
            row.iter_mut().for_each(|value| *value /= norm);
        }
        let seed = odc_ops::random::key(0, "kmeans", epoch);
        let clustering = odc_kmeans::KMeans { n_clusters: 6, iterations: 20, seed }.fit(&rows, 10).expect("clusters");
        self.labels = clustering.labels().to_vec();
        let size = |cluster: u32| self.labels.iter().filter(|label| **label == cluster).count() as f64;
        let reweighted = self.recipe.deepcluster.balance == odc_trainer::Balance::Reweight;
        let weights: Vec<f64> = (0..6).map(|cluster| if reweighted { size(cluster).powf(-0.5) } else { 1.0 }).collect();
        let sum = if reweighted { weights.iter().sum::<f64>() } else { 1.0 };
        self.weights = weights.into_iter().map(|weight| (weight / sum) as f32).collect();
        if epoch > 0 {
            self.network.head.reset(odc_ops::random::key(0, "head", epoch)).expect("drawn anew");
            let parameters = self.network.head.params().trainable();
            let group = ParameterGroup { parameters, momentum: 0.5, weight_decay: self.recipe.optimizer.weight_decay };
            self.head = Sgd::new(vec![group], 1.0).expect("an optimiser");
        }
    }

    fn batches(&self, epoch: u64) -> Vec<Batch> {
        let order = match self.recipe.deepcluster.balance {
            odc_trainer::Balance::Uniform => odc_data::uniform_over_labels(&self.labels, 6, 0, epoch),
            odc_trainer::Balance::Reweight => odc_data::Sampling::Permutation.epoch(0, epoch, 98),
        };
        let config = LoaderConfig { batch_size: 24, side: 16, workers: 0, queue: 1, seed: 0, epoch };
        let view = View::Training(Augmentation { steps: self.recipe.data.augmentation.clone() });
        Loader::new(Arc::clone(&self.dataset), order, 0, view, config).collect()
    }

    /// Σ w·ce / Σ w by candle's own operations.
    fn step(&mut self, batch: &Batch, lr: f64) -> f32 {
        let n = batch.indices.len();
        let pixels = Tensor::from_slice(&batch.pixels, (n, 16, 16, 3), &Device::Cpu).expect("pixels");
        let images = odc_ops::normalize_pixels(&pixels, self.recipe.data.mean, self.recipe.data.std).expect("images");
        let features = self.network.backbone.forward(&images, Mode::Train, Dropout::Off).expect("features");
        let logits = self.network.head.forward(&features).expect("logits");
        let labels: Vec<u32> = batch.indices.iter().map(|image| self.labels[*image as usize]).collect();
        let weights: Vec<f32> = labels.iter().map(|label| self.weights[*label as usize]).collect();
        let rows = logits.to_vec2::<f32>().expect("rows");
        let ce = |(row, label): (&Vec<f32>, &u32)| {
            row.iter().map(|logit| logit.exp()).sum::<f32>().ln() - row[*label as usize]
        };
        let sum: f32 = rows.iter().zip(&labels).map(ce).zip(&weights).map(|(ce, weight)| ce * weight).sum();
        let labels = Tensor::from_vec(labels, n, &Device::Cpu).expect("labels");
        let class_weights = Tensor::from_vec(self.weights.clone(), 6, &Device::Cpu).expect("weights");
        let loss = odc_ops::weighted_cross_entropy(&logits, &labels, &class_weights).expect("a loss");
        let gradients = odc_ops::backward(&loss).expect("gradients");
        for sgd in [&mut self.body, &mut self.head] {
            sgd.set_learning_rate(lr);
            sgd.step(&gradients).expect("a step");
        }
        sum / weights.iter().sum::<f32>()
    }
}

#[test]
fn the_classifier_starts_anew_with_each_epoch() {
    let (_keep, folder) = scratch();
    let mut run = begin(&folder, &["method=deepcluster", "optimizer.lr=0.0", "training.checkpoint_every=1"]);
    let head = |run: &Run| values(deep_cluster(run).network().head.params());
    let first = head(&run);
    advance(&mut run, PER_EPOCH);
    assert_eq!(head(&run), first);
    advance(&mut run, PER_EPOCH + 1);
    let second = head(&run);
    assert_ne!(second, first);
    let deviation = |head: &[f32]| (head.iter().map(|value| value * value).sum::<f32>() / head.len() as f32).sqrt();
    assert!((0.007..0.013).contains(&deviation(&second)), "{}", deviation(&second));
    advance(&mut run, 2 * PER_EPOCH + 1);
    assert_ne!(head(&run), second);
}

#[test]
fn moved_labels_are_told_at_the_end_of_each_epoch() {
    let (_keep, folder) = scratch();
    let mut run = begin(&folder, &["optimizer.lr=3.0", "memory.centroid_every=1"]);
    let mut earlier = run.conductor().labels().expect("labels").to_vec();
    while let Some(progress) = run.advance().expect("an iteration") {
        let Some(line) = progress.line else { continue };
        if line.iteration % PER_EPOCH != 0 {
            assert_eq!((line.nmi_previous, line.reassigned), (None, None));
            continue;
        }
        let labels = run.conductor().labels().expect("labels").to_vec();
        let score = ClusteringScore::new(&labels, &earlier).expect("a score");
        assert_eq!(line.nmi_previous, Some(score.nmi));
        assert_eq!(line.reassigned, Some(1.0 - score.hungarian_accuracy / 100.0));
        earlier = labels;
    }
    assert!(read_log(&folder.join("log.jsonl")).expect("reads").iter().any(|line| line.reassigned > Some(0.0)));
    let first = clusterings(&folder);
    assert_eq!(first.len(), 1);
    assert_eq!((first[0].iteration, first[0].epoch, first[0].nmi_previous), (0, 0, None));
    assert!(first[0].inertia > 0.0 && first[0].nmi.is_some() && first[0].cluster_min > 0);
}

#[test]
fn the_log_of_deep_clustering_compares_each_clustering_with_the_one_before() {
    let (_keep, folder) = scratch();
    let mut run = begin(&folder, &["method=deepcluster"]);
    let mut labels = Vec::new();
    for epoch in 1..=3 {
        advance(&mut run, epoch * PER_EPOCH);
        labels.push(run.conductor().labels().expect("labels").to_vec());
    }
    let lines = clusterings(&folder);
    assert_eq!((lines[0].nmi_previous, lines[0].reassigned), (None, None));
    for epoch in 1..3 {
        let score = ClusteringScore::new(&labels[epoch], &labels[epoch - 1]).expect("a score");
        assert_eq!(lines[epoch].nmi_previous, Some(score.nmi));
        assert_eq!(lines[epoch].reassigned, Some(1.0 - score.hungarian_accuracy / 100.0));
    }
    for line in read_log(&folder.join("log.jsonl")).expect("reads") {
        let ends = line.iteration % PER_EPOCH == 0;
        assert_eq!((line.change_ratio, line.clusters_handled, line.accuracy), (None, None, None));
        assert!(line.cluster_min.is_some() && line.nmi.is_some() == ends, "{line:?}");
        assert_eq!(line.nmi_previous.is_some(), ends && line.iteration > PER_EPOCH, "{line:?}");
    }
    let text = std::fs::read_to_string(folder.join("log.jsonl")).expect("reads");
    let first = text.lines().next().expect("a line");
    assert!(first.starts_with(r#"{"event":"clustering","iteration":0,"epoch":0,"inertia":"#), "{first}");
    assert!(first.contains(r#""nmi_previous":null,"reassigned":null,"cluster_min":"#), "{first}");
    assert!(!text.contains("change_ratio"));
}

#[test]
fn rotation_prediction_learns_to_tell_rotations_and_leaves_no_clusters() {
    let (keep, folder) = scratch();
    let images = keep.path().join("images");
    std::fs::create_dir(&images).expect("a folder");
    for image in 0..48 {
        // Rows of a BMP go upwards: noise above, black below.
        let mut bytes = odc_testkit::bmp(16, image);
        bytes[54..54 + 8 * 16 * 3].fill(0);
        std::fs::write(images.join(format!("{image:02}.bmp")), bytes).expect("writes");
    }
    let path = format!("data.path={}", images.display());
    let settings = ["method=rotation", &path, "training.epochs=8", "optimizer.lr=1.0", "data.augmentation=[]"];
    let mut run = to_the_end(begin(&folder, &settings));
    let summary = run.finish(&mut |_| ()).expect("finishes");
    assert_eq!((summary.n_clusters, summary.cluster_min_max, summary.change_ratio_first_last), (None, None, None));
    let (first, last) = summary.accuracy_first_last.expect("an accuracy");
    assert!(first < 0.6 && last > 0.9, "{first} {last}");
    assert!(folder.join("backbone.safetensors").exists() && !folder.join("clusters.csv").exists());
    assert!(clusterings(&folder).is_empty() && run.conductor().labels().is_none());
    let text = std::fs::read_to_string(folder.join("log.jsonl")).expect("reads");
    assert!(!text.contains("cluster") && !text.contains("change_ratio") && !text.contains("nmi"), "{text}");
    assert_eq!(run.conductor().params().get("head.fc_cls.weight").expect("a head").file_shape(), [4, 32]);
}

#[test]
fn an_image_that_vanished_keeps_its_label() {
    let (keep, folder) = scratch();
    let images = keep.path().join("images");
    std::fs::create_dir(&images).expect("a folder");
    for image in 0..40 {
        std::fs::write(images.join(format!("{image:02}.bmp")), odc_testkit::bmp(16, image)).expect("writes");
    }
    let path = format!("data.path={}", images.display());
    let mut run = begin(&folder, &["method=deepcluster", &path, "training.batch_size=20"]);
    let label = run.conductor().labels().expect("labels")[7];
    std::fs::remove_file(images.join("07.bmp")).expect("removes");
    advance(&mut run, 3);
    let clustering = deep_cluster(&run).clustering();
    assert_eq!((clustering.epoch, clustering.labels[7], clustering.labels.len()), (1, label, 40));
    assert!(clustering.sizes.iter().all(|size| *size > 0) && clustering.sizes.iter().sum::<u32>() == 40);
}
