//! Reads all files of a corpus before it is used: their lengths, and which are bad.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use gim_core::Result;
use gim_core::data::{FileIndex, Stamp, all_bad, because, left_out};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::dataset::corpus::Utterance;
use crate::dataset::decode;
use crate::dataset::standardize::Sums;

/// What is known of an audio file.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Heard {
    /// Its size.
    pub bytes: u64,
    /// Samples at 16 kHz by its header, if that says.
    pub header: Option<usize>,
    /// Sums over its samples, once it was decoded.
    pub decoded: Option<Sums>,
}

/// How files are inspected.
pub(super) struct Inspect<'a> {
    /// Decode them, instead of reading their headers.
    pub decode: bool,
    /// Leave bad ones out.
    pub skip_bad: bool,
    /// What is known of them.
    pub index: &'a FileIndex<Heard>,
}

impl Inspect<'_> {
    /// Inspects all files (id, path), in parallel. Gives the utterances, in order, without their
    /// speakers, and the ids of bad ones left out.
    ///
    /// # Errors
    /// When files are bad: all are named. With `skip_bad`, when none is good.
    pub(super) fn all(
        &self,
        root: &Path,
        files: Vec<(String, PathBuf)>,
        notes: &mut Vec<String>,
    ) -> Result<(Vec<Utterance>, HashSet<String>)> {
        let read: Vec<Result<(usize, u64)>> = files.par_iter().map(|(_, path)| self.one(path)).collect();
        let (mut good, mut bad, mut skipped) = (Vec::new(), Vec::new(), HashSet::new());
        let mut named = Vec::new();
        for ((id, path), read) in files.into_iter().zip(read) {
            match read {
                Ok((len, bytes)) => good.push(Utterance { id, path, speaker: 0, len, bytes }),
                Err(e) => {
                    named.push(because(&path.strip_prefix(root).unwrap_or(&path).to_string_lossy(), &e));
                    bad.push(e);
                    skipped.insert(id);
                }
            }
        }
        if good.is_empty() || !self.skip_bad {
            all_bad(root, bad)?;
        }
        if !named.is_empty() {
            notes.push(left_out(&named, "audio files are bad"));
        }
        Ok((good, skipped))
    }

    /// Samples and bytes of a file. What the index lacks is read.
    fn one(&self, path: &Path) -> Result<(usize, u64)> {
        let known = self.index.get(path);
        let stamp = Stamp::of(path);
        let mut heard = match known {
            Some(heard) => heard,
            None => {
                let info = decode::info(path)?;
                Heard { bytes: info.bytes, header: info.len, decoded: None }
            }
        };
        let mut read = known.is_none();
        let len = match (heard.header, heard.decoded) {
            (Some(len), _) if !self.decode => len,
            (_, Some(sums)) => sums.samples(),
            (_, None) => {
                let sums = Sums::of(&decode::decode(path)?);
                heard.decoded = Some(sums);
                read = true;
                sums.samples()
            }
        };
        if read {
            self.index.put(path, stamp, heard);
        }
        Ok((len, heard.bytes))
    }
}
