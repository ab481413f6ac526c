//! Training and test sets of a corpus.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use gim_core::data::{Lines, draw_fifth};
use gim_core::{Error, Result};

use crate::dataset::corpus::{CorpusOptions, MissingPolicy, Utterance, existing};

/// The utterances that split files may name.
pub(super) struct Listed<'a> {
    /// Those of the corpus, sorted by id.
    pub(super) utterances: &'a [Utterance],
    /// Ids of those that are bad and left out.
    pub(super) skipped: &'a HashSet<String>,
}

/// Train and test sets, from split files or drawn.
///
/// Without split files, a fifth of each of the `n_speakers` speakers' utterances is the test set.
pub(super) fn splits(
    root: &Path,
    options: &CorpusOptions,
    listed: &Listed<'_>,
    n_speakers: usize,
    notes: &mut Vec<String>,
) -> Result<(Vec<usize>, Vec<usize>)> {
    let utterances = listed.utterances;
    let train = options.train_split.clone().or_else(|| existing(root, "train_split.txt"));
    let test = options.test_split.clone().or_else(|| existing(root, "test_split.txt"));
    let rest = |of: &[usize]| {
        let of: HashSet<usize> = of.iter().copied().collect();
        (0..utterances.len()).filter(|u| !of.contains(u)).collect::<Vec<_>>()
    };
    match (train, test) {
        (Some(train_file), Some(test_file)) => {
            let train = read_split(&train_file, listed, options.missing, notes)?;
            let test = read_split(&test_file, listed, options.missing, notes)?;
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

/// Utterances that a split file names, ascending. `listed` holds all utterances.
fn read_split(path: &Path, listed: &Listed<'_>, missing: MissingPolicy, notes: &mut Vec<String>) -> Result<Vec<usize>> {
    let lines = Lines::read(path)?;
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut split = Vec::new();
    let (mut absent, mut skipped) = (0usize, 0usize);
    for (line, row) in lines.rows() {
        if let Some(before) = seen.insert(row, line) {
            let what = format!("utterance {row} is on line {before} already");
            return Err(lines.error(line, what, "remove one of the lines"));
        }
        match listed.utterances.binary_search_by(|u| u.id.as_str().cmp(row)) {
            Ok(u) => split.push(u),
            Err(_) if listed.skipped.contains(row) => skipped += 1,
            Err(_) if missing == MissingPolicy::Ignore => absent += 1,
            Err(_) => {
                let what = format!("utterance {row} is not in the corpus");
                return Err(lines.error(line, what, "complete the corpus, or allow missing utterances"));
            }
        }
    }
    let (path, n) = (path.display(), seen.len());
    if absent > 0 {
        notes.push(format!("{path}: {absent} of the {n} utterances it names are not in the corpus and left out"));
    }
    if skipped > 0 {
        notes.push(format!("{path}: {skipped} of the {n} utterances it names are bad and left out"));
    }
    if seen.is_empty() {
        return Err(Error::file(lines.path(), "it names no utterance", "write one utterance a line"));
    }
    split.sort_unstable();
    Ok(split)
}
