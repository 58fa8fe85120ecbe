//! Folders, lists, parquet and CIFAR binaries: what is found, what it is called, and what the errors say.

use std::fs;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use odc_data::{Dataset, Format, Loader, LoaderConfig, PlainView, Source, View, open};
use tempfile::TempDir;

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name).to_string_lossy().into_owned()
}

fn at(path: impl AsRef<Path>) -> Source {
    Source { path: path.as_ref().to_string_lossy().into_owned(), ..Source::default() }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A small PNG, the folders above it made as needed; its first red byte is `level`.
fn png(root: &Path, name: &str, level: u8) -> PathBuf {
    let path = root.join(name);
    fs::create_dir_all(path.parent().expect("has a folder")).expect("can be made");
    let image = RgbImage::from_pixel(6, 4, Rgb([level, 0, 0]));
    image.save_with_format(&path, image::ImageFormat::Png).expect("can be written");
    path
}

fn message(source: &Source) -> String {
    match open(source) {
        Ok(dataset) => panic!("{} was opened with {} images", source.path, dataset.len()),
        Err(error) => error.to_string(),
    }
}

fn names(dataset: &dyn Dataset) -> Vec<String> {
    (0..dataset.len()).map(|index| dataset.name(index)).collect()
}

#[test]
fn folders_are_sorted_and_their_first_level_is_the_label() {
    let root = folder();
    for (level, name) in
        ["b/2.png", "a/deep/er/1.PNG", "a/0.png", "loose.png", "b/.hidden.png", ".git/x.png", "c/é 写真.JPEG"]
            .into_iter()
            .enumerate()
    {
        png(root.path(), name, level as u8);
    }
    fs::write(root.path().join("b/notes.txt"), "no image").expect("can be written");
    fs::write(root.path().join("README"), "no image").expect("can be written");
    fs::create_dir(root.path().join("empty.png")).expect("a folder with an odd name");
    let dataset = open(&at(root.path())).expect("a folder");
    assert_eq!(names(&*dataset), ["a/0.png", "a/deep/er/1.PNG", "b/2.png", "c/é 写真.JPEG", "loose.png"]);
    let labels: Vec<_> = (0..5).map(|index| dataset.true_label(index)).collect();
    assert_eq!(labels, [Some(0), Some(0), Some(1), Some(2), None]);
    assert_eq!(dataset.class_names(), ["a", "b", "c"]);
    assert_eq!(dataset.image(3).expect("a PNG called JPEG").pixel(0, 0), [6, 0, 0]);
    assert!(dataset.image(5).is_err() && dataset.true_label(5).is_none());
}

#[test]
fn a_folder_of_troubles_gives_what_is_good_and_lists_the_rest() {
    let root = folder();
    let good = png(root.path(), "good with spaces/Ünï.png", 9);
    png(root.path(), "one.png", 1);
    RgbImage::from_pixel(1, 1, Rgb([1, 2, 3])).save(root.path().join("pixel.bmp")).expect("can be written");
    let mut jpeg = std::io::Cursor::new(Vec::new());
    RgbImage::from_fn(50, 50, |x, y| Rgb([(x * y) as u8, 0, 9]))
        .write_to(&mut jpeg, image::ImageFormat::Jpeg)
        .expect("can be written");
    let jpeg = jpeg.into_inner();
    fs::write(root.path().join("half.jpg"), &jpeg[..jpeg.len() / 2]).expect("can be written");
    fs::write(root.path().join("text.jpg"), "Dear diary").expect("can be written");
    fs::write(root.path().join("nothing.png"), "").expect("can be written");
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink(root.path().join("gone.png"), root.path().join("broken.png")).expect("a link");
        symlink(&good, root.path().join("link.png")).expect("a link");
        symlink(root.path(), root.path().join("good with spaces/loop")).expect("a link");
    }
    let dataset = open(&at(root.path())).expect("a folder");
    let config = LoaderConfig { batch_size: 3, side: 8, workers: 2, queue: 2, seed: 0, epoch: 0 };
    let order = (0..dataset.len() as u32).collect();
    let batches: Vec<_> = Loader::new(dataset.clone(), order, 0, View::Plain(PlainView::Crop), config).collect();
    let skipped: Vec<_> = batches.iter().flat_map(|batch| &batch.skipped).collect();
    let listed: Vec<&str> = skipped.iter().map(|skipped| skipped.name.as_str()).collect();
    let good: usize = batches.iter().map(|batch| batch.indices.len()).sum();
    if cfg!(unix) {
        assert_eq!(listed, ["broken.png", "half.jpg", "nothing.png", "text.jpg"]);
        assert!(skipped[0].reason.contains("symbolic link"), "{}", skipped[0].reason);
        assert_eq!(good, 4);
    }
    let reason = |name: &str| skipped.iter().find(|skipped| skipped.name == name).map(|skipped| skipped.reason.clone());
    assert!(reason("half.jpg").is_some_and(|reason| reason.contains("truncated")));
    assert_eq!(reason("nothing.png").as_deref(), Some("the file is empty"));
}

