//! Linear SVMs: in hand-made cases, for any number of threads, and what cannot be judged.

use odc_eval::{AveragePrecision, EvalError, Features, Labelled, LinearSvm, SvmReport, TrueClasses};
use odc_testkit::formula;

/// Rows around one centre per class; more `noise`, harder.
fn blobs(seed: u64, n: usize, dim: usize, classes: usize, noise: f32) -> Features {
    let (centres, noises) = (formula(77, classes * dim), formula(seed, n * dim));
    let value = |place: usize| centres[place / dim % classes * dim + place % dim] + noise * noises[place];
    let labels = (0..n).map(|row| Some((row % classes) as u32)).collect();
    Features::from_rows((0..n * dim).map(value).collect(), dim, labels).expect("rows")
}

fn truth(names: &[&str], shows: &[Option<bool>]) -> TrueClasses {
    TrueClasses::new(names.iter().map(|name| (*name).to_owned()).collect(), shows.to_vec()).expect("whole rows")
}

fn judge(
    svm: &LinearSvm,
    train: (&Features, &TrueClasses),
    test: (&Features, &TrueClasses),
) -> Result<SvmReport, EvalError> {
    let labelled = |(features, classes)| Labelled { features, classes };
    svm.evaluate(labelled(train), labelled(test), &mut |_, _| ())
}

fn rows(dim: usize, values: &[f32]) -> Features {
    Features::from_rows(values.to_vec(), dim, vec![None; values.len() / dim]).expect("rows")
}

const YES: Option<bool> = Some(true);
const NO: Option<bool> = Some(false);

#[test]
fn one_row_ends_where_the_formula_says() {
    // Two rows (1, 0) and (−1, 0), targets ±1, weight 2 for the positive one. With b the bias and w the weight of the
    // first column, the minimum of ½(w² + b²) + C (2 (1 − w − b)² + (1 − w + b)²) solves two linear equations.
    let (features, classes) = (rows(2, &[5.0, 0.0, -0.1, 0.0]), truth(&["a"], &[YES, NO]));
    let cost = 0.3;
    let svm = LinearSvm { costs: vec![cost], ..LinearSvm::default() };
    let report = judge(&svm, (&features, &classes), (&features, &classes)).expect("fits");
    // w (1 + 6C) + 2C b = 6C and 2C w + b (1 + 6C) = 2C.
    let (a, c, d, e) = (1.0 + 6.0 * cost, 2.0 * cost, 6.0 * cost, 2.0 * cost);
    let (w, b) = ((d * a - c * e) / (a * a - c * c), (e * a - c * d) / (a * a - c * c));
    let least = 0.5 * (w * w + b * b) + cost * (2.0 * (1.0 - w - b).powi(2) + (1.0 - w + b).powi(2));
    let fit = report.classes[0].svm.as_ref().expect("trained");
    assert!(fit.converged && (fit.objective - least).abs() <= 2e-6 * least, "{fit:?} {least}");
    assert_eq!(report.classes[0].average_precision, Some(100.0));
}

#[test]
fn separable_classes_are_told_apart_with_every_cost_and_measure() {
    let (train, test) = (blobs(1, 300, 20, 4, 0.2), blobs(2, 200, 20, 4, 0.2));
    let (train_classes, test_classes) = (TrueClasses::of_labels(&train, 4), TrueClasses::of_labels(&test, 4));
    for average_precision in [AveragePrecision::Area, AveragePrecision::Interpolated, AveragePrecision::Voc11] {
        let svm = LinearSvm { average_precision, ..LinearSvm::default() };
        let report = judge(&svm, (&train, &train_classes), (&test, &test_classes)).expect("fits");
        assert!(report.mean_average_precision.mean > 99.9 && report.mean_average_precision.deviation == 0.0);
        assert!(report.accuracy.is_some_and(|accuracy| accuracy.mean > 99.0));
        assert!(report.classes.iter().all(|class| class.positives == 75 && class.test_positives == 50));
    }
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    let (train, test) = (blobs(3, 900, 30, 5, 2.5), blobs(4, 400, 30, 5, 2.5));
    let (train_classes, test_classes) = (TrueClasses::of_labels(&train, 5), TrueClasses::of_labels(&test, 5));
    let svm = LinearSvm { costs: vec![0.01, 1.0, 100.0], seeds: 2, ..LinearSvm::default() };
    let all = || {
        let report = judge(&svm, (&train, &train_classes), (&test, &test_classes)).expect("fits");
        let labelled = |features, classes| Labelled { features, classes };
        let (train, test) = (labelled(&train, &train_classes), labelled(&test, &test_classes));
        (report, svm.low_shot(&[2, 20], 3, train, test, &mut |_, _| ()).expect("fits"))
    };
    let in_threads =
        |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads").install(all);
    let alone = in_threads(1);
    for threads in [2, 3, 8] {
        assert_eq!(in_threads(threads), alone, "{threads} threads");
    }
    let (report, few) = alone;
    assert!(report.mean_average_precision.mean > 40.0, "{report:?}");
    let means: Vec<f64> = few.results.iter().map(|result| result.mean_average_precision.mean).collect();
    assert!(
        few.single_label && means[0] > 22.0 && means[1] > means[0] && report.mean_average_precision.mean > means[1]
    );
    assert!(
        few.results
            .iter()
            .all(|result| result.mean_average_precision.values.len() == 3
                && result.mean_average_precision.deviation > 0.0)
    );
    assert!(few.results[1].accuracy.as_ref().is_some_and(|accuracy| accuracy.mean > 25.0));
}

