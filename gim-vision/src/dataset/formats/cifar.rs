//! CIFAR-10 and CIFAR-100 (Krizhevsky 2009), the binary form: records of one label (CIFAR-100: a coarse one of 20, then the
//! fine one, which counts here), then 3 × 32 × 32 bytes, each channel row after row.

use std::path::{Path, PathBuf};

use gim_core::Result;

use super::records::{Layout, Part, Records, add_labels, in_range, note_sizes};
use crate::dataset::image_dataset::{DatasetOptions, Listing, again, class_names};

const SIDE: usize = 32;
const PIXELS: u64 = 3 * 32 * 32;

/// Images of each published file, but for CIFAR-100's training set.
const PUBLISHED: usize = 10_000;
const COARSE: usize = 20;
const NAMES_10: &str = "batches.meta.txt";
const NAMES_100: &str = "fine_label_names.txt";

pub(super) fn is_10_at(dir: &Path) -> bool {
    let batches = (1..=5).map(|b| format!("data_batch_{b}.bin"));
    batches.chain(["test_batch.bin", NAMES_10].map(String::from)).any(|name| dir.join(name).is_file())
}

pub(super) fn is_100_at(dir: &Path) -> bool {
    let files = ["train.bin", "test.bin"].map(|name| dir.join(name));
    // One of them alone has a common name, and may lie beside class folders.
    let whole =
        |path: &PathBuf| path.metadata().is_ok_and(|m| m.is_file() && m.len() > 0 && m.len() % (2 + PIXELS) == 0);
    files.iter().all(|path| path.is_file()) || files.iter().any(whole) || dir.join(NAMES_100).is_file()
}

pub(super) fn open_10(dir: &Path, options: &DatasetOptions) -> Result<Records> {
    let mut listing = Listing { root: dir.to_owned(), format: "CIFAR-10", ..Default::default() };
    listing.classes = class_names(&dir.join(NAMES_10), 10, &mut listing.notes)?;
    let train: Vec<String> = (1..=5).map(|b| format!("data_batch_{b}")).collect();
    read(dir, listing, &train, PUBLISHED, "test_batch", 1, options)
}

pub(super) fn open_100(dir: &Path, options: &DatasetOptions) -> Result<Records> {
    let mut listing = Listing { root: dir.to_owned(), format: "CIFAR-100", ..Default::default() };
    listing.classes = class_names(&dir.join(NAMES_100), 100, &mut listing.notes)?;
    read(dir, listing, &["train".to_owned()], 5 * PUBLISHED, "test", 2, options)
}

/// Files of records with `before` labels each, the last of which counts; `published` images in each file of `train`.
fn read(
    dir: &Path,
    mut listing: Listing,
    train: &[String],
    published: usize,
    test: &str,
    before: u64,
    options: &DatasetOptions,
) -> Result<Records> {
    let mut parts: Vec<Part> = Vec::new();
    for name in train.iter().map(String::as_str).chain([test]) {
        let part = Part::open(name, dir.join(format!("{name}.bin")), before + PIXELS, before)?;
        // The batches of the training set are all of one size: one that was cut between two records shows here.
        if let Some(first) = parts.first().filter(|first| name != test && first.n != part.n) {
            let what = format!("it has {} images, but {} has {}", part.n, first.path.display(), first.n);
            return Err(again(&part.path, what));
        }
        let mut raw = vec![[0; 2]; part.n];
        for (i, labels) in raw.iter_mut().enumerate() {
            let at = i as u64 * (before + PIXELS);
            part.bytes.read_at(&part.path, at, &mut labels[2 - before as usize..])?;
        }
        let classes = listing.classes.len();
        // Without coarse labels theirs is 0.
        let label = |[coarse, fine]: [u8; 2]| {
            in_range("coarse label", coarse, 0, COARSE).and_then(|_| in_range("label", fine, 0, classes))
        };
        let good = add_labels(name, &part.path, raw.into_iter().map(label), options, &mut listing)?;
        if name == test {
            listing.test.extend(good)
        } else {
            listing.train.extend(good)
        }
        parts.push(part);
    }
    let sizes = parts.iter().map(|part| (part, if part.name == test { PUBLISHED } else { published }));
    note_sizes(sizes, &mut listing.notes);
    Records::new(listing, parts, (SIDE, SIDE, 3), Layout::Rows, options)
}
