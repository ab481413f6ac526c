//! What earlier starts learned by reading the files of a dataset, kept so that the next start need not
//! read them again.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::files::{create_folder, write_atomic};
use crate::{Error, Result};

/// Format of the file; others are ignored.
const FORMAT: u32 = 1;

/// Facts `T` about files, by their paths. A fact holds while the file has the length and the time of
/// change that it had when it was read.
///
/// The index is a cache and nothing more: it may be deleted at any time, a damaged one counts as empty, and
/// one that cannot be written is not kept.
#[derive(Debug)]
pub struct FileIndex<T> {
    file: Option<PathBuf>,
    known: Mutex<Known<T>>,
}

#[derive(Debug)]
struct Known<T> {
    facts: HashMap<String, (Stamp, T)>,
    changed: bool,
}

/// A file that changed so recently may change again without another time: clocks of file systems tick.
const SETTLED: Duration = Duration::from_secs(2);

/// What tells a changed file from the one that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    /// Length in bytes.
    bytes: u64,
    /// Time of the last change, in nanoseconds since 1970.
    changed: u64,
}

impl Stamp {
    /// Of a file now; `None` where the system does not say.
    fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        let changed = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(Self { bytes: meta.len(), changed: changed.as_nanos().try_into().ok()? })
    }

    /// Whether a later change is sure to have another time.
    fn is_settled(self) -> bool {
        let changed = UNIX_EPOCH + Duration::from_nanos(self.changed);
        SystemTime::now().duration_since(changed).is_ok_and(|age| age >= SETTLED)
    }
}

#[derive(Serialize, Deserialize)]
struct Stored<T> {
    format: u32,
    facts: HashMap<String, (Stamp, T)>,
}

impl<T: Clone + Serialize + DeserializeOwned> FileIndex<T> {
    /// The index in `file`; without one, nothing is kept.
    pub fn open(file: Option<PathBuf>) -> Self {
        let read = |file: &PathBuf| serde_json::from_slice::<Stored<T>>(&fs::read(file).ok()?).ok();
        let stored = file.as_ref().and_then(read).filter(|s| s.format == FORMAT);
        let facts = stored.map(|s| s.facts).unwrap_or_default();
        Self { file, known: Mutex::new(Known { facts, changed: false }) }
    }

    /// What `pick` wants to know of a file as it is now. If what is known does not tell, `read` reads the file:
    /// it is given what is known, and returns what is kept.
    ///
    /// # Errors
    /// That of `read`; an internal one when what was read does not tell, either.
    pub fn recall<R>(
        &self,
        path: &Path,
        pick: impl Fn(&T) -> Option<R>,
        read: impl FnOnce(Option<T>) -> Result<T>,
    ) -> Result<R> {
        // Taken before the file is read, so that a change in between is seen.
        let stamp = Stamp::of(path);
        let known = self.get(path, stamp);
        if let Some(told) = known.as_ref().and_then(&pick) {
            return Ok(told);
        }
        let fact = read(known)?;
        let told = pick(&fact);
        self.put(path, stamp, fact);
        told.ok_or_else(|| Error::internal("index", "what was read of a file does not tell what is wanted"))
    }

    /// What is known of a file that is `now` as this stamp says.
    fn get(&self, path: &Path, now: Option<Stamp>) -> Option<T> {
        let known = self.known();
        let (stamp, fact) = known.facts.get(path.to_str()?)?;
        (now == Some(*stamp)).then(|| fact.clone())
    }

    /// Keeps what was learned of a file, unless the file is only seconds old.
    fn put(&self, path: &Path, stamp: Option<Stamp>, fact: T) {
        if self.file.is_none() {
            return;
        }
        if let (Some(path), Some(stamp)) = (path.to_str(), stamp.filter(|s| s.is_settled())) {
            let mut known = self.known();
            known.facts.insert(path.to_owned(), (stamp, fact));
            known.changed = true;
        }
    }

