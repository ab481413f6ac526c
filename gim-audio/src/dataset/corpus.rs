//! Speech corpora in the layout of LibriSpeech.
//!
//! ```text
//! root/<any folders>/<speaker>-<chapter>-<utterance>.flac   (or .wav)
//! root/train_split.txt, test_split.txt                      one utterance a line
//! root/phone_labels.txt, phones.txt                         optional
//! ```

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

pub use gim_core::data::Split;
use gim_core::data::draw_fifth;
use gim_core::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::dataset::decode;
use crate::dataset::phones::PhoneLabels;
use crate::dataset::standardize::Standardize;
use crate::geometry::LABEL_HOP;

/// Depth to which folders are searched. A link to a parent folder would otherwise loop forever.
const DEPTH: usize = 16;

/// What to do about a split that names an utterance which is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MissingPolicy {
    /// Report an error.
    #[default]
    Error,
    /// Leave it out and note how many. For parts of a corpus that come with the split files of the
    /// whole.
    Ignore,
}

/// How to open a corpus; the default looks for the files named in the [module](self).
#[derive(Debug, Clone, Default)]
pub struct CorpusOptions {
    /// Split file of the training set, if not `root/train_split.txt`.
    pub train_split: Option<PathBuf>,
    /// Split file of the test set, if not `root/test_split.txt`.
    pub test_split: Option<PathBuf>,
    /// Label file, if not `root/phone_labels.txt`.
    pub phone_labels: Option<PathBuf>,
    /// Names of phones, if not `root/phones.txt`.
    pub phones: Option<PathBuf>,
    /// What to do when a split file names absent utterances.
    pub missing: MissingPolicy,
    /// Seed of the 80/20 split that is drawn when there are no split files.
    pub seed: u64,
}

/// One recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Utterance {
    /// Name of the file, without extension.
    pub id: String,
    /// The file.
    pub path: PathBuf,
    /// Index into [`Corpus::speakers`].
    pub speaker: usize,
    /// Length in samples at 16 kHz.
    pub len: usize,
    /// Size of the file in bytes.
    pub bytes: u64,
}

/// A corpus: its utterances, speakers, splits and labels. Audio is decoded on request.
#[derive(Debug, Clone)]
pub struct Corpus {
    root: PathBuf,
    utterances: Vec<Utterance>,
    speakers: Vec<String>,
    train: Vec<usize>,
    test: Vec<usize>,
    labels: Option<PhoneLabels>,
    notes: Vec<String>,
    digest: String,
}

impl Corpus {
    /// Lists the files below `root`, reads their headers, the split files and the labels.
    ///
    /// Without split files, the test set is a fifth of each speaker's utterances, drawn from
    /// `options.seed`; a speaker of two or more gives at least one. With one split file, the other
    /// set is the rest. [`notes`](Self::notes) says which.
    ///
    /// # Errors
    /// When the folder is missing or has no audio, a header is damaged, an utterance has two files,
    /// a split file names an absent utterance (unless ignored) or one twice, an utterance is in
    /// both splits, or labels do not fit the audio.
    pub fn open(root: &Path, options: &CorpusOptions) -> Result<Self> {
        if !root.is_dir() {
            let what = if root.exists() { "is not a folder" } else { "there is no such folder" };
            return Err(Error::file(root, what, "give the folder that holds the corpus"));
        }
        let mut notes = Vec::new();
        let mut files = Vec::new();
        find_audio(root, 0, &mut files)?;
        if files.is_empty() {
            return Err(Error::file(root, "no .flac or .wav file in it or its folders", "check the path"));
        }
        // By utterance, not by path: the order must not depend on where the corpus lies.
        files.sort();
        if let Some(two) = files.windows(2).find(|w| w[0].0 == w[1].0) {
            let what = format!("utterance {} is also {}", two[0].0, two[0].1.display());
            return Err(Error::file(&two[1].1, what, "remove or rename one of the files"));
        }

        let names: Vec<String> = files.iter().map(|(id, path)| speaker_of(id, path, root)).collect();
        let mut speakers = names.clone();
        speakers.sort();
        speakers.dedup();
        let utterances: Vec<Utterance> = files
            .into_par_iter()
            .zip(names)
            .map(|((id, path), name)| {
                let info = decode::info(&path)?;
                let len = info.len.map_or_else(|| decode::len(&path), Ok)?;
                let speaker = speakers.partition_point(|s| *s < name);
                Ok(Utterance { id, path, speaker, len, bytes: info.bytes })
            })
            .collect::<Result<_>>()?;

        let mut hash = Sha256::new();
        hash.update(b"gim speech corpus 1\n");
        for u in &utterances {
            hash.update(format!("{} {} {} {}\n", u.id, speakers[u.speaker], u.len, u.bytes));
        }
        let (train, test) = splits(root, options, &utterances, speakers.len(), &mut notes)?;
        for (name, set) in [("train", &train), ("test", &test)] {
            hash.update(format!("{name} {}\n", set.len()));
            for &u in set {
                hash.update((u as u64).to_le_bytes());
            }
        }

        let path = options.phone_labels.clone().or_else(|| existing(root, "phone_labels.txt"));
        let phones = options.phones.clone().or_else(|| existing(root, "phones.txt"));
        let mut labels = None;
        if let Some(path) = path {
            let read = PhoneLabels::read(&path, phones.as_deref())?;
            for file in std::iter::once(&path).chain(&phones) {
                hash.update(fs::read(file).map_err(|e| Error::io(file, "read", e))?);
            }
            let mut present = 0;
            for u in &utterances {
                read.check(&u.id, u.len)?;
                present += usize::from(read.get(&u.id).is_some());
            }
            let strangers = read.ids().count() - present;
            if strangers > 0 {
                notes.push(format!("{}: labels of {strangers} utterances that are not in the corpus", path.display()));
            }
            let bare: Vec<&str> = train.iter().chain(&test).map(|&u| utterances[u].id.as_str()).collect();
            let bare: Vec<&str> = bare.into_iter().filter(|id| read.get(id).is_none()).collect();
            if !bare.is_empty() {
                let some = bare[..bare.len().min(5)].join(", ");
                let more = if bare.len() > 5 { ", …" } else { "" };
                notes.push(format!("{}: no labels for {} utterances: {some}{more}", path.display(), bare.len()));
            }
            labels = Some(read);
        }
        let digest = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        Ok(Self { root: root.to_owned(), utterances, speakers, train, test, labels, notes, digest })
    }

