//! Runs as the library moves them: what they begin from, leave behind and go on from, and how they stop.

use std::path::Path;

use candle_core::{Device, Tensor};
use odc_eval::ExtractionConfig;
use odc_model::{Backbone, Dropout, Mode};
use odc_trainer::{Checkpoint, Conductor, Recipe, Run, Trainer, TrainerError, checkpoints};

use crate::common::{RECIPE, advance, begin, recipe, scratch, values};

fn resume(folder: &Path) -> Run {
    Run::resume(folder, &mut |_| ()).expect("a run goes on")
}

fn trainer(run: &Run) -> &Trainer {
    match run.conductor() {
        Conductor::Odc(trainer) => trainer,
        _ => panic!("a run of Online Deep Clustering"),
    }
}

/// Why the run does not go on from here.
#[track_caller]
fn failure(run: &mut Run) -> String {
    match run.advance() {
        Err(TrainerError::Unhealthy(message)) => message,
        other => panic!("it should stop: {other:?}"),
    }
}

/// All that training changes.
fn state(run: &Run) -> (Vec<u32>, Vec<f32>) {
    (run.conductor().labels().unwrap_or_default().to_vec(), values(run.conductor().params()))
}

fn fill(run: &Run, name: &str, value: f32) {
    let params = run.conductor().params();
    let shape = params.get(name).unwrap_or_else(|| panic!("{name}")).file_shape();
    params.set(name, &Tensor::full(value, shape, &Device::Cpu).expect("a tensor")).expect("fits");
}

fn copy(backbone: &Backbone) -> Backbone {
    let copy = Backbone::new(backbone.config(), 0, &Device::Cpu).expect("a network");
    for (name, tensor) in backbone.params().named_tensors().expect("tensors") {
        copy.params().set(&name, &tensor).expect("fits");
    }
    copy
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("lists");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_folder_that_holds_files_named_as_a_run_s_is_left_alone() {
    let (keep, _) = scratch();
    std::fs::write(keep.path().join("clusters.csv"), b"mine").expect("writes");
    let error = Run::create(recipe(&[]), keep.path(), &mut |_| ()).err().expect("refused").to_string();
    assert!(error.contains("named as a run's") && error.contains("--out"), "{error}");
    assert_eq!(names(keep.path()), ["clusters.csv"]);
    assert_eq!(std::fs::read(keep.path().join("clusters.csv")).expect("reads"), b"mine");
}

#[test]
fn a_run_that_cannot_begin_leaves_nothing_of_its_own() {
    let (keep, folder) = scratch();
    let images = keep.path().join("images");
    std::fs::create_dir(&images).expect("a folder");
    for image in 0..20 {
        std::fs::write(images.join(format!("{image:02}.bmp")), odc_testkit::bmp(16, image)).expect("writes");
        std::fs::write(images.join(format!("{image:02}.jpg")), b"no picture").expect("writes");
    }
    let path = format!("data.path={}", images.display());
    let settings = [path.as_str(), "data.max_bad_share=0.4"];
    let error = Run::create(recipe(&settings), &folder, &mut |_| ()).err().expect("half are bad").to_string();
    assert!(error.contains("20 of 40 images cannot be decoded") && error.contains("00.jpg"), "{error}");
    assert!(error.contains("data.max_bad_share=0.50"), "{error}");
    assert!(!folder.exists());
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("notes.txt"), b"mine").expect("writes");
    assert!(Run::create(recipe(&settings), &folder, &mut |_| ()).is_err());
    assert_eq!(names(&folder), ["notes.txt"]);
}

#[test]
fn convolutions_are_computed_as_the_recipe_says() {
    let after_a_step = |convolution: &str| {
        let (_keep, folder) = scratch();
        // Maps of 8×8 and 16 channels: Winograd's method pays.
        let mut run = begin(&folder, &[convolution, "model.width=16", "model.stem=\"small\""]);
        advance(&mut run, 1);
        state(&run).1
    };
    let (fastest, direct) =
        (after_a_step("model.convolution=\"fastest\""), after_a_step("model.convolution=\"direct\""));
    assert_ne!(fastest, direct, "the last bits differ");
    let largest = direct.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let apart = fastest.iter().zip(&direct).fold(0.0_f32, |apart, (a, b)| apart.max((a - b).abs()));
    assert!(apart < 1e-3 * largest, "{apart} of {largest}");
    let error = Recipe::from_toml("of the test", RECIPE, &["model.convolution=\"slow\"".to_owned()]);
    let error = error.expect_err("no such method").to_string();
    assert!(error.contains("slow") && error.contains("direct"), "{error}");
}

