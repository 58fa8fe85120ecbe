//! Memory for activations: a global allocator that keeps large blocks, and vectors that nobody has to clear.
//!
//! A training step asks for the same large blocks over and over. The system's allocator hands them back to the kernel, which
//! clears every page anew: up to a fifth of a step. [`PoolAllocator`] keeps them; [`unwritten`] leaves out the second
//! clearing, `vec![0.0; n]`, where a kernel writes every element anyway.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Blocks smaller than this, and those of unusual alignment, are the system's.
const SMALLEST: usize = 64 << 10;
/// Blocks are aligned to cache lines, those from [`HUGE`] on to huge pages.
const ALIGNMENT: usize = 64;
const HUGE: usize = 2 << 20;
/// Sizes between two powers of two: a block is at most an eighth larger than what was asked for.
const STEPS: usize = 8;
/// Classes from [`SMALLEST`] up to 2⁴⁰ bytes; what is larger is the system's.
const LARGEST: usize = 1 << 40;
const CLASSES: usize = (LARGEST.ilog2() - SMALLEST.ilog2()) as usize * STEPS + 1;
/// Bytes that may be kept beyond half of the peak.
const SLACK: usize = 32 << 20;

/// The system's allocator, but blocks of 64 KiB and more are kept when they are freed and given out again, by class of size;
/// on Linux those of 2 MiB and more lie in huge pages.
///
/// Kept blocks are bounded: whenever the system has to be asked for another block, kept ones of other sizes go back to it until
/// what is in use and what is kept come to at most one and a half times the largest use so far (and 32 MiB).
///
/// ```
/// use odc_kernels::memory::PoolAllocator;
///
/// #[global_allocator]
/// static MEMORY: PoolAllocator = PoolAllocator::new();
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct PoolAllocator {
    pool: Mutex<Pool>,
}

/// What a [`PoolAllocator`] holds, in bytes of blocks of 64 KiB and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// In use.
    pub used: usize,
    /// The largest use so far.
    pub peak: usize,
    /// Kept for reuse.
    pub kept: usize,
    /// Blocks that the system was asked for so far.
    pub system_calls: usize,
}

impl PoolAllocator {
    /// An empty pool.
    pub const fn new() -> Self {
        let usage = Usage { used: 0, peak: 0, kept: 0, system_calls: 0 };
        Self { pool: Mutex::new(Pool { first: [ptr::null_mut(); CLASSES], usage, cursor: 0 }) }
    }

    /// What is in use and what is kept.
    pub fn usage(&self) -> Usage {
        self.pool().usage
    }

    /// Never poisoned: nothing panics under the lock. Neither locking nor a list operation allocates.
    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, class: Class) -> *mut u8 {
        let mut pool = self.pool();
        if let Some(block) = pool.pop(class) {
            return block.cast();
        }
        let mut surplus = pool.make_room(class.bytes);
        // The system works without the lock.
        drop(pool);
        while !surplus.is_null() {
            // SAFETY: the list's blocks were taken out of the pool, so nobody else has them; each holds a `Block`.
            let Block { next, class } = unsafe { surplus.read() };
            // SAFETY: the block came from the system with its class's layout.
            unsafe { System.dealloc(surplus.cast(), class.layout()) };
            surplus = next;
        }
        // SAFETY: a class has at least `SMALLEST` bytes.
        let block = unsafe { System.alloc(class.layout()) };
        if block.is_null() {
            self.pool().usage.used -= class.bytes;
        } else if class.bytes >= HUGE {
            ask_for_huge_pages(block, class.bytes);
        }
        block
    }
}

