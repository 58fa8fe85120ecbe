//! The deterministic split of a cluster in two.

use rayon::prelude::*;

use crate::means::{mean, row};

/// Assignments at most.
const ASSIGNMENTS: usize = 20;
/// How many members one thread takes at a time.
const BLOCK: usize = 256;

/// Which members of a cluster leave it for a new one.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// The members that leave, in the order of the cluster's members.
    pub leaving: Vec<u32>,
    /// How many stay.
    pub staying: usize,
    /// Whether the split is by position because 2-means left a side empty or too small.
    pub even: bool,
}

impl Split {
    /// The first half (rounded down) stays, the rest leaves.
    pub fn even(members: &[u32]) -> Self {
        let staying = members.len() / 2;
        Self { leaving: members[staying..].to_vec(), staying, even: true }
    }
}

/// Splits a cluster by [`two_means`]: side 1 leaves. Where 2-means gives a side fewer than `smallest_half` members (an
/// empty side never does), the split is even by position instead. Two members or more always give two sides that are
/// not empty.
pub fn split_in_two(rows: &[f32], dim: usize, members: &[u32], smallest_half: usize) -> Split {
    let sides = two_means(rows, dim, members);
    let leaving = on_side(members, &sides, true);
    let staying = members.len() - leaving.len();
    if leaving.len().min(staying) < smallest_half.max(1) {
        return Split::even(members);
    }
    Split { leaving, staying, even: false }
}

/// Deterministic 2-means of the rows (`[n, dim]`) that `members` names, in double precision; `true` for side 1.
///
/// Seeds: c0 is the member farthest from the mean of all, c1 the member farthest from c0 (lowest position on ties). A
/// member is on side 1 only if it is strictly nearer to c1; both centres then become the means of their sides. Ends
/// when no member changes its side, when a side is empty, or after 20 assignments.
pub fn two_means(rows: &[f32], dim: usize, members: &[u32]) -> Vec<bool> {
    if members.is_empty() {
        return Vec::new();
    }
    let mut centre_0 = in_f64(rows, dim, farthest(rows, dim, members, &mean(rows, dim, members)));
    let mut centre_1 = in_f64(rows, dim, farthest(rows, dim, members, &centre_0));
    let mut sides: Option<Vec<bool>> = None;
    for _ in 0..ASSIGNMENTS {
        let new = per_member(members, |member| {
            let row = row(rows, dim, member);
            squared_distance(row, &centre_1) < squared_distance(row, &centre_0)
        });
        if sides.as_ref() == Some(&new) {
            break;
        }
        let (side_0, side_1) = (on_side(members, &new, false), on_side(members, &new, true));
        sides = Some(new);
        if side_0.is_empty() || side_1.is_empty() {
            break;
        }
        centre_0 = mean(rows, dim, &side_0);
        centre_1 = mean(rows, dim, &side_1);
    }
    sides.unwrap_or_default()
}

/// The member farthest from a point; the first of them on ties.
fn farthest(rows: &[f32], dim: usize, members: &[u32], point: &[f64]) -> u32 {
    let distances = per_member(members, |member| squared_distance(row(rows, dim, member), point));
    let mut best = 0;
    for position in 1..members.len() {
        if distances[position] > distances[best] {
            best = position;
        }
    }
    members[best]
}

fn on_side(members: &[u32], sides: &[bool], wanted: bool) -> Vec<u32> {
    members.iter().zip(sides).filter(|(_, side)| **side == wanted).map(|(&member, _)| member).collect()
}

fn per_member<T: Send>(members: &[u32], of: impl Fn(u32) -> T + Sync) -> Vec<T> {
    members.par_iter().with_min_len(BLOCK).map(|&member| of(member)).collect()
}

fn in_f64(rows: &[f32], dim: usize, member: u32) -> Vec<f64> {
    row(rows, dim, member).iter().map(|&entry| f64::from(entry)).collect()
}

/// ‖row − point‖². Eight running sums, because one would wait for its own last addition at every entry.
fn squared_distance(row: &[f32], point: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (row_blocks, row_rest) = row.as_chunks::<8>();
    let (point_blocks, point_rest) = point.as_chunks::<8>();
    for (row, point) in row_blocks.iter().zip(point_blocks) {
        for lane in 0..8 {
            let difference = f64::from(row[lane]) - point[lane];
            sums[lane] += difference * difference;
        }
    }
    let rest = row_rest.iter().zip(point_rest).map(|(&entry, point)| (f64::from(entry) - point).powi(2)).sum::<f64>();
    sums.iter().sum::<f64>() + rest
}
