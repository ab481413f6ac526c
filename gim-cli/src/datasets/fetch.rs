//! Fetches a dataset: download, check, unpack, arrange, list, and one rename at the end.
//!
//! All is done in a folder beside the dataset's, `NAME.download`. A dataset's folder is therefore whole
//! or absent, and a kill at any time leaves files from which the next call continues.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use gim_core::files::create_folder;
use gim_core::{Error, Result};

use super::archive::{Limits, unpack};
use super::arrange::arrange;
pub(crate) use super::download::Net;
use super::download::{Downloaded, MB, download, enough_space, missing};
use super::manifest::{Manifest, Origin, contents, files_in};
pub(crate) use super::read::Lists;
use super::read::understood;
use super::registry::Dataset;
use crate::experiment::environment::rfc3339;
use crate::experiment::interrupt::Scratch;
use crate::experiment::lock::FolderLock;
use crate::experiment::progress::Progress;

/// What a call did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The dataset was fetched.
    Fetched,
    /// It was there already.
    Present,
    /// It was there already, and these lists were added.
    ListsAdded(Vec<&'static str>),
}

/// How a dataset is fetched.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) dataset: &'static Dataset,
    /// Folder of the dataset.
    pub(crate) out: &'a Path,
    pub(crate) net: Net,
    pub(crate) lists: &'a Lists,
}

