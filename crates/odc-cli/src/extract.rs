//! `extract`: features of images as files.

use std::path::{Path, PathBuf};

use anyhow::Context;
use odc_eval::{Features, Layer};
use odc_model::{Dropout, Mode};
use odc_trainer::Conductor;
use serde_json::json;

use crate::arguments::{ExtractArguments, FeatureFormat, FeatureKind};
use crate::failure::WrongUse;
use crate::images::tell_skipped;
use crate::output::{count, print_json};
use crate::progress::Task;
use crate::screen;

/// The files to write.
#[derive(Debug, PartialEq, Eq)]
enum Files {
    /// The array, and the table of what its rows are.
    Npy { array: PathBuf, names: PathBuf },
    /// One table.
    Parquet { table: PathBuf },
}

/// Extracts and writes.
///
/// # Errors
/// Where the network or the images cannot be read, or a file cannot be written.
pub(crate) fn run(arguments: ExtractArguments) -> anyhow::Result<()> {
    let mut subject = arguments.backbone.subject(&arguments.machine)?;
    let columns = &arguments.images.columns;
    let source = subject.source(arguments.images.data.as_deref(), columns)?;
    let dataset = columns.open(&source)?;
    subject.resolve(dataset.as_ref());
    let files = Files::named(&arguments.out, arguments.format);
    // Known before the work: a folder that cannot be made.
    files.make_folder()?;
    let features = match arguments.features.layer() {
        Some(layer) => subject.layers(&subject.load()?, &[layer], &dataset, None, None, "the images")?.swap_remove(0),
        None => {
            let Conductor::Odc(trainer) = subject.load_all()? else {
                let method = subject.recipe().method.title();
                let message = format!("--features neck: {method} has no neck; leave --features at pool");
                return Err(WrongUse(message).into());
            };
            let mut task = Task::begin("Features of the images", dataset.len());
            odc_eval::extract_with(
                &mut |images| trainer.network().features(images, Mode::Eval, Dropout::Off),
                &dataset,
                &subject.extraction(),
                &mut |done, total| task.at(done, total),
            )?
        }
    };
    tell_skipped(&features.skipped);
    let written = files.write(&features)?;
    if arguments.json {
        return print_json(&json!({
            "network": subject.describe(), "data": source.path, "images": features.len(), "dim": features.dim,
            "skipped": features.skipped.len(), "files": written,
        }));
    }
    let written: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
    screen::say(&format!(
        "{} numbers for each of {}, by {}: {}",
        features.dim,
        count(features.len(), "image"),
        subject.describe(),
        written.join(" and ")
    ));
    Ok(())
}

impl FeatureKind {
    /// The backbone's layer; none for the neck.
    fn layer(self) -> Option<Layer> {
        match self {
            Self::Neck => None,
            Self::Pool => Some(Layer::Vector),
            Self::Stage1 => Some(Layer::Stage(1)),
            Self::Stage2 => Some(Layer::Stage(2)),
            Self::Stage3 => Some(Layer::Stage(3)),
            Self::Stage4 => Some(Layer::Stage(4)),
            Self::Stage5 => Some(Layer::Stage(5)),
        }
    }
}

impl Files {
    /// Which files `--out` means: one of a known ending, or files in a folder.
    fn named(out: &Path, format: FeatureFormat) -> Self {
        let npy = |array: PathBuf, names: PathBuf| Self::Npy { array, names };
        match out.extension().and_then(|extension| extension.to_str()) {
            Some("npy") => npy(out.to_owned(), out.with_extension("csv")),
            Some("parquet") => Self::Parquet { table: out.to_owned() },
            _ => match format {
                FeatureFormat::Npy => npy(out.join("features.npy"), out.join("names.csv")),
                FeatureFormat::Parquet => Self::Parquet { table: out.join("features.parquet") },
            },
        }
    }

    fn make_folder(&self) -> anyhow::Result<()> {
        let (Self::Npy { array: file, .. } | Self::Parquet { table: file }) = self;
        let folder = file.parent().unwrap_or(Path::new(""));
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))
    }

    /// The files written.
    fn write(&self, features: &Features) -> anyhow::Result<Vec<PathBuf>> {
        match self {
            Self::Npy { array, names } => {
                features.write_npy(array)?;
                features.write_csv(names)?;
                Ok(vec![array.clone(), names.clone()])
            }
            Self::Parquet { table } => {
                features.write_parquet(table)?;
                Ok(vec![table.clone()])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_of_out_decides_what_is_written() {
        let npy = Files::named(Path::new("a/x.npy"), FeatureFormat::Parquet);
        assert_eq!(npy, Files::Npy { array: "a/x.npy".into(), names: "a/x.csv".into() });
        let table = Files::named(Path::new("a"), FeatureFormat::Parquet);
        assert_eq!(table, Files::Parquet { table: "a/features.parquet".into() });
    }
}
