//! Images on disk to batches of bytes: data sets, augmentation, samplers, loader.
//!
//! The way of an image: a [`Dataset`] gives the image at an index as RGB bytes, a [`View`] makes it `side` × `side`
//! (the training view at random, the plain view always alike), and the [`Loader`] puts many of them into a [`Batch`].
//! Nothing here knows a tensor or a device: division by 255 and mean and deviation come later, on the device.
//!
//! ```
//! use odc_data::{Augmentation, Loader, LoaderConfig, Sampling, Source, View, open};
//!
//! let dataset = open(&Source { shapes_images: 24, ..Source::default() })?;
//! let order = Sampling::Permutation.epoch(0, 0, dataset.len());
//! let config = LoaderConfig { batch_size: 8, side: 32, workers: 2, queue: 4, seed: 0, epoch: 0 };
//! let view = View::Training(Augmentation::standard(0.2));
//! for batch in Loader::new(dataset, order, 0, view, config) {
//!     assert_eq!(batch.pixels.len(), batch.indices.len() * 32 * 32 * 3);
//! }
//! # Ok::<(), odc_data::DataError>(())
//! ```

mod augmentation;
mod cifar;
mod dataset;
mod decode;
mod error;
mod folder;
mod list;
mod loader;
pub mod operations;
mod parquet;
mod random;
mod sampling;
mod shapes;
mod source;
mod view;
mod voc;

pub use augmentation::{Augmentation, Step};
pub use cifar::Cifar;
pub use dataset::{Dataset, Image, Subset};
pub use decode::{MAX_FILE_BYTES, MAX_PIXELS, decode};
pub use error::DataError;
pub use folder::ImageFolder;
pub use list::ListFile;
pub use loader::{Batch, Loader, LoaderConfig, Skipped};
pub use parquet::Parquet;
pub use random::SampleRandom;
pub use sampling::{Sampling, uniform_over_labels};
pub use shapes::{Shapes, ShapesColors, ShapesConfig, ShapesLabel};
pub use source::{Format, Source, open};
pub use view::{PlainView, View};
pub use voc::Voc;