impl Default for PoolAllocator {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: every block of a class has the class's bytes, at least what its layout asks for, and its alignment or more; a block
// is either in the pool or given out, never both, as both change under the lock; the class of a block follows from its layout
// alone, so `dealloc` and `realloc` find the one that `alloc` found. All other layouts go to the system in every function.
// Nothing here unwinds.
unsafe impl GlobalAlloc for PoolAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match Class::of(layout) {
            Some(class) => self.take(class),
            // SAFETY: the caller's contract is the system's.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(class) = Class::of(layout) else {
            // SAFETY: the caller's contract is the system's.
            return unsafe { System.alloc_zeroed(layout) };
        };
        let block = self.take(class);
        if !block.is_null() {
            // SAFETY: the block has at least `layout.size()` bytes and is the caller's alone.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match Class::of(layout) {
            // SAFETY: the caller gives up a block that `take` gave for the same layout, hence class.
            Some(class) => unsafe { self.pool().push(block, class) },
            // SAFETY: the caller's contract is the system's.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller vouches that `size`, rounded up to the alignment, does not overflow an `isize`.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (Class::of(layout), Class::of(wanted)) {
            // SAFETY: the caller's contract is the system's.
            (None, None) => unsafe { System.realloc(block, layout, size) },
            (Some(old), Some(new)) if old.index == new.index => block,
            _ => {
                // SAFETY: `wanted` is valid and, as one of the two has a class, not empty (the caller asks for at least a byte).
                let moved = unsafe { self.alloc(wanted) };
                if !moved.is_null() {
                    // SAFETY: both blocks hold the smaller size and are different; the old one is the caller's to give up.
                    unsafe {
                        ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                }
                moved
            }
        }
    }
}

/// The kept blocks of each class, chained through their own first bytes.
#[derive(Debug)]
struct Pool {
    first: [*mut Block; CLASSES],
    usage: Usage,
    /// The class that gives back next.
    cursor: usize,
}

// SAFETY: the pointers are to blocks that the pool owns; they are followed only by whoever has the pool mutably.
unsafe impl Send for Pool {}

/// What a kept block holds while it is kept.
#[derive(Debug)]
struct Block {
    next: *mut Block,
    class: Class,
}

impl Pool {
    fn pop(&mut self, class: Class) -> Option<*mut Block> {
        let block = self.unlink(class.index)?;
        self.usage.used += class.bytes;
        self.usage.peak = self.usage.peak.max(self.usage.used);
        Some(block)
    }

    /// # Safety
    /// The block must have come from [`PoolAllocator::take`] for this class, and be nobody else's.
    unsafe fn push(&mut self, block: *mut u8, class: Class) {
        let block = block.cast::<Block>();
        // SAFETY: the caller hands over the block, which is larger than a `Block` and aligned to cache lines.
        unsafe { block.write(Block { next: self.first[class.index], class }) };
        self.first[class.index] = block;
        self.usage.used -= class.bytes;
        self.usage.kept += class.bytes;
    }

    /// Counts a block that the system will be asked for; the chain of blocks that have to go back to it.
    fn make_room(&mut self, bytes: usize) -> *mut Block {
        let usage = &mut self.usage;
        usage.system_calls += 1;
        usage.used += bytes;
        usage.peak = usage.peak.max(usage.used);
        let limit = usage.peak + usage.peak / 2 + SLACK;
        let mut surplus = ptr::null_mut();
        while self.usage.kept > 0 && self.usage.used + self.usage.kept > limit {
            self.cursor = self.cursor.checked_sub(1).unwrap_or(CLASSES - 1);
            if let Some(block) = self.unlink(self.cursor) {
                // SAFETY: the block has just left the pool and holds a `Block`.
                unsafe { (*block).next = surplus };
                surplus = block;
            }
        }
        surplus
    }

    fn unlink(&mut self, index: usize) -> Option<*mut Block> {
        let block = self.first[index];
        if block.is_null() {
            return None;
        }
        // SAFETY: a block in a chain is the pool's own and holds a `Block`, written by `push`.
        let Block { next, class } = unsafe { block.read() };
        self.first[index] = next;
        self.usage.kept -= class.bytes;
        Some(block)
    }
}

/// A size of blocks.
#[derive(Debug, Clone, Copy)]
struct Class {
    index: usize,
    bytes: usize,
}

