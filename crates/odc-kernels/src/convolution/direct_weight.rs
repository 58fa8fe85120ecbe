//! The exact gradient by the weights: for each tap the sum over all windows of source pixel ⊗ output gradient.
//!
//! Windows are taken in blocks of fixed size; inside a block a weight's sum runs in a register, and blocks are added in order.
//! Small weights over many windows get a partial sum for each of a few groups of blocks. Blocks and groups follow the shape
//! alone; how taps, channels and panels are shared out follows the threads, and changes no sum.

use std::ops::Range;

use rayon::prelude::*;

use super::ConvolutionShape;
use super::ahead::{self, Ahead};
use super::direct::{by_kernel_rows, padded};
use super::grid::{Grid, Position};
use crate::disjoint::{Disjoint, add_in_order};
use crate::memory::unwritten;
use crate::scratch::with_scratch;
use crate::simd::Simd;
use crate::tile::{CollectFactors, FACTOR_STRIDE, OuterTile, outer_tile};

/// Windows whose outer products are summed in registers.
const BLOCK: usize = 192;
/// Groups at most, numbers that all partial sums together may take, and windows that a group is worth having for.
const GROUPS: usize = 16;
const PARTIAL_NUMBERS: usize = 1 << 20;
const GROUP_WINDOWS: usize = 8 * BLOCK;

pub(super) fn backward_weight<S: Simd>(
    shape: &ConvolutionShape,
    input: &[f32],
    output_gradient: &[f32],
    weight_gradient: &mut [f32],
) {
    let columns = shape.out_channels();
    if by_kernel_rows(shape) {
        let depth = shape.window().kernel_width() * shape.in_channels();
        let sum = OuterSum::new(Grid::forward_by_kernel_rows(shape), depth, columns);
        sum.run::<S>(&padded(shape, input), output_gradient, weight_gradient);
    } else {
        let sum = OuterSum::new(Grid::forward(shape), shape.in_channels(), columns);
        sum.run::<S>(input, output_gradient, weight_gradient);
    }
}

/// `gradient[tap][depth][columns] = Σ over the grid's rows of source ⊗ output gradient`.
struct OuterSum {
    grid: Grid,
    taps: Vec<usize>,
    depth: usize,
    columns: usize,
}

/// A piece of the gradient.
struct Part {
    slots: Range<usize>,
    channels: Range<usize>,
    panels: Range<usize>,
}

impl OuterSum {
    fn new(grid: Grid, depth: usize, columns: usize) -> Self {
        Self { taps: grid.tap_weights(), grid, depth, columns }
    }

    fn run<S: Simd>(&self, source: &[f32], output_gradient: &[f32], gradient: &mut [f32]) {
        let groups = self.groups(gradient.len());
        let mut partial = unwritten((groups.len() - 1) * gradient.len());
        self.clear_unused_taps(gradient);
        partial.chunks_exact_mut(gradient.len()).for_each(|partial| self.clear_unused_taps(partial));
        {
            let (first, partial) = (Disjoint::new(gradient), Disjoint::new(&mut partial));
            let parts = self.parts::<S>(rayon::current_num_threads().div_ceil(groups.len()));
            let count = groups.len() * parts.len();
            (0..count).into_par_iter().for_each(|index| {
                let (group, part) = (index / parts.len(), &parts[index % parts.len()]);
                let (target, base) = if group == 0 { (first, 0) } else { (partial, (group - 1) * first.len()) };
                let windows = groups[group].clone();
                self.accumulate::<S>(part, windows, source, output_gradient, Target { numbers: target, base });
            });
        }
        add_in_order(gradient, &partial);
    }

    /// The sum of a tap that is padding everywhere; of all taps where there are no windows. No task writes these.
    fn clear_unused_taps(&self, gradient: &mut [f32]) {
        gradient.par_chunks_exact_mut(self.depth * self.columns).enumerate().for_each(|(tap, matrix)| {
            if !self.taps.contains(&tap) || self.grid.rows() == 0 {
                matrix.fill(0.0);
            }
        });
    }

