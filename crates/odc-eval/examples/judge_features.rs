//! What are features worth? Of a random network and of raw pixels on generated shapes, or of any features in NumPy files:
//! `judge_features [train.npy train_labels.npy test.npy test_labels.npy]` (float32 `[n, dim]`, int64 `[n]`).

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::time::Instant;

use candle_core::Device;
use ndarray::{Array1, Array2};
use ndarray_npy::read_npy;
use odc_data::{PlainView, Source};
use odc_eval::{ExtractionConfig, Features, KnnClassifier, LinearProbe, LogisticProbe, extract, extract_pixels};
use odc_model::{Backbone, BackboneConfig, Stem};

fn main() -> Result<(), Box<dyn Error>> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    if let [train, train_labels, test, test_labels] = files.as_slice() {
        return judge(&from_files(train, train_labels)?, &from_files(test, test_labels)?);
    }
    let dataset = odc_data::open(&Source { shapes_images: 600, ..Source::default() })?;
    let config = ExtractionConfig { side: 32, view: PlainView::Resize, ..ExtractionConfig::default() };
    let network = BackboneConfig { width: 8, stem: Stem::Small, ..BackboneConfig::default() };
    let backbone = Backbone::new(&network, 0, &Device::Cpu)?;
    let of_network = extract(&backbone, &dataset, &config, &mut |_, _| ())?;
    let folder = std::env::temp_dir().join("odc_judge_features");
    std::fs::create_dir_all(&folder)?;
    of_network.write_parquet(&folder.join("random_network.parquet"))?;
    of_network.write_npy(&folder.join("random_network.npy"))?;
    of_network.write_csv(&folder.join("random_network.csv"))?;
    println!("features written to {}", folder.display());
    for (name, features) in [("random network", of_network), ("pixels", extract_pixels(&dataset, &config)?)] {
        println!("{name}");
        let (train, test) = features.split_fifth(0);
        judge(&train, &test)?;
    }
    Ok(())
}

fn judge(train: &Features, test: &Features) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let knn = KnnClassifier::evaluate_each(&[10, 20, 100, 200], 0.07, train, test)?;
    println!("  kNN      {:5.1?} {}", start.elapsed(), serde_json::to_string(&knn.results)?);
    let start = Instant::now();
    let logistic = LogisticProbe::default().evaluate(train, test)?;
    println!("  logistic {:5.1?} {}", start.elapsed(), serde_json::to_string(&logistic)?);
    let start = Instant::now();
    let linear = LinearProbe::default().evaluate(train, test)?;
    println!("  linear   {:5.1?} {}", start.elapsed(), serde_json::to_string(&linear)?);
    Ok(())
}

fn from_files(values: &str, labels: &str) -> Result<Features, Box<dyn Error>> {
    let values: Array2<f32> = read_npy(values)?;
    let labels: Array1<i64> = read_npy(labels)?;
    let dim = values.ncols();
    let true_labels = labels.iter().map(|&label| u32::try_from(label).ok()).collect();
    Ok(Features::from_rows(values.as_standard_layout().iter().copied().collect(), dim, true_labels)?)
}
