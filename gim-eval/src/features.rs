//! Feature files: frozen features of every module, with labels and split, in HDF5.
//!
//! ```text
//! /<group>/features (N, D) f32     chunked by rows; N = rows of all items; attribute `name`, a short name for display
//! /items (n_items) string          item ids, in order
//! /index (n_items, 2) u64          first row and number of rows of each item
//! /labels/<task> i32               (N) by frame or (n_items) by item; −1 = no label; attributes `per`, `classes`, `silence` (where a class is)
//! /splits/test (n_items) u8        0 train, 1 test
//! attributes of /                  format_version, configuration (TOML), seed, commit, corpus_digest,
//!                                  trained_on (JSON)
//! ```
//!
//! Groups are named `module_1`, `random_1`, `baseline_mfcc` …; all share the index. Any HDF5 program
//! can read the file. Its user block, the first 512 bytes, holds length and CRC-32 of the rest. They
//! are checked before the HDF5 library opens the file, because damaged metadata can crash the
//! library.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use gim_core::files::temporary_name;
use gim_core::{Error, Result};
use hdf5::types::VarLenUnicode;
use ndarray::{Array1, Array2, ArrayView2, s};

use crate::examples::Examples;
use crate::items::{ItemIndex, Split, mean_of_rows};

/// Version of the layout above.
const VERSION: u32 = 2;
/// The version before: it does not say which class is silence, and class 0 of `phone` was taken.
const WITHOUT_SILENCE: u32 = 1;
/// Bytes of the user block.
const HEAD: usize = 512;
/// First line of the user block.
const MAGIC: &str = "gim features 1";
/// Values of a chunk: 512 KiB. It fits HDF5's chunk cache (1 MiB), so reading row by row fetches each
/// chunk once.
const CHUNK: usize = 1 << 17;
const AGAIN: &str = "write the features again";

/// One group of features in a file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSpec {
    /// Name in the file: letters, digits and `_`, e.g. `module_1`, `random_1`, `baseline_mfcc`.
    pub group: String,
    /// Short name for display, e.g. `1` or `mfcc`.
    pub name: String,
    /// Dimensions of a row.
    pub dims: usize,
}

/// Whether each frame has a label or each item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// One label a row.
    Frame,
    /// One label an item.
    Item,
}

/// One kind of labels in a file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSpec {
    /// Name in the file, e.g. `phone` or `speaker`.
    pub task: String,
    /// What has a label.
    pub per: Per,
    /// Number of classes.
    pub classes: usize,
    /// The class that is silence, if one is: accuracies are also given without it.
    pub silence: Option<usize>,
}

/// Contents of a file to be written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// Groups of features.
    pub groups: Vec<GroupSpec>,
    /// Kinds of labels; may be empty.
    pub labels: Vec<LabelSpec>,
    /// zlib level 1–9 after a byte shuffle; `None` for speed: features hardly shrink.
    pub deflate: Option<u8>,
}

/// Where features come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Provenance {
    /// The run's configuration, as TOML.
    pub configuration: String,
    /// The run's seed.
    pub seed: u64,
    /// Commit of the program.
    pub commit: String,
    /// Digest of the corpus that the features are of.
    pub corpus_digest: String,
    /// What the run keeps of the dataset it was trained on, as JSON; empty when unknown.
    pub trained_on: String,
}

/// One item to append.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// Unique id.
    pub id: &'a str,
    /// Side of the split.
    pub split: Split,
    /// Features (rows, D) by group, in the layout's order; all groups have the same number of rows.
    pub features: &'a [ArrayView2<'a, f32>],
    /// Labels by task, in the layout's order: one a row, or a single one; −1 = no label.
    pub labels: &'a [&'a [i32]],
}

/// Labels of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// What has a label.
    pub per: Per,
    /// Number of classes.
    pub classes: usize,
    /// The class that is silence, if one is.
    pub silence: Option<usize>,
    /// (N) or (n_items) classes, −1 = no label.
    pub values: Vec<i32>,
}

fn h5_error(path: &Path, doing: &str, remedy: &str) -> impl Fn(hdf5::Error) -> Error {
    move |e| Error::file(path, format_args!("cannot {doing}: {e}"), remedy).caused_by(e)
}

