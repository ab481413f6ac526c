//! CIFAR-10 and CIFAR-100 (Krizhevsky 2009), the binary form: records of one label (CIFAR-100: a coarse one, then the fine
//! one, which counts here), then 3 × 32 × 32 bytes, each channel row after row.

use std::path::Path;

use gim_core::Result;

use super::records::{Layout, Part, Records, check_labels};
use super::{CorpusOptions, Listing, again, class_names};

const SIDE: usize = 32;
const PIXELS: u64 = 3 * 32 * 32;

pub(super) fn is_10_at(dir: &Path) -> bool {
    dir.join("test_batch.bin").is_file() || (1..=5).any(|b| dir.join(format!("data_batch_{b}.bin")).is_file())
}

pub(super) fn is_100_at(dir: &Path) -> bool {
    dir.join("train.bin").is_file() && dir.join("test.bin").is_file()
}

pub(super) fn open_10(dir: &Path, options: &CorpusOptions) -> Result<Records> {
    let mut listing = Listing { root: dir.to_owned(), format: "CIFAR-10", ..Default::default() };
    listing.classes = class_names(&dir.join("batches.meta.txt"), 10, &mut listing.notes)?;
    let train: Vec<String> = (1..=5).map(|b| format!("data_batch_{b}")).collect();
    read(dir, listing, &train, "test_batch", 1, options)
}

pub(super) fn open_100(dir: &Path, options: &CorpusOptions) -> Result<Records> {
    let mut listing = Listing { root: dir.to_owned(), format: "CIFAR-100", ..Default::default() };
    listing.classes = class_names(&dir.join("fine_label_names.txt"), 100, &mut listing.notes)?;
    read(dir, listing, &["train".to_owned()], "test", 2, options)
}

/// Files of records with `before` labels each, the last of which counts.
fn read(
    dir: &Path,
    mut listing: Listing,
    train: &[String],
    test: &str,
    before: u64,
    options: &CorpusOptions,
) -> Result<Records> {
    let mut parts: Vec<Part> = Vec::new();
    for name in train.iter().map(String::as_str).chain([test]) {
        let part = Part::open(name, dir.join(format!("{name}.bin")), before + PIXELS, before)?;
        // The batches of the training set are all of one size: one that was cut between two records shows here.
        if let Some(first) = parts.first().filter(|first| name != test && first.n != part.n) {
            let what = format!("it has {} pictures, but {} has {}", part.n, first.path.display(), first.n);
            return Err(again(&part.path, what));
        }
        let start = listing.labels.len();
        let mut raw = vec![0; part.n];
        for (i, label) in raw.iter_mut().enumerate() {
            let at = i as u64 * (before + PIXELS) + before - 1;
            part.bytes.read_at(&part.path, at, std::slice::from_mut(label))?;
        }
        check_labels(&part.path, raw.into_iter(), 0, listing.classes.len(), &mut listing.labels)?;
        let range = start..listing.labels.len();
        if name == test {
            listing.test.extend(range)
        } else {
            listing.train.extend(range)
        }
        parts.push(part);
    }
    Records::new(listing, parts, (SIDE, SIDE, 3), Layout::Rows, options)
}
