//! Activations on disk: batches in chunks, written and read beside computing.
//!
//! A store is a folder. `store.json` says what it holds and what that was computed from. Each chunk is
//! a file of its own, which is whole or absent, so a killed writer resumes at the first chunk that is
//! missing. A chunk carries a checksum and the digest of its `store.json`: neither a damaged chunk nor
//! one of another store is ever read.
//!
//! Writing and reading hold one chunk and a few batches in memory, however large the store is.

mod chunk;
mod reader;
mod writer;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use reader::StoreReader;
pub use writer::{StoreWriter, Written};

use crate::activations::Detached;
use crate::files::{create_folder, write_atomic};
use crate::{Error, Result};

/// Version of the format.
pub const FORMAT: u32 = 1;

/// Name of the file that says what a store holds.
const META: &str = "store.json";

/// A batch of items and its labels, which may be empty.
pub type LabeledBatch = (Detached<f32>, Arc<[i32]>);

/// How values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueType {
    /// 4 bytes: the very bits that were computed.
    #[default]
    Float32,
    /// 2 bytes: 11 significant bits, and no value beyond 65,504.
    Float16,
    /// 2 bytes: 8 significant bits, in the range of 32-bit values.
    BFloat16,
}

impl ValueType {
    /// All types.
    pub const ALL: [Self; 3] = [Self::Float32, Self::Float16, Self::BFloat16];

    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Self::Float32 => 4,
            Self::Float16 | Self::BFloat16 => 2,
        }
    }
}

/// What a store holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreMeta {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// How values are stored.
    pub value_type: ValueType,
    /// Level of zstd; 0 for no compression.
    pub zstd: i32,
    /// Batches of the whole store; at least one.
    pub batches: u64,
    /// Batches of a chunk; the last one may have fewer.
    pub batches_per_chunk: u64,
    /// Digests of what it was computed from, by name.
    pub made_from: BTreeMap<String, String>,
}

impl StoreMeta {
    /// Files of the whole store, without `store.json`.
    pub fn chunks(&self) -> u64 {
        self.batches.div_ceil(self.batches_per_chunk.max(1))
    }

    /// Batches of chunk number `n`.
    fn batches_of(&self, n: u64) -> std::ops::Range<u64> {
        let first = n * self.batches_per_chunk;
        first..(first + self.batches_per_chunk).min(self.batches)
    }

    fn text(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|e| Error::internal("store", &e).caused_by(e))
    }

    /// What every chunk carries.
    fn digest(&self) -> Result<[u8; 32]> {
        Ok(Sha256::digest(self.text()?).into())
    }

    /// Reads what the store in `folder` says of itself; `None` where there is no store.
    ///
    /// # Errors
    /// When it is damaged, or of another format.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(META);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(&path, "read the store", e)),
        };
        let remedy = "remove the folder; what it holds is computed again";
        let meta: Self = serde_json::from_slice(&text)
            .map_err(|e| Error::file(&path, format_args!("is damaged: {e}"), remedy).caused_by(e))?;
        if meta.format != FORMAT || meta.batches == 0 || meta.batches_per_chunk == 0 {
            return Err(Error::file(&path, format_args!("is not a store of format {FORMAT}"), remedy));
        }
        Ok(Some(meta))
    }

    /// Begins a store in `folder`, or resumes it. Another store that is there is removed.
    fn begin(&self, folder: &Path) -> Result<()> {
        if Self::read(folder).ok().flatten().as_ref() == Some(self) {
            return Ok(());
        }
        remove(folder)?;
        create_folder(folder)?;
        write_atomic(&folder.join(META), &self.text()?)
    }

    /// Chunks that are there, from the first one on; none of another store.
    pub fn complete_chunks(&self, folder: &Path) -> u64 {
        // A damaged store is as good as none.
        if Self::read(folder).ok().flatten().as_ref() != Some(self) {
            return 0;
        }
        (0..self.chunks()).find(|n| !chunk_file(folder, *n).is_file()).unwrap_or(self.chunks())
    }
}

/// Removes the store in `folder`, if there is one.
///
/// # Errors
/// When the disk refuses.
pub fn remove(folder: &Path) -> Result<()> {
    // First: chunks without it belong to no store.
    let meta = folder.join(META);
    for removed in [fs::remove_file(&meta), fs::remove_dir_all(folder)] {
        match removed {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(folder, "remove a store", e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// File of chunk number `n` (0-based).
fn chunk_file(folder: &Path, n: u64) -> PathBuf {
    folder.join(format!("chunk-{n:08}.bin"))
}
