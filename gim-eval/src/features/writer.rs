//! Writes feature files.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use gim_core::files::Unfinished;
use gim_core::{Error, Result};
use hdf5::types::{VarLenAscii, VarLenUnicode};
use ndarray::{Array1, Array2, ArrayView2, s};

use super::seal::{HEAD, seal};
use super::{FrameTimes, Item, Layout, Per, Provenance, VERSION, text, write_attr, write_error};
use crate::items::{ItemIndex, Split};

/// Values of a chunk: 512 KiB. It fits HDF5's chunk cache (1 MiB), so reading row by row fetches each
/// chunk once.
const CHUNK: usize = 1 << 17;

/// Writes a feature file item by item, beside its place; [`FeatureWriter::finish`] gives it its name.
#[derive(Debug)]
pub struct FeatureWriter {
    path: PathBuf,
    /// `None` once closed.
    file: Option<hdf5::File>,
    layout: Layout,
    columns: Vec<Column>,
    ids: Vec<VarLenUnicode>,
    seen: HashSet<String>,
    /// The item whose parts are being appended, and its rows so far.
    begun: Option<(String, usize)>,
    counts: Vec<usize>,
    rows: usize,
    test: Vec<u8>,
    labels: Vec<Vec<i32>>,
    /// Removed with the writer, after the library has closed it, unless it has taken its place.
    unfinished: Unfinished,
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
    let mut seen = HashSet::from(["items", "index", "labels", "classes", "splits"]);
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
        let named = l.names.is_empty() || l.names.len() == l.classes;
        if !named
            || !plain(&l.task)
            || !seen.insert(&l.task)
            || l.classes < 1
            || l.classes > i32::MAX as usize
            || !silent
        {
            return Err(Error::config(
                format_args!("labels.{}", l.task),
                format_args!("{} classes, {} names, or a name that is taken or not plain", l.classes, l.names.len()),
                "use a name of its own, of letters, digits and _, one class or more, and a name for each or none",
            ));
        }
    }
    if layout.groups.is_empty() || layout.deflate.is_some_and(|d| !(1..=9).contains(&d)) {
        let what = format!("{} groups, deflate level {:?}", layout.groups.len(), layout.deflate);
        return Err(Error::config("features", what, "give one group or more, and a level of 1 to 9"));
    }
    Ok(())
}

