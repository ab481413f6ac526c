//! Folders of JPEG and PNG files, one folder a class.
//!
//! ```text
//! root/train/<class>/<any folders>/*.jpg     with root/test/<class>/… or root/val/<class>/…
//! root/unlabeled/<any folders>/*.jpg         optional (or `unlabeled`)
//! root/<class>/<any folders>/*.jpg           or without a split: a fifth of each class is the test set
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gim_core::data::draw_fifth;
use gim_core::{Error, Result};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::dataset::image::Image;
use crate::dataset::image_dataset::{DatasetOptions, ImageDataset, Listing, Split, left_out, or_skip};

/// One file.
#[derive(Debug)]
struct Entry {
    /// Path below the root, with '/'.
    id: String,
    path: PathBuf,
    class: Option<usize>,
    split: Option<Split>,
    /// (height, width)
    size: (usize, usize),
    bytes: u64,
}

/// A dataset of image files.
#[derive(Debug)]
pub(super) struct Folders {
    listing: Listing,
    entries: Vec<Entry>,
    /// Whether opening has decoded all files.
    checked: bool,
}

impl Folders {
    fn decode(&self, entry: &Entry) -> Result<Image> {
        let image = Image::open(&entry.path)?;
        if (image.height, image.width) != entry.size {
            let ((h, w), (height, width)) = (entry.size, (image.height, image.width));
            let what = format!("it is {height} x {width}, but was {h} x {w} when it was listed");
            return Err(Error::file(&entry.path, what, "the dataset changed while in use; start again"));
        }
        Ok(image)
    }
}

impl ImageDataset for Folders {
    fn listing(&self) -> &Listing {
        &self.listing
    }

    fn id(&self, i: usize) -> String {
        self.entries[i].id.clone()
    }

    fn file(&self, i: usize) -> &Path {
        &self.entries[i].path
    }

    fn size(&self, i: usize) -> (usize, usize) {
        self.entries[i].size
    }

    fn read(&self, i: usize) -> Result<Image> {
        self.decode(&self.entries[i]).map_err(|e| or_skip(e, 0))
    }

    fn check(&self) -> Result<()> {
        if self.checked {
            return Ok(());
        }
        // In the order of ids, whatever the threads.
        let bad: Vec<Error> = self.entries.par_iter().filter_map(|entry| self.decode(entry).err()).collect();
        let more = bad.len().saturating_sub(1);
        bad.into_iter().next().map_or(Ok(()), |e| Err(or_skip(e, more)))
    }
}

/// Folders already counted, by their real paths, with the path that each was reached by. A link
/// could lead to a folder twice, or to one of its parents.
struct Visited(BTreeMap<PathBuf, PathBuf>);

impl Visited {
    /// The folders of a set of classes in `root`.
    fn new(root: &Path, set: &Path) -> Result<Self> {
        let mut visited = Self(BTreeMap::new());
        visited.enter(root)?;
        if set != root {
            visited.enter(set)?;
        }
        Ok(visited)
    }

    fn enter(&mut self, dir: &Path) -> Result<()> {
        let real = fs::canonicalize(dir).map_err(|e| Error::io(dir, "follow", e))?;
        // In the order of paths a folder is followed by all that is below it.
        if let Some((inside, before)) = self.0.range(real.clone()..).next().filter(|(p, _)| p.starts_with(&real)) {
            let is = if *inside == real { "is the same folder as" } else { "holds" };
            let what = format!("by a link it {is} {}: images would count twice", before.display());
            return Err(Error::file(dir, what, "remove the link"));
        }
        self.0.insert(real, dir.to_owned());
        Ok(())
    }
}

/// What is found below a folder.
#[derive(Default)]
struct Found {
    images: Vec<(String, PathBuf)>,
    /// Files that are no images, by their names.
    others: Vec<String>,
}

