//! STL-10 (Coates, Lee, Ng 2011), the binary form: pictures of 3 × 96 × 96 bytes, each channel column after column; labels
//! 1 to 10.

use std::fs;
use std::path::Path;

use gim_core::{Error, Result};

use super::records::{Bytes, Layout, Part, Records, check_labels};
use super::{CorpusOptions, Listing, again, class_names};

const SIDE: usize = 96;
const RECORD: u64 = 3 * 96 * 96;
const CLASSES: usize = 10;

pub(super) fn is_at(dir: &Path) -> bool {
    ["train_X.bin", "test_X.bin", "unlabeled_X.bin"].iter().any(|f| dir.join(f).is_file())
}

pub(super) fn open(dir: &Path, options: &CorpusOptions) -> Result<Records> {
    let mut listing = Listing { root: dir.to_owned(), format: "STL-10", ..Default::default() };
    listing.classes = class_names(&dir.join("class_names.txt"), CLASSES, &mut listing.notes)?;
    let mut parts = Vec::new();
    for name in ["train", "test"] {
        let part = Part::open(name, dir.join(format!("{name}_X.bin")), RECORD, 0)?;
        let path = dir.join(format!("{name}_y.bin"));
        let bytes = Bytes::open(&path)?;
        if bytes.len() != part.n as u64 {
            let what = format!("it has {} labels for the {} pictures of {}", bytes.len(), part.n, part.path.display());
            return Err(again(&path, what));
        }
        let start = listing.labels.len();
        let raw = bytes.range(&path, 0, bytes.len())?;
        check_labels(&path, raw.into_iter(), 1, CLASSES, &mut listing.labels)?;
        let split = (start..listing.labels.len()).collect();
        if name == "train" {
            listing.train = split
        } else {
            listing.test = split
        }
        parts.push(part);
    }
    let path = dir.join("unlabeled_X.bin");
    if path.exists() {
        let part = Part::open("unlabeled", path, RECORD, 0)?;
        let start = listing.labels.len();
        listing.unlabelled = (start..start + part.n).collect();
        listing.labels.resize(start + part.n, None);
        parts.push(part);
    } else {
        listing.notes.push("there is no unlabeled_X.bin: the training pictures serve without their labels".to_owned());
    }
    let path = dir.join("fold_indices.txt");
    if path.exists() {
        let text = fs::read_to_string(&path).map_err(|e| Error::io(&path, "read", &e))?;
        let n = listing.train.len();
        for (line, row) in text.lines().enumerate().filter(|(_, row)| !row.trim().is_empty()) {
            let fold = row.split_whitespace().map(|word| word.parse().ok().filter(|&i: &usize| i < n).ok_or(word));
            let fold = fold.collect::<std::result::Result<_, _>>().map_err(|word| {
                let what = format!("line {}: {word:?} is not one of the {n} training pictures", line + 1);
                again(&path, what)
            })?;
            listing.folds.push(fold);
        }
    }
    Records::new(listing, parts, (SIDE, SIDE, 3), Layout::Columns, options)
}
