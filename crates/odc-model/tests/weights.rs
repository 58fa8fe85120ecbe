//! Weight files: exact there and back, and clear about what does not fit.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Result, Tensor};
use odc_model::weights::LoadOptions;
use odc_model::{Architecture, Backbone, BackboneConfig, Dropout, Mode, NeckConfig, Network, Params, Stem, weights};

const DEVICE: Device = Device::Cpu;

fn network(arch: Architecture, width: usize, stem: Stem, seed: u64) -> Result<Backbone> {
    Backbone::new(&BackboneConfig { arch, width, stem, sobel: false }, seed, &DEVICE)
}

#[test]
fn saved_weights_come_back_bit_for_bit_and_equal_weights_make_equal_bytes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (first, second) = (folder.path().join("first.safetensors"), folder.path().join("second.safetensors"));
    let saved = network(Architecture::ResNet50, 4, Stem::Small, 1)?;
    saved.forward(&Tensor::ones((2, 32, 32, 3), candle_core::DType::F32, &DEVICE)?, Mode::Train, Dropout::Off)?;
    weights::save(saved.params(), &first)?;
    let loaded = network(Architecture::ResNet50, 4, Stem::Small, 2)?;
    weights::load_strict(loaded.params(), &first)?;
    assert_eq!(numbers(saved.params())?, numbers(loaded.params())?);
    let count = loaded.params().get("bn1.num_batches_tracked").expect("a counter").to_file_layout()?;
    assert_eq!(count.to_scalar::<i64>()?, 1);
    weights::save(loaded.params(), &second)?;
    assert_eq!(std::fs::read(&first)?, std::fs::read(&second)?);
    let left = std::fs::read_dir(folder.path())?.count();
    assert_eq!(left, 2, "no temporary file stays");
    // The other reader of the format agrees.
    assert_eq!(candle_core::safetensors::load(&first, &DEVICE)?.len(), saved.params().entries().len());
    Ok(())
}

#[test]
fn a_failed_save_leaves_the_old_file_and_names_the_path() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("absent").join("weights.safetensors");
    let saved = network(Architecture::ResNet18, 2, Stem::Cifar, 1)?;
    let message = weights::save(saved.params(), &path).expect_err("no such folder").to_string();
    assert!(message.contains("weights.safetensors"), "{message}");
    // A folder where the file should be: the rename fails, the temporary file goes.
    let occupied = folder.path().join("occupied.safetensors");
    std::fs::create_dir(&occupied)?;
    assert!(weights::save(saved.params(), &occupied).is_err());
    assert_eq!(std::fs::read_dir(folder.path())?.count(), 1);
    Ok(())
}

#[test]
fn a_file_describes_itself_and_shapes_tell_what_a_header_does_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("weights.safetensors");
    let saved = network(Architecture::ResNet34, 4, Stem::Small, 1)?;
    weights::save(saved.params(), &path)?;
    let description = weights::describe(&path)?;
    assert_eq!(description.backbone, Some(*saved.config()));
    assert_eq!(description.metadata["format"], "pt");
    assert_eq!(description.tensors.len(), saved.params().entries().len());
    let guess = description.guess.expect("a known network");
    assert_eq!((guess.arch, guess.width, guess.stem), (Architecture::ResNet34, 4, None));
    assert!(description.to_string().contains("resnet34 of width 4 with stem small"), "{description}");

    write(&path, &renamed(&network(Architecture::ResNet50, 4, Stem::Imagenet, 1)?, |name| format!("module.{name}"))?)?;
    let description = weights::describe(&path)?;
    assert_eq!(description.backbone, None);
    let guess = description.guess.expect("a known network");
    assert_eq!((guess.arch, guess.width, guess.stem), (Architecture::ResNet50, 4, Some(Stem::Imagenet)));
    Ok(())
}