#[test]
fn ignored_images_change_nothing() {
    let (train, test) = (blobs(5, 200, 8, 2, 1.5), blobs(6, 100, 8, 2, 1.5));
    let known = |features: &Features, ignored: usize| -> TrueClasses {
        let entry = |row: usize| [(row >= ignored).then_some(row.is_multiple_of(2)), Some(!row.is_multiple_of(2))];
        truth(&["a", "b"], &(0..features.len()).flat_map(entry).collect::<Vec<_>>())
    };
    // What is ignored for the first class is as good as absent from it, and still there for the second.
    let (train_classes, test_classes) = (known(&train, 30), known(&test, 20));
    let svm = LinearSvm { costs: vec![0.1, 1.0], ..LinearSvm::default() };
    let ignoring = judge(&svm, (&train, &train_classes), (&test, &test_classes)).expect("fits");
    let (less_train, less_test): (Vec<usize>, Vec<usize>) = ((30..200).collect(), (20..100).collect());
    let less = judge(
        &svm,
        (&train.select(&less_train), &train_classes.select(&less_train)),
        (&test.select(&less_test), &test_classes.select(&less_test)),
    )
    .expect("fits");
    let whole = judge(&svm, (&train, &TrueClasses::of_labels(&train, 2)), (&test, &TrueClasses::of_labels(&test, 2)))
        .expect("fits");
    let precision = |report: &SvmReport, class: usize| report.classes[class].average_precision.expect("judged");
    assert!((precision(&ignoring, 0) - precision(&less, 0)).abs() < 1e-3, "{ignoring:?} {less:?}");
    assert_eq!(ignoring.classes[0].positives + ignoring.classes[0].negatives, 170);
    assert_eq!(precision(&ignoring, 1), precision(&whole, 1));
    assert_eq!((ignoring.accuracy, whole.accuracy.is_some()), (None, true));
}

#[test]
fn classes_are_matched_by_name_and_those_that_cannot_be_judged_are_left_out() {
    let train = rows(1, &[1.0, 2.0, -1.0, -2.0]);
    // `everywhere` is shown by all, `nowhere` by none.
    let names = ["everywhere", "left", "nowhere", "right"];
    let shows: Vec<Option<bool>> = [1, 1, -1, -1].iter().flat_map(|x| [YES, Some(*x < 0), NO, Some(*x > 0)]).collect();
    let test = rows(1, &[3.0, -3.0, 3.0]);
    let other = truth(&["right", "unheard of"], &[YES, NO, NO, NO, NO, YES]);
    let report = judge(&LinearSvm::default(), (&train, &truth(&names, &shows)), (&test, &other)).expect("fits");
    let judged: Vec<Option<f64>> = report.classes.iter().map(|class| class.average_precision).collect();
    // The third test image scores as the first one does.
    assert_eq!(judged, [None, None, None, Some(50.0)]);
    assert_eq!(report.mean_average_precision.mean, 50.0);
    assert_eq!(report.classes.iter().map(|class| class.svm.is_some()).collect::<Vec<_>>(), [false, true, false, true]);
    let nothing = truth(&["unheard of"], &[YES, NO, YES]);
    let error =
        judge(&LinearSvm::default(), (&train, &truth(&names, &shows)), (&test, &nothing)).expect_err("no class");
    assert!(error.to_string().starts_with("linear SVM: no class is shown"), "{error}");
}

#[test]
fn fewer_images_than_folds_and_rows_of_zeros_are_no_trouble() {
    let train = rows(2, &[0.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
    let classes = truth(&["a", "b"], &[NO, YES, YES, NO, NO, YES]);
    let report = judge(&LinearSvm::default(), (&train, &classes), (&train, &classes)).expect("fits");
    assert_eq!((report.train_images, report.accuracy.is_some()), (3, true));
    let finite = |fit: &odc_eval::SvmFit| fit.validated_average_precision.is_finite() && fit.objective.is_finite();
    assert!(report.classes.iter().all(|class| class.svm.as_ref().is_some_and(finite)), "{report:?}");
}

#[test]
fn what_cannot_be_judged_is_named() {
    let (features, classes) = (rows(1, &[1.0, -1.0]), truth(&["a"], &[YES, NO]));
    let message = |svm: &LinearSvm, train: (&Features, &TrueClasses)| {
        judge(svm, train, (&features, &classes)).expect_err("refused").to_string()
    };
    let svm = LinearSvm::default();
    let bad = rows(1, &[1.0, f32::INFINITY]);
    assert!(message(&svm, (&bad, &classes)).starts_with("feature 0 of #1 is inf"));
    assert!(message(&svm, (&rows(2, &[1.0; 4]), &classes)).contains("1 where 2 is needed"));
    assert!(
        message(&svm, (&features, &truth(&["a"], &[YES]))).contains("true classes of training features: 1 where 2")
    );
    let refused = |svm: LinearSvm| message(&svm, (&features, &classes));
    assert!(refused(LinearSvm { costs: vec![], ..LinearSvm::default() }).contains("costs = []"));
    assert!(refused(LinearSvm { costs: vec![1.0, -1.0], ..LinearSvm::default() }).contains("costs = -1"));
    assert!(refused(LinearSvm { positive_weight: 0.0, ..LinearSvm::default() }).contains("positive_weight = 0"));
    assert!(refused(LinearSvm { folds: 1, ..LinearSvm::default() }).contains("folds = 1: must be at least 2"));
    assert!(refused(LinearSvm { seeds: 0, ..LinearSvm::default() }).contains("seeds = 0"));
    let side = Labelled { features: &features, classes: &classes };
    let few = |shots: &[usize], draws| {
        svm.low_shot(shots, draws, side, side, &mut |_, _| ()).expect_err("refused").to_string()
    };
    assert!(few(&[0], 5).contains("low_shot = [0]"));
    assert!(few(&[1], 0).contains("draws = 0"));
    assert!(few(&[1, 2], 5).contains("\"a\" has 1; ask for at most 1"));
}
