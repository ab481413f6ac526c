//! Phone labels at 100 Hz, from files.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use gim_core::{Error, Result};

use crate::geometry::label_frames;

/// Labels that an utterance may have too few or too many.
pub const TOLERANCE: usize = 3;

/// The contents of a label file.
#[derive(Debug, Clone)]
pub struct PhoneLabels {
    path: PathBuf,
    all: Vec<u16>,
    /// Line number (from 1) and range in `all` of each utterance, by its id.
    of: HashMap<String, (usize, Range<usize>)>,
    names: Option<Vec<String>>,
    n_classes: usize,
}

impl PhoneLabels {
    /// Reads `utterance id id …` lines and, if given, `id NAME` lines that name the ids.
    ///
    /// # Errors
    /// When a file is unreadable, a token is not a number, an id has no name, or an utterance comes
    /// twice. The error names file and line.
    pub fn read(path: &Path, phones: Option<&Path>) -> Result<Self> {
        let names = phones.map(read_names).transpose()?;
        let text = fs::read_to_string(path).map_err(|e| Error::io(path, "read", e))?;
        let mut labels = Self { path: path.to_owned(), all: Vec::new(), of: HashMap::new(), names, n_classes: 0 };
        for (line, row) in text.lines().enumerate().map(|(i, row)| (i + 1, row)) {
            let mut tokens = row.split_ascii_whitespace();
            let Some(id) = tokens.next() else { continue };
            let begin = labels.all.len();
            for token in tokens {
                let phone: u16 = token.parse().map_err(|_| {
                    let what = format!("line {line}, utterance {id}: {token:?} is not a phone id");
                    Error::file(path, what, "each line is: utterance id id …, ids from 0 to 65535")
                })?;
                if let Some(n) = labels.names.as_ref().map(Vec::len).filter(|&n| usize::from(phone) >= n) {
                    let what =
                        format!("line {line}, utterance {id}: phone id {phone}, but only 0 to {} have names", n - 1);
                    return Err(Error::file(path, what, "complete phones.txt, or remove it to use unnamed ids"));
                }
                labels.n_classes = labels.n_classes.max(usize::from(phone) + 1);
                labels.all.push(phone);
            }
            if labels.all.len() == begin {
                return Err(Error::file(
                    path,
                    format_args!("line {line}: utterance {id} has no labels"),
                    "remove the line",
                ));
            }
            let place = (line, begin..labels.all.len());
            if let Some((before, _)) = labels.of.insert(id.to_owned(), place) {
                let what = format!("utterance {id} has labels on line {before} and again on line {line}");
                return Err(Error::file(path, what, "remove one of the lines"));
            }
        }
        if labels.of.is_empty() {
            return Err(Error::file(path, "it has no labels", "each line is: utterance id id …"));
        }
        if let Some(names) = &labels.names {
            labels.n_classes = names.len();
        }
        Ok(labels)
    }

    /// Labels of an utterance, as in the file.
    pub fn get(&self, id: &str) -> Option<&[u16]> {
        self.of.get(id).map(|(_, place)| &self.all[place.clone()])
    }

    /// Utterances in the file, in no particular order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.of.keys().map(String::as_str)
    }

    /// Number of classes: of named phones, or without names the largest id + 1.
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// Names by id, if a name file was given.
    pub fn names(&self) -> Option<&[String]> {
        self.names.as_deref()
    }

    /// The label file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks the number of labels of an utterance of `samples`, if it has any.
    ///
    /// # Errors
    /// It differs from [`label_frames`] by more than [`TOLERANCE`].
    pub fn check(&self, id: &str, samples: usize) -> Result<()> {
        let Some((line, place)) = self.of.get(id) else { return Ok(()) };
        let (got, want) = (place.len(), label_frames(samples));
        if got.abs_diff(want) > TOLERANCE {
            let what = format!("line {line}: utterance {id} has {got} labels, but its {samples} samples make {want}");
            return Err(Error::file(
                &self.path,
                what,
                "labels are 100 a second; check that labels and audio belong together",
            ));
        }
        Ok(())
    }
}

/// `id NAME` lines, ids 0, 1, 2 … in any order.
fn read_names(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).map_err(|e| Error::io(path, "read", e))?;
    let mut names: Vec<Option<String>> = Vec::new();
    let mut n = 0;
    for (line, row) in text.lines().enumerate().map(|(i, row)| (i + 1, row)) {
        let mut tokens = row.split_ascii_whitespace();
        let Some(first) = tokens.next() else { continue };
        let (Ok(id), Some(name)) = (first.parse::<u16>(), tokens.next()) else {
            let what = format!("line {line}: {row:?} is not an id and a name");
            return Err(Error::file(path, what, "each line is: id NAME"));
        };
        let id = usize::from(id);
        if names.len() <= id {
            names.resize(id + 1, None);
        }
        if names[id].replace(name.to_owned()).is_some() {
            return Err(Error::file(
                path,
                format_args!("line {line}: id {id} has two names"),
                "remove one of the lines",
            ));
        }
        n += 1;
    }
    if n == 0 || names.len() != n {
        let hole = names.iter().position(Option::is_none).unwrap_or(0);
        return Err(Error::file(path, format_args!("id {hole} has no name"), "name every id from 0 on"));
    }
    Ok(names.into_iter().flatten().collect())
}
