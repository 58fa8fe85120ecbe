//! Whole iterations of Online Deep Clustering against PyTorch: 20 in a row, by both rules, with no augmentation and the
//! dropout masks given. What is compared, and how it was made: `tests/golden/make/iterations.py`.

use candle_core::{Device, Tensor};
use odc_data::Batch;
use odc_memory::Memory;
use odc_model::{Dropout, Mode, Network, Params};
use odc_testkit::{Golden, assert_close, formula};
use odc_trainer::{Recipe, StepOutcome, Trainer};

/// Relative tolerance of the loss of every iteration.
const LOSS: f32 = 1e-4;
/// Tolerance of everything else, relative to a tensor's largest value.
const VALUES: f32 = 1e-3;

#[test]
fn twenty_iterations_by_the_paper_s_rule() {
    twenty_iterations("paper");
}

#[test]
fn twenty_iterations_by_the_reference_s_rule() {
    twenty_iterations("reference");
}

fn twenty_iterations(rule: &str) {
    let golden = Golden::open(&format!("iterations_{rule}"));
    let mut trainer = trainer(rule, &golden);
    assert_close("loss weights", &trainer.memory().loss_weights(0.5), &golden.f32("initial_loss_weights"), VALUES);
    assert_close("centroids", trainer.memory().centroids(), &golden.f32("initial_centroids"), VALUES);

    let n_samples = golden.shape("images")[0];
    let [iterations, batch_size] = golden.shape("indices")[..] else { panic!("indices are a matrix") };
    let (indices, images) = (golden.u32("indices"), golden.u8("images"));
    let image_bytes = images.len() / n_samples;
    let (losses, change_ratios) = (golden.f32("loss"), golden.f32("change_ratio"));
    let (labels, handled) = (golden.u32("labels_after"), golden.u32("handled"));
    let centroids = golden.f32("centroids_after");
    for iteration in 0..iterations {
        let indices = indices[iteration * batch_size..][..batch_size].to_vec();
        let image = |index: &u32| &images[*index as usize * image_bytes..][..image_bytes];
        let batch = Batch {
            pixels: indices.iter().flat_map(image).copied().collect(),
            indices,
            side: golden.shape("images")[1],
            skipped: Vec::new(),
        };
        let mask = mask(iteration, batch_size);
        let outcome = trainer.step_with_dropout(&batch, Dropout::Mask(&mask)).expect("a step");
        let StepOutcome::Done(report) = outcome else { panic!("iteration {iteration}: not finite") };

        let error = (report.loss - losses[iteration]).abs() / losses[iteration];
        assert!(error <= LOSS, "iteration {iteration}: loss {} for {}", report.loss, losses[iteration]);
        assert_eq!(report.change_ratio, Some(change_ratios[iteration]), "iteration {iteration}");
        assert_eq!(
            report.small_clusters.map(|small| small.handled as u32),
            Some(handled[iteration]),
            "iteration {iteration}"
        );
        let memory = trainer.memory();
        assert_eq!(memory.labels(), &labels[iteration * n_samples..][..n_samples], "iteration {iteration}");
        let expected = &centroids[iteration * memory.centroids().len()..][..memory.centroids().len()];
        assert_close("centroids", memory.centroids(), expected, VALUES);
        if iteration == 0 || iteration + 1 == iterations {
            compare_weights(trainer.network().params(), &golden, iteration + 1);
        }
    }
    assert!(handled.iter().sum::<u32>() > 0, "the case has small clusters");
    assert_close("features", trainer.memory().features(), &golden.f32("features_end"), VALUES);
}

/// Backbone, neck and head by the formula, the memories from the golden start.
fn trainer(rule: &str, golden: &Golden) -> Trainer {
    let recipe = format!(
        r#"
        [data]
        side = 12
        [model]
        arch = "resnet18"
        width = 16
        stem = "small"
        hidden = 64
        dim = 32
        [memory]
        clusters = 10
        min_cluster = 7
        rule = "{rule}"
        [optimizer]
        lr = 0.016
        decay_at = []
        [training]
        batch_size = 32
        "#
    );
    let recipe = Recipe::from_toml("of the test", &recipe, &[]).expect("a recipe");
    let network = Network::new(&recipe.model.backbone(), &recipe.model.neck(), recipe.n_clusters(), 0, &Device::Cpu)
        .expect("a network");
    fill_backbone(network.backbone.params(), 4000);
    fill_neck_and_head(&network, 5000);

    let features = golden.f32("initial_features");
    let extracted = initial_features(&recipe, &network, golden);
    assert_close("initial features", &extracted, &features, VALUES);
    let memory = Memory::new(recipe.memory_config(), features, golden.u32("initial_labels")).expect("memories");
    Trainer::new(&recipe, network, memory, 20).expect("a trainer")
}