/// Names the dimensions as the HDF5 dimension scales do.
fn label_dimensions(data: &hdf5::Dataset, names: [&str; 2]) -> hdf5::Result<()> {
    let names = names.map(|n| VarLenAscii::from_ascii(n).map_err(|e| hdf5::Error::from(format!("{n}: {e:?}"))));
    let [first, second] = names;
    data.new_attr_builder().with_data(&[first?, second?]).create("DIMENSION_LABELS")?;
    Ok(())
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
        let mut writer = Self {
            unfinished: Unfinished::begin(&path)?,
            file: None,
            columns: Vec::new(),
            ids: Vec::new(),
            seen: HashSet::new(),
            begun: None,
            counts: Vec::new(),
            rows: 0,
            test: Vec::new(),
            labels: vec![Vec::new(); layout.labels.len()],
            layout,
            path,
        };
        writer.begin(provenance).map_err(write_error(&writer.path, "begin the file", 0))?;
        Ok(writer)
    }

    fn begin(&mut self, provenance: &Provenance) -> hdf5::Result<()> {
        let file = hdf5::FileBuilder::new()
            .with_fcpl(|p| p.userblock(HEAD as u64))
            .with_fapl(|p| p.file_locking(false))
            .create(self.unfinished.beside())?;
        write_attr(&file, "format_version", &VERSION)?;
        write_attr(&file, "configuration", &text(&provenance.configuration)?)?;
        write_attr(&file, "seed", &provenance.seed)?;
        write_attr(&file, "commit", &text(&provenance.commit)?)?;
        write_attr(&file, "dataset_digest", &text(&provenance.dataset_digest)?)?;
        write_attr(&file, "trained_on", &text(&provenance.trained_on)?)?;
        if let Some(step) = provenance.step {
            write_attr(&file, "step", &step)?;
        }
        write_attr(&file, "checkpoint", &text(&provenance.checkpoint)?)?;
        if let Some(pooling) = provenance.pooling {
            write_attr(&file, "pooling", &pooling)?;
        }
        if let Some(module) = provenance.module {
            write_attr(&file, "module", &module)?;
        }
        for g in &self.layout.groups {
            let group = file.create_group(&g.group)?;
            write_attr(&group, "name", &text(&g.name)?)?;
            let chunk = (CHUNK / g.dims).clamp(1, 4096);
            let mut builder = group.new_dataset_builder();
            if let Some(level) = self.layout.deflate {
                builder = builder.shuffle().deflate(level);
            }
            let data = builder.chunk((chunk, g.dims)).empty::<f32>().shape((0.., g.dims)).create("features")?;
            label_dimensions(&data, ["row", "feature"])?;
            if let Some(FrameTimes { first, hop }) = self.layout.frames {
                write_attr(&data, "first_seconds", &first)?;
                write_attr(&data, "hop_seconds", &hop)?;
            }
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
        if let Some((id, rows)) = self.begun.as_ref().filter(|(id, _)| id != item.id) {
            let what = format!("appended while {id:?} has begun ({rows} rows so far)");
            return Err(self.refuse(item, what, "append the last part of an item before the next item"));
        }
        let rows = item.features[0].nrows();
        for (g, x) in self.layout.groups.iter().zip(item.features) {
            if x.dim() != (rows, g.dims) || rows == 0 {
                let what = format!("{:?} features for {}, not {:?}", x.dim(), g.group, (rows, g.dims));
                return Err(self.refuse(item, what, "all groups need the same rows (one or more)"));
            }
            if let Some(row) = x.rows().into_iter().position(|r| r.iter().any(|v| !v.is_finite())) {
                let what = format!("group {}, row {row} of the item is not finite", g.group);
                return Err(self.refuse(item, what, super::not_finite_remedy(&g.group)));
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

    /// Appends an item, or the last part of one. After an error the file is as it was before the call, except when the
    /// disk failed.
    ///
    /// # Errors
    /// When the item does not fit the layout, has features that are not finite, or cannot be written.
    pub fn append(&mut self, item: Item<'_>) -> Result<()> {
        let id = text(item.id).map_err(write_error(&self.path, "append an item", self.bytes()))?;
        self.append_rows(&item)?;
        let before = self.begun.take().map_or(0, |(_, rows)| rows);
        self.ids.push(id);
        self.seen.insert(item.id.to_owned());
        for ((all, labels), spec) in self.labels.iter_mut().zip(item.labels).zip(&self.layout.labels) {
            if spec.per == Per::Item {
                all.extend_from_slice(labels);
            }
        }
        self.counts.push(before + item.features[0].nrows());
        self.test.push(u8::from(item.split == Split::Test));
        Ok(())
    }

    /// Appends rows of an item of which more come: it ends with [`Self::append`], whose split and labels of items count.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn append_part(&mut self, part: Item<'_>) -> Result<()> {
        self.append_rows(&part)?;
        self.begun.get_or_insert_with(|| (part.id.to_owned(), 0)).1 += part.features[0].nrows();
        Ok(())
    }

    /// Appends the rows of an item, and their labels.
    fn append_rows(&mut self, item: &Item<'_>) -> Result<()> {
        let rows = self.check(item)?;
        let failed = write_error(&self.path, "append an item", self.bytes());
        for (column, x) in self.columns.iter_mut().zip(item.features) {
            column.pending.extend(x.iter());
            column.flush(false).map_err(&failed)?;
        }
        for ((all, labels), spec) in self.labels.iter_mut().zip(item.labels).zip(&self.layout.labels) {
            if spec.per == Per::Frame {
                all.extend_from_slice(labels);
            }
        }
        self.rows += rows;
        Ok(())
    }

    /// Bytes of the features so far.
    fn bytes(&self) -> usize {
        let dims: usize = self.columns.iter().map(|c| c.dims).sum();
        self.rows * dims * size_of::<f32>()
    }

    /// Items appended so far.
    pub fn n_items(&self) -> usize {
        self.counts.len()
    }

    /// Completes the file, flushes it to disk and renames it to its final name.
    ///
    /// # Errors
    /// When there are no items, the last one is not complete, or the disk failed; the temporary file is removed.
    pub fn finish(mut self) -> Result<()> {
        if self.counts.is_empty() {
            return Err(Error::file(&self.path, "no items to write", "give the dataset one item at least"));
        }
        if let Some((id, rows)) = &self.begun {
            let what = format!("item {id:?} ends after {rows} rows without its last part");
            return Err(Error::file(&self.path, what, super::AGAIN));
        }
        let bytes = self.bytes();
        self.end().map_err(|e| write_error(&self.path, "complete the file", bytes)(e))?;
        seal(self.unfinished.beside()).map_err(|e| Error::io(&self.path, "complete", e))?;
        self.unfinished.place()
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
        let index = file.new_dataset_builder().with_data(&pairs).create("index")?;
        label_dimensions(&index, ["item", "column"])?;
        let columns = [text("first_row")?, text("n_rows")?];
        index.new_attr_builder().with_data(&columns).create("columns")?;
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
        let classes = file.create_group("classes")?;
        for spec in self.layout.labels.iter().filter(|l| !l.names.is_empty()) {
            let names = spec.names.iter().map(|n| text(n)).collect::<hdf5::Result<Vec<_>>>()?;
            classes.new_dataset_builder().with_data(&Array1::from_vec(names)).create(spec.task.as_str())?;
        }
        self.columns.clear();
        drop((labels, classes, index));
        file.flush()?;
        file.close()
    }
}
