//! Which vector instructions the kernels use: found out once at run time, or forced by `ODC_SIMD`.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use portable::Portable;

use std::fmt;
use std::sync::OnceLock;

/// A set of vector instructions, from the least to the most able. Each gives the same bits for any number of threads; from one
/// to another the last bits differ, as a fused multiply-add rounds once where two instructions round twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Whatever the compiler makes of plain loops: every processor.
    Portable,
    /// AVX2 and FMA: x86-64 since about 2013.
    Avx2,
    /// AVX-512 F, BW, DQ and VL: servers since 2017, Zen 4 and later.
    Avx512,
}

impl Level {
    /// All levels, the least able first.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// Whether this processor has the instructions.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }

    /// The levels that this processor has, the least able first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|level| level.is_available())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The level that kernels use where none is asked for: the most able one, or what the environment variable `ODC_SIMD`
/// (`avx512`, `avx2` or `portable`) says. Settled at the first call.
///
/// # Panics
/// Where [`forced`] gives an error: a program asks that first.
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| match forced() {
        Ok(level) => level.or(Level::available().last()).unwrap_or(Level::Portable),
        Err(error) => panic!("{error}"),
    })
}

/// The level that `ODC_SIMD` asks for, if it is set.
///
/// # Errors
/// A message, where it names no level, or one that this processor lacks.
pub fn forced() -> Result<Option<Level>, String> {
    let name = std::env::var_os("ODC_SIMD");
    name.map(|name| chosen(&name.to_string_lossy())).transpose()
}

fn chosen(name: &str) -> Result<Level, String> {
    let known = || Level::ALL.map(Level::name).join(", ");
    let level = Level::ALL.into_iter().find(|level| level.name() == name);
    let level = level.ok_or_else(|| format!("ODC_SIMD={name}: there is no such level; there are {}", known()))?;
    if !level.is_available() {
        return Err(format!("ODC_SIMD={name}: this processor does not have these instructions; unset ODC_SIMD"));
    }
    Ok(level)
}

/// The vector instructions of a level, as far as the kernels need them.
///
/// # Safety
/// Every function may only run on a processor that has the level's instructions. Pointers need not be aligned; `load` and
/// `store` touch `LANES` numbers, `load_first` and `store_first` the first `count` ≤ `LANES`.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// Several `f32`.
    type Vector: Copy;
    /// How many.
    const LANES: usize;
    /// Rows of a tile of `ROWS` × 2 vectors whose sums fit into the registers.
    const ROWS: usize;
    /// Columns of such a tile, and of a panel of packed weights.
    const PANEL: usize = 2 * Self::LANES;

    /// Runs a kernel compiled with the level's instructions; its own code has to be inlined.
    unsafe fn run<K: Kernel>(kernel: K);

    unsafe fn zero() -> Self::Vector;
    unsafe fn splat(x: f32) -> Self::Vector;
    unsafe fn load(from: *const f32) -> Self::Vector;
    unsafe fn load_first(from: *const f32, count: usize) -> Self::Vector;
    unsafe fn store(to: *mut f32, x: Self::Vector);
    unsafe fn store_first(to: *mut f32, x: Self::Vector, count: usize);
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    unsafe fn sub(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    unsafe fn mul(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a · b + c`, rounded once where the processor can.
    unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// Asks for the line at an address, to be in the second cache.
    unsafe fn prefetch(address: *const f32);
    /// Transposes a square of `LANES` × `LANES` numbers; the rows lie the strides apart.
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize);
}

/// Code that is compiled once for each level. `run` must be `#[inline(always)]`.
pub(crate) trait Kernel {
    /// # Safety
    /// What the pointers in `self` stand for, and that the processor has the level's instructions.
    unsafe fn run<S: Simd>(self);
}

/// Evaluates an expression with the type `$S` bound to the [`Simd`] of a level.
macro_rules! at_level {
    ($level:expr, $S:ident => $body:expr) => {
        match $level {
            #[cfg(target_arch = "x86_64")]
            $crate::simd::Level::Avx512 => {
                type $S = $crate::simd::Avx512;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            $crate::simd::Level::Avx2 => {
                type $S = $crate::simd::Avx2;
                $body
            }
            _ => {
                type $S = $crate::simd::Portable;
                $body
            }
        }
    };
}
pub(crate) use at_level;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_chosen_by_name() {
        assert_eq!(chosen("portable"), Ok(Level::Portable));
        let error = chosen("sse9").expect_err("no such level");
        assert!(error.contains("sse9") && error.contains("avx512"), "{error}");
        for level in Level::ALL {
            assert_eq!(chosen(level.name()).is_ok(), level.is_available());
        }
    }

    #[test]
    fn every_level_computes_the_same_and_stays_in_bounds() {
        for level in Level::available() {
            // SAFETY: the level is available; `check` hands out pointers into arrays that are long enough.
            at_level!(level, S => unsafe { check::<S>() });
        }
    }

    unsafe fn check<S: Simd>() {
        let lanes = S::LANES;
        let numbers: Vec<f32> = (0..lanes * lanes).map(|i| i as f32).collect();
        let mut out = vec![-1.0_f32; lanes * lanes];
        // SAFETY: both hold LANES × LANES numbers.
        unsafe { S::transpose(numbers.as_ptr(), lanes, out.as_mut_ptr(), lanes) };
        for (position, &x) in out.iter().enumerate() {
            assert_eq!(x, numbers[position % lanes * lanes + position / lanes]);
        }
        for count in 0..=lanes {
            let mut out = vec![-1.0_f32; lanes];
            // SAFETY: all arrays hold LANES numbers at least, and count ≤ LANES.
            unsafe {
                let x = S::load_first(numbers[1..].as_ptr(), count);
                let y = S::mul_add(x, S::splat(2.0), S::sub(S::splat(5.0), S::mul(S::splat(2.0), S::splat(1.0))));
                S::store_first(out.as_mut_ptr(), S::add(y, S::zero()), count);
            }
            for (lane, &x) in out.iter().enumerate() {
                assert_eq!(x, if lane < count { 2.0 * (lane + 1) as f32 + 3.0 } else { -1.0 });
            }
        }
    }
}
