//! Forward and the gradient by the inputs: transformed tiles times transformed weights, 36 products side by side.
//!
//! Two ways to go through them, chosen by shape. Where the transformed weights are small, they are computed once and tasks take
//! blocks of tiles, whose transforms stay in the second cache. Where they are large against the tiles, the tiles are
//! transformed once and tasks take panels of weights, transformed a chunk of channels at a time where they are used: written
//! to memory, they would be four times the weights.

use std::ops::Range;

use rayon::prelude::*;

use super::transform::{InputTiles, OutputTiles, WeightPanel};
use super::{POINTS, Planes, Tiling};
use crate::convolution::ConvolutionShape;
use crate::convolution::panels::Weights;
use crate::disjoint::Disjoint;
use crate::memory::unwritten;
use crate::scratch::{LINE, with_scratch};
use crate::simd::Simd;
use crate::tile::{GatherTile, gather_tile};

/// Numbers of transformed weights up to which they are kept.
const KEPT_WEIGHTS: usize = 1 << 20;
/// Numbers of a block of transformed tiles (about): a part of the second cache.
const BLOCK_NUMBERS: usize = 192 * 1024;
/// Tiles and channels of a chunk whose products with a panel are made in the second cache.
const CHUNK_TILES: usize = 64;
const CHUNK: usize = 128;

pub(in crate::convolution) fn forward<S: Simd>(
    shape: &ConvolutionShape,
    input: &[f32],
    weight: &[f32],
    output: &mut [f32],
) {
    let weights = Weights::forward(weight, shape.in_channels(), shape.out_channels());
    Product { tiling: Tiling::new(shape), weights, taps: std::array::from_fn(|tap| tap) }.run::<S>(input, output);
}

pub(in crate::convolution) fn backward_data<S: Simd>(
    shape: &ConvolutionShape,
    weight: &[f32],
    output_gradient: &[f32],
    input_gradient: &mut [f32],
) {
    let weights = Weights::backward(weight, shape.out_channels(), shape.in_channels());
    let product = Product { tiling: Tiling::new(shape), weights, taps: std::array::from_fn(|tap| 8 - tap) };
    product.run::<S>(output_gradient, input_gradient);
}

struct Product<'a> {
    tiling: Tiling,
    weights: Weights<'a>,
    /// The weights' taps in the order of the kernel that is applied.
    taps: [usize; 9],
}

