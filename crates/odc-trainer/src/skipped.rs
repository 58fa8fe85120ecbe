//! `skipped.csv`: the images that take no part, each with its reason; and how many of them are too many.

use std::path::Path;

use odc_data::Skipped;

use crate::files::write_atomically;
use crate::{Recipe, TrainerError};

pub(crate) fn write_skipped(folder: &Path, skipped: &[Skipped]) -> Result<(), TrainerError> {
    let path = folder.join("skipped.csv");
    let failed = |error: csv::Error| TrainerError::file("write", &path, error.into());
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(["index", "path", "reason"]).map_err(failed)?;
    for one in skipped {
        table.write_record([&one.index.to_string(), &one.name, &one.reason]).map_err(failed)?;
    }
    let bytes = table.into_inner().map_err(|error| TrainerError::file("write", &path, error.into_error()))?;
    write_atomically(&path, &bytes)
}

pub(crate) fn read_skipped(folder: &Path) -> Result<Vec<Skipped>, TrainerError> {
    let path = folder.join("skipped.csv");
    let failed = |error: csv::Error| TrainerError::file("read", &path, error.into());
    let mut table = csv::Reader::from_path(&path).map_err(failed)?;
    let mut all = Vec::new();
    for row in table.records() {
        let row = row.map_err(failed)?;
        let cell = |position: usize| row.get(position).unwrap_or_default().to_owned();
        all.push(Skipped { index: cell(0).parse().unwrap_or(u32::MAX), name: cell(1), reason: cell(2) });
    }
    Ok(all)
}

pub(crate) fn check_bad_share(
    recipe: &Recipe,
    bad: usize,
    of: usize,
    examples: &[Skipped],
) -> Result<(), TrainerError> {
    if bad as f64 <= recipe.data.max_bad_share * of as f64 {
        return Ok(());
    }
    let example = examples.first().map(|first| format!(" (the first: {}: {})", first.name, first.reason));
    Err(TrainerError::Unhealthy(format!(
        "{bad} of {of} images cannot be decoded{}, more than data.max_bad_share = {} allows: look at the files, or raise \
         the share by --set data.max_bad_share={:.2}",
        example.unwrap_or_default(),
        recipe.data.max_bad_share,
        // Rounded up, so that it suffices.
        (100.0 * bad as f64 / of as f64).ceil() / 100.0
    )))
}
