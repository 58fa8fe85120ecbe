//! The same numbers as scikit-learn (expected.json, made by make_expected.py) and as the golden files.

use odc_eval::{
    AveragePrecision, ClusteringScore, Features, KnnClassifier, Labelled, LinearSvm, LogisticProbe, SvmReport,
    TrueClasses,
};
use odc_testkit::{Golden, formula};

fn expected() -> serde_json::Value {
    serde_json::from_str(include_str!("expected.json")).expect("expected.json is JSON")
}

fn labels(seed: u64, n: usize, classes: u32) -> Vec<u32> {
    let label = |value| (((f64::from(value) + 1.0) / 2.0 * f64::from(classes)) as u32).min(classes - 1);
    formula(seed, n).into_iter().map(label).collect()
}

/// As in make_expected.py.
fn blobs(seed: u64, n: usize, dim: usize, classes: usize) -> Features {
    let (centres, noise) = (formula(1000, classes * dim), formula(seed, n * dim));
    let value = |place: usize| {
        let (row, column) = (place / dim, place % dim);
        (centres[row % classes * dim + column] + 1.5 * noise[place]) * 2_f32.powi(column as i32 % 5)
    };
    let true_labels = (0..n).map(|row| Some((row % classes) as u32)).collect();
    Features::from_rows((0..n * dim).map(value).collect(), dim, true_labels).expect("rows")
}

fn close(what: &str, actual: f64, expected: &serde_json::Value, tolerance: f64) {
    let expected = expected.as_f64().expect("a number");
    assert!((actual - expected).abs() <= tolerance, "{what}: {actual} where {expected} is expected");
}

#[test]
fn cluster_scores_of_scikit_learn() {
    let (a, b) = (labels(1, 400, 7), labels(2, 400, 5));
    let mixed: Vec<u32> =
        formula(3, 400).iter().zip(a.iter().zip(&b)).map(|(u, (a, b))| if *u < 0.3 { *b } else { *a }).collect();
    for (clusters, expected) in [a, mixed, labels(4, 400, 40)].iter().zip(expected()["clusters"].as_array().expect("3"))
    {
        let score = ClusteringScore::new(clusters, &b).expect("labels");
        close("nmi", score.nmi, &expected["nmi"], 1e-12);
        close("ari", score.ari, &expected["ari"], 1e-12);
        close("purity", score.purity, &expected["purity"], 1e-9);
        close("hungarian", score.hungarian_accuracy, &expected["hungarian"], 1e-9);
    }
}

#[test]
fn cluster_scores_of_the_golden_file() {
    let golden = Golden::open("nmi");
    let (a, b, q) = (golden.u32("a"), golden.u32("b"), golden.u32("q"));
    let score = ClusteringScore::new(&a, &b).expect("labels");
    // The golden numbers are f32.
    assert!((score.nmi - f64::from(golden.f32("nmi_ab")[0])).abs() < 1e-6);
    assert!((score.hungarian_accuracy - golden.f64("hungarian")[0]).abs() < 1e-9);
    let other = ClusteringScore::new(&a, &q).expect("labels");
    assert!((other.nmi - f64::from(golden.f32("nmi_aq")[0])).abs() < 1e-6);
}

#[test]
fn neighbours_of_the_golden_file_and_of_scikit_learn() {
    let golden = Golden::open("knn");
    let features = |rows, labels| {
        let known = golden.u32(labels).into_iter().map(Some).collect();
        Features::from_rows(golden.f32(rows), 24, known).expect("rows")
    };
    let classifier = KnnClassifier { k: 20, temperature: 0.07 };
    let report = classifier.evaluate(&features("train", "train_label"), &features("test", "test_label")).expect("fits");
    assert!((report.results[0].weighted - f64::from(golden.f32("acc_weighted")[0])).abs() < 1e-4);
    assert!((report.results[0].majority - f64::from(golden.f32("acc_plain")[0])).abs() < 1e-4);

    let classifier = KnnClassifier { k: 15, temperature: 0.07 };
    let accuracy = classifier.accuracy(&blobs(11, 600, 12, 5), &blobs(12, 300, 12, 5)).expect("fits");
    close("kNN", accuracy, &expected()["knn15"], 1e-9);
}

#[test]
fn logistic_regression_of_scikit_learn() {
    let probe = LogisticProbe { decays: vec![1e-3, 1e-1, 1e-2], ..LogisticProbe::default() };
    let report = probe.evaluate(&blobs(11, 600, 12, 5), &blobs(12, 300, 12, 5)).expect("fits");
    assert_eq!((report.classes, report.dim, report.train_images, report.test_images), (5, 12, 600, 300));
    let expected = expected();
    for (result, expected) in report.results.iter().zip(expected["logistic"].as_array().expect("3")) {
        assert!(result.converged, "{result:?}");
        close("decay", result.decay, &expected["decay"], 0.0);
        close("loss", result.loss, &expected["loss"], 1e-6);
        close("top1", result.top1, &expected["top1"], 1e-9);
    }
    let best = report.results.iter().map(|result| result.top1).fold(0.0, f64::max);
    assert_eq!(report.best, best);
}