#[test]
fn an_unreadable_checkpoint_is_passed_over_and_superseded() {
    let (keep, folder) = scratch();
    let mut run = begin(&folder, &[]);
    advance(&mut run, 4);
    drop(run);
    let newest = checkpoints(&folder).pop().expect("checkpoints");
    assert!(newest.ends_with("iteration-000000004.safetensors"), "{newest:?}");
    let bytes = std::fs::read(&newest).expect("reads");
    std::fs::write(&newest, &bytes[..bytes.len() / 2]).expect("cuts it short");

    let mut run = resume(&folder);
    assert_eq!(run.conductor().iteration(), 2);
    advance(&mut run, 3);
    run.save().expect("saves");
    let iterations: Vec<_> =
        checkpoints(&folder).iter().filter_map(|path| path.file_name().map(ToOwned::to_owned)).collect();
    assert_eq!(iterations, ["iteration-000000002.safetensors", "iteration-000000003.safetensors"]);
    advance(&mut run, 8);
    let mut whole = begin(&keep.path().join("whole"), &[]);
    advance(&mut whole, 8);
    assert!(state(&run) == state(&whole));
}

#[test]
fn a_run_whose_checkpoints_are_all_unreadable_is_not_begun_anew() {
    let (_keep, folder) = scratch();
    let mut run = begin(&folder, &[]);
    advance(&mut run, 4);
    drop(run);
    for path in checkpoints(&folder) {
        std::fs::write(path, b"half").expect("writes");
    }
    let error = Run::resume(&folder, &mut |_| ()).err().expect("nothing can be read").to_string();
    assert!(error.contains("iteration-000000004") && error.contains("not a safetensors file"), "{error}");
    assert_eq!(checkpoints(&folder).len(), 2);
}

#[test]
fn a_run_killed_before_its_first_checkpoint_begins_anew() {
    let (keep, folder) = scratch();
    drop(begin(&folder, &[]));
    std::fs::remove_dir_all(folder.join("checkpoints")).expect("removes");
    let mut again = resume(&folder);
    advance(&mut again, 2);
    let mut whole = begin(&keep.path().join("whole"), &[]);
    advance(&mut whole, 2);
    assert!(state(&again) == state(&whole));
}

#[test]
fn the_log_goes_on_where_the_checkpoint_is() {
    let (_keep, folder) = scratch();
    let mut run = begin(&folder, &[]);
    advance(&mut run, 3);
    drop(run);
    let log = folder.join("log.jsonl");
    let text = std::fs::read_to_string(&log).expect("reads");
    assert_eq!(text.lines().count(), 4, "the first clustering and three iterations");
    // What a killed process wrote after its checkpoint of iteration 2: a line, and half of one.
    std::fs::write(&log, format!("{text}{{\"iteration\":4,\"ep")).expect("writes");
    let mut run = resume(&folder);
    let kept = std::fs::read_to_string(&log).expect("reads");
    assert_eq!(kept.lines().collect::<Vec<_>>(), text.lines().take(3).collect::<Vec<_>>());
    advance(&mut run, 8);
    let iterations: Vec<u64> = odc_trainer::read_log(&log).expect("reads").iter().map(|line| line.iteration).collect();
    assert_eq!(iterations, (1..=8).collect::<Vec<u64>>());
}

#[test]
fn numbers_that_are_not_finite_never_replace_a_good_checkpoint() {
    let (_keep, folder) = scratch();
    let mut run = begin(&folder, &[]);
    advance(&mut run, 3);
    let before = checkpoints(&folder);
    fill(&run, "backbone.bn1.running_var", f32::NAN);
    let error = run.save().expect_err("refused").to_string();
    assert!(error.contains("backbone.bn1.running_var") && error.contains("--lr"), "{error}");
    assert_eq!(checkpoints(&folder), before);
    assert_eq!(resume(&folder).conductor().iteration(), 2);
}

#[test]
fn a_run_begins_with_the_network_of_its_seed() {
    let (_keep, folder) = scratch();
    let run = begin(&folder, &["seed=5"]);
    let model = &run.recipe().model;
    let alone = Backbone::new(&model.backbone(), run.recipe().network_seed(), &Device::Cpu).expect("a network");
    let values = |params: &odc_model::Params| {
        let weight = params.get("conv1.weight").expect("the first layer").to_file_layout().expect("a tensor");
        weight.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("f32")
    };
    assert_eq!(values(alone.params()), values(trainer(&run).network().backbone.params()));
}

