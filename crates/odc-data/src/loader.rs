//! Worker threads that turn indices into batches, in order, with a bounded number of batches ahead.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::operations::quarter_turn;
use crate::{Dataset, SampleRandom, View};

/// Images ready for the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Which images, in the epoch's order; those that could not be decoded are left out.
    pub indices: Vec<u32>,
    /// `[indices.len(), side, side, 3]`.
    pub pixels: Vec<u8>,
    /// Width and height.
    pub side: usize,
    /// What was left out. Where that is everything, `indices` is empty.
    pub skipped: Vec<Skipped>,
}

impl Batch {
    /// Each image in its four rotations, `[4 · indices.len(), side, side, 3]`: image n, turned counter-clockwise by
    /// r quarters, is at 4n + r. Pixels are moved, not changed.
    pub fn four_rotations(&self) -> Vec<u8> {
        let mut views = Vec::with_capacity(4 * self.pixels.len());
        for image in self.pixels.chunks_exact((self.side * self.side * 3).max(1)) {
            let mut view = image.to_vec();
            views.extend_from_slice(&view);
            for _ in 1..4 {
                view = quarter_turn(&view, self.side);
                views.extend_from_slice(&view);
            }
        }
        views
    }
}

/// An image that could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its index in the data set.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Why not.
    pub reason: String,
}

/// The numbers of a loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderConfig {
    /// Images in a batch; the last one may have fewer.
    pub batch_size: usize,
    /// Width and height of the images in the batches.
    pub side: usize,
    /// Worker threads; with 0 the caller's thread does the work.
    pub workers: usize,
    /// Finished batches that may wait; each worker has one more in hand.
    pub queue: usize,
    /// Together with `epoch` and an image's position in the order, the key of its random view.
    pub seed: u64,
    /// The epoch.
    pub epoch: u64,
}

/// An iterator over the batches of an epoch: batch `k` holds `order[k * batch_size..]`.
///
/// The batches do not depend on the number of workers. Dropping the loader stops them.
pub struct Loader {
    work: Arc<Work>,
    /// The batch that `next` gives.
    next: usize,
    /// The batch that is asked for next.
    requested: usize,
    requests: Option<Sender<usize>>,
    results: Receiver<(usize, Batch)>,
    /// Finished before their turn.
    early: BTreeMap<usize, Batch>,
    workers: Vec<JoinHandle<()>>,
}

impl Loader {
    /// Starts at batch `first_batch` of the order (0, or where an interrupted run goes on).
    ///
    /// An index that the data set does not have is skipped and listed like an undecodable image.
    pub fn new(
        dataset: Arc<dyn Dataset>,
        order: Vec<u32>,
        first_batch: usize,
        view: View,
        config: LoaderConfig,
    ) -> Self {
        let config = LoaderConfig { batch_size: config.batch_size.max(1), ..config };
        let work = Arc::new(Work { dataset, order, view, config, stopped: AtomicBool::new(false) });
        let (requests, requested_batches) = unbounded();
        let (finished, results) = unbounded();
        let workers: Vec<JoinHandle<()>> = (0..config.workers.min(work.n_batches()))
            .map_while(|worker| {
                let (work, requested_batches, finished) = (work.clone(), requested_batches.clone(), finished.clone());
                let thread = std::thread::Builder::new().name(format!("loader {worker}"));
                // Where the system gives no more threads, fewer workers, or the caller's thread, do the work.
                thread.spawn(move || work.serve(&requested_batches, &finished)).ok()
            })
            .collect();
        let mut loader = Self {
            work,
            next: first_batch,
            requested: first_batch,
            requests: Some(requests),
            results,
            early: BTreeMap::new(),
            workers,
        };
        // The queue is bounded by what is asked for: one more batch for each that is taken.
        for _ in 0..loader.workers.len() + config.queue {
            loader.request();
        }
        loader
    }

    fn request(&mut self) {
        if self.requested < self.work.n_batches()
            && let Some(requests) = &self.requests
            && requests.send(self.requested).is_ok()
        {
            self.requested += 1;
        }
    }
}

impl Iterator for Loader {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        if self.next >= self.work.n_batches() {
            return None;
        }
        let batch = if self.workers.is_empty() {
            self.work.batch(self.next)
        } else {
            while !self.early.contains_key(&self.next) {
                // Fails only where all workers are gone; then there is nothing more to give.
                let (number, batch) = self.results.recv().ok()?;
                self.early.insert(number, batch);
            }
            self.early.remove(&self.next)?
        };
        self.next += 1;
        self.request();
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.work.n_batches().saturating_sub(self.next);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Loader {}

impl Drop for Loader {
    fn drop(&mut self) {
        self.work.stopped.store(true, Ordering::Relaxed);
        self.requests = None;
        for worker in self.workers.drain(..) {
            // A worker that panicked has nothing more to say here.
            drop(worker.join());
        }
    }
}

/// What the workers share.
struct Work {
    dataset: Arc<dyn Dataset>,
    order: Vec<u32>,
    view: View,
    config: LoaderConfig,
    stopped: AtomicBool,
}

impl Work {
    fn n_batches(&self) -> usize {
        self.order.len().div_ceil(self.config.batch_size)
    }

    fn serve(&self, requests: &Receiver<usize>, finished: &Sender<(usize, Batch)>) {
        for number in requests {
            let batch = self.batch(number);
            if self.stopped.load(Ordering::Relaxed) || finished.send((number, batch)).is_err() {
                return;
            }
        }
    }

    /// Batch `number`; incomplete only where the loader was stopped meanwhile.
    fn batch(&self, number: usize) -> Batch {
        let LoaderConfig { batch_size, side, .. } = self.config;
        let start = number * batch_size;
        let end = (start + batch_size).min(self.order.len());
        let mut batch = Batch {
            indices: Vec::with_capacity(end - start),
            pixels: Vec::with_capacity((end - start) * side * side * 3),
            side,
            skipped: Vec::new(),
        };
        for position in start..end {
            if self.stopped.load(Ordering::Relaxed) {
                break;
            }
            let index = self.order[position];
            // A decoder's panic over a damaged file must not end a run of days.
            match catch_unwind(AssertUnwindSafe(|| self.image(index, position))) {
                Ok(Ok(pixels)) => {
                    batch.indices.push(index);
                    batch.pixels.extend_from_slice(&pixels);
                }
                Ok(Err(reason)) => batch.skipped.push(self.skipped(index, reason)),
                Err(_) => batch.skipped.push(self.skipped(index, "the decoder gave up".to_owned())),
            }
        }
        batch
    }

    /// The view of the image at an index, or why there is none.
    fn image(&self, index: u32, position: usize) -> Result<Vec<u8>, String> {
        let image = self.dataset.image(index as usize).map_err(|error| error.reason())?;
        let mut random = SampleRandom::new(self.config.seed, self.config.epoch, position as u64);
        Ok(self.view.apply(&image, self.config.side, &mut random).pixels)
    }

    fn skipped(&self, index: u32, reason: String) -> Skipped {
        Skipped { index, name: self.dataset.name(index as usize), reason }
    }
}
