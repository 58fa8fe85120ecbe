//! Exact convolution, forward and backward by the input: an indirect matrix product. Tiles read the source's pixels by address, so
//! that nothing is gathered into a buffer; taps that are padding for a whole tile are skipped.

use std::ops::Range;

use rayon::prelude::*;

use super::ConvolutionShape;
use super::ahead::{self, Ahead};
use super::grid::Grid;
use super::panels::{Panels, Weights};
use crate::disjoint::Disjoint;
use crate::scratch::{LINE, with_scratch};
use crate::simd::Simd;
use crate::tile::{GatherTile, gather_tile};

/// Bytes of source rows in a block, which the second cache keeps while all panels pass.
const BLOCK_BYTES: usize = 192 * 1024;
/// Source rows of at least this depth are copied together before several panels pass: their own distance is often a power
/// of two, which a cache takes badly.
const COPIED_DEPTH: usize = 128;
/// Input channels below which a row of the kernel counts as one tap.
const FEW_CHANNELS: usize = 8;

pub(super) fn forward<S: Simd>(shape: &ConvolutionShape, input: &[f32], weight: &[f32], output: &mut [f32]) {
    let columns = shape.out_channels();
    if by_kernel_rows(shape) {
        let depth = shape.window().kernel_width() * shape.in_channels();
        let padded = padded(shape, input);
        let weights = Weights::forward(weight, depth, columns);
        Product::new::<S>(Grid::forward_by_kernel_rows(shape), weights).run::<S>(&padded, Disjoint::new(output));
    } else {
        let weights = Weights::forward(weight, shape.in_channels(), columns);
        Product::new::<S>(Grid::forward(shape), weights).run::<S>(input, Disjoint::new(output));
    }
}

pub(super) fn backward_data<S: Simd>(
    shape: &ConvolutionShape,
    weight: &[f32],
    output_gradient: &[f32],
    input_gradient: &mut [f32],
) {
    let weights = Weights::backward(weight, shape.out_channels(), shape.in_channels());
    let gradient = Disjoint::new(input_gradient);
    for grid in Grid::backward(shape) {
        Product::new::<S>(grid, weights).run::<S>(output_gradient, gradient);
    }
}

/// Whether the kernel's rows are taken as taps, over padded images: with few channels a pixel is too short a row.
pub(super) fn by_kernel_rows(shape: &ConvolutionShape) -> bool {
    shape.in_channels() < FEW_CHANNELS && shape.window().kernel_width() > 1
}

/// The images with a rim of zeros.
pub(super) fn padded(shape: &ConvolutionShape, input: &[f32]) -> Vec<f32> {
    let window = shape.window();
    let (channels, padding) = (shape.in_channels(), window.padding());
    let line = window.width() * channels;
    let padded_line = line + 2 * padding * channels;
    let padded_height = window.height() + 2 * padding;
    let mut padded = vec![0.0; shape.images() * padded_height * padded_line];
    let images = padded.par_chunks_mut(padded_height * padded_line).zip(input.par_chunks(window.in_area() * channels));
    images.for_each(|(padded, image)| {
        let lines = padded.chunks_exact_mut(padded_line).skip(padding);
        for (padded, from) in lines.zip(image.chunks_exact(line)) {
            padded[padding * channels..][..line].copy_from_slice(from);
        }
    });
    padded
}

/// Grid and packed weights: all but the numbers to multiply.
struct Product {
    grid: Grid,
    panels: Panels,
    depth: usize,
    columns: usize,
    taps: usize,
    /// What a tap reads in the padding.
    zeros: Vec<f32>,
}

impl Product {
    fn new<S: Simd>(grid: Grid, weights: Weights<'_>) -> Self {
        let taps = grid.tap_weights();
        let (depth, columns) = (weights.depth(), weights.columns());
        Self { grid, panels: weights.pack::<S>(&taps), depth, columns, taps: taps.len(), zeros: vec![0.0; depth] }
    }

    /// Writes the results of all the grid's pixels. Each is one sum in a fixed order, so blocks may follow the threads.
    fn run<S: Simd>(&self, source: &[f32], output: Disjoint<'_>) {
        let (rows, threads) = (self.grid.rows(), rayon::current_num_threads());
        let panels = self.columns.div_ceil(S::PANEL);
        let most = (BLOCK_BYTES / size_of::<f32>() / self.depth).clamp(4 * S::ROWS, 64 * S::ROWS);
        let blocks = rows.div_ceil(most).next_multiple_of(threads).min(rows.div_ceil(S::ROWS));
        if blocks == 0 {
            return;
        }
        let block_rows = rows.div_ceil(blocks);
        // Few rows: panels are shared out as well.
        let panel_groups = threads.div_ceil(blocks).min(panels);
        (0..blocks * panel_groups).into_par_iter().for_each(|task| {
            let (block, group) = (task / panel_groups, task % panel_groups);
            let rows = (block * block_rows).min(rows)..((block + 1) * block_rows).min(rows);
            let panels = group * panels / panel_groups..(group + 1) * panels / panel_groups;
            self.block::<S>(source, rows, panels, output);
        });
    }

