//! The gradient by the weights: 36 sums over all tiles of transformed input ⊗ transformed output gradient.
//!
//! Where the sums are small, tasks take groups of tiles, and keep transforms and sums in the second cache; the groups' gradients
//! are added in order. Where they are large, the tiles are transformed once and tasks take pieces of the sums. The shape alone
//! decides, and fixes groups and blocks.

use std::ops::Range;

use rayon::prelude::*;

use super::transform::{GradientTiles, InputTiles, WeightGradient};
use super::{POINTS, Planes, Tiling};
use crate::convolution::ConvolutionShape;
use crate::disjoint::{Disjoint, add_in_order};
use crate::memory::unwritten;
use crate::scratch::with_scratch;
use crate::simd::Simd;
use crate::tile::{OuterTile, outer_tile};

/// Numbers of all sums up to which each group has its own.
const OWN_SUMS: usize = 640 * 1024;
/// Groups at most and at least (fewer would leave threads without work), and blocks that a group is worth having for.
const GROUPS: usize = 16;
const FEWEST_GROUPS: usize = 2;
const GROUP_BLOCKS: usize = 2;
/// Numbers of a block of transformed tiles (about).
const BLOCK_NUMBERS: usize = 320 * 1024;
/// Numbers of transformed tiles that are kept at a time where tasks share them.
const KEPT_TILES: usize = 8 << 20;
/// Tiles whose outer products are summed in registers.
const RUN: usize = 128;
/// Input and output channels in a shared task's piece of the sums (about): it is wider than high, as rows of the weights are
/// written to memory.
const PIECE: (usize, usize) = (32, 128);

pub(in crate::convolution) fn backward_weight<S: Simd>(
    shape: &ConvolutionShape,
    input: &[f32],
    output_gradient: &[f32],
    weight_gradient: &mut [f32],
) {
    let (inputs, outputs) = (shape.in_channels(), shape.out_channels());
    let sum = OuterSum { tiling: Tiling::new(shape), inputs, outputs, input, output_gradient };
    let groups = sum.groups();
    if POINTS * inputs * outputs <= OWN_SUMS && groups.count >= FEWEST_GROUPS {
        sum.by_groups::<S>(groups, weight_gradient);
    } else {
        sum.by_pieces::<S>(weight_gradient);
    }
}

struct OuterSum<'a> {
    tiling: Tiling,
    inputs: usize,
    outputs: usize,
    input: &'a [f32],
    output_gradient: &'a [f32],
}

/// How a number of transformed tiles lie in memory: inputs in blocks of a vector, gradients in panels.
#[derive(Clone, Copy)]
struct Layout {
    inputs: Planes,
    gradients: Planes,
}

impl Layout {
    fn new<S: Simd>(sum: &OuterSum<'_>, tiles: usize) -> Self {
        Self {
            inputs: Planes::new(tiles, sum.inputs, S::LANES, 0),
            gradients: Planes::new(tiles, sum.outputs, S::PANEL, 0),
        }
    }
}

/// Transformed tiles.
#[derive(Clone, Copy)]
struct Transformed<'a> {
    inputs: &'a [f32],
    gradients: &'a [f32],
    layout: Layout,
}

/// Groups of blocks of tiles.
#[derive(Clone, Copy)]
struct Groups {
    count: usize,
    blocks: usize,
    /// Tiles of a block.
    block: usize,
}

/// Which part of the sums to compute, and where they are.
struct Sums {
    /// Blocks of a vector of channels.
    blocks: Range<usize>,
    panels: Range<usize>,
    /// The first channel's row of the first panel in the first plane.
    first: *mut f32,
    planes: Planes,
}

