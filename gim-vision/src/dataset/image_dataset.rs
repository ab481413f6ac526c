//! The interface of image datasets, common to all formats.

use std::fmt::{Debug, Display};
use std::path::{Path, PathBuf};

pub use gim_core::data::Split;
use gim_core::data::{Columns, LabelName, Lines, or_skip};
use gim_core::files::hex;
use gim_core::{Error, Result};
use sha2::{Digest, Sha256};

use crate::dataset::image::Image;

/// The label of an image whose class is unknown.
pub const UNKNOWN: i32 = -1;

/// How to open a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DatasetOptions {
    /// Leave bad images out, and note which.
    ///
    /// - In class folders, files that cannot be decoded are bad. To find them, all files are
    ///   decoded once; without this option only headers are read, and [`ImageDataset::check`] does
    ///   the rest.
    /// - In files of records, images whose label is out of range are bad. They keep their indices,
    ///   but are in no split.
    pub skip_bad: bool,
    /// Seed of the 80/20 split that is drawn for class folders without a split.
    pub seed: u64,
    /// Images with a side shorter than this, in pixels, are bad; 0 takes all.
    pub min_side: usize,
    /// Images are resized so that their shorter side is this, in pixels; 0 leaves them as they are.
    /// Images that have more than [`MOST_PIXELS`](super::image::MOST_PIXELS) then are bad.
    pub short_side: usize,
    /// File that keeps what was learned of image files in folders, so that those that have not changed are
    /// not read again at the next start ([`FileIndex`](gim_core::data::FileIndex)).
    pub index: Option<PathBuf>,
    /// A table of the image files, if not the whole folder is meant.
    pub manifest: Option<PathBuf>,
    /// Table of labels by column, if not `labels.csv` in the folder.
    pub columns: Option<PathBuf>,
}

/// A dataset of labeled or unlabeled images. Images are read on request; functions take their
/// indices, 0 to [`len`](Self::len).
pub trait ImageDataset: Send + Sync + Debug {
    /// Labels, splits and other facts found while opening.
    fn listing(&self) -> &Listing;

    /// Name of an image; it does not depend on the dataset's folder.
    fn id(&self, i: usize) -> String;

    /// The file an image is in.
    fn file(&self, i: usize) -> &Path;

    /// (height, width) of an image.
    fn size(&self, i: usize) -> (usize, usize);

    /// Reads an image.
    ///
    /// # Errors
    /// When the file is unreadable or damaged, or has changed since the dataset was opened.
    fn read(&self, i: usize) -> Result<Image>;

    /// Reads all images that opening has not read, so that damaged ones are found before training.
    /// Only class folders need it: files of records are complete when their lengths are right.
    ///
    /// # Errors
    /// When images cannot be read. The error names them all.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The folder that the dataset was opened from.
    fn root(&self) -> &Path {
        &self.listing().root
    }

    /// Name of the format.
    fn format(&self) -> &str {
        self.listing().format
    }

    /// SHA-256 (hexadecimal) of ids, sizes and labels of the images, of the splits, of the content
    /// of binary files up to 64 MiB, and of the sizes of all other files.
    fn digest(&self) -> &str {
        &self.listing().digest
    }

    /// Names of the classes; a label is an index into them.
    fn classes(&self) -> &[String] {
        &self.listing().classes
    }

    /// Number of images, in a split or not.
    fn len(&self) -> usize {
        self.listing().labels.len()
    }

    /// Whether there are no images; opening such a dataset is an error.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Class of an image, if it is known.
    fn label(&self, i: usize) -> Option<usize> {
        self.listing().labels[i]
    }

    /// Class of an image in a column, or without one its class in the dataset; −1 where it is unknown.
    fn label_in(&self, i: usize, column: Option<LabelName>) -> i32 {
        match column {
            Some(name) => self.columns().get(name).map_or(UNKNOWN, |column| column.labels[i]),
            None => self.label(i).map_or(UNKNOWN, |class| class as i32),
        }
    }

    /// Labels of images by column.
    fn columns(&self) -> &Columns {
        &self.listing().columns
    }