    /// The windows of each partial sum: by shape alone.
    fn groups(&self, weight_len: usize) -> Vec<Range<usize>> {
        let windows = self.grid.rows();
        let groups = (windows / GROUP_WINDOWS).min(PARTIAL_NUMBERS / weight_len).clamp(1, GROUPS);
        let blocks = windows.div_ceil(BLOCK);
        let edge = |group: usize| (group * blocks / groups * BLOCK).min(windows);
        (0..groups).map(|group| edge(group)..edge(group + 1)).collect()
    }

    /// Pieces of the gradient, at least `wanted` where that is possible. A cut between panels lets the source be collected
    /// twice, one between taps or channels lets the output gradient be packed twice: the next cut goes where more is left to
    /// share that work.
    fn parts<S: Simd>(&self, wanted: usize) -> Vec<Part> {
        let panels = self.columns.div_ceil(S::PANEL);
        let tiles = self.depth.div_ceil(S::ROWS);
        let taps = self.taps.len().max(1);
        let (mut by_panel, mut by_row) = (1, 1);
        while by_panel * by_row < wanted && (by_panel < panels || by_row < taps * tiles) {
            if panels * by_row >= taps * tiles * by_panel {
                by_panel += 1;
            } else {
                by_row += 1;
            }
        }
        let by_tap = by_row.min(taps);
        let by_channel = by_row.div_ceil(by_tap).min(tiles);
        let piece = |index: usize, pieces: usize, all: usize| index * all / pieces..(index + 1) * all / pieces;
        let mut parts = Vec::new();
        for panel in 0..by_panel {
            for tap in 0..by_tap {
                for channel in 0..by_channel {
                    let tiles = piece(channel, by_channel, tiles);
                    parts.push(Part {
                        slots: piece(tap, by_tap, self.taps.len()),
                        channels: tiles.start * S::ROWS..(tiles.end * S::ROWS).min(self.depth),
                        panels: piece(panel, by_panel, panels),
                    });
                }
            }
        }
        parts
    }

    /// One part's sum over some windows.
    fn accumulate<S: Simd>(
        &self,
        part: &Part,
        windows: Range<usize>,
        source: &[f32],
        output_gradient: &[f32],
        target: Target<'_>,
    ) {
        let panels_len = part.panels.len() * BLOCK * S::PANEL;
        with_scratch(panels_len + BLOCK * FACTOR_STRIDE, |scratch| {
            let (panels, factors) = scratch.split_at_mut(panels_len);
            let mut block =
                Block { sources: Vec::with_capacity(BLOCK), rows: Vec::with_capacity(BLOCK), panels, factors };
            let mut started = vec![false; self.taps.len()];
            for start in windows.clone().step_by(BLOCK) {
                let positions: Vec<_> = self.grid.positions(start..(start + BLOCK).min(windows.end)).collect();
                self.pack_gradient::<S>(part, &positions, output_gradient, block.panels);
                let next = |numbers| {
                    let end = if self.grid.is_in_order() { start + 2 * BLOCK } else { start + BLOCK };
                    ahead::part(numbers, self.grid.rows(), start + BLOCK, end.min(windows.end).max(start + BLOCK))
                };
                let steps = part.slots.len() * part.channels.len().div_ceil(S::ROWS) * part.panels.len();
                let mut ahead = [Ahead::new(next(output_gradient), steps), Ahead::new(next(source), steps)];
                for slot in part.slots.clone() {
                    block.sources.clear();
                    block.rows.clear();
                    for (row, &position) in positions.iter().enumerate() {
                        if let Some(offset) = self.grid.source_offset(position, slot) {
                            block.sources.push(source[offset..][..self.depth].as_ptr());
                            block.rows.push(row as u32);
                        }
                    }
                    if !block.rows.is_empty() {
                        let add = std::mem::replace(&mut started[slot], true);
                        self.tiles::<S>(part, slot, &mut block, add, target, &mut ahead);
                    }
                }
            }
            // A tap that met only padding in these windows.
            for slot in part.slots.clone().filter(|&slot| !started[slot]) {
                for channel in part.channels.clone() {
                    let columns = part.panels.start * S::PANEL..self.columns.min(part.panels.end * S::PANEL);
                    let first = self.position(slot, channel, columns.start);
                    // SAFETY: the row's columns lie inside the target and belong to this task alone.
                    unsafe { target.at(first, columns.len()).write_bytes(0, columns.len()) };
                }
            }
        });
    }

