//! Datasets that are listed in a table: where the files are, what is in which split, and labels of any kind.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

use super::{LabelTable, SplitFolder, Table};
use crate::{Error, Result};

/// Names of the column of files.
const PATH: [&str; 3] = ["path", "file", "filename"];
/// Names of the column of ids.
const ID: [&str; 2] = ["id", "item"];
/// Names of the column of splits.
const SPLIT: [&str; 2] = ["split", "set"];

/// How items are called that have no column of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemId {
    /// By the name of the file without its extension, unless two files share one; then by the path without
    /// it.
    Stem,
    /// By the path as it is written.
    Path,
}

/// One row of a [`Manifest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestItem {
    /// Line of the file, from 1.
    pub line: usize,
    /// Name of the item, unique.
    pub id: String,
    /// Its file.
    pub path: PathBuf,
    /// The split it is in; `None` without a column of splits, or where its cell is empty.
    pub split: Option<SplitFolder>,
    /// The group (speaker or class) it is of; `None` without such a column, or where its cell is empty.
    pub group: Option<String>,
}

/// A table of a dataset's items: a row a file.
///
/// | column | holds |
/// |---|---|
/// | `path` (or `file`, `filename`) | the file; relative paths begin at a folder that is given |
/// | `split` (or `set`) | optional: `train`, `test`, `val`, `unlabeled`, as folders may be called ([`SplitFolder`]) |
/// | `id` (or `item`) | optional: name of the item |
/// | the domain's own | optional: the speaker, or the class |
/// | any others | labels, a kind a column ([`Columns`](super::Columns)) |
#[derive(Debug, Clone)]
pub struct Manifest {
    table: Table,
    items: Vec<ManifestItem>,
    path_at: usize,
    split_at: Option<usize>,
    /// Columns that hold no labels.
    own: Vec<usize>,
    /// Whether any item is of the split `test`.
    tested: bool,
}

impl Manifest {
    /// Reads a table. Relative paths begin at `root`. `group` names the domain's own column, any of them.
    ///
    /// # Errors
    /// As [`Table::read`]; when no column names the files; and for rows without a file, with a split of another name,
    /// or with the file or id of another row: all are named.
    pub fn read(file: &Path, root: &Path, group: &[&str], ids: ItemId) -> Result<Self> {
        let table = Table::read(file)?;
        let Some(path_at) = table.column(&PATH) else {
            let remedy = format!("call the column that names the files {}", PATH.join(", or "));
            return Err(Error::file(file, "no column names the files", remedy));
        };
        let (id_at, split_at, group_at) = (table.column(&ID), table.column(&SPLIT), table.column(group));
        let mut bad = Vec::new();
        let mut items = Vec::new();
        for (line, cells) in table.rows() {
            let written = &cells[path_at];
            let split = split_at.map(|at| cells[at].as_str()).filter(|cell| !cell.is_empty());
            match split.map(|cell| SplitFolder::of(cell).ok_or(cell)).transpose() {
                Err(cell) => bad.push((line, format!("no split is called {cell:?}"))),
                Ok(_) if written.is_empty() => bad.push((line, "names no file".to_owned())),
                Ok(split) => items.push(ManifestItem {
                    line,
                    id: id_at.map_or_else(String::new, |at| cells[at].clone()),
                    path: on_disk(root, written),
                    split,
                    group: group_at.map(|at| cells[at].clone()).filter(|cell| !cell.is_empty()),
                }),
            }
        }
        table.all_bad(bad, "name a file in every row; splits are train, test, val and unlabeled")?;
        if items.is_empty() {
            return Err(Error::file(file, "lists no file", "write one file a row, below the header"));
        }
        let own = [Some(path_at), id_at, split_at, group_at].into_iter().flatten().collect();
        let tested = items.iter().any(|item| item.split == Some(SplitFolder::Test));
        let mut manifest = Self { table, items, path_at, split_at, own, tested };
        if id_at.is_none() {
            manifest.name_items(ids);
        }
        manifest.all_once()?;
        Ok(manifest)
    }

