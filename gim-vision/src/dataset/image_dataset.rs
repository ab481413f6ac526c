//! What an image dataset is, whatever its format.

use std::fmt::{Debug, Display};
use std::fs;
use std::path::{Path, PathBuf};

pub use gim_core::data::split::Split;
use gim_core::{Error, Result};
use sha2::{Digest, Sha256};

use crate::dataset::image::Picture;

/// What to add on the command line to go on without the bad pictures.
pub(crate) const SKIP_BAD: &str = "--skip-bad";

/// How to open a corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CorpusOptions {
    /// Leave bad pictures out, and note which. In class folders these are files that cannot be decoded; to find them, all are
    /// decoded once, otherwise only headers are looked at ([`ImageCorpus::check`] does the rest). In files of records these
    /// are pictures whose label is out of range; they keep their numbers, but are in no split.
    pub skip_bad: bool,
    /// Seed of the 80/20 split made of class folders without one.
    pub seed: u64,
    /// Pictures with a side shorter than this are bad; 0 takes all.
    pub min_side: usize,
}

/// A corpus: what is where, and how to read it. The index of a picture is its place in the order of the corpus.
pub trait ImageCorpus: Send + Sync + Debug {
    /// What was found while opening.
    fn listing(&self) -> &Listing;

    /// A name of a picture that does not depend on where the corpus lies.
    fn id(&self, i: usize) -> String;

    /// The file a picture is in.
    fn file(&self, i: usize) -> &Path;

    /// (height, width) of a picture.
    fn size(&self, i: usize) -> (usize, usize);

    /// The picture itself.
    ///
    /// # Errors
    /// The file is unreadable or damaged, or has changed since the corpus was opened.
    fn read(&self, i: usize) -> Result<Picture>;

    /// Reads all pictures that opening has not, so that a damaged one is found before work rather than in the midst of it. Only
    /// class folders need it: files of records are whole when their lengths are right.
    ///
    /// # Errors
    /// The first picture that cannot be read, and how many others.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The folder it was opened from.
    fn root(&self) -> &Path {
        &self.listing().root
    }

    /// The format, in words.
    fn format(&self) -> &str {
        self.listing().format
    }

    /// SHA-256 (hexadecimal) of the pictures' ids, sizes and labels and the splits; of the bytes of pictures in binary files
    /// up to 64 MiB, and of the sizes of all other files.
    fn digest(&self) -> &str {
        &self.listing().digest
    }

    /// Names of the classes; a label is an index into them.
    fn classes(&self) -> &[String] {
        &self.listing().classes
    }

    /// Number of pictures: of all splits, and those that are in none.
    fn len(&self) -> usize {
        self.listing().labels.len()
    }

    /// Whether there is no picture; [`open`] refuses such a corpus.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Class of a picture, if it is known.
    fn label(&self, i: usize) -> Option<usize> {
        self.listing().labels[i]
    }

    /// Pictures of a split, ascending.
    fn split(&self, split: Split) -> &[usize] {
        let listing = self.listing();
        match split {
            Split::Unlabeled if listing.unlabelled.is_empty() => &listing.train,
            Split::Unlabeled => &listing.unlabelled,
            Split::Train => &listing.train,
            Split::Test => &listing.test,
        }
    }

    /// Predefined folds: parts of the training split. Only STL-10 has them: ten of 1,000 pictures, for classifiers trained on
    /// one at a time and tested on the whole test set, whose mean accuracy is reported (Coates, Lee, Ng 2011). The program does
    /// not use them: like Greedy InfoMax's authors, it trains its probes on all labelled pictures.
    fn folds(&self) -> &[Vec<usize>] {
        &self.listing().folds
    }

    /// What was decided or left out while opening, for the user to read.
    fn notes(&self) -> &[String] {
        &self.listing().notes
    }
}

/// What every corpus knows about its pictures.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    pub(super) root: PathBuf,
    pub(super) format: &'static str,
    pub(super) classes: Vec<String>,
    pub(super) labels: Vec<Option<usize>>,
    pub(super) unlabelled: Vec<usize>,
    pub(super) train: Vec<usize>,
    pub(super) test: Vec<usize>,
    pub(super) folds: Vec<Vec<usize>>,
    pub(super) notes: Vec<String>,
    pub(super) digest: String,
}

impl Listing {
    /// Finishes `hash`, which has seen the files, with labels, classes and splits.
    pub(super) fn seal(&mut self, mut hash: Sha256) {
        hash.update(format!("{}\n{}\n", self.format, self.classes.join("\n")));
        for label in &self.labels {
            hash.update(label.map_or(u64::MAX, |l| l as u64).to_le_bytes());
        }
        for split in [&self.unlabelled, &self.train, &self.test].into_iter().chain(&self.folds) {
            hash.update((split.len() as u64).to_le_bytes());
            for &i in split {
                hash.update((i as u64).to_le_bytes());
            }
        }
        self.digest = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    }
}

/// Names of classes, one a line, or numbers and a note if the file is not there.
pub(super) fn class_names(path: &Path, n: usize, notes: &mut Vec<String>) -> Result<Vec<String>> {
    if !path.exists() {
        notes.push(format!("there is no {}: classes are named by number", path.display()));
        return Ok((0..n).map(|c| c.to_string()).collect());
    }
    let text = fs::read_to_string(path).map_err(|e| Error::io(path, "read", &e))?;
    let names: Vec<String> = text.lines().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect();
    if names.len() != n {
        let what = format!("it names {} classes, but there are {n}", names.len());
        return Err(Error::file(path, what, "write one class a line"));
    }
    Ok(names)
}

/// The same error with leaving bad pictures out as a remedy.
pub(super) fn or_skip(e: Error, more: usize) -> Error {
    match e {
        Error::File { path, what, remedy } => {
            let what = if more > 0 { format!("{what}; bad pictures besides it: {more}") } else { what };
            Error::file(path, what, format_args!("{remedy}; or leave bad pictures out with {SKIP_BAD}"))
        }
        other => other,
    }
}

/// "n things are left out: a, b, c"
pub(super) fn left_out(what: &[String], are: &str) -> String {
    format!("{} {are} and left out: {}", what.len(), what.join(", "))
}

/// A copy of a file that can mend what is wrong with it.
pub(super) fn again(path: &Path, what: impl Display) -> Error {
    Error::file(path, what, "download or unpack the file again")
}
