//! Phones with the times at which they begin and end: TextGrid files (Praat, the Montreal Forced Aligner)
//! and CTM files (Kaldi).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gim_core::data::{Lines, all_bad, normalized};
use gim_core::files::has_extension;
use gim_core::{Error, Result};

use crate::dataset::decode::RATE;
use crate::geometry::{label_center, label_frames};

/// Name that stretches without a phone are given.
pub(super) const GAP: &str = "SIL";
/// Seconds by which an alignment may be longer than its audio: aligners count in frames of 10 ms.
const SLACK: f64 = 0.05;
/// Names of the tier of phones, in lower case; the aligner puts the speaker before it: `ann - phones`.
const TIERS: [&str; 4] = ["phones", "phone", "phonemes", "phoneme"];

/// A phone and when it is said.
#[derive(Debug, Clone, PartialEq)]
struct Interval {
    /// Begin and end in seconds.
    time: [f64; 2],
    /// Its name; empty for silence.
    phone: String,
}

/// Alignments of some utterances.
#[derive(Debug, Clone, Default)]
pub(super) struct Alignments {
    /// The file and the phones, in the order of time, of each utterance.
    of: BTreeMap<String, (PathBuf, Vec<Interval>)>,
}

/// Whether a path is that of alignments: a folder, or a CTM file.
pub(super) fn is_alignment(path: &Path) -> bool {
    path.is_dir() || has_extension(path, &["ctm"])
}

impl Alignments {
    /// Reads a CTM file.
    ///
    /// # Errors
    /// For lines that are not `utterance channel begin duration phone`, and phones that overlap: all are
    /// named.
    pub(super) fn read_ctm(path: &Path) -> Result<Self> {
        let lines = Lines::read(path)?;
        let mut of = BTreeMap::<String, (PathBuf, Vec<Interval>)>::new();
        for (line, row) in lines.rows().filter(|(_, row)| !row.starts_with(";;")) {
            let cells: Vec<&str> = row.split_whitespace().collect();
            let [id, _, begin, duration, phone, ..] = cells[..] else {
                return Err(lines.error(line, format_args!("{} cells", cells.len()), CTM));
            };
            let (Some(begin), Some(duration)) = (seconds(begin), seconds(duration)) else {
                return Err(lines.error(line, format_args!("{begin:?} and {duration:?} are not both seconds"), CTM));
            };
            let interval = Interval { time: [begin, begin + duration], phone: phone.to_owned() };
            of.entry(id.to_owned()).or_insert_with(|| (path.to_owned(), Vec::new())).1.push(interval);
        }
        if of.is_empty() {
            return Err(Error::file(path, "it has no phones", CTM));
        }
        // Kaldi sorts by time, other programs need not.
        of.values_mut().for_each(|(_, intervals)| intervals.sort_by(|a, b| a.time[0].total_cmp(&b.time[0])));
        Self { of }.checked(path)
    }

    /// Reads the TextGrid files (id, path).
    ///
    /// # Errors
    /// When two are of one utterance, and for files that are no TextGrid with a tier of phones: all are
    /// named.
    pub(super) fn read_grids(root: &Path, files: Vec<(String, PathBuf)>) -> Result<Self> {
        if files.is_empty() {
            let what = "there is no TextGrid file in it or its folders";
            return Err(Error::file(root, what, "give the folder of the alignments, or a file of labels"));
        }
        let (mut of, mut bad) = (BTreeMap::<String, (PathBuf, Vec<Interval>)>::new(), Vec::new());
        for (id, path) in files {
            match read_grid(&path) {
                Err(e) => bad.push(e),
                Ok(intervals) => {
                    if let Some((before, _)) = of.insert(id, (path.clone(), intervals)) {
                        let what = format!("it is of the same utterance as {}", before.display());
                        bad.push(Error::file(path, what, "remove or rename one of the files"));
                    }
                }
            }
        }
        all_bad(root, bad)?;
        Self { of }.checked(root)
    }

