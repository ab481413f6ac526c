//! Training and test sets of a corpus.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use gim_core::data::{Lines, Manifest, Split, SplitFolder, draw_fifth};
use gim_core::{Error, Result};

use crate::dataset::corpus::{
    CorpusOptions, MissingPolicy, TEST_SPLIT, TRAIN_SPLIT, Utterance, by_id, existing, is_audio, stem,
};

/// The utterances that split files may name.
pub(super) struct Listed<'a> {
    /// Those of the corpus, sorted by id.
    pub(super) utterances: &'a [Utterance],
    /// Ids of those that are bad and left out.
    pub(super) skipped: &'a HashSet<String>,
}

impl Listed<'_> {
    fn knows(&self, id: &str) -> bool {
        by_id(self.utterances, id).is_some() || self.skipped.contains(id)
    }

    /// The id that a line names: the line itself, or what it has without the folders and the ending of an audio
    /// file.
    fn id<'r>(&self, row: &'r str) -> &'r str {
        let of_file = || stem(row).filter(|id| is_audio(Path::new(row)) && self.knows(id));
        if self.knows(row) { row } else { of_file().unwrap_or(row) }
    }
}

/// The folders of a corpus that hold its splits, such as `Train` and `TEST`.
#[derive(Debug, Default)]
pub(super) struct SplitFolders {
    /// Paths and names of those to train and to test on, if there are both.
    both: Option<[(PathBuf, String); 2]>,
}

impl SplitFolders {
    /// Sorts out the folders in `root` that hold `files`. The test set is `test` by any of its
    /// names, without it `dev` or `valid`.
    ///
    /// # Errors
    /// When two folders have names for one part.
    pub(super) fn of<'a>(root: &Path, files: impl Iterator<Item = &'a Path>) -> Result<Self> {
        let mut names: Vec<&str> = files.filter_map(|path| folder_in(root, path)).collect();
        names.sort_unstable();
        names.dedup();
        let named = |part: SplitFolder| -> Result<Option<(PathBuf, String)>> {
            let mut all = names.iter().filter(|name| SplitFolder::of(name) == Some(part));
            let (one, two) = (all.next(), all.next());
            if let (Some(one), Some(two)) = (one, two) {
                let what = format!("folder {one} beside {two}: which is it?");
                return Err(Error::file(root.join(two), what, "keep one of them, or rename the other"));
            }
            Ok(one.map(|name| (root.join(name), (*name).to_owned())))
        };
        let test = named(SplitFolder::Test)?;
        let (train, val) = (named(SplitFolder::Train)?, named(SplitFolder::Val)?);
        Ok(Self { both: train.zip(test.or(val)).map(|(train, test)| [train, test]) })
    }

    /// The folder below which the folders of speakers begin, for the file at `path`.
    pub(super) fn base<'a>(&'a self, root: &'a Path, path: &Path) -> &'a Path {
        let parts = self.both.iter().flatten().map(|(folder, _)| folder.as_path());
        parts.into_iter().find(|folder| path.starts_with(folder)).unwrap_or(root)
    }

    /// Train and test sets.
    fn splits(&self, utterances: &[Utterance], notes: &mut Vec<String>) -> Option<(Vec<usize>, Vec<usize>)> {
        let both = self.both.as_ref()?;
        let [train, test] = both.each_ref().map(|(folder, _)| {
            (0..utterances.len()).filter(|&u| utterances[u].path.starts_with(folder)).collect::<Vec<_>>()
        });
        let [train_name, test_name] = both.each_ref().map(|(_, name)| name);
        let (n, m) = (train.len(), test.len());
        notes.push(format!("no split files: the {n} utterances in {train_name} train, the {m} in {test_name} test"));
        let idle = utterances.len() - n - m;
        if idle > 0 {
            notes.push(format!("{idle} utterances are in neither {train_name} nor {test_name} and are not used"));
        }
        Some((train, test))
    }
}

