//! Features of stages, their cache, the per-stage probe over seeds and views, fine-tuning on few labels.

use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use odc_data::{DataError, Dataset, Image, PlainView, Source};
use odc_eval::{
    EvalError, ExtractionConfig, FeatureCache, Features, FineTuning, FineTuningReport, Layer, LinearProbe, RandomView,
    extract, extract_layers, extract_with,
};
use odc_model::{Architecture, Backbone, BackboneConfig, Mode, Stem};

fn shapes(n: usize) -> Arc<dyn Dataset> {
    odc_data::open(&Source { shapes_images: n, ..Source::default() }).expect("shapes")
}

fn backbone(seed: u64) -> Backbone {
    let config = BackboneConfig { width: 4, stem: Stem::Small, ..BackboneConfig::default() };
    Backbone::new(&config, seed, &Device::Cpu).expect("a small network")
}

fn config() -> ExtractionConfig {
    ExtractionConfig { side: 16, view: PlainView::Resize, batch_size: 16, workers: 1, ..ExtractionConfig::default() }
}

fn view(number: u64) -> RandomView {
    RandomView { augmentation: RandomView::standard(16), seed: 3, number }
}

fn in_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads").install(work)
}

/// Images of one colour each, darker to the left: easy to learn. Classes 0 to 3 take turns.
struct Colours {
    len: usize,
    seed: u64,
}

impl Dataset for Colours {
    fn len(&self) -> usize {
        self.len
    }
    fn image(&self, index: usize) -> Result<Image, DataError> {
        let noise = odc_testkit::formula(self.seed + index as u64, 3);
        let centre = [[200.0, 60.0, 60.0], [60.0, 200.0, 60.0], [60.0, 60.0, 200.0], [150.0, 150.0, 60.0]][index % 4];
        let colour = |place: usize| {
            let bright = 0.3 + (place / 3 % 16) as f32 / 24.0;
            (bright * (centre[place % 3] + 50.0 * noise[place % 3])) as u8
        };
        Ok(Image { width: 16, height: 16, pixels: (0..768).map(colour).collect() })
    }
    fn true_label(&self, index: usize) -> Option<u32> {
        Some(index as u32 % 4)
    }
    fn name(&self, index: usize) -> String {
        format!("colour {index}")
    }
    fn class_names(&self) -> &[String] {
        &[]
    }
}

fn colours(len: usize, seed: u64) -> Arc<dyn Dataset> {
    Arc::new(Colours { len, seed })
}

/// Shapes, of which the first cannot be decoded.
struct Torn(Arc<dyn Dataset>);

impl Dataset for Torn {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn image(&self, index: usize) -> Result<Image, DataError> {
        match index {
            0 => Err(DataError::Undecodable { name: self.name(0), reason: "torn".to_owned() }),
            _ => self.0.image(index),
        }
    }
    fn true_label(&self, index: usize) -> Option<u32> {
        self.0.true_label(index)
    }
    fn name(&self, index: usize) -> String {
        self.0.name(index)
    }
    fn class_names(&self) -> &[String] {
        self.0.class_names()
    }
}

#[test]
fn one_pass_gives_what_each_layer_gives_alone() {
    let dataset = shapes(20);
    let config_of_alexnet =
        BackboneConfig { arch: Architecture::AlexNet, width: 4, stem: Stem::Cifar, ..BackboneConfig::default() };
    let alexnet = Backbone::new(&config_of_alexnet, 1, &Device::Cpu).expect("a small network");
    for backbone in [backbone(1), alexnet] {
        let layers = [Layer::Stage(5), Layer::Vector, Layer::Stage(1)];
        let all = extract_layers(&backbone, &layers, &dataset, &config(), None, &mut |_, _| ()).expect("features");
        assert_eq!(all[1], extract(&backbone, &dataset, &config(), &mut |_, _| ()).expect("features"));
        for (features, number) in [(&all[0], 4), (&all[2], 0)] {
            // Maps this small are kept whole.
            let mut map = |images: &Tensor| Ok(backbone.stages(images, Mode::Eval)?.swap_remove(number));
            assert_eq!(*features, extract_with(&mut map, &dataset, &config(), &mut |_, _| ()).expect("a map"));
        }
        let sizes = Layer::sizes(&layers, &backbone, 16).expect("sizes");
        assert_eq!(
            sizes.iter().map(|size| size.dim()).collect::<Vec<_>>(),
            all.iter().map(|f| f.dim).collect::<Vec<_>>()
        );
        for layer in [Layer::Stage(0), Layer::Stage(6)] {
            let error =
                extract_layers(&backbone, &[layer], &dataset, &config(), None, &mut |_, _| ()).expect_err("none");
            assert!(error.to_string().contains("has stages 1 to 5"), "{error}");
        }
    }
}

