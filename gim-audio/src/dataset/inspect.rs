//! Reads all files of a corpus before it is used: their lengths, and which are bad.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use gim_core::Result;
use gim_core::data::{FileIndex, all_bad, because, left_out};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::dataset::corpus::Utterance;
use crate::dataset::decode::{self, RATE};
use crate::dataset::standardize::Sums;

/// What is known of an audio file.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Heard {
    /// Its size.
    pub bytes: u64,
    /// Samples at 16 kHz by its header, if that says.
    pub header: Option<usize>,
    /// Its own sample rate, in Hz; none in what older versions kept.
    #[serde(default)]
    pub rate: Option<u32>,
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
        let n = files.len();
        let read: Vec<Result<(usize, u64, u32)>> = files.par_iter().map(|(_, path)| self.one(path)).collect();
        let (mut good, mut bad, mut skipped) = (Vec::new(), Vec::new(), HashSet::new());
        let (mut named, mut rates) = (Vec::new(), BTreeMap::<u32, usize>::new());
        for ((id, path), read) in files.into_iter().zip(read) {
            match read {
                Ok((len, bytes, rate)) => {
                    *rates.entry(rate).or_default() += 1;
                    good.push(Utterance { id, path, speaker: 0, len, bytes });
                }
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
            notes.push(left_out(&named, "audio file", "bad"));
        }
        rates.remove(&RATE);
        if !rates.is_empty() {
            let from: Vec<String> = rates.iter().map(|(rate, files)| format!("{files} from {rate} Hz")).collect();
            let resampled: usize = rates.values().sum();
            notes.push(format!("resampled to {RATE} Hz: {resampled} of {n} audio files, {}", from.join(", ")));
        }
        Ok((good, skipped))
    }

    /// Samples, bytes and sample rate of a file.
    fn one(&self, path: &Path) -> Result<(usize, u64, u32)> {
        let wanted = |heard: &Heard| {
            let decoded = heard.decoded.map(|sums| sums.samples());
            let len = if self.decode { decoded } else { heard.header.or(decoded) };
            Some((len?, heard.bytes, heard.rate?))
        };
        self.index.recall(path, wanted, |known| Heard::read(path, known, self.decode))
    }
}

impl Heard {
    /// Sums over the samples of a file.
    ///
    /// # Errors
    /// As [`decode::decode`].
    pub(super) fn sums(path: &Path, index: &FileIndex<Self>) -> Result<Sums> {
        index.recall(path, |heard| heard.decoded, |known| Self::read(path, known, true))
    }

    /// Reads the header of a file, if that is not `known`. Decodes the file if that is asked for, or the header
    /// does not say its length.
    fn read(path: &Path, known: Option<Self>, decode: bool) -> Result<Self> {
        let heard = match known.filter(|heard| heard.rate.is_some()) {
            Some(heard) => heard,
            None => {
                let info = decode::info(path)?;
                let decoded = known.and_then(|heard| heard.decoded);
                Self { bytes: info.bytes, header: info.len, rate: Some(info.rate), decoded }
            }
        };
        if heard.decoded.is_some() || heard.header.is_some() && !decode {
            return Ok(heard);
        }
        Ok(Self { decoded: Some(Sums::of(&decode::decode(path)?)), ..heard })
    }
}
