//! Images on disk to batches of bytes: data sets, augmentation, samplers, loader.
