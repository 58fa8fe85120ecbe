//! Weights as other programs write them: every file of tests/golden/foreign fills one network with the same bits.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Result, Tensor};
use odc_model::weights::{self, LoadOptions, LoadReport};
use odc_model::{Architecture, Backbone, BackboneConfig, Dropout, Mode, Stem};
use odc_testkit::golden_directory;

const CONFIG: BackboneConfig =
    BackboneConfig { arch: Architecture::ResNet18, width: 1, stem: Stem::Small, sobel: false };

fn file(name: &str) -> PathBuf {
    golden_directory().join("foreign").join(name)
}

fn load(path: &Path, options: &LoadOptions) -> Result<(Backbone, LoadReport)> {
    let backbone = Backbone::new(&CONFIG, 5, &Device::Cpu)?;
    let report = weights::load_reported(backbone.params(), path, options)?;
    Ok((backbone, report))
}

fn features(backbone: &Backbone) -> Result<Vec<f32>> {
    let pixels = odc_testkit::formula(1, 3 * 32 * 32 * 3);
    let images = Tensor::from_vec(pixels, (3, 32, 32, 3), &Device::Cpu)?;
    backbone.forward(&images, Mode::Eval, Dropout::Off)?.flatten_all()?.to_vec1()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn every_program_s_file_of_one_network_gives_the_same_bits() -> Result<()> {
    let expected = bits(&features(&load(&file("torchvision.safetensors"), &LoadOptions::default())?.0)?);
    for (name, naming, left_out) in [
        ("torchvision.pth", "the network's own", 2),
        // The momentum encoder's 120, the queue's two, the projection.
        ("moco_legacy.pth", "MoCo's, of the query encoder (behind \"state_dict.module.encoder_q.\")", 123),
        ("mmselfsup.pth", "OpenSelfSup's, mmselfsup's or solo-learn's (behind \"state_dict.backbone.\")", 1),
        ("lightly.pth", "positions in a sequence, as lightly's (behind \"state_dict.backbone.\")", 1),
        ("dino.pth", "DINO's, of the teacher (behind \"teacher.backbone.\")", 120),
        ("swav_parameters.pth", "of a network trained on several GPUs, as SwAV's (behind \"module.\")", 1),
        ("command.pth", "the network's own (behind \"state_dict.\")", 0),
    ] {
        let (backbone, report) = load(&file(name), &LoadOptions::default())?;
        assert!(report.is_complete(), "{name}: {report}");
        assert_eq!((report.naming.as_deref(), report.ignored.len()), (Some(naming), left_out), "{name}: {report}");
        assert_eq!(bits(&features(&backbone)?), expected, "{name}");
        let guess = weights::describe(file(name))?.guess.expect("a known network");
        assert_eq!((guess.arch, guess.width, guess.stem, guess.sobel), (CONFIG.arch, 1, None, false), "{name}");
    }
    Ok(())
}

#[test]
fn half_precision_is_converted() -> Result<()> {
    let (whole, _) = load(&file("torchvision.safetensors"), &LoadOptions::default())?;
    let (half, report) = load(&file("half.pth"), &LoadOptions::default())?;
    assert!(report.is_complete(), "{report}");
    assert_eq!(weights::describe(file("half.pth"))?.tensors[0].dtype, "F16");
    for ((name, whole), (_, half)) in whole.params().named_tensors()?.iter().zip(half.params().named_tensors()?) {
        let rounded = whole.to_dtype(DType::F16)?.to_dtype(whole.dtype())?;
        assert_eq!(values(&rounded)?, values(&half)?, "{name}");
    }
    Ok(())
}

#[test]
fn a_pickle_s_commands_are_not_run() -> Result<()> {
    let folder = std::env::current_dir()?.join("pickle-ran-a-command");
    load(&file("command.pth"), &LoadOptions::default())?;
    let error = load(&file("command_only.pth"), &LoadOptions::default()).expect_err("no weights").to_string();
    assert!(error.contains("command_only.pth") && error.contains("no tensors by name"), "{error}");
    assert!(!folder.exists());
    Ok(())
}

#[test]
fn a_file_cut_or_changed_anywhere_is_refused_or_read_and_never_a_panic() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("damaged.pth");
    for name in ["torchvision.pth", "moco_legacy.pth", "torchvision.safetensors"] {
        let whole = std::fs::read(file(name))?;
        for part in 0..30 {
            std::fs::write(&path, &whole[..whole.len() * part / 30])?;
            assert!(load(&path, &LoadOptions::default()).is_err(), "{name}, {part} thirtieths");
        }
        // The pickle lies near the start.
        for at in (0..whole.len().min(9000)).step_by(97) {
            for value in [0, b'R', 0x8a, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                std::fs::write(&path, &changed)?;
                drop(load(&path, &LoadOptions::default()));
            }
        }
    }
    Ok(())
}

#[test]
fn an_empty_tensor_of_impossible_lengths_is_described() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("empty.safetensors");
    let header = br#"{"a":{"dtype":"F32","shape":[0,9223372036854775807,16],"data_offsets":[0,0]}}   "#;
    std::fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], header].concat())?;
    assert_eq!(weights::describe(&path)?.element_count(), 0);
    let error = load(&path, &LoadOptions::default()).expect_err("no weights").to_string();
    assert!(error.contains("no tensor of the file fits"), "{error}");
    Ok(())
}

