//! What a network promises besides its numbers: order and shapes, seeds, modes, counters, threads.

use candle_core::{Device, Result, Tensor, Var};
use odc_model::{Architecture, Backbone, BackboneConfig, Dropout, Head, Mode, Neck, NeckConfig, Network, Stem};

const DEVICE: Device = Device::Cpu;
const TINY_NECK: NeckConfig = NeckConfig { hidden: 12, dim: 8, dropout: 0.5, batch_norm_momentum: 0.001 };

fn tiny(arch: Architecture, stem: Stem) -> BackboneConfig {
    BackboneConfig { arch, width: 4, stem, sobel: false }
}

#[test]
fn every_resnet_and_stem_has_five_stages_of_the_expected_shape() -> Result<()> {
    for (arch, expansion) in [(Architecture::ResNet18, 1), (Architecture::ResNet34, 1), (Architecture::ResNet50, 4)] {
        for (stem, side) in
            [(Stem::Imagenet, [16, 8, 4, 2, 1]), (Stem::Cifar, [32, 32, 16, 8, 4]), (Stem::Small, [16, 16, 8, 4, 2])]
        {
            let network = Backbone::new(&tiny(arch, stem), 0, &DEVICE)?;
            let maps = network.stages(&images(2, 32)?, Mode::Eval)?;
            let shapes = maps.iter().map(|map| map.dims().to_vec()).collect::<Vec<_>>();
            let channels = [4, 4, 8, 16, 32].map(|planes| planes * expansion);
            let expected = (0..5)
                .map(|stage| vec![2, side[stage], side[stage], if stage == 0 { 4 } else { channels[stage] }])
                .collect::<Vec<_>>();
            assert_eq!(shapes, expected, "{arch} {stem}");
            assert_eq!(network.forward(&images(2, 32)?, Mode::Eval, Dropout::Off)?.dims(), [2, network.out_dim()]);
        }
    }
    Ok(())
}

#[test]
fn alexnet_s_stages_follow_its_convolutions_and_its_vector_has_one_length_for_every_side() -> Result<()> {
    let shapes = |maps: &[Tensor]| maps.iter().map(|map| (map.dims()[1], map.dims()[3])).collect::<Vec<_>>();
    for (stem, side, sides) in [
        (Stem::Imagenet, 224, [55, 27, 13, 13, 13]),
        (Stem::Imagenet, 63, [15, 7, 3, 3, 3]),
        (Stem::Small, 32, [16, 7, 3, 3, 3]),
        (Stem::Small, 29, [15, 7, 3, 3, 3]),
        (Stem::Cifar, 32, [32, 15, 7, 7, 7]),
        (Stem::Cifar, 15, [15, 7, 3, 3, 3]),
    ] {
        for sobel in [false, true] {
            let network = Backbone::new(&BackboneConfig { sobel, ..tiny(Architecture::AlexNet, stem) }, 0, &DEVICE)?;
            let expected = sides.into_iter().zip([6, 16, 24, 24, 16]).collect::<Vec<_>>();
            assert_eq!(shapes(&network.stages(&images(1, side)?, Mode::Eval)?), expected, "{stem} {side}");
            let vector = network.forward(&images(1, side)?, Mode::Eval, Dropout::Off)?;
            assert_eq!((vector.dims(), network.out_dim()), (&[1, 256][..], 256));
        }
        let network = Backbone::new(&tiny(Architecture::AlexNet, stem), 0, &DEVICE)?;
        if sides[0] == 15 {
            let said = message(network.forward(&images(1, side - 1)?, Mode::Eval, Dropout::Off).map(drop));
            assert!(said.contains(&format!("at least {side} pixels")), "{said}");
        }
    }
    let said = message(
        Backbone::new(&BackboneConfig { width: 5, ..tiny(Architecture::AlexNet, Stem::Cifar) }, 0, &DEVICE).map(drop),
    );
    assert!(said.contains("even"), "{said}");
    Ok(())
}

