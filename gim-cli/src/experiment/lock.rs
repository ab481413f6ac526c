//! A lock on a folder: one process at a time writes into a run or a comparison.
//!
//! The system releases it when the process ends, however it ends. A lock file that a killed process
//! left behind therefore locks nothing.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use gim_core::{Error, Result};

use crate::experiment::environment::rfc3339;
use crate::output::note;

/// How long asking for the holder of a lock may take.
const ASKED: Duration = Duration::from_millis(50);

/// Name of the lock's file. It exists while the folder is in use.
pub(crate) const FILE: &str = "gim.lock";

/// The right to write into a folder, until it is dropped.
#[derive(Debug)]
pub(crate) struct FolderLock {
    folder: PathBuf,
    /// None where nothing can be locked: a folder that cannot be written, or a file system without
    /// locks.
    file: Option<File>,
}

impl FolderLock {
    /// Locks a folder that exists.
    ///
    /// # Errors
    /// When another process holds it: names the process.
    pub(crate) fn take(folder: &Path) -> Result<Self> {
        let folder = folder.to_owned();
        let path = folder.join(FILE);
        let mut tried = false;
        loop {
            let Some(mut file) = open(&path).map_err(|e| Error::io(&folder, "lock the folder", e))? else {
                return Ok(Self { folder, file: None });
            };
            match file.try_lock() {
                Ok(()) => {}
                // Someone may only have asked who holds it.
                Err(TryLockError::WouldBlock) if !tried => {
                    tried = true;
                    thread::sleep(ASKED);
                    continue;
                }
                Err(TryLockError::WouldBlock) => return Err(in_use(&folder, &mut file)),
                Err(TryLockError::Error(e)) => {
                    let what = format!("cannot be locked ({e}); let no other process write into it");
                    note(format_args!("note: {} {what}", folder.display()));
                    return Ok(Self { folder, file: None });
                }
            }
            // The process before may have removed the file between opening and locking.
            if is_at(&file, &path) {
                // Only those who are refused read it.
                let _ = file.set_len(0).and_then(|()| file.write_all(holder().as_bytes()));
                return Ok(Self { folder, file: Some(file) });
            }
        }
    }

    /// Who holds a folder now: the process, its machine, and since when. Nothing is locked or written.
    pub(crate) fn holder(folder: &Path) -> Option<String> {
        let mut file = File::open(folder.join(FILE)).ok()?;
        // Not held for longer than this call takes; a process that starts in between tries again.
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)).then(|| signed(&mut file))
    }

    /// Checks that the folder is still the one that was locked.
    ///
    /// # Errors
    /// When it was removed, moved or replaced.
    pub(crate) fn check(&self) -> Result<()> {
        let there = match &self.file {
            Some(file) => is_at(file, &self.folder.join(FILE)),
            None => self.folder.is_dir(),
        };
        if there {
            return Ok(());
        }
        let what = "was removed, moved or replaced while it was in use";
        Err(Error::file(&self.folder, what, "run again, and leave the folder where it is meanwhile"))
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        if self.file.is_some() && self.check().is_ok() {
            // A file that stays locks nothing.
            let _ = fs::remove_file(self.folder.join(FILE));
        }
    }
}

/// Opens the lock's file; `None` in a folder that this process cannot write into.
fn open(path: &Path) -> io::Result<Option<File>> {
    let read_only =
        |e: &io::Error| matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem);
    match OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path) {
        Ok(file) => Ok(Some(file)),
        // The file may be another user's.
        Err(e) if read_only(&e) => Ok(File::open(path).ok()),
        Err(e) => Err(e),
    }
}

/// Whether `path` is the file that is open.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |m: fs::Metadata| (m.dev(), m.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => id(open) == id(there),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.is_file()
}

/// What the lock's file says of this process.
fn holder() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "this machine" } else { host.trim() };
    format!("process {} on {host}, since {}", std::process::id(), rfc3339(SystemTime::now()))
}

fn in_use(folder: &Path, file: &mut File) -> Error {
    let what = format!("is in use by {}", signed(file));
    Error::file(folder, what, "wait until it ends, or choose another folder")
}

/// What the holder of a lock has written into its file.
fn signed(file: &mut File) -> String {
    let mut holder = String::new();
    // A process that has only just taken the lock has not signed yet.
    let signed = file.read_to_string(&mut holder).is_ok() && !holder.is_empty();
    if signed { holder } else { "another process".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = FolderLock::take(folder.path()).unwrap();
        first.check().unwrap();
        assert_eq!(FolderLock::holder(folder.path()), Some(holder()));
        let said = FolderLock::take(folder.path()).unwrap_err().to_string();
        assert!(said.contains(&format!("process {} on ", std::process::id())) && said.contains(", since 2"), "{said}");
        drop(first);
        assert_eq!(FolderLock::holder(folder.path()), None);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        // What a killed process leaves locks nothing.
        fs::write(folder.path().join(FILE), "process 1 on elsewhere, since 1970-01-01T00:00:00Z, and longer").unwrap();
        let second = FolderLock::take(folder.path()).unwrap();
        let signed = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(signed.len() == holder().len() && !signed.contains("1970"), "{signed}");
        drop(second);
        assert!(FolderLock::take(&folder.path().join("absent")).is_err());
    }

    #[test]
    fn a_folder_that_is_replaced_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        fs::create_dir(&run).unwrap();
        let lock = FolderLock::take(&run).unwrap();
        fs::rename(&run, folder.path().join("elsewhere")).unwrap();
        assert!(lock.check().unwrap_err().to_string().contains("was removed"));
        fs::create_dir(&run).unwrap();
        let other = FolderLock::take(&run).unwrap();
        assert!(lock.check().is_err());
        drop(lock);
        other.check().unwrap();
    }
}
