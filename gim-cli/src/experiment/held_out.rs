//! Which items of the training split are held out of training, to validate on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use gim_core::data::{Lines, draw_share, normalized};
use gim_core::{Error, Key, Purpose, Result};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::experiment::dataset_record::DatasetRecord;

/// The setting `data.validate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "use a share such as 0.2, or the name of a file that lists items")]
pub enum HeldOut {
    /// A share of the training items, drawn by the seed; 0 for none.
    Share(f64),
    /// The items that this file names, one a line.
    List(String),
}

impl Default for HeldOut {
    fn default() -> Self {
        Self::Share(0.0)
    }
}

/// How many of `items` held-out items, in batches of `batch`, a loss can measure that needs `least` items in each: it
/// leaves those of a last batch out that are fewer.
pub(crate) fn measurable(items: usize, batch: usize, least: usize) -> usize {
    let last = items % batch;
    if last < least { items - last } else { items }
}

impl HeldOut {
    /// Whether nothing is held out.
    pub(crate) fn is_none(&self) -> bool {
        match self {
            Self::Share(share) => *share == 0.0,
            Self::List(file) => file.is_empty(),
        }
    }

    /// The items held out of `items`, whose names `id` gives.
    ///
    /// # Errors
    /// When the list names what is no training item, or nothing would be left on one side.
    pub(crate) fn of(&self, items: &[usize], id: impl Fn(usize) -> String, seed: u64) -> Result<BTreeSet<usize>> {
        let held_out: BTreeSet<usize> = match self {
            _ if self.is_none() => return Ok(BTreeSet::new()),
            Self::Share(share) => {
                let mut items = items.to_vec();
                let n = draw_share(&mut items, *share, seed);
                items[..n].iter().copied().collect()
            }
            Self::List(file) => {
                let known: BTreeMap<String, usize> =
                    items.iter().map(|i| (normalized(&id(*i)).into_owned(), *i)).collect();
                let lines = Lines::read(Path::new(file)).map_err(|e| no_list(file, e))?;
                let item = |(line, name): (usize, &str)| {
                    let remedy = "name training items as features.h5 does, one a line";
                    let what = format!("{name:?} is not in the training split");
                    known.get(name).copied().ok_or_else(|| lines.error(line, what, remedy))
                };
                lines.rows().map(item).collect::<Result<_>>()?
            }
        };
        if held_out.is_empty() || held_out.len() == items.len() {
            let what = format!("holds out {} of {} training items", held_out.len(), items.len());
            return Err(Error::config("data.validate", what, "leave some on both sides"));
        }
        Ok(held_out)
    }

    /// Refuses to resume a run whose `record` holds out other items of the same dataset than `now`.
    ///
    /// # Errors
    /// Then.
    pub(crate) fn check(&self, record: Option<&DatasetRecord>, now: &DatasetRecord) -> Result<()> {
        let same =
            |r: &DatasetRecord| r.trained_on.digest != now.trained_on.digest || r.splits_digest == now.splits_digest;
        if self.is_none() || record.is_none_or(same) {
            return Ok(());
        }
        let what = "holds out other items than when the run was begun";
        Err(Error::config("data.validate", what, "restore the list, or train another run"))
    }
}

/// The error of a list that cannot be read; one that is not there may be a misspelled share.
fn no_list(file: &str, e: Error) -> Error {
    if Path::new(file).exists() {
        return e;
    }
    let what = format!("{file:?} is neither a share nor a file that is there");
    let remedy = "give a share from 0 to 0.9, such as 0.2, or the file that lists the items";
    Error::config("data.validate", what, remedy).caused_by(e)
}

/// The seed of all draws in validation: places of crops, windows and negatives. They are the same at
/// every step.
pub(crate) fn draw_seed(seed: u64) -> u64 {
    Key::new(seed, Purpose::Validate).with_item(1).rng().random()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_drawn_or_listed() {
        let id = |i: usize| format!("item {i}");
        let items: Vec<usize> = (10..20).collect();
        let of = |held_out: HeldOut, seed| held_out.of(&items, id, seed);
        assert!(of(HeldOut::default(), 1).unwrap().is_empty());
        let fifth = of(HeldOut::Share(0.2), 1).unwrap();
        assert!(fifth.len() == 2 && fifth.iter().all(|i| items.contains(i)));
        assert_eq!(of(HeldOut::Share(0.2), 1).unwrap(), fifth);
        assert!((2..20).any(|seed| of(HeldOut::Share(0.2), seed).unwrap() != fifth));

        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("list.txt");
        let listed = |text: &str| {
            std::fs::write(&file, text).unwrap();
            of(HeldOut::List(file.to_string_lossy().into_owned()), 1)
        };
        assert_eq!(listed("\u{feff}item 12\r\n\r\nitem 19\r\n").unwrap(), BTreeSet::from([12, 19]));
        let e = listed("item 12\nitem 20\n").unwrap_err().to_string();
        assert!(e.contains("line 2") && e.contains("item 20"), "{e}");
        let all: String = items.iter().map(|i| id(*i) + "\n").collect();
        assert!(listed(&all).unwrap_err().to_string().contains("10 of 10"));
        assert!(listed("").unwrap_err().to_string().contains("0 of 10"));
        let e = of(HeldOut::List("0,2".into()), 1).unwrap_err().to_string();
        assert!(e.starts_with("data.validate: \"0,2\" is neither a share nor a file"), "{e}");
    }
}
