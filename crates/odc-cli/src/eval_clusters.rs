//! `eval-clusters`: clusters against true labels, and against other clusters of the same images.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use anyhow::Context;
use odc_data::Dataset;
use odc_eval::{ClusterSizes, ClusteringScore};
use odc_trainer::Checkpoint;
use serde::Deserialize;
use serde_json::json;

use crate::arguments::EvalClustersArguments;
use crate::failure::WrongUse;
use crate::output::{Table, count, print, print_json};
use crate::{run_folder, screen};

/// The cluster of an image. In a file the columns `name` and `true_label` may be absent.
#[derive(Debug, Deserialize)]
struct Row {
    index: u32,
    #[serde(default)]
    name: String,
    cluster: u32,
    /// A number or a name.
    #[serde(default)]
    true_label: Option<String>,
}

/// Clusters of images, and what they are in words.
struct Clusters {
    rows: Vec<Row>,
    about: String,
}

/// Prints the scores.
///
/// # Errors
/// Where the clusters cannot be read, or there is nothing to compare them with.
pub(crate) fn run(arguments: EvalClustersArguments) -> anyhow::Result<()> {
    let Some(path) = arguments.path.or(arguments.run) else {
        return Err(WrongUse("name a run folder, a checkpoint or a table of clusters".to_owned()).into());
    };
    let clusters = Clusters::at(&path)?;
    let labels: Vec<u32> = clusters.rows.iter().map(|row| row.cluster).collect();
    let sizes = ClusterSizes::of(&numbered(&labels), labels.iter().collect::<BTreeSet<_>>().len())?;
    let truth = clusters.true_labels();
    let truth = match truth.iter().any(Option::is_some) {
        true => Some(ClusteringScore::where_known(&labels, &truth)?),
        false => None,
    };
    let other = arguments.against.as_deref().map(Clusters::at).transpose()?;
    let against = other.as_ref().map(|other| clusters.against(other)).transpose()?;
    if truth.is_none() && against.is_none() {
        let message = format!(
            "{}: none of {} has a true label; give --against, or images with labels",
            path.display(),
            count(labels.len(), "image")
        );
        return Err(WrongUse(message).into());
    }
    if arguments.json {
        return print_json(&json!({
            "clusters": clusters.about, "images": labels.len(), "sizes": sizes, "true_labels": truth,
            "against": other.map(|other| other.about), "against_score": against,
        }));
    }
    let mut text = format!(
        "{}: {} in {}, of {} to {} (median {})\n\n",
        clusters.about,
        count(labels.len(), "image"),
        count(sizes.n_clusters, "cluster"),
        sizes.smallest,
        sizes.largest,
        sizes.median
    );
    if let Some(score) = &truth {
        text += &format!("Against {}, {}:\n{}", count(score.n_classes, "true label"), of_images(score), table(score));
    }
    if let (Some(score), Some(other)) = (&against, &other) {
        let gap = if truth.is_some() { "\n" } else { "" };
        text += &format!("{gap}Against {}, {}:\n{}", other.about, of_images(score), table(score));
    }
    print(&text)
}