    /// Some rows and panels.
    fn block<S: Simd>(&self, source: &[f32], rows: Range<usize>, panels: Range<usize>, output: Disjoint<'_>) {
        let copied = self.taps == 1 && self.depth >= COPIED_DEPTH && panels.len() > 1;
        let stride = self.depth + LINE;
        with_scratch(if copied { rows.len() * stride } else { 0 }, |copy| {
            let mut tiles = Tiles::new::<S>(self, source, rows.clone(), output);
            if copied {
                tiles.copy_sources(self.depth, stride, copy);
            }
            // The block after this one is likely this thread's next.
            let next = if self.grid.is_in_order() {
                ahead::part(source, self.grid.rows(), rows.end, rows.end + rows.len())
            } else {
                &[]
            };
            let mut ahead = Ahead::new(next, panels.len() * tiles.tiles.len());
            for panel in panels {
                let first_column = panel * S::PANEL;
                for tile in &tiles.tiles {
                    let tile_of_panel = GatherTile {
                        sources: tiles.sources[tile.first_source..].as_ptr(),
                        slots: tiles.slots[tile.first_slot..].as_ptr(),
                        taps: tile.taps,
                        depth: self.depth,
                        panel: self.panels.panel(panel).as_ptr(),
                        outputs: tiles.outputs[tile.first_output..].as_ptr(),
                        first_column,
                        columns: S::PANEL.min(self.columns - first_column),
                        resume: false,
                    };
                    // SAFETY: `Tiles` made `taps` × ROWS sources of `depth` numbers each and `rows` outputs with room
                    // for all columns; slots are below the panel's. Tasks own their rows and panels of the output,
                    // which is no source. S was chosen because the processor has its instructions.
                    unsafe { gather_tile::<S>(tile.rows, &tile_of_panel) };
                    ahead.step::<S>();
                }
            }
        });
    }
}

/// The addresses for the tiles of a block.
struct Tiles {
    tiles: Vec<Tile>,
    /// For each tile `[taps, ROWS]`; places beyond the tile's rows repeat its last one.
    sources: Vec<*const f32>,
    slots: Vec<u32>,
    outputs: Vec<*mut f32>,
}

struct Tile {
    rows: usize,
    taps: usize,
    first_source: usize,
    first_slot: usize,
    first_output: usize,
}

impl Tiles {
    fn new<S: Simd>(product: &Product, source: &[f32], rows: Range<usize>, output: Disjoint<'_>) -> Self {
        let (grid, taps) = (&product.grid, product.taps);
        let positions: Vec<_> = grid.positions(rows).collect();
        let tile_count = positions.len().div_ceil(S::ROWS);
        let mut all = Self {
            tiles: Vec::with_capacity(tile_count),
            sources: Vec::with_capacity(tile_count * S::ROWS * taps),
            slots: Vec::with_capacity(tile_count * taps),
            outputs: Vec::with_capacity(positions.len()),
        };
        let mut rest = &positions[..];
        for index in 0..tile_count {
            // Tiles of equal height: a short last one would waste registers.
            let (tile, after) = rest.split_at(rest.len().div_ceil(tile_count - index));
            rest = after;
            let (first_source, first_slot, first_output) = (all.sources.len(), all.slots.len(), all.outputs.len());
            for slot in 0..taps {
                let start = all.sources.len();
                let mut any = false;
                for &position in tile {
                    let offset = grid.source_offset(position, slot);
                    any |= offset.is_some();
                    let pixel = offset.map_or(&product.zeros[..], |offset| &source[offset..]);
                    assert!(pixel.len() >= product.depth, "a source row ends inside its slice");
                    all.sources.push(pixel.as_ptr());
                }
                if any {
                    let last = all.sources[all.sources.len() - 1];
                    all.sources.resize(start + S::ROWS, last);
                    all.slots.push(slot as u32);
                } else {
                    all.sources.truncate(start);
                }
            }
            for &position in tile {
                let first = grid.result_pixel(position) * product.columns;
                assert!(first + product.columns <= output.len(), "a result row ends inside its slice");
                // SAFETY: the row lies inside the output; only this task's panels of it are written.
                all.outputs.push(unsafe { output.at(first) });
            }
            let taps = all.slots.len() - first_slot;
            all.tiles.push(Tile { rows: tile.len(), taps, first_source, first_slot, first_output });
        }
        all
    }

    /// Copies all source rows to `copy`, `stride` apart.
    fn copy_sources(&mut self, depth: usize, stride: usize, copy: &mut [f32]) {
        let sources = self
            .tiles
            .iter()
            .filter(|tile| tile.taps > 0)
            .flat_map(|tile| tile.first_source..tile.first_source + tile.rows);
        for (source, row) in sources.zip(copy.chunks_mut(stride)) {
            // SAFETY: each source is valid for `depth` numbers, as `new` asserted.
            let from = unsafe { std::slice::from_raw_parts(self.sources[source], depth) };
            row[..depth].copy_from_slice(from);
            self.sources[source] = row.as_ptr();
        }
    }
}