    /// Itself, when no phone begins before the one before it has ended.
    fn checked(self, root: &Path) -> Result<Self> {
        let overlap = |(id, (path, intervals)): (&String, &(PathBuf, Vec<Interval>))| {
            let two = intervals.windows(2).find(|w| w[1].time[0] < w[0].time[1] - 1e-3)?;
            let (one, other) = (&two[0], &two[1]);
            let what = format!(
                "utterance {id}: {} ends at {} s, but {} begins at {} s",
                one.phone, one.time[1], other.phone, other.time[0]
            );
            Some(Error::file(path, what, "phones follow each other; export the tier of phones alone"))
        };
        all_bad(root, self.of.iter().filter_map(overlap).collect())?;
        Ok(self)
    }

    /// Utterances, sorted.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.of.keys().map(String::as_str)
    }

    /// Names of all phones, sorted; [`GAP`] is among them.
    pub(super) fn phones(&self) -> Vec<String> {
        let said = self.of.values().flat_map(|(_, intervals)| intervals.iter().map(|i| name(&i.phone)));
        let mut all: Vec<String> = said.chain([GAP]).map(str::to_owned).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Labels of an utterance of `samples` at 100 Hz: the phone in the middle of each window, as an index
    /// into all [`phones`](Self::phones). `None` when it has no alignment.
    ///
    /// # Errors
    /// When the alignment is longer than the audio.
    pub(super) fn labels(&self, id: &str, samples: usize, phones: &[String]) -> Result<Option<Vec<u16>>> {
        let Some((path, intervals)) = self.of.get(id) else { return Ok(None) };
        let audio = samples as f64 / f64::from(RATE);
        let end = intervals.last().map_or(0.0, |i| i.time[1]);
        if end > audio + SLACK {
            let what = format!("utterance {id}: its phones end at {end:.2} s, but its audio at {audio:.2} s");
            return Err(Error::file(path, what, "check that alignments and audio belong together"));
        }
        let of = |n: usize| {
            let time = label_center(n) / f64::from(RATE);
            let after = intervals.partition_point(|i| i.time[0] <= time);
            let at = intervals[..after].last().filter(|i| time < i.time[1]);
            let said = at.map_or(GAP, |i| name(&i.phone));
            phones.partition_point(|phone| phone.as_str() < said) as u16
        };
        Ok(Some((0..label_frames(samples)).map(of).collect()))
    }
}

/// What a line of a CTM file is.
const CTM: &str = "each line is: utterance channel begin duration phone, in seconds";

fn seconds(cell: &str) -> Option<f64> {
    cell.parse().ok().filter(|t: &f64| t.is_finite() && *t >= 0.0)
}

/// The name of a phone; a stretch without one is silence.
fn name(phone: &str) -> &str {
    if phone.is_empty() { GAP } else { phone }
}

/// Text of a TextGrid file. Praat writes UTF-16, with a mark, where there is more than ASCII.
fn grid_text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|e| Error::io(path, "read", e))?;
    let unit: fn([u8; 2]) -> u16 = match bytes[..] {
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        _ => return Ok(Lines::of(path, bytes)?.into_text()),
    };
    let units: Vec<u16> = bytes.chunks_exact(2).map(|two| unit([two[0], two[1]])).collect();
    let text = String::from_utf16(&units).ok().filter(|_| bytes.len() % 2 == 0);
    let text = text.ok_or_else(|| Error::file(path, "it is damaged UTF-16 text", "export it as a TextGrid again"))?;
    Ok(normalized(&text).into_owned())
}