pub(super) fn open(root: &Path, options: &DatasetOptions) -> Result<Folders> {
    let mut notes = Vec::new();
    let mut others = Vec::new();
    let top = subfolders(root, &mut others)?;
    let named = |name: &str| top.iter().find(|(n, _)| n == name).map(|(_, p)| p.clone());
    let train = named("train");
    let test = ["test", "val", "valid", "validation"].iter().find_map(|n| named(n));
    let bare = ["unlabeled", "unlabeled"].iter().find_map(|n| named(n));
    if train.is_none() && (test.is_some() || bare.is_some()) {
        return Err(Error::file(root.join("train"), "there is no such folder", "put the training classes there"));
    }
    let sets = match (&train, &test) {
        (Some(train), Some(test)) => vec![(train.clone(), Some(Split::Train)), (test.clone(), Some(Split::Test))],
        (Some(train), None) => vec![(train.clone(), None)],
        _ => vec![(root.to_owned(), None)],
    };
    if train.is_some() {
        for (name, path) in &top {
            if ![&train, &test, &bare].iter().any(|used| used.as_ref() == Some(path)) {
                notes.push(format!("folder {name} beside train is not used"));
            }
        }
    }

    let mut entries = Vec::new();
    let mut classes: Vec<String> = Vec::new();
    // A class is known by its name: those of the training set count, and the test set may lack one
    // but not add one.
    for (set, split) in &sets {
        let folders = if set == root { top.clone() } else { subfolders(set, &mut others)? };
        if folders.is_empty() {
            let what = "there are no class folders in it";
            return Err(Error::file(set, what, "put the images of each class in a folder named after it"));
        }
        if *split != Some(Split::Test) {
            classes = folders.iter().map(|(name, _)| name.clone()).collect();
        }
        let mut visited = Visited::new(root, set)?;
        for (name, dir) in &folders {
            let Ok(class) = classes.binary_search(name) else {
                let what = "the class has no folder in the training set";
                return Err(Error::file(dir, what, "remove it, or add training images"));
            };
            let mut found = Found::default();
            find(root, dir, &mut visited, &mut found)?;
            others.append(&mut found.others);
            if found.images.is_empty() {
                let what = "the class folder holds no JPEG or PNG file";
                return Err(Error::file(dir, what, "add images, or remove the folder"));
            }
            let make = |(id, path)| Entry { id, path, class: Some(class), split: *split, size: (0, 0), bytes: 0 };
            entries.extend(found.images.into_iter().map(make));
        }
    }
    if let Some(dir) = &bare {
        let mut found = Found::default();
        find(root, dir, &mut Visited::new(root, root)?, &mut found)?;
        others.append(&mut found.others);
        if found.images.is_empty() {
            return Err(Error::file(dir, "it holds no JPEG or PNG file", "add images, or remove the folder"));
        }
        let split = Some(Split::Unlabeled);
        let make = |(id, path)| Entry { id, path, class: None, split, size: (0, 0), bytes: 0 };
        entries.extend(found.images.into_iter().map(make));
    }
    if !others.is_empty() {
        notes.push(left_out(&others, "files are not JPEG or PNG in a class folder"));
    }
    // By id, not as the system lists them: the order must not depend on the disk.
    entries.sort_by(|a, b| a.id.cmp(&b.id));
    let entries = inspect(entries, options, &mut notes)?;

    let mut listing = Listing { root: root.to_owned(), format: "class folders", classes, notes, ..Default::default() };
    listing.labels = entries.iter().map(|e| e.class).collect();
    for (i, entry) in entries.iter().enumerate() {
        match entry.split {
            Some(Split::Train) => listing.train.push(i),
            Some(Split::Test) => listing.test.push(i),
            Some(Split::Unlabeled) => listing.unlabeled.push(i),
            None => {}
        }
    }
    if test.is_none() || train.is_none() {
        divide(&entries, options.seed, &mut listing);
    }
    for (class, name) in listing.classes.iter().enumerate() {
        let has = |split: &[usize]| split.iter().any(|&i| entries[i].class == Some(class));
        if !has(&listing.train) {
            let path = sets[0].0.join(name);
            return Err(Error::file(path, "no image of the class can be trained on", "fix its files, or remove it"));
        }
        if !has(&listing.test) {
            listing.notes.push(format!("no image of class {name} is in the test set"));
        }
    }
    let mut hash = Sha256::new();
    hash.update(b"gim image corpus 1\n");
    for e in &entries {
        hash.update(format!("{} {} {} {}\n", e.id, e.size.0, e.size.1, e.bytes));
    }
    listing.seal(hash);
    Ok(Folders { listing, entries, checked: options.skip_bad })
}

