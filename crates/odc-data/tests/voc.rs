//! PASCAL VOC folders: splits, what images show, difficult objects, and what the errors say.

use std::fs;
use std::path::Path;

use image::{Rgb, RgbImage};
use odc_data::{Dataset, Format, Source, Subset, open};
use tempfile::TempDir;

const MAIN: &str = "VOC2007/ImageSets/Main";

/// Two splits of three and two images and two classes, as the archive of VOC2007 lays them out.
fn voc() -> TempDir {
    let root = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().expect("has a folder")).expect("can be made");
        fs::write(path, text).expect("can be written");
    };
    for (level, id) in ["000005", "000007", "000009", "000001", "000002"].iter().enumerate() {
        write(&format!("VOC2007/Annotations/{id}.xml"), "<annotation></annotation>");
        let path = root.path().join(format!("VOC2007/JPEGImages/{id}.jpg"));
        fs::create_dir_all(path.parent().expect("has a folder")).expect("can be made");
        let image = RgbImage::from_pixel(8, 6, Rgb([level as u8 * 40; 3]));
        image.save_with_format(path, image::ImageFormat::Jpeg).expect("can be written");
    }
    write(&format!("{MAIN}/trainval.txt"), "000005\n000007\n000009\n");
    write(&format!("{MAIN}/cat_trainval.txt"), "000005 -1\n000007  1\n000009  0\n");
    write(&format!("{MAIN}/dog_trainval.txt"), "000005  1\r\n000007  1\r\n");
    write(&format!("{MAIN}/test.txt"), "000001\n000002\n");
    write(&format!("{MAIN}/cat_test.txt"), "000001  1\n000002 -1\n");
    write(&format!("{MAIN}/dog_test.txt"), "000001 -1\n000002  1\n");
    root
}

fn at(path: impl AsRef<Path>) -> Source {
    Source { path: path.as_ref().to_string_lossy().into_owned(), ..Source::default() }
}

fn message(source: &Source) -> String {
    open(source).err().expect("refused").to_string()
}

/// What every image shows, class by class.
fn shown(dataset: &dyn Dataset) -> Vec<Vec<Option<bool>>> {
    let classes = 0..dataset.class_names().len() as u32;
    (0..dataset.len()).map(|index| classes.clone().map(|class| dataset.shows(index, class)).collect()).collect()
}

#[test]
fn a_folder_is_its_trainval_split_and_a_list_any_other() {
    let root = voc();
    let dataset = open(&at(root.path().join("VOC2007"))).expect("a VOC folder");
    assert_eq!(dataset.class_names(), ["cat", "dog"]);
    let names: Vec<String> = (0..3).map(|index| dataset.name(index)).collect();
    assert_eq!(names, ["JPEGImages/000005.jpg", "JPEGImages/000007.jpg", "JPEGImages/000009.jpg"]);
    // 0 (difficult) and an image that a class's list leaves out are to be ignored.
    let expected = [[Some(false), Some(true)], [Some(true), Some(true)], [None, None]];
    assert_eq!(shown(dataset.as_ref()), expected);
    assert!((0..3).all(|index| dataset.true_label(index).is_none()));
    assert_eq!(dataset.image(1).expect("a JPEG").width, 8);
    assert!(dataset.image(3).is_err() && dataset.shows(3, 0).is_none() && dataset.shows(0, 2).is_none());

    let test = open(&at(root.path().join(MAIN).join("test.txt"))).expect("a VOC list");
    assert_eq!(shown(test.as_ref()), [[Some(true), Some(false)], [Some(false), Some(true)]]);
    assert_eq!(test.name(0), "JPEGImages/000001.jpg");
    let part = Subset::new(dataset, vec![1]);
    assert_eq!(shown(&part), [[Some(true), Some(true)]]);
    assert_eq!(part.shows(1, 0), None);
}

#[test]
fn the_test_split_is_what_a_folder_is_held_out_against() {
    let root = voc();
    let folder = at(root.path().join("VOC2007"));
    let test = folder.held_out().expect("a test split");
    assert!(test.path.ends_with("ImageSets/Main/test.txt"), "{}", test.path);
    assert_eq!(at(root.path().join(MAIN).join("trainval.txt")).held_out().expect("a test split"), test);
    assert_eq!(test.held_out(), None);
    fs::remove_file(root.path().join(MAIN).join("test.txt")).expect("can be removed");
    assert_eq!(folder.held_out(), None);
}

#[test]
fn sets_of_one_label_show_their_class_and_no_other() {
    let shapes = open(&Source { shapes_images: 12, ..Source::default() }).expect("shapes");
    for (index, shown) in shown(shapes.as_ref()).iter().enumerate() {
        let label = shapes.true_label(index).expect("labelled") as usize;
        assert!(shown.iter().enumerate().all(|(class, shows)| *shows == Some(class == label)));
    }
}

#[test]
fn lists_that_do_not_fit_are_named() {
    let root = voc();
    let main = root.path().join(MAIN);
    let source = at(root.path().join("VOC2007"));
    let with = |text: &str| {
        fs::write(main.join("cat_trainval.txt"), text).expect("can be written");
        message(&source)
    };
    assert!(with("000005 -1\n000008 1\n").contains("cat_trainval.txt: line 2: 000008 is not in"));
    assert!(with("000005 2\n").contains("line 1: \"2\" is neither 1 nor -1 nor 0"));
    assert!(with("000005\n").contains("line 1: expected the name of an image and 1, -1 or 0"));
    fs::write(main.join("trainval.txt"), "\n").expect("can be written");
    assert!(message(&source).contains("trainval.txt: the list names no image"));
    fs::remove_file(main.join("trainval.txt")).expect("can be removed");
    assert!(message(&source).contains("trainval.txt: no such file"), "{}", message(&source));
    let elsewhere = Source { format: Format::Voc, ..at(root.path()) };
    assert!(message(&elsewhere).contains("no such file"), "{}", message(&elsewhere));
}