/// Phones of a TextGrid file.
fn read_grid(path: &Path) -> Result<Vec<Interval>> {
    let text = grid_text(path)?;
    let wrong = |what: &str| Error::file(path, what, "export it as a TextGrid again");
    let mut tokens = Tokens(&text);
    match (tokens.text(), tokens.text()) {
        (Some(kind), Some(class)) if kind == "ooTextFile" && class == "TextGrid" => {}
        _ => return Err(wrong("it is not a TextGrid file")),
    }
    let cut = || wrong("it is cut short or damaged");
    tokens.number().zip(tokens.number()).ok_or_else(cut)?;
    let tiers = tokens.natural().ok_or_else(cut)?;
    let (mut found, mut others) = (Vec::new(), Vec::new());
    for _ in 0..tiers {
        let (kind, tier) = tokens.text().zip(tokens.text()).ok_or_else(cut)?;
        tokens.number().zip(tokens.number()).ok_or_else(cut)?;
        let n = tokens.natural().ok_or_else(cut)?;
        let points = kind == "TextTier";
        let mut intervals = Vec::new();
        for _ in 0..n {
            let begin = tokens.number().ok_or_else(cut)?;
            let end = if points { begin } else { tokens.number().ok_or_else(cut)? };
            let phone = tokens.text().ok_or_else(cut)?.trim().to_owned();
            if !(begin >= 0.0 && begin <= end) {
                return Err(wrong(&format!("an interval of tier {tier} is from {begin} to {end} s")));
            }
            intervals.push(Interval { time: [begin, end], phone });
        }
        let bare = tier.rsplit(" - ").next().unwrap_or_default().trim().to_lowercase();
        match (points, TIERS.contains(&bare.as_str())) {
            (false, true) => found.push((tier, intervals)),
            _ => others.push(tier),
        }
    }
    match found.len() {
        1 => Ok(found.remove(0).1),
        0 => {
            let what = format!("no tier of intervals is called phones; there are: {}", others.join(", "));
            Err(Error::file(path, what, "call the tier of phones `phones`"))
        }
        _ => {
            let names: Vec<String> = found.into_iter().map(|(tier, _)| tier).collect();
            let what = format!("several tiers are of phones: {}", names.join(", "));
            Err(Error::file(path, what, "keep one of them"))
        }
    }
}

/// The values in a TextGrid file. Praat defines both of its forms by them: numbers and quoted texts that
/// stand free. All else, such as `xmin =` and `[1]:`, is a comment.
struct Tokens<'a>(&'a str);

enum Token {
    Number(f64),
    Text(String),
}

impl Tokens<'_> {
    fn number(&mut self) -> Option<f64> {
        match self.next()? {
            Token::Number(n) => Some(n),
            Token::Text(_) => None,
        }
    }

    fn text(&mut self) -> Option<String> {
        match self.next()? {
            Token::Text(text) => Some(text),
            Token::Number(_) => None,
        }
    }

    /// A number of things that follow, each of which takes some bytes.
    fn natural(&mut self) -> Option<usize> {
        let n = self.number()?;
        (n >= 0.0 && n.fract() == 0.0 && n <= self.0.len() as f64).then_some(n as usize)
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            self.0 = self.0.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
            if let Some(rest) = self.0.strip_prefix('"') {
                return self.quoted(rest);
            }
            let word = self.0.split(char::is_whitespace).next().filter(|word| !word.is_empty())?;
            self.0 = &self.0[word.len()..];
            if let Ok(n) = word.parse::<f64>()
                && n.is_finite()
            {
                return Some(Token::Number(n));
            }
        }
    }
}

