//! IDX, the format of MNIST and its relatives: two zeros, 8 for "bytes", the number of dimensions,
//! the dimensions as big-endian 32-bit numbers, then the data. Compressed with gzip or not.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use gim_core::data::Lines;
use gim_core::{Error, Result};

use super::records::{Bytes, Layout, Part, Records, add_labels, in_range};
use crate::dataset::image_dataset::{DatasetOptions, Listing, again, class_names};

/// The file of a split's `images` (3 dimensions) or `labels` (1 dimension), under any of its usual
/// names.
fn find(dir: &Path, prefixes: &[&str], kind: &str, dims: usize) -> Option<PathBuf> {
    let spell = |prefix: &&str| {
        let stem = format!("{prefix}-{kind}");
        let names = ["-", "."].map(|dot| format!("{stem}{dot}idx{dims}-ubyte"));
        names.into_iter().flat_map(|name| [name.clone(), name + ".gz"]).collect::<Vec<_>>()
    };
    prefixes.iter().flat_map(spell).map(|name| dir.join(name)).find(|path| path.is_file())
}

const TRAIN: &[&str] = &["train"];
const TEST: &[&str] = &["t10k", "test"];

pub(super) fn is_at(dir: &Path) -> bool {
    [TRAIN, TEST].iter().any(|split| find(dir, split, "images", 3).is_some() || find(dir, split, "labels", 1).is_some())
}

pub(super) fn open(dir: &Path, options: &DatasetOptions) -> Result<Records> {
    let mut listing = Listing { root: dir.to_owned(), format: "IDX", ..Default::default() };
    let (mut parts, mut raw, mut size) = (Vec::new(), Vec::new(), None);
    for (name, prefixes) in [("train", TRAIN), ("test", TEST)] {
        let must = |kind: &str, dims: usize| {
            find(dir, prefixes, kind, dims).ok_or_else(|| {
                let path = dir.join(format!("{}-{kind}-idx{dims}-ubyte", prefixes[0]));
                Error::file(path, "there is no such file, with .gz or without", "complete the dataset")
            })
        };
        let (path, labels_path) = (must("images", 3)?, must("labels", 1)?);
        let (bytes, [n, height, width]) = read::<3>(&path)?;
        let (labels, [n_labels]) = read::<1>(&labels_path)?;
        if n != n_labels {
            let what = format!("it has {n_labels} labels for the {n} images of {}", path.display());
            return Err(again(&labels_path, what));
        }
        let first = size.get_or_insert((height, width));
        if *first != (height, width) {
            let what = format!("its images are {height} x {width}, but the training set's {} x {}", first.0, first.1);
            return Err(again(&path, what));
        }
        raw.push((labels.range(&labels_path, 8, n as u64)?, labels_path));
        parts.push(Part { name: name.to_owned(), path, bytes, header: 16, before: 0, n });
    }
    let names = dir.join("classes.txt");
    let most = raw.iter().flat_map(|(labels, _)| labels).max().map_or(0, |&l| usize::from(l) + 1);
    // A class may have no image, but every image a class: without a list the largest label counts.
    listing.classes = if names.exists() {
        let n = Lines::read(&names)?.rows().count();
        class_names(&names, n, &mut listing.notes)?
    } else {
        check_gaps(&raw, most)?;
        class_names(&names, most, &mut listing.notes)?
    };
    if listing.classes.is_empty() {
        return Err(Error::file(&names, "it names no class", "write one class a line"));
    }
    let classes = listing.classes.len();
    for (part, (labels, path)) in parts.iter().zip(raw) {
        let labels = labels.into_iter().map(|label| in_range("label", label, 0, classes));
        let good = add_labels(&part.name, &path, labels, options, &mut listing)?;
        if part.name == "train" { listing.train = good } else { listing.test = good }
    }
    let (height, width) = size.unwrap_or_default();
    Records::new(listing, parts, (height, width, 1), Layout::Rows, options)
}

/// Checks that all classes up to the largest label have images, except one: some datasets of this
/// format count from 1. Without a list of classes, a damaged label would otherwise add classes.
fn check_gaps(raw: &[(Vec<u8>, PathBuf)], classes: usize) -> Result<()> {
    let has = |class: usize| raw.iter().any(|(labels, _)| labels.iter().any(|l| usize::from(*l) == class));
    let empty = (0..classes).filter(|c| !has(*c)).count();
    let Some((_, path)) = raw.iter().find(|(labels, _)| labels.iter().any(|l| usize::from(*l) + 1 == classes)) else {
        return Ok(());
    };
    if empty > 1 {
        let what = format!("its labels go up to {}, but {empty} of the classes below have no image", classes - 1);
        return Err(Error::file(path, what, "copy the file again, or list the classes in classes.txt, one a line"));
    }
    Ok(())
}

/// A file and its D dimensions, which fit its length.
fn read<const D: usize>(path: &Path) -> Result<(Bytes, [usize; D])> {
    let bytes = if path.extension().is_some_and(|e| e == "gz") {
        let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
        let mut gz = MultiGzDecoder::new(std::io::BufReader::new(file));
        let damaged = |e: std::io::Error| again(path, format_args!("it cannot be unpacked: {e}"));
        // The header first: it says how much to unpack at most.
        let mut head = vec![0; 4 + 4 * D];
        gz.read_exact(&mut head).map_err(damaged)?;
        let data = dimensions::<D>(path, &head)?.iter().fold(1u64, |n, &d| n.saturating_mul(d as u64));
        gz.take(data.saturating_add(1)).read_to_end(&mut head).map_err(damaged)?;
        Bytes::Memory(head)
    } else {
        Bytes::open(path)?
    };
    let head = bytes.range(path, 0, 4 + 4 * D as u64)?;
    let dims = dimensions::<D>(path, &head)?;
    let want = dims.iter().fold(1u64, |n, &d| n.saturating_mul(d as u64));
    let got = bytes.len() - head.len() as u64;
    if got != want {
        let than = if got > want { "more" } else { "fewer" };
        let what = format!("it has {than} data than its header declares: {want} bytes for dimensions {dims:?}");
        return Err(again(path, what));
    }
    Ok((bytes, dims))
}

/// The dimensions in a header, all positive.
fn dimensions<const D: usize>(path: &Path, head: &[u8]) -> Result<[usize; D]> {
    if head[..3] != [0, 0, 8] || usize::from(head[3]) != D {
        let kind = if D == 3 { "images (0 0 8 3)" } else { "labels (0 0 8 1)" };
        let what = format!("it does not begin as an IDX file of {kind}, but with {:?}", &head[..4]);
        return Err(again(path, what));
    }
    let mut dims = [0; D];
    for (d, b) in dims.iter_mut().zip(head[4..].chunks_exact(4)) {
        *d = u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize;
    }
    if dims.contains(&0) {
        return Err(again(path, format_args!("it is empty: its dimensions are {dims:?}")));
    }
    Ok(dims)
}
