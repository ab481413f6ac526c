//! Unpacks tar archives that may be hostile: nothing is written outside of the folder, nothing but
//! files and folders is made, and their number and size are bounded.
//!
//! None of the datasets needs a link, so an archive that holds one is refused, and no file can be
//! written through a link that came before it.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::read::MultiGzDecoder;
use gim_core::files::create_folder;
use gim_core::{Error, Result};
use tar::{Entry, EntryType};

/// What an archive may hold at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of all files together.
    pub(super) bytes: u64,
    /// Files and folders.
    pub(super) entries: u64,
}

/// Bytes that may stand between the contents of two files: headers, and records of long names.
const BETWEEN: u64 = 1 << 20;
/// Bytes of a path.
const LONGEST_PATH: usize = 1024;

/// Unpacks a gzipped tar archive into a folder. `tick` is told how many bytes of the archive were read.
///
/// # Errors
/// When the archive is damaged or cut short, holds anything but files and folders, names a path that
/// leaves the folder or one twice, or holds more than `limits`; when the disk is full.
pub(super) fn unpack(archive: &Path, into: &Path, limits: Limits, tick: impl FnMut(u64)) -> Result<()> {
    let file = File::open(archive).map_err(|e| Error::io(archive, "open", e))?;
    let packed = BufReader::with_capacity(1 << 17, Counted { inner: file, read: 0, tick });
    let left = Rc::new(Cell::new(0));
    let mut tar = tar::Archive::new(Bounded { inner: MultiGzDecoder::new(packed), left: Rc::clone(&left) });
    let damaged = |e: io::Error| bad(archive, format_args!("it cannot be unpacked: {e}"));

    let mut entries = tar.entries().map_err(damaged)?;
    let (mut bytes, mut count) = (0u64, 0u64);
    loop {
        left.set(BETWEEN);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(damaged)?;
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = path_inside(&name).map_err(|what| bad(archive, what))?;
        count += 1;
        bytes = bytes.saturating_add(entry.size());
        if count > limits.entries || bytes > limits.bytes {
            let what = format!("it holds more than {} entries or {} bytes", limits.entries, limits.bytes);
            return Err(bad(archive, what));
        }
        match kind {
            EntryType::Directory => create_folder(&into.join(path))?,
            EntryType::Regular | EntryType::Continuous if path.as_os_str().is_empty() => {
                return Err(bad(archive, format_args!("it holds a file without a name: {name:?}")));
            }
            EntryType::Regular | EntryType::Continuous => {
                // The padding to whole blocks comes with the header of the next.
                left.set(entry.size());
                write(&mut entry, &into.join(path)).map_err(|e| e.of(archive, &name))?;
            }
            other => {
                return Err(bad(archive, format_args!("{name:?} is neither a file nor a folder, but {other:?}")));
            }
        }
    }
    if count == 0 {
        return Err(bad(archive, "it is empty"));
    }
    Ok(())
}

fn bad(archive: &Path, what: impl std::fmt::Display) -> Error {
    Error::file(archive, what, "nothing of it is used; remove the file, and fetch it again from the publisher")
}

/// Why an entry was not written.
enum Failed {
    Damaged(io::Error),
    Short,
    Twice,
    Disk(Error),
}

impl Failed {
    fn of(self, archive: &Path, name: &str) -> Error {
        match self {
            Self::Damaged(e) => bad(archive, format_args!("{name:?} cannot be unpacked: {e}")),
            Self::Short => bad(archive, format_args!("it ends within {name:?}")),
            Self::Twice => bad(archive, format_args!("it holds {name:?} twice")),
            Self::Disk(e) => e,
        }
    }
}