#[cfg(unix)]
#[test]
fn a_named_pipe_does_not_hang() {
    let root = folder();
    png(root.path(), "a.png", 1);
    let made = std::process::Command::new("mkfifo").arg(root.path().join("pipe.png")).status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: mkfifo is not there");
        return;
    }
    let dataset = open(&at(root.path())).expect("a folder");
    assert_eq!(dataset.image(1).expect_err("a pipe").to_string(), "pipe.png: not a regular file");
}

#[test]
fn missing_and_empty_paths_say_what_to_do() {
    let root = folder();
    let missing = message(&at(root.path().join("nowhere")));
    assert!(missing.contains("nowhere: no such file or folder; give an existing path"), "{missing}");
    let empty = message(&at(root.path()));
    assert!(empty.contains("no image at any depth; files are taken that end in jpg"), "{empty}");
    let single = message(&at(png(root.path(), "a.png", 1)));
    assert!(single.contains("single image; give the folder"), "{single}");
    let archive = root.path().join("images.tar");
    fs::write(&archive, "x").expect("can be written");
    assert!(message(&at(archive)).contains("unpack archives first"));
    for format in [Format::Folder, Format::List, Format::Parquet, Format::Cifar] {
        let source = Source { format, ..at(root.path().join("nowhere")) };
        assert!(message(&source).contains("nowhere: no such file"), "{format:?}");
    }
}

#[test]
fn list_files_name_paths_and_labels() {
    let root = folder();
    png(root.path(), "images/a.png", 1);
    let absolute = png(root.path(), "images/b, c.png", 2);
    let list = root.path().join("list.csv");
    let text = format!(
        "path,label\nimages/a.png,newt\n\"{}\",adder\r\nimages/missing.png,newt\n\nimages/a.png\n",
        absolute.display()
    );
    fs::write(&list, text).expect("can be written");
    let dataset = open(&at(&list)).expect("a list");
    assert_eq!(dataset.len(), 4);
    assert_eq!(dataset.class_names(), ["adder", "newt"]);
    let labels: Vec<_> = (0..4).map(|index| dataset.true_label(index)).collect();
    assert_eq!(labels, [Some(1), Some(0), Some(1), None]);
    assert_eq!(dataset.image(1).expect("there").pixel(0, 0), [2, 0, 0]);
    let error = dataset.image(2).expect_err("missing").to_string();
    assert!(error.starts_with("images/missing.png: "), "{error}");

    fs::write(&list, "images/a.png,3\nimages/a.png,1\n").expect("can be written");
    let dataset = open(&at(&list)).expect("a list");
    assert_eq!((dataset.true_label(0), dataset.class_names().len()), (Some(3), 4));

    fs::write(&list, "images/a.png\n").expect("can be written");
    let dataset = open(&at(&list)).expect("a list");
    assert!(dataset.true_label(0).is_none() && dataset.class_names().is_empty());
}

