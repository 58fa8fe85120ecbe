//! k nearest neighbours by cosine similarity.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::task::{Rows, Task};
use crate::{EvalError, Features};

/// Asks the `k` training images most similar to a test image for its class.
///
/// Similarity is the cosine; a neighbour's vote weighs exp(similarity / temperature). Training images that are equally
/// similar count in their order; of classes with equal votes the lowest wins.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KnnClassifier {
    /// Neighbours that vote.
    pub k: usize,
    /// Smaller: the nearest decide. Larger: nearer a plain majority.
    pub temperature: f32,
}

impl Default for KnnClassifier {
    fn default() -> Self {
        Self { k: 20, temperature: 0.07 }
    }
}

/// What [`KnnClassifier`] found for one or several k.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnnReport {
    /// Training images with a true label.
    pub train_images: usize,
    /// Test images with a true label.
    pub test_images: usize,
    /// Temperature of the weighted votes.
    pub temperature: f32,
    /// In the order in which the k were given.
    pub results: Vec<KnnAccuracy>,
}

/// Top-1 accuracy for one k.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnnAccuracy {
    /// k as it was asked for.
    pub k: usize,
    /// Neighbours that voted: k, or all training images where there are fewer.
    pub neighbours: usize,
    /// Percent right, votes weighted by exp(similarity / temperature).
    pub weighted: f64,
    /// Percent right, every neighbour one vote.
    pub majority: f64,
}

impl KnnClassifier {
    /// Percent of test images whose class the weighted votes name.
    ///
    /// # Errors
    /// As [`KnnClassifier::evaluate`].
    pub fn accuracy(&self, train: &Features, test: &Features) -> Result<f64, EvalError> {
        Ok(self.evaluate(train, test)?.results[0].weighted)
    }

    /// Both ways of voting. Where there are fewer than `k` training images, all of them vote, and the result says so.
    ///
    /// # Errors
    /// Where nothing is labelled, widths differ, a feature is not finite, or a setting is out of bounds.
    pub fn evaluate(&self, train: &Features, test: &Features) -> Result<KnnReport, EvalError> {
        Self::evaluate_each(&[self.k], self.temperature, train, test)
    }

    /// Several k in one pass over the similarities; published numbers have k = 10, 20, 100 and 200.
    ///
    /// # Errors
    /// As [`KnnClassifier::evaluate`].
    pub fn evaluate_each(
        ks: &[usize],
        temperature: f32,
        train: &Features,
        test: &Features,
    ) -> Result<KnnReport, EvalError> {
        if let Some(k) = ks.iter().find(|&&k| k == 0) {
            return Err(EvalError::setting("k", k, "at least 1"));
        }
        if !(temperature.is_finite() && temperature > 0.0) {
            return Err(EvalError::setting("temperature", temperature, "above 0"));
        }
        let Some(&largest) = ks.iter().max() else {
            return Err(EvalError::setting("k", "(none)", "at least one number"));
        };
        let task = Task::new(train, test)?;
        let found = nearest(&task, largest.min(task.train.len()));
        let results = ks.iter().map(|&k| {
            let neighbours = k.min(task.train.len());
            let predicted: Vec<[u32; 2]> =
                found.par_iter().map(|of_one| vote(&of_one[..neighbours], &task, temperature)).collect();
            let accuracy = |way: usize| task.test_accuracy(&predicted.iter().map(|p| p[way]).collect::<Vec<_>>());
            KnnAccuracy { k, neighbours, weighted: accuracy(0), majority: accuracy(1) }
        });
        let results = results.collect();
        Ok(KnnReport { train_images: task.train.len(), test_images: task.test.len(), temperature, results })
    }
}

/// A training row and its similarity to the row that asks.
#[derive(Clone, Copy)]
struct Neighbour {
    similarity: f32,
    row: u32,
}

/// Test rows that are compared at once, and training rows they are compared with at once. Fixed, so that the product
/// of a pair of rows is computed alike whoever does it.
const BLOCK: (usize, usize) = (64, 1024);

