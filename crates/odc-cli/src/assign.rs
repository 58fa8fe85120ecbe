//! `assign`: the cluster of every image of a run, or of other images.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use odc_data::Dataset;
use odc_eval::{Features, Layer};
use odc_memory::nearest;
use odc_model::{Dropout, Mode};
use odc_trainer::{Conductor, Method, Trainer};
use serde::Serialize;
use serde_json::json;

use crate::arguments::AssignArguments;
use crate::backbone::{Loaded, Subject};
use crate::failure::WrongUse;
use crate::output::{count, print, print_json, write_file};
use crate::progress::Task;
use crate::{images, run_folder, screen};

/// A row of the table.
#[derive(Debug, Serialize, serde::Deserialize)]
struct Assignment {
    index: u32,
    name: String,
    cluster: u32,
    true_label: Option<u32>,
}

/// Writes the table.
///
/// # Errors
/// Where there is no run, the images cannot be read, or the file cannot be written.
pub(crate) fn run(arguments: AssignArguments) -> anyhow::Result<()> {
    let subject = Subject::of_run(&arguments.run, &arguments.machine)?;
    if subject.recipe().method == Method::Rotation {
        let message = format!(
            "--run {}: rotation prediction has no clusters to assign. `extract` writes the features of images, which can \
             be clustered",
            arguments.run.display()
        );
        return Err(WrongUse(message).into());
    }
    let assignments = match &arguments.images.data {
        None => of_the_run(&arguments.run, &subject)?,
        Some(path) => of_others(path, &subject, &arguments)?,
    };
    let csv = |file: &mut dyn Write| write_csv(file, &assignments);
    if let Some(out) = &arguments.out {
        write_file(out, csv)?;
        screen::say(&format!("The clusters of {} are in {}.", count(assignments.len(), "image"), out.display()));
    }
    if arguments.json {
        let listed = arguments.out.is_none().then_some(&assignments);
        return print_json(&json!({
            "run": arguments.run, "images": assignments.len(), "clusters": subject.recipe().n_clusters(),
            "out": arguments.out, "assignments": listed,
        }));
    }
    if arguments.out.is_none() {
        let mut text = Vec::new();
        csv(&mut text)?;
        print(&String::from_utf8_lossy(&text))?;
    }
    Ok(())
}

/// The run's own images: as it wrote them at its end, or as its newest checkpoint has them.
fn of_the_run(folder: &Path, subject: &Subject) -> anyhow::Result<Vec<Assignment>> {
    let path = folder.join("clusters.csv");
    if path.exists() {
        let rows = csv::Reader::from_path(&path).and_then(|mut table| table.deserialize().collect());
        return rows.map_err(|error| anyhow::anyhow!("cannot read {}: {error}", path.display()));
    }
    let checkpoint = run_folder::newest_checkpoint(folder)?;
    screen::say(&format!(
        "note: the run is not finished; these are its clusters after {} iterations",
        checkpoint.iteration
    ));
    let images = checkpoint.run.images.clone();
    // The length of the run only sets the learning rates to come.
    let conductor = checkpoint.into_conductor(0)?;
    let dataset = odc_data::open(&subject.recipe().data.source())?;
    let rows = images.iter().zip(conductor.labels().unwrap_or_default()).map(|(index, cluster)| Assignment {
        index: *index,
        name: dataset.name(*index as usize),
        cluster: *cluster,
        true_label: dataset.true_label(*index as usize),
    });
    Ok(rows.collect())
}

/// Other images: the centroid nearest to the feature, as the run's method has it.
fn of_others(path: &str, subject: &Subject, arguments: &AssignArguments) -> anyhow::Result<Vec<Assignment>> {
    let columns = &arguments.images.columns;
    let dataset = columns.open(&subject.source(Some(path), columns)?)?;
    let loaded = Loaded::Conductor(subject.load_all()?);
    let (features, clusters) = match &loaded {
        Loaded::Conductor(Conductor::Odc(trainer)) => by_the_memory(trainer, subject, &dataset)?,
        Loaded::Conductor(Conductor::DeepCluster(deep_cluster)) => {
            let features =
                subject.layers(&loaded, &[Layer::Vector], &dataset, None, None, "the images")?.swap_remove(0);
            let clusters = deep_cluster.clustering().assign(&features.values)?;
            (features, clusters)
        }
        Loaded::Conductor(Conductor::Rotation(_)) | Loaded::Backbone(_) => {
            anyhow::bail!("{} has no clusters", arguments.run.display())
        }
    };
    images::tell_skipped(&features.skipped);
    let rows = clusters.into_iter().enumerate().map(|(row, cluster)| Assignment {
        index: features.indices[row],
        name: features.names[row].clone(),
        cluster,
        true_label: features.true_labels[row],
    });
    Ok(rows.collect())
}

/// The neck's features, and the nearest centroids in the memory.
fn by_the_memory(
    trainer: &Trainer,
    subject: &Subject,
    dataset: &Arc<dyn Dataset>,
) -> anyhow::Result<(Features, Vec<u32>)> {
    let mut task = Task::begin("Features of the images", dataset.len());
    let mut features = odc_eval::extract_with(
        &mut |images| trainer.network().features(images, Mode::Eval, Dropout::Off),
        dataset,
        &subject.extraction(),
        &mut |done, total| task.at(done, total),
    )?;
    drop(task);
    odc_kmeans::normalize_rows(&mut features.values, features.dim);
    let mut clusters = vec![0; features.len()];
    let rule = subject.recipe().memory.rule;
    nearest(rule, &features.values, trainer.memory().centroids(), features.dim, &mut clusters);
    Ok((features, clusters))
}

fn write_csv(file: &mut dyn Write, assignments: &[Assignment]) -> anyhow::Result<()> {
    let mut table = csv::WriterBuilder::new().has_headers(false).from_writer(file);
    table.write_record(["index", "name", "cluster", "true_label"])?;
    for assignment in assignments {
        table.serialize(assignment)?;
    }
    Ok(table.flush()?)
}