/// Writes a feature file item by item, to `<path>.tmp`; [`FeatureWriter::finish`] gives it its name.
#[derive(Debug)]
pub struct FeatureWriter {
    path: PathBuf,
    temporary: PathBuf,
    /// `None` once closed.
    file: Option<hdf5::File>,
    layout: Layout,
    columns: Vec<Column>,
    ids: Vec<VarLenUnicode>,
    seen: HashSet<String>,
    counts: Vec<usize>,
    rows: usize,
    test: Vec<u8>,
    labels: Vec<Vec<i32>>,
    finished: bool,
}

/// A growing dataset, and the rows of its unfinished chunk.
#[derive(Debug)]
struct Column {
    data: hdf5::Dataset,
    dims: usize,
    chunk: usize,
    written: usize,
    pending: Vec<f32>,
}

impl Column {
    fn flush(&mut self, all: bool) -> hdf5::Result<()> {
        let pending = self.pending.len() / self.dims;
        let rows = if all { pending } else { pending / self.chunk * self.chunk };
        if rows == 0 {
            return Ok(());
        }
        self.data.resize((self.written + rows, self.dims))?;
        let block = ArrayView2::from_shape((rows, self.dims), &self.pending[..rows * self.dims])?;
        self.data.write_slice(block, s![self.written..self.written + rows, ..])?;
        self.written += rows;
        self.pending.drain(..rows * self.dims);
        Ok(())
    }
}

fn plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn check_layout(layout: &Layout) -> Result<()> {
    let mut seen = HashSet::from(["items", "index", "labels", "splits"]);
    for g in &layout.groups {
        if !plain(&g.group) || !seen.insert(&g.group) || g.dims == 0 {
            return Err(Error::config(
                format_args!("features.{}", g.group),
                format_args!("{} dimensions under a name that is taken or not plain", g.dims),
                "use a name of its own, of letters, digits and _, and one dimension or more",
            ));
        }
    }
    let mut seen = HashSet::new();
    for l in &layout.labels {
        let silent = l.silence.is_none_or(|s| s < l.classes);
        if !plain(&l.task) || !seen.insert(&l.task) || l.classes < 1 || l.classes > i32::MAX as usize || !silent {
            return Err(Error::config(
                format_args!("labels.{}", l.task),
                format_args!("{} classes under a name that is taken or not plain", l.classes),
                "use a name of its own, of letters, digits and _, and one class or more",
            ));
        }
    }
    if layout.groups.is_empty() || layout.deflate.is_some_and(|d| !(1..=9).contains(&d)) {
        let what = format!("{} groups, deflate level {:?}", layout.groups.len(), layout.deflate);
        return Err(Error::config("features", what, "give one group or more, and a level of 1 to 9"));
    }
    Ok(())
}

fn text(value: &str) -> hdf5::Result<VarLenUnicode> {
    // A NUL cannot be stored in an HDF5 string of variable length.
    value.parse().map_err(|e| hdf5::Error::from(format!("{value:?}: {e:?}")))
}

fn write_attr<T: hdf5::H5Type>(at: &hdf5::Location, name: &str, value: &T) -> hdf5::Result<()> {
    at.new_attr::<T>().create(name)?.write_scalar(value)
}

impl FeatureWriter {
    /// Starts a file.
    ///
    /// # Errors
    /// When the layout is unusable or the folder cannot be written.
    pub fn create(path: impl AsRef<Path>, layout: Layout, provenance: &Provenance) -> Result<Self> {
        hdf5::silence_errors(true);
        check_layout(&layout)?;
        let path = path.as_ref().to_owned();
        let temporary = temporary_name(&path)?;
        // The system's message is clearer than the HDF5 library's; the library then overwrites the empty file.
        fs::File::create(&temporary).map_err(|e| Error::io(&temporary, "create", e))?;
        let mut writer = Self {
            temporary,
            file: None,
            columns: Vec::new(),
            ids: Vec::new(),
            seen: HashSet::new(),
            counts: Vec::new(),
            rows: 0,
            test: Vec::new(),
            labels: vec![Vec::new(); layout.labels.len()],
            layout,
            finished: false,
            path,
        };
        writer.begin(provenance).map_err(h5_error(&writer.temporary, "begin the file", "check the disk"))?;
        Ok(writer)
    }