#[test]
fn unusable_lists_say_why() {
    let root = folder();
    let list = root.path().join("list.txt");
    let with = |text: &str| {
        fs::write(&list, text).expect("can be written");
        message(&at(&list))
    };
    assert!(with("").contains("names no image"));
    assert!(with("a.png,1,2\n").contains("line 1: expected `path` or `path,label`"));
    assert!(with("x.png\n,1\n").contains("line 2: expected"));
    let nothing = with("x.png\ny.png\n");
    assert!(nothing.contains("none of the 2 images exists") && nothing.contains("relative to the list's folder"));
}

#[test]
fn hugging_face_parquet_gives_images_names_labels_and_classes() {
    let dataset =
        open(&Source { label_column: "kind".to_owned(), ..at(fixture("hugging_face.parquet")) }).expect("parquet");
    assert_eq!(names(&*dataset), ["a/0.png", "a/1.png", "a/2.png", "hugging_face.parquet#3", "hugging_face.parquet#4"]);
    let labels: Vec<_> = (0..5).map(|index| dataset.true_label(index)).collect();
    assert_eq!(labels, [Some(2), Some(0), Some(1), None, None]);
    assert_eq!(dataset.class_names(), ["cat", "dog", "eel"]);
    let picture = dataset.image(0).expect("a PNG");
    assert_eq!((picture.width, picture.height, picture.pixel(23, 0)), (24, 16, [255, 0, 0]));
    assert!(dataset.image(1).is_ok() && dataset.image(4).is_ok());
    for row in [2, 3] {
        assert!(dataset.image(row).expect_err("null").to_string().contains("null in this row"));
    }
    // Without the setting no column is called as labels are called.
    let dataset = open(&at(fixture("hugging_face.parquet"))).expect("parquet");
    assert!(dataset.true_label(0).is_none() && dataset.class_names().is_empty());
}

#[test]
fn a_binary_column_and_any_label_column_will_do() {
    let named =
        Source { image_column: "photo".to_owned(), label_column: "species".to_owned(), ..at(fixture("plain.parquet")) };
    let found = Source { image_column: String::new(), ..named.clone() };
    for source in [named, found] {
        let dataset = open(&source).expect("parquet");
        assert_eq!((dataset.len(), dataset.true_label(0), dataset.true_label(1)), (2, Some(1), Some(0)));
        assert_eq!(dataset.class_names(), ["adder", "newt"]);
        assert_eq!(dataset.image(0).expect("a PNG").width, 24);
        assert!(dataset.image(1).is_err());
    }
}

#[test]
fn parquet_without_the_columns_lists_those_there_are() {
    let text = message(&at(fixture("no_image.parquet")));
    assert!(text.contains("no image column") && text.contains("the columns are text, label"), "{text}");
    let text = message(&Source { image_column: "picture".to_owned(), ..at(fixture("plain.parquet")) });
    assert!(text.contains("no column `picture`") && text.contains("photo"), "{text}");
    let text = message(&Source { label_column: "breed".to_owned(), ..at(fixture("plain.parquet")) });
    assert!(text.contains("no label column `breed`") && text.contains("`label_column`"), "{text}");
    let text = message(&Source { label_column: "score".to_owned(), ..at(fixture("plain.parquet")) });
    assert!(text.contains("`score` holds neither integers nor strings"), "{text}");
    let root = folder();
    let broken = root.path().join("broken.parquet");
    fs::write(&broken, "PAR1 but no more").expect("can be written");
    assert!(message(&at(&broken)).contains("broken.parquet"));
}

#[test]
fn a_folder_of_parquet_files_is_one_set() {
    let root = folder();
    for name in ["part-1.parquet", "part-0.parquet"] {
        fs::copy(fixture("plain.parquet"), root.path().join(name)).expect("can be copied");
    }
    let dataset = open(&at(root.path())).expect("parquet");
    assert_eq!(dataset.name(0), "part-0.parquet#0");
    assert_eq!((dataset.len(), dataset.name(3)), (4, "part-1.parquet#1".to_owned()));
}

