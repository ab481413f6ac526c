//! Tables of results as CSV files, which figures and reports read.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use gim_core::files::{update_atomic, write_atomic};
use gim_core::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// All rows of a table.
///
/// # Errors
/// When the file is missing or a row does not fit the columns of `T`.
pub fn read_rows<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<Vec<T>> {
    let path = path.as_ref();
    rows_of(path, &fs::read(path).map_err(|e| Error::io(path, "read", e))?)
}

/// All rows of a table; none where there is no file.
///
/// # Errors
/// When a row does not fit the columns of `T`.
pub fn read_rows_if_any<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    if path.is_file() { read_rows(path) } else { Ok(Vec::new()) }
}

/// The rows of a table that another process may be appending to: a last line without its end is left out. None where there
/// is no file yet.
///
/// # Errors
/// When the file cannot be read, or a finished row does not fit the columns of `T`.
pub fn read_finished_rows<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(path, "read", e)),
    };
    let end = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    rows_of(path, &bytes[..end])
}

/// The rows of a table as text; errors call it `path`.
fn rows_of<T: DeserializeOwned>(path: &Path, text: &[u8]) -> Result<Vec<T>> {
    let mut reader = csv::Reader::from_reader(text);
    reader.deserialize().collect::<std::result::Result<_, _>>().map_err(|e| {
        Error::file(path, format_args!("not the table it should be: {e}"), "make the file again, or move it away")
            .caused_by(e)
    })
}

/// Writes a table atomically. A reader sees the old or the new table.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_rows<T: Serialize>(path: impl AsRef<Path>, rows: &[T]) -> Result<()> {
    let path = path.as_ref();
    write_atomic(path, &to_csv(path, rows)?)
}

/// Changes a table, or begins one. No other process that does so comes between reading and writing.
///
/// # Errors
/// When the table cannot be read or written.
pub fn update_rows<T: Serialize + DeserializeOwned>(path: &Path, change: impl FnOnce(&mut Vec<T>)) -> Result<Vec<T>> {
    let mut rows = Vec::new();
    update_atomic(path, || {
        rows = read_rows_if_any(path)?;
        change(&mut rows);
        to_csv(path, &rows)
    })?;
    Ok(rows)
}

/// A table as text; errors call it `path`.
fn to_csv<T: Serialize>(path: &Path, rows: &[T]) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer
            .serialize(row)
            .map_err(|e| Error::file(path, format_args!("cannot write a row: {e}"), "check the row").caused_by(e))?;
    }
    writer
        .into_inner()
        .map_err(|e| Error::file(path, format_args!("cannot finish the table: {}", e.error()), "check the rows"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    struct Row {
        name: String,
        accuracy: f64,
        l2: Option<f64>,
    }

    fn row(name: &str, l2: Option<f64>) -> Row {
        Row { name: name.into(), accuracy: 0.1 + 0.2, l2 }
    }

    #[test]
    fn rows_come_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probe.csv");
        let rows = [row("mfcc", None), row("a, \"quoted\"", Some(1e-7)), row("1", None)];
        write_rows(&path, &rows[..1]).unwrap();
        write_rows(&path, &rows).unwrap();
        assert_eq!(read_rows::<Row>(&path).unwrap(), rows);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary stays behind");
    }

    #[test]
    fn a_row_that_is_half_written_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probe.csv");
        assert_eq!(read_finished_rows::<Row>(&path).unwrap(), []);
        let (whole, rows) = ("name,accuracy,l2\na,0.5,1\nb,0.25,\n", [(2, "b"), (1, "a")]);
        for end in 0..=whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            let read = read_finished_rows::<Row>(&path).unwrap();
            let last = whole[..end].matches('\n').count().saturating_sub(1);
            let expected = rows.iter().find(|(n, _)| *n == last).map(|r| r.1);
            assert_eq!((read.len(), read.last().map(|r| r.name.as_str())), (last, expected), "{end}");
        }
        fs::write(&path, "name,accuracy,l2\na,x,1\n").unwrap();
        assert!(read_finished_rows::<Row>(&path).unwrap_err().to_string().contains("probe.csv"));
    }

    #[test]
    fn what_cannot_be_read_or_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probe.csv");
        fs::write(&path, "a,b\n1,2\n").unwrap();
        let error = read_rows::<Row>(&path).unwrap_err().to_string();
        assert!(error.contains("probe.csv"), "{error}");
        assert!(write_rows(folder.path().join("no/such.csv"), &[row("1", None)]).is_err());
    }
}