#[test]
fn another_architecture_is_refused_with_one_message_and_nothing_changes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("fifty.safetensors");
    weights::save(network(Architecture::ResNet50, 4, Stem::Small, 1)?.params(), &path)?;
    let target = network(Architecture::ResNet18, 4, Stem::Small, 2)?;
    let before = numbers(target.params())?;
    for message in [
        weights::load_strict(target.params(), &path).expect_err("another network").to_string(),
        weights::load_reported(target.params(), &path, &LoadOptions::default())
            .expect_err("another network")
            .to_string(),
    ] {
        assert!(message.contains("fifty.safetensors"), "{message}");
        assert!(message.contains("the file is resnet50 of width 4"), "{message}");
        assert!(message.contains("the network is resnet18 of width 4"), "{message}");
        assert!(message.contains("Nothing was loaded"), "{message}");
        assert!(message.contains("layer4.2.bn3.bias") && !message.contains("more"), "every name: {message}");
    }
    assert_eq!(before, numbers(target.params())?);
    // Another width is another network too.
    let wide = network(Architecture::ResNet50, 8, Stem::Small, 2)?;
    let message =
        weights::load_reported(wide.params(), &path, &LoadOptions::default()).expect_err("another width").to_string();
    assert!(message.contains("width 4") && message.contains("width 8"), "{message}");
    Ok(())
}

#[test]
fn files_of_no_known_format_are_named_with_advice() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let target = network(Architecture::ResNet18, 2, Stem::Cifar, 1)?;
    let path = folder.path().join("weights.pth");
    for (bytes, said) in [
        (&b"PK\x03\x04 and so on"[..], "damaged archive"),
        (b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", "complete"),
        (b"", "not a safetensors or PyTorch file"),
        (b"\x08\0\0\0\0\0\0\0{\"a\":1}", "right file"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff", "right file"),
    ] {
        std::fs::write(&path, bytes)?;
        for message in [
            weights::load_strict(target.params(), &path).expect_err("no weights").to_string(),
            weights::load_reported(target.params(), &path, &LoadOptions::default())
                .expect_err("no weights")
                .to_string(),
            weights::describe(&path).expect_err("no weights").to_string(),
        ] {
            assert!(message.contains("weights.pth is ") && message.contains(said), "{message}");
        }
    }
    let good = folder.path().join("good.safetensors");
    weights::save(target.params(), &good)?;
    let whole = std::fs::read(&good)?;
    std::fs::write(&path, &whole[..whole.len() - 7])?;
    let message = weights::load_strict(target.params(), &path).expect_err("cut off").to_string();
    assert!(message.contains("complete"), "{message}");
    let message = weights::load_strict(target.params(), folder.path().join("absent")).expect_err("absent").to_string();
    assert!(message.contains("cannot read") && message.contains("absent"), "{message}");
    Ok(())
}

#[test]
fn prefixes_are_stripped_and_classifiers_left_out() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("weights.safetensors");
    let source = network(Architecture::ResNet18, 2, Stem::Cifar, 1)?;
    for prefix in ["", "backbone.", "module.", "module.encoder_q."] {
        let mut tensors = renamed(&source, |name| format!("{prefix}{name}"))?;
        tensors.insert(format!("{prefix}fc.weight"), Tensor::zeros((5, 16), candle_core::DType::F32, &DEVICE)?);
        write(&path, &tensors)?;
        let target = network(Architecture::ResNet18, 2, Stem::Cifar, 2)?;
        weights::load_strict(target.params(), &path)?;
        assert_eq!(numbers(source.params())?, numbers(target.params())?, "{prefix}");
    }
    Ok(())
}

#[test]
fn a_whole_network_s_file_fills_a_backbone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("network.safetensors");
    let config = BackboneConfig { arch: Architecture::ResNet18, width: 2, stem: Stem::Cifar, sobel: false };
    let whole = Network::new(&config, &NeckConfig { hidden: 8, dim: 4, ..NeckConfig::default() }, 3, 1, &DEVICE)?;
    weights::save(whole.params(), &path)?;
    let target = Backbone::new(&config, 2, &DEVICE)?;
    let report = weights::load_reported(target.params(), &path, &LoadOptions::default())?;
    assert!(report.is_complete(), "{report}");
    assert_eq!(report.ignored.len(), 9, "{report}");
    assert_eq!(numbers(whole.backbone.params())?, numbers(target.params())?);
    let again = Network::new(&config, whole.neck.config(), 3, 5, &DEVICE)?;
    weights::load_strict(again.params(), &path)?;
    assert_eq!(numbers(whole.params())?, numbers(again.params())?);
    Ok(())
}