    fn begin(&mut self, provenance: &Provenance) -> hdf5::Result<()> {
        let file = hdf5::FileBuilder::new().with_fcpl(|p| p.userblock(HEAD as u64)).create(&self.temporary)?;
        write_attr(&file, "format_version", &VERSION)?;
        write_attr(&file, "configuration", &text(&provenance.configuration)?)?;
        write_attr(&file, "seed", &provenance.seed)?;
        write_attr(&file, "commit", &text(&provenance.commit)?)?;
        write_attr(&file, "corpus_digest", &text(&provenance.corpus_digest)?)?;
        write_attr(&file, "trained_on", &text(&provenance.trained_on)?)?;
        for g in &self.layout.groups {
            let group = file.create_group(&g.group)?;
            write_attr(&group, "name", &text(&g.name)?)?;
            let chunk = (CHUNK / g.dims).clamp(1, 4096);
            let mut builder = group.new_dataset_builder();
            if let Some(level) = self.layout.deflate {
                builder = builder.shuffle().deflate(level);
            }
            let data = builder.chunk((chunk, g.dims)).empty::<f32>().shape((0.., g.dims)).create("features")?;
            self.columns.push(Column { data, dims: g.dims, chunk, written: 0, pending: Vec::new() });
        }
        self.file = Some(file);
        Ok(())
    }

    fn refuse(&self, item: &Item<'_>, what: impl std::fmt::Display, remedy: &str) -> Error {
        Error::file(&self.path, format_args!("item {:?}: {what}", item.id), remedy)
    }

    fn check(&self, item: &Item<'_>) -> Result<usize> {
        if item.features.len() != self.columns.len() || item.labels.len() != self.layout.labels.len() {
            let what = format!("{} groups and {} kinds of labels", item.features.len(), item.labels.len());
            return Err(self.refuse(item, what, "give the groups and labels of the layout, in its order"));
        }
        if item.split == Split::Unlabeled {
            return Err(self.refuse(item, "is of no part that probes use", "give it to the training or the test part"));
        }
        let rows = item.features[0].nrows();
        for (g, x) in self.layout.groups.iter().zip(item.features) {
            if x.dim() != (rows, g.dims) || rows == 0 {
                let what = format!("{:?} features for {}, not {:?}", x.dim(), g.group, (rows, g.dims));
                return Err(self.refuse(item, what, "all groups need the same rows (one or more)"));
            }
            if let Some(row) = x.rows().into_iter().position(|r| r.iter().any(|v| !v.is_finite())) {
                let what = format!("group {}, row {row} of the item is not finite", g.group);
                return Err(self.refuse(item, what, "the model diverged: train with a smaller rate"));
            }
        }
        for (l, labels) in self.layout.labels.iter().zip(item.labels) {
            let need = if l.per == Per::Frame { rows } else { 1 };
            if labels.len() != need || labels.iter().any(|v| *v < -1 || *v >= l.classes as i32) {
                let what = format!("{} labels {} of {need}, all in -1..{}", labels.len(), l.task, l.classes);
                return Err(self.refuse(item, what, "check the labels"));
            }
        }
        if self.seen.contains(item.id) {
            return Err(self.refuse(item, "appended twice", "give every item an id of its own"));
        }
        Ok(rows)
    }

    /// Appends an item. After an error the file is as it was before the call, except when the disk failed.
    ///
    /// # Errors
    /// When the item does not fit the layout, has features that are not finite, or cannot be written.
    pub fn append(&mut self, item: Item<'_>) -> Result<()> {
        let rows = self.check(&item)?;
        let failed = h5_error(&self.temporary, "append an item", "check the disk and the item's id");
        self.ids.push(text(item.id).map_err(&failed)?);
        self.seen.insert(item.id.to_owned());
        for (column, x) in self.columns.iter_mut().zip(item.features) {
            column.pending.extend(x.iter());
            column.flush(false).map_err(&failed)?;
        }
        for (all, labels) in self.labels.iter_mut().zip(item.labels) {
            all.extend_from_slice(labels);
        }
        self.counts.push(rows);
        self.rows += rows;
        self.test.push(u8::from(item.split == Split::Test));
        Ok(())
    }

    /// Items appended so far.
    pub fn n_items(&self) -> usize {
        self.counts.len()
    }

