//! Our side of `cargo xtask bench cpu --iteration`: whole iterations of Online Deep Clustering, timed on demand.
//!
//! `iteration ARCH STEM SIDE BATCH PATH WORKERS` trains on the images at PATH. It writes `{"ready": ...}`; the line `run K` on
//! its standard input is answered by `{"seconds": [...], "data": ..., "network": ..., "memory": ..., "refilled": ...,
//! "loss": ...}`: the time of each of K iterations, the sums of its parts, the small clusters that were refilled.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use odc_data::{Augmentation, Dataset, Loader, LoaderConfig, Subset, View};
use odc_eval::ExtractionConfig;
use odc_kernels::memory::PoolAllocator;
use odc_kmeans::KMeans;
use odc_memory::Memory;
use odc_model::{Dropout, Mode, Network};
use odc_ops::random;
use odc_trainer::{Recipe, StepOutcome, Trainer};

/// As in the program `odc`.
#[global_allocator]
static MEMORY: PoolAllocator = PoolAllocator::new();

/// Whatever goes wrong ends the program.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Both memories' size: what a set of images has, however few there are at the path.
const SAMPLES: usize = 10_000;
const CLUSTERS: usize = 100;
/// Images that the initial features are made of.
const SEEN: usize = 128;

fn main() -> Result<()> {
    // `cargo bench` adds an argument of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let mut out = std::io::stdout();
    let [arch, stem, side, batch, path, workers] = arguments.as_slice() else {
        let usage = "iteration ARCH STEM SIDE BATCH PATH WORKERS; `cargo xtask bench cpu --iteration` calls it";
        writeln!(out, "{usage}")?;
        return Ok(());
    };
    let settings = [
        format!("data.path={path:?}"),
        format!("data.side={side}"),
        format!("model.arch={arch}"),
        format!("model.stem={stem}"),
        format!("memory.clusters={CLUSTERS}"),
        "memory.min_cluster=20".to_owned(),
        format!("training.batch_size={batch}"),
    ];
    let recipe = Recipe::from_toml("of the benchmark", "", &settings)?;
    let mut training = Training::new(recipe, workers.parse()?)?;
    writeln!(out, r#"{{"ready": "odc {}"}}"#, env!("CARGO_PKG_VERSION"))?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let iterations: usize = line.strip_prefix("run ").ok_or("expected: run K")?.trim().parse()?;
        writeln!(out, "{}", training.run(iterations)?)?;
    }
    Ok(())
}

/// A trainer and what feeds it.
struct Training {
    recipe: Recipe,
    dataset: Arc<dyn Dataset>,
    trainer: Trainer,
    loader: Option<Loader>,
    epoch: u64,
    workers: usize,
}

impl Training {
    fn new(recipe: Recipe, workers: usize) -> Result<Self> {
        let images = odc_data::open(&recipe.data.source())?;
        let network = Network::new(&recipe.model.backbone(), &recipe.model.neck(), CLUSTERS, 0, &Device::Cpu)?;
        let memory = first_memory(&recipe, &network, &images)?;
        let indices = (0..SAMPLES).map(|sample| (sample % images.len()) as u32).collect();
        let dataset: Arc<dyn Dataset> = Arc::new(Subset::new(images, indices));
        let trainer = Trainer::new(&recipe, network, memory, 1_000_000)?;
        Ok(Self { recipe, dataset, trainer, loader: None, epoch: 0, workers })
    }

    /// So many iterations; what they took, as JSON.
    fn run(&mut self, iterations: usize) -> Result<String> {
        let mut seconds = Vec::new();
        let mut parts = [Duration::ZERO; 3];
        let (mut refilled, mut loss) = (0, 0.0);
        for _ in 0..iterations {
            let start = Instant::now();
            let batch = self.next_batch()?;
            let data = start.elapsed();
            let StepOutcome::Done(report) = self.trainer.step(&batch)? else {
                return Err("a loss that is no number".into());
            };
            seconds.push(start.elapsed().as_secs_f64());
            for (part, time) in parts.iter_mut().zip([data, report.t_forward + report.t_backward, report.t_memory]) {
                *part += time;
            }
            (refilled, loss) = (refilled + report.small_clusters.map_or(0, |small| small.handled), report.loss);
        }
        let [data, network, memory] = parts.map(|part| part.as_secs_f64());
        Ok(format!(
            r#"{{"seconds": {seconds:?}, "data": {data}, "network": {network}, "memory": {memory}, "refilled": {refilled}, "loss": {loss}}}"#
        ))
    }

    fn next_batch(&mut self) -> Result<odc_data::Batch> {
        let batch_size = self.recipe.batch_size();
        if let Some(batch) = self.loader.as_mut().and_then(Iterator::next)
            && batch.indices.len() == batch_size
        {
            return Ok(batch);
        }
        let order = self.recipe.data.sampling.epoch(self.recipe.seed, self.epoch, SAMPLES);
        let config = LoaderConfig {
            batch_size,
            side: self.recipe.data.resolved_side(),
            workers: self.workers,
            queue: self.recipe.data.queue,
            seed: self.recipe.seed,
            epoch: self.epoch,
        };
        self.epoch += 1;
        let view = View::Training(Augmentation { steps: self.recipe.data.augmentation.clone() });
        let loader = self.loader.insert(Loader::new(Arc::clone(&self.dataset), order, 0, view, config));
        loader.next().ok_or_else(|| "the loader gives no batch".into())
    }
}

/// Memories that begin with k-means of the features of a few images, each repeated with some noise.
fn first_memory(recipe: &Recipe, network: &Network, images: &Arc<dyn Dataset>) -> Result<Memory> {
    let seen: Arc<dyn Dataset> = Arc::new(Subset::spread(Arc::clone(images), SEEN));
    let config = ExtractionConfig {
        side: recipe.data.resolved_side(),
        view: recipe.data.plain_view,
        batch_size: 32,
        workers: 0,
        mean: recipe.data.mean,
        std: recipe.data.std,
    };
    let mut forward = |images: &Tensor| network.features(images, Mode::Eval, Dropout::Off);
    let mut features = odc_eval::extract_with(&mut forward, &seen, &config, &mut |_, _| ())?.values;
    let dim = recipe.model.dim;
    odc_memory::normalize_rows(&mut features, dim);
    let noise = 0.3 / (dim as f32).sqrt();
    let mut rows: Vec<f32> = (0..SAMPLES * dim)
        .map(|entry| features[entry % features.len()] + noise * random::normal(0, entry as u64))
        .collect();
    odc_memory::normalize_rows(&mut rows, dim);
    let clustering = KMeans { n_clusters: CLUSTERS, iterations: 20, seed: 0 }.fit(&rows, dim)?;
    let (_, labels) = clustering.into_parts();
    Ok(Memory::new(recipe.memory_config(), rows, labels)?)
}
