//! Labels that follow features as they move: three groups of points on a circle turn by a little in every iteration.
//!
//! Run with `cargo run -p odc-memory --example follow_moving_features`.

#![allow(clippy::print_stdout)]

use odc_memory::{Memory, MemoryConfig, MemoryError, Rule};

const GROUPS: usize = 3;
const SAMPLES: usize = 300;

fn main() -> Result<(), MemoryError> {
    let config = MemoryConfig { dim: 2, n_clusters: GROUPS, momentum: 0.5, min_cluster: 20, rule: Rule::Paper };
    let samples: Vec<u32> = (0..SAMPLES as u32).collect();
    // A poor start: every fourth sample has the wrong label.
    let labels = samples.iter().map(|&i| if i % 4 == 0 { (i + 1) % 3 } else { i % 3 }).collect();
    let mut memory = Memory::new(config, features(&samples, 0.0), labels)?;

    for iteration in 0..=100_u32 {
        let turn = 0.01 * iteration as f32;
        // A batch of 60, as a loader would draw it; the features are those of a network that is being trained.
        let batch: Vec<u32> = (0..60).map(|i| (iteration * 60 + i * 7) % SAMPLES as u32).collect();
        let change_ratio = memory.update_samples(&batch, &features(&batch, turn))?;
        if iteration % 10 == 0 {
            memory.update_centroids();
        }
        let report = memory.redistribute_small_clusters();
        let weights = memory.loss_weights(0.5);
        if iteration % 20 == 0 {
            let right = memory.labels().iter().zip(&samples).filter(|(label, i)| **label == **i % 3).count();
            println!(
                "iteration {iteration:3}: {change_ratio:.2} of the batch changed, {right} of {SAMPLES} labels as the \
                 groups, sizes {:?}, weights {weights:.3?}, {} labels moved out of small clusters",
                memory.sizes(),
                report.moved
            );
        }
    }
    Ok(())
}

/// Sample i belongs to group i mod 3; each group is an arc of the circle.
fn features(samples: &[u32], turn: f32) -> Vec<f32> {
    let angle = |&sample: &u32| turn + (sample % 3) as f32 * 2.1 + (sample / 3) as f32 * 0.007;
    samples.iter().map(angle).flat_map(|angle| [angle.cos(), angle.sin()]).collect()
}
