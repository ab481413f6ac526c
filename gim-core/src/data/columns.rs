//! Labels of items by column: any kinds of labels, from a table that comes with a dataset.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{LabelName, Table};
use crate::{Error, Result};

/// Names of the column that says which item a row is of.
const ITEM: [&str; 5] = ["item", "id", "path", "file", "utterance"];

/// Names that a message lists.
const SHOWN: usize = 5;

/// One kind of labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: LabelName,
    /// Names of its classes, sorted: by number if all are whole numbers.
    pub classes: Vec<String>,
    /// Class of each item of the dataset, −1 where it is unknown.
    pub labels: Vec<i32>,
}

impl Column {
    /// From the text of each item's cell; empty cells are unknown.
    fn new(name: LabelName, cells: &[&str]) -> Self {
        let mut classes: Vec<&str> = cells.iter().copied().filter(|c| !c.is_empty()).collect();
        let number = |c: &&str| c.parse::<i64>().ok();
        if classes.iter().all(|c| number(c).is_some()) {
            classes.sort_by_key(|c| (number(c), *c));
        } else {
            classes.sort_unstable();
        }
        classes.dedup();
        let place: BTreeMap<&str, i32> = classes.iter().enumerate().map(|(i, c)| (*c, i as i32)).collect();
        let labels = cells.iter().map(|c| place.get(c).copied().unwrap_or(-1)).collect();
        Self { name, classes: classes.into_iter().map(str::to_owned).collect(), labels }
    }

    /// In words, for the items in `used`.
    fn say(&self, used: &[usize]) -> String {
        let bare = used.iter().filter(|i| self.labels[**i] < 0).count();
        let (n, noun) = (self.classes.len(), if self.classes.len() == 1 { "class" } else { "classes" });
        match bare {
            0 => format!("{} ({n} {noun})", self.name),
            _ => format!("{} ({n} {noun}, {bare} of {} unlabeled)", self.name, used.len()),
        }
    }
}

/// All columns of a dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns(Vec<Column>);

impl Columns {
    /// The columns, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Column> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The column of a name.
    pub fn get(&self, name: LabelName) -> Option<&Column> {
        self.0.iter().find(|c| c.name == name)
    }

    /// Labels of an item, a kind after the other.
    pub fn of(&self, item: usize) -> impl Iterator<Item = Vec<i32>> {
        self.0.iter().map(move |c| vec![c.labels[item]])
    }

    /// Names of the classes by the names of the columns.
    pub fn classes(&self) -> impl Iterator<Item = (String, Vec<String>)> {
        self.0.iter().map(|c| (c.name.to_string(), c.classes.clone()))
    }

    /// What they were understood to hold, for the items in `used`; none without columns.
    pub fn summary(&self, used: &[usize]) -> Option<String> {
        let each: Vec<String> = self.0.iter().map(|c| c.say(used)).collect();
        (!each.is_empty()).then(|| format!("columns: {}", each.join(", ")))
    }

    /// Adds names, classes and labels to a digest; nothing without columns.
    pub fn digest(&self, hash: &mut Sha256) {
        for column in &self.0 {
            hash.update(format!("column {}\n{}\n", column.name, column.classes.join("\n")));
            column.labels.iter().for_each(|l| hash.update(l.to_le_bytes()));
        }
    }
}

/// A table of labels, before it is known which items there are.
#[derive(Debug, Clone)]
pub struct LabelTable {
    path: PathBuf,
    names: Vec<LabelName>,
    /// Line and cells of each item.
    rows: BTreeMap<String, (usize, Vec<String>)>,
}

impl LabelTable {
    /// Reads a table of labels: a column `item` (or `id`, `path`, `file`, `utterance`), and any others.
    ///
    /// # Errors
    /// As [`Table::read`]; when there is no such column or no other, a name cannot be that of labels, a
    /// row names no item, or two rows name one.
    pub fn read(path: &Path) -> Result<Self> {
        let table = Table::read(path)?;
        let Some(item) = table.column(&ITEM) else {
            let remedy = format!("call the column that names the items {}", ITEM.join(", or "));
            return Err(Error::file(path, "no column names the items", remedy));
        };
        Self::of(&table, item, &[item])
    }

    /// The labels of a table whose column number `item` names the items, without the columns `not`.
    ///
    /// # Errors
    /// As [`LabelTable::read`].
    pub fn of(table: &Table, item: usize, not: &[usize]) -> Result<Self> {
        let path = table.path();
        let places: Vec<usize> = (0..table.header().len()).filter(|c| !not.contains(c)).collect();
        let name = |c: &usize| {
            let name = table.header()[*c].parse::<LabelName>();
            name.map_err(|e| match e {
                Error::Config { key, what, remedy, .. } => Error::file(path, format_args!("{key} {what}"), remedy),
                other => other,
            })
        };
        let names = places.iter().map(name).collect::<Result<Vec<_>>>()?;
        let (mut rows, mut bad) = (BTreeMap::<String, (usize, Vec<String>)>::new(), Vec::new());
        for (line, cells) in table.rows() {
            let id = &cells[item];
            if id.is_empty() {
                bad.push((line, "names no item".to_owned()));
            } else if let Some((before, _)) = rows.get(id) {
                bad.push((line, format!("{id} is on line {before} already")));
            } else {
                rows.insert(id.clone(), (line, places.iter().map(|c| cells[*c].clone()).collect()));
            }
        }
        table.all_bad(bad, "name each item once")?;
        Ok(Self { path: path.to_owned(), names, rows })
    }