#[test]
fn alexnet_s_dropout_is_that_of_its_plain_twin_and_evaluation_has_none() -> Result<()> {
    let network = Backbone::new(&tiny(Architecture::AlexNet, Stem::Cifar), 3, &DEVICE)?;
    let input = images(3, 23)?;
    // The last map in training: batch norm of these images.
    let map = odc_ops::max_pool2d(&network.stages(&input, Mode::Train)?[4], 3, 2, 0)?;
    let mask = |place: &str, length: usize, seed: u64| -> Result<Tensor> {
        let ones = Tensor::ones((3, length), candle_core::DType::F32, &DEVICE)?;
        odc_ops::dropout(&ones, 0.5, odc_ops::random::key(seed, place, 0))
    };
    let layer = |name: &str, x: &Tensor| -> Result<Tensor> {
        let var = |part: &str| {
            let entry = network.params().get(&format!("classifier.{name}.{part}"));
            entry.and_then(|entry| entry.trainable()).expect("a parameter").clone()
        };
        odc_ops::relu(&odc_ops::linear(x, &var("weight"), Some(&var("bias")))?)
    };
    let twin = |seed: u64| -> Result<Vec<f32>> {
        let flat = (odc_ops::adaptive_average_rows(&map, 6)? * mask("classifier.0", 576, seed)?)?;
        let hidden = (layer("1", &flat)? * mask("classifier.3", 256, seed)?)?;
        values(&layer("4", &hidden)?)
    };
    let trained = |dropout| values(&network.forward(&input, Mode::Train, dropout)?);
    assert_eq!(trained(Dropout::Seed(9))?, twin(9)?);
    assert_ne!(trained(Dropout::Seed(9))?, trained(Dropout::Seed(10))?);
    assert_ne!(trained(Dropout::Seed(9))?, trained(Dropout::Off)?);
    let evaluated = |dropout| values(&network.forward(&input, Mode::Eval, dropout)?);
    assert_eq!(evaluated(Dropout::Seed(9))?, evaluated(Dropout::Off)?);
    Ok(())
}

#[test]
fn sobel_s_filters_are_saved_and_never_trained() -> Result<()> {
    let config = BackboneConfig { sobel: true, ..tiny(Architecture::AlexNet, Stem::Cifar) };
    let network = Network::new(&config, &TINY_NECK, 5, 0, &DEVICE)?;
    let names = network.backbone.params().names().filter(|name| name.starts_with("sobel.")).collect::<Vec<_>>();
    assert_eq!(names, ["sobel.0.weight", "sobel.0.bias", "sobel.1.weight", "sobel.1.bias"]);
    for name in names {
        assert!(network.backbone.params().get(name).expect("an entry").trainable().is_none(), "{name}");
    }
    let features = network.features(&images(4, 23)?, Mode::Train, Dropout::Seed(1))?;
    let gradients = odc_ops::backward(&features.sqr()?.sum_all()?)?;
    for parameter in network.backbone.params().trainable() {
        assert!(gradients.get(&parameter).is_some(), "every trained parameter has a gradient");
    }
    Ok(())
}

#[test]
fn parameter_counts_are_those_of_torchvision_and_deepcluster() -> Result<()> {
    // torchvision's counts without fc.
    for (arch, count) in [
        (Architecture::ResNet18, 11_176_512),
        (Architecture::ResNet34, 21_284_672),
        (Architecture::ResNet50, 23_508_032),
    ] {
        let config = BackboneConfig { arch, ..BackboneConfig::default() };
        assert_eq!(Backbone::new(&config, 0, &DEVICE)?.params().parameter_count(), count, "{arch}");
    }
    // A quarter of DeepCluster's widths, its classifier without top_layer: convolutions, batch norms, linear layers.
    let config = BackboneConfig { arch: Architecture::AlexNet, width: 16, ..BackboneConfig::default() };
    assert_eq!(Backbone::new(&config, 0, &DEVICE)?.params().parameter_count(), 3_651_600);
    Ok(())
}

