//! The memory against a plain twin that recomputes everything from scratch, over thousands of random steps: labels,
//! features, centroids and sizes are equal bit for bit. Also: going on from a stored state, and any number of threads.

mod plain;

use odc_memory::{Memory, MemoryConfig, Rule, SmallClusterReport};
use plain::PlainMemory;

/// A stream of random numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn entry(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// One of four kinds of features: from a coarse grid (so that ties and equal features are common), zero, near one
    /// axis (so that clusters die out), or anywhere.
    fn feature(&mut self, dim: usize) -> Vec<f32> {
        let axis = self.below(2.min(dim));
        match self.below(8) {
            0 => vec![0.0; dim],
            1..=3 => (0..dim).map(|_| self.below(3) as f32 - 1.0).collect(),
            4..=5 => (0..dim).map(|entry| if entry == axis { 1.0 } else { 0.01 * self.entry() }).collect(),
            _ => (0..dim).map(|_| 10.0 * self.entry()).collect(),
        }
    }

    fn features(&mut self, n: usize, dim: usize) -> Vec<f32> {
        (0..n).flat_map(|_| self.feature(dim)).collect()
    }
}

enum Step {
    UpdateSamples(Vec<u32>, Vec<f32>),
    UpdateCentroids,
    RedistributeSmallClusters,
}

fn random_step(random: &mut Random, n_samples: usize, dim: usize) -> Step {
    match random.below(4) {
        0 => Step::UpdateCentroids,
        1 => Step::RedistributeSmallClusters,
        _ => {
            let batch = random.below(n_samples.min(40));
            // Indices from a narrow range now and then, so that many repeat.
            let range = 1 + random.below(n_samples);
            let indices = (0..batch).map(|_| random.below(range) as u32).collect();
            Step::UpdateSamples(indices, random.features(batch, dim))
        }
    }
}

fn settings() -> Vec<(usize, MemoryConfig)> {
    let mut settings = Vec::new();
    for rule in [Rule::Paper, Rule::Reference] {
        let of = |dim, n_clusters, momentum, min_cluster| MemoryConfig { dim, n_clusters, momentum, min_cluster, rule };
        settings.extend([
            (200, of(3, 10, 0.5, 5)),
            (300, of(17, 40, 0.3, 2)),
            // As few samples as there may be: every cluster has to end at the threshold exactly.
            (60, of(2, 12, 0.5, 5)),
            (61, of(4, 12, 1.0, 5)),
            (30, of(2, 30, 0.9, 1)),
            (50, of(5, 1, 0.001, 20)),
        ]);
    }
    settings
}

fn begin(random: &mut Random, n_samples: usize, config: &MemoryConfig) -> (Vec<f32>, Vec<u32>) {
    let features = random.features(n_samples, config.dim);
    let label = |sample| if sample < config.n_clusters { sample } else { random.below(config.n_clusters) };
    (features, (0..n_samples).map(label).map(|label| label as u32).collect())
}

#[test]
fn memory_equals_its_plain_twin_over_thousands_of_steps() {
    let mut total = SmallClusterReport::default();
    for (number, (n_samples, config)) in settings().into_iter().enumerate() {
        let mut random = Random(number as u64);
        let (features, labels) = begin(&mut random, n_samples, &config);
        let mut plain = PlainMemory::new(config.clone(), features.clone(), labels.clone());
        let mut memory = Memory::new(config.clone(), features, labels).expect("no empty cluster");
        for step in 0..600 {
            match random_step(&mut random, n_samples, config.dim) {
                Step::UpdateSamples(indices, features) => {
                    let change_ratio = memory.update_samples(&indices, &features).expect("a batch that fits");
                    assert_eq!(change_ratio, plain.update_samples(&indices, &features));
                }
                Step::UpdateCentroids => {
                    memory.update_centroids();
                    plain.update_centroids();
                }
                Step::RedistributeSmallClusters => {
                    let report = memory.redistribute_small_clusters();
                    total.handled += report.handled;
                    total.even_splits += report.even_splits;
                    total.filled_up += report.filled_up;
                    plain.redistribute_small_clusters();
                    assert!(memory.small_clusters().is_empty(), "{config:?}, step {step}");
                }
            }
            let what = format!("{config:?}, step {step}");
            assert_eq!(memory.labels(), plain.labels, "{what}");
            assert_eq!(memory.features(), plain.features, "{what}");
            assert_eq!(memory.centroids(), plain.centroids, "{what}");
            assert_eq!(memory.sizes(), plain.sizes(), "{what}");
            if random.below(10) == 0 {
                memory = Memory::restore(config.clone(), memory.state()).expect("its own state");
            }
        }
    }
    // The steps have been through every branch of small clusters.
    assert!(total.handled > 1000 && total.even_splits > 100 && total.filled_up > 100, "{total:?}");
}

fn run(memory: &mut Memory, random: &mut Random, steps: usize) {
    for _ in 0..steps {
        match random_step(random, memory.n_samples(), memory.config().dim) {
            Step::UpdateSamples(indices, features) => {
                memory.update_samples(&indices, &features).expect("a batch that fits");
            }
            Step::UpdateCentroids => memory.update_centroids(),
            Step::RedistributeSmallClusters => {
                memory.redistribute_small_clusters();
            }
        }
    }
}

#[test]
fn going_on_from_a_stored_state_is_bit_identical() {
    for (number, (n_samples, config)) in settings().into_iter().enumerate() {
        let mut random = Random(100 + number as u64);
        let (features, labels) = begin(&mut random, n_samples, &config);
        let mut memory = Memory::new(config.clone(), features, labels).expect("no empty cluster");
        // An odd number of steps: the state is taken with dirty and empty clusters too.
        run(&mut memory, &mut random, 53);
        let mut restored = Memory::restore(config, memory.state()).expect("its own state");
        assert_eq!(restored.state(), memory.state());
        let mut same = Random(random.0);
        run(&mut memory, &mut random, 100);
        run(&mut restored, &mut same, 100);
        assert_eq!(restored.state(), memory.state());
        assert_eq!(restored.sizes(), memory.sizes());
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let config = MemoryConfig { dim: 24, n_clusters: 150, momentum: 0.5, min_cluster: 10, rule: Rule::Paper };
    let states: Vec<_> = [1, 2, 5]
        .into_iter()
        .map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| {
                let mut random = Random(7);
                let (features, labels) = begin(&mut random, 4000, &config);
                let mut memory = Memory::new(config.clone(), features, labels).expect("no empty cluster");
                run(&mut memory, &mut random, 60);
                memory.state()
            })
        })
        .collect();
    assert_eq!(states[0], states[1]);
    assert_eq!(states[0], states[2]);
}