impl Class {
    /// The class of a layout; `None` where the system is to serve it.
    #[inline]
    fn of(layout: Layout) -> Option<Self> {
        let size = layout.size();
        if !(SMALLEST..=LARGEST).contains(&size) || layout.align() > ALIGNMENT {
            return None;
        }
        // Sizes in (2ᵉ, 2ᵉ⁺¹] go up in `STEPS` steps; the smallest size is the last step of its own power.
        let power = (size - 1).ilog2();
        let step = (size - 1) >> (power - STEPS.ilog2());
        let bytes = (step + 1) << (power - STEPS.ilog2());
        let index = (power as usize + 1) * STEPS + step % STEPS;
        Some(Self { index: index - SMALLEST.ilog2() as usize * STEPS - (STEPS - 1), bytes })
    }

    fn layout(self) -> Layout {
        let alignment = if self.bytes >= HUGE { HUGE } else { ALIGNMENT };
        // SAFETY: the alignment is a power of two and the size at most `LARGEST`, far from an overflow.
        unsafe { Layout::from_size_align_unchecked(self.bytes, alignment) }
    }
}

/// Fewer, larger pages: a step walks through gigabytes, which small pages cannot map all at once.
#[cfg(all(target_os = "linux", not(miri)))]
fn ask_for_huge_pages(block: *mut u8, bytes: usize) {
    use std::ffi::{c_int, c_void};
    // SAFETY: the declaration is that of madvise(2), in the C library that the standard library links.
    unsafe extern "C" {
        fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int;
    }
    const MADV_HUGEPAGE: c_int = 14;
    // SAFETY: the range is a block that the caller has just been given; this advice changes no contents. A refusal leaves
    // small pages, which are right as well.
    unsafe { madvise(block.cast(), bytes, MADV_HUGEPAGE) };
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn ask_for_huge_pages(_block: *mut u8, _bytes: usize) {}

/// A vector of `len` numbers that may be any: for kernels that write every element. Debug builds fill it with NaN, so that a
/// kernel that leaves one out does not go unnoticed.
pub fn unwritten(len: usize) -> Vec<f32> {
    if cfg!(debug_assertions) {
        return vec![f32::NAN; len];
    }
    arbitrary(len)
}

/// Where the compiler knows no inline assembly, the vector is cleared after all.
#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn arbitrary(len: usize) -> Vec<f32> {
    vec![0.0; len]
}

