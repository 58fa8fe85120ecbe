//! The two register tiles that all convolutions and their gradients are made of. A tile of results, `ROWS` rows by two
//! vectors, stays in registers while its sum runs; everything around them only finds the addresses.

use crate::simd::{Kernel, Simd};

/// Rows of collected factors for [`outer_tile`]: this many numbers apart, at every level.
pub(crate) const FACTOR_STRIDE: usize = 16;

/// Rows of results `out[r] = Σ over taps t and k of source[t][r][k] · panel[t][k]`, each row of a panel being `PANEL` columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GatherTile {
    /// `[taps, ROWS]` addresses of rows of `depth` numbers.
    pub(crate) sources: *const *const f32,
    /// Which slot of the panel belongs to each tap.
    pub(crate) slots: *const u32,
    pub(crate) taps: usize,
    pub(crate) depth: usize,
    /// `[slots, depth, PANEL]`.
    pub(crate) panel: *const f32,
    /// Addresses of the rows of results.
    pub(crate) outputs: *const *mut f32,
    /// Where in these rows the panel's columns begin, and how many of them there are.
    pub(crate) first_column: usize,
    pub(crate) columns: usize,
    /// Whether the sums are added to what the results hold.
    pub(crate) resume: bool,
}

/// Products that are summed in registers before their sum is added to the result: a sum of sums of this length loses less than one
/// of thousands of products, and costs a hundredth of the time.
const RUN: usize = 256;

/// Results `out[r] (+)= Σ over k of factors[k][r] · panel[rows[k]]`: the sum of outer products.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OuterTile {
    /// `[count, factor_stride]`.
    pub(crate) factors: *const f32,
    pub(crate) factor_stride: usize,
    /// Which row of the panel belongs to each row of factors.
    pub(crate) rows: *const u32,
    pub(crate) count: usize,
    /// `[rows, PANEL]`.
    pub(crate) panel: *const f32,
    pub(crate) output: *mut f32,
    pub(crate) output_stride: usize,
    pub(crate) columns: usize,
    /// Whether the sum is added to what the results hold.
    pub(crate) add: bool,
}

macro_rules! for_rows {
    ($kernel:ident, $vectors:literal, $rows:expr, $tile:expr, $($n:literal)*) => {
        match $rows {
            $($n => S::run($kernel::<$n, $vectors>($tile)),)*
            rows => unreachable!("a tile of {rows} rows"),
        }
    };
}

/// Computes a tile of `rows` ≤ `S::ROWS` rows.
///
/// # Safety
/// The processor has the level's instructions. All addresses are valid for as many numbers as the fields say: `depth` at each
/// source, `columns` at each output from `first_column` on; outputs are touched by no other task and are no sources.
#[inline(always)]
pub(crate) unsafe fn gather_tile<S: Simd>(rows: usize, tile: &GatherTile) {
    // SAFETY: passed on to the caller.
    unsafe {
        if tile.columns > S::LANES {
            for_rows!(Gather, 2, rows, tile, 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
        } else {
            for_rows!(Gather, 1, rows, tile, 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
        }
    }
}

/// Computes a tile of `rows` ≤ `S::ROWS` rows.
///
/// # Safety
/// As for [`gather_tile`]: `factors`, `rows`, the rows of `panel` that these name, and `rows` rows of `columns` results.
#[inline(always)]
pub(crate) unsafe fn outer_tile<S: Simd>(rows: usize, tile: &OuterTile) {
    // SAFETY: passed on to the caller.
    unsafe {
        if tile.columns > S::LANES {
            for_rows!(Outer, 2, rows, tile, 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
        } else {
            for_rows!(Outer, 1, rows, tile, 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
        }
    }
}

struct Gather<'a, const ROWS: usize, const VECTORS: usize>(&'a GatherTile);
struct Outer<'a, const ROWS: usize, const VECTORS: usize>(&'a OuterTile);

impl<const ROWS: usize, const VECTORS: usize> Kernel for Gather<'_, ROWS, VECTORS> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        if ROWS > S::ROWS {
            unreachable!("more rows than registers");
        }
        let tile = self.0;
        // SAFETY: the caller of `gather_tile` vouches for all addresses: sources for `depth` numbers each, the panel for
        // `depth` rows in each slot, outputs for `columns` numbers of which whole vectors are the first.
        unsafe {
            let taps_of_run = (RUN / tile.depth).max(1);
            let depth_of_run = tile.depth.div_ceil(tile.depth.div_ceil(RUN));
            let mut add = tile.resume;
            let mut first_tap = 0;
            loop {
                // By slot, not by how many taps this tile has: tiles are cut as threads ask, results are not.
                let run_of = |tap: usize| *tile.slots.add(tap) as usize / taps_of_run;
                let mut end_tap = first_tap;
                while end_tap < tile.taps && run_of(end_tap) == run_of(first_tap) {
                    end_tap += 1;
                }
                let mut first = 0;
                loop {
                    let end = tile.depth.min(first + depth_of_run);
                    let mut sums = [[S::zero(); VECTORS]; ROWS];
                    for tap in first_tap..end_tap {
                        let mut sources = [std::ptr::null::<f32>(); ROWS];
                        for (r, source) in sources.iter_mut().enumerate() {
                            *source = *tile.sources.add(tap * S::ROWS + r);
                        }
                        let slot = *tile.slots.add(tap) as usize;
                        let mut panel = tile.panel.add((slot * tile.depth + first) * S::PANEL);
                        for k in first..end {
                            let columns = load_vectors::<S, VECTORS>(panel);
                            for (sums, source) in sums.iter_mut().zip(sources) {
                                let x = S::splat(*source.add(k));
                                for (sum, column) in sums.iter_mut().zip(columns) {
                                    *sum = S::mul_add(x, column, *sum);
                                }
                            }
                            panel = panel.add(S::PANEL);
                        }
                    }
                    put_sums::<S, ROWS, VECTORS>(tile, sums, add);
                    add = true;
                    first = end;
                    if first == tile.depth {
                        break;
                    }
                }
                first_tap = end_tap;
                if first_tap == tile.taps {
                    break;
                }
            }
        }
    }
}