    /// Completes the file, flushes it to disk and renames it to its final name.
    ///
    /// # Errors
    /// When there are no items or the disk failed; the temporary file is removed.
    pub fn finish(mut self) -> Result<()> {
        if self.counts.is_empty() {
            return Err(Error::file(&self.path, "no items to write", "give the corpus one item at least"));
        }
        self.end().map_err(h5_error(&self.temporary, "complete the file", "check the disk"))?;
        seal(&self.temporary).map_err(|e| Error::io(&self.temporary, "complete", e))?;
        fs::rename(&self.temporary, &self.path).map_err(|e| Error::io(&self.path, "rename the finished file to", e))?;
        self.finished = true;
        Ok(())
    }

    fn end(&mut self) -> hdf5::Result<()> {
        for column in &mut self.columns {
            column.flush(true)?;
        }
        let Some(file) = self.file.take() else { return Ok(()) };
        file.new_dataset_builder().with_data(&Array1::from_vec(std::mem::take(&mut self.ids))).create("items")?;
        let index = ItemIndex::from_counts(self.counts.iter().copied());
        let pairs: Vec<u64> = index.iter().flat_map(|r| [r.start as u64, r.len() as u64]).collect();
        let pairs = Array2::from_shape_vec((index.n_items(), 2), pairs)?;
        file.new_dataset_builder().with_data(&pairs).create("index")?;
        file.create_group("splits")?.new_dataset_builder().with_data(&self.test).create("test")?;
        let labels = file.create_group("labels")?;
        for (spec, values) in self.layout.labels.iter().zip(&self.labels) {
            let data = labels.new_dataset_builder().with_data(values).create(spec.task.as_str())?;
            write_attr(&data, "per", &text(if spec.per == Per::Frame { "frame" } else { "item" })?)?;
            write_attr(&data, "classes", &(spec.classes as u64))?;
            if let Some(silence) = spec.silence {
                write_attr(&data, "silence", &(silence as u64))?;
            }
        }
        self.columns.clear();
        drop(labels);
        file.flush()?;
        file.close()
    }
}

impl Drop for FeatureWriter {
    fn drop(&mut self) {
        if !self.finished {
            self.columns.clear();
            self.file = None;
            // Best effort: nobody can act on a failure here.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Length and CRC-32 of what follows the user block.
fn digest(file: &mut fs::File) -> std::io::Result<(u64, u32)> {
    file.seek(SeekFrom::Start(HEAD as u64))?;
    let (mut hasher, mut buffer, mut len) = (crc32fast::Hasher::new(), vec![0; 1 << 20], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((len, hasher.finalize())),
            n => {
                hasher.update(&buffer[..n]);
                len += n as u64;
            }
        }
    }
}

fn head(len: u64, crc: u32) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    let text = format!("{MAGIC}\nbytes {len}\ncrc32 {crc:08x}\n");
    head[..text.len()].copy_from_slice(text.as_bytes());
    head
}

fn seal(path: &Path) -> std::io::Result<()> {
    let mut file = fs::File::options().read(true).write(true).open(path)?;
    let (len, crc) = digest(&mut file)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&head(len, crc))?;
    file.sync_all()
}

fn check_seal(path: &Path) -> Result<()> {
    let io = |e: std::io::Error| Error::io(path, "read", e);
    let mut file = fs::File::open(path).map_err(io)?;
    let mut found = Vec::with_capacity(HEAD);
    (&mut file).take(HEAD as u64).read_to_end(&mut found).map_err(io)?;
    if !found.starts_with(MAGIC.as_bytes()) {
        return Err(Error::file(path, "not a feature file", "give a file that this program wrote"));
    }
    let (len, crc) = digest(&mut file).map_err(io)?;
    if found != head(len, crc) {
        return Err(Error::file(path, "damaged or cut short: its checksum does not hold", AGAIN));
    }
    Ok(())
}

/// One group of features in a file.
#[derive(Debug, Clone)]
struct Group {
    name: String,
    dims: usize,
    data: hdf5::Dataset,
}

/// A feature file, validated and open for reading.
#[derive(Debug)]
pub struct FeatureFile {
    path: PathBuf,
    groups: BTreeMap<String, Group>,
    ids: Vec<String>,
    index: ItemIndex,
    split: Vec<Split>,
    labels: BTreeMap<String, Labels>,
    provenance: Provenance,
}

