//! Extraction through a network and without one; files that others can read.

use std::sync::Arc;

use candle_core::Device;
use ndarray::Array2;
use ndarray_npy::read_npy;
use odc_data::{DataError, Dataset, Image, PlainView, Source};
use odc_eval::{EvalError, ExtractionConfig, FIFTHS, Features, extract, extract_pixels, extract_with};
use odc_model::{Backbone, BackboneConfig, Dropout, Mode, Stem};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, ListAccessor, RowAccessor};

fn shapes(n: usize) -> Arc<dyn Dataset> {
    odc_data::open(&Source { shapes_images: n, ..Source::default() }).expect("shapes")
}

fn config() -> ExtractionConfig {
    ExtractionConfig { side: 16, view: PlainView::Resize, batch_size: 7, workers: 2, ..ExtractionConfig::default() }
}

fn backbone() -> Backbone {
    let config = BackboneConfig { width: 4, stem: Stem::Small, ..BackboneConfig::default() };
    Backbone::new(&config, 1, &Device::Cpu).expect("a small network")
}

/// Shapes, of which every third cannot be decoded; every second has a true label.
struct Damaged(Arc<dyn Dataset>);

impl Dataset for Damaged {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn image(&self, index: usize) -> Result<Image, DataError> {
        if index.is_multiple_of(3) {
            return Err(DataError::Undecodable { name: self.name(index), reason: "torn".to_owned() });
        }
        self.0.image(index)
    }
    fn true_label(&self, index: usize) -> Option<u32> {
        index.is_multiple_of(2).then_some(index as u32)
    }
    fn name(&self, index: usize) -> String {
        format!("bilder/größe \"{index}\",1.jpg")
    }
    fn class_names(&self) -> &[String] {
        &[]
    }
}

fn damaged(n: usize) -> Arc<dyn Dataset> {
    Arc::new(Damaged(shapes(n)))
}

#[test]
fn rows_come_in_order_with_what_belongs_to_them() {
    let (dataset, backbone) = (shapes(23), backbone());
    let mut heard = Vec::new();
    let features =
        extract(&backbone, &dataset, &config(), &mut |done, total| heard.push((done, total))).expect("features");
    assert_eq!((features.len(), features.dim, features.values.len()), (23, 32, 23 * 32));
    assert_eq!(features.indices, (0..23).collect::<Vec<_>>());
    assert_eq!(features.true_labels, (0..23).map(|i| dataset.true_label(i)).collect::<Vec<_>>());
    assert_eq!(features.names[22], dataset.name(22));
    assert_eq!(heard, [(0, 23), (7, 23), (14, 23), (21, 23), (23, 23)]);
    let by_hand = extract_with(
        &mut |images| backbone.forward(images, Mode::Eval, Dropout::Off),
        &dataset,
        &config(),
        &mut |_, _| (),
    );
    assert_eq!(by_hand.expect("features"), features);
}

#[test]
fn threads_and_workers_change_nothing() {
    let (dataset, backbone) = (shapes(20), backbone());
    let with = |threads: usize, workers: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let config = ExtractionConfig { workers, ..config() };
        pool.install(|| extract(&backbone, &dataset, &config, &mut |_, _| ()).expect("features"))
    };
    let alone = with(1, 0);
    assert_eq!(with(2, 3), alone);
    assert_eq!(with(4, 1), alone);
}

#[test]
fn pixels_are_normalised_bytes() {
    let dataset = shapes(3);
    let side = dataset.image(0).expect("a shape").width;
    let config = ExtractionConfig { side, mean: [0.5; 3], std: [0.25; 3], ..config() };
    let features = extract_pixels(&dataset, &config).expect("pixels");
    let expected: Vec<f32> =
        dataset.image(2).expect("a shape").pixels.iter().map(|&byte| (f32::from(byte) / 255.0 - 0.5) / 0.25).collect();
    odc_testkit::assert_close("pixels", features.row(2), &expected, 1e-6);
}

#[test]
fn undecodable_images_are_listed_and_have_no_row() {
    let features = extract_pixels(&damaged(10), &config()).expect("six remain");
    assert_eq!(features.indices, [1, 2, 4, 5, 7, 8]);
    assert_eq!(features.true_labels, [None, Some(2), Some(4), None, None, Some(8)]);
    let skipped: Vec<(u32, &str)> = features.skipped.iter().map(|one| (one.index, one.reason.as_str())).collect();
    assert_eq!(skipped, [(0, "torn"), (3, "torn"), (6, "torn"), (9, "torn")]);
}

