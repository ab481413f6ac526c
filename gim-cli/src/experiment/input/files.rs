//! Files that are named on the command line, found in folders, or read from standard input.

use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use gim_core::data::left_out;
use gim_core::{Error, Result};
use tempfile::NamedTempFile;
use walkdir::{DirEntry, WalkDir};

use crate::experiment::interrupt::Scratch;

/// The argument that stands for standard input, and the id of its item.
const STDIN: &str = "-";

/// Bytes of standard input at most: no file of speech or image that is one item has more.
const MOST_STDIN: u64 = 1 << 30;

/// Files that belong to no dataset.
#[derive(Debug, Clone)]
pub struct LooseFiles {
    /// The folder that they are in; the command-line option where several were named.
    pub root: PathBuf,
    /// Ids and paths.
    pub files: Vec<(String, PathBuf)>,
    /// Leave bad ones out.
    pub skip_bad: bool,
    /// What was left out.
    pub notes: Vec<String>,
}

/// Where files come from.
#[derive(Debug)]
pub(crate) enum Input {
    /// Files and folders.
    Paths(Vec<PathBuf>),
    /// One file from standard input, kept here as long as it is needed.
    Stdin {
        /// What was read.
        file: NamedTempFile,
        /// Removes the file on a signal.
        _unfinished: Scratch,
    },
}

impl Input {
    /// Reads standard input where `-` asks for it.
    ///
    /// # Errors
    /// When other paths are named beside it, it cannot be read, or is larger than [`MOST_STDIN`].
    pub(crate) fn open(paths: Vec<PathBuf>) -> Result<Self> {
        if !paths.iter().any(|path| path.as_os_str() == STDIN) {
            return Ok(Self::Paths(paths));
        }
        if paths.len() > 1 {
            let what = "- is standard input, but files are named beside it";
            return Err(Error::config("--input", what, "name one or the other"));
        }
        let mut file = NamedTempFile::new().map_err(stdin_failed)?;
        let _unfinished = Scratch::new(file.path())?;
        keep(io::stdin().lock(), &mut file, MOST_STDIN)?;
        Ok(Self::Stdin { file, _unfinished })
    }

    /// All files, those in folders if `reads` knows their names, sorted. An id is the path below the
    /// folder if one folder was named, else the path as it was named.
    ///
    /// # Errors
    /// When a file or folder is not there or cannot be listed, or a folder holds no file to read.
    pub(crate) fn list(&self, reads: impl Fn(&Path) -> bool, skip_bad: bool) -> Result<LooseFiles> {
        let paths = match self {
            Self::Paths(paths) => paths,
            Self::Stdin { file, .. } => {
                let path = file.path().to_owned();
                let files = vec![(STDIN.to_owned(), path.clone())];
                return Ok(LooseFiles { root: path, files, skip_bad, notes: Vec::new() });
            }
        };
        let alone = if let [one] = &paths[..] { Some(one) } else { None };
        let (mut files, mut notes) = (Vec::new(), Vec::new());
        for path in paths {
            if !path.is_dir() {
                std::fs::metadata(path).map_err(|e| Error::io(path, "read", e))?;
                files.push((id(path, path)?, path.clone()));
                continue;
            }
            let (found, others): (Vec<PathBuf>, Vec<PathBuf>) = below(path)?.into_iter().partition(|p| reads(p));
            if found.is_empty() {
                let what = "there is nothing in it or its folders that the run can read";
                return Err(Error::file(path, what, "name files of the kind that the run was trained on"));
            }
            for file in found {
                let named = if alone.is_some() { file.strip_prefix(path).unwrap_or(&file) } else { &file };
                files.push((id(named, &file)?, file.clone()));
            }
            let others: Vec<String> = others.iter().map(|p| p.display().to_string()).collect();
            if !others.is_empty() {
                notes.push(left_out(&others, "file", "of another kind"));
            }
        }
        let root = alone.cloned().unwrap_or_else(|| PathBuf::from("--input"));
        Ok(LooseFiles { root, files, skip_bad, notes })
    }

    /// The same error; of standard input where it is of the file that holds it.
    pub(crate) fn name(&self, e: Error) -> Error {
        match (self, e) {
            (Self::Stdin { file, .. }, Error::File { path, what, remedy, source })
                if path == file.path() || path.as_os_str() == STDIN =>
            {
                Error::File { path: "standard input".into(), what, remedy, source }
            }
            (_, e) => e,
        }
    }
}

fn stdin_failed(e: io::Error) -> Error {
    Error::io("standard input", "read", e)
}

/// Copies standard input, `most` bytes of it at most.
///
/// # Errors
/// When it is empty, larger, or cannot be read or kept.
fn keep(mut from: impl Read, to: &mut impl Write, most: u64) -> Result<()> {
    let read = io::copy(&mut from.by_ref().take(most), to).map_err(stdin_failed)?;
    if read == 0 {
        return Err(Error::file("standard input", "is empty", "send one audio file or image"));
    }
    if read == most && io::copy(&mut from.take(1), &mut io::sink()).map_err(stdin_failed)? > 0 {
        let what = format!("does not end after {most} bytes, which is the most that is read of it");
        return Err(Error::file("standard input", what, "write it to a file, and name that after --input"));
    }
    Ok(())
}

/// All files below a folder, sorted, without hidden ones.
fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    // macOS leaves `._name.flac` beside name.flac.
    let shown = |e: &DirEntry| e.depth() == 0 || !e.file_name().as_encoded_bytes().starts_with(b".");
    let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter().filter_entry(shown);
    let mut files = Vec::new();
    for entry in walk {
        let entry = entry.map_err(|e| Error::file(folder, format_args!("cannot be listed: {e}"), "fix the folder"))?;
        if entry.file_type().is_file() {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

/// The id of a file: its path as it was named, with `/` between the parts and no `.` before them.
fn id(named: &Path, file: &Path) -> Result<String> {
    let parts: PathBuf = named.components().filter(|part| *part != Component::CurDir).collect();
    let text = parts.to_str().ok_or_else(|| Error::file(file, "its name is not UTF-8", "rename it"))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_input_is_read_up_to_a_limit() {
        let kept = |from: &mut dyn Read| {
            let mut to = Vec::new();
            let said = keep(from, &mut to, 8).map_err(|e| e.to_string());
            (to.len(), said)
        };
        assert_eq!(kept(&mut &[1u8; 8][..]), (8, Ok(())));
        let (held, said) = kept(&mut io::repeat(1));
        let said = said.unwrap_err();
        assert!(held == 8 && said.contains("after 8 bytes") && said.contains("write it to a file"), "{said}");
        assert!(kept(&mut io::empty()).1.unwrap_err().contains("is empty"));
    }
}
