//! Datasets of images, in the formats they are published in; [`open`] tells which one a folder
//! holds.
//!
//! | format | files |
//! |---|---|
//! | STL-10 | `train_X.bin train_y.bin test_X.bin test_y.bin`, optional `unlabeled_X.bin class_names.txt fold_indices.txt` |
//! | CIFAR-10 | `data_batch_1.bin` … `data_batch_5.bin test_batch.bin`, optional `batches.meta.txt` |
//! | CIFAR-100 | `train.bin test.bin`, optional `fine_label_names.txt` |
//! | IDX (MNIST's) | `train-images-idx3-ubyte train-labels-idx1-ubyte t10k-…`, `.gz` or not, optional `classes.txt` |
//! | class folders | `train/<class>/*` and `test/` or `val/`, or `<class>/*`: JPEG and PNG of any size |
//!
//! A folder of any format may hold `labels.csv`: further labels of images, a kind a column.

mod cifar;
mod folders;
mod idx;
mod labeled;
mod records;
mod stl10;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gim_core::data::LabelTable;
use gim_core::{Error, Result};

use super::image_dataset::{DatasetOptions, ImageDataset};

pub use folders::is_image;

/// Opens the dataset in a folder, whatever format it has; see the [module](self).
///
/// # Errors
/// No such folder, or nothing in it that is a dataset; a file that is missing, damaged, of the
/// wrong length, or does not fit the others; a label out of range; a class without images; an image
/// smaller than `options.min_side`; a folder that links count twice. Bad images are no error with
/// `options.skip_bad`, unless no other is left.
pub fn open(root: &Path, options: &DatasetOptions) -> Result<Arc<dyn ImageDataset>> {
    let dataset = open_images(root, options)?;
    let table = options.columns.clone().or_else(|| Some(root.join("labels.csv")).filter(|path| path.is_file()));
    match table {
        Some(table) => Ok(Arc::new(labeled::Labeled::new(dataset, LabelTable::read(&table)?)?)),
        None => Ok(dataset),
    }
}

fn open_images(root: &Path, options: &DatasetOptions) -> Result<Arc<dyn ImageDataset>> {
    if !root.is_dir() {
        let what = if root.exists() { "is not a folder" } else { "there is no such folder" };
        return Err(Error::file(root, what, "give the folder that holds the dataset"));
    }
    // The archives of STL-10 and CIFAR unpack into a folder of their own.
    let inner = ["", "stl10_binary", "cifar-10-batches-bin", "cifar-100-binary"].map(|name| root.join(name));
    for dir in &inner {
        if stl10::is_at(dir) {
            return Ok(Arc::new(stl10::open(dir, options)?));
        }
        if cifar::is_10_at(dir) {
            return Ok(Arc::new(cifar::open_10(dir, options)?));
        }
        if cifar::is_100_at(dir) {
            return Ok(Arc::new(cifar::open_100(dir, options)?));
        }
    }
    if idx::is_at(root) {
        return Ok(Arc::new(idx::open(root, options)?));
    }
    Ok(Arc::new(folders::open(root, options)?))
}

/// A dataset of these files (id, path) alone: without classes, and all of them in the training split.
/// All files are decoded once.
///
/// # Errors
/// When two files have one id, or files are bad or smaller than `options.min_side`: all are named.
/// With `options.skip_bad`, when none is good.
pub fn of_files(root: &Path, files: Vec<(String, PathBuf)>, options: &DatasetOptions) -> Result<Arc<dyn ImageDataset>> {
    Ok(Arc::new(folders::of_files(root, files, options)?))
}
