//! What a run is for: the files at its end.

use super::Run;
use crate::files::write_atomically;
use crate::recipe::FinalStatistics;
use crate::scores::score;
use crate::start::Stage;
use crate::{Summary, TrainerError, statistics};

impl Run {
    /// Writes what a run is for: `backbone.safetensors`, `clusters.csv` (of a method with clusters) and
    /// `summary.json`.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub fn finish(&mut self, progress: &mut dyn FnMut(Stage)) -> Result<Summary, TrainerError> {
        self.save()?;
        let backbone = match self.state.recipe.training.final_statistics {
            FinalStatistics::Running => self.conductor.backbone(),
            FinalStatistics::Plain => {
                let (recipe, dataset) = (&self.state.recipe, &self.dataset);
                &statistics::with_plain_statistics(recipe, self.conductor.backbone(), dataset)?
            }
        };
        odc_model::weights::save(backbone.params(), self.folder.join("backbone.safetensors"))?;
        if let Some(labels) = self.conductor.labels() {
            self.write_clusters(labels)?;
        }
        progress(Stage::Scoring);
        let after = score(&self.state.recipe, backbone, &self.dataset, self.conductor.labels())?;
        let lines = crate::read_log(&self.folder.join("log.jsonl"))?;
        let summary = Summary::new(self, &lines, after);
        let text = serde_json::to_string_pretty(&summary).unwrap_or_default() + "\n";
        write_atomically(&self.folder.join("summary.json"), text.as_bytes())?;
        Ok(summary)
    }

    /// The cluster of every image as CSV: index, name, cluster, true label where there is one.
    fn write_clusters(&self, labels: &[u32]) -> Result<(), TrainerError> {
        let path = self.folder.join("clusters.csv");
        let mut table = csv::Writer::from_writer(Vec::new());
        let failed = |error: csv::Error| TrainerError::file("write", &path, error.into());
        table.write_record(["index", "name", "cluster", "true_label"]).map_err(failed)?;
        for (sample, cluster) in labels.iter().enumerate() {
            let true_label = self.dataset.true_label(sample).map(|label| label.to_string()).unwrap_or_default();
            let name = self.dataset.name(sample);
            table
                .write_record([&self.state.images[sample].to_string(), &name, &cluster.to_string(), &true_label])
                .map_err(failed)?;
        }
        let bytes = table.into_inner().map_err(|error| TrainerError::file("write", &path, error.into_error()))?;
        write_atomically(&path, &bytes)
    }
}