#[test]
fn initial_weights_have_the_stated_deviations_and_follow_the_seed() -> Result<()> {
    let network = Network::new(
        &BackboneConfig { width: 16, ..BackboneConfig::default() },
        &NeckConfig::default(),
        500,
        7,
        &DEVICE,
    )?;
    let deviation = |name: &str| -> Result<f64> {
        let values = values(&network.params().get(name).expect(name).to_file_layout()?)?;
        Ok((values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / values.len() as f64).sqrt())
    };
    for (name, expected) in [
        ("backbone.layer4.1.conv2.weight", (2.0_f64 / (128.0 * 9.0)).sqrt()),
        ("backbone.layer4.0.downsample.0.weight", (2.0_f64 / 128.0).sqrt()),
        ("neck.fc0.weight", (2.0_f64 / 128.0).sqrt()),
        ("neck.fc1.weight", (2.0_f64 / 512.0).sqrt()),
        ("head.fc_cls.weight", 0.01),
    ] {
        let found = deviation(name)?;
        assert!((found / expected - 1.0).abs() < 0.03, "{name}: {found} where {expected} is expected");
    }
    assert_eq!(deviation("neck.fc0.bias")?, 0.0);
    assert_eq!(deviation("backbone.bn1.weight")?, 1.0);

    let config = tiny(Architecture::ResNet50, Stem::Small);
    let weights = |seed| -> Result<Vec<Vec<f32>>> { all(Backbone::new(&config, seed, &DEVICE)?.params()) };
    assert_eq!(weights(1)?, weights(1)?);
    assert_ne!(weights(1)?, weights(2)?);
    // Two layers of one shape differ.
    let network = Backbone::new(&config, 1, &DEVICE)?;
    let of = |name: &str| values(&network.params().get(name).expect(name).to_file_layout()?);
    assert_ne!(of("layer1.1.conv2.weight")?, of("layer1.2.conv2.weight")?);
    Ok(())
}

#[test]
fn a_network_s_names_are_its_parts_names_with_prefixes() -> Result<()> {
    let network = Network::new(&tiny(Architecture::ResNet18, Stem::Cifar), &TINY_NECK, 5, 0, &DEVICE)?;
    let names = network.params().names().collect::<Vec<_>>();
    assert_eq!(names[..3], ["backbone.conv1.weight", "backbone.bn1.weight", "backbone.bn1.bias"]);
    let after_backbone = network.backbone.params().entries().len();
    assert_eq!(
        names[after_backbone..],
        [
            "neck.fc0.weight",
            "neck.fc0.bias",
            "neck.bn0.running_mean",
            "neck.bn0.running_var",
            "neck.bn0.num_batches_tracked",
            "neck.fc1.weight",
            "neck.fc1.bias",
            "head.fc_cls.weight",
            "head.fc_cls.bias",
        ]
    );
    // The tensors are shared, not copied.
    network.params().set("head.fc_cls.bias", &Tensor::ones(5, candle_core::DType::F32, &DEVICE)?)?;
    let bias = network.head.params().get("fc_cls.bias").expect("a bias").to_file_layout()?;
    assert_eq!(values(&bias)?, [1.0; 5]);
    Ok(())
}

#[test]
fn setting_another_shape_names_the_parameter_and_both_shapes() -> Result<()> {
    let network = Backbone::new(&tiny(Architecture::ResNet18, Stem::Cifar), 0, &DEVICE)?;
    let tensor = Tensor::zeros((4, 4, 1, 1), candle_core::DType::F32, &DEVICE)?;
    let message = network.params().set("layer1.0.conv1.weight", &tensor).expect_err("shapes differ").to_string();
    assert!(message.contains("layer1.0.conv1.weight"), "{message}");
    assert!(message.contains("[4, 4, 3, 3]") && message.contains("[4, 4, 1, 1]"), "{message}");
    let message = network.params().set("layer9.weight", &tensor).expect_err("no such name").to_string();
    assert!(message.contains("layer9.weight"), "{message}");
    Ok(())
}

#[test]
fn evaluation_builds_no_graph_and_changes_nothing() -> Result<()> {
    let network = Network::new(&tiny(Architecture::ResNet18, Stem::Small), &TINY_NECK, 5, 0, &DEVICE)?;
    let before = all(network.params())?;
    let features = network.features(&images(2, 16)?, Mode::Eval, Dropout::Seed(3))?;
    assert!(!features.track_op(), "no gradient graph");
    assert_eq!(before, all(network.params())?);
    // Dropout is off in evaluation, whatever is given.
    assert_eq!(values(&features)?, values(&network.features(&images(2, 16)?, Mode::Eval, Dropout::Off)?)?);
    // An input that is a variable still gets its gradient.
    let input = Var::from_tensor(&images(2, 16)?)?;
    let loss = network.backbone.forward(&input, Mode::Eval, Dropout::Off)?.sum_all()?;
    let gradients = loss.backward()?;
    assert!(gradients.get(&input).is_some());
    let weight = network.backbone.params().trainable().remove(0);
    assert!(gradients.get(&weight).is_none());
    Ok(())
}

