//! Small clusters where the rules of the paper do not say enough: every input ends in clusters of threshold size.

use odc_memory::{Memory, MemoryConfig, MemoryState, Rule, SmallClusterReport};

fn memory(min_cluster: usize, n_clusters: usize, features: Vec<[f32; 2]>, labels: Vec<u32>) -> Memory {
    let config = MemoryConfig { dim: 2, n_clusters, momentum: 0.5, min_cluster, rule: Rule::Paper };
    let state = MemoryState {
        features: features.concat(),
        labels,
        centroids: vec![0.0; 2 * n_clusters],
        dirty: vec![true; n_clusters],
    };
    let mut memory = Memory::restore(config, state).expect("a state that fits");
    memory.update_centroids();
    memory
}

/// Points on an arc of the unit circle, all different.
fn arc(from: f32, to: f32, n: usize) -> Vec<[f32; 2]> {
    let angle = |i: usize| from + (to - from) * i as f32 / n as f32;
    (0..n).map(|i| [angle(i).cos(), angle(i).sin()]).collect()
}

#[test]
fn nothing_happens_where_no_cluster_is_small() {
    let mut memory = memory(5, 2, arc(0.0, 3.0, 10), [vec![0; 5], vec![1; 5]].concat());
    let before = memory.state();
    assert_eq!(memory.redistribute_small_clusters(), SmallClusterReport::default());
    assert_eq!(memory.state(), before);
}

#[test]
fn a_cluster_that_an_update_emptied_is_refilled() {
    let mut memory = memory(3, 2, [arc(0.0, 0.5, 12), arc(2.0, 2.1, 3)].concat(), [vec![0; 12], vec![1; 3]].concat());
    let drawn_away = [[1.0, 0.0]; 6].concat();
    for _ in 0..4 {
        memory.update_samples(&[12, 13, 14, 12, 13, 14], &drawn_away).expect("a batch that fits");
    }
    assert_eq!(memory.sizes(), [15, 0]);
    assert_eq!(memory.loss_weights(0.5), [1.0, 0.0]);
    let report = memory.redistribute_small_clusters();
    assert_eq!(report.handled, 1);
    assert!(memory.sizes().iter().all(|&size| size >= 3), "{:?}", memory.sizes());
    assert_eq!(memory.dirty(), [false, false], "both halves have their means at once");
}

#[test]
fn a_dissolved_cluster_leaves_its_targets_dirty_until_the_next_update() {
    // Cluster 3 (two members) goes to its neighbour 2; the largest, 0, is split for it.
    let features = [arc(0.0, 1.0, 20), arc(1.5, 1.6, 5), arc(3.0, 3.1, 5), arc(3.2, 3.3, 2)].concat();
    let labels = [vec![0; 20], vec![1; 5], vec![2; 5], vec![3; 2]].concat();
    let mut memory = memory(4, 4, features, labels);
    let before = memory.centroids().to_vec();
    let report = memory.redistribute_small_clusters();
    assert_eq!(memory.sizes(), [10, 5, 7, 10]);
    assert_eq!(report, SmallClusterReport { handled: 1, moved: 12, even_splits: 0, filled_up: 0 });
    assert_eq!(memory.dirty(), [false, false, true, false]);
    assert_eq!(memory.centroids()[2..6], before[2..6]);
    memory.update_centroids();
    assert_ne!(memory.centroids()[4..6], before[4..6]);
}

#[test]
fn identical_features_are_split_evenly() {
    let mut memory = memory(5, 4, vec![[0.6, 0.8]; 40], vec![0; 40]);
    let report = memory.redistribute_small_clusters();
    assert_eq!(memory.sizes(), [10, 10, 10, 10]);
    assert_eq!((report.handled, report.even_splits, report.filled_up), (3, 3, 0));
    assert!(memory.centroids().chunks_exact(2).all(|centroid| (centroid[0] - 0.6).abs() < 1e-6));
}

#[test]
fn an_outlier_that_2_means_cuts_off_again_and_again_ends_in_an_even_split() {
    let features = [vec![[1.0, 0.0]; 50], vec![[-1.0, 0.0]]].concat();
    let mut memory = memory(10, 2, features, vec![0; 51]);
    let report = memory.redistribute_small_clusters();
    assert_eq!(memory.sizes(), [25, 26]);
    assert_eq!((report.handled, report.even_splits, report.filled_up), (3, 1, 0));
}

#[test]
fn as_few_samples_as_allowed_fill_every_cluster_to_the_threshold() {
    // No cluster has two halves to give: cluster 2 is filled up with single members of the largest.
    let labels = [vec![0; 6], vec![1; 5], vec![2; 4]].concat();
    let mut close = memory(5, 3, arc(0.0, 3.0, 15), labels);
    let report = close.redistribute_small_clusters();
    assert_eq!(close.sizes(), [5, 5, 5]);
    assert_eq!((report.handled, report.filled_up), (1, 1));
    // All in one cluster, and all the same.
    for features in [arc(0.0, 3.0, 35), vec![[0.0, 1.0]; 35], vec![[0.0, 0.0]; 35]] {
        let mut one = memory(5, 7, features, vec![3; 35]);
        one.redistribute_small_clusters();
        assert_eq!(one.sizes(), [5; 7]);
    }
}

#[test]
fn threshold_1_refills_empty_clusters_only() {
    let mut memory = memory(1, 3, arc(0.0, 3.0, 3), vec![1; 3]);
    memory.redistribute_small_clusters();
    assert_eq!(memory.sizes(), [1, 1, 1]);
}

#[test]
fn ties_for_the_largest_go_to_the_lowest_index() {
    let features = [arc(0.0, 0.5, 8), arc(1.0, 1.5, 8), arc(2.0, 2.5, 8)].concat();
    let labels = [vec![2; 8], vec![1; 8], vec![3; 8]].concat();
    let mut memory = memory(2, 4, features, labels);
    memory.redistribute_small_clusters();
    assert_eq!(memory.sizes(), [4, 4, 8, 8]);
}
