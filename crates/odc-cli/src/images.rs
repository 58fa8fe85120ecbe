//! Which images a command is about.

use std::sync::Arc;

use anyhow::Context;
use odc_data::{Dataset, Format, Source, Subset};

use crate::arguments::ColumnArguments;
use crate::failure::WrongUse;

impl ColumnArguments {
    /// The source at `path`, read as these flags say. In what they leave open, `shapes` is made as `like` makes it.
    pub(crate) fn source(&self, path: &str, like: &Source) -> Source {
        Source {
            path: path.to_owned(),
            format: Format::Auto,
            image_column: self.image_column.clone().unwrap_or_default(),
            label_column: self.label_column.clone().unwrap_or_default(),
            limit: 0,
            shapes_colors: self.shapes_colors.unwrap_or(like.shapes_colors),
            shapes_label: self.shapes_label.unwrap_or(like.shapes_label),
            ..like.clone()
        }
    }

    /// Opens a source, with at most `--limit` images.
    ///
    /// # Errors
    /// Names the path and what is wrong with it.
    pub(crate) fn open(&self, source: &Source) -> anyhow::Result<Arc<dyn Dataset>> {
        let dataset = odc_data::open(source)?;
        match self.limit {
            Some(0) => Err(WrongUse("--limit 0: give at least 1, or leave it out for all images".to_owned()).into()),
            Some(limit) if limit < dataset.len() => Ok(Arc::new(Subset::spread(dataset, limit))),
            _ => Ok(dataset),
        }
    }

    /// Opens a source that must have true labels.
    ///
    /// # Errors
    /// Where it cannot be opened or has none; `what` names its flag.
    pub(crate) fn open_labelled(&self, what: &str, source: &Source) -> anyhow::Result<Arc<dyn Dataset>> {
        let dataset = self.open(source)?;
        if (0..dataset.len()).any(|index| dataset.true_label(index).is_some()) {
            return Ok(dataset);
        }
        if shows_classes(dataset.as_ref()) {
            let reason = "these images may show several classes each, and this score asks for one; use eval-svm";
            return Err(WrongUse(format!("{what} {}: {reason}", source.path)).into());
        }
        Err(no_labels(what, source))
    }

    /// Opens a source whose images are known to show classes, one or several.
    ///
    /// # Errors
    /// As [`ColumnArguments::open_labelled`].
    pub(crate) fn open_with_classes(&self, what: &str, source: &Source) -> anyhow::Result<Arc<dyn Dataset>> {
        let dataset = self.open(source)?;
        if shows_classes(dataset.as_ref()) { Ok(dataset) } else { Err(no_labels(what, source)) }
    }
}

/// Whether anything is known of what any image shows.
fn shows_classes(dataset: &dyn Dataset) -> bool {
    let known = |index| (0..dataset.class_names().len() as u32).any(|class| dataset.shows(index, class).is_some());
    (0..dataset.len()).any(known)
}

fn no_labels(what: &str, source: &Source) -> anyhow::Error {
    let message = format!(
        "{what} {}: these images have no true labels, and a score needs them. Give a folder with one subfolder per \
         class, a list file with `path,label` a line, or a parquet file (--label-column names its column)",
        source.path
    );
    WrongUse(message).into()
}

/// For each true label of `from`, the label of the class of that name in `to`: two folders number their classes apart.
///
/// # Errors
/// Where a class of `from` is unknown to `to`.
pub(crate) fn label_translation(from: &dyn Dataset, to: &dyn Dataset) -> anyhow::Result<Vec<u32>> {
    let translate = |name: &String| {
        let position = to.class_names().iter().position(|known| known == name);
        let known = || {
            let shown: Vec<&str> = to.class_names().iter().take(5).map(String::as_str).collect();
            format!(
                "the test images have a class {name:?} that the training images lack (they have {} ...)",
                shown.join(", ")
            )
        };
        position.map(|position| position as u32).with_context(known)
    };
    from.class_names().iter().map(translate).collect()
}

/// Says which images were left out because they cannot be read.
pub(crate) fn tell_skipped(skipped: &[odc_data::Skipped]) {
    if let Some(first) = skipped.first() {
        crate::screen::say(&format!(
            "warning: {} left out, the first: {}: {}",
            crate::output::count(skipped.len(), "unreadable image"),
            first.name,
            first.reason
        ));
    }
}
