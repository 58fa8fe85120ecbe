//! A slice that parallel tasks fill in disjoint pieces which are no sub-slices: columns of a matrix, every other pixel.

use std::marker::PhantomData;

use rayon::prelude::*;

/// A mutable slice, shared by tasks that promise not to touch the same elements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Disjoint<'a> {
    start: *mut f32,
    len: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a mutable borrow of plain numbers; tasks access elements through `at` only, whose callers promise that
// no two of them touch the same element.
unsafe impl Send for Disjoint<'_> {}
// SAFETY: as for `Send`; sharing the pointer's value gives no access by itself.
unsafe impl Sync for Disjoint<'_> {}

impl<'a> Disjoint<'a> {
    pub(crate) fn new(values: &'a mut [f32]) -> Self {
        Self { start: values.as_mut_ptr(), len: values.len(), borrow: PhantomData }
    }

    pub(crate) fn len(self) -> usize {
        self.len
    }

    /// The address of an element.
    ///
    /// # Safety
    /// `offset` must not exceed the length. What is read or written from there on must lie inside the slice and be
    /// touched by no other task meanwhile.
    pub(crate) unsafe fn at(self, offset: usize) -> *mut f32 {
        debug_assert!(offset <= self.len, "element {offset} of {}", self.len);
        // SAFETY: the caller vouches that the offset stays inside the slice.
        unsafe { self.start.add(offset) }
    }
}

/// `sum += partial` for each of the partial sums, which lie one after the other, in order.
pub(crate) fn add_in_order(sum: &mut [f32], partial: &[f32]) {
    const BLOCK: usize = 4096;
    if partial.is_empty() {
        return;
    }
    let len = sum.len();
    sum.par_chunks_mut(BLOCK).enumerate().for_each(|(index, sum)| {
        for partial in partial.chunks_exact(len) {
            for (sum, &value) in sum.iter_mut().zip(&partial[index * BLOCK..]) {
                *sum += value;
            }
        }
    });
}
