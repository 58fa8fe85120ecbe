//! The time of one iteration's memory work for data sets of growing size: it stays the same.
//!
//! Run with `cargo run --release -p odc-memory --example cost_of_an_iteration`.

#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use odc_memory::{Memory, MemoryConfig, MemoryError, Rule};

const DIM: usize = 128;
const N_CLUSTERS: usize = 1000;
const BATCH: usize = 512;
const ITERATIONS: u32 = 50;

fn main() -> Result<(), MemoryError> {
    let mut random = Random(1);
    for n_samples in [20_000, 80_000, 320_000, 1_280_000] {
        let config =
            MemoryConfig { dim: DIM, n_clusters: N_CLUSTERS, momentum: 0.5, min_cluster: 10, rule: Rule::Paper };
        let labels = (0..n_samples).map(|sample| (sample % N_CLUSTERS) as u32).collect();
        let mut memory = Memory::new(config, random.entries(n_samples * DIM), labels)?;
        let (mut samples, mut centroids, mut small) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        let mut handled = 0;
        for _ in 0..ITERATIONS {
            let indices: Vec<u32> = (0..BATCH).map(|_| random.below(n_samples)).collect();
            let features = random.entries(BATCH * DIM);
            let start = Instant::now();
            memory.update_samples(&indices, &features)?;
            samples += start.elapsed();
            let start = Instant::now();
            memory.update_centroids();
            centroids += start.elapsed();
            let start = Instant::now();
            handled += memory.redistribute_small_clusters().handled;
            small += start.elapsed();
        }
        println!(
            "{n_samples:9} samples: update_samples {:7.0?}, update_centroids {:7.0?}, small clusters {:7.0?} \
             ({handled} handled)",
            samples / ITERATIONS,
            centroids / ITERATIONS,
            small / ITERATIONS
        );
    }
    Ok(())
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, bound: usize) -> u32 {
        (self.next() % bound as u64) as u32
    }

    /// Numbers in [-1, 1).
    fn entries(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next() as f32 / (1_u64 << 30) as f32 - 1.0).collect()
    }
}
