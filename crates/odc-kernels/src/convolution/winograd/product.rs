//! Forward and the gradient by the inputs: transformed tiles times transformed weights, 36 products side by side.
//!
//! Two ways to go through them, equal in every bit. Where the transformed weights are small, they are computed once and tasks take
//! blocks of tiles, whose transforms stay in the second cache. Where they are large against the tiles, the tiles are
//! transformed once and tasks take panels of weights, transformed where they are used.

use std::ops::Range;

use rayon::prelude::*;

use super::transform::{InputTiles, OutputTiles, WeightPanel};
use super::{POINTS, PLANE_GAP, Planes, Tiling};
use crate::convolution::ConvolutionShape;
use crate::convolution::panels::Weights;
use crate::disjoint::Disjoint;
use crate::scratch::{LINE, with_scratch};
use crate::simd::Simd;
use crate::tile::{GatherTile, gather_tile};

/// Numbers of transformed weights up to which they are kept.
const KEPT_WEIGHTS: usize = 1 << 20;
/// Numbers of a block of transformed tiles (about): a part of the second cache.
const BLOCK_NUMBERS: usize = 192 * 1024;
/// Numbers of transformed tiles that are kept at a time.
const KEPT_TILES: usize = 8 << 20;
/// Tiles whose products with a panel are made before they are transformed back.
const PANEL_TILES: usize = 112;

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
        let (depth, columns) = (self.weights.depth(), self.weights.columns());
        let output = Disjoint::new(output);
        if POINTS * depth * columns <= KEPT_WEIGHTS {
            self.by_tiles::<S>(source, output);
        } else {
            self.by_panels::<S>(source, output);
        }
    }

    fn by_tiles<S: Simd>(&self, source: &[f32], output: Disjoint<'_>) {
        let (tiles, threads) = (self.tiling.count(), rayon::current_num_threads());
        let weights = self.transformed_weights::<S>();
        let panels = self.weights.columns().div_ceil(S::PANEL);
        let row = self.row();
        let most = (BLOCK_NUMBERS / POINTS / row).clamp(2 * S::ROWS, 4 * S::ROWS) / S::ROWS * S::ROWS;
        let blocks = tiles.div_ceil(most).next_multiple_of(threads).min(tiles.div_ceil(S::ROWS));
        let block_tiles = tiles.div_ceil(blocks);
        let (planes, products) = (Planes::new(block_tiles, row), Planes::new(block_tiles, S::PANEL));
        (0..blocks).into_par_iter().for_each(|block| {
            let tiles = (block * block_tiles).min(tiles)..((block + 1) * block_tiles).min(tiles);
            with_scratch(planes.len() + products.len(), |scratch| {
                let (transformed, products_of_panel) = scratch.split_at_mut(planes.len());
                self.transform_tiles::<S>(source, tiles.clone(), planes, Disjoint::new(transformed), 0);
                for panel in 0..panels {
                    let weights = weights.panel(panel);
                    self.panel::<S>(panel, weights, tiles.clone(), transformed, planes, products_of_panel, output);
                }
            });
        });
    }

    fn by_panels<S: Simd>(&self, source: &[f32], output: Disjoint<'_>) {
        let tiles = self.tiling.count();
        let panels = self.weights.columns().div_ceil(S::PANEL);
        let kept = (KEPT_TILES / POINTS / self.row()).max(S::ROWS).min(tiles);
        let planes = Planes::new(kept, self.row());
        let mut storage = vec![0.0_f32; planes.len()];
        for start in (0..tiles).step_by(kept) {
            let tiles = start..(start + kept).min(tiles);
            let transformed = Disjoint::new(&mut storage);
            let pieces = tiles.len().div_ceil(S::ROWS);
            (0..pieces).into_par_iter().for_each(|piece| {
                let edge = |piece: usize| start + piece * tiles.len() / pieces;
                let first_row = edge(piece) - start;
                self.transform_tiles::<S>(source, edge(piece)..edge(piece + 1), planes, transformed, first_row);
            });
            let block = tiles.len().div_ceil(tiles.len().div_ceil(PANEL_TILES));
            let products = Planes::new(block, S::PANEL);
            let weight_planes = Planes::new(self.weights.depth(), S::PANEL);
            (0..panels).into_par_iter().for_each(|panel| {
                let slab = self.weights.panel_len::<S>(9);
                with_scratch(weight_planes.len() + products.len() + slab, |scratch| {
                    let (weights, rest) = scratch.split_at_mut(weight_planes.len());
                    let (products, slab) = rest.split_at_mut(products.len());
                    self.transform_panel::<S>(panel, slab, weights);
                    for first in tiles.clone().step_by(block) {
                        let some = first..(first + block).min(tiles.end);
                        let rows = &storage[(first - start) * planes.row..];
                        self.panel::<S>(panel, weights, some, rows, planes, products, output);
                    }
                });
            });
        }
    }

    /// From a transformed tile to the next: never a power of two.
    fn row(&self) -> usize {
        self.weights.depth() + LINE
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
        assert!((first_row + tiles.len()) * planes.row <= planes.plane && planes.len() <= to.len(), "rows of a plane");
        // SAFETY: the rows lie inside each plane, as asserted, and belong to this task alone; channels are whole vectors.
        // S was chosen because the processor has its instructions.
        unsafe {
            let to = to.at(first_row * planes.row);
            S::run(InputTiles { tiling: self.tiling, images: source, channels, tiles, planes, to });
        }
    }

    fn transform_panel<S: Simd>(&self, panel: usize, slab: &mut [f32], weights: &mut [f32]) {
        let rows = self.weights.depth();
        self.weights.pack_panel::<S>(panel, &self.taps, slab);
        let planes = Planes::new(rows, S::PANEL);
        assert!(planes.len() <= weights.len(), "planes of a panel");
        // SAFETY: the planes lie inside `weights`, as asserted. S was chosen because the processor has its instructions.
        unsafe { S::run(WeightPanel { from: slab, rows, planes, to: weights.as_mut_ptr() }) };
    }

    fn transformed_weights<S: Simd>(&self) -> TransformedWeights {
        let len = Planes::new(self.weights.depth(), S::PANEL).len();
        let panels = self.weights.columns().div_ceil(S::PANEL);
        let mut storage = vec![0.0_f32; panels * len];
        storage.par_chunks_mut(len).enumerate().for_each(|(panel, weights)| {
            with_scratch(self.weights.panel_len::<S>(9), |slab| self.transform_panel::<S>(panel, slab, weights));
        });
        TransformedWeights { storage, len }
    }

    /// The results of some tiles in one panel's columns. `transformed` begins with the first tile's row.
    fn panel<S: Simd>(
        &self,
        panel: usize,
        weights: &[f32],
        tiles: Range<usize>,
        transformed: &[f32],
        planes: Planes,
        products: &mut [f32],
        output: Disjoint<'_>,
    ) {
        if tiles.is_empty() {
            return;
        }
        let (depth, all_columns) = (self.weights.depth(), self.weights.columns());
        let columns = S::PANEL.min(all_columns - panel * S::PANEL);
        let (weight_planes, product_planes) = (Planes::new(depth, S::PANEL), Planes::new(tiles.len(), S::PANEL));
        assert!(weight_planes.len() <= weights.len() && product_planes.len() <= products.len(), "planes");
        assert!((POINTS - 1) * planes.plane + (tiles.len() - 1) * planes.row + depth <= transformed.len(), "tiles");
        let blocks = tiles.len().div_ceil(S::ROWS);
        let products = products.as_mut_ptr();
        for point in 0..POINTS {
            let mut first = 0;
            for block in 0..blocks {
                let rows = (tiles.len() - first).div_ceil(blocks - block);
                let mut sources = [std::ptr::null::<f32>(); 16];
                let mut outputs = [std::ptr::null_mut::<f32>(); 16];
                for row in 0..rows {
                    let tile = first + row;
                    // SAFETY: row `tile` of plane `point` lies inside both, as asserted.
                    unsafe {
                        sources[row] = transformed.as_ptr().add(point * planes.plane + tile * planes.row);
                        outputs[row] = products.add(point * product_planes.plane + tile * S::PANEL);
                    }
                }
                let tile = GatherTile {
                    sources: sources.as_ptr(),
                    slots: &0,
                    taps: 1,
                    depth,
                    panel: weights[point * weight_planes.plane..][..depth * S::PANEL].as_ptr(),
                    outputs: outputs.as_ptr(),
                    first_column: 0,
                    columns,
                };
                // SAFETY: `rows` ≤ ROWS ≤ 16 addresses of `depth` numbers and of PANEL ≥ `columns` results.
                unsafe { gather_tile::<S>(rows, &tile) };
                first += rows;
            }
        }
        let pixels = self.tiling.images * self.tiling.height * self.tiling.width;
        assert!(pixels * all_columns <= output.len(), "output images");
        // SAFETY: the planes hold these tiles' products; these tiles' pixels in this panel's columns belong to this task
        // alone and lie inside the output.
        unsafe {
            S::run(OutputTiles {
                tiling: self.tiling,
                from: products,
                planes: product_planes,
                tiles,
                images: output.at(panel * S::PANEL),
                channels: all_columns,
                count: columns,
            });
        }
    }
}

/// Panels of transformed weights.
struct TransformedWeights {
    storage: Vec<f32>,
    len: usize,
}

impl TransformedWeights {
    fn panel(&self, panel: usize) -> &[f32] {
        &self.storage[panel * self.len..][..self.len]
    }
}

const _: () = assert!(PLANE_GAP.is_multiple_of(LINE));
