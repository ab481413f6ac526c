//! Datasets of images, in the formats they are published in; [`open`] tells which one a folder
//! holds.
//!
//! | format | files |
//! |---|---|
//! | STL-10 | `train_X.bin train_y.bin test_X.bin test_y.bin`, optional `unlabeled_X.bin class_names.txt fold_indices.txt` |
//! | CIFAR-10 | `data_batch_1.bin` … `data_batch_5.bin test_batch.bin`, optional `batches.meta.txt` |
//! | CIFAR-100 | `train.bin test.bin`, optional `fine_label_names.txt` |
//! | IDX (MNIST's) | `train-images-idx3-ubyte train-labels-idx1-ubyte t10k-…`, `.gz` or not, optional `classes.txt` |
//! | class folders | `train/<class>/*` and `test/` or `val/`, or `<class>/*`: JPEG, PNG and WebP of any size |
//!
//! The folders that archives unpack to, and those in which torchvision keeps datasets, may also be one
//! or two folders below: `stl10_binary`, `FashionMNIST/raw`, `imagenette2-160`, ….
//!
//! A folder of any format may hold `labels.csv`: further labels of images, a kind a column. A manifest
//! ([`Manifest`]) may list files instead, with their splits and classes.

mod cifar;
mod folders;
mod idx;
mod labeled;
mod records;
mod stl10;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gim_core::data::{ItemId, Manifest, labels_of};
use gim_core::files::need_folder;
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
    let manifest = options.manifest.as_deref().map(|file| Manifest::read(file, root, &GROUP, ItemId::Path));
    let manifest = manifest.transpose()?;
    let images = match &manifest {
        Some(manifest) => Arc::new(folders::of_manifest(root, manifest, options)?),
        None => open_images(root, options)?,
    };
    let Some((table, of)) = labels_of(root, manifest.as_ref(), options.columns.as_deref())? else { return Ok(images) };
    let id_of = |row: &str| match &of {
        Some(of) => of[row].to_owned(),
        // A path may begin with `./`, and on Windows it has other slashes.
        None => row.replace('\\', "/").trim_start_matches("./").to_owned(),
    };
    Ok(Arc::new(labeled::Labeled::new(images, table, id_of)?))
}

/// Names of a manifest's column of classes.
const GROUP: [&str; 2] = ["class", "label"];

fn open_images(root: &Path, options: &DatasetOptions) -> Result<Arc<dyn ImageDataset>> {
    need_folder(root, "give the folder that holds the dataset")?;
    if let Some(format) = RecordFormat::at(root) {
        return format.open(root, options);
    }
    // Nothing is guessed: of two datasets in one folder, neither is taken.
    let mut inner = INNER.iter().map(|name| (*name, root.join(name))).filter(|(_, dir)| is_dataset(dir));
    match (inner.next(), inner.next()) {
        (Some((one, _)), Some((two, _))) => {
            let what = format!("it holds more than one dataset: {one} and {two}");
            Err(Error::file(root, what, "give the folder of one of them"))
        }
        (Some((_, dir)), None) => match RecordFormat::at(&dir) {
            Some(format) => format.open(&dir, options),
            None => Ok(Arc::new(folders::open(&dir, options)?)),
        },
        _ => match pickled(root) {
            Some((dir, binary)) => {
                let what = "it holds CIFAR as Python pickles, which are not read";
                Err(Error::file(dir, what, format_args!("use the binary version, {binary}")))
            }
            None => Ok(Arc::new(folders::open(root, options)?)),
        },
    }
}

/// Folders below the one that is given, by the names that publishers and torchvision give them.
const INNER: [&str; 13] = [
    "stl10_binary",
    "cifar-10-batches-bin",
    "cifar-100-binary",
    "raw",
    "MNIST/raw",
    "FashionMNIST/raw",
    "KMNIST/raw",
    "imagenette2",
    "imagenette2-320",
    "imagenette2-160",
    "imagewoof2",
    "imagewoof2-320",
    "imagewoof2-160",
];

/// Formats of a few files of records.
#[derive(Debug, Clone, Copy)]
enum RecordFormat {
    Stl10,
    Cifar10,
    Cifar100,
    Idx,
}

impl RecordFormat {
    /// The format of the files in a folder.
    fn at(dir: &Path) -> Option<Self> {
        let formats = [
            (stl10::is_at(dir), Self::Stl10),
            (cifar::is_10_at(dir), Self::Cifar10),
            (cifar::is_100_at(dir), Self::Cifar100),
            (idx::is_at(dir), Self::Idx),
        ];
        formats.into_iter().find(|(is, _)| *is).map(|(_, format)| format)
    }

    fn open(self, dir: &Path, options: &DatasetOptions) -> Result<Arc<dyn ImageDataset>> {
        Ok(Arc::new(match self {
            Self::Stl10 => stl10::open(dir, options)?,
            Self::Cifar10 => cifar::open_10(dir, options)?,
            Self::Cifar100 => cifar::open_100(dir, options)?,
            Self::Idx => idx::open(dir, options)?,
        }))
    }
}

/// Whether a folder of one of the usual names holds a dataset: records, or class folders in sets.
fn is_dataset(dir: &Path) -> bool {
    RecordFormat::at(dir).is_some() || ["train", "val"].iter().all(|set| dir.join(set).is_dir())
}

/// Where CIFAR lies as Python pickles, and what has it as binary files.
fn pickled(root: &Path) -> Option<(PathBuf, &'static str)> {
    let forms = [
        ("cifar-10-batches-py", ["data_batch_1", "test_batch", "batches.meta"], "cifar-10-binary.tar.gz"),
        ("cifar-100-python", ["train", "test", "meta"], "cifar-100-binary.tar.gz"),
    ];
    forms.into_iter().find_map(|(name, files, binary)| {
        let all = |dir: &PathBuf| files.iter().all(|file| dir.join(file).is_file());
        let dir = [root.to_owned(), root.join(name)].into_iter().find(all)?;
        Some((dir, binary))
    })
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