/// Fills in the sizes and returns the good images. With `skip_bad`, all images are decoded.
fn inspect(entries: Vec<Entry>, options: &DatasetOptions, notes: &mut Vec<String>) -> Result<Vec<Entry>> {
    let check = |entry: &Entry| {
        let (height, width) = if options.skip_bad {
            let image = Image::open(&entry.path)?;
            (image.height, image.width)
        } else {
            Image::size_of(&entry.path)?
        };
        if height.min(width) < options.min_side {
            let side = options.min_side;
            let what = format!("the image is {height} x {width}, smaller than the {side} x {side} asked for");
            return Err(Error::file(&entry.path, what, "use smaller crops, or remove it"));
        }
        let bytes = fs::metadata(&entry.path).map_err(|e| Error::io(&entry.path, "read", e))?.len();
        Ok(((height, width), bytes))
    };
    let checked: Vec<Result<_>> = entries.par_iter().map(check).collect();
    let n_bad = checked.iter().filter(|c| c.is_err()).count();
    let mut bad = Vec::new();
    let mut good = Vec::with_capacity(entries.len() - n_bad);
    for (entry, checked) in entries.into_iter().zip(checked) {
        match checked {
            Ok((size, bytes)) => good.push(Entry { size, bytes, ..entry }),
            Err(e) if options.skip_bad => match e {
                Error::File { what, .. } => bad.push(format!("{} ({what})", entry.id)),
                other => bad.push(other.to_string()),
            },
            // The first in the order of ids, whatever the threads.
            Err(e) => return Err(or_skip(e, n_bad - 1)),
        }
    }
    if !bad.is_empty() {
        notes.push(left_out(&bad, "images are bad"));
    }
    Ok(good)
}

/// Moves a fifth of each class to the test set: at least one image of a class that has two or more.
fn divide(entries: &[Entry], seed: u64, listing: &mut Listing) {
    for class in 0..listing.classes.len() {
        let mut its: Vec<usize> = (0..entries.len()).filter(|&i| entries[i].class == Some(class)).collect();
        let fifth = draw_fifth(&mut its, seed, class);
        listing.test.extend_from_slice(&its[..fifth]);
        listing.train.extend_from_slice(&its[fifth..]);
    }
    listing.train.sort_unstable();
    listing.test.sort_unstable();
    let (train, test) = (listing.train.len(), listing.test.len());
    listing
        .notes
        .push(format!("no test set: {train} images to train, {test} to test, a fifth of each class (seed {seed})"));
}

/// (name, path) of the entries of a folder, sorted, without hidden files.
fn list(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| Error::io(dir, "list the folder", e))? {
        let path = entry.map_err(|e| Error::io(dir, "list the folder", e))?.path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
            return Err(Error::file(&path, "its name is not UTF-8", "rename it"));
        };
        if !name.starts_with('.') {
            found.push((name.to_owned(), path.clone()));
        }
    }
    found.sort();
    Ok(found)
}

/// Folders in a folder; files beside them are added to `others`.
fn subfolders(dir: &Path, others: &mut Vec<String>) -> Result<Vec<(String, PathBuf)>> {
    let (folders, files): (Vec<_>, Vec<_>) = list(dir)?.into_iter().partition(|(_, path)| path.is_dir());
    others.extend(files.into_iter().filter(|(_, path)| is_image(path)).map(|(name, _)| name));
    Ok(folders)
}

fn is_image(path: &Path) -> bool {
    path.extension().is_some_and(|e| ["jpg", "jpeg", "png"].iter().any(|known| e.eq_ignore_ascii_case(known)))
}

/// Adds all files below `dir`.
fn find(root: &Path, dir: &Path, visited: &mut Visited, found: &mut Found) -> Result<()> {
    visited.enter(dir)?;
    for (name, path) in list(dir)? {
        if path.is_dir() {
            find(root, &path, visited, found)?;
        } else if is_image(&path) && path.is_file() {
            let inside = path.strip_prefix(root).unwrap_or(&path);
            let parts: Vec<_> = inside.components().map(|c| c.as_os_str().to_string_lossy()).collect();
            found.images.push((parts.join("/"), path.clone()));
        } else {
            found.others.push(name);
        }
    }
    Ok(())
}