#[cfg(all(not(miri), any(target_arch = "x86_64", target_arch = "aarch64")))]
fn arbitrary(len: usize) -> Vec<f32> {
    /// Numbers in the smallest page that these processors have.
    const PAGE: usize = 4096 / size_of::<f32>();
    let mut values = Vec::<f32>::with_capacity(len);
    let start = values.as_mut_ptr();
    for position in (0..len).step_by(PAGE) {
        // SAFETY: position < len ≤ capacity.
        unsafe { start.add(position).write_volatile(0.0) };
    }
    // SAFETY: the compiler cannot see into the assembly, which is given the pointer and neither `nomem` nor `readonly`: to it,
    // all `len` numbers may have been written here, so it may not take them for uninitialised. To the processor they hold
    // whatever the memory holds, and any bits are an `f32`. That stays as it is until somebody writes: the system may exchange
    // a page under a program only while the page is untouched since the allocator gave it up (MADV_FREE), and every page of
    // this memory has been written to just above.
    unsafe {
        std::arch::asm!("/* {0} */", in(reg) start, options(nostack, preserves_flags));
        values.set_len(len);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 4).expect("a layout")
    }

    #[test]
    fn classes_grow_by_an_eighth_at_most() {
        let mut last = Class { index: usize::MAX, bytes: 0 };
        for size in (SMALLEST..4 * HUGE).step_by(4093).chain([SMALLEST, LARGEST - 1, LARGEST]) {
            let class = Class::of(layout(size)).expect("a class");
            assert!(class.bytes >= size && class.bytes <= size + size / STEPS + 1, "{size}: {class:?}");
            assert!(class.index < CLASSES, "{size}: {class:?}");
            if class.bytes == last.bytes {
                assert_eq!(class.index, last.index);
            } else if class.bytes > last.bytes && last.bytes > 0 {
                assert!(class.index > last.index, "{class:?} after {last:?}");
            }
            // A block's own size is of its class.
            assert_eq!(Class::of(layout(class.bytes)).expect("a class").index, class.index);
            last = class;
        }
        assert!(Class::of(layout(SMALLEST - 1)).is_none());
        assert!(Class::of(Layout::from_size_align(SMALLEST, 4096).expect("a layout")).is_none());
    }

    #[test]
    fn a_freed_block_is_given_out_again() {
        let memory = PoolAllocator::new();
        // SAFETY: blocks are written within their layouts and freed once, with them.
        unsafe {
            let (a, b) = (memory.alloc(layout(100_000)), memory.alloc(layout(3 << 20)));
            assert!(a.addr() % ALIGNMENT == 0 && b.addr() % HUGE == 0);
            a.write_bytes(1, 100_000);
            b.write_bytes(2, 3 << 20);
            memory.dealloc(a, layout(100_000));
            assert_eq!(memory.alloc(layout(101_000)), a, "a block of the same class");
            assert_eq!(*b, 2);
            memory.dealloc(a, layout(101_000));
            let zeroed = memory.alloc_zeroed(layout(100_000));
            assert_eq!(zeroed, a);
            assert!((0..100_000).all(|i| *zeroed.add(i) == 0));
            memory.dealloc(zeroed, layout(100_000));
            memory.dealloc(b, layout(3 << 20));
        }
        let usage = memory.usage();
        assert_eq!((usage.used, usage.system_calls), (0, 2));
        assert!(usage.kept >= 100_000 + (3 << 20));
    }

    #[test]
    fn a_block_grows_and_shrinks_with_its_contents() {
        let memory = PoolAllocator::new();
        let sizes = [1000, 70_000, 70_100, 5 << 20, 200_000, 10];
        // SAFETY: each block is read and written within its size; every size is given with the block.
        unsafe {
            let mut block = memory.alloc(layout(10));
            block.write_bytes(7, 10);
            let mut size = 10;
            for new in sizes {
                block = memory.realloc(block, layout(size), new);
                assert!((0..size.min(new)).all(|i| *block.add(i) == 7), "{size} to {new}");
                block.write_bytes(7, new);
                size = new;
            }
            memory.dealloc(block, layout(size));
        }
        assert_eq!(memory.usage().used, 0);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let memory = PoolAllocator::new();
        for round in 1..200 {
            let layout = layout(round * (1 << 20));
            // SAFETY: the block is freed once, with its layout.
            unsafe {
                let block = memory.alloc(layout);
                memory.dealloc(block, layout);
            }
            let usage = memory.usage();
            assert!(usage.used == 0 && usage.kept <= usage.peak + usage.peak / 2 + SLACK, "{usage:?}");
        }
    }

    #[test]
    fn threads_share_the_pool() {
        let memory = PoolAllocator::new();
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let memory = &memory;
                scope.spawn(move || {
                    for round in 0..200 {
                        let layout = layout(SMALLEST + (round % 7) * 50_000);
                        // SAFETY: the block is this thread's alone, written within its layout and freed with it.
                        unsafe {
                            let block = memory.alloc(layout);
                            block.write_bytes(thread, layout.size());
                            assert!((0..layout.size()).step_by(977).all(|i| *block.add(i) == thread));
                            memory.dealloc(block, layout);
                        }
                    }
                });
            }
        });
        assert_eq!(memory.usage().used, 0);
    }

    #[test]
    fn an_unwritten_vector_has_its_length() {
        for len in [0, 1, 1023, 1024, 1025, 100_000] {
            let mut values = arbitrary(len);
            values.fill(3.0);
            assert_eq!((values.len(), values.iter().filter(|&&x| x == 3.0).count()), (len, len));
            assert_eq!(unwritten(len).len(), len);
        }
    }
}
