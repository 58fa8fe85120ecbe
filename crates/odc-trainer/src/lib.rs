//! The conductor: recipe, training loop, checkpoints, events.
