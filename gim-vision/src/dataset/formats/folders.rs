//! Folders of JPEG, PNG and WebP files, one folder a class.
//!
//! ```text
//! root/train/<class>/<any folders>/*.jpg     with root/test/<class>/… or root/val/<class>/…
//! root/unlabeled/<any folders>/*.jpg         optional
//! root/<class>/<any folders>/*.jpg           or without a split: a fifth of each class is the test set
//! root/*.jpg, root/train/*.jpg               or without classes: all images are unlabeled
//! ```
//!
//! Splits go by any of their usual names, in any case: `Train` or `Training`, `Test` or `Testing`,
//! `val`, `valid`, `validation` or `dev`, `unlabeled` or `unlabelled`.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use gim_core::data::{FileIndex, Manifest, ManifestItem, SplitFolder, all_bad, because, draw_fifth, left_out, or_skip};
use gim_core::files::has_extension;
use gim_core::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::dataset::image::{Image, MOST_PIXELS, short_side};
use crate::dataset::image_dataset::{DatasetOptions, ImageDataset, Listing, Split};

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

impl Entry {
    /// Checks that the image has the size that it had when it was listed.
    fn check_size(&self, (height, width): (usize, usize)) -> Result<()> {
        let (h, w) = self.size;
        if (height, width) == (h, w) {
            return Ok(());
        }
        let what = format!("it is {height} x {width}, but was {h} x {w} when it was listed");
        Err(Error::file(&self.path, what, "the dataset changed while in use; start again"))
    }
}

/// What is known of an image file.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Seen {
    /// Its size on the disk.
    bytes: u64,
    /// (height, width) by its header, where that was read.
    header: Option<(usize, usize)>,
    /// (height, width) of the image, once it was decoded.
    decoded: Option<(usize, usize)>,
}

/// A dataset of image files.
#[derive(Debug)]
pub(super) struct Folders {
    listing: Listing,
    entries: Vec<Entry>,
    /// Whether opening has decoded all files.
    checked: bool,
    index: FileIndex<Seen>,
}

impl Folders {
    fn decode(&self, entry: &Entry) -> Result<Image> {
        let image = Image::open(&entry.path)?;
        entry.check_size((image.height, image.width))?;
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
        self.decode(&self.entries[i]).map_err(or_skip)
    }

