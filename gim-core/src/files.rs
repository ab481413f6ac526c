//! Files that are either whole or not there: write beside, flush to the disk, rename.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Makes `folder` and its parents if they are not there yet.
pub fn create_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the folder", e))
}

/// Checks that `folder` is there.
///
/// # Errors
/// When it is not. The error of a relative path says for which it was taken.
pub fn need_folder(folder: &Path, remedy: &str) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let what = if folder.exists() { "is not a folder" } else { "there is no such folder" };
    let taken = std::path::absolute(folder).ok().filter(|_| folder.is_relative());
    let taken = taken.map_or(String::new(), |path| format!("; it was taken for {}", path.display()));
    Err(Error::file(folder, format_args!("{what}{taken}"), remedy))
}

/// Writes `bytes` as the whole content of `path`: a reader sees the old file or the new one, never a part.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomic_with(path, |out| out.write_all(bytes))
}

/// Like [`write_atomic`], with the content written by `fill` (buffered).
///
/// The content goes to an [`Unfinished`] file. When anything fails, what was at `path` stays as it was. Waits while another
/// process writes the same file.
pub fn write_atomic_with(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    Unfinished::wait(path)?.fill(fill)
}

/// Reads and writes a small file as one: `change` gets what is there and gives what shall be there. No other
/// process that goes through this function comes between.
///
/// # Errors
/// As `change`, and when the file cannot be written.
pub fn update_atomic(path: &Path, change: impl FnOnce() -> Result<Vec<u8>>) -> Result<()> {
    let unfinished = Unfinished::wait(path)?;
    let bytes = change()?;
    unfinished.fill(|out| out.write_all(&bytes))
}

/// A file that is written beside its place and takes it when it is whole.
///
/// It is `.<name>.tmp` in the same folder, because a rename across file systems is not atomic. Its lock, which the system
/// releases when the process ends, keeps a second process from writing it, too.
#[derive(Debug)]
pub struct Unfinished {
    path: PathBuf,
    beside: PathBuf,
    /// Holds the lock; `None` when the file has taken its place.
    lock: Option<File>,
}

impl Unfinished {
    /// Begins to write `path`. A link is followed.
    ///
    /// # Errors
    /// When another process writes the same file, what is there is no regular file, or the folder cannot be written.
    pub fn begin(path: &Path) -> Result<Self> {
        Self::locked(path, false)
    }

    /// As [`Unfinished::begin`], but waits for the other process.
    ///
    /// # Errors
    /// When what is there is no regular file, or the folder cannot be written.
    pub fn wait(path: &Path) -> Result<Self> {
        Self::locked(path, true)
    }

    fn locked(path: &Path, wait: bool) -> Result<Self> {
        let path = target(path)?;
        let beside = hidden_beside(&path)?;
        let io = |e| Error::io(&path, "create", e);
        loop {
            let lock = File::options().create(true).truncate(false).write(true).open(&beside).map_err(io)?;
            let locked = if wait { lock.lock().map_err(TryLockError::Error) } else { lock.try_lock() };
            match locked {
                Err(TryLockError::WouldBlock) => {
                    let what = "another process is writing it";
                    return Err(Error::file(&path, what, "wait for it, or name another file"));
                }
                // Some network file systems have no locks; names are all there is then.
                Err(TryLockError::Error(_)) | Ok(()) => {}
            }
            // The one that had the lock may have moved this very file to its place meanwhile.
            let own = id(&lock.metadata().map_err(io)?);
            if fs::metadata(&beside).is_ok_and(|named| id(&named) == own) {
                return Ok(Self { path, beside, lock: Some(lock) });
            }
        }
    }

    /// Where to write.
    pub fn beside(&self) -> &Path {
        &self.beside
    }

    /// Writes the content and gives the file its place.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn fill(mut self, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        fill_and_sync(&self.beside, fill).map_err(|e| Error::io(&self.path, "write the file", e))?;
        self.place()
    }

    /// Gives the file, which is on the disk, its place.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn place(&mut self) -> Result<()> {
        fs::rename(&self.beside, &self.path).map_err(|e| Error::io(&self.path, "rename the finished file to", e))?;
        self.lock = None;
        sync_folder_of(&self.path);
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // Best effort: on a full disk the half-written file would only be in the way.
            let _ = fs::remove_file(&self.beside);
        }
    }
}

/// Whether two names are of one file that is there. Nothing is opened: that could wait for the other end of a pipe.
pub fn is_same_file(a: &Path, b: &Path) -> bool {
    fs::metadata(a).is_ok_and(|a| fs::metadata(b).is_ok_and(|b| id(&a) == id(&b)))
}

/// What tells a file from all others.
fn id(meta: &fs::Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// The file that `path` names, behind links.
///
/// # Errors
/// When it is there and no regular file: a rename would put a file in place of a device, a pipe or a folder.
fn target(path: &Path) -> Result<PathBuf> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => {
            let linked = path.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
            let real = if linked { fs::canonicalize(path) } else { Ok(path.to_owned()) };
            real.map_err(|e| Error::io(path, "follow", e))
        }
        Ok(_) => Err(Error::file(path, "is no regular file", "name a file to write")),
        Err(_) => Ok(path.to_owned()),
    }
}

/// The name under which a file is written before it takes its place: `.<name>.tmp` in the same folder.
///
/// # Errors
/// When `path` ends in no file name, or is no regular file.
pub fn temporary_name(path: &Path) -> Result<PathBuf> {
    hidden_beside(&target(path)?)
}

