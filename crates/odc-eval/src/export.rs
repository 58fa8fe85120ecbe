//! Features as files: a NumPy array beside a table of images, or one Parquet table.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use ndarray::ArrayView2;
use ndarray_npy::WriteNpyExt;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, FloatType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use crate::{EvalError, Features};

impl Features {
    /// The values as a NumPy array `[images, dim]` of float32.
    ///
    /// The file at `path` is either as before or complete; so it is for the other formats.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write_npy(&self, path: &Path) -> Result<(), EvalError> {
        self.check_sizes()?;
        let shape = (self.len(), self.dim);
        let values = ArrayView2::from_shape(shape, &self.values).map_err(|error| EvalError::write(path, error))?;
        write_atomically(path, |file| values.write_npy(file).map_err(|error| error.to_string()))
    }

    /// Which image each row of the array is: columns `row`, `path`, `label` (empty where there is none).
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write_csv(&self, path: &Path) -> Result<(), EvalError> {
        self.check_sizes()?;
        let write = |file: &mut dyn Write| -> Result<(), csv::Error> {
            let mut table = csv::Writer::from_writer(file);
            table.write_record(["row", "path", "label"])?;
            for (row, (name, label)) in self.names.iter().zip(&self.true_labels).enumerate() {
                let label = label.map(|label| label.to_string()).unwrap_or_default();
                table.write_record([&row.to_string(), name, &label])?;
            }
            Ok(table.flush()?)
        };
        write_atomically(path, |file| write(file).map_err(|error| error.to_string()))
    }

    /// One table: `path` (text), `label` (int64, null where there is none), `features` (list of float).
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write_parquet(&self, path: &Path) -> Result<(), EvalError> {
        self.check_sizes()?;
        write_atomically(path, |file| self.write_row_groups(file).map_err(|error| error.to_string()))
    }

    /// The fields are public: they may have come apart.
    fn check_sizes(&self) -> Result<(), EvalError> {
        let (n, values) = (self.len(), self.len() * self.dim);
        for (what, got, expected) in
            [("feature values", self.values.len(), values), ("names of feature rows", self.names.len(), n)]
        {
            if got != expected {
                return Err(EvalError::Size { what, got, expected });
            }
        }
        Ok(())
    }

    fn write_row_groups(&self, file: &mut (dyn Write + Send)) -> Result<(), ParquetError> {
        let schema = parse_message_type(
            "message features {
                required binary path (UTF8);
                optional int64 label;
                required group features (LIST) { repeated group list { required float element; } }
            }",
        )?;
        // Numbers that hardly repeat gain nothing from a dictionary, a compressor or bounds.
        let properties = WriterProperties::builder()
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_column_compression("path".into(), Compression::SNAPPY)
            .set_column_compression("label".into(), Compression::SNAPPY);
        let mut table = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties.build()))?;
        let rows = (GROUP_VALUES / self.dim.max(1)).max(1);
        for start in (0..self.len()).step_by(rows) {
            let mut group = table.next_row_group()?;
            self.write_columns(start..(start + rows).min(self.len()), &mut group)?;
            group.close()?;
        }
        table.close()?;
        Ok(())
    }

    fn write_columns<W: Write + Send>(
        &self,
        rows: std::ops::Range<usize>,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<(), ParquetError> {
        let missing = || ParquetError::General("a column of the schema is missing".to_owned());
        let mut column = group.next_column()?.ok_or_else(missing)?;
        let paths: Vec<ByteArray> = self.names[rows.clone()].iter().map(|name| name.as_str().into()).collect();
        column.typed::<ByteArrayType>().write_batch(&paths, None, None)?;
        column.close()?;

        let mut column = group.next_column()?.ok_or_else(missing)?;
        let labels = &self.true_labels[rows.clone()];
        let known: Vec<i64> = labels.iter().flatten().map(|&label| i64::from(label)).collect();
        let present: Vec<i16> = labels.iter().map(|label| i16::from(label.is_some())).collect();
        column.typed::<Int64Type>().write_batch(&known, Some(&present), None)?;
        column.close()?;

        let mut column = group.next_column()?.ok_or_else(missing)?;
        // Definition 1: the list has this element. Repetition 0: the element begins a new list.
        let values = &self.values[rows.start * self.dim..rows.end * self.dim];
        if self.dim == 0 {
            column.typed::<FloatType>().write_batch(&[], Some(&vec![0; rows.len()]), Some(&vec![0; rows.len()]))?;
        } else {
            let repetition: Vec<i16> = (0..values.len()).map(|place| i16::from(place % self.dim != 0)).collect();
            column.typed::<FloatType>().write_batch(values, Some(&vec![1; values.len()]), Some(&repetition))?;
        }
        column.close()
    }
}

/// About as many feature values are in a row group; it is what must be held beside the features while writing.
const GROUP_VALUES: usize = 1 << 22;

/// Writes beside `path` and renames, so that nobody ever sees half a file.
pub(crate) fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), String>,
) -> Result<(), EvalError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".partial-");
    #[cfg(unix)]
    {
        // As any other new file, and not for its owner alone: the system takes away what its umask says.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let failed = |error: std::io::Error| EvalError::write(path, error);
    // The temporary file removes itself where anything below fails.
    let temporary = builder.tempfile_in(folder).map_err(failed)?;
    let mut buffered = BufWriter::new(temporary.as_file());
    write(&mut buffered).map_err(|reason| EvalError::write(path, reason))?;
    buffered.flush().map_err(failed)?;
    drop(buffered);
    temporary.as_file().sync_all().map_err(failed)?;
    temporary.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