    /// Names items by their files.
    fn name_items(&mut self, ids: ItemId) {
        let written = self.table.rows().map(|(_, cells)| cells[self.path_at].replace('\\', "/"));
        let written: Vec<String> = written.map(|w| w.trim_start_matches("./").to_owned()).collect();
        let bare = |written: &str| Path::new(written).with_extension("").to_string_lossy().into_owned();
        let stem = |written: &str| bare(written).rsplit('/').next().unwrap_or_default().to_owned();
        let mut of_stem = BTreeMap::<String, usize>::new();
        written.iter().for_each(|w| *of_stem.entry(stem(w)).or_default() += 1);
        let shared = of_stem.values().any(|n| *n > 1);
        for (item, written) in self.items.iter_mut().zip(written) {
            item.id = match ids {
                ItemId::Path => written,
                ItemId::Stem if shared => bare(&written),
                ItemId::Stem => stem(&written),
            };
        }
    }

    /// Checks that each file and each id is there once.
    fn all_once(&self) -> Result<()> {
        let (mut files, mut ids) = (HashMap::new(), HashMap::new());
        let mut bad = Vec::new();
        for item in &self.items {
            if let Some(before) = files.insert(&item.path, item.line) {
                bad.push((item.line, format!("{} is on line {before} already", item.path.display())));
            } else if item.id.is_empty() {
                bad.push((item.line, "has no id".to_owned()));
            } else if let Some(before) = ids.insert(&item.id, item.line) {
                bad.push((item.line, format!("the item on line {before} is called {} already", item.id)));
            }
        }
        self.table.all_bad(bad, "list each file once, by an id of its own")
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.table.path()
    }

    /// All rows, in the order of the file.
    pub fn items(&self) -> &[ManifestItem] {
        &self.items
    }

    /// Whether it says which item is in which split.
    pub fn has_splits(&self) -> bool {
        self.split_at.is_some()
    }

    /// What the items of split `part` are for: those of `val` are tested on when none are of `test`.
    pub fn split_of(&self, item: &ManifestItem) -> Option<super::Split> {
        match item.split? {
            SplitFolder::Train => Some(super::Split::Train),
            SplitFolder::Test => Some(super::Split::Test),
            SplitFolder::Val => (!self.tested).then_some(super::Split::Test),
            SplitFolder::Unlabeled => Some(super::Split::Unlabeled),
        }
    }

    /// Its other columns, a kind of labels each, and the item of each of their rows; none without such
    /// columns. `table` is where labels are said to be besides.
    fn labels(&self, table: Option<&Path>) -> Result<Option<(LabelTable, Items<'_>)>> {
        if self.own.len() == self.table.header().len() {
            return Ok(None);
        }
        if let Some(table) = table {
            let what = format!("it has columns of labels, and {} is given as well", table.display());
            return Err(Error::file(self.path(), what, "remove one of them"));
        }
        let labels = LabelTable::of(&self.table, self.path_at, &self.own)?;
        let written = self.table.rows().map(|(_, cells)| cells[self.path_at].as_str());
        Ok(Some((labels, written.zip(self.items.iter().map(|item| item.id.as_str())).collect())))
    }
}

/// Ids of items, by their files as a manifest writes them.
pub type Items<'a> = HashMap<&'a str, &'a str>;

/// The name of the table of labels that a dataset may bring along.
const LABELS: &str = "labels.csv";

/// The labels by column of a dataset in `root`, and the items of their rows where these are named by their files in a
/// manifest: the columns of the manifest; without such columns the `given` table, else `labels.csv` in the folder.
///
/// # Errors
/// As [`LabelTable::read`]; when a table is given and the manifest has columns of labels as well.
pub fn labels_of<'a>(
    root: &Path,
    manifest: Option<&'a Manifest>,
    given: Option<&Path>,
) -> Result<Option<(LabelTable, Option<Items<'a>>)>> {
    if let Some((table, items)) = manifest.map(|manifest| manifest.labels(given)).transpose()?.flatten() {
        return Ok(Some((table, Some(items))));
    }
    let usual = || Some(root.join(LABELS)).filter(|file| file.is_file());
    let table = given.map(Path::to_owned).or_else(usual).map(|file| LabelTable::read(&file)).transpose()?;
    Ok(table.map(|table| (table, None)))
}