impl Clusters {
    /// Those of a run folder (as it wrote them at its end, or in its newest checkpoint), a checkpoint, or a table.
    fn at(path: &Path) -> anyhow::Result<Self> {
        let about = path.display().to_string();
        if path.is_dir() {
            run_folder::recipe(path)?;
            let table = path.join("clusters.csv");
            return if table.exists() {
                Self::at(&table)
            } else {
                Self::of_checkpoint(run_folder::newest_checkpoint(path)?, about)
            };
        }
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            return Self::of_checkpoint(Checkpoint::read(path)?, about);
        }
        let rows = csv::Reader::from_path(path).and_then(|mut table| table.deserialize().collect());
        let rows: Vec<Row> = rows.with_context(|| {
            format!("cannot read {about} (a table with the columns index, name, cluster and true_label)")
        })?;
        anyhow::ensure!(!rows.is_empty(), "{about}: the table has no rows");
        Ok(Self { rows, about })
    }

    fn of_checkpoint(checkpoint: Checkpoint, path: String) -> anyhow::Result<Self> {
        let run = checkpoint.run.clone();
        let about = format!("{path} after {} iterations", checkpoint.iteration);
        // The length of the run only sets the learning rates to come.
        let conductor = checkpoint.into_conductor(0)?;
        let Some(labels) = conductor.labels() else {
            let method = run.recipe.method.title();
            return Err(WrongUse(format!("{path} has no clusters: {method} learns without any")).into());
        };
        // Without its images a checkpoint can still be compared with other clusters.
        let dataset = match odc_data::open(&run.recipe.data.source()) {
            Ok(dataset) => Some(dataset),
            Err(error) => {
                screen::say(&format!("note: {path}: its images are not there, nor their true labels: {error}"));
                None
            }
        };
        let known = |index: u32| -> (String, Option<String>) {
            let of = |dataset: &dyn Dataset| {
                (dataset.name(index as usize), dataset.true_label(index as usize).map(|label| label.to_string()))
            };
            dataset.as_deref().map(of).unwrap_or_default()
        };
        let row = |(&index, &cluster): (&u32, &u32)| {
            let (name, true_label) = known(index);
            Row { index, name, cluster, true_label }
        };
        Ok(Self { rows: run.images.iter().zip(labels).map(row).collect(), about })
    }

    /// True labels as numbers.
    fn true_labels(&self) -> Vec<Option<u32>> {
        let words: BTreeSet<&String> = self.rows.iter().filter_map(|row| row.true_label.as_ref()).collect();
        let numbers: HashMap<&String, u32> = words.into_iter().zip(0..).collect();
        self.rows.iter().map(|row| row.true_label.as_ref().and_then(|word| numbers.get(word).copied())).collect()
    }

    /// How far these clusters are those of `other`, over the images that both have.
    fn against(&self, other: &Self) -> anyhow::Result<ClusteringScore> {
        let theirs: HashMap<u32, &Row> = other.rows.iter().map(|row| (row.index, row)).collect();
        let (mut here, mut there) = (Vec::new(), Vec::new());
        for row in &self.rows {
            let Some(their) = theirs.get(&row.index) else { continue };
            if !row.name.is_empty() && !their.name.is_empty() && row.name != their.name {
                anyhow::bail!(
                    "image {} is {} in {} and {} in {}: these are not clusters of the same images",
                    row.index,
                    row.name,
                    self.about,
                    their.name,
                    other.about
                );
            }
            here.push(row.cluster);
            there.push(their.cluster);
        }
        anyhow::ensure!(!here.is_empty(), "{} and {} have no image in common", self.about, other.about);
        Ok(ClusteringScore::new(&here, &there)?)
    }
}

fn table(score: &ClusteringScore) -> Table {
    let mut table = Table::default();
    table.row(["NMI", &format!("{:.4}", score.nmi)]);
    table.row(["ARI", &format!("{:.4}", score.ari)]);
    table.row(["purity", &format!("{:.2} %", score.purity)]);
    table.row(["Hungarian accuracy", &format!("{:.2} %", score.hungarian_accuracy)]);
    table
}

fn of_images(score: &ClusteringScore) -> String {
    match score.n_unlabelled {
        0 => count(score.n_samples, "image"),
        unknown => format!("{} ({unknown} without one left out)", count(score.n_samples, "image")),
    }
}

/// Labels replaced by 0, 1, 2, … in ascending order of those that occur.
fn numbered(labels: &[u32]) -> Vec<u32> {
    let numbers: HashMap<u32, u32> = labels.iter().copied().collect::<BTreeSet<_>>().into_iter().zip(0..).collect();
    labels.iter().filter_map(|label| numbers.get(label).copied()).collect()
}