#[test]
fn wrong_shapes_are_refused_with_every_name_and_nothing_changes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("wrong.safetensors");
    let mut tensors = candle_core::safetensors::load(file("torchvision.safetensors"), &Device::Cpu)?;
    let names = ["bn1.bias", "bn1.weight", "layer2.0.bn1.bias", "layer4.1.conv2.weight", "layer3.0.conv1.weight"];
    for name in names {
        tensors.insert(name.to_owned(), Tensor::zeros((7, 7), DType::F32, &Device::Cpu)?);
    }
    candle_core::safetensors::save(&tensors, &path)?;
    let backbone = Backbone::new(&CONFIG, 5, &Device::Cpu)?;
    let before = features(&backbone)?;
    let options = LoadOptions { share: 0.0, ..LoadOptions::default() };
    let error = weights::load_reported(backbone.params(), &path, &options).expect_err("wrong shapes").to_string();
    assert!(names.iter().all(|name| error.contains(&format!("{name} is [7, 7] in the file"))), "{error}");
    assert!(error.contains("Nothing was loaded"), "{error}");
    assert_eq!(features(&backbone)?, before);
    Ok(())
}

#[test]
fn a_share_of_the_network_is_enough_where_it_is_asked_for() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("part.safetensors");
    let mut tensors = candle_core::safetensors::load(file("torchvision.safetensors"), &Device::Cpu)?;
    // Counters do not count; ten of the hundred others are those of layer4's second block.
    tensors.retain(|name, _| !name.starts_with("layer4.1.") && !name.ends_with("num_batches_tracked"));
    candle_core::safetensors::save(&tensors, &path)?;
    let error = load(&path, &LoadOptions::default()).expect_err("a part").to_string();
    for name in ["layer4.1.conv1.weight", "layer4.1.bn1.bias", "layer4.1.bn2.running_var"] {
        assert!(error.contains(name), "{error}");
    }
    assert!(error.contains("90.0 % of the network's tensors, 100.0 % are asked for"), "{error}");
    let (_, report) = load(&path, &LoadOptions { share: 0.9, ..LoadOptions::default() })?;
    assert!(!report.is_complete());
    assert_eq!(report.share, 0.9);
    assert!(load(&path, &LoadOptions { share: 0.91, ..LoadOptions::default() }).is_err());
    Ok(())
}

#[test]
fn the_order_of_colours_is_turned_round_where_it_is_said() -> Result<()> {
    let (rgb, _) = load(&file("torchvision.safetensors"), &LoadOptions::default())?;
    let (bgr, _) = load(&file("torchvision.safetensors"), &LoadOptions { bgr: true, ..LoadOptions::default() })?;
    let pixels = odc_testkit::formula(1, 2 * 32 * 32 * 3);
    let turned = pixels.chunks_exact(3).flat_map(|pixel| [pixel[2], pixel[1], pixel[0]]).collect::<Vec<_>>();
    let first_stage = |backbone: &Backbone, pixels: Vec<f32>| -> Result<Vec<f32>> {
        let images = Tensor::from_vec(pixels, (2, 32, 32, 3), &Device::Cpu)?;
        values(&backbone.stages(&images, Mode::Eval)?[0])
    };
    odc_testkit::assert_close("colours", &first_stage(&bgr, turned)?, &first_stage(&rgb, pixels)?, 1e-6);
    assert_ne!(features(&rgb)?, features(&bgr)?);
    let edges = Backbone::new(&BackboneConfig { sobel: true, ..CONFIG }, 0, &Device::Cpu)?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("edges.safetensors");
    weights::save(edges.params(), &path)?;
    let options = LoadOptions { bgr: true, ..LoadOptions::default() };
    let error = weights::load_reported(edges.params(), &path, &options).expect_err("no colours").to_string();
    assert!(error.contains("init_bgr"), "{error}");
    Ok(())
}

#[test]
fn deepcluster_s_wrapped_features_and_top_layer() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("deepcluster.safetensors");
    let config = BackboneConfig { arch: Architecture::AlexNet, width: 2, stem: Stem::Imagenet, sobel: true };
    let source = Backbone::new(&config, 1, &Device::Cpu)?;
    let wrap = |name: String| name.replace("features.", "features.module.");
    let mut tensors = source
        .params()
        .named_tensors()?
        .into_iter()
        .map(|(name, tensor)| (wrap(name), tensor))
        .collect::<std::collections::HashMap<_, _>>();
    tensors.insert("top_layer.weight".to_owned(), Tensor::zeros((5, 128), DType::F32, &Device::Cpu)?);
    candle_core::safetensors::save(&tensors, &path)?;
    let target = Backbone::new(&config, 2, &Device::Cpu)?;
    let report = weights::load_reported(target.params(), &path, &LoadOptions::default())?;
    assert!(report.is_complete(), "{report}");
    assert_eq!(report.naming.as_deref(), Some("DeepCluster's"));
    for ((name, a), (_, b)) in source.params().named_tensors()?.iter().zip(target.params().named_tensors()?) {
        assert_eq!(values(a)?, values(&b)?, "{name}");
    }
    let guess = weights::describe(&path)?.guess.expect("a known network");
    assert_eq!((guess.arch, guess.width, guess.stem, guess.sobel), (config.arch, 2, Some(Stem::Imagenet), true));
    Ok(())
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}