#[test]
fn a_report_tells_missing_and_unexpected_and_another_stem_s_kernel_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("weights.safetensors");
    let mut tensors = renamed(&network(Architecture::ResNet18, 2, Stem::Imagenet, 1)?, str::to_owned)?;
    tensors.remove("bn1.num_batches_tracked");
    tensors.insert("stranger.weight".to_owned(), Tensor::zeros(3, candle_core::DType::F32, &DEVICE)?);
    write(&path, &tensors)?;
    let target = network(Architecture::ResNet18, 2, Stem::Imagenet, 2)?;
    let report = weights::load_reported(target.params(), &path, &LoadOptions::default())?;
    assert!(!report.is_complete());
    assert_eq!(report.missing, ["bn1.num_batches_tracked"]);
    assert_eq!(report.unexpected, ["stranger.weight"]);
    assert_eq!(report.matched.len(), target.params().entries().len() - 1);
    assert!(weights::load_strict(target.params(), &path).is_err());

    let target = network(Architecture::ResNet18, 2, Stem::Small, 2)?;
    let before = numbers(target.params())?;
    let text = weights::load_reported(target.params(), &path, &LoadOptions::default()).expect_err("7×7").to_string();
    assert!(text.contains("conv1.weight is [2, 3, 7, 7] in the file, [2, 3, 3, 3] in the network"), "{text}");
    assert_eq!(before, numbers(target.params())?, "nothing changes");
    Ok(())
}

#[test]
fn another_stride_is_told_where_shapes_cannot() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("weights.safetensors");
    weights::save(network(Architecture::ResNet18, 2, Stem::Small, 1)?.params(), &path)?;
    let target = network(Architecture::ResNet18, 2, Stem::Cifar, 2)?;
    let message = weights::load_strict(target.params(), &path).expect_err("another stem").to_string();
    assert!(message.contains("stem small") && message.contains("stem cifar"), "{message}");
    let report = weights::load_reported(target.params(), &path, &LoadOptions::default())?;
    assert!(report.is_complete() && report.note.is_some(), "{report}");
    Ok(())
}

#[test]
fn double_precision_is_converted_and_two_sources_of_one_parameter_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("weights.safetensors");
    let source = network(Architecture::ResNet18, 2, Stem::Cifar, 1)?;
    let mut tensors = renamed(&source, str::to_owned)?;
    let double = tensors["conv1.weight"].to_dtype(candle_core::DType::F64)?;
    tensors.insert("conv1.weight".to_owned(), double.clone());
    write(&path, &tensors)?;
    let target = network(Architecture::ResNet18, 2, Stem::Cifar, 2)?;
    weights::load_strict(target.params(), &path)?;
    assert_eq!(numbers(source.params())?, numbers(target.params())?);
    tensors.insert("module.conv1.weight".to_owned(), double);
    write(&path, &tensors)?;
    let message = weights::load_strict(target.params(), &path).expect_err("two of one").to_string();
    assert!(message.contains("module.conv1.weight"), "{message}");
    Ok(())
}

fn numbers(params: &Params) -> Result<Vec<Vec<u32>>> {
    let bits = |tensor: &Tensor| -> Result<Vec<u32>> {
        let values = tensor.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        Ok(values.into_iter().map(f32::to_bits).collect())
    };
    params.named_tensors()?.iter().map(|(_, tensor)| bits(tensor)).collect()
}

fn renamed(network: &Backbone, rename: impl Fn(&str) -> String) -> Result<HashMap<String, Tensor>> {
    Ok(network.params().named_tensors()?.into_iter().map(|(name, tensor)| (rename(&name), tensor)).collect())
}

fn write(path: &Path, tensors: &HashMap<String, Tensor>) -> Result<()> {
    candle_core::safetensors::save(tensors, path)
}