impl FeatureFile {
    /// Opens a file and checks its checksum, version, shapes, index, labels and split.
    ///
    /// # Errors
    /// When the file is missing, damaged, cut short, of another kind or version, or inconsistent.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        check_seal(path)?;
        hdf5::silence_errors(true);
        Self::load(path).map_err(h5_error(path, "read", AGAIN))?
    }

    /// Outer error: the HDF5 library's; inner: the content's.
    fn load(path: &Path) -> hdf5::Result<Result<Self>> {
        let bad = |what: String| Ok(Err(Error::file(path, what, AGAIN)));
        let file = hdf5::File::open(path)?;
        let version: u32 = file.attr("format_version")?.read_scalar()?;
        if version != VERSION && version != WITHOUT_SILENCE {
            return bad(format!("format version {version}, this program reads {VERSION}"));
        }
        let string = |name: &str| -> hdf5::Result<String> {
            Ok(file.attr(name)?.read_scalar::<VarLenUnicode>()?.as_str().to_owned())
        };
        let provenance = Provenance {
            configuration: string("configuration")?,
            seed: file.attr("seed")?.read_scalar()?,
            commit: string("commit")?,
            corpus_digest: string("corpus_digest")?,
            trained_on: string("trained_on").unwrap_or_default(),
        };

        let ids: Vec<String> =
            file.dataset("items")?.read_raw::<VarLenUnicode>()?.iter().map(|s| s.as_str().to_owned()).collect();
        let pairs: Array2<u64> = file.dataset("index")?.read_2d()?;
        if pairs.dim() != (ids.len(), 2) || ids.is_empty() {
            return bad(format!("{} items, index {:?}", ids.len(), pairs.dim()));
        }
        let mut next = 0u64;
        for (pair, id) in pairs.rows().into_iter().zip(&ids) {
            if pair[0] != next || pair[1] == 0 {
                return bad(format!("item {id:?} begins at row {} with {} rows, not at {next}", pair[0], pair[1]));
            }
            next = next.saturating_add(pair[1]);
        }
        let index = ItemIndex::from_counts(pairs.column(1).iter().map(|n| *n as usize));
        let test: Vec<u8> = file.dataset("splits/test")?.read_raw()?;
        if test.len() != ids.len() || test.iter().any(|t| *t > 1) {
            return bad(format!("{} split entries for {} items, all to be 0 or 1", test.len(), ids.len()));
        }

        let mut labels = BTreeMap::new();
        for data in file.group("labels")?.datasets()? {
            let task = data.name().rsplit('/').next().unwrap_or_default().to_owned();
            let per = match data.attr("per")?.read_scalar::<VarLenUnicode>()?.as_str() {
                "frame" => Per::Frame,
                "item" => Per::Item,
                other => return bad(format!("labels {task} are per {other:?}, not frame or item")),
            };
            let classes = data.attr("classes")?.read_scalar::<u64>()? as usize;
            let values: Vec<i32> = data.read_raw()?;
            let need = if per == Per::Frame { index.n_rows() } else { index.n_items() };
            if values.len() != need || values.iter().any(|v| *v < -1 || i64::from(*v) >= classes as i64) {
                return bad(format!("{} labels {task} for {need} places, all in -1..{classes}", values.len()));
            }
            let silence = match data.attr("silence") {
                Ok(silence) => Some(silence.read_scalar::<u64>()? as usize),
                Err(_) => (version == WITHOUT_SILENCE && task == "phone").then_some(0),
            };
            labels.insert(task, Labels { per, classes, silence, values });
        }

        let mut groups = BTreeMap::new();
        for group in file.groups()? {
            let key = group.name().trim_start_matches('/').to_owned();
            if key == "labels" || key == "splits" {
                continue;
            }
            let data = group.dataset("features")?;
            let shape = data.get_shape()?;
            if shape.len() != 2 || shape[0] != index.n_rows() || !data.dtype()?.is::<f32>() {
                return bad(format!("features of {key} are {shape:?}, not f32 of {} rows", index.n_rows()));
            }
            let name = group.attr("name")?.read_scalar::<VarLenUnicode>()?.as_str().to_owned();
            groups.insert(key, Group { name, dims: shape[1], data });
        }
        let split = test.iter().map(|t| if *t == 1 { Split::Test } else { Split::Train }).collect();
        Ok(Ok(Self { path: path.to_owned(), groups, ids, index, split, labels, provenance }))
    }

    /// Names of the groups, in alphabetical order; numbers in names are compared as numbers.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        let mut names: Vec<&str> = self.groups.keys().map(String::as_str).collect();
        // Of names that differ only in a number, the shorter has the smaller number.
        names.sort_by_key(|n| (n.trim_end_matches(|c: char| c.is_ascii_digit()), n.len()));
        names.into_iter()
    }

    /// Display name and dimensions of a group.
    ///
    /// # Errors
    /// When there is no such group.
    pub fn group_info(&self, group: &str) -> Result<(&str, usize)> {
        self.group(group).map(|g| (g.name.as_str(), g.dims))
    }

    /// Item ids, in order.
    pub fn items(&self) -> &[String] {
        &self.ids
    }

    /// Rows of each item.
    pub fn index(&self) -> &ItemIndex {
        &self.index
    }

    /// Side of the split of each item.
    pub fn split(&self) -> &[Split] {
        &self.split
    }

    /// Names of the label sets.
    pub fn tasks(&self) -> impl Iterator<Item = &str> {
        self.labels.keys().map(String::as_str)
    }

    /// A label set.
    ///
    /// # Errors
    /// When there is no such set.
    pub fn labels(&self, task: &str) -> Result<&Labels> {
        self.labels.get(task).ok_or_else(|| {
            let have: Vec<&str> = self.tasks().collect();
            Error::file(&self.path, format_args!("no labels {task:?}"), format_args!("it has {have:?}"))
        })
    }

    /// Where the features come from.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    fn group(&self, group: &str) -> Result<&Group> {
        self.groups.get(group).ok_or_else(|| {
            let have: Vec<&str> = self.groups().collect();
            Error::file(&self.path, format_args!("no group {group:?}"), format_args!("it has {have:?}"))
        })
    }

    /// All features (N, D) of a group.
    ///
    /// # Errors
    /// When there is no such group, it cannot be read, or a value is not finite.
    pub fn read_group(&self, group: &str) -> Result<Array2<f32>> {
        self.read_rows(group, 0..self.index.n_rows())
    }

    /// Some rows (rows, D) of a group.
    ///
    /// # Errors
    /// As [`FeatureFile::read_group`]; also when the file has no such rows.
    pub fn read_rows(&self, group: &str, rows: Range<usize>) -> Result<Array2<f32>> {
        let g = self.group(group)?;
        if rows.start > rows.end || rows.end > self.index.n_rows() {
            let what = format!("no rows {rows:?} in group {group}");
            return Err(Error::file(&self.path, what, format_args!("it has {} rows", self.index.n_rows())));
        }
        let first = rows.start;
        let x: Array2<f32> = g.data.read_slice(s![rows, ..]).map_err(h5_error(&self.path, "read features", AGAIN))?;
        match x.rows().into_iter().position(|r| r.iter().any(|v| !v.is_finite())) {
            None => Ok(x),
            Some(row) => {
                let what = format!("group {group}, row {} is not finite", first + row);
                Err(Error::file(&self.path, what, "the model diverged: train with a smaller rate"))
            }
        }
    }

    /// Means over time (n_items, D) of a group. Reads item by item, to need little memory.
    ///
    /// # Errors
    /// As [`FeatureFile::read_group`].
    pub fn read_means(&self, group: &str) -> Result<Array2<f32>> {
        let mut means = Array2::zeros((self.index.n_items(), self.group(group)?.dims));
        for (rows, mean) in self.index.iter().zip(means.rows_mut()) {
            mean_of_rows(self.read_rows(group, rows)?.view(), mean);
        }
        Ok(means)
    }

    /// Features of `group` with the labels `task`. Rows are frames if frames are labeled, else the
    /// means of items.
    ///
    /// # Errors
    /// As [`FeatureFile::read_group`] and [`FeatureFile::labels`].
    pub fn examples(&self, group: &str, task: &str) -> Result<Examples> {
        let labels = self.labels(task)?;
        let (values, split) = (labels.values.clone(), self.split.clone());
        match labels.per {
            Per::Frame => {
                Examples::per_frame(self.read_group(group)?, values, labels.classes, self.index.clone(), split)
            }
            Per::Item => {
                // One row an item: the mean is the row itself, and one read is faster than n_items.
                let single = self.index.n_rows() == self.index.n_items();
                let x = if single { self.read_group(group)? } else { self.read_means(group)? };
                Examples::per_item(x, values, labels.classes, split)
            }
        }
    }
}
