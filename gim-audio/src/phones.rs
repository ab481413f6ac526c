//! Phone labels at 100 Hz, and where a network's frames lie beside them.
//!
//! # Which feature belongs to which label
//!
//! A stack of convolutions with kernels k_i, strides s_i and padding p_i sees, with jump_i = s_1 ⋯ s_i (jump_0 = 1):
//!
//! ```text
//! hop             = jump_n                                            samples between frames
//! receptive field = 1 + Σ (k_i − 1) · jump_{i−1}                      samples
//! centre of f     = hop · f + Σ ((k_i − 1)/2 − p_i) · jump_{i−1}      sample at the middle of frame f's field
//! ```
//!
//! For the paper's encoder (kernels 10 8 4 4 4, strides 5 4 2 2 2, padding 2 2 2 2 1): hop 160, field 465, centre 160 f + 20.
//! A label is made from a window of 400 samples every 160, so label n's centre is 160 n + 199.5. The centres are nearest when
//! f = n + 1 (20 + 160 against 199.5: 1.2 ms apart).
//!
//! The published code drops as many *first* features as there are too many. n samples give ⌊(n−400)/160⌋+1 labels and mostly
//! two features more, so it pairs feature n + 2 with label n, 8.8 ms later than the centre, and n + 1 or n + 3 where the lengths
//! round differently. That rule is not here: whoever pairs features with labels goes by the centres ([`Receptive`]).

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use gim_core::{Error, Result};

/// Samples between labels (10 ms).
pub const LABEL_HOP: usize = 160;
/// Samples a label is made from (25 ms).
pub const LABEL_WINDOW: usize = 400;
/// How many labels an utterance may have too few or too many before it is an error.
pub const TOLERANCE: usize = 3;

/// Labels (or MFCC frames) of an utterance of `samples`: ⌊(n − 400)/160⌋ + 1, none below 400.
pub fn label_frames(samples: usize) -> usize {
    if samples < LABEL_WINDOW { 0 } else { (samples - LABEL_WINDOW) / LABEL_HOP + 1 }
}

/// A convolution as seen from its geometry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvSpec {
    /// Taps.
    pub kernel: usize,
    /// Samples between outputs.
    pub stride: usize,
    /// Zeros put before (and after) the input.
    pub padding: usize,
}

/// The encoder of the paper.
pub const PAPER_STACK: [ConvSpec; 5] = [
    ConvSpec { kernel: 10, stride: 5, padding: 2 },
    ConvSpec { kernel: 8, stride: 4, padding: 2 },
    ConvSpec { kernel: 4, stride: 2, padding: 2 },
    ConvSpec { kernel: 4, stride: 2, padding: 2 },
    ConvSpec { kernel: 4, stride: 2, padding: 1 },
];

/// What a frame of a stack sees of the waveform; see the [module](self) for the formulas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Receptive {
    /// Samples between frames.
    pub hop: usize,
    /// Samples a frame sees.
    pub field: usize,
    /// Sample at the middle of frame 0's field (negative: padding outweighs the kernels).
    pub centre: f64,
}

impl Receptive {
    /// Of a chain of convolutions, first layer first.
    pub fn of(stack: &[ConvSpec]) -> Self {
        let mut r = Self { hop: 1, field: 1, centre: 0.0 };
        for layer in stack {
            r.field += layer.kernel.saturating_sub(1) * r.hop;
            r.centre += ((layer.kernel as f64 - 1.0) / 2.0 - layer.padding as f64) * r.hop as f64;
            r.hop *= layer.stride;
        }
        r
    }
}

/// The contents of a label file.
#[derive(Debug, Clone)]
pub struct PhoneLabels {
    path: PathBuf,
    all: Vec<u16>,
    /// Line number (from 1) and place in `all` of each utterance.
    of: HashMap<String, (usize, Range<usize>)>,
    names: Option<Vec<String>>,
    n_classes: usize,
}

impl PhoneLabels {
    /// Reads `utterance id id …` lines and, if given, `id NAME` lines that name the ids.
    ///
    /// # Errors
    /// A file is unreadable; a token is not a number; an id has no name; an utterance comes twice. File and line are named.
    pub fn read(path: &Path, phones: Option<&Path>) -> Result<Self> {
        let names = phones.map(read_names).transpose()?;
        let text = fs::read_to_string(path).map_err(|e| Error::io(path, "read", &e))?;
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

    /// Classes: as many as phones have names, or else the largest id + 1.
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
    let text = fs::read_to_string(path).map_err(|e| Error::io(path, "read", &e))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometry_of_the_paper() {
        let r = Receptive::of(&PAPER_STACK);
        assert_eq!(r, Receptive { hop: 160, field: 465, centre: 20.0 });
        // The frame nearest to the centre of label 0.
        let label = (LABEL_WINDOW as f64 - 1.0) / 2.0;
        assert_eq!(((label - r.centre) / r.hop as f64).round(), 1.0);
    }

    /// The centre by brute force: which inputs does a frame depend on?
    #[test]
    fn centre_is_the_middle_of_what_a_frame_sees() {
        let (mut lo, mut hi) = (40isize, 40isize);
        for layer in PAPER_STACK.iter().rev() {
            lo = lo * layer.stride as isize - layer.padding as isize;
            hi = hi * layer.stride as isize - layer.padding as isize + layer.kernel as isize - 1;
        }
        let r = Receptive::of(&PAPER_STACK);
        assert_eq!((hi - lo + 1) as usize, r.field);
        assert_eq!((lo + hi) as f64 / 2.0, r.centre + 160.0 * 40.0);
    }

    #[test]
    fn label_frames_at_the_edges() {
        assert_eq!([0, 399, 400, 559, 560, 20_480].map(label_frames), [0, 0, 1, 1, 2, 126]);
    }
}
