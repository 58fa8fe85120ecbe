//! What is refused at the door, and what the messages say.

use odc_memory::{MAX_SAMPLES, Memory, MemoryConfig, MemoryError, MemoryState, Rule};

fn config() -> MemoryConfig {
    MemoryConfig { dim: 2, n_clusters: 3, momentum: 0.5, min_cluster: 2, rule: Rule::Paper }
}

fn features() -> Vec<f32> {
    vec![1.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, -1.0, 1.0, 1.0, 3.0, 4.0]
}

fn memory() -> Memory {
    Memory::new(config(), features(), vec![0, 1, 2, 0, 1, 2]).expect("no empty cluster")
}

fn message(error: MemoryError) -> String {
    error.to_string()
}

#[test]
fn too_few_samples_say_which_of_three_to_change() {
    let error = MemoryConfig { n_clusters: 100, min_cluster: 20, ..config() }.check(1500).expect_err("too few");
    let expected = "1500 images are too few for 100 clusters of at least 20 members each, which need 2000: lower \
                    n_clusters to at most 75, or min_cluster to at most 15, or add images";
    assert_eq!(message(error), expected);
    assert_eq!(MemoryConfig { n_clusters: 75, min_cluster: 20, ..config() }.check(1500), Ok(()));
}

#[test]
fn settings_out_of_bounds_are_named() {
    let cases = [
        (MemoryConfig { dim: 0, ..config() }, "dim"),
        (MemoryConfig { n_clusters: 0, ..config() }, "n_clusters"),
        (MemoryConfig { momentum: 0.0, ..config() }, "momentum"),
        (MemoryConfig { momentum: 1.5, ..config() }, "momentum"),
        (MemoryConfig { momentum: f32::NAN, ..config() }, "momentum"),
        (MemoryConfig { min_cluster: 0, ..config() }, "min_cluster"),
    ];
    for (config, name) in cases {
        let error = message(config.check(100).expect_err(name));
        assert!(error.starts_with(&format!("the memory's {name} is ")), "{error}");
    }
    let too_many = MAX_SAMPLES + 1;
    assert_eq!(config().check(too_many), Err(MemoryError::TooManySamples { n_samples: too_many }));
}

#[test]
fn a_clustering_with_an_empty_cluster_or_a_wrong_label_is_refused() {
    let begin = |labels| Memory::new(config(), features(), labels).expect_err("refused");
    assert_eq!(begin(vec![0, 0, 2, 2, 0, 0]), MemoryError::EmptyCluster { cluster: 1 });
    assert_eq!(begin(vec![0, 1, 2, 3, 0, 1]), MemoryError::Label { sample: 3, label: 3, n_clusters: 3 });
    let error = Memory::new(config(), vec![0.0; 11], vec![0, 1, 2, 0, 1, 2]).expect_err("refused");
    assert_eq!(error, MemoryError::Length { what: "feature entries", expected: 12, found: 11 });
}

#[test]
fn initial_features_that_are_not_finite_are_named() {
    let mut features = features();
    features[7] = f32::INFINITY;
    let error = Memory::new(config(), features, vec![0, 1, 2, 0, 1, 2]).expect_err("refused");
    assert_eq!(error, MemoryError::SampleNotFinite { sample: 3, entry: 1, value: f32::INFINITY });
}

#[test]
fn a_batch_that_is_refused_leaves_the_memory_as_it_was() {
    let mut memory = memory();
    let before = memory.state();
    let error = memory.update_samples(&[4, 1], &[1.0, 2.0, 3.0, f32::NAN]).expect_err("NaN");
    assert!(message(error).starts_with("the feature at position 1 of the batch (sample 1) holds NaN in entry 1"));
    let error = memory.update_samples(&[4, 6], &[1.0; 4]).expect_err("no such sample");
    assert_eq!(error, MemoryError::Index { position: 1, index: 6, n_samples: 6 });
    let error = memory.update_samples(&[4, 1], &[1.0; 5]).expect_err("length");
    assert_eq!(error, MemoryError::Length { what: "feature entries in the batch", expected: 4, found: 5 });
    assert_eq!(memory.state(), before);
    assert_eq!(memory.update_samples(&[], &[]), Ok(0.0));
    assert_eq!(memory.state(), before);
}

#[test]
fn a_damaged_state_is_refused() {
    let damaged = |change: fn(&mut MemoryState)| {
        let mut state = memory().state();
        change(&mut state);
        Memory::restore(config(), state).map(|memory| memory.n_samples())
    };
    assert_eq!(damaged(|_| ()), Ok(6));
    assert!(matches!(damaged(|s| s.features[3] = 1.5), Err(MemoryError::Stored { what: "features", position: 3, .. })));
    assert!(matches!(damaged(|s| s.features[0] = f32::NAN), Err(MemoryError::Stored { .. })));
    assert!(matches!(damaged(|s| s.centroids[1] = f32::NAN), Err(MemoryError::Stored { what: "centroids", .. })));
    assert!(matches!(damaged(|s| s.labels[1] = 9), Err(MemoryError::Label { sample: 1, label: 9, .. })));
    assert!(matches!(damaged(|s| s.dirty.truncate(2)), Err(MemoryError::Length { what: "dirty flags", .. })));
    assert!(matches!(damaged(|s| s.centroids.push(0.0)), Err(MemoryError::Length { .. })));
}
