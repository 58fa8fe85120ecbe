//! Convolution weights, packed for the tiles: panels of `PANEL` columns, `[panel, slot, depth, PANEL]`, zeros beyond the last
//! column. A slot is a tap that is used.

use std::ops::Range;

use rayon::prelude::*;

use crate::memory::unwritten;
use crate::scratch::LINE;
use crate::simd::Simd;

/// Weights as a matrix for each tap, `depth` × `columns`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weights<'a> {
    values: &'a [f32],
    depth: usize,
    columns: usize,
    /// Whether the matrices lie transposed, `[tap, columns, depth]`.
    transposed: bool,
}

impl<'a> Weights<'a> {
    /// `[tap, depth, columns]`: a convolution's own weights, from input to output channels.
    pub(super) fn forward(values: &'a [f32], depth: usize, columns: usize) -> Self {
        Self { values, depth, columns, transposed: false }
    }

    /// `[tap, columns, depth]`: from output to input channels, for the gradient by the input.
    pub(super) fn backward(values: &'a [f32], depth: usize, columns: usize) -> Self {
        Self { values, depth, columns, transposed: true }
    }

    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// The matrices themselves, unless they lie transposed.
    pub(super) fn untransposed(&self) -> Option<&'a [f32]> {
        (!self.transposed).then_some(self.values)
    }

    /// Numbers in a packed panel of this many slots.
    pub(super) fn panel_len<S: Simd>(&self, slots: usize) -> usize {
        slots * self.depth * S::PANEL
    }

    /// All panels, for the given taps.
    pub(super) fn pack<S: Simd>(&self, taps: &[usize]) -> Panels {
        let panel_len = self.panel_len::<S>(taps.len());
        let panels = self.columns.div_ceil(S::PANEL);
        let mut storage = unwritten(panels * panel_len + LINE);
        // Vector loads that straddle two cache lines cost twice.
        let start = storage.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        storage[start..][..panels * panel_len]
            .par_chunks_mut(panel_len.max(1))
            .enumerate()
            .for_each(|(panel, packed)| self.pack_panel::<S>(panel, taps, 0..self.depth, packed));
        Panels { storage, start, panel_len }
    }

    /// Some rows of one panel, `[slot, rows, PANEL]`.
    pub(super) fn pack_panel<S: Simd>(&self, panel: usize, taps: &[usize], rows: Range<usize>, packed: &mut [f32]) {
        let first = panel * S::PANEL;
        let width = S::PANEL.min(self.columns - first);
        for (&tap, packed) in taps.iter().zip(packed.chunks_exact_mut(rows.len() * S::PANEL)) {
            let matrix = &self.values[tap * self.depth * self.columns..][..self.depth * self.columns];
            if self.transposed {
                let matrix = &matrix[first * self.depth..][..width * self.depth];
                self.transpose_panel::<S>(matrix, width, rows.clone(), packed);
            } else {
                let matrix = matrix.chunks_exact(self.columns).skip(rows.start);
                for (row, packed) in matrix.zip(packed.chunks_exact_mut(S::PANEL)) {
                    if width == S::PANEL {
                        packed.copy_from_slice(&row[first..first + S::PANEL]);
                    } else {
                        packed[..width].copy_from_slice(&row[first..first + width]);
                        packed[width..].fill(0.0);
                    }
                }
            }
        }
    }

    /// `packed[row][column] = matrix[column][rows.start + row]`, `width` columns.
    fn transpose_panel<S: Simd>(&self, matrix: &[f32], width: usize, rows: Range<usize>, packed: &mut [f32]) {
        let (first_row, rows) = (rows.start, rows.len());
        let (whole_rows, whole_columns) = (rows / S::LANES * S::LANES, width / S::LANES * S::LANES);
        for column in (0..whole_columns).step_by(S::LANES) {
            for row in (0..whole_rows).step_by(S::LANES) {
                let from = &matrix[column * self.depth + first_row + row..];
                let to = &mut packed[row * S::PANEL + column..];
                assert!(from.len() > (S::LANES - 1) * (self.depth + 1) && to.len() > (S::LANES - 1) * (S::PANEL + 1));
                // SAFETY: LANES rows, `depth` and `PANEL` apart, of LANES numbers each, lie inside both slices: the
                // assertion compares the position of the last number with their lengths.
                unsafe { S::transpose(from.as_ptr(), self.depth, to.as_mut_ptr(), S::PANEL) };
            }
        }
        for row in 0..rows {
            let from = if row < whole_rows { whole_columns } else { 0 };
            for column in from..width {
                packed[row * S::PANEL + column] = matrix[column * self.depth + first_row + row];
            }
            packed[row * S::PANEL + width..][..S::PANEL - width].fill(0.0);
        }
    }
}

/// Packed weights.
#[derive(Debug)]
pub(super) struct Panels {
    storage: Vec<f32>,
    start: usize,
    panel_len: usize,
}

impl Panels {
    pub(super) fn panel(&self, panel: usize) -> &[f32] {
        &self.storage[self.start + panel * self.panel_len..][..self.panel_len]
    }
}
