//! The most that the processor can do: fused multiply-adds on registers, as many side by side as hide their latency.

#![allow(unsafe_code, reason = "a function compiled for an instruction set is called after asking whether it is there")]

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Independent sums: two units with a latency of 4 to 5 cycles need 8 to 10.
const SUMS: usize = 12;

/// A loop over registers: so many rounds of [`SUMS`] multiply-adds on each lane.
struct Kernel {
    isa: &'static str,
    lanes: usize,
    run: fn(usize) -> f32,
}

/// GFLOP/s of all threads of the current rayon pool together, and the instruction set: the widest that there is, or the
/// one that `ODC_SIMD` asks for.
pub(crate) fn measure() -> (f64, &'static str) {
    const ROUNDS: usize = 2_000_000;
    let Kernel { isa, lanes, run } = kernel(std::env::var("ODC_SIMD").ok().as_deref());
    let started = Instant::now();
    let (mut best, mut runs) = (Duration::MAX, 0);
    // The best of many short runs: a neighbour on the same machine spoils some, not all.
    while started.elapsed() < Duration::from_millis(1500) || runs < 100 {
        runs += 1;
        let start = Instant::now();
        rayon::broadcast(|_| black_box(run(black_box(ROUNDS))));
        best = best.min(start.elapsed());
    }
    let operations = (2 * lanes * SUMS * ROUNDS * rayon::current_num_threads()) as f64;
    (operations / best.as_secs_f64() / 1e9, isa)
}

fn kernel(asked: Option<&str>) -> Kernel {
    #[cfg(target_arch = "x86_64")]
    {
        if !matches!(asked, Some("avx2" | "portable")) && is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512 F.
            return Kernel { isa: "AVX-512", lanes: 16, run: |rounds| unsafe { x86::avx512(rounds) } };
        }
        if asked != Some("portable") && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has AVX2 and FMA.
            return Kernel { isa: "AVX2", lanes: 8, run: |rounds| unsafe { x86::avx2(rounds) } };
        }
    }
    let _ = asked;
    Kernel { isa: "portable", lanes: 4, run: portable }
}

/// Plain Rust, which the compiler turns into the instructions that every processor of the target has.
fn portable(rounds: usize) -> f32 {
    let (factor, term) = (black_box(0.999_f32), black_box(0.001_f32));
    let mut sums = [[1.0_f32; 4]; SUMS];
    for _ in 0..rounds {
        for value in sums.as_flattened_mut() {
            *value = *value * factor + term;
        }
    }
    sums.as_flattened().iter().sum()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::SUMS;
    use std::arch::x86_64::*;
    use std::hint::black_box;

    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512(rounds: usize) -> f32 {
        let (factor, term) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
        let mut sums = [_mm512_set1_ps(1.0); SUMS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, factor, term);
            }
        }
        sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum()
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2(rounds: usize) -> f32 {
        let (factor, term) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
        let mut sums = [_mm256_set1_ps(1.0); SUMS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, term);
            }
        }
        sums.into_iter().map(|sum| _mm256_cvtss_f32(sum)).sum()
    }
}