    /// The folder that the corpus was opened from.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All utterances, sorted by id. Other functions take indices into this list.
    pub fn utterances(&self) -> &[Utterance] {
        &self.utterances
    }

    /// Utterances of a split, ascending.
    pub fn split(&self, split: Split) -> &[usize] {
        match split {
            Split::Train | Split::Unlabeled => &self.train,
            Split::Test => &self.test,
        }
    }

    /// Names of the speakers, sorted. A speaker's class is its index.
    pub fn speakers(&self) -> &[String] {
        &self.speakers
    }

    /// Index of the utterance with an id.
    pub fn find(&self, id: &str) -> Option<usize> {
        self.utterances.binary_search_by(|u| u.id.as_str().cmp(id)).ok()
    }

    /// The phone labels, if the corpus has any.
    pub fn labels(&self) -> Option<&PhoneLabels> {
        self.labels.as_ref()
    }

    /// Phones of samples `start .. start + len` of an utterance: (⌊`len`/160⌋) classes, one every
    /// 10 ms, −1 where unknown.
    ///
    /// The window of label n begins at sample 160 n. `start` is a multiple of 160.
    pub fn phones_of(&self, utterance: usize, start: usize, len: usize) -> Vec<i32> {
        let known = self.labels().and_then(|l| l.get(&self.utterances[utterance].id)).unwrap_or(&[]);
        let first = start / LABEL_HOP;
        (first..first + len / LABEL_HOP).map(|n| known.get(n).map_or(-1, |l| i32::from(*l))).collect()
    }

    /// What was decided or left out while opening, for the user to read.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// SHA-256 (hexadecimal) of ids, speakers, lengths and file sizes of the utterances, of the
    /// splits, and of the label files. The audio itself is not read.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Decodes a whole utterance → (n) samples at 16 kHz.
    ///
    /// # Errors
    /// As [`decode::decode`], and when the file's length has changed.
    pub fn decode(&self, utterance: usize) -> Result<Vec<f32>> {
        let u = &self.utterances[utterance];
        let x = decode::decode(&u.path)?;
        if x.len() != u.len {
            let what = format!("it has {} samples, but had {} when it was listed", x.len(), u.len);
            return Err(Error::file(&u.path, what, "the corpus changed while in use; start again"));
        }
        Ok(x)
    }

    /// Mean and standard deviation of all samples of a split.
    ///
    /// # Errors
    /// As [`decode`](Self::decode), and when all samples are equal.
    pub fn measure(&self, split: Split) -> Result<Standardize> {
        Standardize::measure(&self.root, self.split(split).par_iter().map(|&u| self.decode(u)))
    }

    /// A whole utterance, standardized → (n) samples at 16 kHz. Features are computed from it.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn whole(&self, utterance: usize, standardize: &Standardize) -> Result<Vec<f32>> {
        let mut x = self.decode(utterance)?;
        standardize.apply(&mut x);
        Ok(x)
    }
}

fn existing(root: &Path, name: &str) -> Option<PathBuf> {
    Some(root.join(name)).filter(|p| p.exists())
}

/// Adds (id, path) of all audio files below `dir`.
fn find_audio(dir: &Path, depth: usize, found: &mut Vec<(String, PathBuf)>) -> Result<()> {
    let listing = fs::read_dir(dir).map_err(|e| Error::io(dir, "list the folder", e))?;
    for entry in listing {
        let path = entry.map_err(|e| Error::io(dir, "list the folder", e))?.path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
            return Err(Error::file(&path, "its name is not UTF-8", "rename it"));
        };
        // Hidden files: macOS leaves `._name.flac` beside name.flac.
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            if depth < DEPTH {
                find_audio(&path, depth + 1, found)?;
            }
        } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("flac") || e.eq_ignore_ascii_case("wav"))
            && let Some(stem) = path.file_stem().and_then(|s| s.to_str())
        {
            found.push((stem.to_owned(), path.clone()));
        }
    }
    Ok(())
}