    /// The part's columns of a block of the output gradient, as panels `[panel, BLOCK, PANEL]`.
    fn pack_gradient<S: Simd>(&self, part: &Part, positions: &[Position], output_gradient: &[f32], panels: &mut [f32]) {
        for (row, &position) in positions.iter().enumerate() {
            let from = &output_gradient[self.grid.result_pixel(position) * self.columns..][..self.columns];
            for (index, panel) in part.panels.clone().enumerate() {
                let from = &from[panel * S::PANEL..self.columns.min((panel + 1) * S::PANEL)];
                let to = &mut panels[(index * BLOCK + row) * S::PANEL..][..S::PANEL];
                if from.len() == S::PANEL {
                    to.copy_from_slice(from);
                } else {
                    to[..from.len()].copy_from_slice(from);
                    to[from.len()..].fill(0.0);
                }
            }
        }
    }

    /// All tiles of a tap's matrix that belong to the part, over one block's windows.
    fn tiles<S: Simd>(
        &self,
        part: &Part,
        slot: usize,
        block: &mut Block<'_>,
        add: bool,
        target: Target<'_>,
        ahead: &mut [Ahead<'_>],
    ) {
        let tile_count = part.channels.len().div_ceil(S::ROWS);
        let mut channel = part.channels.start;
        for index in 0..tile_count {
            let height = (part.channels.end - channel).div_ceil(tile_count - index);
            // SAFETY: each source is valid for `depth` ≥ channel + height numbers, and `factors` has a row for each. S was
            // chosen because the processor has its instructions.
            unsafe {
                S::run(CollectFactors { sources: &block.sources, channel, height, factors: block.factors });
            }
            for (position, panel) in part.panels.clone().enumerate() {
                let first_column = panel * S::PANEL;
                let columns = S::PANEL.min(self.columns - first_column);
                let first = self.position(slot, channel, first_column);
                let tile = OuterTile {
                    factors: block.factors.as_ptr(),
                    factor_stride: FACTOR_STRIDE,
                    rows: block.rows.as_ptr(),
                    count: block.rows.len(),
                    panel: block.panels[position * BLOCK * S::PANEL..][..BLOCK * S::PANEL].as_ptr(),
                    output: target.at(first, (height - 1) * self.columns + columns),
                    output_stride: self.columns,
                    columns,
                    add,
                };
                // SAFETY: as many factors as rows, rows below BLOCK, and a tile of results that belongs to this task
                // alone. S was chosen because the processor has its instructions.
                unsafe { outer_tile::<S>(height, &tile) };
                ahead.iter_mut().for_each(Ahead::step::<S>);
            }
            channel += height;
        }
    }

    /// Where in the gradient a number lies.
    fn position(&self, slot: usize, channel: usize, column: usize) -> usize {
        (self.taps[slot] * self.depth + channel) * self.columns + column
    }
}

/// One block's addresses and packed numbers.
struct Block<'a> {
    /// The source pixels under a tap, and which windows of the block they belong to.
    sources: Vec<*const f32>,
    rows: Vec<u32>,
    panels: &'a mut [f32],
    factors: &'a mut [f32],
}

/// Where a sum goes: a whole gradient that begins at `base`.
#[derive(Clone, Copy)]
struct Target<'a> {
    numbers: Disjoint<'a>,
    base: usize,
}

impl Target<'_> {
    /// The address of `len` numbers from `first` on.
    fn at(self, first: usize, len: usize) -> *mut f32 {
        assert!(self.base + first + len <= self.numbers.len(), "a tile ends inside the gradient");
        // SAFETY: the numbers lie inside, as asserted; who writes them argues that no other task does.
        unsafe { self.numbers.at(self.base + first) }
    }
}
