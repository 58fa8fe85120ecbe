//! Parquet files in the Hugging Face layout: encoded images in a binary column, labels in another.

use std::fs::File;
use std::path::{Path, PathBuf};

use ::parquet::basic::{ConvertedType, Type};
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::{ByteArray, ByteArrayType, DataType};
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

use crate::list::labels_from_words;
use crate::{DataError, Dataset, Image, decode};

/// The rows of one or more parquet files, in order. The encoded images are kept in memory.
///
/// The image column is a struct of `bytes` and `path` or a binary column; the label column holds integers or strings.
/// Class names come from the Hugging Face metadata where they are there.
pub struct Parquet {
    images: Vec<Option<ByteArray>>,
    names: Vec<String>,
    labels: Vec<Option<u32>>,
    class_names: Vec<String>,
}

impl Parquet {
    /// Reads the files. An empty column name means: find it. The label column is looked for among `label`, `labels`,
    /// `fine_label` and `class`, and may be absent; a label column given by name must be there.
    ///
    /// # Errors
    /// Where a file cannot be read, or lacks a column; the message lists the columns that there are.
    pub fn open(files: &[PathBuf], image_column: &str, label_column: &str) -> Result<Self, DataError> {
        let mut all = Self { images: Vec::new(), names: Vec::new(), labels: Vec::new(), class_names: Vec::new() };
        let mut words: Vec<Option<String>> = Vec::new();
        for path in files {
            all.append(path, image_column, label_column, &mut words)?;
        }
        if all.images.is_empty() {
            let nowhere = Path::new("");
            return Err(DataError::empty(files.first().map_or(nowhere, PathBuf::as_path), "no rows"));
        }
        let (labels, numbered) = labels_from_words(&words);
        let n_classes = labels.iter().flatten().max().map_or(0, |&largest| largest as usize + 1);
        all.labels = labels;
        // The metadata's names are right only for labels that are their numbers.
        let are_numbers = words.iter().flatten().all(|word| word.parse::<u32>().is_ok());
        if all.class_names.len() < n_classes || !are_numbers {
            all.class_names = numbered;
        }
        Ok(all)
    }

    fn append(
        &mut self,
        path: &Path,
        image_column: &str,
        label_column: &str,
        words: &mut Vec<Option<String>>,
    ) -> Result<(), DataError> {
        let broken = |error: ParquetError| DataError::malformed(path, error.to_string());
        let file = File::open(path).map_err(|error| DataError::read(path, error))?;
        let reader = SerializedFileReader::new(file).map_err(broken)?;
        let metadata = reader.metadata().file_metadata();
        let columns = Columns::find(path, metadata.schema_descr(), image_column, label_column)?;
        if self.class_names.is_empty() {
            let values = metadata.key_value_metadata();
            let hugging_face = values.into_iter().flatten().find(|entry| entry.key == "huggingface");
            let text = hugging_face.and_then(|entry| entry.value.as_deref()).unwrap_or_default();
            self.class_names = class_names_from_metadata(text, &columns.label_name);
        }
        let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut row_in_file = 0;
        for group in 0..reader.num_row_groups() {
            let group = reader.get_row_group(group).map_err(broken)?;
            let rows = group.metadata().num_rows() as usize;
            let column = |leaf: usize| group.get_column_reader(leaf);
            let images = column(columns.image).and_then(|column| read_bytes(column, rows)).map_err(broken)?;
            let paths = match columns.path {
                Some(leaf) => column(leaf).and_then(|column| read_bytes(column, rows)).map_err(broken)?,
                None => Vec::new(),
            };
            let labels = match columns.label {
                Some(leaf) => column(leaf).and_then(|column| read_words(column, rows)).map_err(broken)?,
                None => vec![None; rows],
            };
            if images.len() != rows || labels.len() != rows {
                return Err(DataError::malformed(path, format!("a row group of {rows} rows ends early")));
            }
            for row in 0..rows {
                let named = paths.get(row).and_then(Option::as_ref).and_then(|bytes| bytes.as_utf8().ok());
                let numbered = || format!("{file_name}#{}", row_in_file + row);
                self.names.push(named.filter(|name| !name.is_empty()).map_or_else(numbered, str::to_owned));
            }
            self.images.extend(images);
            words.extend(labels);
            row_in_file += rows;
        }
        Ok(())
    }
}

impl Dataset for Parquet {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        let image = self.images.get(index).ok_or(DataError::OutOfRange { index, len: self.images.len() })?;
        match image {
            Some(bytes) => decode(&self.names[index], bytes.data()),
            None => Err(DataError::undecodable(&self.names[index], "the image column is null in this row")),
        }
    }

    fn true_label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied().flatten()
    }

    fn name(&self, index: usize) -> String {
        self.names.get(index).cloned().unwrap_or_else(|| format!("#{index}"))
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }
}

/// Which leaf columns hold what.
struct Columns {
    image: usize,
    path: Option<usize>,
    label: Option<usize>,
    label_name: String,
}

