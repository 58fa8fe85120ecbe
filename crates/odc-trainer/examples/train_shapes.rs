//! Trains a small network on the generated set by the library alone, and prints what was learned.
//!
//! `cargo run --release -p odc-trainer --example train_shapes [FOLDER [table.key=value ...]]`

#![allow(clippy::print_stdout, reason = "an example speaks to its reader")]

use odc_trainer::{Recipe, Run, TrainerError};

const RECIPE: &str = r#"
[data]
path = "shapes"
shapes_images = 600
side = 32
[model]
arch = "resnet18"
width = 8
stem = "small"
hidden = 64
dim = 32
[optimizer]
lr = 0.6
[training]
epochs = 3
batch_size = 64
"#;

fn main() -> Result<(), TrainerError> {
    let mut arguments = std::env::args().skip(1);
    let temporary = std::env::temp_dir().join(format!("odc-example-{}", std::process::id()));
    let folder = arguments.next().map_or(temporary, Into::into);
    let settings: Vec<String> = arguments.collect();
    let recipe = Recipe::from_toml("of the example", RECIPE, &settings)?;

    let mut run = Run::create(recipe, &folder, &mut |_| ())?;
    println!("{} images, {} clusters", run.n_samples(), run.recipe().n_clusters());
    while let Some(progress) = run.advance()? {
        for warning in &progress.warnings {
            println!("warning: {warning}");
        }
        if let Some(line) = progress.line {
            println!(
                "iteration {:4}  loss {:.3}  labels changed {:.2}  clusters of {} to {}  {:.0} images/s",
                line.iteration,
                line.loss,
                line.change_ratio.unwrap_or_default(),
                line.cluster_min.unwrap_or_default(),
                line.cluster_max.unwrap_or_default(),
                line.images_per_second
            );
        }
    }
    let summary = run.finish(&mut |_| ())?;
    println!("before: {:?}\nafter:  {:?}\nrun folder: {}", summary.before, summary.after, folder.display());
    Ok(())
}
