//! Speech corpora in the layout of LibriSpeech.
//!
//! ```text
//! root/<any folders>/<speaker>-<chapter>-<utterance>.flac   (or .wav .mp3 .ogg)
//! root/train_split.txt, test_split.txt                      one utterance a line
//! root/phone_labels.txt, phones.txt                         optional
//! root/labels.csv                                           optional: labels of utterances by column
//! ```
//!
//! Phone labels may also be called `converted_aligned_phones.txt`, as those published with CPC, or be
//! given as alignments: a CTM file, or a folder of TextGrid files. A manifest
//! ([`Manifest`](gim_core::data::Manifest)) may list the files instead of folders, with their splits and speakers.
//!
//! Without split files, folders `train` and `test` in the root hold the two sets. They go by any of
//! their usual names ([`SplitFolder`](gim_core::data::SplitFolder)), in any case. Without such
//! folders, the test set is a fifth of each speaker's utterances.
//!
//! The speaker is the part of an id before its first '-' (LibriSpeech); without one, before its
//! first '_' (LibriTTS, VCTK); without both, the first folder below the root or below a folder of a
//! split; else the id itself. [`Corpus::summary`] says which rule applied.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use gim_core::data::Split;
use gim_core::data::{Columns, FileIndex, ItemId, Manifest, all_bad, labels_of, normalized};
use gim_core::files::{has_extension, hex, need_folder};
use gim_core::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::dataset::alignment::{Alignments, is_alignment};
use crate::dataset::decode;
use crate::dataset::inspect::{Heard, Inspect};
use crate::dataset::phones::PhoneLabels;
use crate::dataset::speakers::{self, speaker_of};
use crate::dataset::splits::{Listed, SplitFolders, manifest_splits, splits};
use crate::dataset::standardize::{Standardize, Sums};
use crate::geometry::LABEL_WINDOW;

/// Name of the list of training utterances in a corpus.
pub const TRAIN_SPLIT: &str = "train_split.txt";
/// Name of the list of test utterances.
pub const TEST_SPLIT: &str = "test_split.txt";
/// Name of the file of phone labels.
pub const PHONE_LABELS: &str = "phone_labels.txt";
/// Name of the file of phone labels that was published with CPC (van den Oord et al. 2018).
pub const PUBLISHED_LABELS: &str = "converted_aligned_phones.txt";
/// Name of the file of the phones' names.
pub const PHONES: &str = "phones.txt";

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
    /// A table of the files, if not all files below the root are meant.
    pub manifest: Option<PathBuf>,
    /// Label file, if not `root/phone_labels.txt` or `root/converted_aligned_phones.txt`; or a CTM file; or a folder of
    /// TextGrid files.
    pub phone_labels: Option<PathBuf>,
    /// Names of phones, if not `root/phones.txt`.
    pub phones: Option<PathBuf>,
    /// Table of labels by column, if not `root/labels.csv`.
    pub columns: Option<PathBuf>,
    /// What to do when a split file names absent utterances.
    pub missing: MissingPolicy,
    /// Leave bad audio files out, and note which. To find them, all files are decoded once;
    /// without this option only headers are read, and [`Corpus::check_and_measure`] does the rest.
    pub skip_bad: bool,
    /// Seed of the 80/20 split that is drawn when there are no split files.
    pub seed: u64,
    /// File that keeps what was learned of audio files, so that those that have not changed are not read
    /// again at the next start ([`FileIndex`]).
    pub index: Option<PathBuf>,
}

/// One recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Utterance {
    /// Name of the file, without extension, in Unicode's composed form.
    pub id: String,
    /// The file.
    pub path: PathBuf,
    /// Index into [`Corpus::speakers`]; 0 where there are none.
    pub speaker: usize,
    /// Length in samples at 16 kHz.
    pub len: usize,
    /// Size of the file in bytes.
    pub bytes: u64,
}

impl Utterance {
    /// Checks that the file has as many samples as when it was listed.
    fn check_len(&self, samples: usize) -> Result<()> {
        if samples == self.len {
            return Ok(());
        }
        let what = format!("it has {samples} samples, but had {} when it was listed", self.len);
        Err(Error::file(&self.path, what, "the corpus changed while in use; start again"))
    }
}

