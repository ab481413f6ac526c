//! Corpora of pictures, in the formats they are published in; [`open`] tells which one a folder holds.
//!
//! | format | files |
//! |---|---|
//! | STL-10 | `train_X.bin train_y.bin test_X.bin test_y.bin`, optional `unlabeled_X.bin class_names.txt fold_indices.txt` |
//! | CIFAR-10 | `data_batch_1.bin` … `data_batch_5.bin test_batch.bin`, optional `batches.meta.txt` |
//! | CIFAR-100 | `train.bin test.bin`, optional `fine_label_names.txt` |
//! | IDX (MNIST's) | `train-images-idx3-ubyte train-labels-idx1-ubyte t10k-…`, `.gz` or not, optional `classes.txt` |
//! | class folders | `train/<class>/*` and `test/` or `val/`, or `<class>/*`: JPEG and PNG of any size |

mod cifar;
mod folders;
mod idx;
mod records;
mod stl10;

use std::fmt::{Debug, Display};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gim_core::{Error, Result};
use sha2::{Digest, Sha256};

use crate::picture::Picture;

/// What to add on the command line to go on without the bad pictures.
pub(crate) const SKIP_BAD: &str = "--skip-bad";

/// Which pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// To train on without labels: the part that has none, or without such a part the same as [`Train`](Self::Train).
    Unlabelled,
    /// To train on with labels.
    Train,
    /// To test on.
    Test,
}

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
            Split::Unlabelled if listing.unlabelled.is_empty() => &listing.train,
            Split::Unlabelled => &listing.unlabelled,
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
    root: PathBuf,
    format: &'static str,
    classes: Vec<String>,
    labels: Vec<Option<usize>>,
    unlabelled: Vec<usize>,
    train: Vec<usize>,
    test: Vec<usize>,
    folds: Vec<Vec<usize>>,
    notes: Vec<String>,
    digest: String,
}

impl Listing {
    /// Finishes `hash`, which has seen the files, with labels, classes and splits.
    fn seal(&mut self, mut hash: Sha256) {
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

/// Opens the corpus in a folder, whatever format it has; see the [module](self).
///
/// # Errors
/// No such folder, or nothing in it that is a corpus; a file that is missing, damaged, of the wrong length, or does not fit
/// the others; a label out of range; a class without pictures; a picture smaller than `options.min_side`; a folder that links
/// count twice. Bad pictures are no error with `options.skip_bad`, unless no other is left.
pub fn open(root: &Path, options: &CorpusOptions) -> Result<Arc<dyn ImageCorpus>> {
    if !root.is_dir() {
        let what = if root.exists() { "is not a folder" } else { "there is no such folder" };
        return Err(Error::file(root, what, "give the folder that holds the corpus"));
    }
    // The archives of STL-10 and CIFAR unpack into a folder of their own.
    let inner = ["", "stl10_binary", "cifar-10-batches-bin", "cifar-100-binary"].map(|name| root.join(name));
    for dir in &inner {
        if stl10::is_at(dir) {
            return Ok(Arc::new(stl10::open(dir, options)?));
        }
        if cifar::is_10_at(dir) {
            return Ok(Arc::new(cifar::open_10(dir, options)?));
        }
        if cifar::is_100_at(dir) {
            return Ok(Arc::new(cifar::open_100(dir, options)?));
        }
    }
    if idx::is_at(root) {
        return Ok(Arc::new(idx::open(root, options)?));
    }
    Ok(Arc::new(folders::open(root, options)?))
}

/// Names of classes, one a line, or numbers and a note if the file is not there.
fn class_names(path: &Path, n: usize, notes: &mut Vec<String>) -> Result<Vec<String>> {
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
fn or_skip(e: Error, more: usize) -> Error {
    match e {
        Error::File { path, what, remedy } => {
            let what = if more > 0 { format!("{what}; bad pictures besides it: {more}") } else { what };
            Error::file(path, what, format_args!("{remedy}; or leave bad pictures out with {SKIP_BAD}"))
        }
        other => other,
    }
}

/// "n things are left out: a, b, c"
fn left_out(what: &[String], are: &str) -> String {
    format!("{} {are} and left out: {}", what.len(), what.join(", "))
}

/// A copy of a file that can mend what is wrong with it.
fn again(path: &Path, what: impl Display) -> Error {
    Error::file(path, what, "download or unpack the file again")
}
