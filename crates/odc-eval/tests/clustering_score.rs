//! Cluster scores of cases that can be computed by hand, and against a plain count over pairs.

use odc_eval::{ClusterSizes, ClusteringScore, EvalError};
use odc_testkit::formula;

fn score(clusters: &[u32], classes: &[u32]) -> ClusteringScore {
    ClusteringScore::new(clusters, classes).expect("labels")
}

#[test]
fn names_of_clusters_play_no_role() {
    let perfect = score(&[7, 7, 4_000_000_000, 0, 0], &[1, 1, 2, 0, 0]);
    assert_eq!((perfect.nmi, perfect.ari, perfect.purity, perfect.hungarian_accuracy), (1.0, 1.0, 100.0, 100.0));
    assert_eq!((perfect.n_samples, perfect.n_clusters, perfect.n_classes), (5, 3, 3));
}

#[test]
fn one_cluster_tells_nothing() {
    let one = score(&[0; 6], &[0, 0, 0, 1, 1, 2]);
    assert_eq!((one.nmi, one.ari, one.purity, one.hungarian_accuracy), (0.0, 0.0, 50.0, 50.0));
}

#[test]
fn singletons_are_pure_and_worth_little() {
    let alone = score(&[0, 1, 2, 3], &[0, 0, 1, 1]);
    // I = H(classes) = ln 2, H(clusters) = ln 4.
    assert!((alone.nmi - 2.0 / 3.0).abs() < 1e-12);
    assert_eq!((alone.ari, alone.purity, alone.hungarian_accuracy), (0.0, 100.0, 50.0));
}

#[test]
fn equal_partitions_without_structure_agree() {
    for labels in [vec![3], vec![2; 5], vec![0, 1, 2, 3]] {
        let same = score(&labels, &labels);
        assert_eq!((same.nmi, same.ari), (1.0, 1.0), "{labels:?}");
    }
}

#[test]
fn two_clusters_of_three_by_hand() {
    // Contingency [[2, 1], [0, 3]]: pairs together 1 + 3, in clusters 3 + 3, in classes 1 + 6, of 15.
    let hand = score(&[0, 0, 0, 1, 1, 1], &[0, 0, 1, 1, 1, 1]);
    let expected = 6.0 * 7.0 / 15.0;
    assert!((hand.ari - (4.0 - expected) / (6.5 - expected)).abs() < 1e-12);
    assert!((hand.purity - 500.0 / 6.0).abs() < 1e-9 && (hand.hungarian_accuracy - 500.0 / 6.0).abs() < 1e-9);
}

#[test]
fn matching_is_one_to_one_whichever_is_more() {
    // Both clusters are mostly of class 0: only one of them may be it.
    let fewer_classes = score(&[0, 0, 0, 1, 1, 2, 2, 2], &[0, 0, 0, 0, 0, 1, 1, 1]);
    assert_eq!((fewer_classes.purity, fewer_classes.hungarian_accuracy), (100.0, 75.0));
    let fewer_clusters = score(&[0, 0, 0, 0, 0, 1, 1, 1], &[0, 0, 0, 1, 1, 2, 2, 2]);
    assert_eq!(fewer_clusters.hungarian_accuracy, 75.0);
}

#[test]
fn the_best_matching_is_the_best_of_all_permutations() {
    let draw = |seed| formula(seed, 60).into_iter().map(|v| ((v + 1.0) * 2.0) as u32).collect::<Vec<_>>();
    for seed in 0..20 {
        let (clusters, classes) = (draw(2 * seed + 1), draw(2 * seed + 2));
        let agree = |to: [u32; 4]| clusters.iter().zip(&classes).filter(|(c, t)| to[**c as usize] == **t).count();
        let digits = |p: u32| [p / 64, p / 16 % 4, p / 4 % 4, p % 4];
        let permutations = (0..256).map(digits).filter(|to| (0..4).all(|class| to.contains(&class)));
        let best = permutations.map(agree).max().expect("24 permutations");
        assert_eq!(score(&clusters, &classes).hungarian_accuracy, 100.0 * best as f64 / 60.0, "seed {seed}");
    }
}

#[test]
fn rand_index_counts_pairs() {
    let draw = |seed| formula(seed, 80).into_iter().map(|v| ((v + 1.0) * 3.0) as u32).collect::<Vec<_>>();
    let (a, b) = (draw(5), draw(6));
    let [mut both, mut in_a, mut in_b, mut all] = [0.0_f64; 4];
    for i in 0..80 {
        for j in 0..i {
            let (same_a, same_b) = (a[i] == a[j], b[i] == b[j]);
            both += f64::from(u8::from(same_a && same_b));
            in_a += f64::from(u8::from(same_a));
            in_b += f64::from(u8::from(same_b));
            all += 1.0;
        }
    }
    let expected = in_a * in_b / all;
    assert!((score(&a, &b).ari - (both - expected) / ((in_a + in_b) / 2.0 - expected)).abs() < 1e-12);
}

#[test]
fn samples_without_a_true_label_are_left_out() {
    let known = [Some(0), None, Some(1), None, Some(1)];
    let some = ClusteringScore::where_known(&[5, 9, 6, 6, 6], &known).expect("three are known");
    assert_eq!((some.n_samples, some.n_unlabelled, some.n_clusters, some.nmi), (3, 2, 2, 1.0));
    assert!(matches!(ClusteringScore::where_known(&[1], &[None]), Err(EvalError::Empty { .. })));
    assert!(matches!(ClusteringScore::new(&[1], &[1, 2]), Err(EvalError::Size { .. })));
}

#[test]
fn sizes_are_summed_up() {
    let sizes = ClusterSizes::of(&[0, 0, 0, 0, 1, 1, 3], 5).expect("labels below 5");
    assert_eq!((sizes.n_clusters, sizes.empty, sizes.smallest, sizes.median, sizes.largest), (5, 2, 0, 1, 4));
    let even = ClusterSizes::of(&[0, 1, 2, 3, 3, 2, 1, 0], 4).expect("labels below 4");
    assert!((even.effective - 4.0).abs() < 1e-12);
    let message = ClusterSizes::of(&[4], 4).expect_err("too large").to_string();
    assert_eq!(message, "label = 4: must be below the number of clusters");
}
