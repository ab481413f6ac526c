//! The one reader of CSV files that a dataset brings along: label columns and manifests.

use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, Trim};

use super::lines::{BOM, read_text, split_lines};
use crate::{Error, Result};

/// A table of text with a header, in memory.
///
/// Cells are separated by commas, tabs or semicolons, whichever the header has; a cell in double quotes
/// may hold them. Text is as in [`Lines`](super::Lines): any line ends, normalized, without a byte order
/// mark. Cells are trimmed, and rows without any text are left out.
#[derive(Debug, Clone)]
pub struct Table {
    path: PathBuf,
    header: Vec<String>,
    rows: Vec<Row>,
}

/// A row of a [`Table`].
#[derive(Debug, Clone)]
struct Row {
    /// Its line in the file, from 1.
    line: usize,
    cells: Vec<String>,
}

impl Table {
    /// Reads a table.
    ///
    /// # Errors
    /// As [`Lines::read`](super::Lines::read); when there is no header, a column has no name or that of
    /// another, or rows have more or fewer cells than the header, or a cell runs over several lines: all
    /// such lines are named.
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_text(path)?;
        let text = split_lines(text.trim_start_matches(BOM)).collect::<Vec<_>>().join("\n");
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let delimiter = first.bytes().find(|b| matches!(b, b',' | b'\t' | b';')).unwrap_or(b',');
        let mut builder = ReaderBuilder::new();
        builder.has_headers(false).flexible(true).trim(Trim::All).delimiter(delimiter);
        let mut rows = Vec::new();
        for record in builder.from_reader(text.as_bytes()).records() {
            let record = record.map_err(|e| Error::file(path, &e, "save it as CSV in UTF-8").caused_by(e))?;
            if record.iter().all(str::is_empty) {
                continue;
            }
            // A record's position is that of the empty lines before it.
            let line = record.position().map_or(0, |p| {
                let rest = text.as_bytes().get(p.byte() as usize..).unwrap_or_default();
                p.line() as usize + rest.iter().take_while(|b| **b == b'\n').count()
            });
            rows.push(Row { line, cells: record.iter().map(str::to_owned).collect() });
        }
        if rows.is_empty() {
            return Err(Error::file(path, "has no header", "write the names of the columns on the first line"));
        }
        let header = rows.remove(0);
        let mut table = Self { path: path.to_owned(), header: header.cells, rows };
        // Spreadsheets leave commas at the end of all lines.
        while table.header.last().is_some_and(String::is_empty) {
            let at = table.header.len() - 1;
            table.header.pop();
            table.rows.iter_mut().filter(|r| r.cells.len() > at && r.cells[at].is_empty()).for_each(|r| {
                r.cells.truncate(at);
            });
        }
        for (at, name) in table.header.iter().enumerate() {
            if name.is_empty() {
                let what = format_args!("column {} has no name", at + 1);
                return Err(table.error(header.line, what, "name it, or remove it"));
            }
            if table.header[..at].contains(name) {
                let what = format_args!("two columns are named {name}");
                return Err(table.error(header.line, what, "rename one of them"));
            }
        }
        let n = table.header.len();
        let mut bad = Vec::new();
        for row in &table.rows {
            if row.cells.len() != n {
                bad.push((row.line, format!("{} cells, not {n}", row.cells.len())));
            } else if row.cells.iter().any(|c| c.contains('\n')) {
                bad.push((row.line, "a cell runs over several lines: is a quote missing?".to_owned()));
            }
        }
        table.all_bad(bad, "fix the rows")?;
        Ok(table)
    }

    /// Names of the columns.
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// Place of the first column that has one of these names, in any case.
    pub fn column(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|name| self.header.iter().position(|h| h.eq_ignore_ascii_case(name)))
    }

    /// Line number and cells of each row; a row has as many cells as the header.
    pub fn rows(&self) -> impl Iterator<Item = (usize, &[String])> {
        self.rows.iter().map(|row| (row.line, &row.cells[..]))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An error of a line of this file.
    pub fn error(&self, line: usize, what: impl std::fmt::Display, remedy: impl std::fmt::Display) -> Error {
        Error::file(&self.path, format_args!("line {line}: {what}"), remedy)
    }

    /// Nothing, or one error of all bad rows with their lines.
    ///
    /// # Errors
    /// When there are any.
    pub fn all_bad(&self, bad: Vec<(usize, String)>, remedy: &str) -> Result<()> {
        if bad.is_empty() {
            return Ok(());
        }
        let each: Vec<String> = bad.iter().map(|(line, what)| format!("line {line}: {what}")).collect();
        Err(Error::file(&self.path, each.join("; "), remedy))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Table> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.csv");
        std::fs::write(&path, bytes).unwrap();
        Table::read(&path)
    }

    fn rows(bytes: &[u8]) -> Vec<(usize, Vec<String>)> {
        read(bytes).unwrap().rows().map(|(line, cells)| (line, cells.to_vec())).collect()
    }

    #[test]
    fn rows_do_not_depend_on_the_program_that_wrote_them() {
        let cells = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        let want = vec![(2, cells("a, b", "1")), (4, cells("\u{e9}", ""))];
        for text in [
            "item,digit\n\"a, b\",1\n\n\u{e9},\n",
            "item,digit\r\n\"a, b\", 1 \r\n\r\ne\u{301},",
            "item,digit\r\"a, b\",1\r\r\u{e9},\r",
            "\u{feff}item\tdigit\na, b\t1\n\n\u{e9}\t\n",
            "item;digit;\n\"a, b\";1;\n;;\n\u{e9};;\n",
        ] {
            assert_eq!(rows(text.as_bytes()), want, "{text:?}");
        }
    }

    #[test]
    fn errors_name_every_line() {
        let says = |text: &str, parts: &[&str]| {
            let e = read(text.as_bytes()).unwrap_err().to_string();
            assert!(parts.iter().all(|p| e.contains(p)), "{e:?} should say {parts:?}");
        };
        says("item,a\nx,1,2\ny,1\nz\n", &["line 2: 3 cells, not 2", "line 4: 1 cells"]);
        says("item,a\nx,\"1\ny,2\n", &["line 2: ", "quote"]);
        says("item,,a\nx,1,2\n", &["line 1: column 2 has no name"]);
        says("item,a,a\n", &["two columns are named a"]);
        says("\n\n", &["no header"]);
    }

    proptest! {
        /// Damaged text is a table or an error, never a panic.
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn any_table_like_text_is_read_or_refused(text in "[a-c,;\"\n\r\t\u{feff} ]{0,120}") {
            if let Ok(table) = read(text.as_bytes()) {
                prop_assert!(table.rows().all(|(line, cells)| line > 0 && cells.len() == table.header().len()));
            }
        }
    }
}
