//! Phone labels at 100 Hz: from lists of labels, or from the times of phones.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use gim_core::data::{Lines, all_bad};
use gim_core::{Error, Result};
use sha2::{Digest, Sha256};

use crate::dataset::alignment::Alignments;
use crate::geometry::label_frames;

/// Labels that an utterance may have too few or too many.
pub const TOLERANCE: usize = 3;

/// The contents of a label file.
#[derive(Debug, Clone)]
pub struct PhoneLabels {
    path: PathBuf,
    all: Vec<u16>,
    /// Line number (from 1; 0 without lines) and range in `all` of each utterance, by its id.
    of: HashMap<String, (usize, Range<usize>)>,
    names: Option<Vec<String>>,
    silence: Silence,
    n_classes: usize,
}

impl PhoneLabels {
    /// Reads `utterance id id …` lines and, if given, `id NAME` lines that name the ids.
    ///
    /// The utterance ends at the first tab, else at the space up to which the line is `known`: ids
    /// may hold spaces. An unknown utterance ends at the first space.
    ///
    /// # Errors
    /// When a file is unreadable, a token is not a number, an id has no name, an utterance comes
    /// twice, or a line could be of two utterances. The error names file and line.
    pub fn read(path: &Path, phones: Option<&Path>, known: impl Fn(&str) -> bool) -> Result<Self> {
        let names = phones.map(read_names).transpose()?;
        let lines = Lines::read(path)?;
        let silence = Silence::of(names.as_deref());
        let mut labels =
            Self { path: path.to_owned(), all: Vec::new(), of: HashMap::new(), names, silence, n_classes: 0 };
        for (line, row) in lines.rows() {
            let (id, tokens) = split_id(row, &known).map_err(|(one, two)| {
                let what = format!("is it of utterance {one:?} or of {two:?}?");
                lines.error(line, what, "put a tab between utterance and labels")
            })?;
            let begin = labels.all.len();
            for token in tokens.split_whitespace() {
                let phone: u16 = token.parse().map_err(|_| {
                    let what = format!("utterance {id}: {token:?} is not a phone id");
                    lines.error(line, what, "each line is: utterance id id …, ids from 0 to 65535")
                })?;
                if let Some(n) = labels.names.as_ref().map(Vec::len).filter(|&n| usize::from(phone) >= n) {
                    let what = format!("utterance {id}: phone id {phone}, but only 0 to {} have names", n - 1);
                    return Err(lines.error(line, what, "complete phones.txt, or remove it to use unnamed ids"));
                }
                labels.n_classes = labels.n_classes.max(usize::from(phone) + 1);
                labels.all.push(phone);
            }
            if labels.all.len() == begin {
                return Err(lines.error(line, format_args!("utterance {id} has no labels"), "remove the line"));
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

    /// Labels from the times of phones, for utterances (id, samples). Stretches without a phone are
    /// silence.
    ///
    /// # Errors
    /// When an alignment is longer than its audio: all are named. When there are too many phones.
    pub(super) fn aligned<'a>(
        path: &Path,
        alignments: &Alignments,
        utterances: impl Iterator<Item = (&'a str, usize)>,
    ) -> Result<Self> {
        let names = alignments.phones();
        if names.len() > usize::from(u16::MAX) {
            let what = format!("it has {} different phones", names.len());
            return Err(Error::file(path, what, "give alignments of phones, not of words"));
        }
        let (mut all, mut of, mut bad) = (Vec::new(), HashMap::new(), Vec::new());
        for (id, samples) in utterances {
            match alignments.labels(id, samples, &names) {
                Err(e) => bad.push(e),
                Ok(None) => {}
                Ok(Some(labels)) => {
                    let begin = all.len();
                    all.extend(labels);
                    of.insert(id.to_owned(), (0, begin..all.len()));
                }
            }
        }
        all_bad(path, bad)?;
        // Known, though there is no audio.
        alignments.ids().for_each(|id| {
            of.entry(id.to_owned()).or_insert((0, 0..0));
        });
        let silence = Silence::of(Some(&names));
        Ok(Self { path: path.to_owned(), all, of, n_classes: names.len(), names: Some(names), silence })
    }

    /// Adds names and labels of utterances, in this order, to a digest.
    pub(super) fn digest<'a>(&self, ids: impl Iterator<Item = &'a str>, hash: &mut Sha256) {
        hash.update(format!("phones {}\n", self.names().unwrap_or_default().join(" ")));
        for label in ids.filter_map(|id| self.get(id)).flatten() {
            hash.update(label.to_le_bytes());
        }
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

    /// The class that is silence.
    ///
    /// - Phones with names: the first of [`SILENT`] that is among them, in any case; without one,
    ///   none is.
    /// - Phones without names: class 0, as in the labels that were published with CPC.
    pub fn silence(&self) -> Option<usize> {
        match self.silence {
            Silence::Named(class) => Some(class),
            Silence::Assumed => Some(0),
            Silence::Absent => None,
        }
    }

    /// The class that is silence in words.
    pub(crate) fn say_silence(&self) -> String {
        match (self.silence, &self.names) {
            (Silence::Named(class), Some(names)) => format!("silence is {} (class {class})", names[class]),
            (Silence::Assumed, _) => "they have no names, so class 0 is taken for silence".into(),
            _ => format!("none is named as silence ({}), so none is left out", SILENT.join(", ")),
        }
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

/// Names that silence goes by, most certain first; case and marks around them do not count:
/// `<sil>`, `[SIL]`, `SIL_S` (Kaldi's, by position) and `sil` are one.
pub const SILENT: [&str; 7] = ["SIL", "SILENCE", "SP", "PAU", "H#", "SPN", "NSN"];

/// How the class of silence is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silence {
    Named(usize),
    Assumed,
    Absent,
}

impl Silence {
    fn of(names: Option<&[String]>) -> Self {
        let Some(names) = names else { return Self::Assumed };
        let bare: Vec<String> = names.iter().map(|n| bare_name(n)).collect();
        let found = SILENT.iter().find_map(|silent| bare.iter().position(|n| n == silent));
        found.map_or(Self::Absent, Self::Named)
    }
}

/// A phone's name in upper case, without brackets around it and Kaldi's mark of position.
fn bare_name(name: &str) -> String {
    let upper = name.trim_matches(|c| "<>[](){}".contains(c)).to_ascii_uppercase();
    match upper.rsplit_once('_') {
        Some((bare, "B" | "I" | "E" | "S")) => bare.to_owned(),
        _ => upper,
    }
}

/// Utterance and labels of a line; two candidates when it could be of either.
fn split_id<'a>(
    row: &'a str,
    known: &impl Fn(&str) -> bool,
) -> std::result::Result<(&'a str, &'a str), (&'a str, &'a str)> {
    if let Some((id, labels)) = row.split_once('\t') {
        return Ok((id.trim(), labels));
    }
    let ends = || row.char_indices().filter(|(_, c)| c.is_whitespace()).map(|(at, _)| at).chain([row.len()]);
    let mut found = ends().take(MOST_WORDS).filter(|&end| known(&row[..end]));
    let (one, two) = (found.next(), found.next());
    match (one, two) {
        (Some(one), Some(two)) => Err((&row[..one], &row[..two])),
        (Some(end), None) => Ok(row.split_at(end)),
        _ => Ok(row.split_at(ends().next().unwrap_or(row.len()))),
    }
}

/// Words of an id at most.
const MOST_WORDS: usize = 32;

/// `id NAME` lines, ids 0, 1, 2 … in any order.
fn read_names(path: &Path) -> Result<Vec<String>> {
    let lines = Lines::read(path)?;
    let mut names: Vec<Option<String>> = Vec::new();
    let mut n = 0;
    for (line, row) in lines.rows() {
        let mut tokens = row.split_whitespace();
        let (Some(Ok(id)), Some(name)) = (tokens.next().map(str::parse::<u16>), tokens.next()) else {
            return Err(lines.error(line, format_args!("{row:?} is not an id and a name"), "each line is: id NAME"));
        };
        let id = usize::from(id);
        if names.len() <= id {
            names.resize(id + 1, None);
        }
        if names[id].replace(name.to_owned()).is_some() {
            return Err(lines.error(line, format_args!("id {id} has two names"), "remove one of the lines"));
        }
        n += 1;
    }
    if n == 0 || names.len() != n {
        let hole = names.iter().position(Option::is_none).unwrap_or(0);
        return Err(Error::file(path, format_args!("id {hole} has no name"), "name every id from 0 on"));
    }
    Ok(names.into_iter().flatten().collect())
}