#[test]
fn the_written_backbone_can_hold_the_statistics_of_plain_views() {
    let (_keep, folder) = scratch();
    let mut run = begin(&folder, &["training.final_statistics=plain", "training.epochs=1"]);
    advance(&mut run, 4);
    run.finish(&mut |_| ()).expect("the files of its end");
    let recipe = run.recipe();
    let config = ExtractionConfig {
        side: 16,
        view: recipe.data.plain_view,
        batch_size: 96,
        workers: 0,
        mean: recipe.data.mean,
        std: recipe.data.std,
    };
    let dataset = odc_data::open(&recipe.data.source()).expect("images");
    let pixels = odc_eval::extract_pixels(&dataset, &config).expect("plain views");
    let images = Tensor::from_vec(pixels.values, (96, 16, 16, 3), &Device::Cpu).expect("a batch");

    let trained = run.conductor().backbone();
    let twin = copy(trained);
    let tensors = |backbone: &Backbone| backbone.params().named_tensors().expect("tensors");
    let before = tensors(trained);
    twin.forward(&images, Mode::Train, Dropout::Off).expect("a pass that records");
    let written = Backbone::new(trained.config(), 1, &Device::Cpu).expect("a network");
    odc_model::weights::load_strict(written.params(), folder.join("backbone.safetensors")).expect("weights");
    let flat = |tensor: &Tensor| tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("f32");
    let mut moved = 0;
    for (((name, before), (_, recorded)), (_, written)) in before.iter().zip(tensors(&twin)).zip(tensors(&written)) {
        if name.contains("num_batches_tracked") {
            continue;
        }
        let (before, recorded, written) = (flat(before), flat(&recorded), flat(&written));
        if !name.contains("running") {
            assert_eq!(before, written, "{name}");
            continue;
        }
        moved += usize::from(before != written);
        // What was recorded is nine tenths of the statistics before and one of the batch's.
        for ((before, recorded), written) in before.iter().zip(recorded).zip(written) {
            let of_batch = (recorded - 0.9 * before) / 0.1;
            assert!((written - of_batch).abs() < 1e-4 * (1.0 + before.abs() + of_batch.abs()), "{name}");
        }
    }
    assert_eq!(moved, 40, "mean and variance of each of twenty batch norms");
    let checkpoint = Checkpoint::read(checkpoints(&folder).last().expect("a checkpoint")).expect("reads");
    let kept = checkpoint.into_conductor(4).expect("a conductor");
    assert_eq!(values(kept.backbone().params()), values(trained.params()));
}

#[test]
fn the_learning_rate_falls_where_its_share_of_the_run_is_reached() {
    let (_keep, folder) = scratch();
    let settings = ["optimizer.decay_at=[0.3, 0.75]", "optimizer.gamma=0.5", "optimizer.lr=5.12"];
    let mut run = begin(&folder, &settings);
    // Scaled linearly with the batch: 5.12 · 24 / 512. Of 8 iterations 3 (2.4 rounded up) and 6 come before.
    let mut rates = Vec::new();
    while let Some(progress) = run.advance().expect("an iteration") {
        rates.push(progress.report.expect("trained").lr);
    }
    let expected = [0.24, 0.24, 0.24, 0.12, 0.12, 0.12, 0.06, 0.06];
    assert!(rates.len() == 8 && rates.iter().zip(expected).all(|(rate, is)| (rate - is).abs() < 1e-12), "{rates:?}");
}

#[test]
fn a_last_batch_of_one_image_is_left_out() {
    let iterations = |images: usize| {
        let (_keep, folder) = scratch();
        begin(&folder, &[&format!("data.shapes_images={images}")]).iterations_per_epoch()
    };
    assert_eq!((iterations(96), iterations(97), iterations(98)), (4, 4, 5));
}

#[test]
fn the_first_clustering_can_see_normalised_features() {
    let running = |settings: &[&str]| {
        let (_keep, folder) = scratch();
        let run = begin(&folder, settings);
        let params = trainer(&run).network().params().named_tensors().expect("tensors");
        let (_, variance) = params.into_iter().find(|(name, _)| name == "neck.bn0.running_var").expect("the neck's");
        (variance.to_vec1::<f32>().expect("f32"), trainer(&run).memory().features().to_vec())
    };
    let (as_fresh, features) = running(&[]);
    assert_eq!(as_fresh, [1.0; 16]);
    let (filled, others) = running(&["memory.initial_features=train_statistics"]);
    assert!(filled.iter().all(|variance| *variance != 1.0 && *variance > 0.0), "{filled:?}");
    assert_ne!(features, others);
}