fn write(entry: &mut Entry<'_, impl Read>, path: &Path) -> std::result::Result<(), Failed> {
    let size = entry.size();
    let disk = |e: io::Error| Failed::Disk(Error::io(path, "write the file", e));
    if let Some(folder) = path.parent() {
        create_folder(folder).map_err(Failed::Disk)?;
    }
    let file = OpenOptions::new().write(true).create_new(true).open(path).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => Failed::Twice,
        _ => disk(e),
    })?;
    let mut out = BufWriter::with_capacity(1 << 17, file);
    let mut part = vec![0; 1 << 16];
    let mut written = 0;
    loop {
        let n = match entry.read(&mut part) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Failed::Damaged(e)),
        };
        out.write_all(&part[..n]).map_err(disk)?;
        written += n as u64;
    }
    out.flush().map_err(disk)?;
    if written < size { Err(Failed::Short) } else { Ok(()) }
}

/// The path of an entry below the folder.
pub(super) fn path_inside(name: &str) -> std::result::Result<PathBuf, String> {
    if name.len() > LONGEST_PATH {
        return Err(format!("it holds a path of {} bytes", name.len()));
    }
    if name.starts_with('/') || name.split('/').any(|part| part == "..") {
        return Err(format!("it holds {name:?}, a path that leaves the folder"));
    }
    // Names of control characters change what a terminal shows; other systems take '\' for '/'.
    if name.chars().any(|c| c.is_control() || c == '\\' || c == char::REPLACEMENT_CHARACTER) {
        return Err(format!("it holds {name:?}, a path of unusual characters"));
    }
    Ok(name.split('/').filter(|part| !part.is_empty() && *part != ".").collect())
}

/// A reader that says how much of it was read.
struct Counted<R, F> {
    inner: R,
    read: u64,
    tick: F,
}

impl<R: Read, F: FnMut(u64)> Read for Counted<R, F> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(out)?;
        self.read += n as u64;
        (self.tick)(self.read);
        Ok(n)
    }
}

/// A reader that gives no more than `left` bytes before `left` is set again. What expands without end
/// stops here, wherever in the archive it stands.
struct Bounded<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 && !out.is_empty() {
            return Err(io::Error::other("it expands to more than it declares"));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        let n = self.inner.read(&mut out[..most])?;
        self.left.set(left - n as u64);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::{Builder, Header};

    use super::*;

    const LIMITS: Limits = Limits { bytes: 1_000_000, entries: 10 };