impl Product<'_> {
    fn run<S: Simd>(&self, source: &[f32], output: &mut [f32]) {
        let pixels = self.tiling.images * self.tiling.height * self.tiling.width;
        assert!(source.len() == pixels * self.weights.depth() && output.len() == pixels * self.weights.columns());
        let output = Disjoint::new(output);
        if POINTS * self.weights.depth() * self.weights.columns() <= KEPT_WEIGHTS {
            self.by_tiles::<S>(source, output);
        } else {
            self.by_panels::<S>(source, output);
        }
    }

    fn by_tiles<S: Simd>(&self, source: &[f32], output: Disjoint<'_>) {
        let (depth, tiles, threads) = (self.weights.depth(), self.tiling.count(), rayon::current_num_threads());
        let weight_planes = Planes::new(depth, S::PANEL, S::PANEL, 0);
        let panels = self.panels::<S>();
        let mut weights = unwritten(panels * weight_planes.len());
        weights.par_chunks_mut(weight_planes.len()).enumerate().for_each(|(panel, weights)| {
            with_scratch(self.weights.panel_len::<S>(9), |slab| {
                self.transform_weights::<S>(panel, 0..depth, slab, weight_planes, weights);
            });
        });
        let most = (BLOCK_NUMBERS / POINTS / depth).clamp(2 * S::ROWS, 4 * S::ROWS) / S::ROWS * S::ROWS;
        let blocks = tiles.div_ceil(most).next_multiple_of(threads).min(tiles.div_ceil(S::ROWS));
        let block_tiles = tiles.div_ceil(blocks);
        let planes = Planes::new(block_tiles, depth, depth, LINE);
        let products = Planes::new(block_tiles, S::PANEL, S::PANEL, 0);
        (0..blocks).into_par_iter().for_each(|block| {
            let tiles = (block * block_tiles).min(tiles)..((block + 1) * block_tiles).min(tiles);
            with_scratch(planes.len() + products.len(), |scratch| {
                let (transformed, results) = scratch.split_at_mut(planes.len());
                self.transform_tiles::<S>(source, tiles.clone(), planes, Disjoint::new(transformed), 0);
                for (panel, weights) in weights.chunks_exact(weight_planes.len()).enumerate() {
                    let factors = Factors {
                        tiles: transformed,
                        planes,
                        first_channel: 0,
                        weights,
                        weight_planes,
                        columns: self.columns::<S>(panel),
                    };
                    self.multiply::<S>(&factors, tiles.len(), depth, false, results, products);
                    self.transform_back::<S>(panel, results, products, tiles.clone(), output);
                }
            });
        });
    }

    fn by_panels<S: Simd>(&self, source: &[f32], output: Disjoint<'_>) {
        let (depth, tiles, threads) = (self.weights.depth(), self.tiling.count(), rayon::current_num_threads());
        let block = tiles.div_ceil(tiles.div_ceil(CHUNK_TILES));
        let planes = Planes::new(block, depth, CHUNK, LINE);
        let products = Planes::new(block, S::PANEL, S::PANEL, 0);
        let weight_planes = Planes::new(CHUNK, S::PANEL, S::PANEL, 0);
        let panels = self.panels::<S>();
        let tasks = threads.min(panels);
        let mut storage = unwritten(planes.len());
        for start in (0..tiles).step_by(block) {
            let tiles = start..(start + block).min(tiles);
            let transformed = Disjoint::new(&mut storage);
            let pieces = tiles.len().div_ceil(S::ROWS / 2);
            (0..pieces).into_par_iter().for_each(|piece| {
                let edge = |piece: usize| start + piece * tiles.len() / pieces;
                self.transform_tiles::<S>(
                    source,
                    edge(piece)..edge(piece + 1),
                    planes,
                    transformed,
                    edge(piece) - start,
                );
            });
            (0..tasks).into_par_iter().for_each(|task| {
                let panels = task * panels / tasks..(task + 1) * panels / tasks;
                let results_len = panels.len() * products.len();
                let slab_len = 9 * CHUNK * S::PANEL;
                with_scratch(results_len + weight_planes.len() + slab_len, |scratch| {
                    let (results, rest) = scratch.split_at_mut(results_len);
                    let (weights, slab) = rest.split_at_mut(weight_planes.len());
                    // A chunk of all tiles serves all panels before the next.
                    for first_channel in (0..depth).step_by(CHUNK) {
                        let channels = first_channel..(first_channel + CHUNK).min(depth);
                        for (panel, results) in panels.clone().zip(results.chunks_exact_mut(products.len())) {
                            self.transform_weights::<S>(panel, channels.clone(), slab, weight_planes, weights);
                            let factors = Factors {
                                tiles: &storage,
                                planes,
                                first_channel,
                                weights,
                                weight_planes,
                                columns: self.columns::<S>(panel),
                            };
                            let resume = first_channel > 0;
                            self.multiply::<S>(&factors, tiles.len(), channels.len(), resume, results, products);
                        }
                    }
                    for (panel, results) in panels.clone().zip(results.chunks_exact(products.len())) {
                        self.transform_back::<S>(panel, results, products, tiles.clone(), output);
                    }
                });
            });
        }
    }

    fn panels<S: Simd>(&self) -> usize {
        self.weights.columns().div_ceil(S::PANEL)
    }

    /// Columns of a panel.
    fn columns<S: Simd>(&self, panel: usize) -> usize {
        S::PANEL.min(self.weights.columns() - panel * S::PANEL)
    }

    /// Writes the transforms of some tiles to the rows from `first_row` on.
    fn transform_tiles<S: Simd>(
        &self,
        source: &[f32],
        tiles: Range<usize>,
        planes: Planes,
        to: Disjoint<'_>,
        first_row: usize,
    ) {
        let channels = self.weights.depth();
        assert!((first_row + tiles.len()) * planes.row <= planes.block_stride && planes.len() <= to.len(), "rows");
        // SAFETY: the rows lie inside each block of each plane, as asserted, and belong to this task alone; channels are
        // whole vectors. S was chosen because the processor has its instructions.
        unsafe {
            let to = to.at(0);
            S::run(InputTiles { tiling: self.tiling, images: source, channels, tiles, planes, first_row, to });
        }
    }

    /// Writes the transforms of some rows of a panel of weights.
    fn transform_weights<S: Simd>(
        &self,
        panel: usize,
        rows: Range<usize>,
        slab: &mut [f32],
        planes: Planes,
        weights: &mut [f32],
    ) {
        let columns = self.columns::<S>(panel);
        assert!(rows.len() * planes.row <= planes.plane && planes.len() <= weights.len(), "planes of a panel");
        let (count, to) = (rows.len(), weights.as_mut_ptr());
        let (depth, all_columns) = (self.weights.depth(), self.weights.columns());
        let (from, from_row, from_tap) = match self.weights.untransposed() {
            Some(values) => {
                assert!(values.len() == 9 * depth * all_columns, "nine taps");
                (&values[rows.start * all_columns + panel * S::PANEL..], all_columns, depth * all_columns)
            }
            None => {
                self.weights.pack_panel::<S>(panel, &self.taps, rows, slab);
                assert!(slab.len() >= 9 * count * S::PANEL, "nine taps");
                (&*slab, S::PANEL, count * S::PANEL)
            }
        };
        let (from, from_tap) = (from.as_ptr(), from_tap as isize);
        // SAFETY: nine taps of `count` rows of `columns` numbers lie inside, as asserted; so do the planes. S was chosen
        // because the processor has its instructions.
        unsafe { S::run(WeightPanel { from, from_row, from_tap, rows: count, columns, planes, to }) };
    }

    /// `results = tiles · weights` in each plane, over `depth` channels, for a panel's columns; with `resume`, the sums go on from
    /// what they hold.
    fn multiply<S: Simd>(
        &self,
        factors: &Factors<'_>,
        tiles: usize,
        depth: usize,
        resume: bool,
        results: &mut [f32],
        products: Planes,
    ) {
        let Factors { tiles: transformed, planes, first_channel, weights, weight_planes, columns } = *factors;
        let blocks = tiles.div_ceil(S::ROWS);
        for point in 0..POINTS {
            let source = &transformed[point * planes.plane + planes.position(0, first_channel)..];
            let weights = &weights[point * weight_planes.plane..][..depth * S::PANEL];
            let results = &mut results[point * products.plane..][..tiles * products.row];
            assert!(tiles == 0 || (tiles - 1) * planes.row + depth <= source.len(), "rows of a plane");
            let mut first = 0;
            for block in 0..blocks {
                let rows = (tiles - first).div_ceil(blocks - block);
                let mut sources = [std::ptr::null::<f32>(); 16];
                let mut outputs = [std::ptr::null_mut::<f32>(); 16];
                for (row, (source_row, output)) in sources.iter_mut().zip(&mut outputs).enumerate().take(rows) {
                    // SAFETY: row `first + row` < `tiles` lies inside both slices.
                    unsafe {
                        *source_row = source.as_ptr().add((first + row) * planes.row);
                        *output = results.as_mut_ptr().add((first + row) * products.row);
                    }
                }
                let tile = GatherTile {
                    sources: sources.as_ptr(),
                    slots: &0,
                    taps: 1,
                    depth,
                    panel: weights.as_ptr(),
                    outputs: outputs.as_ptr(),
                    first_column: 0,
                    columns,
                    resume,
                };
                // SAFETY: `rows` ≤ ROWS ≤ 16 addresses of `depth` numbers and of PANEL results, which are borrowed.
                unsafe { gather_tile::<S>(rows, &tile) };
                first += rows;
            }
        }
    }

    /// Writes the pixels of some tiles in one panel's columns.
    fn transform_back<S: Simd>(
        &self,
        panel: usize,
        results: &[f32],
        products: Planes,
        tiles: Range<usize>,
        output: Disjoint<'_>,
    ) {
        assert!(products.len() <= results.len() && tiles.len() * products.row <= products.plane, "planes of products");
        // SAFETY: the planes hold these tiles' products, as asserted; these tiles' pixels in this panel's columns belong to
        // this task alone and lie inside the output, whose length `run` compared. S was chosen because the processor has
        // its instructions.
        unsafe {
            S::run(OutputTiles {
                tiling: self.tiling,
                from: results.as_ptr(),
                planes: products,
                tiles,
                images: output.at(panel * S::PANEL),
                channels: self.weights.columns(),
                count: self.columns::<S>(panel),
            });
        }
    }
}

/// What is multiplied: transformed tiles, from a channel on, and a panel of transformed weights.
struct Factors<'a> {
    tiles: &'a [f32],
    planes: Planes,
    first_channel: usize,
    weights: &'a [f32],
    weight_planes: Planes,
    columns: usize,
}
