//! Plain arrays of 4 lanes, which compilers turn into whatever the processor has.

use super::{Kernel, Simd};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Portable;

const LANES: usize = 4;

// SAFETY of each function: the caller vouches for the pointers, see `Simd`; no special instruction is needed.
#[allow(unsafe_op_in_unsafe_fn, reason = "one expression a function; the trait states what the caller vouches for")]
impl Simd for Portable {
    type Vector = [f32; LANES];
    const LANES: usize = LANES;
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn run<K: Kernel>(kernel: K) {
        #[inline(never)]
        unsafe fn compiled<K: Kernel>(kernel: K) {
            kernel.run::<Portable>()
        }
        compiled(kernel)
    }

    #[inline(always)]
    unsafe fn zero() -> [f32; LANES] {
        [0.0; LANES]
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; LANES] {
        [x; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; LANES] {
        from.cast::<[f32; LANES]>().read_unaligned()
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> [f32; LANES] {
        std::array::from_fn(|lane| if lane < count { *from.add(lane) } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, x: [f32; LANES]) {
        to.cast::<[f32; LANES]>().write_unaligned(x)
    }

    #[inline(always)]
    unsafe fn store_first(to: *mut f32, x: [f32; LANES], count: usize) {
        for (lane, x) in x.into_iter().enumerate().take(count) {
            *to.add(lane) = x;
        }
    }

    #[inline(always)]
    unsafe fn add(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        std::array::from_fn(|lane| a[lane] + b[lane])
    }

    #[inline(always)]
    unsafe fn sub(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        std::array::from_fn(|lane| a[lane] - b[lane])
    }

    #[inline(always)]
    unsafe fn mul(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        std::array::from_fn(|lane| a[lane] * b[lane])
    }

    #[inline(always)]
    unsafe fn mul_add(a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
        // Two roundings: `f32::mul_add` is a library call where there is no instruction for it.
        std::array::from_fn(|lane| a[lane] * b[lane] + c[lane])
    }

    #[inline(always)]
    unsafe fn prefetch(_address: *const f32) {}

    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        for row in 0..LANES {
            for column in 0..LANES {
                *to.add(column * to_stride + row) = *from.add(row * from_stride + column);
            }
        }
    }
}