/// The speaker: the part of the id before its first '-', else the first folder below the root, else
/// the id itself.
fn speaker_of(id: &str, path: &Path, root: &Path) -> String {
    if let Some((speaker, _)) = id.split_once('-') {
        return speaker.to_owned();
    }
    let inside = path.strip_prefix(root).unwrap_or(path);
    let mut parts = inside.components();
    match (parts.next(), parts.next()) {
        (Some(folder), Some(_)) => folder.as_os_str().to_string_lossy().into_owned(),
        _ => id.to_owned(),
    }
}

/// Train and test sets, from split files or drawn.
fn splits(
    root: &Path,
    options: &CorpusOptions,
    utterances: &[Utterance],
    n_speakers: usize,
    notes: &mut Vec<String>,
) -> Result<(Vec<usize>, Vec<usize>)> {
    let train = options.train_split.clone().or_else(|| existing(root, "train_split.txt"));
    let test = options.test_split.clone().or_else(|| existing(root, "test_split.txt"));
    let rest = |of: &[usize]| {
        let of: HashSet<usize> = of.iter().copied().collect();
        (0..utterances.len()).filter(|u| !of.contains(u)).collect::<Vec<_>>()
    };
    match (train, test) {
        (Some(train_file), Some(test_file)) => {
            let train = read_split(&train_file, utterances, options.missing, notes)?;
            let test = read_split(&test_file, utterances, options.missing, notes)?;
            let both = train.iter().find(|u| test.binary_search(u).is_ok());
            if let Some(&u) = both {
                let what = format!("utterance {} is also in {}", utterances[u].id, train_file.display());
                return Err(Error::file(&test_file, what, "an utterance is for training or for testing, not both"));
            }
            if train.is_empty() && test.is_empty() {
                let what = "none of the utterances it and the training split name is there";
                return Err(Error::file(&test_file, what, "check that the split files belong to this corpus"));
            }
            let idle = utterances.len() - train.len() - test.len();
            if idle > 0 {
                notes.push(format!("{idle} utterances are in no split and are not used"));
            }
            Ok((train, test))
        }
        (Some(file), None) => {
            let train = read_split(&file, utterances, options.missing, notes)?;
            let test = rest(&train);
            notes.push(format!("no test split file: the {} utterances not in {} are it", test.len(), file.display()));
            Ok((train, test))
        }
        (None, Some(file)) => {
            let test = read_split(&file, utterances, options.missing, notes)?;
            let train = rest(&test);
            notes.push(format!("no train split file: the {} utterances not in {} are it", train.len(), file.display()));
            Ok((train, test))
        }
        (None, None) => {
            let mut by_speaker = vec![Vec::new(); n_speakers];
            for (i, u) in utterances.iter().enumerate() {
                by_speaker[u.speaker].push(i);
            }
            let (mut train, mut test) = (Vec::new(), Vec::new());
            for (speaker, mut theirs) in by_speaker.into_iter().enumerate() {
                let fifth = draw_fifth(&mut theirs, options.seed, speaker);
                test.extend_from_slice(&theirs[..fifth]);
                train.extend_from_slice(&theirs[fifth..]);
            }
            train.sort_unstable();
            test.sort_unstable();
            notes.push(format!(
                "no split files: {} utterances to train, {} to test, a fifth of each speaker's (seed {})",
                train.len(),
                test.len(),
                options.seed
            ));
            Ok((train, test))
        }
    }
}

/// Utterances that a split file names, ascending.
fn read_split(
    path: &Path,
    utterances: &[Utterance],
    missing: MissingPolicy,
    notes: &mut Vec<String>,
) -> Result<Vec<usize>> {
    let text = fs::read_to_string(path).map_err(|e| Error::io(path, "read", e))?;
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut split = Vec::new();
    let mut absent = 0usize;
    for (line, row) in text.lines().enumerate().map(|(i, row)| (i + 1, row.trim())) {
        if row.is_empty() {
            continue;
        }
        if let Some(before) = seen.insert(row, line) {
            let what = format!("line {line}: utterance {row} is on line {before} already");
            return Err(Error::file(path, what, "remove one of the lines"));
        }
        match (utterances.binary_search_by(|u| u.id.as_str().cmp(row)), missing) {
            (Ok(u), _) => split.push(u),
            (Err(_), MissingPolicy::Ignore) => absent += 1,
            (Err(_), MissingPolicy::Error) => {
                let what = format!("line {line}: utterance {row} is not in the corpus");
                return Err(Error::file(path, what, "complete the corpus, or allow missing utterances"));
            }
        }
    }
    if absent > 0 {
        let (path, n) = (path.display(), seen.len());
        notes.push(format!("{path}: {absent} of the {n} utterances it names are not in the corpus and left out"));
    }
    if seen.is_empty() {
        return Err(Error::file(path, "it names no utterance", "write one utterance a line"));
    }
    split.sort_unstable();
    Ok(split)
}