/// As in make_expected.py: what rows show, several classes each, some to be ignored.
fn concepts(seed: u64, rows: &Features, classes: usize) -> TrueClasses {
    let noise: Vec<f64> = formula(seed, rows.len() * classes).into_iter().map(f64::from).collect();
    let entry = |place: usize| {
        let row: Vec<f64> = rows.row(place / classes).iter().copied().map(f64::from).collect();
        let length = row.iter().map(|value| value * value).sum::<f64>().sqrt();
        let plane = formula(2000 + (place % classes) as u64, rows.dim);
        let side: f64 = row.iter().zip(plane).map(|(value, plane)| value / length * f64::from(plane)).sum();
        (noise[place].abs() >= 0.05).then_some(side + 0.6 * noise[place] > 0.35)
    };
    let names = (0..classes).map(|class| class.to_string()).collect();
    TrueClasses::new(names, (0..noise.len()).map(entry).collect()).expect("whole rows")
}

fn svm_report(svm: &LinearSvm, classes: &dyn Fn(u64, &Features) -> TrueClasses) -> SvmReport {
    let (train, test) = (blobs(11, 600, 12, 5), blobs(12, 300, 12, 5));
    let (train_classes, test_classes) = (classes(21, &train), classes(22, &test));
    let train = Labelled { features: &train, classes: &train_classes };
    svm.evaluate(train, Labelled { features: &test, classes: &test_classes }, &mut |_, _| ()).expect("fits")
}

fn numbers(value: &serde_json::Value) -> Vec<f64> {
    value.as_array().expect("numbers").iter().map(|value| value.as_f64().expect("a number")).collect()
}

fn svms_are_those_of_scikit_learn(case: &str, classes: &dyn Fn(u64, &Features) -> TrueClasses) {
    let expected = &expected()[case];
    let costs = numbers(&expected["costs"]);
    let of_classes = expected["classes"].as_array().expect("classes");
    for (place, &cost) in costs.iter().enumerate() {
        let report = svm_report(&LinearSvm { costs: vec![cost], ..LinearSvm::default() }, classes);
        for (class, expected) in report.classes.iter().zip(of_classes) {
            let svm = class.svm.as_ref().expect("trained");
            let least = numbers(&expected["objectives"])[place];
            // Not below the minimum, but for single precision, and above it by no more than the gap allows.
            let above = svm.objective / least - 1.0;
            assert!(svm.converged && (-1e-6..1e-5).contains(&above), "cost {cost}: {above} {svm:?}");
            assert!(svm.gap <= 1e-6 * svm.objective && svm.objective - svm.gap <= least * (1.0 + 1e-6), "{svm:?}");
            let validated = numbers(&expected["validated"])[place];
            assert!((svm.validated_average_precision - validated).abs() < 0.2, "cost {cost}: {validated} {svm:?}");
            assert_eq!(class.positives as u64, expected["positives"].as_u64().expect("a count"));
        }
    }
    let ways = [
        ("area", AveragePrecision::Area),
        ("interpolated", AveragePrecision::Interpolated),
        ("voc11", AveragePrecision::Voc11),
    ];
    for (name, average_precision) in ways {
        let report =
            svm_report(&LinearSvm { costs: costs.clone(), average_precision, ..LinearSvm::default() }, classes);
        let mut sum = 0.0;
        for (class, expected) in report.classes.iter().zip(of_classes) {
            close("cost", class.svm.as_ref().expect("trained").cost, &expected["cost"], 0.0);
            close(name, class.average_precision.expect("judged"), &expected[name], 0.2);
            sum += expected[name].as_f64().expect("a number");
        }
        let mean = sum / of_classes.len() as f64;
        assert!((report.mean_average_precision.mean - mean).abs() < 0.1, "{name}: {mean} {report:?}");
        match expected["accuracy"].as_f64() {
            Some(accuracy) => assert!((report.accuracy.expect("one label each").mean - accuracy).abs() < 0.5),
            None => assert_eq!(report.accuracy, None),
        }
    }
}

#[test]
fn linear_svms_of_scikit_learn() {
    svms_are_those_of_scikit_learn("svm_one_label", &|_, rows| TrueClasses::of_labels(rows, 5));
}

#[test]
fn linear_svms_of_scikit_learn_with_several_labels_and_ignored_ones() {
    svms_are_those_of_scikit_learn("svm_several_labels", &|seed, rows| concepts(seed, rows, 4));
}