/// A corpus: its utterances, speakers, splits and labels. Audio is decoded on request.
#[derive(Debug, Clone)]
pub struct Corpus {
    root: PathBuf,
    utterances: Vec<Utterance>,
    speakers: Vec<String>,
    train: Vec<usize>,
    test: Vec<usize>,
    /// Both sets in the order of their files.
    listed: [Vec<usize>; 2],
    labels: Option<PhoneLabels>,
    columns: Columns,
    speaker_rules: Vec<speakers::From>,
    notes: Vec<String>,
    digest: String,
    index: Arc<FileIndex<Heard>>,
}

impl Corpus {
    /// Lists the files below `root`, reads their headers, the split files and the labels.
    ///
    /// Without split files and split folders, the test set is a fifth of each speaker's utterances,
    /// drawn from `options.seed`; a speaker of two or more gives at least one. With one split file, the other
    /// set is the rest. [`notes`](Self::notes) says which.
    ///
    /// # Errors
    /// When the folder is missing or has no audio, headers are damaged (all are named, unless such
    /// files are left out), an utterance has two files, a split file names an absent utterance (unless ignored) or one twice, an utterance is in
    /// both splits, or labels do not fit the audio.
    pub fn open(root: &Path, options: &CorpusOptions) -> Result<Self> {
        need_folder(root, "give the folder that holds the corpus")?;
        let mut notes = Vec::new();
        let manifest = options.manifest.as_deref().map(|file| Manifest::read(file, root, &["speaker"], ItemId::Stem));
        let manifest = manifest.transpose()?;
        let files = match &manifest {
            Some(manifest) => manifest_files(manifest),
            None => all_audio(root)?,
        };

        let index = Arc::new(FileIndex::open(options.index.clone()));
        let inspect = Inspect { decode: options.skip_bad, skip_bad: options.skip_bad, index: &index };
        let (files, skipped) = inspect.all(root, files, &mut notes)?;
        index.save();
        let folders = SplitFolders::of(root, files.iter().map(|f| f.path.as_path()))?;
        let of_manifest = manifest.as_ref().map(manifest_speakers).unwrap_or_default();
        let (names, mut speaker_rules): (Vec<String>, Vec<_>) = files
            .iter()
            .map(|f| match of_manifest.get(f.id.as_str()) {
                Some(speaker) => ((*speaker).to_owned(), speakers::From::Column),
                None => speaker_of(&f.id, &f.path, folders.base(root, &f.path)),
            })
            .unzip();
        speaker_rules.sort_unstable();
        speaker_rules.dedup();
        let mut speakers = names.clone();
        speakers.sort();
        speakers.dedup();
        let utterances: Vec<Utterance> = files
            .into_iter()
            .zip(names)
            .map(|(f, name)| Utterance { speaker: speakers.partition_point(|s| *s < name), ..f })
            .collect();

        let mut hash = Sha256::new();
        hash.update(b"gim speech corpus 1\n");
        for u in &utterances {
            hash.update(format!("{} {} {} {}\n", u.id, speakers[u.speaker], u.len, u.bytes));
        }
        let listed = Listed { utterances: &utterances, skipped: &skipped };
        let (train_listed, test_listed) = match manifest.as_ref().filter(|m| m.has_splits()) {
            Some(manifest) => manifest_splits(manifest, options, &listed, &mut notes)?,
            None => splits(root, options, &listed, &folders, speakers.len(), &mut notes)?,
        };
        let [train, test] = [&train_listed, &test_listed].map(|set| {
            let mut set = set.clone();
            set.sort_unstable();
            set
        });
        for (name, set) in [("train", &train), ("test", &test)] {
            hash.update(format!("{name} {}\n", set.len()));
            for &u in set {
                hash.update((u as u64).to_le_bytes());
            }
        }

        let labels = phone_labels(root, options, &utterances, &skipped, &mut hash)?;
        if let Some(labels) = &labels {
            note_matches(labels, &utterances, &skipped, [&train[..], &test[..]], &mut notes);
        }
        note_short(&utterances, [&train[..], &test[..]], &mut notes);
        let columns = label_columns(root, options, manifest.as_ref(), &utterances, &mut notes)?;
        columns.digest(&mut hash);
        let digest = hex(hash.finalize());
        let listed = [train_listed, test_listed];
        let root = root.to_owned();
        Ok(Self {
            root,
            utterances,
            speakers,
            train,
            test,
            listed,
            labels,
            columns,
            speaker_rules,
            notes,
            digest,
            index,
        })
    }

