//! Compares a fetched folder with its manifest.

use std::path::Path;

use gim_core::{Error, Result};
use serde::Serialize;

use super::manifest::{Manifest, contents, files_in};
use super::registry::Known;
use crate::experiment::progress::Mode;

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) dataset: Known,
    /// Files of the manifest.
    pub(crate) files: usize,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Files that are not there, or not as they were fetched: name and what is wrong.
    pub(crate) bad: Vec<(String, String)>,
    /// Files that the manifest does not know.
    pub(crate) unknown: Vec<String>,
    /// Downloaded files whose checksums were not the published ones.
    pub(crate) not_as_published: Vec<String>,
}

/// Reads all files of a folder.
///
/// # Errors
/// When the folder has no manifest, or cannot be listed.
pub(crate) fn verify(folder: &Path, show: Mode) -> Result<Report> {
    if !folder.is_dir() {
        return Err(Error::file(folder, "there is no such folder", "give a folder that `gim data fetch` made"));
    }
    let Some(manifest) = Manifest::read(folder)? else {
        let what = "it has no list of files (gim-data.json) to compare with";
        return Err(Error::file(folder, what, "give a folder that `gim data fetch` made"));
    };
    let names: Vec<String> = manifest.files.keys().cloned().collect();
    let mut bad = Vec::new();
    for ((name, want), got) in manifest.files.iter().zip(contents(folder, &names, show)) {
        let what = match got {
            Err(Error::File { what, .. }) => what,
            Err(e) => e.to_string(),
            Ok(got) if got.bytes != want.bytes => format!("it has {} bytes instead of {}", got.bytes, want.bytes),
            Ok(got) if got.sha256 != want.sha256 => "its content has changed".to_owned(),
            Ok(_) => continue,
        };
        bad.push((name.clone(), what));
    }
    let unknown = files_in(folder)?.into_iter().filter(|name| !manifest.files.contains_key(name)).collect();
    let sources = manifest.sources.iter().filter(|source| !source.as_published);
    let not_as_published = sources.map(|source| source.name.clone()).collect();
    let (files, bytes) = (manifest.files.len(), manifest.bytes());
    Ok(Report { dataset: manifest.dataset, files, bytes, bad, unknown, not_as_published })
}
