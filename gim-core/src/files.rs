//! Files that are either whole or not there: write beside, flush to the disk, rename.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Makes `folder` and its parents if they are not there yet.
pub fn create_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the folder", e))
}

/// Writes `bytes` as the whole content of `path`: a reader sees the old file or the new one, never a part.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomic_with(path, |out| out.write_all(bytes))
}

/// Like [`write_atomic`], with the content written by `fill` (buffered).
///
/// The content goes to `<name>.tmp` in the same folder (a rename across file systems is not atomic) and reaches the disk
/// before the rename, so that a power cut cannot leave an empty file under the final name. When anything fails, what was at
/// `path` stays as it was and the temporary file is removed.
pub fn write_atomic_with(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let beside = temporary_name(path)?;
    let written = fill_and_sync(&beside, fill).and_then(|()| fs::rename(&beside, path));
    if let Err(e) = written {
        // Best effort: on a full disk the half-written file would only be in the way.
        let _ = fs::remove_file(&beside);
        return Err(Error::io(path, "write the file", e));
    }
    sync_folder_of(path);
    Ok(())
}

/// The name under which a file is written before it takes its place: `<name>.tmp` in the same folder.
///
/// # Errors
/// When `path` ends in no file name.
pub fn temporary_name(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| Error::file(path, "is not the name of a file", "name a file"))?;
    let mut name = OsString::from(name);
    name.push(".tmp");
    Ok(path.with_file_name(name))
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
    fn names_the_path_it_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let in_the_way = folder.path().join("file");
        fs::write(&in_the_way, b"").unwrap();
        let path = in_the_way.join("a.csv");
        let error = write_atomic(&path, b"x").unwrap_err().to_string();
        assert!(error.contains("a.csv") && error.contains("cannot write"), "{error}");
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