impl OuterSum<'_> {
    fn groups(&self) -> Groups {
        let tiles = self.tiling.count();
        let most = (BLOCK_NUMBERS / POINTS / (self.inputs + self.outputs)).clamp(32, RUN);
        let blocks = tiles.div_ceil(most);
        Groups { count: (blocks / GROUP_BLOCKS).clamp(1, GROUPS), blocks, block: tiles.div_ceil(blocks) }
    }

    fn by_groups<S: Simd>(&self, groups: Groups, weight_gradient: &mut [f32]) {
        let tiles = self.tiling.count();
        let Groups { count: groups, blocks, block } = groups;
        let layout = Layout::new::<S>(self, block);
        let sums = Planes::new(self.inputs, self.outputs, self.outputs, 0);
        let len = weight_gradient.len();
        let mut partial = unwritten((groups - 1) * len);
        let gradients: Vec<&mut [f32]> =
            std::iter::once(&mut *weight_gradient).chain(partial.chunks_exact_mut(len)).collect();
        gradients.into_par_iter().enumerate().for_each(|(group, gradient)| {
            let lens = (layout.inputs.len(), layout.gradients.len(), sums.len());
            with_scratch(lens.0 + lens.1 + lens.2, |scratch| {
                let (inputs, rest) = scratch.split_at_mut(lens.0);
                let (gradients, totals) = rest.split_at_mut(lens.1);
                let group_blocks = group * blocks / groups..(group + 1) * blocks / groups;
                for index in group_blocks.clone() {
                    let tiles = (index * block).min(tiles)..((index + 1) * block).min(tiles);
                    self.transform::<S>(tiles.clone(), layout, Disjoint::new(inputs), Disjoint::new(gradients), 0);
                    let part = Sums {
                        blocks: 0..self.inputs / S::LANES,
                        panels: 0..self.outputs.div_ceil(S::PANEL),
                        first: totals.as_mut_ptr(),
                        planes: sums,
                    };
                    let add = index > group_blocks.start;
                    let transformed = Transformed { inputs, gradients, layout };
                    // SAFETY: the totals hold planes of all channels, and are borrowed mutably.
                    unsafe { self.add_outer_products::<S>(transformed, 0..tiles.len(), &part, add) };
                }
                self.transform_sums::<S>(totals, sums, self.inputs, self.outputs, Disjoint::new(gradient), 0, false);
            });
        });
        add_in_order(weight_gradient, &partial);
    }

    fn by_pieces<S: Simd>(&self, weight_gradient: &mut [f32]) {
        let tiles = self.tiling.count();
        let kept = (KEPT_TILES / POINTS / (self.inputs + self.outputs)).clamp(1, tiles);
        let layout = Layout::new::<S>(self, kept);
        let (mut inputs, mut gradients) = (unwritten(layout.inputs.len()), unwritten(layout.gradients.len()));
        let target = Disjoint::new(weight_gradient);
        let panels = self.outputs.div_ceil(S::PANEL);
        let blocks = self.inputs / S::LANES;
        let (high, wide) = (blocks.div_ceil(PIECE.0 / S::LANES), panels.div_ceil(PIECE.1 / S::PANEL));
        for start in (0..tiles).step_by(kept) {
            let tiles = start..(start + kept).min(tiles);
            {
                let (inputs, gradients) = (Disjoint::new(&mut inputs), Disjoint::new(&mut gradients));
                let tasks = tiles.len().div_ceil(S::ROWS / 2);
                (0..tasks).into_par_iter().for_each(|task| {
                    let edge = |task: usize| start + task * tiles.len() / tasks;
                    self.transform::<S>(edge(task)..edge(task + 1), layout, inputs, gradients, edge(task) - start);
                });
            }
            let transformed = Transformed { inputs: &inputs, gradients: &gradients, layout };
            (0..high * wide).into_par_iter().for_each(|task| {
                let part = |index: usize, parts: usize, all: usize| index * all / parts..(index + 1) * all / parts;
                let (blocks, panels) = (part(task / wide, high, blocks), part(task % wide, wide, panels));
                let channels = blocks.start * S::LANES..blocks.end * S::LANES;
                let columns = panels.start * S::PANEL..(panels.end * S::PANEL).min(self.outputs);
                let sums = Planes::new(channels.len(), columns.len(), columns.len(), 0);
                with_scratch(sums.len(), |totals| {
                    for first in (0..tiles.len()).step_by(RUN) {
                        let run = first..(first + RUN).min(tiles.len());
                        let first_sum = totals.as_mut_ptr();
                        let part =
                            Sums { blocks: blocks.clone(), panels: panels.clone(), first: first_sum, planes: sums };
                        // SAFETY: the totals hold planes of these channels and columns, and are borrowed mutably.
                        unsafe { self.add_outer_products::<S>(transformed, run, &part, first > 0) };
                    }
                    let to = channels.start * self.outputs + columns.start;
                    self.transform_sums::<S>(totals, sums, channels.len(), columns.len(), target, to, start > 0);
                });
            });
        }
    }

    /// Writes the transforms of some tiles, from row `first_row` of the planes on.
    fn transform<S: Simd>(
        &self,
        tiles: Range<usize>,
        layout: Layout,
        inputs: Disjoint<'_>,
        gradients: Disjoint<'_>,
        first_row: usize,
    ) {
        for (planes, to) in [(layout.inputs, inputs), (layout.gradients, gradients)] {
            assert!((first_row + tiles.len()) * planes.row <= planes.block_stride && planes.len() <= to.len(), "rows");
        }
        // SAFETY: the rows lie inside each block of each plane, as asserted, and belong to this task alone; channels are
        // whole vectors. S was chosen because the processor has its instructions.
        unsafe {
            S::run(InputTiles {
                tiling: self.tiling,
                images: self.input,
                channels: self.inputs,
                tiles: tiles.clone(),
                planes: layout.inputs,
                first_row,
                to: inputs.at(0),
            });
            S::run(GradientTiles {
                tiling: self.tiling,
                images: self.output_gradient,
                channels: self.outputs,
                tiles,
                planes: layout.gradients,
                first_row,
                to: gradients.at(0),
            });
        }
    }

    /// Adds the outer products of some tiles, at most `RUN`, to a part of the sums, or makes these the sums.
    ///
    /// # Safety
    /// The sums' addresses are valid for the part's channels and panels in each plane, and no other task touches them.
    unsafe fn add_outer_products<S: Simd>(
        &self,
        transformed: Transformed<'_>,
        tiles: Range<usize>,
        sums: &Sums,
        add: bool,
    ) {
        let Transformed { inputs, gradients, layout } = transformed;
        assert!(tiles.len() <= RUN && tiles.end * S::PANEL <= layout.gradients.block_stride, "tiles of a run");
        let rows: [u32; RUN] = std::array::from_fn(|row| row as u32);
        // A vector of channels is two tiles of rows where one would not fit into the registers.
        let height = S::LANES.div_ceil(S::LANES.div_ceil(S::ROWS));
        for point in 0..POINTS {
            for block in sums.blocks.clone() {
                let first = point * layout.inputs.plane + block * layout.inputs.block_stride + tiles.start * S::LANES;
                let factors = &inputs[first..][..tiles.len() * S::LANES];
                for row in (0..S::LANES).step_by(height) {
                    for (position, panel) in sums.panels.clone().enumerate() {
                        let planes = layout.gradients;
                        let first = point * planes.plane + panel * planes.block_stride + tiles.start * S::PANEL;
                        let channel = (block - sums.blocks.start) * S::LANES + row;
                        let tile = OuterTile {
                            factors: factors[row..].as_ptr(),
                            factor_stride: S::LANES,
                            rows: rows.as_ptr(),
                            count: tiles.len(),
                            panel: gradients[first..][..tiles.len() * S::PANEL].as_ptr(),
                            // SAFETY: the caller vouches for the part's rows and panels in each plane.
                            output: unsafe {
                                let plane = sums.first.add(point * sums.planes.plane);
                                plane.add(channel * sums.planes.row + position * S::PANEL)
                            },
                            output_stride: sums.planes.row,
                            columns: S::PANEL.min(self.outputs - panel * S::PANEL),
                            add,
                        };
                        // SAFETY: `count` rows of LANES factors, rows below the panel's, results as above.
                        unsafe { outer_tile::<S>(height.min(S::LANES - row), &tile) };
                    }
                }
            }
        }
    }

    /// From the sums of some channels and columns to the weights' gradient, from `first` on in each tap.
    fn transform_sums<S: Simd>(
        &self,
        sums: &[f32],
        planes: Planes,
        rows: usize,
        columns: usize,
        target: Disjoint<'_>,
        first: usize,
        add: bool,
    ) {
        let tap = self.inputs * self.outputs;
        assert!(planes.len() <= sums.len() && rows * planes.row <= planes.plane && columns <= planes.row, "sums");
        assert!(8 * tap + first + (rows - 1) * self.outputs + columns <= target.len(), "weights");
        // SAFETY: rows and columns lie inside planes and weights, as asserted, columns are whole vectors, and this part of
        // the weights belongs to this task alone. S was chosen because the processor has its instructions.
        unsafe {
            S::run(WeightGradient {
                from: sums.as_ptr(),
                planes,
                rows,
                columns,
                to: target.at(first),
                to_row: self.outputs,
                to_tap: tap,
                add,
            });
        }
    }
}