impl Columns {
    fn find(path: &Path, schema: &SchemaDescriptor, image: &str, label: &str) -> Result<Self, DataError> {
        let leaves = schema.columns();
        let name_of = |leaf: &ColumnDescriptor| leaf.path().string();
        let flat_leaf =
            |wanted: &str| leaves.iter().position(|leaf| name_of(leaf) == wanted && leaf.max_rep_level() == 0);
        let listing = || leaves.iter().map(|leaf| name_of(leaf)).collect::<Vec<_>>().join(", ");
        let missing = |what: &str, setting: &str| {
            let reason = format!("no {what}; the columns are {}; name it by `{setting}`", listing());
            DataError::malformed(path, reason)
        };

        let image = if image.is_empty() {
            let usable: Vec<usize> = (0..leaves.len()).filter(|&leaf| may_be_image(&leaves[leaf])).collect();
            let in_struct = usable.iter().find(|&&leaf| name_of(&leaves[leaf]).ends_with(".bytes"));
            let by_name =
                usable.iter().find(|&&leaf| ["image", "img", "bytes"].contains(&name_of(&leaves[leaf]).as_str()));
            let only = (usable.len() == 1).then(|| &usable[0]);
            *in_struct.or(by_name).or(only).ok_or_else(|| {
                missing("image column (a struct of bytes and path, or a binary column)", "image_column")
            })?
        } else {
            flat_leaf(&format!("{image}.bytes"))
                .or_else(|| flat_leaf(image))
                .filter(|&leaf| leaves[leaf].physical_type() == Type::BYTE_ARRAY)
                .ok_or_else(|| missing(&format!("column `{image}` with the images' bytes"), "image_column"))?
        };
        let image_name = name_of(&leaves[image]);
        let sibling = image_name.strip_suffix("bytes").and_then(|parent| flat_leaf(&format!("{parent}path")));
        let sibling = sibling.filter(|&leaf| leaves[leaf].physical_type() == Type::BYTE_ARRAY);

        let label = if label.is_empty() {
            ["label", "labels", "fine_label", "class"].iter().find_map(|name| flat_leaf(name))
        } else {
            Some(flat_leaf(label).ok_or_else(|| missing(&format!("label column `{label}`"), "label_column"))?)
        };
        if let Some(leaf) = label
            && !matches!(leaves[leaf].physical_type(), Type::INT32 | Type::INT64 | Type::BYTE_ARRAY | Type::BOOLEAN)
        {
            let reason = format!("label column `{}` holds neither integers nor strings", name_of(&leaves[leaf]));
            return Err(DataError::malformed(path, reason));
        }
        let label_name = label.map_or_else(String::new, |leaf| name_of(&leaves[leaf]));
        Ok(Self { image, path: sibling, label, label_name })
    }
}

/// Bytes that are not text, one a row.
fn may_be_image(leaf: &ColumnDescriptor) -> bool {
    leaf.physical_type() == Type::BYTE_ARRAY
        && leaf.converted_type() == ConvertedType::NONE
        && leaf.max_rep_level() == 0
}

fn read_bytes(column: ColumnReader, rows: usize) -> Result<Vec<Option<ByteArray>>, ParquetError> {
    match column {
        ColumnReader::ByteArrayColumnReader(reader) => read_values::<ByteArrayType>(reader, rows),
        _ => Err(ParquetError::General("not a binary column".to_owned())),
    }
}

/// Labels as words, so that numbers and names take the same way. A negative number means: no label.
fn read_words(column: ColumnReader, rows: usize) -> Result<Vec<Option<String>>, ParquetError> {
    fn to_words<T>(values: Vec<Option<T>>, word: impl Fn(T) -> Option<String>) -> Vec<Option<String>> {
        values.into_iter().map(|value| value.and_then(&word)).collect()
    }
    let number = |value: i64| (value >= 0).then(|| value.to_string());
    Ok(match column {
        ColumnReader::Int32ColumnReader(reader) => {
            to_words(read_values(reader, rows)?, |value: i32| number(value.into()))
        }
        ColumnReader::Int64ColumnReader(reader) => to_words(read_values(reader, rows)?, number),
        ColumnReader::BoolColumnReader(reader) => {
            to_words(read_values(reader, rows)?, |value: bool| number(value.into()))
        }
        ColumnReader::ByteArrayColumnReader(reader) => {
            let text = |value: ByteArray| value.as_utf8().ok().map(str::to_owned);
            to_words(read_values::<ByteArrayType>(reader, rows)?, text)
        }
        _ => return Err(ParquetError::General("the label column holds neither integers nor strings".to_owned())),
    })
}

/// All values of a column chunk without repetition, `None` for nulls at any level.
fn read_values<T: DataType>(mut reader: ColumnReaderImpl<T>, rows: usize) -> Result<Vec<Option<T::T>>, ParquetError> {
    let mut values = Vec::new();
    let mut levels = Vec::new();
    while reader.read_records(rows, Some(&mut levels), None, &mut values)?.0 > 0 {}
    if levels.is_empty() {
        return Ok(values.into_iter().map(Some).collect());
    }
    // A value is there exactly where the level is the column's highest; where there is any value, one is the highest.
    let highest = if values.is_empty() { i16::MAX } else { levels.iter().copied().max().unwrap_or(i16::MAX) };
    let mut values = values.into_iter();
    Ok(levels.into_iter().map(|level| if level == highest { values.next() } else { None }).collect())
}

/// `features.<column>.names` of the Hugging Face metadata; empty where there is none.
fn class_names_from_metadata(text: &str, column: &str) -> Vec<String> {
    let parsed: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let names = parsed.pointer(&format!("/info/features/{column}/names")).and_then(serde_json::Value::as_array);
    names.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}