    /// Images of a split, ascending.
    fn split(&self, split: Split) -> &[usize] {
        let listing = self.listing();
        match split {
            Split::Unlabeled if listing.unlabeled.is_empty() => &listing.train,
            Split::Unlabeled => &listing.unlabeled,
            Split::Train => &listing.train,
            Split::Test => &listing.test,
        }
    }

    /// Predefined folds: parts of the training split. Only STL-10 has them: ten of 1,000 images. A
    /// classifier is trained on each and tested on the whole test set; the mean accuracy is
    /// reported (Coates, Lee, Ng 2011). As in the paper, probes here do not use them: they are
    /// trained on all labeled images.
    fn folds(&self) -> &[Vec<usize>] {
        &self.listing().folds
    }

    /// What the dataset was understood to hold: format, classes, images by split.
    fn summary(&self) -> String {
        let listing = self.listing();
        let names = &listing.classes;
        let classes = match names.len() {
            0 => "no classes".to_owned(),
            n => {
                let some: Vec<&str> = names.iter().take(10).map(String::as_str).collect();
                let more = if n > some.len() { ", …" } else { "" };
                format!("{n} {} ({}{more})", if n == 1 { "class" } else { "classes" }, some.join(", "))
            }
        };
        let (train, test, bare) = (listing.train.len(), listing.test.len(), listing.unlabeled.len());
        let mut used: Vec<usize> =
            listing.train.iter().chain(&listing.test).chain(&listing.unlabeled).copied().collect();
        used.sort_unstable();
        let columns = self.columns().summary(&used).map_or(String::new(), |columns| format!("; {columns}"));
        format!("{}: {classes}; {train} images to train, {test} to test, {bare} unlabeled{columns}", listing.format)
    }

    /// What was decided or left out while opening, for the user to read.
    fn notes(&self) -> &[String] {
        &self.listing().notes
    }
}

/// Labels, splits and other facts that every dataset knows about its images.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    pub(super) root: PathBuf,
    pub(super) format: &'static str,
    pub(super) classes: Vec<String>,
    pub(super) labels: Vec<Option<usize>>,
    pub(super) columns: Columns,
    pub(super) unlabeled: Vec<usize>,
    pub(super) train: Vec<usize>,
    pub(super) test: Vec<usize>,
    pub(super) folds: Vec<Vec<usize>>,
    pub(super) notes: Vec<String>,
    pub(super) digest: String,
}

impl Listing {
    /// Adds labels, classes and splits to `hash`, which has already seen the files, and stores the
    /// digest.
    pub(super) fn seal(&mut self, mut hash: Sha256) {
        hash.update(format!("{}\n{}\n", self.format, self.classes.join("\n")));
        for label in &self.labels {
            hash.update(label.map_or(u64::MAX, |l| l as u64).to_le_bytes());
        }
        for split in [&self.unlabeled, &self.train, &self.test].into_iter().chain(&self.folds) {
            hash.update((split.len() as u64).to_le_bytes());
            for &i in split {
                hash.update((i as u64).to_le_bytes());
            }
        }
        self.digest = hex(hash.finalize());
    }
}

/// Reads names of classes, one a line. Without the file, classes are named by number, with a note.
pub(super) fn class_names(path: &Path, n: usize, notes: &mut Vec<String>) -> Result<Vec<String>> {
    if !path.exists() {
        notes.push(format!("there is no {}: classes are named by number", path.display()));
        return Ok((0..n).map(|c| c.to_string()).collect());
    }
    let names: Vec<String> = Lines::read(path)?.rows().map(|(_, name)| name.to_owned()).collect();
    if names.len() != n {
        let what = format!("it names {} classes, but there are {n}", names.len());
        return Err(Error::file(path, what, "write one class a line"));
    }
    Ok(names)
}

/// The same error, with the remedy to leave bad images out, and how many more there are.
pub(super) fn or_skip_all(e: Error, more: usize) -> Error {
    or_skip(match e {
        Error::File { path, what, remedy, source } if more > 0 => {
            Error::File { path, what: format!("{what}; bad images besides it: {more}"), remedy, source }
        }
        other => other,
    })
}

/// An error that a fresh copy of the file fixes.
pub(super) fn again(path: &Path, what: impl Display) -> Error {
    Error::file(path, what, "download or unpack the file again")
}