#[test]
fn nothing_to_extract_is_an_error_that_says_why() {
    let nothing_decodes = extract_pixels(&damaged(1), &config()).expect_err("its only image is torn").to_string();
    assert!(nothing_decodes.contains("none of 1 images can be decoded") && nothing_decodes.contains("torn"));
    let zero = ExtractionConfig { side: 0, ..config() };
    assert!(matches!(extract_pixels(&shapes(2), &zero), Err(EvalError::Setting { name: "side", .. })));
    let dataset = shapes(9);
    let first_only = extract_with(&mut |images| images.narrow(0, 0, 1), &dataset, &config(), &mut |_, _| ());
    assert!(matches!(first_only, Err(EvalError::Size { got: 1, expected: 7, .. })));
}

#[test]
fn a_split_keeps_all_rows_and_their_order() {
    let features = extract_pixels(&damaged(12), &config()).expect("eight remain");
    let (reference, queries) = features.split(|position| position % 5 == 4);
    assert_eq!((reference.len(), queries.len()), (7, 1));
    assert_eq!(queries.row(0), features.row(4));
    assert_eq!(reference.indices, [1, 2, 4, 5, 8, 10, 11]);
    assert_eq!(reference.names[6], features.names[7]);
}

#[test]
fn every_fifth_has_its_share_of_every_class_even_where_classes_take_turns() {
    for classes in [2_u32, 5, 10, 12] {
        let labels: Vec<Option<u32>> = (0..600).map(|row| Some(row % classes)).collect();
        let features = Features::from_rows(vec![0.0; 600], 1, labels).expect("rows");
        let mut asked = Vec::new();
        for fold in 0..FIFTHS {
            let (reference, queries) = features.split_fifth(fold);
            assert_eq!((reference.len(), queries.len()), (480, 120));
            for class in 0..classes {
                let count = queries.true_labels.iter().filter(|label| **label == Some(class)).count();
                assert_eq!(count, 120 / classes as usize, "class {class} of {classes}");
            }
            asked.extend(queries.indices);
        }
        asked.sort_unstable();
        assert_eq!(asked, (0..600).collect::<Vec<u32>>(), "every row asks once");
    }
}

#[test]
fn numpy_and_csv_files_hold_all_rows() {
    let features = extract_pixels(&damaged(6), &config()).expect("four remain");
    let folder = tempfile::tempdir().expect("a folder");
    let (array, table) = (folder.path().join("f.npy"), folder.path().join("f.csv"));
    features.write_npy(&array).expect("written");
    features.write_csv(&table).expect("written");
    let read: Array2<f32> = read_npy(&array).expect("an array");
    assert_eq!(read.shape(), [4, 768]);
    assert_eq!(read.as_slice(), Some(features.values.as_slice()));
    let mut reader = csv::Reader::from_path(&table).expect("a table");
    let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().expect("rows");
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[1], vec!["1", "bilder/größe \"2\",1.jpg", "2"]);
    assert_eq!(rows[0], vec!["0", "bilder/größe \"1\",1.jpg", ""]);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 2, "no temporary file stays");
}

#[test]
fn parquet_files_hold_all_rows() {
    // More than one row group.
    let dim = 1 << 20;
    let values = odc_testkit::formula(1, 6 * dim);
    let labels = vec![Some(3), None, Some(0), None, None, Some(u32::MAX)];
    let features = Features::from_rows(values, dim, labels).expect("rows");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("f.parquet");
    features.write_parquet(&path).expect("written");
    let reader = SerializedFileReader::new(std::fs::File::open(&path).expect("a file")).expect("a table");
    assert_eq!(reader.metadata().num_row_groups(), 2);
    for (row, read) in reader.get_row_iter(None).expect("rows").enumerate() {
        let read = read.expect("a row");
        assert_eq!(read.get_string(0).expect("path"), &format!("#{row}"));
        let label = match read.get_column_iter().nth(1).expect("label").1 {
            Field::Null => None,
            Field::Long(label) => Some(*label as u32),
            other => panic!("{other:?}"),
        };
        assert_eq!(label, features.true_labels[row]);
        let list = read.get_list(2).expect("features");
        assert_eq!(list.len(), dim);
        for place in [0, 1, dim - 1] {
            assert_eq!(list.get_float(place).expect("a float"), features.row(row)[place]);
        }
    }
}

#[test]
fn a_file_that_cannot_be_written_leaves_what_was_there() {
    let features = Features::from_rows(vec![1.0], 1, vec![None]).expect("rows");
    let folder = tempfile::tempdir().expect("a folder");
    let message = features.write_npy(&folder.path().join("absent/f.npy")).expect_err("no such folder").to_string();
    assert!(message.starts_with("cannot write ") && message.contains("absent"), "{message}");
    let torn = Features { values: vec![1.0; 3], ..features };
    let path = folder.path().join("f.npy");
    std::fs::write(&path, "before").expect("written");
    assert!(torn.write_npy(&path).is_err() && torn.write_parquet(&path).is_err());
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "before");
}
