//! Files of views: features of random parts of the items, for the paper's protocol.
//!
//! A view is a random part of an item: a crop of an utterance, a crop of an image, mirrored or not. Its
//! features are one row, the mean over time or over the grid of patches. The published probes see a
//! fresh view of every training item in each epoch.
//!
//! A file of views is a [feature file](crate::features) whose items are named `item@view`. The views of
//! the training items come first, view by view, then those of the test items. A view of a group is one
//! block of rows, so that a probe holds one view at a time, or blocks of one where a view exceeds the
//! budget of the file.

use std::path::{Path, PathBuf};

use gim_core::{Error, Result};

use crate::examples::Examples;
use crate::features::{FeatureFile, FeatureWriter, Item, Layout, Provenance};
use crate::items::{ItemIndex, Split};

/// A file of views being written.
#[derive(Debug)]
pub struct ViewWriter {
    writer: FeatureWriter,
}

impl ViewWriter {
    /// Begins a file; labels are of items.
    ///
    /// # Errors
    /// As [`FeatureWriter::create`].
    pub fn create(path: impl AsRef<Path>, layout: Layout, provenance: &Provenance) -> Result<Self> {
        Ok(Self { writer: FeatureWriter::create(path, layout, provenance)? })
    }

    /// Appends a view (counted from 0) of an item: one row of features a group. Views 0, 1, … of the
    /// training items come first, each with all items in the same order, then those of the test items.
    ///
    /// # Errors
    /// As [`FeatureWriter::append`]. The order is checked when the file is opened.
    pub fn append(&mut self, view: usize, item: Item<'_>) -> Result<()> {
        let id = format!("{}@{view}", item.id);
        self.writer.append(Item { id: &id, ..item })
    }

    /// Puts the complete file in place.
    ///
    /// # Errors
    /// As [`FeatureWriter::finish`].
    pub fn finish(self) -> Result<()> {
        self.writer.finish()
    }
}

/// An open file of views.
#[derive(Debug)]
pub struct ViewFile {
    file: FeatureFile,
    path: PathBuf,
    /// Training items, each in `views` views.
    train_items: usize,
    views: usize,
    /// Test items, each in `test_views` views.
    test_items: usize,
    test_views: usize,
}

impl ViewFile {
    /// Opens a file.
    ///
    /// # Errors
    /// As [`FeatureFile::open`], and when the file is not one of views.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let file = FeatureFile::open(&path)?;
        Self::new(path, file)
    }

    /// The views in an open feature file; `path` is for messages.
    ///
    /// # Errors
    /// When the file is not one of views.
    pub fn new(path: impl AsRef<Path>, file: FeatureFile) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let remedy = "give the folder of the run: its views are made where they are missing";
        let no_views = || Error::file(&path, "holds whole items, not views", remedy);
        let train_rows = file.split().iter().take_while(|s| **s == Split::Train).count();
        let one_row_each = file.index().n_rows() == file.index().n_items();
        if !one_row_each || file.split()[train_rows..].contains(&Split::Train) {
            return Err(no_views());
        }
        let (train, test) = file.items().split_at(train_rows);
        let (train_items, views) = blocks(train).ok_or_else(no_views)?;
        let (test_items, test_views) = blocks(test).ok_or_else(no_views)?;
        Ok(Self { file, path, train_items, views, test_items, test_views })
    }

    /// Views of each training item.
    pub fn views(&self) -> usize {
        self.views
    }

    /// Views of each test item.
    pub fn test_views(&self) -> usize {
        self.test_views
    }

    /// Test items.
    pub fn test_items(&self) -> usize {
        self.test_items
    }

    /// The file itself: groups, labels, provenance.
    pub fn file(&self) -> &FeatureFile {
        &self.file
    }

    /// Training items in view `view` (counted from 0), with the labels `task`.
    ///
    /// # Errors
    /// When there is no such view, group or task, or the features cannot be read.
    pub fn train(&self, group: &str, task: &str, view: usize) -> Result<Examples> {
        if view >= self.views {
            let what = format!("has no view {view}");
            return Err(Error::file(&self.path, what, format_args!("it has {}, counted from 0", self.views)));
        }
        self.rows(group, task, view * self.train_items, self.train_items, Split::Train)
    }

    /// All views of the test items, with the labels `task`. Every item counts once a view, so that an
    /// accuracy over the rows is the mean over views.
    ///
    /// # Errors
    /// As [`ViewFile::train`].
    pub fn test(&self, group: &str, task: &str) -> Result<Examples> {
        let first = self.views * self.train_items;
        self.rows(group, task, first, self.test_views * self.test_items, Split::Test)
    }

    fn rows(&self, group: &str, task: &str, first: usize, n: usize, split: Split) -> Result<Examples> {
        let rows = first..first + n;
        let labels = self.file.labels(task)?;
        let source = self.file.source(group, rows.clone(), labels.classes)?;
        let labels_of = labels.values[rows].to_vec();
        Examples::new(source, labels_of, labels.classes, ItemIndex::single(n), vec![split; n])
    }
}

/// Items and views of ids `item@view` that come view by view, each with the same items in the same
/// order; `None` for others.
fn blocks(ids: &[String]) -> Option<(usize, usize)> {
    let named = ids.iter().map(|id| {
        let (item, view) = id.rsplit_once('@')?;
        Some((item, view.parse::<usize>().ok()?))
    });
    let named: Vec<(&str, usize)> = named.collect::<Option<_>>()?;
    let items = named.iter().take_while(|n| n.1 == 0).count();
    if items == 0 {
        return named.is_empty().then_some((0, 0));
    }
    let in_place = |(i, (item, view)): (usize, &(&str, usize))| *view == i / items && *item == named[i % items].0;
    (named.len().is_multiple_of(items) && named.iter().enumerate().all(in_place))
        .then_some((items, named.len() / items))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_say_which_views_there_are() {
        let ids = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(blocks(&ids(&["a@0", "b@0", "a@1", "b@1", "a@2", "b@2"])), Some((2, 3)));
        assert_eq!(blocks(&ids(&["a@b@0", "a@b@1"])), Some((1, 2)));
        assert_eq!(blocks(&[]), Some((0, 0)));
        for wrong in [&["a", "b"][..], &["a@1"], &["a@0", "b@0", "a@1"], &["a@0", "b@0", "b@1", "a@1"], &["a@0", "a@2"]]
        {
            assert_eq!(blocks(&ids(wrong)), None, "{wrong:?}");
        }
    }
}
