//! kNN and probes: against plain twins, in hand-made cases, for any number of threads.

use linfa::prelude::*;
use linfa_logistic::MultiLogisticRegression;
use ndarray::{Array1, Array2};
use odc_eval::{EvalError, Features, KnnClassifier, LinearProbe, LogisticProbe};
use odc_testkit::formula;

fn features(dim: usize, values: &[f32], labels: &[u32]) -> Features {
    Features::from_rows(values.to_vec(), dim, labels.iter().copied().map(Some).collect()).expect("rows")
}

/// Rows around one centre per class; more `noise`, harder.
fn blobs(seed: u64, n: usize, dim: usize, classes: usize, noise: f32) -> Features {
    let (centres, noises) = (formula(77, classes * dim), formula(seed, n * dim));
    let value = |place: usize| centres[place / dim % classes * dim + place % dim] + noise * noises[place];
    let labels: Vec<u32> = (0..n).map(|row| (row % classes) as u32).collect();
    features(dim, &(0..n * dim).map(value).collect::<Vec<_>>(), &labels)
}

fn in_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads").install(work)
}

/// All similarities in f64, a full sort, plain votes.
fn naive_knn(train: &Features, test: &Features, k: usize, temperature: f64) -> (f64, f64) {
    let cosine = |a: &[f32], b: &[f32]| {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    let mut right = [0.0; 2];
    for row in 0..test.len() {
        let mut all: Vec<(f64, u32)> = (0..train.len())
            .map(|other| (cosine(test.row(row), train.row(other)), train.true_labels[other].expect("labelled")))
            .collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut votes = [[0.0; 16]; 2];
        for (similarity, label) in &all[..k] {
            votes[0][*label as usize] += (similarity / temperature).exp();
            votes[1][*label as usize] += 1.0;
        }
        for (right, votes) in right.iter_mut().zip(votes) {
            let best = (0..16).rev().max_by(|a, b| votes[*a].total_cmp(&votes[*b])).expect("16 classes");
            *right += f64::from(u8::from(test.true_labels[row] == Some(best as u32)));
        }
    }
    let n = test.len() as f64;
    (100.0 * right[0] / n, 100.0 * right[1] / n)
}

#[test]
fn knn_is_its_plain_twin() {
    // More rows than one block of either side.
    let (train, test) = (blobs(1, 2100, 9, 7, 1.6), blobs(2, 150, 9, 7, 1.6));
    let report = KnnClassifier::evaluate_each(&[1, 10, 200], 0.1, &train, &test).expect("fits");
    for result in &report.results {
        let (weighted, majority) = naive_knn(&train, &test, result.k, 0.1);
        assert_eq!((result.weighted, result.majority), (weighted, majority), "k {}", result.k);
        let alone = KnnClassifier { k: result.k, temperature: 0.1 }.accuracy(&train, &test).expect("fits");
        assert_eq!(alone, result.weighted, "several k at once are each k alone");
    }
    assert!(report.results[1].weighted > 40.0);
}

#[test]
fn equal_votes_go_to_the_lowest_class_and_equal_rows_count_in_order() {
    let same = features(2, &[1.0, 0.0, 2.0, 0.0, 3.0, 0.0], &[2, 1, 1]);
    let ask = features(2, &[5.0, 0.0], &[2]);
    let report = KnnClassifier::evaluate_each(&[1, 2, 3], 0.07, &same, &ask).expect("fits");
    let right: Vec<f64> = report.results.iter().map(|result| result.majority).collect();
    // One neighbour: the first row. Two: a tie of classes 1 and 2.
    assert_eq!(right, [100.0, 0.0, 0.0]);
}

#[test]
fn weights_let_the_nearest_decide() {
    let train = features(2, &[1.0, 0.0, 0.0, 1.0, 0.1, 1.0], &[0, 1, 1]);
    let ask = features(2, &[1.0, 0.1], &[0]);
    let result = &KnnClassifier { k: 3, temperature: 0.001 }.evaluate(&train, &ask).expect("fits").results[0];
    assert_eq!((result.weighted, result.majority), (100.0, 0.0));
}

#[test]
fn more_neighbours_than_images_are_said() {
    let train = features(1, &[1.0, -1.0], &[0, 1]);
    let report = KnnClassifier::evaluate_each(&[200], 0.07, &train, &train).expect("fits");
    assert_eq!((report.results[0].k, report.results[0].neighbours, report.results[0].weighted), (200, 2, 100.0));
}

#[test]
fn a_row_of_zeros_is_as_far_from_all() {
    let train = features(2, &[0.0, 0.0, 1.0, 0.0], &[0, 1]);
    let accuracy = KnnClassifier { k: 1, temperature: 0.07 }.accuracy(&train, &train).expect("fits");
    assert_eq!(accuracy, 100.0);
}

#[test]
fn unknown_labels_take_no_part_and_unseen_classes_are_wrong() {
    let train = Features::from_rows(vec![1.0, 0.9, -1.0], 1, vec![Some(4), None, Some(9)]).expect("rows");
    let test = Features::from_rows(vec![1.0, -1.0, 1.0], 1, vec![Some(4), Some(7), None]).expect("rows");
    let knn = KnnClassifier { k: 1, temperature: 1.0 }.evaluate(&train, &test).expect("fits");
    assert_eq!((knn.train_images, knn.test_images, knn.results[0].weighted), (2, 2, 50.0));
    assert_eq!(LogisticProbe::default().evaluate(&train, &test).expect("fits").best, 50.0);
    assert_eq!(LinearProbe { epochs: 2, ..LinearProbe::default() }.evaluate(&train, &test).expect("fits").top1, 50.0);
}

#[test]
fn what_cannot_be_judged_is_named() {
    let good = features(2, &[1.0, 2.0], &[0]);
    let knn = KnnClassifier::default();
    let message = |result: Result<f64, EvalError>| result.expect_err("refused").to_string();
    let bad = features(2, &[1.0, f32::NAN], &[0]);
    assert!(message(knn.accuracy(&good, &bad)).starts_with("feature 1 of #0 is NaN"));
    let other_width = features(1, &[1.0], &[0]);
    assert!(message(knn.accuracy(&good, &other_width)).contains("1 where 2 is needed"));
    let unlabelled = Features::from_rows(vec![1.0, 2.0], 2, vec![None]).expect("rows");
    assert!(message(knn.accuracy(&unlabelled, &good)).contains("none of 1 rows of 2 numbers has a true label"));
    assert!(message(KnnClassifier { k: 0, ..knn }.accuracy(&good, &good)).contains("k = 0: must be at least 1"));
    assert!(message(KnnClassifier { temperature: 0.0, ..knn }.accuracy(&good, &good)).contains("temperature = 0"));
    let probe = LogisticProbe { decays: vec![-1.0], ..LogisticProbe::default() };
    assert!(probe.evaluate(&good, &good).expect_err("refused").to_string().contains("decays = -1"));
    let probe = LinearProbe { batch_size: 0, ..LinearProbe::default() };
    assert!(probe.evaluate(&good, &good).expect_err("refused").to_string().contains("batch_size = 0"));
    assert!(Features::from_rows(vec![1.0], 2, vec![None]).is_err());
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    let (train, test) = (blobs(3, 1500, 13, 6, 1.5), blobs(4, 333, 13, 6, 1.5));
    let all = || {
        let knn = KnnClassifier::evaluate_each(&[5, 50], 0.07, &train, &test).expect("fits");
        let logistic = LogisticProbe::default().evaluate(&train, &test).expect("fits");
        let linear = LinearProbe { epochs: 3, milestones: vec![2], ..LinearProbe::default() };
        (knn, logistic, linear.evaluate(&train, &test).expect("fits"))
    };
    let alone = in_threads(1, all);
    for threads in [2, 3, 8] {
        // Losses are compared exactly: f64 that went through every product.
        assert_eq!(in_threads(threads, all), alone, "{threads} threads");
    }
}

#[test]
fn logistic_probe_ends_where_linfa_ends() {
    let (train, test) = (blobs(5, 400, 8, 4, 2.0), blobs(6, 400, 8, 4, 2.0));
    let decay = 1e-2;
    let ours = LogisticProbe { decays: vec![decay], ..LogisticProbe::default() }.evaluate(&train, &test).expect("fits");

    let moments = |column: usize| {
        let values: Vec<f64> = (0..train.len()).map(|row| f64::from(train.row(row)[column])).collect();
        let mean = values.iter().sum::<f64>() / 400.0;
        (mean, (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 399.0).sqrt())
    };
    let moments: Vec<(f64, f64)> = (0..8).map(moments).collect();
    let standard = |of: &Features| {
        Array2::from_shape_fn((400, 8), |(row, column)| {
            (f64::from(of.row(row)[column]) - moments[column].0) / (moments[column].1 + 1e-6)
        })
    };
    let classes: Array1<usize> = train.true_labels.iter().map(|label| label.expect("labelled") as usize).collect();
    // linfa sums the loss over rows: its penalty is n times ours.
    let model = MultiLogisticRegression::default().alpha(decay * 400.0).max_iterations(1000).gradient_tolerance(1e-6);
    let model = model.fit(&Dataset::new(standard(&train), classes)).expect("linfa fits");
    let predicted = model.predict(&standard(&test));
    let right = predicted.iter().zip(&test.true_labels).filter(|(p, t)| Some(**p as u32) == **t).count();
    assert_eq!(ours.results[0].top1, right as f64 / 4.0);
    let probabilities = model.predict_probabilities(&standard(&train));
    let entropy: f64 = (0..400).map(|row| -probabilities[(row, row % 4)].ln()).sum::<f64>() / 400.0;
    let loss = entropy + 0.5 * decay * model.params().iter().map(|weight| weight * weight).sum::<f64>();
    assert!((ours.results[0].loss - loss).abs() < 1e-6, "{} {loss}", ours.results[0].loss);
}

#[test]
fn constant_columns_and_separable_classes_are_no_trouble() {
    // The second column never changes; the first separates the classes, so that without a penalty weights would grow
    // for ever.
    let train = features(2, &[1.0, 5.0, 2.0, 5.0, -1.0, 5.0, -2.0, 5.0], &[0, 0, 1, 1]);
    let report = LogisticProbe { decays: vec![0.0, 1.0], ..LogisticProbe::default() }.evaluate(&train, &train);
    let report = report.expect("fits");
    assert_eq!(report.results.iter().map(|result| result.top1).collect::<Vec<_>>(), [100.0, 100.0]);
    assert!(report.results.iter().all(|result| result.loss.is_finite()));
}

#[test]
fn linear_probe_learns_and_its_seed_decides() {
    let (train, test) = (blobs(7, 600, 8, 4, 1.0), blobs(8, 300, 8, 4, 1.0));
    // Features of this size diverge at the published learning rate for pooled ones.
    let probe = LinearProbe { learning_rate: 0.5, epochs: 20, milestones: vec![12, 16], ..LinearProbe::default() };
    let report = probe.evaluate(&train, &test).expect("fits");
    assert!(report.top1 > 75.0 && report.train_top1 > 75.0 && report.train_loss < 0.8, "{report:?}");
    assert_eq!(probe.evaluate(&train, &test).expect("fits"), report);
    let other = LinearProbe { seed: 1, ..probe }.evaluate(&train, &test).expect("fits");
    assert_ne!(other.train_loss, report.train_loss);
}

#[test]
fn a_diverging_probe_says_so() {
    let train = features(1, &[3e38, -3e38, 2e38, -1e38], &[0, 1, 1, 0]);
    let error = LinearProbe::default().evaluate(&train, &train).expect_err("too steep");
    assert!(error.to_string().ends_with("give a learning_rate below 30"), "{error}");
}

#[test]
fn reports_and_settings_go_through_json() {
    let train = blobs(9, 40, 3, 2, 0.5);
    let report = LogisticProbe::default().evaluate(&train, &train).expect("fits");
    let text = serde_json::to_string(&report).expect("JSON");
    let read: odc_eval::LogisticReport = serde_json::from_str(&text).expect("a report");
    assert_eq!((read.best, read.results.len(), read.results[3].decay), (report.best, 4, 1e-4));
    let probe: LinearProbe = serde_json::from_str(r#"{"epochs": 5}"#).expect("the rest is default");
    assert_eq!((probe.epochs, probe.batch_size), (5, 256));
    assert!(serde_json::from_str::<LinearProbe>(r#"{"epoch": 5}"#).is_err());
}