/// Train and test sets that a manifest names, in its order.
///
/// # Errors
/// When split files are given, too.
pub(super) fn manifest_splits(
    manifest: &Manifest,
    options: &CorpusOptions,
    listed: &Listed<'_>,
    notes: &mut Vec<String>,
) -> Result<(Vec<usize>, Vec<usize>)> {
    if let Some(file) = options.train_split.as_ref().or(options.test_split.as_ref()) {
        let what = format!("it has a column of splits, and {} is given as well", file.display());
        return Err(Error::file(manifest.path(), what, "remove one of them"));
    }
    let (mut train, mut test, mut idle) = (Vec::new(), Vec::new(), 0usize);
    for item in manifest.items() {
        let Some(u) = by_id(listed.utterances, &item.id) else { continue };
        match manifest.split_of(item) {
            Some(Split::Train | Split::Unlabeled) => train.push(u),
            Some(Split::Test) => test.push(u),
            None => idle += 1,
        }
    }
    if train.is_empty() {
        return Err(Error::file(manifest.path(), "none of its files is to train on", "put `train` in column split"));
    }
    if idle > 0 {
        notes.push(format!("{}: {idle} utterances are in no split and are not used", manifest.path().display()));
    }
    Ok((train, test))
}

/// Name of the first folder below `root` on the way to a file; `None` for a file right in it.
fn folder_in<'a>(root: &Path, path: &'a Path) -> Option<&'a str> {
    let mut inside = path.strip_prefix(root).ok()?.components();
    let folder = inside.next()?.as_os_str().to_str();
    inside.next().and(folder)
}

/// Train and test sets, from split files, from folders or drawn; in the order of the file, else
/// ascending.
///
/// Without split files and `folders` that hold both sets, a fifth of each of the `n_speakers` speakers' utterances is the test set.
pub(super) fn splits(
    root: &Path,
    options: &CorpusOptions,
    listed: &Listed<'_>,
    folders: &SplitFolders,
    n_speakers: usize,
    notes: &mut Vec<String>,
) -> Result<(Vec<usize>, Vec<usize>)> {
    let utterances = listed.utterances;
    let train = options.train_split.clone().or_else(|| existing(root, TRAIN_SPLIT));
    let test = options.test_split.clone().or_else(|| existing(root, TEST_SPLIT));
    let rest = |of: &[usize]| {
        let of: HashSet<usize> = of.iter().copied().collect();
        (0..utterances.len()).filter(|u| !of.contains(u)).collect::<Vec<_>>()
    };
    match (train, test) {
        (Some(train_file), Some(test_file)) => {
            let train = read_split(&train_file, listed, options.missing, notes)?;
            let test = read_split(&test_file, listed, options.missing, notes)?;
            let tested: HashSet<usize> = test.iter().copied().collect();
            let both = train.iter().find(|u| tested.contains(u));
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
            let train = read_split(&file, listed, options.missing, notes)?;
            let test = rest(&train);
            notes.push(format!("no test split file: the {} utterances not in {} are it", test.len(), file.display()));
            Ok((train, test))
        }
        (None, Some(file)) => {
            let test = read_split(&file, listed, options.missing, notes)?;
            let train = rest(&test);
            notes.push(format!("no train split file: the {} utterances not in {} are it", train.len(), file.display()));
            Ok((train, test))
        }
        (None, None) => {
            if let Some(splits) = folders.splits(utterances, notes) {
                return Ok(splits);
            }
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

/// Utterances that a split file names, in its order. `listed` holds all utterances.
fn read_split(path: &Path, listed: &Listed<'_>, missing: MissingPolicy, notes: &mut Vec<String>) -> Result<Vec<usize>> {
    let lines = Lines::read(path)?;
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut split = Vec::new();
    let (mut absent, mut skipped, mut files) = (0usize, 0usize, 0usize);
    for (line, row) in lines.rows() {
        let id = listed.id(row);
        files += usize::from(id != row);
        if let Some(before) = seen.insert(id, line) {
            let what = format!("utterance {id} is on line {before} already");
            return Err(lines.error(line, what, "remove one of the lines"));
        }
        match by_id(listed.utterances, id) {
            Some(u) => split.push(u),
            None if listed.skipped.contains(id) => skipped += 1,
            None if missing == MissingPolicy::Ignore => absent += 1,
            None => {
                let what = format!("utterance {row} is not in the corpus");
                return Err(lines.error(line, what, "complete the corpus, or allow missing utterances"));
            }
        }
    }
    let (path, n) = (path.display(), seen.len());
    if files > 0 {
        notes.push(format!("{path}: {files} of its {n} lines name audio files: taken without folders and endings"));
    }
    if absent > 0 {
        notes.push(format!("{path}: {absent} of the {n} utterances it names are not in the corpus and left out"));
    }
    if skipped > 0 {
        notes.push(format!("{path}: {skipped} of the {n} utterances it names are bad and left out"));
    }
    if seen.is_empty() {
        return Err(Error::file(lines.path(), "it names no utterance", "write one utterance a line"));
    }
    Ok(split)
}
