//! Memory that a thread keeps between kernels, so that no call allocates and faults in what the last one gave back.

use std::cell::Cell;

/// A cache line of numbers: vector loads from scratch never straddle two lines.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code, reason = "read through a pointer to the first number")] [f32; LINE]);

/// Numbers in a cache line.
pub(crate) const LINE: usize = 16;

thread_local! {
    static SCRATCH: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// Lends `len` numbers, aligned to a cache line; their values are whatever was left there.
pub(crate) fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    // Taken out, so that a task which this thread steals meanwhile finds none and gets its own.
    let mut lines = SCRATCH.take();
    let wanted = len.div_ceil(LINE);
    if lines.len() < wanted {
        lines = vec![Line([0.0; LINE]); wanted];
    }
    // SAFETY: `Line` is 16 numbers without gaps, and `lines`, borrowed mutably until the end of this call, holds as many.
    let numbers = unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast::<f32>(), lines.len() * LINE) };
    let result = f(&mut numbers[..len]);
    SCRATCH.set(lines);
    result
}
