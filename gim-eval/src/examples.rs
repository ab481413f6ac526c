//! Labeled features in two parts: one to fit a probe, one to evaluate it.

use std::path::Path;

use gim_core::{Error, Key, Purpose, Result};
use ndarray::{Array2, ArrayView2};
use rand::seq::SliceRandom;
use rayon::prelude::*;

use crate::items::{ItemIndex, Split};
use crate::source::{Budget, Source};

/// Features with labels, items and a split.
#[derive(Debug, Clone)]
pub struct Examples {
    source: Source,
    labels: Vec<i32>,
    n_classes: usize,
    index: ItemIndex,
    split: Vec<Split>,
}

impl Examples {
    /// Rows are frames: `features (N, D)`, `labels (N)` in −1..n_classes (−1 = no label), `split (n_items)`.
    ///
    /// # Errors
    /// When the sizes disagree or a label is out of range.
    pub fn per_frame(
        features: Array2<f32>,
        labels: Vec<i32>,
        n_classes: usize,
        index: ItemIndex,
        split: Vec<Split>,
    ) -> Result<Self> {
        let features =
            if features.is_standard_layout() { features } else { features.as_standard_layout().into_owned() };
        Self::new(Source::Memory(features), labels, n_classes, index, split)
    }

    /// As [`Examples::per_frame`], of features that may be in a file.
    pub(crate) fn new(
        source: Source,
        labels: Vec<i32>,
        n_classes: usize,
        index: ItemIndex,
        split: Vec<Split>,
    ) -> Result<Self> {
        let (rows, items) = (source.rows(), index.n_items());
        if rows != index.n_rows() || labels.len() != rows || split.len() != items {
            return Err(Error::data(
                "examples",
                format_args!(
                    "{rows} rows of features, {} labels, an index of {} rows in {items} items, a split of {} items",
                    labels.len(),
                    index.n_rows(),
                    split.len()
                ),
                "features, labels, index and split must be about the same items",
            ));
        }
        if n_classes < 2 || source.dims() == 0 {
            return Err(Error::data(
                "examples",
                format_args!("{n_classes} classes, {} dimensions", source.dims()),
                "a probe needs two classes and one dimension at least",
            ));
        }
        if let Some((row, label)) = labels.iter().enumerate().find(|(_, l)| **l < -1 || **l >= n_classes as i32) {
            return Err(Error::data(
                "examples",
                format_args!("label {label} of row {row} is not in -1..{n_classes}"),
                "number the classes from 0; -1 means no label",
            ));
        }
        Ok(Self { source, labels, n_classes, index, split })
    }

    /// One row an item: `features (n_items, D)`, `labels (n_items)`, `split (n_items)`.
    ///
    /// # Errors
    /// As [`Examples::per_frame`].
    pub fn per_item(features: Array2<f32>, labels: Vec<i32>, n_classes: usize, split: Vec<Split>) -> Result<Self> {
        let index = ItemIndex::single(features.nrows());
        Self::per_frame(features, labels, n_classes, index, split)
    }

