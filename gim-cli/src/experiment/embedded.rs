//! The small datasets that the program carries within itself, so that a copied binary can show that it
//! works. They are unpacked once into the user's cache folder.

use std::fs;
use std::path::{Path, PathBuf};

use gim_core::files::{create_folder, hex};
use gim_core::{Error, Result};
use include_dir::{Dir, include_dir};
use sha2::{Digest, Sha256};

use crate::experiment::cache_folder::cache_folder;

static SPEECH_MINI: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/assets/speech-mini");
static SPEECHOCEAN_MINI: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/assets/speechocean-mini");
static FASHION_MINI: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/assets/fashion-mini");

/// A dataset within the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Embedded {
    /// Synthetic speech of 16 speakers, 12 minutes.
    SyntheticSpeech,
    /// Recorded speech of 16 speakers, 9 minutes.
    RecordedSpeech,
    /// Ten classes of clothes, images of 28 × 28 pixels.
    Clothes,
}

impl Embedded {
    /// Its folder in `data/`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SyntheticSpeech => "speech-mini",
            Self::RecordedSpeech => "speechocean-mini",
            Self::Clothes => "fashion-mini",
        }
    }

    fn dir(self) -> &'static Dir<'static> {
        match self {
            Self::SyntheticSpeech => &SPEECH_MINI,
            Self::RecordedSpeech => &SPEECHOCEAN_MINI,
            Self::Clothes => &FASHION_MINI,
        }
    }

    /// The folder that holds the dataset's files, unpacked if they are not there yet or not whole.
    ///
    /// # Errors
    /// When the cache folder cannot be written.
    pub(crate) fn unpack(self) -> Result<PathBuf> {
        self.unpack_below(&cache_folder())
    }

    fn unpack_below(self, cache: &Path) -> Result<PathBuf> {
        let files = all_files(self.dir());
        // Programs of different versions may carry different files.
        let version = cache.join(digest(&files));
        let folder = version.join(self.name());
        if is_whole(&folder, &files) {
            return Ok(folder);
        }
        create_folder(&version).map_err(|e| match e {
            Error::File { path, what, remedy, source } => {
                let remedy = format!("{remedy}, or set XDG_CACHE_HOME to a folder of yours");
                Error::File { path, what, remedy, source }
            }
            e => e,
        })?;
        let failed = |what: &'static str| move |e: std::io::Error| Error::io(&version, what, e);
        let fresh = tempfile::tempdir_in(folder.parent().unwrap_or(cache)).map_err(failed("make a folder"))?;
        for (path, bytes) in &files {
            let path = fresh.path().join(path);
            create_folder(path.parent().unwrap_or(cache))?;
            fs::write(&path, bytes).map_err(|e| Error::io(&path, "unpack the embedded dataset", e))?;
        }
        if folder.exists() && !is_whole(&folder, &files) {
            fs::remove_dir_all(&folder).map_err(|e| Error::io(&folder, "replace a damaged copy", e))?;
        }
        match fs::rename(fresh.path(), &folder) {
            // Another process was faster: its files are the same.
            Err(_) if is_whole(&folder, &files) => Ok(folder),
            renamed => renamed.map(|()| folder.clone()).map_err(|e| Error::io(&folder, "put the dataset in place", e)),
        }
    }
}

type Files = Vec<(&'static Path, &'static [u8])>;

fn all_files(dir: &'static Dir<'static>) -> Files {
    let own = dir.files().map(|f| (f.path(), f.contents()));
    own.chain(dir.dirs().flat_map(all_files)).collect()
}

/// Of the list of checksums that each dataset carries: it stands for the data files.
fn digest(files: &Files) -> String {
    let sums = files.iter().find(|(path, _)| path.ends_with("SHA256SUMS")).map_or(&[][..], |f| f.1);
    hex(&Sha256::digest(sums)[..8])
}

/// Whether all files are there at their lengths.
fn is_whole(folder: &Path, files: &Files) -> bool {
    files.iter().all(|(path, bytes)| fs::metadata(folder.join(path)).is_ok_and(|m| m.len() == bytes.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_unpacked_once_and_repaired() {
        let cache = tempfile::tempdir().unwrap();
        let folder = Embedded::Clothes.unpack_below(cache.path()).unwrap();
        assert!(folder.ends_with("fashion-mini"));
        let classes = folder.join("classes.txt");
        let text = fs::read(&classes).unwrap();
        let made = fs::metadata(&classes).unwrap().modified().unwrap();
        assert_eq!(Embedded::Clothes.unpack_below(cache.path()).unwrap(), folder);
        assert_eq!(fs::metadata(&classes).unwrap().modified().unwrap(), made, "unpacked a second time");

        fs::write(&classes, "cut").unwrap();
        fs::remove_file(folder.join("t10k-labels-idx1-ubyte.gz")).unwrap();
        assert_eq!(Embedded::Clothes.unpack_below(cache.path()).unwrap(), folder);
        assert_eq!(fs::read(&classes).unwrap(), text);
        let left = fs::read_dir(folder.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "a temporary folder stayed behind");
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_named() {
        let cache = tempfile::NamedTempFile::new().unwrap();
        let e = Embedded::Clothes.unpack_below(cache.path()).unwrap_err().to_string();
        assert!(e.contains(&*cache.path().to_string_lossy()), "{e}");
    }
}