impl<'a> Tokens<'a> {
    /// A text up to its quote; a quote within is written twice.
    fn quoted(&mut self, mut rest: &'a str) -> Option<Token> {
        let mut text = String::new();
        loop {
            let end = rest.find('"')?;
            text.push_str(&rest[..end]);
            rest = &rest[end + 1..];
            match rest.strip_prefix('"') {
                Some(more) => {
                    text.push('"');
                    rest = more;
                }
                None => {
                    self.0 = rest;
                    return Some(Token::Text(text));
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONG: &str = "File type = \"ooTextFile\"\nObject class = \"TextGrid\"\n\nxmin = 0\nxmax = 0.1\n\
        tiers? <exists>\nsize = 2\nitem []:\n    item [1]:\n        class = \"IntervalTier\"\n        name = \"words\"\n\
        xmin = 0\nxmax = 0.1\nintervals: size = 1\nintervals [1]:\nxmin = 0\nxmax = 0.1\ntext = \"a \"\"b\"\"\"\n\
        item [2]:\nclass = \"IntervalTier\"\nname = \"ann - phones\"\nxmin = 0\nxmax = 0.1\nintervals: size = 3\n\
        intervals [1]:\nxmin = 0\nxmax = 0.03\ntext = \"\"\nintervals [2]:\nxmin = 0.03\nxmax = 0.05\ntext = \"AH0\"\n\
        intervals [3]:\nxmin = 0.05\nxmax = 0.1\ntext = \"B\"\n";
    const SHORT: &str = "File type = \"ooTextFile\"\r\nObject class = \"TextGrid\"\r\n\r\n0\r\n0.1\r\n<exists>\r\n1\r\n\
        \"IntervalTier\"\r\n\"Phones\"\r\n0\r\n0.1\r\n3\r\n0\r\n0.03\r\n\"\"\r\n0.03\r\n0.05\r\n\"AH0\"\r\n0.05\r\n0.1\r\n\"B\"\r\n";

    fn grid(bytes: &[u8]) -> Result<Alignments> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("u.TextGrid");
        std::fs::write(&path, bytes).unwrap();
        Alignments::read_grids(dir.path(), vec![("u".to_owned(), path)])
    }

    fn ctm(text: &str) -> Result<Alignments> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ctm");
        std::fs::write(&path, text).unwrap();
        Alignments::read_ctm(&path)
    }

    fn fails(read: Result<Alignments>, part: &str) {
        let e = read.unwrap_err().to_string();
        assert!(e.contains(part), "{e:?} should say {part:?}");
    }

    /// 0.1 s of audio have eight labels, their windows' middles 12.5, 22.5, … 82.5 ms.
    #[test]
    fn forms_of_one_alignment_give_the_same_labels() {
        let utf16 = |big: bool| -> Vec<u8> {
            let units = std::iter::once(0xfeff).chain(LONG.encode_utf16());
            units.flat_map(|u| if big { u.to_be_bytes() } else { u.to_le_bytes() }).collect()
        };
        let kaldi = ";; made by hand\nu 1 0.05 0.05 B\nu 1 0.03 0.02 AH0 0.9\nother 1 0 1 B\n";
        for read in [grid(LONG.as_bytes()), grid(SHORT.as_bytes()), grid(&utf16(true)), grid(&utf16(false)), ctm(kaldi)]
        {
            let read = read.unwrap();
            let phones = read.phones();
            assert_eq!(phones, ["AH0", "B", "SIL"]);
            let labels = read.labels("u", 1_600, &phones).unwrap().unwrap();
            assert_eq!(labels, [2, 2, 0, 0, 1, 1, 1, 1]);
            assert_eq!(read.labels("none", 1_600, &phones).unwrap(), None);
            let e = read.labels("u", 700, &phones).unwrap_err().to_string();
            assert!(e.contains("end at 0.10 s, but its audio at 0.04 s"), "{e}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        fails(grid(b"a,b\n"), "not a TextGrid");
        fails(grid(&LONG.as_bytes()[..LONG.len() - 20]), "cut short");
        fails(grid(LONG.replace("ann - phones", "segments").as_bytes()), "there are: words, segments");
        fails(
            grid(LONG.replace("\"words\"", "\"phones\"").as_bytes()),
            "several tiers are of phones: phones, ann - phones",
        );
        fails(
            grid(LONG.replace("xmin = 0.05", "xmin = 0.04").as_bytes()),
            "AH0 ends at 0.05 s, but B begins at 0.04 s",
        );
        fails(grid(LONG.replace("size = 3", "size = 3000000000").as_bytes()), "cut short");
        fails(ctm("u 1 0.1 A\n"), "line 1: 4 cells");
        fails(ctm("u 1 0.1 -1 A\n"), "line 1: ");
        fails(ctm(";; nothing\n"), "no phones");
    }

    proptest! {
        /// Damaged files are alignments or errors, never a panic or a hang.
        #[test]
        fn any_change_is_read_or_refused(at in 0..LONG.len(), with in any::<u8>(), cut in 0..LONG.len()) {
            let mut bytes = LONG.as_bytes().to_vec();
            bytes[at] = with;
            bytes.truncate(cut);
            let _ = grid(&bytes);
        }
    }
}
