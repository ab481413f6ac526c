//! The one reader of text lists: splits, labels, names of phones and classes.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::{Error, Result};

/// U+FEFF, which Windows programs put before UTF-8 text.
pub(super) const BOM: char = '\u{feff}';

/// A text list in memory, a row a line.
///
/// What the programs of different systems write gives the same rows: a byte order mark is dropped,
/// lines end in LF, CRLF or CR, and text is normalized ([`normalized`]).
#[derive(Debug, Clone)]
pub struct Lines {
    path: PathBuf,
    text: String,
}

impl Lines {
    /// Reads a file of UTF-8 text.
    ///
    /// # Errors
    /// When the file cannot be read, is UTF-16 or UTF-32, holds a zero byte, or is not UTF-8. The
    /// last two errors name the line.
    pub fn read(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), text: read_text(path)? })
    }

    /// The text in the bytes of a file.
    ///
    /// # Errors
    /// As [`Lines::read`].
    pub fn of(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        Ok(Self { path: path.to_owned(), text: text_of(path, bytes)? })
    }

    /// Rows that are not blank, trimmed, with their line numbers (from 1).
    pub fn rows(&self) -> impl Iterator<Item = (usize, &str)> {
        split_lines(&self.text).enumerate().map(|(i, row)| (i + 1, trim(row))).filter(|(_, row)| !row.is_empty())
    }

    /// All of the text, with its ends of lines.
    pub fn into_text(self) -> String {
        self.text
    }

    /// An error of a line of this file.
    pub fn error(&self, line: usize, what: impl std::fmt::Display, remedy: impl std::fmt::Display) -> Error {
        Error::file(&self.path, format_args!("line {line}: {what}"), remedy)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The text of a file, normalized; its byte order mark and its ends of lines are as they were.
///
/// # Errors
/// As [`Lines::read`].
pub(super) fn read_text(path: &Path) -> Result<String> {
    text_of(path, fs::read(path).map_err(|e| Error::io(path, "read", e))?)
}

fn text_of(path: &Path, bytes: Vec<u8>) -> Result<String> {
    let text = decode(path, bytes)?;
    Ok(match normalized(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(composed) => composed,
    })
}

/// `text` in Unicode's composed form (NFC). macOS decomposes file names: an id in a list and the
/// name of its file are compared in this form.
pub fn normalized(text: &str) -> Cow<'_, str> {
    if is_nfc(text) { Cow::Borrowed(text) } else { Cow::Owned(text.nfc().collect()) }
}

fn trim(row: &str) -> &str {
    row.trim_matches(|c: char| c.is_whitespace() || c == BOM)
}

/// Lines that end in LF, CRLF or CR.
pub(super) fn split_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else {
            rest = None;
            return Some(text);
        };
        let after = &text[end..];
        rest = Some(&after[if after.starts_with("\r\n") { 2 } else { 1 }..]);
        Some(&text[..end])
    })
}

fn decode(path: &Path, bytes: Vec<u8>) -> Result<String> {
    const REMEDY: &str = "save it as UTF-8 text";
    let odd_zeros = bytes.chunks_exact(2).take(512).filter(|pair| (pair[0] == 0) != (pair[1] == 0)).count();
    let wide = if bytes.starts_with(&[0xff, 0xfe, 0, 0]) || bytes.starts_with(&[0, 0, 0xfe, 0xff]) {
        Some("UTF-32")
    } else if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        Some("UTF-16")
    } else if odd_zeros > 0 && 2 * odd_zeros >= (bytes.len() / 2).min(512) {
        // Every second byte of plain text without a mark is zero.
        Some("UTF-16")
    } else {
        None
    };
    if let Some(form) = wide {
        return Err(Error::file(path, format_args!("is {form} text"), REMEDY));
    }
    let line_of = |at: usize| split_lines(&String::from_utf8_lossy(&bytes[..at])).count();
    if let Some(at) = bytes.iter().position(|b| *b == 0) {
        let what = format!("line {}: has a zero byte, so it is not a text file", line_of(at));
        return Err(Error::file(path, what, "give a text file"));
    }
    if let Err(e) = std::str::from_utf8(&bytes) {
        let what = format!("line {}: is not UTF-8", line_of(e.valid_up_to()));
        return Err(Error::file(path, what, REMEDY));
    }
    String::from_utf8(bytes).map_err(|_| Error::file(path, "is not UTF-8", REMEDY))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<(usize, String)>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.txt");
        fs::write(&path, bytes).unwrap();
        let lines = Lines::read(&path)?;
        Ok(lines.rows().map(|(n, row)| (n, row.to_owned())).collect())
    }

    #[test]
    fn rows_do_not_depend_on_the_system_that_wrote_them() {
        let want = vec![(1, "one two".to_owned()), (3, "\u{e9}t\u{e9}".to_owned())];
        for text in [
            "one two\n\n\u{e9}t\u{e9}\n",
            "one two\r\n\r\n\u{e9}t\u{e9}",
            "one two\r\r\u{e9}t\u{e9}\r",
            "\u{feff}one two\r\n  \r\n\te\u{301}te\u{301} \r\n",
            "\u{feff} one two\n\u{feff}\n\u{feff}\u{e9}te\u{301}\u{a0}\n\n\n",
        ] {
            assert_eq!(read(text.as_bytes()).unwrap(), want, "{text:?}");
        }
        assert_eq!(read(b"").unwrap(), []);
        assert_eq!(read(b"a\tb").unwrap(), [(1, "a\tb".to_owned())]);
    }

    #[test]
    fn other_encodings_are_named() {
        let says = |bytes: &[u8], part: &str| {
            let e = read(bytes).unwrap_err().to_string();
            assert!(e.contains("list.txt") && e.contains(part), "{e:?} should say {part:?}");
        };
        let utf16 = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
        let little: Vec<u8> = utf16("1-1-0\n").into_iter().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = utf16("\u{feff}1-1-0\n").into_iter().flat_map(u16::to_be_bytes).collect();
        says(&little, "UTF-16");
        says(&big, "UTF-16");
        says(&[&[0xff, 0xfe][..], &little].concat(), "UTF-16");
        says(&[0xff, 0xfe, 0, 0, 49, 0, 0, 0], "UTF-32");
        says(b"one\rtwo\r\nthr\xe9\n", "line 3: is not UTF-8");
        says(b"one more line\ntwo more\0\n", "line 2: has a zero byte");
    }
}