#[test]
fn random_views_are_those_of_their_number() {
    let (dataset, backbone) = (shapes(20), backbone(1));
    let seen = |view: Option<&RandomView>, workers: usize| {
        let config = ExtractionConfig { workers, ..config() };
        extract_layers(&backbone, &[Layer::Vector], &dataset, &config, view, &mut |_, _| ()).expect("features")
    };
    let first = seen(Some(&view(0)), 1);
    assert_eq!(seen(Some(&view(0)), 3), first);
    assert_ne!(seen(Some(&view(1)), 1), first);
    assert_ne!(seen(None, 1), first);
}

#[test]
fn the_cache_spares_the_extraction_and_gives_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = FeatureCache::open(&folder.path().join("made/here")).expect("opens");
    let dataset: Arc<dyn Dataset> = Arc::new(Torn(shapes(12)));
    let layers = [Layer::Stage(2), Layer::Vector];
    let ask = |backbone: &Backbone, layers: &[Layer], dataset: &Arc<dyn Dataset>, config, view: Option<&RandomView>| {
        let mut seen = 0;
        let mut count = |done, _| seen = done;
        let features = cache.extract_layers(backbone, layers, dataset, &config, view, &mut count).expect("features");
        (features, seen)
    };
    let network = backbone(1);
    let plain = extract_layers(&network, &layers, &dataset, &config(), None, &mut |_, _| ()).expect("features");
    assert_eq!(plain[0].skipped.len(), 1);
    assert_eq!(ask(&network, &layers, &dataset, config(), None), (plain.clone(), 12));
    assert_eq!(ask(&network, &layers, &dataset, config(), None), (plain.clone(), 0), "now it is there");
    assert_eq!(ask(&backbone(1), &[Layer::Vector], &dataset, config(), None), (vec![plain[1].clone()], 0));
    let twice = ask(&network, &[Layer::Vector, Layer::Vector], &dataset, config(), None).0;
    assert_eq!(twice, [plain[1].clone(), plain[1].clone()]);

    // Whatever decides the values is looked at.
    assert_eq!(ask(&backbone(2), &layers, &dataset, config(), None).1, 12, "other weights");
    assert_eq!(ask(&network, &layers, &shapes(12), config(), None).1, 12, "other images");
    assert_eq!(ask(&network, &layers, &dataset, ExtractionConfig { side: 20, ..config() }, None).1, 12);
    assert_eq!(ask(&network, &layers, &dataset, config(), Some(&view(0))).1, 12, "another view");
    assert_eq!(ask(&network, &layers, &dataset, config(), Some(&view(1))).1, 12, "yet another view");
    let workers = ExtractionConfig { workers: 3, ..config() };
    assert_eq!(ask(&network, &layers, &dataset, workers, None).1, 0, "workers change nothing");
}