#[test]
fn cifar_binaries() {
    let root = folder();
    // CIFAR-10: the label, then the red, green and blue planes.
    let record = |head: &[u8], red: u8| [head, &[red; 1024], &[20; 1024], &[30; 1024]].concat();
    for batch in 1..=2 {
        let path = root.path().join(format!("data_batch_{batch}.bin"));
        fs::write(path, [record(&[3], batch), record(&[9], batch + 10)].concat()).expect("can be written");
    }
    fs::write(root.path().join("test_batch.bin"), record(&[1], 99)).expect("can be written");
    let dataset = open(&at(root.path())).expect("CIFAR-10");
    assert_eq!((dataset.len(), dataset.true_label(3), dataset.class_names().len()), (4, Some(9), 10));
    assert_eq!(dataset.image(3).expect("there").pixel(31, 31), [12, 20, 30]);
    assert_eq!(dataset.name(3), "data_batch_2.bin#1");
    assert!(dataset.image(4).is_err());
    let test = open(&at(root.path().join("test_batch.bin"))).expect("the test file");
    assert_eq!((test.len(), test.true_label(0)), (1, Some(1)));

    // CIFAR-100: coarse, then fine.
    let root = folder();
    fs::write(root.path().join("train.bin"), record(&[7, 42], 5)).expect("can be written");
    fs::write(root.path().join("fine_label_names.txt"), (0..100).map(|i| format!("class{i}\n")).collect::<String>())
        .expect("can be written");
    let dataset = open(&at(root.path())).expect("CIFAR-100");
    assert_eq!((dataset.len(), dataset.true_label(0)), (1, Some(42)));
    assert_eq!(dataset.class_names()[42], "class42");
    assert_eq!(dataset.image(0).expect("there").pixel(0, 0), [5, 20, 30]);

    fs::write(root.path().join("odd.bin"), vec![0; 5000]).expect("can be written");
    assert!(message(&at(root.path().join("odd.bin"))).contains("not a whole number of CIFAR-10 records"));
    fs::write(root.path().join("label.bin"), record(&[11], 5)).expect("can be written");
    assert!(message(&at(root.path().join("label.bin"))).contains("label 11 in CIFAR-10 data"));
}

#[test]
fn a_limit_spreads_over_the_set() {
    let root = folder();
    for i in 0..10 {
        png(root.path(), &format!("{}/{i}.png", i / 5), i);
    }
    let dataset = open(&Source { limit: 4, ..at(root.path()) }).expect("a folder");
    assert_eq!(dataset.len(), 4);
    assert!(names(&*dataset).is_sorted());
    assert_eq!(open(&Source { limit: 40, ..at(root.path()) }).expect("a folder").len(), 10);
}

#[test]
fn a_recipe_s_table_is_read_and_misspellings_are_refused() {
    let source: Source = toml::from_str("path = \"photos\"\nformat = \"folder\"\nlimit = 7").expect("a table");
    assert_eq!((source.path.as_str(), source.format, source.limit), ("photos", Format::Folder, 7));
    assert_eq!(toml::from_str::<Source>("").expect("an empty table"), Source::default());
    assert!(toml::from_str::<Source>("pth = \"photos\"").is_err());
    let written = toml::to_string(&Source::default()).expect("can be written");
    assert_eq!(toml::from_str::<Source>(&written).expect("and read"), Source::default());
}

#[test]
fn cifar_10_as_parquet() {
    let Some(data) = odc_testkit::test_data("cifar_10_as_parquet") else { return };
    let dataset = open(&at(data.join("cifar10/test.parquet"))).expect("parquet");
    assert_eq!(dataset.len(), 10_000);
    let mut counts = [0; 10];
    for index in 0..dataset.len() {
        counts[dataset.true_label(index).expect("labelled") as usize] += 1;
        if index % 20 == 0 {
            let image = dataset.image(index).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((image.width, image.height), (32, 32));
        }
    }
    assert_eq!(counts, [1000; 10]);
    assert_eq!(dataset.class_names()[0], "airplane");
}

#[test]
fn every_photograph_can_be_decoded() {
    let Some(data) = odc_testkit::test_data("every_photograph_can_be_decoded") else { return };
    let dataset = open(&at(data.join("imagenet-sample"))).expect("a folder");
    assert_eq!(dataset.len(), 250);
    // All of them in the example `speed`; here every fifth.
    for index in (0..250).step_by(5) {
        dataset.image(index).unwrap_or_else(|error| panic!("{error}"));
    }
}