    /// A corpus of these files (id, path) alone: without speakers and labels, and all of them in the
    /// training split. All files are decoded once. Errors and notes name them by their paths below
    /// `root`.
    ///
    /// # Errors
    /// When two files have one id, or files are bad: all are named. With `skip_bad`, when none is
    /// good.
    pub fn of_files(root: &Path, mut files: Vec<(String, PathBuf)>, skip_bad: bool) -> Result<Self> {
        files.sort();
        if let Some(two) = files.windows(2).find(|w| w[0].0 == w[1].0) {
            return Err(Error::file(&two[1].1, "is there twice", "name each file once"));
        }
        let mut notes = Vec::new();
        let index = FileIndex::open(None);
        let (utterances, _) = Inspect { decode: true, skip_bad, index: &index }.all(root, files, &mut notes)?;
        let mut hash = Sha256::new();
        hash.update(b"gim audio files 1\n");
        for u in &utterances {
            hash.update(format!("{} {} {}\n", u.id, u.len, u.bytes));
        }
        let train: Vec<usize> = (0..utterances.len()).collect();
        Ok(Self {
            root: root.to_owned(),
            utterances,
            speakers: Vec::new(),
            listed: [train.clone(), Vec::new()],
            train,
            test: Vec::new(),
            labels: None,
            columns: Columns::default(),
            speaker_rules: Vec::new(),
            notes,
            digest: hex(hash.finalize()),
            index: Arc::new(index),
        })
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

    /// Utterances of a split in the order of its file; ascending where no file lists them.
    pub fn listed(&self, split: Split) -> &[usize] {
        let [train, test] = &self.listed;
        match split {
            Split::Train | Split::Unlabeled => train,
            Split::Test => test,
        }
    }

    /// Names of the speakers, sorted. A speaker's class is its index.
    pub fn speakers(&self) -> &[String] {
        &self.speakers
    }

    /// Index of the utterance with an id.
    pub fn find(&self, id: &str) -> Option<usize> {
        by_id(&self.utterances, id)
    }

    /// The phone labels, if the corpus has any.
    pub fn labels(&self) -> Option<&PhoneLabels> {
        self.labels.as_ref()
    }

    /// Labels of utterances by column.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Classes of these phone labels of an utterance, −1 where unknown. The window of label n begins
    /// at sample 160 n.
    pub fn phones_of(&self, utterance: usize, labels: impl IntoIterator<Item = isize>) -> Vec<i32> {
        let known = self.labels().and_then(|l| l.get(&self.utterances[utterance].id)).unwrap_or(&[]);
        let class = |n: isize| usize::try_from(n).ok().and_then(|n| known.get(n)).map_or(-1, |l| i32::from(*l));
        labels.into_iter().map(class).collect()
    }

    /// What was decided or left out while opening, for the user to read.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What the corpus was understood to hold: utterances, hours, splits, speakers and the rule they
    /// were told by, phones and the class that is silence.
    pub fn summary(&self) -> Vec<String> {
        let hours = |set: &[usize]| self.duration(set);
        let all: Vec<usize> = (0..self.utterances.len()).collect();
        let rules: Vec<&str> = self.speaker_rules.iter().map(|r| r.rule()).collect();
        let mut lines = vec![
            format!(
                "{} utterances ({}): {} to train ({}), {} to test ({})",
                all.len(),
                hours(&all),
                self.train.len(),
                hours(&self.train),
                self.test.len(),
                hours(&self.test)
            ),
            format!("speakers, by {}: {}", rules.join(", or "), some(&self.speakers)),
        ];
        if let Some(labels) = &self.labels {
            lines.push(format!("phones: {} classes; {}", labels.n_classes(), labels.say_silence()));
        }
        let used: Vec<usize> = self.train.iter().chain(&self.test).copied().collect();
        lines.extend(self.columns.summary(&used));
        lines
    }

    /// How long these utterances are together, e.g. `1.25 h`, or `7.5 s` if less than a minute.
    pub fn duration(&self, utterances: &[usize]) -> String {
        let samples: usize = utterances.iter().map(|&u| self.utterances[u].len).sum();
        let (hours, minutes) = (samples as f64 / 3600.0 / f64::from(decode::RATE), 1.0 / 60.0);
        if hours < minutes { format!("{:.1} s", hours * 3600.0) } else { format!("{hours:.2} h") }
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
        u.check_len(x.len())?;
        Ok(x)
    }

    /// Mean and standard deviation of all samples of a split.
    ///
    /// # Errors
    /// As [`decode`](Self::decode), and when all samples are equal.
    pub fn measure(&self, split: Split) -> Result<Standardize> {
        Standardize::measure(&self.root, self.split(split).par_iter().map(|&u| self.decode(u)))
    }

    /// Decodes all utterances of both splits, so that damaged ones are found before training, and
    /// measures those of the training split that are not in `held_out`: as [`measure`](Self::measure).
    /// Files that the index knows are not decoded again.
    ///
    /// # Errors
    /// When files cannot be decoded: all are named. When all training samples are equal.
    pub fn check_and_measure(&self, held_out: &BTreeSet<usize>) -> Result<Standardize> {
        let used: Vec<usize> = self.train.iter().chain(&self.test).copied().collect();
        let heard: Vec<Result<Sums>> = used.into_par_iter().map(|u| self.sums(u)).collect();
        self.index.save();
        let (mut sums, mut bad) = (Vec::new(), Vec::new());
        for one in heard {
            match one {
                Ok(one) => sums.push(one),
                Err(e) => bad.push(e),
            }
        }
        all_bad(&self.root, bad)?;
        let learned = self.train.iter().zip(sums).filter(|(u, _)| !held_out.contains(u));
        Standardize::from_sums(&self.root, learned.map(|(_, sums)| sums))
    }

    /// Sums over the samples of an utterance.
    fn sums(&self, utterance: usize) -> Result<Sums> {
        let u = &self.utterances[utterance];
        let sums = Heard::sums(&u.path, &self.index)?;
        u.check_len(sums.samples())?;
        Ok(sums)
    }

    /// Some samples of an utterance, standardized, at 16 kHz.
    ///
    /// # Errors
    /// As [`decode::decode_range`].
    pub fn part(&self, utterance: usize, samples: Range<usize>, standardize: &Standardize) -> Result<Vec<f32>> {
        let mut x = vec![0.0; samples.len()];
        decode::decode_range(&self.utterances[utterance].path, samples.start, &mut x)?;
        standardize.apply(&mut x);
        Ok(x)
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

/// (id, path) of all audio files below a folder, sorted.
///
/// # Errors
/// When there are none, or two of one name.
fn all_audio(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    find_files(root, &is_audio, 0, &mut files)?;
    if files.is_empty() {
        return Err(Error::file(root, "no .flac, .wav, .mp3 or .ogg file in it or its folders", "check the path"));
    }
    // By utterance, not by path: the order must not depend on where the corpus lies.
    files.sort();
    if let Some(two) = files.windows(2).find(|w| w[0].0 == w[1].0) {
        let what = format!("utterance {} is also {}", two[0].0, two[0].1.display());
        let remedy = "remove or rename one of the files, or list them in a table (data.manifest)";
        return Err(Error::file(&two[1].1, what, remedy));
    }
    Ok(files)
}

/// (id, path) of all files of a manifest, sorted.
fn manifest_files(manifest: &Manifest) -> Vec<(String, PathBuf)> {
    let mut files: Vec<_> = manifest.items().iter().map(|item| (item.id.clone(), item.path.clone())).collect();
    files.sort();
    files
}

/// Speakers by utterance, where a manifest names them.
fn manifest_speakers(manifest: &Manifest) -> HashMap<&str, &str> {
    manifest.items().iter().filter_map(|item| Some((item.id.as_str(), item.group.as_deref()?))).collect()
}

/// The phone labels of a corpus. What they were read from is added to its digest.
fn phone_labels(
    root: &Path,
    options: &CorpusOptions,
    utterances: &[Utterance],
    skipped: &HashSet<String>,
    hash: &mut Sha256,
) -> Result<Option<PhoneLabels>> {
    let usual = || existing(root, PHONE_LABELS).or_else(|| existing(root, PUBLISHED_LABELS));
    let Some(path) = options.phone_labels.clone().or_else(usual) else { return Ok(None) };
    if is_alignment(&path) {
        let alignments = if path.is_dir() {
            let mut grids = Vec::new();
            find_files(&path, &|file| has_extension(file, &["textgrid"]), 0, &mut grids)?;
            grids.sort();
            Alignments::read_grids(&path, grids)?
        } else {
            Alignments::read_ctm(&path)?
        };
        let labels = PhoneLabels::aligned(&path, &alignments, utterances.iter().map(|u| (u.id.as_str(), u.len)))?;
        labels.digest(utterances.iter().map(|u| u.id.as_str()), hash);
        return Ok(Some(labels));
    }
    let phones = options.phones.clone().or_else(|| existing(root, PHONES));
    let known = |id: &str| by_id(utterances, id).is_some() || skipped.contains(id);
    let read = PhoneLabels::read(&path, phones.as_deref(), known)?;
    for file in std::iter::once(&path).chain(&phones) {
        hash.update(fs::read(file).map_err(|e| Error::io(file, "read", e))?);
    }
    for u in utterances {
        read.check(&u.id, u.len)?;
    }
    Ok(Some(read))
}

/// The columns of labels of a corpus: of a table, or of the manifest.
fn label_columns(
    root: &Path,
    options: &CorpusOptions,
    manifest: Option<&Manifest>,
    utterances: &[Utterance],
    notes: &mut Vec<String>,
) -> Result<Columns> {
    match labels_of(root, manifest, options.columns.as_deref())? {
        Some((table, Some(of))) => table.fit(utterances.len(), |row| by_id(utterances, of[row]), notes),
        Some((table, None)) => table.fit(utterances.len(), |row| named(utterances, row), notes),
        None => Ok(Columns::default()),
    }
}

/// The utterance with an id.
pub(super) fn by_id(utterances: &[Utterance], id: &str) -> Option<usize> {
    utterances.binary_search_by(|u| u.id.as_str().cmp(id)).ok()
}

/// The utterance that a row of a table names: by its id, or by its file.
fn named(utterances: &[Utterance], row: &str) -> Option<usize> {
    by_id(utterances, row).or_else(|| by_id(utterances, stem(row)?))
}

/// The name of the file at a path, of whichever system, without folders and ending.
pub(super) fn stem(path: &str) -> Option<&str> {
    Path::new(path.rsplit(['/', '\\']).next()?).file_stem()?.to_str()
}

pub(super) fn existing(root: &Path, name: &str) -> Option<PathBuf> {
    Some(root.join(name)).filter(|p| p.exists())
}

/// Adds (id, path) of all files below `dir` that are `wanted`.
fn find_files(
    dir: &Path,
    wanted: &dyn Fn(&Path) -> bool,
    depth: usize,
    found: &mut Vec<(String, PathBuf)>,
) -> Result<()> {
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
                find_files(&path, wanted, depth + 1, found)?;
            }
        } else if wanted(&path)
            && path.is_file()
            && let Some(stem) = path.file_stem().and_then(|s| s.to_str())
        {
            found.push((normalized(stem).into_owned(), path.clone()));
        }
    }
    Ok(())
}