    /// All features (N, D), of both parts; `None` where they are read from their file in blocks.
    pub fn features(&self) -> Option<ArrayView2<'_, f32>> {
        match &self.source {
            Source::Memory(features) => Some(features.view()),
            Source::Disk(_) => None,
        }
    }

    /// Bytes of memory that a probe of all features would need, where that is more than the budget: they
    /// are read from their file in blocks. `None` where they are in memory.
    pub fn streamed(&self) -> Option<u64> {
        let need = Budget::need(self.source.rows(), self.source.dims(), self.n_classes);
        self.source.limit().map(|_| need)
    }

    /// All labels (N), of both parts.
    pub fn labels(&self) -> &[i32] {
        &self.labels
    }

    /// The labeled rows on one side of the split.
    pub fn part(&self, split: Split) -> Part<'_> {
        let (mut rows, mut counts) = (Vec::new(), Vec::new());
        for (item, range) in self.index.iter().enumerate().filter(|(i, _)| self.split[*i] == split) {
            let before = rows.len();
            rows.extend(range.filter(|r| self.labels[*r] >= 0));
            // Items without any label are left out, so that every item of a part has rows.
            if rows.len() > before {
                counts.push((item, rows.len() - before));
            }
        }
        Part {
            source: &self.source,
            n_classes: self.n_classes,
            split,
            labels: rows.iter().map(|r| self.labels[*r] as u32).collect(),
            rows,
            items: counts.iter().map(|(i, _)| *i).collect(),
            index: ItemIndex::from_counts(counts.iter().map(|(_, n)| *n)),
        }
    }

    /// A `share` of the training items, in (0, 1], to evaluate probes with few labels. A share of 1
    /// gives [`Examples::part`].
    ///
    /// Items are kept whole and in order. If every item has labels of one class, each class keeps
    /// round(share · items) of its items, at least one: rare classes raise the total above `share`.
    /// Otherwise items are sampled regardless of class, and a rare class may lose all its rows.
    ///
    /// The sample depends on `key` and the labels only, so all modules use the same labels. A smaller
    /// share is a subset of a larger one. `key` needs the run's seed; its purpose and item are set
    /// here. A [`ConvergedProbe`](crate::ConvergedProbe) that selects a penalty holds out some of these
    /// items, and fails if every class has a single item.
    ///
    /// # Errors
    /// When `share` is not in (0, 1].
    pub fn train_with_labels(&self, share: f64, key: Key) -> Result<Part<'_>> {
        if !(share > 0.0 && share <= 1.0) {
            let what = format_args!("a share of {share} of the training items");
            return Err(Error::config("--labels", what, "give a share above 0 and up to 1"));
        }
        let all = self.part(Split::Train);
        if share == 1.0 {
            return Ok(all);
        }
        let mut order: Vec<usize> = (0..all.n_items()).collect();
        // The probes' own draws are of other items.
        order.shuffle(&mut key.with_purpose(Purpose::Probe).with_item(6).rng());
        let mut strata = vec![Vec::new(); self.n_classes];
        let by_class = all.one_class_an_item();
        for item in order {
            let stratum = if by_class { all.labels[all.index.rows(item).start] as usize } else { 0 };
            strata[stratum].push(item);
        }
        // A share is a prefix of the order, which makes shares nested.
        let count = |items: &[usize]| ((items.len() as f64 * share).round() as usize).max(1).min(items.len());
        let mut kept: Vec<usize> = strata.iter().flat_map(|items| &items[..count(items)]).copied().collect();
        kept.sort_unstable();
        Ok(all.select_items(&kept))
    }
}

/// The labeled rows of one side of the split; `n` of them, grouped by item.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    /// All features (N, D); this part reads the rows in `rows` only.
    source: &'a Source,
    n_classes: usize,
    split: Split,
    rows: Vec<usize>,
    labels: Vec<u32>,
    items: Vec<usize>,
    index: ItemIndex,
}

impl<'a> Part<'a> {
    /// Number of labeled rows.
    pub fn n_rows(&self) -> usize {
        self.rows.len()
    }

    /// Number of items with at least one labeled row.
    pub fn n_items(&self) -> usize {
        self.items.len()
    }

    /// Dimensions of a row.
    pub fn dims(&self) -> usize {
        self.source.dims()
    }

    /// Number of classes.
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// The side of the split.
    pub fn split(&self) -> Split {
        self.split
    }

    /// Class of each row.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Rows, counted within this part, of each item.
    pub fn index(&self) -> &ItemIndex {
        &self.index
    }

    /// Items of this part, as indices into the [`Examples`].
    pub fn items(&self) -> &[usize] {
        &self.items
    }

    /// Rows of this part, as indices into the [`Examples`].
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// The budget that the features exceed, and the folder for scores; `None` where they are in memory.
    pub(crate) fn limit(&self) -> Option<(Budget, &'a Path)> {
        self.source.limit()
    }

    /// Rows of a block of [`Part::for_each_block`]; those of a multiple of 1024 but for the last one.
    pub(crate) fn block_rows(&self) -> usize {
        self.limit().map_or(Budget::UNLIMITED, |limit| limit.0).block_rows(self.dims())
    }

