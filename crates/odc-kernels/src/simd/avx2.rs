//! AVX2 and FMA: 8 lanes, 16 registers.

use std::arch::x86_64::*;

use super::{Kernel, Simd};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2;

// SAFETY of each function: the caller vouches for the instructions and the pointers, see `Simd`.
#[allow(unsafe_op_in_unsafe_fn, reason = "one intrinsic a function; the trait states what the caller vouches for")]
impl Simd for Avx2 {
    type Vector = __m256;
    const LANES: usize = 8;
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn run<K: Kernel>(kernel: K) {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn compiled<K: Kernel>(kernel: K) {
            kernel.run::<Avx2>()
        }
        compiled(kernel)
    }

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        _mm256_setzero_ps()
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m256 {
        _mm256_set1_ps(x)
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        _mm256_loadu_ps(from)
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> __m256 {
        _mm256_maskload_ps(from, first(count))
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, x: __m256) {
        _mm256_storeu_ps(to, x)
    }

    #[inline(always)]
    unsafe fn store_first(to: *mut f32, x: __m256, count: usize) {
        _mm256_maskstore_ps(to, first(count), x)
    }

    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        _mm256_add_ps(a, b)
    }

    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        _mm256_sub_ps(a, b)
    }

    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        _mm256_mul_ps(a, b)
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, c)
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const f32) {
        _mm_prefetch::<_MM_HINT_T1>(address.cast())
    }

    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        #[target_feature(enable = "avx2")]
        unsafe fn compiled(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
            let mut rows = [_mm256_setzero_ps(); 8];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = _mm256_loadu_ps(from.add(i * from_stride));
            }
            for (i, column) in transposed(rows).into_iter().enumerate() {
                _mm256_storeu_ps(to.add(i * to_stride), column);
            }
        }
        compiled(from, from_stride, to, to_stride)
    }
}

/// A mask whose first `count` lanes are set.
#[inline(always)]
unsafe fn first(count: usize) -> __m256i {
    const ONES_AND_ZEROS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    debug_assert!(count <= 8);
    // SAFETY: 8 numbers from position 8 − count ≤ 8 on lie inside the 16.
    unsafe { _mm256_loadu_si256(ONES_AND_ZEROS.as_ptr().add(8 - count).cast()) }
}

/// Pairs, then fours, then halves of registers change places.
#[target_feature(enable = "avx2")]
#[inline]
fn transposed(rows: [__m256; 8]) -> [__m256; 8] {
    let mut pairs = rows;
    for i in 0..4 {
        pairs[2 * i] = _mm256_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
    }
    // Afterwards half h of fours[4·i + q] holds column 4·h + q of rows 4·i .. 4·i + 4.
    let mut fours = pairs;
    for i in 0..2 {
        for q in 0..2 {
            let (a, b) = (pairs[4 * i + q], pairs[4 * i + 2 + q]);
            fours[4 * i + 2 * q] = _mm256_shuffle_ps::<0x44>(a, b);
            fours[4 * i + 2 * q + 1] = _mm256_shuffle_ps::<0xee>(a, b);
        }
    }
    let mut columns = fours;
    for q in 0..4 {
        columns[q] = _mm256_permute2f128_ps::<0x20>(fours[q], fours[4 + q]);
        columns[4 + q] = _mm256_permute2f128_ps::<0x31>(fours[q], fours[4 + q]);
    }
    columns
}
