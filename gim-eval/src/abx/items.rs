//! Items of the ABX task: triphones of labeled frames, or those of a list.

use std::collections::BTreeMap;
use std::path::Path;

use gim_core::data::Lines;
use gim_core::{Error, Result};

use super::AbxItem;
use crate::FrameTimes;
use crate::items::ItemIndex;

/// Items, and what was left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Items {
    /// The items.
    pub items: Vec<AbxItem>,
    /// Lines of a list whose file has no features.
    pub unknown: usize,
    /// Lines of a list that end before their first frame.
    pub short: usize,
}

/// The triphones of labeled frames: `phones (N)`, −1 = no label. A phone is a run of equal labels. `speakers` has a
/// class an utterance, −1 unknown; utterances of unknown speakers and those that `wanted` leaves out give no
/// items, nor do triphones with silence or frames without a label.
///
/// # Panics
/// When labels, speakers and index are not about the same utterances.
pub fn triphones(
    phones: &[i32],
    silence: Option<usize>,
    speakers: &[i32],
    index: &ItemIndex,
    wanted: impl Fn(usize) -> bool,
) -> Vec<AbxItem> {
    assert_eq!((phones.len(), speakers.len()), (index.n_rows(), index.n_items()), "labels and index");
    let classes = phones.iter().copied().max().map_or(0, |most| most.max(0) as usize + 1);
    let mut items = Vec::new();
    for (utterance, rows) in index.iter().enumerate().filter(|(utterance, _)| wanted(*utterance)) {
        let Ok(speaker) = usize::try_from(speakers[utterance]) else { continue };
        let mut first = rows.start;
        let runs: Vec<_> = phones[rows]
            .chunk_by(|a, b| a == b)
            .map(|run| {
                let phone = usize::try_from(run[0]).ok().filter(|phone| Some(*phone) != silence);
                let run = first..first + run.len();
                first = run.end;
                (phone, run)
            })
            .collect();
        items.extend(runs.windows(3).filter_map(|three| {
            let [before, phone, after] = [three[0].0?, three[1].0?, three[2].0?];
            let rows = three[0].1.start..three[2].1.end;
            Some(AbxItem { rows, context: before * classes + after, phone, speaker })
        }));
    }
    items
}

/// The items of a list as ZeroSpeech gives it: a head, then lines of file, onset and offset in seconds, phone, phone
/// before, phone after, speaker. `names` are those of the utterances. An item has the frames whose middles lie from
/// its onset on, and ends, as in CPC_audio, before the last one that lies before its offset.
///
/// # Errors
/// When the file cannot be read, or a line is not of that form; the line is named.
pub fn listed_items(path: &Path, names: &[String], index: &ItemIndex, times: FrameTimes) -> Result<Items> {
    let lines = Lines::read(path)?;
    let known: BTreeMap<&str, usize> = names.iter().enumerate().map(|(n, name)| (name.as_str(), n)).collect();
    let (mut contexts, mut phones, mut speakers) = (Numbers::default(), Numbers::default(), Numbers::default());
    let mut found = Items::default();
    let is_item =
        |row: &str| row.split_whitespace().skip(1).take(2).filter(|word| word.parse::<f64>().is_ok()).count() == 2;
    match lines.rows().next() {
        None => return Err(Error::file(path, "is empty", "give a list of items")),
        Some((line, head)) if is_item(head) => {
            let remedy = "put a line like `#file onset offset phone before after speaker` before it";
            return Err(lines.error(line, "an item where the head of the list belongs", remedy));
        }
        Some(_) => {}
    }
    for (line, row) in lines.rows().skip(1) {
        let wrong = |what: String| {
            lines.error(line, what, "each line is: file onset offset phone before after speaker, times in seconds")
        };
        let words: Vec<&str> = row.split_whitespace().collect();
        let [file, onset, offset, phone, before, after, speaker] = words[..] else {
            return Err(wrong(format!("{} words, not 7", words.len())));
        };
        let time = |word: &str| match word.parse::<f64>() {
            Ok(time) if time.is_finite() && time >= 0.0 => Ok(time),
            _ => Err(wrong(format!("{word:?} is not a time"))),
        };
        let (onset, offset) = (time(onset)?, time(offset)?);
        if offset < onset {
            return Err(wrong(format!("it ends at {offset} s, before it begins at {onset} s")));
        }
        let Some(utterance) = known.get(file) else {
            found.unknown += 1;
            continue;
        };
        let (rows, frame) = (index.rows(*utterance), |time: f64| (time - times.first) / times.hop);
        let from = frame(onset).ceil().max(0.0) as usize;
        let to = (frame(offset).floor().max(0.0) as usize).min(rows.len());
        if from >= to {
            found.short += 1;
            continue;
        }
        found.items.push(AbxItem {
            rows: rows.start + from..rows.start + to,
            context: contexts.of([before, after].map(str::to_owned).to_vec()),
            phone: phones.of(vec![phone.to_owned()]),
            speaker: speakers.of(vec![speaker.to_owned()]),
        });
    }
    if found.items.is_empty() {
        let what =
            format!("no item has features ({} lines of unknown files, {} too short)", found.unknown, found.short);
        return Err(Error::file(path, what, "names of files must be those of the utterances"));
    }
    Ok(found)
}

/// Numbers of names, in the order in which they come.
#[derive(Default)]
struct Numbers(BTreeMap<Vec<String>, usize>);

impl Numbers {
    fn of(&mut self, name: Vec<String>) -> usize {
        let next = self.0.len();
        *self.0.entry(name).or_insert(next)
    }
}
