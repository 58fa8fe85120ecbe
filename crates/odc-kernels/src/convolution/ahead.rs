//! Asking for memory before it is needed: while one block is multiplied, the next one is fetched, a few lines after each tile.

use crate::scratch::LINE;
use crate::simd::Simd;

/// What comes next, and how much of it to ask for at a time.
pub(super) struct Ahead<'a> {
    rest: &'a [f32],
    lines: usize,
}

impl<'a> Ahead<'a> {
    /// Spreads the numbers over so many steps.
    pub(super) fn new(numbers: &'a [f32], steps: usize) -> Self {
        Self { rest: numbers, lines: numbers.len().div_ceil(LINE).div_ceil(steps.max(1)) }
    }

    /// Asks for the next few lines.
    #[inline]
    pub(super) fn step<S: Simd>(&mut self) {
        for _ in 0..self.lines {
            let Some(first) = self.rest.first() else { return };
            // SAFETY: a hint, which changes nothing at whatever address. S was chosen because the processor has its
            // instructions.
            unsafe { S::prefetch(first) };
            self.rest = self.rest.get(LINE..).unwrap_or_default();
        }
    }
}

/// The part of `numbers` that rows `start .. end` of `rows` take, where they lie in order.
pub(super) fn part(numbers: &[f32], rows: usize, start: usize, end: usize) -> &[f32] {
    let position = |row: usize| (numbers.len() as u64 * row.min(rows) as u64 / rows.max(1) as u64) as usize;
    &numbers[position(start)..position(end)]
}