fn initial_features(recipe: &Recipe, network: &Network, golden: &Golden) -> Vec<f32> {
    let pixels = Tensor::from_vec(golden.u8("images"), golden.shape("images"), &Device::Cpu).expect("pixels");
    let images = odc_ops::normalize_pixels(&pixels, recipe.data.mean, recipe.data.std).expect("images");
    let features = network.features(&images, Mode::Eval, Dropout::Off).expect("features");
    features.flatten_all().and_then(|flat| flat.to_vec1()).expect("values")
}

/// `fill` of `tests/golden/make/golden.py`: entry i of the state dict, counters left out, from `formula(base + i)`.
fn fill_backbone(params: &Params, base: u64) {
    let counted = params.entries().iter().filter(|entry| !entry.name().ends_with("num_batches_tracked"));
    for (position, entry) in counted.enumerate() {
        let shape = entry.file_shape();
        let values = formula(base + position as u64, shape.iter().product());
        let fan_in: usize = shape[1..].iter().product();
        let scale = (3.0 / fan_in as f64).sqrt() as f32;
        let name = entry.name();
        let value = |v: f32| match shape.len() {
            1 if name.ends_with("running_var") || name.ends_with("weight") => 1.0 + v / 2.0,
            1 => v / 10.0,
            _ => v * scale,
        };
        let values: Vec<f32> = values.into_iter().map(value).collect();
        let tensor = Tensor::from_vec(values, shape.clone(), &Device::Cpu).expect("a tensor");
        params.set(name, &tensor).expect("the entry");
    }
}

/// `network` of `tests/golden/make/iterations.py`.
fn fill_neck_and_head(network: &Network, base: u64) {
    let scale = |fan_in: usize| (6.0 / fan_in as f64).sqrt() as f32;
    let backbone_width = network.backbone.out_dim();
    let plan = [
        (network.neck.params(), "fc0.weight", scale(backbone_width)),
        (network.neck.params(), "fc0.bias", 0.1),
        (network.neck.params(), "fc1.weight", scale(64)),
        (network.neck.params(), "fc1.bias", 0.1),
        (network.head.params(), "fc_cls.weight", 0.1),
        (network.head.params(), "fc_cls.bias", 0.1),
    ];
    for (position, (params, name, scale)) in plan.into_iter().enumerate() {
        let entry = params.get(name).unwrap_or_else(|| panic!("{name} is a parameter"));
        let shape = entry.file_shape();
        let values = formula(base + position as u64, shape.iter().product());
        let values: Vec<f32> = values.into_iter().map(|v| v * scale).collect();
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor");
        params.set(name, &tensor).expect("the entry");
    }
}

/// 2 where the formula is positive, else 0.
fn mask(iteration: usize, batch_size: usize) -> Tensor {
    let values = formula(6000 + iteration as u64, batch_size * 64);
    let values: Vec<f32> = values.into_iter().map(|v| if v > 0.0 { 2.0 } else { 0.0 }).collect();
    Tensor::from_vec(values, (batch_size, 64), &Device::Cpu).expect("a mask")
}

fn compare_weights(params: &Params, golden: &Golden, after: usize) {
    let suffix = format!("_{after}");
    let compared = golden.names().into_iter().filter(|name| name.contains('.') && name.ends_with(&suffix));
    let mut count = 0;
    for golden_name in compared {
        let name =
            golden_name.trim_end_matches(&suffix).replace("neck.bn.", "neck.bn0.").replace("head.", "head.fc_cls.");
        let (name, first_channels) = match name.strip_suffix("[:4]") {
            Some(name) => (name.to_owned(), Some(4)),
            None => (name, None),
        };
        let entry = params.get(&name).unwrap_or_else(|| panic!("{name} is a parameter"));
        let mut tensor = entry.to_file_layout().expect("a tensor");
        if let Some(channels) = first_channels {
            tensor = tensor.narrow(0, 0, channels).expect("channels");
        }
        let actual: Vec<f32> = tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("values");
        assert_close(&golden_name, &actual, &golden.f32(&golden_name), VALUES);
        count += 1;
    }
    assert!(count >= 15, "{count} tensors were compared");
}