impl Plan<'_> {
    /// Fetches the dataset unless it is there. Nothing is downloaded before `consent`. Returns also what
    /// `gim` reads in it, if something was done.
    ///
    /// # Errors
    /// When something else is in its place, consent is not given, the network or a file fails, or the
    /// disk is too small.
    pub(crate) fn run(&self, consent: impl FnOnce() -> Result<()>) -> Result<(Outcome, Vec<String>)> {
        self.lists.check(self.dataset.domain)?;
        if let Some(manifest) = self.present()? {
            return self.add_lists(manifest);
        }
        consent()?;
        let work = self.work_folder()?;
        create_folder(&work)?;
        let _lock = FolderLock::take(&work)?;
        if self.out.is_dir() {
            // It is empty. One that cannot be removed could not be replaced after the download, either.
            fs::remove_dir(self.out).map_err(|e| Error::io(self.out, "replace the empty folder", e))?;
        }
        if !self.net.any_checksum {
            let missing: u64 = self.dataset.files.iter().map(|source| missing(source, &work)).sum();
            enough_space(self.out, missing + self.dataset.unpacked_bytes)?;
        }
        let files = self.dataset.files.iter().map(|source| download(source, &work, &self.net));
        let files: Vec<Downloaded> = files.collect::<Result<_>>()?;

        let (raw, new) = (Unfinished::new(work.join("raw"))?, Unfinished::new(work.join("new"))?);
        self.unpack(&files, raw.path())?;
        create_folder(new.path())?;
        arrange(self.dataset.layout, raw.path(), new.path())?;
        if !self.lists.is_empty() {
            self.lists.add_to(new.path())?;
        }
        let place = |path: &Path| path.display().to_string();
        let understood = understood(self.dataset.domain, new.path())?;
        let understood = understood.iter().map(|line| line.replace(&place(new.path()), &place(self.out))).collect();
        self.manifest(files, new.path())?.write(new.path())?;
        fs::rename(new.path(), self.out).map_err(|e| Error::io(self.out, "put the dataset in place", e))?;
        // What stays behind takes space and does no harm.
        let _ = fs::remove_dir_all(&work);
        Ok((Outcome::Fetched, understood))
    }

    /// The manifest of the dataset, if it is there and whole.
    fn present(&self) -> Result<Option<Manifest>> {
        let (out, name) = (self.out, self.dataset.name);
        let other = |what: String| Err(Error::file(out, what, "choose another folder with --out"));
        let Some(manifest) = Manifest::read(out)? else {
            let empty = match fs::read_dir(out) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => true,
                entries => entries.map_err(|e| Error::io(out, "list the folder", e))?.next().is_none(),
            };
            let what = "is there, and was not made by `gim data fetch`".to_owned();
            return if empty { Ok(None) } else { other(what) };
        };
        if manifest.dataset != name {
            return other(format!("holds {}, not {name}", manifest.dataset));
        }
        if let Some(file) = manifest.first_missing(out) {
            let what = format!("was fetched before, but {file} is not there any more, or of another length");
            return Err(Error::file(out, what, "remove the folder and fetch it again; `gim data verify` says more"));
        }
        Ok(Some(manifest))
    }

    /// Adds lists to a dataset that is there.
    fn add_lists(&self, mut manifest: Manifest) -> Result<(Outcome, Vec<String>)> {
        if self.lists.is_empty() {
            return Ok((Outcome::Present, Vec::new()));
        }
        let _lock = FolderLock::take(self.out)?;
        let added = self.lists.add_to(self.out)?;
        let names: Vec<String> = added.iter().map(ToString::to_string).collect();
        for (name, content) in names.iter().zip(contents(self.out, &names, self.net.show)) {
            manifest.files.insert(name.clone(), content?);
        }
        manifest.write(self.out)?;
        Ok((Outcome::ListsAdded(added), understood(self.dataset.domain, self.out)?))
    }

    /// The folder beside the dataset's in which it is made.
    fn work_folder(&self) -> Result<PathBuf> {
        let name =
            self.out.file_name().ok_or_else(|| Error::file(self.out, "is not the name of a folder", "name one"))?;
        let mut name = OsString::from(name);
        name.push(".download");
        Ok(self.out.with_file_name(name))
    }

    /// Unpacks archives into a folder, and copies other files there.
    fn unpack(&self, files: &[Downloaded], raw: &Path) -> Result<()> {
        create_folder(raw)?;
        let Dataset { unpacked_bytes, unpacked_files, .. } = *self.dataset;
        let limits = Limits { bytes: 2 * unpacked_bytes + 64_000_000, entries: 2 * unpacked_files + 1_000 };
        for (source, file) in self.dataset.files.iter().zip(files) {
            if source.archive {
                let mut progress = Progress::new(file.seen.bytes.div_ceil(MB), "MB", self.net.show);
                unpack(&file.path, raw, limits, |read| {
                    progress.tick(read / MB, || format!("unpacking {}", source.name));
                })?;
                progress.finish(&format!("unpacked {}", source.name));
            } else {
                let to = raw.join(source.name);
                fs::copy(&file.path, &to).map_err(|e| Error::io(&to, "copy the file", e))?;
            }
        }
        Ok(())
    }

    fn manifest(&self, files: Vec<Downloaded>, new: &Path) -> Result<Manifest> {
        let origins = self.dataset.files.iter().zip(files).map(|(source, file)| Origin {
            name: source.name.to_owned(),
            address: file.address,
            as_published: file.seen.differs(source.checksums).is_none(),
            seen: file.seen,
        });
        let names = files_in(new)?;
        let mut all = BTreeMap::new();
        for (name, content) in names.iter().zip(contents(new, &names, self.net.show)) {
            all.insert(name.clone(), content?);
        }
        Ok(Manifest {
            dataset: self.dataset.name,
            license: self.dataset.license.name.to_owned(),
            fetched: rfc3339(SystemTime::now()),
            gim: env!("CARGO_PKG_VERSION").to_owned(),
            sources: origins.collect(),
            files: all,
        })
    }
}

/// A folder that goes when it is not moved away: on an error, or when a signal ends the process.
struct Unfinished {
    path: PathBuf,
    _scratch: Scratch,
}

impl Unfinished {
    /// Removes what a killed process left of the folder, which is not made yet.
    fn new(path: PathBuf) -> Result<Self> {
        match fs::remove_dir_all(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(&path, "remove an unfinished folder", e))
            }
            _ => Ok(Self { _scratch: Scratch::new(&path)?, path }),
        }
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // The next call removes it otherwise.
        let _ = fs::remove_dir_all(&self.path);
    }
}