/// Writes a tile's sums, or adds them to what the results hold.
#[inline(always)]
unsafe fn put_sums<S: Simd, const ROWS: usize, const VECTORS: usize>(
    tile: &GatherTile,
    sums: [[S::Vector; VECTORS]; ROWS],
    add: bool,
) {
    for (r, mut sums) in sums.into_iter().enumerate() {
        // SAFETY: the caller vouches for the outputs, as for all of the tile.
        unsafe {
            let output = (*tile.outputs.add(r)).add(tile.first_column);
            if add {
                let before = load_columns::<S, VECTORS>(output, tile.columns);
                for (sum, before) in sums.iter_mut().zip(before) {
                    *sum = S::add(before, *sum);
                }
            }
            store_columns::<S, VECTORS>(output, sums, tile.columns);
        }
    }
}

impl<const ROWS: usize, const VECTORS: usize> Kernel for Outer<'_, ROWS, VECTORS> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        if ROWS > S::ROWS {
            unreachable!("more rows than registers");
        }
        let tile = self.0;
        // SAFETY: the caller of `outer_tile` vouches for `count` rows of factors, for the panel's rows that are named, and
        // for the results.
        unsafe {
            let mut sums = [[S::zero(); VECTORS]; ROWS];
            let mut factors = tile.factors;
            for k in 0..tile.count {
                let panel = tile.panel.add(*tile.rows.add(k) as usize * S::PANEL);
                let columns = load_vectors::<S, VECTORS>(panel);
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = S::splat(*factors.add(r));
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = S::mul_add(x, column, *sum);
                    }
                }
                factors = factors.add(tile.factor_stride);
            }
            for (r, mut sums) in sums.into_iter().enumerate() {
                let output = tile.output.add(r * tile.output_stride);
                if tile.add {
                    let before = load_columns::<S, VECTORS>(output, tile.columns);
                    for (sum, before) in sums.iter_mut().zip(before) {
                        *sum = S::add(before, *sum);
                    }
                }
                store_columns::<S, VECTORS>(output, sums, tile.columns);
            }
        }
    }
}

/// Copies `height` numbers of each source, from `channel` on, to rows `FACTOR_STRIDE` apart, for [`outer_tile`]: neighbours in memory, however far apart the pixels lie,
/// and whatever power of two that distance is.
pub(crate) struct CollectFactors<'a> {
    pub(crate) sources: &'a [*const f32],
    pub(crate) channel: usize,
    pub(crate) height: usize,
    pub(crate) factors: &'a mut [f32],
}

impl Kernel for CollectFactors<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let rows = self.factors.as_chunks_mut::<FACTOR_STRIDE>().0;
        for (row, &source) in rows.iter_mut().zip(self.sources) {
            let mut done = 0;
            while done < self.height {
                let count = (self.height - done).min(S::LANES);
                // SAFETY: the caller vouches for channel + height numbers at each source; a row has room for them.
                unsafe {
                    let x = S::load_first(source.add(self.channel + done), count);
                    S::store_first(row.as_mut_ptr().add(done), x, count);
                }
                done += count;
            }
        }
    }
}

/// Whole vectors. (No closure: those would not be compiled with the level's instructions.)
#[inline(always)]
unsafe fn load_vectors<S: Simd, const VECTORS: usize>(from: *const f32) -> [S::Vector; VECTORS] {
    // SAFETY: the caller vouches for VECTORS · LANES numbers.
    unsafe {
        let mut vectors = [S::zero(); VECTORS];
        for (v, vector) in vectors.iter_mut().enumerate() {
            *vector = S::load(from.add(v * S::LANES));
        }
        vectors
    }
}

/// Vectors from the first `columns` numbers, zeros beyond.
#[inline(always)]
unsafe fn load_columns<S: Simd, const VECTORS: usize>(from: *const f32, columns: usize) -> [S::Vector; VECTORS] {
    // SAFETY: `columns` > (VECTORS − 1) · LANES numbers are valid at `from`; each vector reads its part of them alone.
    unsafe {
        let mut vectors = [S::zero(); VECTORS];
        for (v, vector) in vectors.iter_mut().enumerate() {
            let left = columns - v * S::LANES;
            let from = from.add(v * S::LANES);
            *vector = if left >= S::LANES { S::load(from) } else { S::load_first(from, left) };
        }
        vectors
    }
}

/// The first `columns` numbers of vectors.
#[inline(always)]
unsafe fn store_columns<S: Simd, const VECTORS: usize>(to: *mut f32, x: [S::Vector; VECTORS], columns: usize) {
    for (v, x) in x.into_iter().enumerate() {
        let left = columns - v * S::LANES;
        // SAFETY: as in `load_columns`, for writing.
        unsafe {
            let to = to.add(v * S::LANES);
            if left >= S::LANES { S::store(to, x) } else { S::store_first(to, x, left) }
        }
    }
}