/// For every test row the `k` most similar training rows, most similar first.
fn nearest(task: &Task<'_>, k: usize) -> Vec<Vec<Neighbour>> {
    let dim = task.dim;
    let (train, test) = (unit_rows(&task.train, dim), unit_rows(&task.test, dim));
    test.par_chunks(BLOCK.0 * dim)
        .flat_map_iter(|asking| {
            let asking = ArrayView2::from_shape((asking.len() / dim, dim), asking).expect("whole rows");
            let mut best: Vec<Best> = (0..asking.nrows()).map(|_| Best::new(k)).collect();
            let mut similarities = vec![0.0; asking.nrows() * BLOCK.1];
            for (number, block) in train.chunks(BLOCK.1 * dim).enumerate() {
                let block = ArrayView2::from_shape((block.len() / dim, dim), block).expect("whole rows");
                let used = &mut similarities[..asking.nrows() * block.nrows()];
                let shape = (asking.nrows(), block.nrows());
                let mut product = ArrayViewMut2::from_shape(shape, &mut *used).expect("of this shape");
                general_mat_mul(1.0, &asking, &block.t(), 0.0, &mut product);
                for (best, row) in best.iter_mut().zip(used.chunks(block.nrows())) {
                    best.offer(row, (number * BLOCK.1) as u32);
                }
            }
            best.into_iter().map(Best::into_sorted)
        })
        .collect()
}

/// Rows divided by their length; a row of zeros stays one.
fn unit_rows(rows: &Rows<'_>, dim: usize) -> Vec<f32> {
    let mut values = rows.values.to_vec();
    values.par_chunks_mut(dim).for_each(|row| {
        let length = row.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt().max(1e-12);
        row.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    });
    values
}

/// The best k so far, and some candidates that may yet turn out not to be.
struct Best {
    k: usize,
    candidates: Vec<Neighbour>,
    /// The k-th best similarity at the last cut: what does not exceed it cannot be among the best.
    bar: f32,
}

impl Best {
    fn new(k: usize) -> Self {
        Self { k, candidates: Vec::with_capacity(4 * k), bar: f32::NEG_INFINITY }
    }

    /// Offers consecutive training rows from `first` on.
    fn offer(&mut self, similarities: &[f32], first: u32) {
        for (row, &similarity) in (first..).zip(similarities) {
            // A later row that only equals the k-th loses against it: rows come in ascending order.
            if similarity > self.bar {
                self.candidates.push(Neighbour { similarity, row });
                if self.candidates.len() == 4 * self.k {
                    self.cut();
                }
            }
        }
    }

    fn cut(&mut self) {
        if self.candidates.len() > self.k {
            let (_, last, _) = self.candidates.select_nth_unstable_by(self.k - 1, nearer);
            self.bar = last.similarity;
            self.candidates.truncate(self.k);
        }
    }

    fn into_sorted(mut self) -> Vec<Neighbour> {
        self.cut();
        self.candidates.sort_unstable_by(nearer);
        self.candidates
    }
}

fn nearer(a: &Neighbour, b: &Neighbour) -> std::cmp::Ordering {
    b.similarity.total_cmp(&a.similarity).then(a.row.cmp(&b.row))
}

/// The class with the largest sum of weighted votes, and the one with most votes.
fn vote(neighbours: &[Neighbour], task: &Task<'_>, temperature: f32) -> [u32; 2] {
    let mut votes = vec![[0.0_f64; 2]; task.n_classes];
    // exp(s / T) overflows for a small T; a common factor changes no comparison.
    let nearest = f64::from(neighbours[0].similarity);
    for neighbour in neighbours {
        let weight = ((f64::from(neighbour.similarity) - nearest) / f64::from(temperature)).exp();
        let votes = &mut votes[task.train.classes[neighbour.row as usize] as usize];
        votes[0] += weight;
        votes[1] += 1.0;
    }
    [0, 1].map(|way| {
        let best =
            (0..votes.len()).reduce(|best, class| if votes[class][way] > votes[best][way] { class } else { best });
        best.unwrap_or(0) as u32
    })
}