/// A file by its name in a table, which is in the composed form of Unicode; on the disk it may be in the
/// other one.
fn on_disk(root: &Path, written: &str) -> PathBuf {
    let path = root.join(written);
    if path.exists() {
        return path;
    }
    let decomposed = root.join(written.nfd().collect::<String>());
    if decomposed.exists() { decomposed } else { path }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::data::Split;

    fn read(text: &str, ids: ItemId) -> Result<Manifest> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("items.csv");
        std::fs::write(&path, text).unwrap();
        Manifest::read(&path, Path::new("/data"), &["speaker"], ids)
    }

    fn ids(text: &str, ids: ItemId) -> Vec<String> {
        read(text, ids).unwrap().items().iter().map(|i| i.id.clone()).collect()
    }

    #[test]
    fn rows_are_items() {
        let text = "path,speaker,split,digit\na/x.wav,ann,train,3\n/b/y.wav,,TEST,\na/z.wav,bob,,1\n";
        let manifest = read(text, ItemId::Stem).unwrap();
        let [x, y, z] = manifest.items() else { panic!("three rows") };
        assert_eq!((x.id.as_str(), x.path.as_path(), x.line), ("x", Path::new("/data/a/x.wav"), 2));
        assert_eq!((x.group.as_deref(), x.split), (Some("ann"), Some(SplitFolder::Train)));
        assert_eq!(
            (y.path.as_path(), y.group.as_deref(), y.split),
            (Path::new("/b/y.wav"), None, Some(SplitFolder::Test))
        );
        assert_eq!(z.split, None);
        let (table, of) = manifest.labels(None).unwrap().unwrap();
        let columns =
            table.fit(3, |row| ["x", "y", "z"].iter().position(|id| of[row] == *id), &mut Vec::new()).unwrap();
        assert_eq!(columns.iter().next().unwrap().labels, [1, -1, 0]);
    }

    #[test]
    fn items_are_called_by_their_files() {
        assert_eq!(ids("file\n./yes/1.wav\nno\\2.wav\n", ItemId::Stem), ["1", "2"]);
        assert_eq!(ids("file\nyes/1.wav\nno/1.wav\n", ItemId::Stem), ["yes/1", "no/1"]);
        assert_eq!(ids("file\n./yes/1.png\nno/2.png\n", ItemId::Path), ["yes/1.png", "no/2.png"]);
        assert_eq!(ids("id,file\nb,1.wav\na,2.wav\n", ItemId::Stem), ["b", "a"]);
    }

    #[test]
    fn val_is_tested_on_where_nothing_else_is() {
        let of = |text: &str| {
            let manifest = read(text, ItemId::Stem).unwrap();
            manifest.items().iter().map(|i| manifest.split_of(i)).collect::<Vec<_>>()
        };
        assert_eq!(of("file,split\na,train\nb,dev\n"), [Some(Split::Train), Some(Split::Test)]);
        assert_eq!(of("file,split\na,test\nb,dev\nc,unlabelled\n"), [Some(Split::Test), None, Some(Split::Unlabeled)]);
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, parts) in [
            ("x,y\n1,2\n", &["items.csv", "no column names the files"][..]),
            ("file\n", &["lists no file"]),
            (
                "file,split\na,train\nb,later\n,test\n",
                &["line 3: no split is called \"later\"", "line 4: names no file"],
            ),
            (
                "file,id\na,1\na,2\nb,1\nc,\n",
                &["line 3: /data/a is on line 2", "line 4: the item on line 2", "line 5: has no id"],
            ),
            ("file\na.wav\na.flac\n", &["line 3: the item on line 2 is called a already"]),
        ] {
            let e = read(text, ItemId::Stem).unwrap_err().to_string();
            assert!(parts.iter().all(|p| e.contains(p)), "{e:?} should say {parts:?}");
        }
    }
}