    /// `out (rows, D)` = some rows, counted within this part.
    ///
    /// # Errors
    /// When the features cannot be read.
    pub(crate) fn gather(&self, rows: impl IntoIterator<Item = usize>, out: &mut [f32]) -> Result<()> {
        let rows: Vec<usize> = rows.into_iter().map(|i| self.rows[i]).collect();
        self.source.gather(&rows, out)
    }

    /// Calls `work` with the number of each batch and the features (rows, D) of its rows. While one is
    /// worked on, the next one is read if it is in a file. `batch` gives the rows of a batch.
    ///
    /// # Errors
    /// Those of `work`, and when the features cannot be read.
    pub(crate) fn for_each_batch<R: IntoIterator<Item = usize>>(
        &self,
        batches: usize,
        batch: impl Fn(usize) -> R + Sync,
        mut work: impl FnMut(usize, &mut [f32]) -> Result<()> + Send,
    ) -> Result<()> {
        let read = |i: usize, x: &mut Vec<f32>| {
            if i >= batches {
                return Ok(());
            }
            let rows: Vec<usize> = batch(i).into_iter().map(|row| self.rows[row]).collect();
            x.resize(rows.len() * self.dims(), 0.0);
            self.source.gather(&rows, x)
        };
        let (mut x, mut next) = (Vec::new(), Vec::new());
        if self.limit().is_none() {
            return (0..batches).try_for_each(|i| read(i, &mut x).and_then(|()| work(i, &mut x)));
        }
        read(0, &mut x)?;
        for i in 0..batches {
            let (worked, was_read) = rayon::join(|| work(i, &mut x), || read(i + 1, &mut next));
            worked.and(was_read)?;
            std::mem::swap(&mut x, &mut next);
        }
        Ok(())
    }

    /// [`Part::for_each_batch`] of all rows in order, [`Part::block_rows`] at a time. `work` gets the first
    /// row of each block.
    ///
    /// # Errors
    /// As [`Part::for_each_batch`].
    pub(crate) fn for_each_block(&self, mut work: impl FnMut(usize, &mut [f32]) -> Result<()> + Send) -> Result<()> {
        let (n, each) = (self.n_rows(), self.block_rows());
        let rows = |i: usize| i * each..n.min((i + 1) * each);
        self.for_each_batch(n.div_ceil(each), rows, |i, x| work(i * each, x))
    }

    /// Whether the rows of each item are of one class.
    fn one_class_an_item(&self) -> bool {
        self.index.iter().all(|rows| self.labels[rows.clone()].iter().all(|label| *label == self.labels[rows.start]))
    }

    /// The part with some of its items, given as indices into this part.
    pub(crate) fn select_items(&self, items: &[usize]) -> Self {
        let rows: Vec<usize> = items.iter().flat_map(|i| self.index.rows(*i)).collect();
        Self {
            rows: rows.iter().map(|r| self.rows[*r]).collect(),
            labels: rows.iter().map(|r| self.labels[*r]).collect(),
            items: items.iter().map(|i| self.items[*i]).collect(),
            index: ItemIndex::from_counts(items.iter().map(|i| self.index.rows(*i).len())),
            ..*self
        }
    }

    /// Refuses an empty part and rows that are not finite.
    pub(crate) fn check(&self) -> Result<()> {
        if self.rows.is_empty() {
            return Err(Error::data(
                "examples",
                format_args!("no labeled rows on the {:?} side of the split", self.split),
                "give the split at least one labeled item on each side",
            ));
        }
        // Features in a file are checked whenever they are read.
        let (values, d) = (self.source.values().unwrap_or_default(), self.dims());
        let finite = |row: usize| values.get(row * d..(row + 1) * d).is_none_or(|x| x.iter().all(|x| x.is_finite()));
        let bad = (0..self.n_rows()).into_par_iter().find_first(|i| !finite(self.rows[*i]));
        match bad {
            None => Ok(()),
            Some(i) => Err(Error::data(
                "examples",
                format_args!("the features of row {} are not finite", self.rows[i]),
                "train with a smaller rate, or leave this item out",
            )),
        }
    }
}
