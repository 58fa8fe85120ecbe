//! The loader: the same batches for any number of workers, from any first batch; what cannot be decoded is listed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use odc_data::{
    Augmentation, Batch, DataError, Dataset, Image, Loader, LoaderConfig, PlainView, Sampling, Source, Subset, View,
    open,
};

/// Some images fail, some are slow, one makes the decoder panic; counts what was asked for.
struct Troubled {
    asked: AtomicUsize,
}

impl Troubled {
    fn new() -> Arc<Self> {
        Arc::new(Self { asked: AtomicUsize::new(0) })
    }
}

impl Dataset for Troubled {
    fn len(&self) -> usize {
        100
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if index % 7 == 3 {
            std::thread::sleep(Duration::from_millis(3));
        }
        assert_ne!(index, 50, "a decoder's bug");
        if index % 10 == 4 {
            return Err(DataError::Undecodable { name: self.name(index), reason: "half of it is missing".to_owned() });
        }
        Ok(Image { width: 5, height: 4, pixels: vec![index as u8; 60] })
    }

    fn true_label(&self, _: usize) -> Option<u32> {
        None
    }

    fn name(&self, index: usize) -> String {
        format!("image {index}")
    }

    fn class_names(&self) -> &[String] {
        &[]
    }
}

fn config(workers: usize) -> LoaderConfig {
    LoaderConfig { batch_size: 8, side: 6, workers, queue: 3, seed: 1, epoch: 2 }
}

fn plain(dataset: Arc<dyn Dataset>, order: Vec<u32>, first_batch: usize, workers: usize) -> Vec<Batch> {
    Loader::new(dataset, order, first_batch, View::Plain(PlainView::Resize), config(workers)).collect()
}

#[test]
fn any_number_of_workers_gives_the_same_batches() {
    let dataset = open(&Source { shapes_images: 100, ..Source::default() }).expect("shapes");
    let order = Sampling::Replacement.epoch(3, 4, 100);
    let batches = |workers, queue| -> Vec<Batch> {
        let view = View::Training(Augmentation::standard(0.2));
        let config = LoaderConfig { queue, ..config(workers) };
        Loader::new(dataset.clone(), order.clone(), 0, view, config).collect()
    };
    let expected = batches(0, 0);
    assert_eq!(expected.len(), 13);
    assert_eq!(expected.last().map(|batch| batch.indices.len()), Some(4));
    let indices: Vec<u32> = expected.iter().flat_map(|batch| batch.indices.clone()).collect();
    assert_eq!(indices, order);
    for (workers, queue) in [(1, 0), (1, 4), (2, 1), (5, 0), (16, 40)] {
        assert_eq!(batches(workers, queue), expected, "{workers} workers, queue {queue}");
    }
}

#[test]
fn a_resumed_epoch_goes_on_where_it_stopped() {
    let dataset = open(&Source { shapes_images: 60, ..Source::default() }).expect("shapes");
    let order = Sampling::Permutation.epoch(0, 0, 60);
    for workers in [0, 3] {
        let from = |first_batch| -> Vec<Batch> {
            let view = View::Training(Augmentation::standard(0.2));
            Loader::new(dataset.clone(), order.clone(), first_batch, view, config(workers)).collect()
        };
        let whole = from(0);
        for first_batch in [1, 5, 7] {
            assert_eq!(from(first_batch), whole[first_batch..], "from batch {first_batch}");
        }
        assert!(from(8).is_empty() && from(1000).is_empty());
    }
}