#[test]
fn training_forwards_are_counted_and_move_running_statistics() -> Result<()> {
    let network = Backbone::new(&tiny(Architecture::ResNet50, Stem::Small), 0, &DEVICE)?;
    let before = all(network.params())?;
    for _ in 0..3 {
        network.forward(&images(2, 32)?, Mode::Train, Dropout::Off)?;
    }
    for (entry, before) in network.params().entries().iter().zip(before) {
        let now = values(&entry.to_file_layout()?)?;
        if entry.name().ends_with("num_batches_tracked") {
            assert_eq!(now, [3.0], "{}", entry.name());
        } else {
            assert_eq!(now == before, entry.trainable().is_some(), "{}", entry.name());
        }
    }
    Ok(())
}

#[test]
fn accumulated_statistics_are_the_mean_over_batches() -> Result<()> {
    let make = || Network::new(&tiny(Architecture::ResNet18, Stem::Cifar), &TINY_NECK, 5, 0, &DEVICE);
    let batches = [images(3, 8)?, (images(3, 8)? * 2.0)?, (images(3, 8)? + 1.0)?];
    let accumulated = make()?;
    for (earlier, batch) in batches.iter().enumerate() {
        accumulated.accumulate_statistics(batch, earlier as u64)?;
    }
    let name = "neck.bn0.running_var";
    let mut expected = vec![0.0_f32; 12];
    for batch in &batches {
        // One batch alone, with what was there forgotten.
        let alone = make()?;
        alone.accumulate_statistics(batch, 0)?;
        let variance = values(&alone.params().get(name).expect(name).to_file_layout()?)?;
        expected.iter_mut().zip(variance).for_each(|(sum, value)| *sum += value / 3.0);
    }
    let found = values(&accumulated.params().get(name).expect(name).to_file_layout()?)?;
    odc_testkit::assert_close(name, &found, &expected, 1e-5);
    let count = accumulated.params().get("neck.bn0.num_batches_tracked").expect("a counter").to_file_layout()?;
    assert_eq!(count.to_scalar::<i64>()?, 3);
    Ok(())
}

#[test]
fn one_thread_and_three_give_the_same_bits() -> Result<()> {
    for (arch, stem) in [(Architecture::ResNet18, Stem::Imagenet), (Architecture::ResNet50, Stem::Small)] {
        let run = || -> Result<Vec<Vec<f32>>> {
            let config = BackboneConfig { arch, width: 8, stem, sobel: false };
            let network = Network::new(&config, &TINY_NECK, 5, 3, &DEVICE)?;
            let features = network.features(&images(5, 40)?, Mode::Train, Dropout::Seed(9))?;
            let logits = network.head.forward(&features)?;
            let labels = Tensor::from_vec(vec![0_u32, 1, 2, 3, 4], 5, &DEVICE)?;
            let weights = Tensor::from_vec(vec![0.1_f32, 0.2, 0.3, 0.2, 0.2], 5, &DEVICE)?;
            let loss = odc_ops::weighted_cross_entropy(&logits, &labels, &weights)?;
            let gradients = loss.backward()?;
            let mut found = vec![values(&features)?, values(&loss)?];
            for var in network.params().trainable() {
                found.push(values(gradients.get(&var).expect("a gradient"))?);
            }
            found.extend(all(network.params())?);
            Ok(found)
        };
        let on = |threads: usize| {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool").install(run)
        };
        let (one, three) = (on(1)?, on(3)?);
        assert!(bits(&one) == bits(&three), "{arch} {stem}");
    }
    Ok(())
}

