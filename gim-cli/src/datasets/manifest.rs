//! What a fetched folder holds: `gim-data.json` in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gim_core::files::write_atomic;
use gim_core::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use super::archive::path_inside;
use super::digest::{Seen, sha256};
use super::registry::Known;
use crate::experiment::lock;
use crate::experiment::progress::{Mode, Progress};

const FILE: &str = "gim-data.json";

/// Where a folder comes from, and all its files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The dataset.
    pub(crate) dataset: Known,
    /// Its license, as accepted.
    pub(crate) license: String,
    /// When it was fetched, UTC.
    pub(crate) fetched: String,
    /// The version of `gim` that fetched it.
    pub(crate) gim: String,
    /// The files that were downloaded.
    pub(crate) sources: Vec<Origin>,
    /// All files but this one, by path below the folder.
    pub(crate) files: BTreeMap<String, Content>,
}

/// A file that was downloaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) name: String,
    pub(crate) address: String,
    /// Whether it has the checksums in the registry. If not, it was taken all the same.
    pub(crate) as_published: bool,
    #[serde(flatten)]
    pub(crate) seen: Seen,
}

/// A file of the dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

impl Manifest {
    /// The manifest of a folder; `None` when it has none.
    ///
    /// # Errors
    /// When it cannot be read, or names files outside of the folder.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        let text = match fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|e| Error::io(&path, "read", e))?,
        };
        let wrong = |what: String| Error::file(&path, what, "fetch the dataset again, into another folder");
        let manifest: Self = serde_json::from_str(&text).map_err(|e| wrong(format!("is damaged: {e}")).caused_by(e))?;
        match manifest.files.keys().find_map(|name| path_inside(name).err()) {
            Some(what) => Err(wrong(what)),
            None => Ok(Some(manifest)),
        }
    }

    /// Writes it into the folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::internal("manifest", &e).caused_by(e))?;
        write_atomic(&folder.join(FILE), text.as_bytes())
    }

    /// The first file that is not there at its length.
    pub(super) fn first_missing(&self, folder: &Path) -> Option<&str> {
        let whole = |(name, content): &(&String, &Content)| {
            fs::metadata(folder.join(name)).is_ok_and(|m| m.is_file() && m.len() == content.bytes)
        };
        self.files.iter().find(|file| !whole(file)).map(|(name, _)| name.as_str())
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.files.values().map(|content| content.bytes).sum()
    }
}

/// Paths of all files of a folder below it, without links and what `gim` itself keeps there.
///
/// # Errors
/// When the folder cannot be listed.
pub(super) fn files_in(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.map_err(|e| Error::file(folder, format_args!("cannot be listed: {e}"), "check the disk"))?;
        let path = entry.path().strip_prefix(folder).unwrap_or(entry.path());
        let parts: Vec<_> = path.components().map(|c| c.as_os_str().to_string_lossy()).collect();
        let name = parts.join("/");
        if entry.file_type().is_file() && name != FILE && name != lock::FILE {
            names.push(name);
        }
    }
    Ok(names)
}

/// Files whose content is read at a time, between two reports.
const TOGETHER: usize = 64;

/// Reads all these files. Those that cannot be read are errors.
pub(super) fn contents(folder: &Path, names: &[String], show: Mode) -> Vec<Result<Content>> {
    let paths: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    let mut progress = Progress::new(paths.len() as u64, "files", show);
    let mut all = Vec::with_capacity(paths.len());
    for some in paths.chunks(TOGETHER) {
        all.par_extend(some.par_iter().map(|path| {
            let bytes = fs::metadata(path).map_err(|e| Error::io(path, "read", e))?.len();
            Ok(Content { bytes, sha256: sha256(path)? })
        }));
        progress.tick(all.len() as u64, || "reading".to_owned());
    }
    all
}