#[test]
fn damaged_files_of_the_cache_are_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = FeatureCache::open(folder.path()).expect("opens");
    let (network, dataset) = (backbone(1), shapes(12));
    let ask = || {
        let mut seen = 0;
        let mut count = |done, _| seen = done;
        let features = cache.extract_layers(&network, &[Layer::Vector], &dataset, &config(), None, &mut count);
        (features.expect("features"), seen)
    };
    let (expected, _) = ask();
    let files = || -> Vec<_> {
        std::fs::read_dir(folder.path()).expect("lists").map(|entry| entry.expect("a file").path()).collect()
    };
    let [file] = &files()[..] else { panic!("one file: {:?}", files()) };
    let whole = std::fs::read(file).expect("reads");
    let mut flipped = whole.clone();
    *flipped.last_mut().expect("bytes") ^= 1;
    for damaged in [&whole[..whole.len() - 5], &flipped, b"", b"no features at all"] {
        std::fs::write(file, damaged).expect("writes");
        assert_eq!(ask(), (expected.clone(), 12));
        assert_eq!(std::fs::read(file).expect("reads").len(), whole.len(), "it is whole again");
        assert_eq!(ask(), (expected.clone(), 0));
    }
    assert_eq!(files().len(), 1, "nothing is left beside it");
    let error = FeatureCache::open(&file.join("below")).expect_err("a file is no folder");
    assert!(matches!(&error, EvalError::Write { path, .. } if path == &file.join("below")), "{error}");
    assert!(FeatureCache::open(Path::new("/proc/odc-cache")).is_err());
}

fn stage(n: usize, number: usize, random: Option<u64>) -> Features {
    let random = random.map(view);
    let layers = [Layer::Stage(number)];
    let all = extract_layers(&backbone(1), &layers, &colours(n, 0), &config(), random.as_ref(), &mut |_, _| ());
    all.expect("features").swap_remove(0)
}

#[test]
fn a_stage_is_probed_by_seeds_and_views_with_the_same_bits_for_any_number_of_threads() {
    let (train, test) = stage(300, 3, None).split_fifth(0);
    // Small batches: the running statistics begin at 0 and 1 and need a hundred steps to forget it.
    let probe = LinearProbe { epochs: 12, milestones: vec![8], batch_size: 29, ..LinearProbe::per_stage() };
    let of = |threads: usize, views: &[&Features]| {
        in_threads(threads, || probe.evaluate_seeds(3, views, &test)).expect("reports")
    };
    let alone = of(1, &[&train]);
    assert!(alone[0].top1 > 60.0, "guessing gives 25 %: {alone:?}");
    for threads in [2, 5] {
        assert_eq!(of(threads, &[&train]), alone);
    }
    assert_ne!(alone[0].train_loss, alone[1].train_loss);
    let second = LinearProbe { seed: 1, ..probe.clone() }.evaluate(&train, &test).expect("a report");
    assert_eq!(second, alone[1], "seeds follow each other");
    assert_eq!(of(2, &[&train, &train]), alone, "equal views are one");
    let random: Vec<Features> = (0..2).map(|number| stage(300, 3, Some(number)).split_fifth(0).0).collect();
    assert_ne!(of(2, &[&random[0], &random[1]]), of(2, &[&random[0]]));
}

#[test]
fn probes_that_cannot_be_are_refused() {
    let (train, probe) = (stage(40, 5, None), LinearProbe::per_stage());
    let message = |result: Result<_, EvalError>| result.map(|_: Vec<_>| ()).expect_err("refused").to_string();
    assert!(message(probe.evaluate_seeds(0, &[&train], &train)).contains("seeds = 0: must be at least 1"));
    assert!(message(probe.evaluate_seeds(1, &[], &train)).contains("views = 0"));
    let fewer = train.select(&[0, 1, 2]);
    assert!(message(probe.evaluate_seeds(1, &[&train, &fewer], &train)).contains("3 where 40 is needed"));
    assert!(message(probe.evaluate_seeds(1, &[&train.select(&[0])], &train)).contains("batch norm needs two"));
    // 39 and a last row, which has no deviation.
    let left_over = LinearProbe { batch_size: 39, epochs: 2, ..probe.clone() };
    assert!(left_over.evaluate(&train, &train).expect("39 rows are enough").train_loss > 0.0);
    let one = LinearProbe { batch_size: 1, ..probe };
    assert!(message(one.evaluate_seeds(1, &[&train], &train)).contains("batch_size = 1: must be at least 2"));
}

/// A short training that learns something.
fn short() -> FineTuning {
    FineTuning {
        learning_rates: vec![0.05],
        head_multipliers: vec![1.0, 20.0],
        epochs: 4,
        milestones: vec![3],
        batch_size: 64,
        ..FineTuning::default()
    }
}

