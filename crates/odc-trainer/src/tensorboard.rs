//! Scalars as TensorBoard event files: a record is length, masked CRC-32C, a protobuf `Event`, masked CRC-32C.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::TrainerError;

/// One event file; every process that works on a run adds its own.
pub(crate) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// A new event file in `folder` for a process that starts at `iteration`.
    pub(crate) fn create(folder: &Path, iteration: u64) -> Result<Self, TrainerError> {
        std::fs::create_dir_all(folder).map_err(|error| TrainerError::file("create", folder, error))?;
        let earlier = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
        let name = format!("events.out.tfevents.{:010}.{iteration:09}.odc.{}", seconds() as u64, std::process::id());
        let path = folder.join(name);
        let file = File::create(&path).map_err(|error| TrainerError::file("create", &path, error))?;
        let mut events = Self { path, file };
        // Event { wall_time = 1, file_version = 3 }
        let mut event = Vec::new();
        put_double(&mut event, 1, seconds());
        put_bytes(&mut event, 3, b"brain.Event:2");
        events.record(&event)?;
        if earlier {
            // Event { wall_time = 1, step = 2, session_log = 7 { status = 1: START } } makes TensorBoard drop what
            // an earlier, killed process wrote at this step and later.
            let mut event = Vec::new();
            put_double(&mut event, 1, seconds());
            put_varint_field(&mut event, 2, iteration + 1);
            put_bytes(&mut event, 7, &[0x08, 0x01]);
            events.record(&event)?;
        }
        Ok(events)
    }

    /// Adds scalars at a step.
    pub(crate) fn write(&mut self, step: u64, scalars: &[(&str, f64)]) -> Result<(), TrainerError> {
        // Event { wall_time = 1, step = 2, summary = 5 { value = 1 { tag = 1, simple_value = 2 } } }
        let mut summary = Vec::new();
        for (tag, scalar) in scalars {
            let mut value = Vec::new();
            put_bytes(&mut value, 1, tag.as_bytes());
            put_float(&mut value, 2, *scalar as f32);
            put_bytes(&mut summary, 1, &value);
        }
        let mut event = Vec::new();
        put_double(&mut event, 1, seconds());
        put_varint_field(&mut event, 2, step);
        put_bytes(&mut event, 5, &summary);
        self.record(&event)
    }

    fn record(&mut self, event: &[u8]) -> Result<(), TrainerError> {
        let length = (event.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(event.len() + 16);
        record.extend_from_slice(&length);
        record.extend_from_slice(&masked_crc(&length).to_le_bytes());
        record.extend_from_slice(event);
        record.extend_from_slice(&masked_crc(event).to_le_bytes());
        self.file.write_all(&record).map_err(|error| TrainerError::file("write", &self.path, error))
    }
}

fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// TFRecord's mask keeps a CRC of data that holds CRCs from looking valid.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_varint_field(out: &mut Vec<u8>, field: u64, value: u64) {
    put_varint(out, field << 3);
    put_varint(out, value);
}

fn put_double(out: &mut Vec<u8>, field: u64, value: f64) {
    put_varint(out, field << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_float(out: &mut Vec<u8>, field: u64, value: f32) {
    put_varint(out, field << 3 | 5);
    out.extend_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_record_is_what_tensorflow_writes() {
        // CRC-32C of "123456789" is the check value of its definition; TFRecord masks it by rotation and constant.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(masked_crc(b"123456789"), 0xE306_9283_u32.rotate_right(15).wrapping_add(0xA282_EAD8));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let events = EventFile::create(folder.path(), 0).expect("an event file");
        let bytes = std::fs::read(&events.path).expect("the file");
        // Field 1 as a double, field 3 with 13 bytes: 9 + 2 + 13.
        assert_eq!(bytes[..8], 24_u64.to_le_bytes());
        assert_eq!(bytes[12], 0x09);
        assert!(bytes[12..].windows(13).any(|window| window == b"brain.Event:2"));
        assert_eq!(bytes.len(), 8 + 4 + 24 + 4);
    }

    #[test]
    fn a_second_process_tells_tensorboard_where_it_starts() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        EventFile::create(folder.path(), 0).expect("an event file");
        // Even from iteration 0: the first process may have written before it was killed.
        std::fs::write(folder.path().join("events.out.tfevents.0.earlier"), b"").expect("writes");
        let events = EventFile::create(folder.path(), 0).expect("an event file");
        let bytes = std::fs::read(&events.path).expect("the file");
        // The second record: a double, step 1 as field 2, and field 7 with two bytes, status = START.
        let second = &bytes[8 + 4 + 24 + 4..];
        assert_eq!(second[..8], 15_u64.to_le_bytes());
        assert_eq!(second[12 + 9..12 + 15], [0x10, 1, 0x3A, 2, 0x08, 1]);
    }
}