    /// Writes what was learned since the index was opened. Files that are gone are forgotten.
    pub fn save(&self) {
        let Some(file) = &self.file else { return };
        let mut known = self.known();
        if !std::mem::take(&mut known.changed) {
            return;
        }
        known.facts.retain(|path, _| Path::new(path).exists());
        let stored = Stored { format: FORMAT, facts: std::mem::take(&mut known.facts) };
        // The next start reads the files again where this fails.
        if let (Some(folder), Ok(bytes)) = (file.parent(), serde_json::to_vec(&stored)) {
            let _ = create_folder(folder).and_then(|()| write_atomic(file, &bytes));
        }
        known.facts = stored.facts;
    }

    fn known(&self) -> MutexGuard<'_, Known<T>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a file that looks an hour old.
    fn write_old(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    }

    #[test]
    fn a_fact_holds_until_its_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (file, stays, goes) =
            (folder.path().join("cache/index.json"), folder.path().join("a"), folder.path().join("b"));
        for path in [&stays, &goes] {
            write_old(path, "x");
        }
        let index = FileIndex::open(Some(file.clone()));
        assert_eq!(index.get(&stays, Stamp::of(&stays)), None);
        index.put(&stays, Stamp::of(&stays), 7u64);
        index.put(&goes, Stamp::of(&goes), 8);
        fs::remove_file(&goes).unwrap();
        index.save();

        let again = FileIndex::<u64>::open(Some(file.clone()));
        assert_eq!((again.get(&stays, Stamp::of(&stays)), again.get(&goes, Stamp::of(&goes))), (Some(7), None));
        assert_eq!(again.known().facts.len(), 1, "a file that is gone is remembered");
        fs::write(&stays, "xy").unwrap();
        assert_eq!(again.get(&stays, Stamp::of(&stays)), None, "the file has changed");

        fs::write(&file, "{\"format\":1,").unwrap();
        assert_eq!(FileIndex::<u64>::open(Some(file)).get(&stays, Stamp::of(&stays)), None);
    }

    #[test]
    fn a_file_that_changed_while_it_was_read_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_old(&path, "x");
        let stamp = Stamp::of(&path);
        fs::write(&path, "y").unwrap();
        let index = FileIndex::open(Some(folder.path().join("index.json")));
        index.put(&path, stamp, 1u64);
        assert_eq!(index.get(&path, Stamp::of(&path)), None);
        // The next change could have the same time.
        index.put(&path, Stamp::of(&path), 1u64);
        assert_eq!(index.get(&path, Stamp::of(&path)), None);
    }

    #[test]
    fn without_a_file_nothing_is_kept() {
        let index = FileIndex::open(None);
        let path = Path::new("Cargo.toml");
        index.put(path, Stamp::of(path), 1u64);
        index.save();
        assert_eq!(index.get(path, Stamp::of(path)), None);
    }

    #[test]
    fn a_file_is_read_for_what_is_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_old(&path, "x");
        let index = FileIndex::open(Some(folder.path().join("index.json")));
        let first = |facts: &(Option<u64>, Option<u64>)| facts.0;
        let second = |facts: &(Option<u64>, Option<u64>)| facts.1;
        assert_eq!(index.recall(&path, first, |known| Ok((known.map_or(Some(1), |k| k.0), None))).unwrap(), 1);
        assert_eq!(index.recall(&path, first, |_| panic!("it is known")).unwrap(), 1);
        assert_eq!(index.recall(&path, second, |known| Ok((known.unwrap().0, Some(2)))).unwrap(), 2);
        assert_eq!(index.recall(&path, first, |_| panic!("it is known")).unwrap(), 1);
        let failed = index.recall(&folder.path().join("b"), first, |_| Err(Error::config("a", "b", "c")));
        assert!(failed.is_err() && index.recall(&folder.path().join("c"), first, |_| Ok((None, None))).is_err());
    }
}
