//! The memory's rules against the numbers of the reference implementation (`tests/golden`).

use odc_memory::{Memory, MemoryConfig, MemoryState, Rule, nearest, two_means};
use odc_testkit::{Golden, assert_close};

fn config(dim: usize, n_clusters: usize, rule: Rule) -> MemoryConfig {
    MemoryConfig { dim, n_clusters, momentum: 0.5, min_cluster: 20, rule }
}

fn memory(config: MemoryConfig, features: Vec<f32>, labels: Vec<u32>, centroids: Vec<f32>, dirty: &[usize]) -> Memory {
    let dirty = (0..config.n_clusters).map(|cluster| dirty.contains(&cluster)).collect();
    Memory::restore(config, MemoryState { features, labels, centroids, dirty }).expect("the golden state fits")
}

#[test]
fn sample_update_by_both_rules() {
    for (rule, name) in [(Rule::Reference, "memory_update_code"), (Rule::Paper, "memory_update_paper")] {
        let golden = Golden::open(name);
        let state = (golden.f32("feature_before"), golden.u32("label_before"), golden.f32("centroid"));
        let mut memory = memory(config(16, 12, rule), state.0, state.1, state.2, &[]);
        let change_ratio = memory.update_samples(&golden.u32("idx"), &golden.f32("z")).expect("a batch that fits");
        assert_close(name, memory.features(), &golden.f32("feature_after"), 1e-6);
        assert_eq!(memory.labels(), golden.u32("label_after"), "{name}");
        assert_close(name, &[change_ratio], &golden.f32("change_ratio"), 1e-6);
    }
}

#[test]
fn initial_features_are_normalised_and_centroids_are_their_means() {
    let golden = Golden::open("memory_update_paper");
    let mut raw = golden.f32("feature_before");
    raw.iter_mut().for_each(|entry| *entry *= 3.0);
    let memory = Memory::new(config(16, 12, Rule::Paper), raw, golden.u32("label_before")).expect("no empty cluster");
    assert_close("features", memory.features(), &golden.f32("feature_before"), 1e-6);
    assert_close("centroids", memory.centroids(), &golden.f32("centroid"), 1e-6);
}

#[test]
fn new_label_is_the_nearest_centroid_and_the_lowest_index_on_ties() {
    let golden = Golden::open("reassign");
    let (features, centroids) = (golden.f32("feature"), golden.f32("centroid"));
    for (rule, name) in [(Rule::Reference, "label_code"), (Rule::Paper, "label_paper")] {
        let mut labels = vec![0; features.len() / 16];
        nearest(rule, &features, &centroids, 16, &mut labels);
        assert_eq!(labels, golden.u32(name), "{name}");
    }
}

#[test]
fn centroids_become_means_where_dirty_and_an_empty_cluster_keeps_its_own() {
    let golden = Golden::open("centroid_update");
    let begin = |dirty: &[usize]| {
        let (features, labels) = (golden.f32("feature"), golden.u32("label"));
        memory(config(16, 12, Rule::Paper), features, labels, golden.f32("centroid_before"), dirty)
    };
    let mut subset = begin(&[2, 9]);
    subset.update_centroids();
    assert_close("subset", subset.centroids(), &golden.f32("after_subset"), 1e-6);
    assert_eq!(subset.dirty(), [false; 12]);
    let mut all = begin(&(0..12).collect::<Vec<_>>());
    all.update_centroids();
    assert_close("all", all.centroids(), &golden.f32("after_all"), 1e-6);
    assert_eq!(all.centroids()[5 * 16..6 * 16], golden.f32("centroid_before")[5 * 16..6 * 16]);
}

#[test]
fn two_means_is_the_deterministic_split() {
    let golden = Golden::open("two_means");
    let names: Vec<String> = golden.names().into_iter().filter(|name| name.starts_with("x_")).collect();
    assert!(names.len() >= 6);
    for name in names {
        let shape = golden.shape(&name);
        let members: Vec<u32> = (0..shape[0] as u32).collect();
        let sides: Vec<u32> = two_means(&golden.f32(&name), shape[1], &members).into_iter().map(u32::from).collect();
        assert_eq!(sides, golden.u32(&name.replace("x_", "side_")), "{name}");
    }
}

#[test]
fn small_clusters_are_dissolved_and_refilled() {
    let cases = [
        ("small_one", Rule::Reference, 0),
        ("small_several", Rule::Reference, 0),
        ("small_several_paper", Rule::Paper, 0),
        ("small_identical", Rule::Reference, 1),
    ];
    for (name, rule, even_splits) in cases {
        let golden = Golden::open(name);
        let shape = golden.shape("centroid_before");
        let state = (golden.f32("feature"), golden.u32("label_before"), golden.f32("centroid_before"));
        let mut memory = memory(config(shape[1], shape[0], rule), state.0, state.1, state.2, &[]);
        let report = memory.redistribute_small_clusters();
        assert_eq!(memory.labels(), golden.u32("label_after"), "{name}");
        assert_close(name, memory.centroids(), &golden.f32("centroid_after"), 1e-6);
        assert_eq!(memory.sizes(), golden.u32("hist_after"), "{name}");
        assert_eq!(report.handled as i64, golden.i64("handled")[0], "{name}");
        assert_eq!((report.even_splits, report.filled_up), (even_splits, 0), "{name}");
        assert!(memory.small_clusters().is_empty(), "{name}");
    }
}

/// A memory whose clusters have the given sizes.
fn memory_of_sizes(sizes: &[u32]) -> Memory {
    let labels: Vec<u32> = (0_u32..).zip(sizes).flat_map(|(label, &size)| vec![label; size as usize]).collect();
    let settings = MemoryConfig { min_cluster: 1, ..config(1, sizes.len(), Rule::Paper) };
    memory(settings, vec![1.0; labels.len()], labels, vec![1.0; sizes.len()], &[])
}

#[test]
fn loss_weights_are_the_inverse_root_of_the_sizes() {
    let golden = Golden::open("weighted_ce");
    let weights = memory_of_sizes(&golden.u32("hist")).loss_weights(0.5);
    assert_close("weights", &weights, &golden.f32("weight"), 1e-6);
}

#[test]
fn loss_weights_have_sum_1_over_non_empty_clusters() {
    // Not the golden `weight_empty`: there the empty cluster has nearly all of the weight, 1/√1e-10.
    let sizes = Golden::open("weighted_ce").u32("hist_empty");
    let weights = memory_of_sizes(&sizes).loss_weights(0.5);
    assert_eq!(weights[7], 0.0);
    assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    let expected = (sizes[1] as f32 / sizes[0] as f32).sqrt();
    assert_close("ratio", &[weights[0] / weights[1]], &[expected], 1e-6);
    assert_close("power 0", &memory_of_sizes(&[3, 1, 0, 9]).loss_weights(0.0), &[1. / 3., 1. / 3., 0., 1. / 3.], 1e-6);
}
