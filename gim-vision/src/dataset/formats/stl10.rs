//! STL-10 (Coates, Lee, Ng 2011), the binary form: images of 3 × 96 × 96 bytes, each channel column
//! after column; labels 1 to 10.

use std::path::Path;

use gim_core::Result;
use gim_core::data::Lines;

use super::records::{Bytes, Layout, Part, Records, add_labels, in_range, note_sizes};
use crate::dataset::image_dataset::{DatasetOptions, Listing, again, class_names};

const SIDE: usize = 96;
const RECORD: u64 = 3 * 96 * 96;
const CLASSES: usize = 10;
/// Images in the published `unlabeled_X.bin`. The other files come in pairs, which must agree.
const UNLABELED: usize = 100_000;

pub(super) fn is_at(dir: &Path) -> bool {
    ["train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "unlabeled_X.bin"].iter().any(|f| dir.join(f).is_file())
}

pub(super) fn open(dir: &Path, options: &DatasetOptions) -> Result<Records> {
    let mut listing = Listing { root: dir.to_owned(), format: "STL-10", ..Default::default() };
    listing.classes = class_names(&dir.join("class_names.txt"), CLASSES, &mut listing.notes)?;
    let mut parts = Vec::new();
    for name in ["train", "test"] {
        let part = Part::open(name, dir.join(format!("{name}_X.bin")), RECORD, 0)?;
        let path = dir.join(format!("{name}_y.bin"));
        let bytes = Bytes::open(&path)?;
        if bytes.len() != part.n as u64 {
            let what = format!("it has {} labels for the {} images of {}", bytes.len(), part.n, part.path.display());
            return Err(again(&path, what));
        }
        let raw = bytes.range(&path, 0, bytes.len())?;
        let labels = raw.into_iter().map(|label| in_range("label", label, 1, CLASSES));
        let good = add_labels(name, &path, labels, options, &mut listing)?;
        if name == "train" {
            listing.train = good
        } else {
            listing.test = good
        }
        parts.push(part);
    }
    let path = dir.join("unlabeled_X.bin");
    if path.exists() {
        let part = Part::open("unlabeled", path, RECORD, 0)?;
        let start = listing.labels.len();
        listing.unlabeled = (start..start + part.n).collect();
        listing.labels.resize(start + part.n, None);
        note_sizes([(&part, UNLABELED)].into_iter(), &mut listing.notes);
        parts.push(part);
    } else {
        listing.notes.push("there is no unlabeled_X.bin: the training images serve without their labels".to_owned());
    }
    let path = dir.join("fold_indices.txt");
    if path.exists() {
        let lines = Lines::read(&path)?;
        let n = parts[0].n;
        for (line, row) in lines.rows() {
            let fold = row.split_whitespace().map(|word| word.parse().ok().filter(|&i: &usize| i < n).ok_or(word));
            let mut fold = fold.collect::<std::result::Result<Vec<usize>, _>>().map_err(|word| {
                again(&path, format_args!("line {line}: {word:?} is not one of the {n} training images"))
            })?;
            // Training images come first, so that these are their numbers in the dataset.
            fold.retain(|&i| listing.labels[i].is_some());
            listing.folds.push(fold);
        }
    }
    Records::new(listing, parts, (SIDE, SIDE, 3), Layout::Columns, options)
}