#[test]
fn a_whole_tiny_network_s_gradient_is_its_slope() -> Result<()> {
    let network = Backbone::new(&tiny(Architecture::ResNet50, Stem::Cifar), 0, &DEVICE)?;
    let input = images(4, 32)?;
    let loss = || -> Result<Tensor> {
        let vector = network.forward(&input, Mode::Train, Dropout::Off)?;
        let projection = Tensor::from_vec(odc_testkit::formula(5, vector.elem_count()), vector.shape(), &DEVICE)?;
        (vector * projection)?.sum_all()
    };
    let gradients = loss()?.backward()?;
    // Along its own gradient a parameter moves the loss by step · |gradient|². Relu's kinks ask for a small step, f32 for a
    // large one: the median over steps between them is good to 3 %.
    for name in ["layer4.2.conv3.weight", "layer4.0.downsample.1.weight", "layer3.0.bn2.bias", "layer1.0.conv2.weight"]
    {
        let var = network.params().get(name).and_then(|entry| entry.trainable()).expect(name);
        let gradient = gradients.get(var).expect(name);
        let square = gradient.sqr()?.sum_all()?.to_scalar::<f32>()? as f64;
        let start = var.as_detached_tensor().copy()?;
        let at = |step: f64| -> Result<f64> {
            var.set(&(&start + (gradient * step)?)?)?;
            Ok(f64::from(loss()?.to_scalar::<f32>()?))
        };
        let mut slopes = Vec::new();
        for length in [0.75e-5, 1.5e-5, 3e-5, 6e-5, 12e-5] {
            let step = length / square.sqrt();
            slopes.push((at(step)? - at(-step)?) / (2.0 * step * square));
        }
        slopes.sort_by(f64::total_cmp);
        let slope = slopes[2];
        var.set(&start)?;
        assert!((slope - 1.0).abs() < 0.03, "{name}: the slope is {slope} of the gradient");
    }
    Ok(())
}

#[test]
fn a_head_drawn_anew_with_its_first_seed_is_the_first_head() -> Result<()> {
    let head = Head::new(8, 5, 1, &DEVICE)?;
    let first = all(head.params())?;
    head.reset(2)?;
    assert_ne!(first, all(head.params())?);
    head.reset(1)?;
    assert_eq!(first, all(head.params())?);
    Ok(())
}

#[test]
fn impossible_requests_say_what_to_change() -> Result<()> {
    let network = Backbone::new(&tiny(Architecture::ResNet18, Stem::Imagenet), 0, &DEVICE)?;
    let channels_first = Tensor::zeros((2, 3, 32, 32), candle_core::DType::F32, &DEVICE)?;
    let said = message(network.forward(&channels_first, Mode::Eval, Dropout::Off).map(drop));
    assert!(said.contains("[N, height, width, 3]") && said.contains("[2, 3, 32, 32]"), "{said}");
    let said = message(network.forward(&images(1, 32)?, Mode::Train, Dropout::Off).map(drop));
    assert!(said.contains("larger batch"), "{said}");
    let said = message(Backbone::new(&BackboneConfig { width: 0, ..BackboneConfig::default() }, 0, &DEVICE).map(drop));
    assert!(said.contains("width is 0"), "{said}");
    let said = message(Neck::new(8, &NeckConfig { dropout: 1.0, ..TINY_NECK }, 0, &DEVICE).map(drop));
    assert!(said.contains("dropout is 1"), "{said}");
    let said = message(Head::new(8, 0, 0, &DEVICE).map(drop));
    assert!(said.contains("n_clusters is 0"), "{said}");
    Ok(())
}

fn images(n: usize, side: usize) -> Result<Tensor> {
    Tensor::from_vec(odc_testkit::formula(11, n * side * side * 3), (n, side, side, 3), &DEVICE)
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.detach().to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1::<f32>()
}

fn message(result: Result<()>) -> String {
    result.expect_err("refused").to_string()
}

fn all(params: &odc_model::Params) -> Result<Vec<Vec<f32>>> {
    params.named_tensors()?.iter().map(|(_, tensor)| values(tensor)).collect()
}

fn bits(tensors: &[Vec<f32>]) -> Vec<Vec<u32>> {
    tensors.iter().map(|values| values.iter().map(|value| value.to_bits()).collect()).collect()
}
