//! AVX-512: 16 lanes, 32 registers.

use std::arch::x86_64::*;

use super::{Kernel, Simd};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512;

// SAFETY of each function: the caller vouches for the instructions and the pointers, see `Simd`.
#[allow(unsafe_op_in_unsafe_fn, reason = "one intrinsic a function; the trait states what the caller vouches for")]
impl Simd for Avx512 {
    type Vector = __m512;
    const LANES: usize = 16;
    const ROWS: usize = 14;

    #[inline(always)]
    unsafe fn run<K: Kernel>(kernel: K) {
        #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
        unsafe fn compiled<K: Kernel>(kernel: K) {
            kernel.run::<Avx512>()
        }
        compiled(kernel)
    }

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        _mm512_setzero_ps()
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        _mm512_set1_ps(x)
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        _mm512_loadu_ps(from)
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> __m512 {
        _mm512_maskz_loadu_ps(first(count), from)
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, x: __m512) {
        _mm512_storeu_ps(to, x)
    }

    #[inline(always)]
    unsafe fn store_first(to: *mut f32, x: __m512, count: usize) {
        _mm512_mask_storeu_ps(to, first(count), x)
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        _mm512_add_ps(a, b)
    }

    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        _mm512_sub_ps(a, b)
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const f32) {
        _mm_prefetch::<_MM_HINT_T1>(address.cast())
    }

    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        #[target_feature(enable = "avx512f")]
        unsafe fn compiled(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
            let mut rows = [_mm512_setzero_ps(); 16];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = _mm512_loadu_ps(from.add(i * from_stride));
            }
            for (i, column) in transposed(rows).into_iter().enumerate() {
                _mm512_storeu_ps(to.add(i * to_stride), column);
            }
        }
        compiled(from, from_stride, to, to_stride)
    }
}

#[inline(always)]
fn first(count: usize) -> __mmask16 {
    ((1_u32 << count) - 1) as __mmask16
}

/// Pairs, then fours, then quarters of registers change places.
#[target_feature(enable = "avx512f")]
#[inline]
fn transposed(rows: [__m512; 16]) -> [__m512; 16] {
    let mut pairs = rows;
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
    }
    // Afterwards quarter l of fours[4·i + q] holds column 4·l + q of rows 4·i .. 4·i + 4.
    let mut fours = pairs;
    for i in 0..4 {
        for q in 0..2 {
            let (a, b) = (_mm512_castps_pd(pairs[4 * i + q]), _mm512_castps_pd(pairs[4 * i + 2 + q]));
            fours[4 * i + 2 * q] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            fours[4 * i + 2 * q + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    }
    let mut columns = fours;
    for q in 0..4 {
        let a = _mm512_shuffle_f32x4::<0x88>(fours[q], fours[4 + q]);
        let b = _mm512_shuffle_f32x4::<0xdd>(fours[q], fours[4 + q]);
        let c = _mm512_shuffle_f32x4::<0x88>(fours[8 + q], fours[12 + q]);
        let d = _mm512_shuffle_f32x4::<0xdd>(fours[8 + q], fours[12 + q]);
        columns[q] = _mm512_shuffle_f32x4::<0x88>(a, c);
        columns[8 + q] = _mm512_shuffle_f32x4::<0xdd>(a, c);
        columns[4 + q] = _mm512_shuffle_f32x4::<0x88>(b, d);
        columns[12 + q] = _mm512_shuffle_f32x4::<0xdd>(b, d);
    }
    columns
}