    /// The labels of `n` items. `find` gives the number of the item that a row names. Notes say which rows
    /// are of no item.
    ///
    /// # Errors
    /// When no row is of an item, or two rows are of one.
    pub fn fit(self, n: usize, find: impl Fn(&str) -> Option<usize>, notes: &mut Vec<String>) -> Result<Columns> {
        let mut of: Vec<Option<(usize, &[String])>> = vec![None; n];
        let mut strangers = Vec::new();
        for (id, (line, cells)) in &self.rows {
            let Some(at) = find(id) else {
                strangers.push(id.as_str());
                continue;
            };
            if let Some((before, _)) = of[at].replace((*line, cells)) {
                let what = format!("lines {} and {}: both are of {id}", before.min(*line), before.max(*line));
                return Err(Error::file(&self.path, what, "name each item once"));
            }
        }
        if strangers.len() == self.rows.len() {
            let what = match strangers.first() {
                Some(one) => format!("none of its rows is of an item of the dataset: the first is of {one:?}"),
                None => "has no rows".to_owned(),
            };
            return Err(Error::file(&self.path, what, "name items as feature files do, or by their files"));
        }
        if !strangers.is_empty() {
            let first: Vec<&str> = strangers.iter().copied().take(SHOWN).collect();
            let more = if strangers.len() > SHOWN { ", …" } else { "" };
            let (path, n, list) = (self.path.display(), strangers.len(), first.join(", "));
            notes.push(format!("{path}: {n} of its rows are of items that are not in the dataset: {list}{more}"));
        }
        let mut columns = Vec::new();
        for (at, name) in self.names.iter().enumerate() {
            let cells: Vec<&str> = of.iter().map(|row| row.map_or("", |(_, cells)| cells[at].as_str())).collect();
            let column = Column::new(*name, &cells);
            if column.classes.is_empty() {
                notes.push(format!("{}: column {name} has no labels and is left out", self.path.display()));
            } else {
                columns.push(column);
            }
        }
        Ok(Columns(columns))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    const IDS: [&str; 4] = ["a", "b", "c", "d"];

    fn fit(text: &str) -> Result<(Columns, Vec<String>)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.csv");
        std::fs::write(&path, text).unwrap();
        let mut notes = Vec::new();
        let find = |id: &str| IDS.iter().position(|i| *i == id.trim_end_matches(".wav"));
        let columns = LabelTable::read(&path)?.fit(IDS.len(), find, &mut notes)?;
        Ok((columns, notes))
    }

    fn fails(text: &str, parts: &[&str]) {
        let e = fit(text).unwrap_err().to_string();
        assert!(parts.iter().all(|p| e.contains(p)), "{e:?} should say {parts:?}");
    }

    #[test]
    fn classes_are_sorted_and_empty_cells_unknown() {
        let (columns, notes) = fit("digit,File,mood\n10,b.wav,sad\n9,a,glad\n,c,sad\n").unwrap();
        let all: Vec<&Column> = columns.iter().collect();
        assert_eq!(
            (all[0].classes.as_slice(), all[0].labels.as_slice()),
            (&["9", "10"].map(String::from)[..], &[0, 1, -1, -1][..])
        );
        assert_eq!((all[1].classes.concat().as_str(), all[1].labels.as_slice()), ("gladsad", &[0, 1, 1, -1][..]));
        let says = "columns: digit (2 classes, 2 of 4 unlabeled), mood (2 classes, 1 of 4 unlabeled)";
        assert_eq!(columns.summary(&[0, 1, 2, 3]).as_deref(), Some(says));
        assert!(notes.is_empty(), "{notes:?}");
    }

    #[test]
    fn rows_of_no_item_are_noted() {
        let (columns, notes) = fit("item,x,y\na,1,\nz,2,\n").unwrap();
        assert_eq!(columns.classes().collect::<Vec<_>>(), [("x".to_owned(), vec!["1".to_owned()])]);
        assert!(notes[0].contains("1 of its rows") && notes[0].ends_with(": z"), "{notes:?}");
        assert!(notes[1].contains("column y has no labels"), "{notes:?}");
    }

    #[test]
    fn says_what_is_wrong() {
        fails("digit,x\n1,2\n", &["no column names the items", "item, or id"]);
        fails("item,x\na,1\n,2\na,3\n", &["line 3: names no item", "line 4: a is on line 2 already"]);
        fails("item,x\na,1\na.wav,2\n", &["lines 2 and 3: both are of a"]);
        fails("item,x\nz,1\n", &["none of its rows"]);
        fails("item,x\n", &["has no rows"]);
        fails("item,phones\na,1\n", &["labels.csv", "column `phones` has the name of a built-in task"]);
        fails("item,two words\na,1\n", &["column `two words` cannot be a name"]);
    }

    /// The digest knows names, classes and labels.
    #[test]
    fn the_digest_tells_columns_apart() {
        let digest = |text: &str| {
            let mut hash = Sha256::new();
            fit(text).unwrap().0.digest(&mut hash);
            crate::files::hex(hash.finalize())
        };
        let one = digest("item,x\na,1\nb,2\n");
        assert_eq!(one, digest("item,x\nb,2\na,1\n"), "the order of rows is nobody's business");
        for other in ["item,y\na,1\nb,2\n", "item,x\na,2\nb,1\n", "item,x\na,1\nb,3\n", "item,x\na,1\nc,2\n"] {
            assert_ne!(one, digest(other), "{other}");
        }
    }
}
