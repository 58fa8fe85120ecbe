//! Plain loops compiled once for every instruction set, and which of them a kernel takes.
//!
//! A kernel that waits for memory needs no intrinsics: LLVM turns a plain loop into vectors of whatever width the function's
//! target features allow. [`vectorized!`] writes that function once for each [`Level`]. A kernel asks for
//! [`current_level`] where it is entered, on its caller's thread, and hands the answer to the tasks that it starts.

use crate::simd::{self, Level};
use std::cell::Cell;

thread_local! {
    static FORCED: Cell<Option<Level>> = const { Cell::new(None) };
}

/// Runs `f` with `level` for the kernels that it calls from this thread: how tests reach every level.
///
/// # Panics
/// Where the processor lacks the level's instructions.
pub fn with_level<R>(level: Level, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Level>);
    impl Drop for Restore {
        fn drop(&mut self) {
            FORCED.set(self.0);
        }
    }
    assert!(level.is_available(), "this processor does not have the instructions of {level}");
    let _restore = Restore(FORCED.replace(Some(level)));
    f()
}

/// The level of a kernel that is entered on this thread; the processor has its instructions.
pub(crate) fn current_level() -> Level {
    FORCED.get().unwrap_or_else(simd::level)
}

/// Defines a function whose body, a plain loop, is compiled for each [`Level`]; the level becomes its first argument and must
/// come from [`current_level`]. Products and sums are rounded one by one, so that all levels give the same bits.
macro_rules! vectorized {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident $(<$(const $flag:ident: bool),+>)? ($($argument:ident: $type:ty),* $(,)?) $body:block
    ) => {
        $(#[$attribute])*
        $visibility fn $name $(<$(const $flag: bool),+>)? (level: $crate::simd::Level, $($argument: $type),*) {
            #[inline(always)]
            fn body $(<$(const $flag: bool),+>)? ($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2 $(<$(const $flag: bool),+>)? ($($argument: $type),*) {
                body $(::<$($flag),+>)? ($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512 $(<$(const $flag: bool),+>)? ($($argument: $type),*) {
                body $(::<$($flag),+>)? ($($argument),*)
            }

            match level {
                // SAFETY: the level comes from `current_level`, so the processor has the instructions; the body is safe.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx512 => unsafe { avx512 $(::<$($flag),+>)? ($($argument),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx2 => unsafe { avx2 $(::<$($flag),+>)? ($($argument),*) },
                _ => body $(::<$($flag),+>)? ($($argument),*),
            }
        }
    };
}
pub(crate) use vectorized;