    /// An entry with any name, also one that the library would not write.
    fn add(tar: &mut Builder<impl Write>, name: &str, kind: EntryType, link: &str, content: &[u8]) {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o4777);
        header.set_cksum();
        tar.append(&header, content).unwrap();
    }

    fn archive(fill: impl FnOnce(&mut Builder<GzEncoder<Vec<u8>>>)) -> Vec<u8> {
        let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        fill(&mut tar);
        tar.into_inner().unwrap().finish().unwrap()
    }

    /// What is in the folder after unpacking, sorted, and the error.
    fn unpacked(bytes: &[u8]) -> (Vec<String>, Option<String>) {
        let dir = tempfile::tempdir().unwrap();
        let (file, into) = (dir.path().join("a.tgz"), dir.path().join("in/to"));
        std::fs::write(&file, bytes).unwrap();
        create_folder(&into).unwrap();
        let error = unpack(&file, &into, LIMITS, |_| ()).err().map(|e| e.to_string());
        std::fs::remove_file(&file).unwrap();
        let all = walkdir::WalkDir::new(dir.path()).sort_by_file_name().into_iter().map(|e| e.unwrap());
        let names = all.filter(|e| !e.file_type().is_dir());
        let names = names.map(|e| e.path().strip_prefix(dir.path()).unwrap().to_string_lossy().into_owned()).collect();
        (names, error)
    }

    #[test]
    fn files_and_folders_are_unpacked() {
        let bytes = archive(|tar| {
            add(tar, "pax_global_header", EntryType::XGlobalHeader, "", b"52 comment=x\n");
            add(tar, "./", EntryType::Directory, "", b"");
            add(tar, "./a/", EntryType::Directory, "", b"");
            add(tar, "./a/b.txt", EntryType::Regular, "", b"text");
            add(tar, "c//d.txt", EntryType::Regular, "", b"");
            let long = format!("{}/{}.txt", "long".repeat(30), "name".repeat(30));
            let mut header = Header::new_gnu();
            header.set_size(1);
            tar.append_data(&mut header, long, &b"x"[..]).unwrap();
        });
        let (names, error) = unpacked(&bytes);
        assert_eq!(error, None);
        assert_eq!((names.len(), &names[0][..], &names[1][..]), (3, "in/to/a/b.txt", "in/to/c/d.txt"));
    }

    #[test]
    fn nothing_leaves_the_folder() {
        let one = |name: &str, kind, link: &str| archive(|tar| add(tar, name, kind, link, b""));
        for (bytes, says) in [
            (one("../evil", EntryType::Regular, ""), "leaves the folder"),
            (one("a/../../evil", EntryType::Regular, ""), "leaves the folder"),
            (one("/tmp/gim-evil", EntryType::Regular, ""), "leaves the folder"),
            (one("..", EntryType::Directory, ""), "leaves the folder"),
            (one("a\\b", EntryType::Regular, ""), "unusual characters"),
            (one("a\x1b[2J", EntryType::Regular, ""), "unusual characters"),
            (one("", EntryType::Regular, ""), "without a name"),
            (one("link", EntryType::Symlink, "/etc"), "neither a file nor a folder"),
            (one("hard", EntryType::Link, "../../x"), "neither a file nor a folder"),
            (one("device", EntryType::Char, ""), "neither a file nor a folder"),
            (one("pipe", EntryType::Fifo, ""), "neither a file nor a folder"),
        ] {
            let (names, error) = unpacked(&bytes);
            assert!(names.is_empty() && error.as_ref().is_some_and(|e| e.contains(says)), "{names:?} {error:?}");
        }
        // A link to a folder outside, then a file through it.
        let bytes = archive(|tar| {
            add(tar, "x", EntryType::Symlink, "/tmp", b"");
            add(tar, "x/gim-evil", EntryType::Regular, "", b"evil");
        });
        assert!(unpacked(&bytes).0.is_empty() && !Path::new("/tmp/gim-evil").exists());
        let twice = archive(|tar| (0..2).for_each(|_| add(tar, "a", EntryType::Regular, "", b"x")));
        assert!(unpacked(&twice).1.unwrap().contains("twice"));
    }

    #[test]
    fn bombs_are_stopped() {
        let says = |bytes: &[u8], what: &str| {
            let (names, error) = unpacked(bytes);
            let error = error.unwrap();
            assert!(error.contains(what), "{error}");
            names
        };
        let large = archive(|tar| add(tar, "zeros", EntryType::Regular, "", &vec![0; 1_000_001]));
        assert!(says(&large, "more than 10 entries or 1000000 bytes").is_empty());
        let many = archive(|tar| (0..11).for_each(|i| add(tar, &i.to_string(), EntryType::Directory, "", b"")));
        says(&many, "more than 10 entries");
        // A name that never ends: it would be held in memory.
        let name = archive(|tar| add(tar, "././@LongLink", EntryType::GNULongName, "", &vec![b'a'; 4_000_000]));
        assert!(name.len() < 100_000);
        says(&name, "expands to more than it declares");
    }

    #[test]
    fn damage_is_told() {
        let whole = archive(|tar| add(tar, "a", EntryType::Regular, "", &[7; 3_000]));
        let mut raw = Vec::new();
        MultiGzDecoder::new(&whole[..]).read_to_end(&mut raw).unwrap();
        let pack = |raw: &[u8]| {
            let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
            gz.write_all(raw).unwrap();
            gz.finish().unwrap()
        };
        for (bytes, says) in [
            (whole[..whole.len() / 2].to_vec(), "unpacked"),
            (pack(&raw[..2_000]), "ends within"),
            (b"not packed".to_vec(), "cannot be unpacked"),
            (pack(b""), "it is empty"),
            (Vec::new(), "cannot be unpacked"),
        ] {
            let error = unpacked(&bytes).1.unwrap_or_default();
            assert!(error.contains(says), "{error:?} should say {says:?}");
        }
    }
}