#[test]
fn what_cannot_be_decoded_is_left_out_and_listed() {
    let order: Vec<u32> = (40..56).collect();
    for workers in [0, 2] {
        let batches = plain(Troubled::new(), order.clone(), 0, workers);
        let indices: Vec<u32> = batches.iter().flat_map(|batch| batch.indices.clone()).collect();
        assert_eq!(indices, [40, 41, 42, 43, 45, 46, 47, 48, 49, 51, 52, 53, 55]);
        let skipped: Vec<_> = batches.iter().flat_map(|batch| batch.skipped.clone()).collect();
        let shown: Vec<String> = skipped.iter().map(|s| format!("{} {}: {}", s.index, s.name, s.reason)).collect();
        let expected = [
            "44 image 44: half of it is missing",
            "50 image 50: the decoder gave up",
            "54 image 54: half of it is missing",
        ];
        assert_eq!(shown, expected);
        for batch in &batches {
            let size = 6 * 6 * 3;
            assert_eq!(batch.pixels.len(), batch.indices.len() * size);
            for (image, &index) in batch.pixels.chunks_exact(size).zip(&batch.indices) {
                assert!(image.iter().all(|&byte| u32::from(byte) == index));
            }
        }
    }
}

#[test]
fn a_batch_of_nothing_but_failures_is_still_delivered() {
    let batches = plain(Troubled::new(), vec![4, 14, 24, 34, 44, 54, 64, 74, 1], 0, 2);
    assert_eq!(batches.len(), 2);
    assert!(batches[0].indices.is_empty() && batches[0].pixels.is_empty() && batches[0].skipped.len() == 8);
    assert_eq!(batches[1].indices, [1]);
}

#[test]
fn an_index_past_the_end_is_listed_too() {
    let dataset = open(&Source { shapes_images: 5, ..Source::default() }).expect("shapes");
    let batches = plain(dataset, vec![4, 5], 0, 1);
    assert_eq!(batches[0].indices, [4]);
    assert_eq!(batches[0].skipped[0].reason, "image 5 was asked for, but the data set has 5");
}

#[test]
fn no_more_than_the_queue_is_prepared_ahead() {
    let dataset = Troubled::new();
    let mut loader = Loader::new(
        dataset.clone(),
        vec![1; 400],
        0,
        View::Plain(PlainView::Resize),
        LoaderConfig { batch_size: 4, workers: 2, queue: 3, ..config(2) },
    );
    assert_eq!(loader.len(), 100);
    assert!(loader.next().is_some());
    std::thread::sleep(Duration::from_millis(50));
    // One taken, two in the workers' hands, three in the queue.
    assert!(dataset.asked.load(Ordering::Relaxed) <= 4 * (1 + 2 + 3));
    drop(loader);
}

#[test]
fn dropping_a_loader_stops_it_at_once() {
    let dataset = Troubled::new();
    let slow = vec![3; 100_000];
    let config = LoaderConfig { batch_size: 10_000, queue: 10, ..config(3) };
    let loader = Loader::new(dataset.clone(), slow, 0, View::Plain(PlainView::Resize), config);
    std::thread::sleep(Duration::from_millis(10));
    drop(loader);
    assert!(dataset.asked.load(Ordering::Relaxed) < 1000);
}

#[test]
fn a_subset_shows_the_chosen_images() {
    let whole: Arc<dyn Dataset> = open(&Source { shapes_images: 50, ..Source::default() }).expect("shapes");
    let subset = Subset::new(whole.clone(), vec![7, 3, 49, 50]);
    assert_eq!(subset.len(), 4);
    assert_eq!(subset.image(2).expect("there"), whole.image(49).expect("there"));
    assert_eq!((subset.name(0), subset.true_label(1)), (whole.name(7), whole.true_label(3)));
    assert!(subset.image(3).is_err() && subset.true_label(3).is_none());
    assert!(subset.image(4).is_err());
    assert_eq!(subset.class_names(), whole.class_names());
    let drawn = Subset::spread(whole.clone(), 30);
    assert!(drawn.len() == 30 && drawn.indices().is_sorted());
    assert_eq!(drawn.indices(), Subset::spread(whole.clone(), 30).indices());
    // Classes of the generated set take turns: counting off would miss some.
    let classes: std::collections::BTreeSet<_> = (0..30).filter_map(|index| drawn.true_label(index)).collect();
    assert!(classes.len() > 8, "{classes:?}");
    assert_eq!(Subset::spread(whole, 1000).len(), 50);
}