/// Names that audio files end in.
const EXTENSIONS: [&str; 5] = ["flac", "wav", "mp3", "ogg", "oga"];

/// Whether a file's name is that of an audio file.
pub fn is_audio(path: &Path) -> bool {
    has_extension(path, &EXTENSIONS)
}

/// Notes labels without utterances, and utterances of the splits without labels.
fn note_matches(
    labels: &PhoneLabels,
    utterances: &[Utterance],
    skipped: &HashSet<String>,
    splits: [&[usize]; 2],
    notes: &mut Vec<String>,
) {
    let path = labels.path().display();
    let present = utterances.iter().filter(|u| labels.get(&u.id).is_some()).count();
    let strangers = labels.ids().filter(|id| !skipped.contains(*id)).count() - present;
    if strangers > 0 {
        notes.push(format!("{path}: labels of {strangers} utterances that are not in the corpus"));
    }
    let used = splits.into_iter().flatten().map(|&u| utterances[u].id.as_str());
    let bare: Vec<&str> = used.filter(|id| labels.get(id).is_none()).collect();
    if !bare.is_empty() {
        notes.push(format!("{path}: no labels for {} utterances: {}", bare.len(), first(&bare)));
    }
}

/// Notes utterances of the splits that are too short for any feature.
fn note_short(utterances: &[Utterance], splits: [&[usize]; 2], notes: &mut Vec<String>) {
    let used = splits.into_iter().flatten().map(|&u| &utterances[u]);
    let short: Vec<&str> = used.filter(|u| u.len < LABEL_WINDOW).map(|u| u.id.as_str()).collect();
    if !short.is_empty() {
        notes.push(format!(
            "{} utterances are shorter than {LABEL_WINDOW} samples and have no features: {}",
            short.len(),
            first(&short)
        ));
    }
}

/// The first five of a list.
fn first(names: &[impl AsRef<str>]) -> String {
    let some: Vec<&str> = names.iter().take(5).map(AsRef::as_ref).collect();
    some.join(", ") + if names.len() > 5 { ", …" } else { "" }
}

/// "n (a, b, c, …)"
fn some(names: &[String]) -> String {
    format!("{} ({})", names.len(), first(names))
}
