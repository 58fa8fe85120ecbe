//! Random numbers, thread pools and instruction sets for the tests of the kernels.

use odc_kernels::simd::Level;
use odc_kernels::{random, with_level};

/// Draws sizes and values, the same ones at every run.
pub(crate) struct Draw {
    seed: u64,
    drawn: u64,
}

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// A size from `low` to `high`, both included.
    pub(crate) fn size(&mut self, low: usize, high: usize) -> usize {
        self.drawn += 1;
        low + (random::bits(self.seed, self.drawn) % (high - low + 1) as u64) as usize
    }

    /// Standard normal values.
    pub(crate) fn values(&mut self, n: usize) -> Vec<f32> {
        self.drawn += 1;
        let key = random::key(self.seed, "values", self.drawn);
        (0..n as u64).map(|index| random::normal(key, index)).collect()
    }
}

/// Runs `f` under 1, 2, 3 and 7 threads and asserts that all results have the same bits.
pub(crate) fn same_bits_for_any_threads(what: &str, f: impl Fn() -> Vec<f32> + Sync) -> Vec<f32> {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(&f)
    };
    let one = run(1);
    for threads in [2, 3, 7] {
        let many = run(threads);
        assert_eq!(one.len(), many.len(), "{what}: {threads} threads");
        for (position, (a, b)) in one.iter().zip(&many).enumerate() {
            assert_eq!(
                a.to_bits(),
                b.to_bits(),
                "{what}[{position}] with {threads} threads: {b} where 1 thread gives {a}"
            );
        }
    }
    one
}

/// Runs `f` at every level of instructions that the processor has, under 1, 2 and 5 threads, and asserts that all results have
/// the same bits.
pub(crate) fn same_bits_everywhere(what: &str, f: impl Fn() -> Vec<f32> + Sync) -> Vec<f32> {
    let mut first: Option<Vec<f32>> = None;
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        for level in Level::available() {
            let result = pool.install(|| with_level(level, &f));
            let first = first.get_or_insert_with(|| result.clone());
            assert_eq!(first.len(), result.len(), "{what}: {threads} threads, {level}");
            for (position, (a, b)) in first.iter().zip(&result).enumerate() {
                assert_eq!(a.to_bits(), b.to_bits(), "{what}[{position}], {threads} threads, {level}: {b}, not {a}");
            }
        }
    }
    first.unwrap_or_default()
}
