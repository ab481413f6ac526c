//! Feature files: frozen features of every module, with labels and split, in HDF5.
//!
//! ```text
//! /<group>/features (N, D) f32     chunked by rows; N = rows of all items
//! /items (n_items) string          item ids, in order
//! /index (n_items, 2) u64          first row and number of rows of each item
//! /labels/<task> i32               (N) by frame or (n_items) by item; −1 = no label
//! /classes/<task> string           names of the classes
//! /splits/test (n_items) u8        0 train, 1 test
//! ```
//!
//! `docs/feature-files.md` has the attributes. Groups are named `module_1`, `random_1`,
//! `baseline_mfcc` …; all share the index. Any HDF5 program can read the file, and one that another
//! program wrote in this layout is read: most attributes may be missing.
//!
//! The user block, the first 512 bytes, holds length and CRC-32 of the rest, the [`Seal`].
//! [`FeatureFile::open`] checks it before the HDF5 library sees the file, because damaged metadata
//! can crash the library. Files are never locked: they are written under another name and renamed,
//! and some file systems have no locks.

mod content;
mod reader;
mod seal;
mod writer;

use std::path::Path;

use gim_core::Error;
use hdf5::types::VarLenUnicode;
use ndarray::ArrayView2;

use crate::items::Split;
use crate::records::{Group, GroupId};

/// The error of a row of a group in a file that is not finite.
pub(crate) fn not_finite(path: &Path, group: &str, row: usize) -> Error {
    Error::file(path, format_args!("group {group}, row {row} is not finite"), not_finite_remedy(group))
}

/// What to do about features of a group that are not finite.
fn not_finite_remedy(group: &str) -> &'static str {
    match group.parse::<GroupId>().map(GroupId::group) {
        Ok(Group::Trained | Group::All) => {
            "did the model diverge? train with a smaller rate; or look for a damaged file in the dataset"
        }
        _ => "look for a damaged file in the dataset",
    }
}

pub use reader::FeatureFile;
pub use seal::{Seal, seal_of};
pub use writer::FeatureWriter;

/// Version of the HDF5 library in use.
pub fn hdf5_version() -> String {
    let (major, minor, release) = hdf5::library_version();
    format!("{major}.{minor}.{release}")
}

/// Version of the layout above.
const VERSION: u32 = 3;
/// The first version. It does not say which class is silence: class 0 of `phone` was taken.
const WITHOUT_SILENCE: u32 = 1;
pub(crate) const AGAIN: &str = "write the features again";

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
    /// Names of the classes; empty when they have none.
    pub names: Vec<String>,
}

/// When the frames of an item are, in seconds from its beginning.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameTimes {
    /// Middle of the first frame.
    pub first: f64,
    /// From one frame to the next.
    pub hop: f64,
}

/// Contents of a file to be written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Layout {
    /// Groups of features.
    pub groups: Vec<GroupSpec>,
    /// Kinds of labels; may be empty.
    pub labels: Vec<LabelSpec>,
    /// Times of the rows, if they are frames.
    pub frames: Option<FrameTimes>,
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
    /// Digest of the dataset that the features are of.
    pub dataset_digest: String,
    /// What the run keeps of the dataset it was trained on, as JSON; empty when unknown.
    pub trained_on: String,
    /// Training steps behind the features, if they are known.
    pub step: Option<u64>,
    /// Digest of the checkpoint behind the features; empty when unknown.
    pub checkpoint: String,
    /// Cells along a side that maps of images were averaged to, and then written out side by side; `None` for means over
    /// the image, and for audio.
    pub pooling: Option<u64>,
    /// The only module whose features are in the file; `None` for those of all modules.
    pub module: Option<u64>,
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
    /// Names of the classes; empty when the file has none.
    pub names: Vec<String>,
}

pub(crate) fn h5_error(path: &Path, doing: &str, remedy: &str) -> impl Fn(hdf5::Error) -> Error {
    move |e| Error::file(path, format_args!("cannot {doing}: {e}"), remedy).caused_by(e)
}

fn text(value: &str) -> hdf5::Result<VarLenUnicode> {
    // A NUL cannot be stored in an HDF5 string of variable length.
    value.parse().map_err(|e| hdf5::Error::from(format!("{value:?}: {e:?}")))
}

/// An error of writing: the system's own where the HDF5 library names it, e.g. a full disk. `bytes`
/// are those of the features so far.
fn write_error(path: &Path, doing: &str, bytes: usize) -> impl Fn(hdf5::Error) -> Error {
    let doing = format!("{doing} ({:.1} MB of features so far)", bytes as f64 / 1e6);
    move |e| {
        let text = e.to_string();
        let number = text.split_once("errno = ").and_then(|(_, rest)| rest.split(',').next()?.trim().parse().ok());
        match number {
            Some(number) => Error::io(path, &doing, std::io::Error::from_raw_os_error(number)),
            None => h5_error(path, &doing, "check the disk")(e),
        }
    }
}

fn write_attr<T: hdf5::H5Type>(at: &hdf5::Location, name: &str, value: &T) -> hdf5::Result<()> {
    at.new_attr::<T>().create(name)?.write_scalar(value)
}