fn fine_tuned(tuning: &FineTuning, images: usize, share: f64, seeds: usize, workers: usize) -> FineTuningReport {
    let (network, train, test) = (backbone(1), colours(images, 0), colours(96, 9000));
    let config = ExtractionConfig { workers, ..config() };
    let before = network.params().named_tensors().expect("weights");
    let mut heard = Vec::new();
    let mut progress = |done, total| heard.push((done, total));
    let report = tuning.evaluate(&network, (&train, &test), &config, share, seeds, &mut progress).expect("a report");
    assert_eq!(heard.last().map(|(done, total)| done == total), Some(true), "{heard:?}");
    for ((name, before), (_, after)) in before.iter().zip(network.params().named_tensors().expect("weights")) {
        let bits = |tensor: &Tensor| format!("{:?}", tensor.flatten_all().map(|flat| flat.to_vec1::<f32>().ok()));
        assert_eq!(bits(before), bits(&after), "{name} is what it was");
    }
    report
}

#[test]
fn few_labels_are_chosen_on_the_test_images_and_more_on_some_held_out() {
    let few = fine_tuned(&short(), 240, 0.1, 2, 1);
    assert_eq!((few.labelled_images, few.validation_images, few.test_images, few.classes), (24, 0, 96, 4));
    assert_eq!((few.grid.len(), few.batch_size, few.top1.values.len()), (2, 16, 2));
    assert_eq!(
        few.best.accuracy,
        few.grid.iter().map(|point| point.accuracy).fold(None, |a, b| if b > a { b } else { a })
    );
    assert_eq!(few.best.accuracy, Some(few.top1.values[0]), "the first seed's is the one that was chosen");
    assert_ne!(few.grid[0].accuracy, few.grid[1].accuracy, "the multiplier matters");

    let more = fine_tuned(&short(), 600, 1.0, 1, 1);
    assert_eq!((more.labelled_images, more.validation_images, more.batch_size), (600, 120, 37));
    assert!(more.top1.mean > 60.0, "guessing gives 25 %: {more:?}");
}

#[test]
fn fine_tuning_gives_the_same_bits_for_any_number_of_threads_and_workers() {
    let with = |threads, workers| in_threads(threads, || fine_tuned(&short(), 120, 0.5, 2, workers));
    let alone = with(1, 0);
    assert_eq!(with(3, 2), alone);
}

#[test]
fn fine_tuning_that_cannot_be_is_refused() {
    let (network, images) = (backbone(1), colours(24, 0));
    let message = |tuning: &FineTuning, share: f64, seeds: usize| {
        let sets = (&images, &images);
        tuning.evaluate(&network, sets, &config(), share, seeds, &mut |_, _| ()).expect_err("refused").to_string()
    };
    assert!(message(&short(), 0.0, 1).contains("labels = 0: must be above 0 and at most 1"));
    assert!(message(&short(), 0.5, 0).contains("seeds = 0"));
    assert!(message(&FineTuning { epochs: 0, ..short() }, 0.5, 1).contains("epochs = 0"));
    assert!(message(&FineTuning { batch_size: 1, ..short() }, 0.5, 1).contains("batch_size = 1"));
    assert!(message(&FineTuning { learning_rates: vec![], ..short() }, 0.5, 1).contains("learning_rates = []"));
    let negative = FineTuning { head_multipliers: vec![1.0, -1.0], ..short() };
    assert!(message(&negative, 0.5, 1).contains("head_multipliers = -1: must be above 0"));
    let steep = FineTuning { learning_rates: vec![1e30], epochs: 8, ..short() };
    assert!(message(&steep, 1.0, 1).contains("give smaller ones"));

    let (torn, mut silent): (Arc<dyn Dataset>, _) = (Arc::new(Torn(images.clone())), |_, _| ());
    let report = short().evaluate(&network, (&torn, &torn), &config(), 1.0, 2, &mut silent).expect("23 are left");
    assert_eq!((report.labelled_images, report.test_images, report.skipped.len()), (24, 23, 1));
}