#[test]
fn a_loss_that_is_no_number_stops_or_is_left_out() {
    let (_keep, folder) = scratch();
    let mut run = begin(&folder, &[]);
    advance(&mut run, 3);
    fill(&run, "head.fc_cls.weight", f32::NAN);
    let said = failure(&mut run);
    assert!(said.contains("iteration 4") && said.contains("newest checkpoint is of iteration 2"), "{said}");

    let (_keep, folder) = scratch();
    let settings = ["training.on_nan=warn", "training.epochs=9", "training.checkpoint_every=100"];
    let mut run = begin(&folder, &settings);
    fill(&run, "head.fc_cls.weight", f32::NAN);
    let (labels, _) = state(&run);
    for _ in 0..9 {
        let progress = run.advance().expect("goes on").expect("not the end");
        assert!(progress.report.is_none() && progress.warnings[0].contains("left out"), "{progress:?}");
    }
    assert_eq!(state(&run).0, labels);
    // Ten in a row are no accident.
    assert!(failure(&mut run).contains("newest checkpoint is of iteration 0"));
}

#[test]
fn dead_features_warn_or_stop() {
    let kill = |run: &Run| {
        fill(run, "neck.fc1.weight", 0.0);
        fill(run, "neck.fc1.bias", -1.0);
    };
    let (_keep, folder) = scratch();
    let mut run = begin(&folder, &[]);
    kill(&run);
    let warnings = run.advance().expect("goes on").expect("not the end").warnings;
    assert!(warnings.iter().any(|warning| warning.contains("zero in every dimension")), "{warnings:?}");

    let (_keep, folder) = scratch();
    let mut run = begin(&folder, &["training.on_collapse=stop"]);
    advance(&mut run, 3);
    let before = checkpoints(&folder);
    kill(&run);
    let said = failure(&mut run);
    assert!(said.contains("on_collapse") && said.contains("zero in every dimension"), "{said}");
    assert!(said.contains("newest checkpoint is of iteration 2"), "{said}");
    assert_eq!(checkpoints(&folder), before);
}

#[test]
fn images_that_vanish_are_listed_once_and_too_many_of_them_stop_the_run() {
    let (keep, folder) = scratch();
    let images = keep.path().join("images");
    std::fs::create_dir(&images).expect("a folder");
    for image in 0..40 {
        std::fs::write(images.join(format!("{image:02}.bmp")), odc_testkit::bmp(16, image)).expect("writes");
    }
    std::fs::write(images.join("40.bmp"), b"no picture").expect("writes");
    let path = format!("data.path={}", images.display());
    let settings = [&path, "data.sampling=permutation", "training.batch_size=20", "data.max_bad_share=0.05"];
    let mut run = begin(&folder, &settings);
    assert_eq!(run.n_samples(), 40);
    // With the one that was bad from the start 2 of 41: 4.9 %.
    std::fs::remove_file(images.join("07.bmp")).expect("removes");
    let mut warnings = Vec::new();
    while let Some(progress) = run.advance().expect("goes on") {
        warnings.extend(progress.warnings.into_iter().filter(|warning| warning.contains("can no longer be read")));
    }
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("07.bmp"), "{warnings:?}");
    let skipped = std::fs::read_to_string(folder.join("skipped.csv")).expect("reads");
    let listed: Vec<_> = skipped.lines().skip(1).map(|line| line.split(',').next().expect("a cell")).collect();
    assert_eq!(listed, ["40", "7"]);

    let mut run = begin(&keep.path().join("second"), &[&settings[..], &["data.max_bad_share=0.1"]].concat());
    for image in 10..20 {
        std::fs::remove_file(images.join(format!("{image}.bmp"))).expect("removes");
    }
    let error = loop {
        match run.advance() {
            Ok(progress) => assert!(progress.is_some(), "a quarter is gone"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("of 40 images cannot be decoded") && error.contains("max_bad_share"), "{error}");
}

#[test]
fn a_single_class_is_nothing_to_score() {
    let (keep, folder) = scratch();
    let write = |class: &str, image: u64| {
        let class = keep.path().join("images").join(class);
        std::fs::create_dir_all(&class).expect("a folder");
        std::fs::write(class.join(format!("{image}.bmp")), odc_testkit::bmp(16, image)).expect("writes");
    };
    (0..40).for_each(|image| write("only", image));
    let path = format!("data.path={}", keep.path().join("images").display());
    let settings = [&path, "evaluation.images=100", "training.batch_size=20"];
    let run = begin(&folder, &settings);
    assert_eq!((run.before().knn, run.before().nmi), (None, None));
    write("another", 40);
    let run = begin(&keep.path().join("second"), &settings);
    assert!(run.before().knn.is_some() && run.before().nmi.is_some());
}