/// `.<name>.tmp` in the same folder.
fn hidden_beside(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| Error::file(path, "is not the name of a file", "name a file"))?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".tmp");
    Ok(path.with_file_name(hidden))
}

/// Bytes that this user may still write in the folder of `path`; `None` when the system does not say.
pub fn free_space(path: &Path) -> Option<u64> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    free_in(folder)
}

#[cfg(target_os = "linux")]
fn free_in(folder: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;

    let folder = std::ffi::CString::new(folder.as_os_str().as_bytes()).ok()?;
    let mut of = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends in a zero byte, and the result is read only when the call filled it.
    let of = unsafe { (libc::statvfs(folder.as_ptr(), of.as_mut_ptr()) == 0).then(|| of.assume_init()) }?;
    Some(of.f_bavail * of.f_frsize)
}

#[cfg(not(target_os = "linux"))]
fn free_in(_: &Path) -> Option<u64> {
    None
}

/// Removes what a process that was killed left of writing `path`. The caller knows that no other
/// process writes it now.
///
/// # Errors
/// When the system refuses.
pub fn remove_unfinished(path: &Path) -> Result<()> {
    remove_if_there(&temporary_name(path)?, "remove an unfinished file")
}

/// Removes a file that need not be there. `doing` says in an error what was tried.
///
/// # Errors
/// When the system refuses.
pub fn remove_if_there(path: &Path, doing: &str) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(path, doing, e)),
        _ => Ok(()),
    }
}

fn fill_and_sync(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    fill(&mut out)?;
    out.flush()?;
    out.get_ref().sync_all()
}

/// Makes the rename itself durable. Best effort: some file systems refuse to sync a folder, and the file is whole either way.
fn sync_folder_of(path: &Path) {
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let _ = File::open(folder).and_then(|f| f.sync_all());
    }
    #[cfg(not(unix))]
    let _ = path;
}

/// Whether a file's name ends in one of these extensions, in any case.
pub fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|own| extensions.iter().any(|extension| own.eq_ignore_ascii_case(extension)))
}

/// Bytes in hexadecimal, two digits each: how digests are written.
pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_the_file_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        write_atomic(&path, b"old").unwrap();
        write_atomic(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        fs::write(temporary_name(&path).unwrap(), b"half").unwrap();
        remove_unfinished(&path).unwrap();
        remove_unfinished(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        write_atomic(&path, b"old").unwrap();
        let error = write_atomic_with(&path, |out| {
            out.write_all(b"half")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        })
        .unwrap_err();
        assert!(error.to_string().contains("free some space"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_one_writes_a_file_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.h5");
        // A file of another program, whatever its name.
        let theirs = folder.path().join("a.h5.tmp");
        fs::write(&theirs, b"precious").unwrap();
        let mut first = Unfinished::begin(&path).unwrap();
        fs::write(first.beside(), b"first").unwrap();
        let refused = Unfinished::begin(&path).unwrap_err().to_string();
        assert!(refused.contains("another process is writing it"), "{refused}");
        let beside = first.beside().to_owned();
        first.place().unwrap();
        let second = Unfinished::begin(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first");
        drop(second);
        assert!(!beside.exists());
        assert_eq!(fs::read(&theirs).unwrap(), b"precious");
        // What a killed process left, without a lock, is no hindrance.
        fs::write(&beside, b"half").unwrap();
        write_atomic(&path, b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }

    /// Threads that add a line each lose none.
    #[test]
    fn updates_come_one_after_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        std::thread::scope(|threads| {
            for n in 0..16u8 {
                let path = &path;
                threads.spawn(move || {
                    let add = || {
                        let mut all = fs::read(path).unwrap_or_default();
                        all.push(n);
                        Ok(all)
                    };
                    update_atomic(path, add).unwrap();
                });
            }
        });
        let mut all = fs::read(&path).unwrap();
        all.sort_unstable();
        assert_eq!(all, (0..16).collect::<Vec<u8>>());
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_devices_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&real, b"old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write_atomic(&link, b"new").unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(fs::read(&real).unwrap(), b"new");
        for path in ["/dev/null", "/dev/fd/1", "/"] {
            let refused = write_atomic(Path::new(path), b"x").unwrap_err().to_string();
            assert!(refused.contains("is no regular file") || path == "/dev/fd/1", "{refused}");
        }
    }

    #[test]
    fn a_relative_folder_is_named_as_it_was_taken() {
        let said = |path: &str| need_folder(Path::new(path), "name another").map_err(|e| e.to_string());
        assert_eq!(said("src"), Ok(()));
        let here = std::env::current_dir().unwrap();
        let taken = here.join("no/such").display().to_string();
        assert_eq!(
            said("no/such").unwrap_err(),
            format!("no/such: there is no such folder; it was taken for {taken} (name another)")
        );
        assert_eq!(said(&taken).unwrap_err(), format!("{taken}: there is no such folder (name another)"));
        assert!(said("Cargo.toml").unwrap_err().contains("is not a folder; it was taken for "));
    }

    #[test]
    fn names_the_path_it_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let in_the_way = folder.path().join("file");
        fs::write(&in_the_way, b"").unwrap();
        let path = in_the_way.join("a.csv");
        let error = write_atomic(&path, b"x").unwrap_err().to_string();
        assert!(error.contains("a.csv") && error.contains("cannot create"), "{error}");
        assert!(create_folder(&path).is_err());
        assert!(write_atomic(Path::new("/"), b"x").is_err());
    }

    /// `/dev/full` takes no byte: the error of a real full disk, with the remedy it needs.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_says_so() {
        let error = fill_and_sync(Path::new("/dev/full"), |out| out.write_all(b"x")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
