//! Event files: `TFRecord`s of [`Event`]s, in a folder that TensorBoard reads file by file, by name.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use gim_core::files::create_folder;
use gim_core::{Error, Result};
use prost::Message;

use super::proto::{Event, SessionLog, Summary, Value};

/// TensorBoard reads files whose names hold `tfevents`. A number follows: the folder says the run, and the machine
/// is nobody's business.
const PREFIX: &str = "events.out.tfevents.";
/// What the first record of a file says.
const VERSION: &str = "brain.Event:2";

/// An event file that grows.
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// The next file of a folder, which is made if it is not there.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn create(folder: &Path) -> Result<Self> {
        create_folder(folder)?;
        for n in newest(folder)? + 1.. {
            let path = folder.join(format!("{PREFIX}{n:010}"));
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Ok(file) => {
                    let mut file = Self { path, file };
                    file.append(&[Event { file_version: Some(VERSION.into()), ..event(0) }])?;
                    return Ok(file);
                }
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io(&path, "create", e)),
            }
        }
        unreachable!("there is always a next number")
    }

    /// Whether this is the first file of its folder.
    pub(super) fn is_first(&self) -> bool {
        number(&self.path) == Some(1)
    }

    /// Says that what earlier files have of step `step` and later ones is out of date.
    pub(super) fn start_at(&mut self, step: u64) -> Result<()> {
        self.append(&[Event { session_log: Some(SessionLog { status: super::proto::START }), ..event(step) }])
    }

    /// Appends the values of a step.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn add(&mut self, step: u64, values: Vec<Value>) -> Result<()> {
        if values.is_empty() { Ok(()) } else { self.append(&[summary(step, values)]) }
    }

    /// Appends events at once: a reader meets a part of the last one at most.
    pub(super) fn append(&mut self, events: &[Event]) -> Result<()> {
        let mut bytes = Vec::new();
        events.iter().for_each(|event| push_record(&mut bytes, &event.encode_to_vec()));
        self.file.write_all(&bytes).map_err(|e| Error::io(&self.path, "write the events", e))
    }
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// The values of a step.
pub(super) fn summary(step: u64, value: Vec<Value>) -> Event {
    Event { summary: Some(Summary { value }), ..event(step) }
}

fn event(step: u64) -> Event {
    Event { wall_time: now(), step: step.cast_signed(), ..Event::default() }
}

/// The highest number of a file in the folder; 0 without files.
fn newest(folder: &Path) -> Result<u64> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io(folder, "list", e))?;
    Ok(entries.filter_map(|e| number(&e.ok()?.path())).max().unwrap_or(0))
}

fn number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix(PREFIX)?.parse().ok()
}

/// A record: length, masked CRC of the length, data, masked CRC of the data, all little-endian
/// (TensorFlow, `record_writer.h`).
fn push_record(out: &mut Vec<u8>, data: &[u8]) {
    let length = (data.len() as u64).to_le_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&masked_crc(&length).to_le_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(&masked_crc(data).to_le_bytes());
}

/// CRC-32C, rotated and offset: data that hold CRCs then have CRCs of their own (TensorFlow, `crc32c.h`).
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tensorboard.summary.writer.record_writer.RecordWriter(f).write(b"123456789")`.
    #[test]
    fn records_are_framed_as_tensorflow_frames_them() {
        let mut out = Vec::new();
        push_record(&mut out, b"123456789");
        let hex = gim_core::files::hex(&out);
        assert_eq!(hex, "090000000000000037f97139313233343536373839e5b08ac7");
    }

    #[test]
    fn every_file_has_the_next_number() {
        let folder = tempfile::tempdir().unwrap();
        let first = EventFile::create(folder.path()).unwrap();
        fs::write(folder.path().join("events.out.tfevents.of.another"), "").unwrap();
        let second = EventFile::create(folder.path()).unwrap();
        assert!(first.is_first() && !second.is_first() && first.path < second.path);
    }
}