    fn check(&self) -> Result<()> {
        if self.checked {
            return Ok(());
        }
        let one = |entry: &Entry| entry.check_size(look(&entry.path, true, &self.index)?.0);
        // In the order of ids, whatever the threads.
        let bad: Vec<Error> = self.entries.par_iter().filter_map(|entry| one(entry).err()).collect();
        self.index.save();
        all_bad(&self.listing.root, bad)
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

    /// The root, when `set` is inside it.
    fn around(root: &Path, set: &Path) -> Result<Self> {
        let mut visited = Self(BTreeMap::new());
        if set != root {
            visited.enter(root)?;
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

/// The sets of images in a root.
struct Sets {
    /// Folders of classes, or of images without classes; with their split when the root has both.
    labeled: Vec<(PathBuf, Option<Split>)>,
    unlabeled: Option<PathBuf>,
}

impl Sets {
    /// Sorts out the folders `top` of a root.
    fn of(root: &Path, top: &[(String, PathBuf)], notes: &mut Vec<String>) -> Result<Self> {
        let named = |part: SplitFolder| -> Result<Option<PathBuf>> {
            let mut all = top.iter().filter(|(name, _)| SplitFolder::of(name) == Some(part));
            let (one, two) = (all.next(), all.next());
            if let (Some((one, _)), Some((two, path))) = (one, two) {
                let what = format!("folder {one} beside {two}: which is it?");
                return Err(Error::file(path, what, "keep one of them, or rename the other"));
            }
            Ok(one.map(|(_, path)| path.clone()))
        };
        let (train, test, val) = (named(SplitFolder::Train)?, named(SplitFolder::Test)?, named(SplitFolder::Val)?);
        let (test, bare) = (test.or(val), named(SplitFolder::Unlabeled)?);
        let alone = bare.is_some() && top.len() == 1;
        if alone && let Some(bare) = bare {
            return Ok(Self { labeled: vec![(bare, None)], unlabeled: None });
        }
        let Some(train) = train else {
            if test.is_some() || bare.is_some() {
                return Err(Error::file(
                    root.join("train"),
                    "there is no such folder",
                    "put the training classes there",
                ));
            }
            for (_, dir) in top {
                no_splits_in(dir)?;
            }
            return Ok(Self { labeled: vec![(root.to_owned(), None)], unlabeled: None });
        };
        for (name, path) in top {
            if *path != train && ![&test, &bare].iter().any(|used| used.as_ref() == Some(path)) {
                notes.push(format!("folder {name} beside train is not used"));
            }
        }
        let labeled = match test {
            Some(test) => vec![(train, Some(Split::Train)), (test, Some(Split::Test))],
            None => vec![(train, None)],
        };
        Ok(Self { labeled, unlabeled: bare })
    }
}

/// Checks that a class folder is not a dataset by itself, one folder below the one that was given.
fn no_splits_in(dir: &Path) -> Result<()> {
    let inside = subfolders(dir, &mut Vec::new())?;
    let find = |parts: &[SplitFolder]| {
        inside.iter().find(|(name, _)| SplitFolder::of(name).is_some_and(|p| parts.contains(&p)))
    };
    let (Some((train, _)), Some((test, _))) =
        (find(&[SplitFolder::Train]), find(&[SplitFolder::Test, SplitFolder::Val]))
    else {
        return Ok(());
    };
    let what = format!("holds the folders {train} and {test}, so it is a dataset and not a class");
    Err(Error::file(dir, what, "give this folder as data.path"))
}

/// Images below a set that has no class folders; `None` when it has, or holds no image.
fn without_classes(root: &Path, set: &Path, others: &mut Vec<String>) -> Result<Option<Vec<(String, PathBuf)>>> {
    let is_bare = set.file_name().and_then(|n| n.to_str()).and_then(SplitFolder::of) == Some(SplitFolder::Unlabeled);
    let has_folders = list(set)?.iter().any(|(_, path)| path.is_dir());
    if has_folders && (!is_bare || set == root) {
        return Ok(None);
    }
    let mut found = Found::default();
    // The root is entered by its first folder otherwise.
    find(root, set, &mut Visited::around(root, set)?, &mut found)?;
    if found.images.is_empty() {
        return Ok(None);
    }
    others.append(&mut found.others);
    Ok(Some(found.images))
}

pub(super) fn open(root: &Path, options: &DatasetOptions) -> Result<Folders> {
    let (mut notes, mut others) = (Vec::new(), Vec::new());
    let mut loose = Vec::new();
    let top = subfolders(root, &mut loose)?;
    let Sets { labeled: sets, unlabeled: bare } = Sets::of(root, &top, &mut notes)?;
    let new = |(id, path), class, split| Entry { id, path, class, split, size: (0, 0), bytes: 0 };

    let mut entries = Vec::new();
    let mut classes: Vec<String> = Vec::new();
    let mut plain = Vec::new();
    for (set, split) in &sets {
        if let Some(images) = without_classes(root, set, &mut others)? {
            plain.extend(images.into_iter().map(|image| new(image, None, *split)));
        }
    }
    if plain.is_empty() || plain.iter().map(|e| e.split).collect::<HashSet<_>>().len() < sets.len() {
        others.append(&mut loose);
        labeled(root, &sets, &mut classes, &mut entries, &mut others)?;
    } else {
        notes.push("there are no class folders: the images have no labels".to_owned());
        entries = plain;
    }
    if let Some(dir) = &bare {
        let mut found = Found::default();
        find(root, dir, &mut Visited::new(root, root)?, &mut found)?;
        others.append(&mut found.others);
        if found.images.is_empty() {
            return Err(Error::file(dir, "it holds no JPEG, PNG or WebP file", "add images, or remove the folder"));
        }
        entries.extend(found.images.into_iter().map(|image| new(image, None, Some(Split::Unlabeled))));
    }
    if !others.is_empty() {
        notes.push(left_out(&others, "file", "not JPEG, PNG or WebP in a class folder"));
    }
    // By id, not as the system lists them: the order must not depend on the disk.
    entries.sort_by(|a, b| a.id.cmp(&b.id));
    let listing = Listing { root: root.to_owned(), format: "class folders", classes, notes, ..Default::default() };
    let base = &sets[0].0;
    let whole = Whole { tag: "gim image corpus 1\n", decode: options.skip_bad, drawn: sets.len() == 1 };
    whole.folders(entries, listing, |class| base.join(class), options)
}

/// How a list of files becomes a dataset.
struct Whole {
    /// What its digest begins with.
    tag: &'static str,
    /// Whether all files are decoded.
    decode: bool,
    /// Whether a part is drawn to test on.
    drawn: bool,
}

impl Whole {
    /// Inspects the files, sorted by id. `place` says where those of a class should be.
    fn folders(
        self,
        entries: Vec<Entry>,
        mut listing: Listing,
        place: impl Fn(&str) -> PathBuf,
        options: &DatasetOptions,
    ) -> Result<Folders> {
        let root = listing.root.clone();
        let index = FileIndex::open(options.index.clone());
        let entries = inspect(&root, entries, options, self.decode, &index, &mut listing.notes)?;
        let mut listing = listed(&root, place, self.drawn, &entries, listing, options.seed)?;
        let mut hash = Sha256::new();
        hash.update(self.tag);
        for e in &entries {
            hash.update(format!("{} {} {} {}\n", e.id, e.size.0, e.size.1, e.bytes));
        }
        listing.seal(hash);
        Ok(Folders { listing, entries, checked: self.decode, index })
    }
}

/// A dataset of these files alone; see [`of_files`](super::of_files).
pub(super) fn of_files(root: &Path, files: Vec<(String, PathBuf)>, options: &DatasetOptions) -> Result<Folders> {
    let new = |(id, path)| Entry { id, path, class: None, split: Some(Split::Train), size: (0, 0), bytes: 0 };
    let mut entries: Vec<Entry> = files.into_iter().map(new).collect();
    entries.sort_by(|a, b| a.id.cmp(&b.id));
    if let Some(two) = entries.windows(2).find(|w| w[0].id == w[1].id) {
        return Err(Error::file(&two[1].path, "is there twice", "name each file once"));
    }
    let listing = Listing { root: root.to_owned(), format: "image files", ..Default::default() };
    let whole = Whole { tag: "gim image files 1\n", decode: true, drawn: false };
    whole.folders(entries, listing, |_| root.to_owned(), options)
}

/// The images that a table lists.
///
/// # Errors
/// When an image to test on is of a class without images to train on; else as for folders.
pub(super) fn of_manifest(root: &Path, manifest: &Manifest, options: &DatasetOptions) -> Result<Folders> {
    let items = manifest.items();
    let learned = |item: &&ManifestItem| !manifest.has_splits() || manifest.split_of(item) == Some(Split::Train);
    let mut classes: Vec<String> = items.iter().filter(learned).filter_map(|item| item.group.clone()).collect();
    classes.sort_unstable();
    classes.dedup();
    let (mut notes, mut idle, mut entries) = (Vec::new(), 0usize, Vec::new());
    for item in items {
        let split = manifest.split_of(item);
        let class = item.group.as_ref().and_then(|name| classes.binary_search(name).ok());
        if let (None, Some(Split::Test), Some(name)) = (class, split, &item.group) {
            let what = format!("line {}: no image of class {name} is in the training set", item.line);
            return Err(Error::file(manifest.path(), what, "remove it, or add training images"));
        }
        idle += usize::from(manifest.has_splits() && split.is_none());
        entries.push(Entry { id: item.id.clone(), path: item.path.clone(), class, split, size: (0, 0), bytes: 0 });
    }
    if idle > 0 {
        notes.push(format!("{}: {idle} images are in no split and are not used", manifest.path().display()));
    }
    entries.sort_by(|a, b| a.id.cmp(&b.id));
    let listing = Listing { root: root.to_owned(), format: "manifest", classes, notes, ..Default::default() };
    let whole = Whole { tag: "gim listed images 1\n", decode: options.skip_bad, drawn: !manifest.has_splits() };
    whole.folders(entries, listing, |_| manifest.path().to_owned(), options)
}

/// Labels, splits and classes of the images. Every class has images to train on; `place` says where they
/// should be. The test set may be `drawn`.
fn listed(
    root: &Path,
    place: impl Fn(&str) -> PathBuf,
    drawn: bool,
    entries: &[Entry],
    mut listing: Listing,
    seed: u64,
) -> Result<Listing> {
    listing.labels = entries.iter().map(|e| e.class).collect();
    for (i, entry) in entries.iter().enumerate() {
        match entry.split {
            Some(Split::Train) => listing.train.push(i),
            Some(Split::Test) => listing.test.push(i),
            Some(Split::Unlabeled) => listing.unlabeled.push(i),
            None => {}
        }
    }
    if drawn {
        divide(entries, seed, &mut listing);
    }
    for (class, name) in listing.classes.iter().enumerate() {
        let has = |split: &[usize]| split.iter().any(|&i| entries[i].class == Some(class));
        if !has(&listing.train) {
            let what = format!("no image of class {name} can be trained on");
            return Err(Error::file(place(name), what, "fix its files, or remove it"));
        }
        if !has(&listing.test) {
            listing.notes.push(format!("no image of class {name} is in the test set"));
        }
    }
    if listing.train.is_empty() && listing.unlabeled.is_empty() {
        return Err(Error::file(root, "no image can be trained on", "fix the files"));
    }
    Ok(listing)
}

/// Adds the images of sets of class folders.
///
/// A class is known by its name: those of the training set count, and the test set may lack one but
/// not add one.
fn labeled(
    root: &Path,
    sets: &[(PathBuf, Option<Split>)],
    classes: &mut Vec<String>,
    entries: &mut Vec<Entry>,
    others: &mut Vec<String>,
) -> Result<()> {
    for (set, split) in sets {
        // Images beside the folders of the root are counted already.
        let folders = if set == root { subfolders(root, &mut Vec::new())? } else { subfolders(set, others)? };
        if folders.is_empty() {
            let what = "there are no class folders in it";
            return Err(Error::file(set, what, "put the images of each class in a folder named after it"));
        }
        if *split != Some(Split::Test) {
            *classes = folders.iter().map(|(name, _)| name.clone()).collect();
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
                let what = "the class folder holds no JPEG, PNG or WebP file";
                return Err(Error::file(dir, what, "add images, or remove the folder"));
            }
            let make = |(id, path)| Entry { id, path, class: Some(class), split: *split, size: (0, 0), bytes: 0 };
            entries.extend(found.images.into_iter().map(make));
        }
    }
    Ok(())
}

/// Fills in the sizes and returns the good images. They are decoded, or only their headers are read.
fn inspect(
    root: &Path,
    entries: Vec<Entry>,
    options: &DatasetOptions,
    decode: bool,
    index: &FileIndex<Seen>,
    notes: &mut Vec<String>,
) -> Result<Vec<Entry>> {
    let check = |entry: &Entry| {
        let ((height, width), bytes) = look(&entry.path, decode, index)?;
        if height.min(width) < options.min_side {
            let side = options.min_side;
            let what = format!("the image is {height} x {width}, smaller than the {side} x {side} asked for");
            return Err(Error::file(&entry.path, what, "use smaller crops, or remove it"));
        }
        let (h, w) = short_side((height, width), options.short_side);
        if h.saturating_mul(w) > MOST_PIXELS {
            let what =
                format!("the image is {height} x {width}, {h} x {w} after resizing, more than {MOST_PIXELS} pixels");
            return Err(Error::file(&entry.path, what, "cut it, or remove it"));
        }
        Ok(((height, width), bytes))
    };
    let checked: Vec<Result<_>> = entries.par_iter().map(check).collect();
    index.save();
    let (mut good, mut bad, mut named) = (Vec::with_capacity(entries.len()), Vec::new(), Vec::new());
    for (entry, checked) in entries.into_iter().zip(checked) {
        match checked {
            Ok((size, bytes)) => good.push(Entry { size, bytes, ..entry }),
            Err(e) => {
                named.push(because(&entry.id, &e));
                bad.push(e);
            }
        }
    }
    if !options.skip_bad {
        // In the order of ids, whatever the threads.
        all_bad(root, bad)?;
    } else if !named.is_empty() {
        notes.push(left_out(&named, "image", "bad"));
    }
    Ok(good)
}

/// (height, width) and bytes of a file, by decoding it or by its header. What the index holds is not read
/// again.
fn look(path: &Path, decode: bool, index: &FileIndex<Seen>) -> Result<((usize, usize), u64)> {
    let wanted = |seen: &Seen| {
        let size = if decode { seen.decoded } else { seen.header };
        size.map(|size| (size, seen.bytes))
    };
    index.recall(path, wanted, |known| {
        let bytes = fs::metadata(path).map_err(|e| Error::io(path, "read", e))?.len();
        let mut seen = known.unwrap_or(Seen { bytes, header: None, decoded: None });
        if decode {
            let image = Image::open(path)?;
            seen.decoded = Some((image.height, image.width));
        } else {
            seen.header = Some(Image::size_of(path)?);
        }
        Ok(seen)
    })
}

/// Moves a fifth of each class to the test set: at least one image of a class that has two or more.
fn divide(entries: &[Entry], seed: u64, listing: &mut Listing) {
    let classes = (0..listing.classes.len()).map(Some);
    // Images without classes are one group.
    let groups: Vec<Option<usize>> = if listing.classes.is_empty() { vec![None] } else { classes.collect() };
    for (group, class) in groups.into_iter().enumerate() {
        let its = |e: &Entry| e.class == class && e.split.is_none();
        let mut its: Vec<usize> = (0..entries.len()).filter(|&i| its(&entries[i])).collect();
        let fifth = draw_fifth(&mut its, seed, group);
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

/// Whether a file's name is that of a JPEG, PNG or WebP file.
pub fn is_image(path: &Path) -> bool {
    has_extension(path, &["jpg", "jpeg", "png", "webp"])
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
