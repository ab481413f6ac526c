//! Reads feature files.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gim_core::{Error, Result};
use ndarray::{Array1, Array2, s};

use super::content::Content;
use super::seal::{Seal, seal_of};
use super::{AGAIN, FrameTimes, Labels, Per, Provenance, h5_error};
use crate::examples::Examples;
use crate::items::{ItemIndex, Split, mean_of_rows};
use crate::scratch::Scratch;
use crate::source::{Budget, OnDisk, Place, Source, Stamp};

/// Values that are read at a time where all are read.
const BLOCK: usize = 1 << 20;

/// One group of features in a file.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) dims: usize,
    pub(super) data: hdf5::Dataset,
}

/// A feature file, validated and open for reading.
#[derive(Debug)]
pub struct FeatureFile {
    pub(super) path: PathBuf,
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) ids: Vec<String>,
    pub(super) index: ItemIndex,
    pub(super) split: Vec<Split>,
    pub(super) labels: BTreeMap<String, Labels>,
    pub(super) frames: Option<FrameTimes>,
    pub(super) provenance: Provenance,
    pub(super) budget: Budget,
    /// The file when it was opened.
    pub(super) stamp: Stamp,
}

impl FeatureFile {
    /// Opens a file and checks its seal, version, shapes, index, labels and split.
    ///
    /// # Errors
    /// When the file is missing, damaged, cut short, changed since it was written, of another kind or
    /// version, or inconsistent.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match seal_of(path)? {
            Seal::Holds => Self::open_unsealed(path),
            Seal::Broken => Err(Error::file(path, "damaged or changed since: its checksum does not hold", AGAIN)),
            Seal::Absent => Err(Error::file(path, "not a feature file of this program", AGAIN)),
        }
    }

    /// As [`FeatureFile::open`], without regard to the seal: for files that another program wrote or
    /// changed. Damaged metadata can crash the process, or keep it busy for ever: call this, and
    /// [`FeatureFile::read_all`], in a process that may.
    ///
    /// # Errors
    /// As [`FeatureFile::open`], but for the seal.
    pub fn open_unsealed(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        hdf5::silence_errors(true);
        Content { path, stamp: Stamp::of(path)? }.load().map_err(h5_error(path, "read", AGAIN))?
    }

    /// The file with a budget for [`FeatureFile::examples`]; without one, all features come into memory.
    #[must_use]
    pub fn with_budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// Reads all features once, some rows at a time.
    ///
    /// # Errors
    /// As [`FeatureFile::read_group`].
    pub fn read_all(&self) -> Result<()> {
        for (name, group) in &self.groups {
            let block = (BLOCK / group.dims.max(1)).max(1);
            for first in (0..self.index.n_rows()).step_by(block) {
                self.read_rows(name, first..(first + block).min(self.index.n_rows()))?;
            }
        }
        Ok(())
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
            let have = if have.is_empty() { "none".to_owned() } else { have.join(", ") };
            Error::file(&self.path, format_args!("it has no labels `{task}`"), format_args!("it has {have}"))
        })
    }

    /// Times of the rows, if they are frames and the file says so.
    pub fn frames(&self) -> Option<FrameTimes> {
        self.frames
    }

    /// Where the features come from.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    fn group(&self, group: &str) -> Result<&Group> {
        self.groups.get(group).ok_or_else(|| {
            let have: Vec<&str> = self.groups().collect();
            Error::file(
                &self.path,
                format_args!("it has no group `{group}`"),
                format_args!("it has {}", have.join(", ")),
            )
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
            Some(row) => Err(super::not_finite(&self.path, group, first + row)),
        }
    }

    /// These rows (rows, D) of a group, in this order, without the others in memory.
    ///
    /// # Errors
    /// As [`FeatureFile::read_rows`].
    pub fn select_rows(&self, group: &str, rows: &[usize]) -> Result<Array2<f32>> {
        let (g, all) = (self.group(group)?, self.index.n_rows());
        if let Some(row) = rows.iter().find(|row| **row >= all) {
            let what = format!("no row {row} in group {group}");
            return Err(Error::file(&self.path, what, format_args!("it has {all} rows")));
        }
        let mut x = vec![0.0; rows.len() * g.dims];
        Source::Disk(self.on_disk(self.place(group, 0)?, all, g.dims)).gather(rows, &mut x)?;
        Ok(Array2::from_shape_vec((rows.len(), g.dims), x).unwrap_or_else(|e| unreachable!("x has these values: {e}")))
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
    /// means of items. Features that exceed the budget stay in the file, and are read in blocks.
    ///
    /// # Errors
    /// As [`FeatureFile::read_group`] and [`FeatureFile::labels`]. Where features stay in the file, a value
    /// that is not finite is an error when it is read.
    pub fn examples(&self, group: &str, task: &str) -> Result<Examples> {
        let labels = self.labels(task)?;
        let (values, split) = (labels.values.clone(), self.split.clone());
        let index = match labels.per {
            Per::Frame => self.index.clone(),
            Per::Item => ItemIndex::single(self.index.n_items()),
        };
        // One row an item: the mean is the row itself, and one read is faster than n_items.
        let source = if index.n_rows() == self.index.n_rows() {
            self.source(group, 0..self.index.n_rows(), labels.classes)?
        } else {
            self.means(group, labels.classes)?
        };
        Examples::new(source, values, labels.classes, index, split)
    }

    /// Some rows of a group: in memory if a probe of `classes` classes stays within the budget.
    pub(crate) fn source(&self, group: &str, rows: Range<usize>, classes: usize) -> Result<Source> {
        let g = self.group(group)?;
        // The sum over rows of a single dimension is not made in blocks.
        if g.dims == 1 || Budget::need(rows.len(), g.dims, classes) <= self.budget.bytes {
            return Ok(Source::Memory(self.read_rows(group, rows)?));
        }
        Ok(Source::Disk(self.on_disk(self.place(group, rows.start)?, rows.len(), g.dims)))
    }

    /// The rows of a group from row `first` on.
    fn place(&self, group: &str, first: usize) -> Result<Place> {
        let (path, data) = (self.path.clone(), self.group(group)?.data.clone());
        Ok(Place::Group { path, stamp: self.stamp, group: group.to_owned(), data, first })
    }

    /// Means over time of a group, as [`FeatureFile::source`].
    fn means(&self, group: &str, classes: usize) -> Result<Source> {
        let (dims, items) = (self.group(group)?.dims, self.index.n_items());
        if dims == 1 || Budget::need(items, dims, classes) <= self.budget.bytes {
            return Ok(Source::Memory(self.read_means(group)?));
        }
        let file = Scratch::new(self.folder())?;
        let mut mean = Array1::zeros(dims);
        for (item, rows) in self.index.iter().enumerate() {
            mean_of_rows(self.read_rows(group, rows)?.view(), mean.view_mut());
            file.write(item * dims, mean.as_slice().unwrap_or_else(|| unreachable!("a new array is in order")))?;
        }
        Ok(Source::Disk(self.on_disk(Place::Scratch(Arc::new(file)), items, dims)))
    }

    fn on_disk(&self, place: Place, rows: usize, dims: usize) -> OnDisk {
        OnDisk { place, rows, dims, budget: self.budget, folder: self.folder().to_owned() }
    }

    /// The folder of the file.
    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }
}
