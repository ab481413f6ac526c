//! Datasets in a few large files of records, all of one size: STL-10, CIFAR and IDX. Files are read
//! an image at a time: the largest has 2.7 GB.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use gim_core::data::left_out;
use gim_core::{Error, Result};
use sha2::{Digest, Sha256};

use crate::dataset::image::Image;
use crate::dataset::image_dataset::{DatasetOptions, ImageDataset, Listing, again, or_skip_all};

/// The contents of files up to this size go into the digest.
const DIGESTED: u64 = 1 << 26;

/// Order of the values in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// (C, H, W): channel after channel, row after row.
    Rows,
    /// (C, W, H): channel after channel, column after column.
    Columns,
}

/// Bytes of a file.
#[derive(Debug)]
pub(super) enum Bytes {
    /// An uncompressed file.
    File(File, u64),
    /// The content of a compressed file.
    Memory(Vec<u8>),
}

impl Bytes {
    pub(super) fn open(path: &Path) -> Result<Self> {
        if path.try_exists().is_ok_and(|there| !there) {
            return Err(again(path, "there is no such file"));
        }
        let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
        let meta = file.metadata().map_err(|e| Error::io(path, "read", e))?;
        if !meta.is_file() {
            return Err(Error::file(path, "is not a file", "check the path"));
        }
        Ok(Self::File(file, meta.len()))
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::File(_, len) => *len,
            Self::Memory(x) => x.len() as u64,
        }
    }

    pub(super) fn read_at(&self, path: &Path, at: u64, out: &mut [u8]) -> Result<()> {
        match self {
            Self::File(file, _) => file.read_exact_at(out, at).map_err(|e| Error::io(path, "read", e)),
            Self::Memory(x) => match x.get(at as usize..).and_then(|x| x.get(..out.len())) {
                Some(x) => {
                    out.copy_from_slice(x);
                    Ok(())
                }
                None => Err(Error::io(path, "read", std::io::ErrorKind::UnexpectedEof.into())),
            },
        }
    }

    /// `len` bytes from `at`.
    pub(super) fn range(&self, path: &Path, at: u64, len: u64) -> Result<Vec<u8>> {
        // Never reserve on a header's word alone.
        if at.checked_add(len).is_none_or(|end| end > self.len()) {
            return Err(Error::io(path, "read", std::io::ErrorKind::UnexpectedEof.into()));
        }
        let mut out = vec![0; len as usize];
        self.read_at(path, at, &mut out)?;
        Ok(out)
    }

    /// Adds the length and, up to [`DIGESTED`] bytes, the content to `hash`.
    fn digest(&self, path: &Path, hash: &mut Sha256) -> Result<()> {
        hash.update(self.len().to_le_bytes());
        if self.len() > DIGESTED {
            return Ok(());
        }
        match self {
            Self::Memory(x) => hash.update(x),
            Self::File(..) => hash.update(self.range(path, 0, self.len())?),
        }
        Ok(())
    }
}

/// One file of records.
#[derive(Debug)]
pub(super) struct Part {
    /// First part of the ids.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) bytes: Bytes,
    /// Bytes before the first record.
    pub(super) header: u64,
    /// Bytes of a record before its pixels.
    pub(super) before: u64,
    /// Number of records.
    pub(super) n: usize,
}

impl Part {
    /// A file of records without a header: its length must be a multiple of theirs.
    pub(super) fn open(name: &str, path: PathBuf, record: u64, before: u64) -> Result<Self> {
        let bytes = Bytes::open(&path)?;
        let len = bytes.len();
        if len == 0 || len % record != 0 {
            let what = format!("it has {len} bytes, which is no multiple of the {record} an image takes");
            return Err(again(&path, if len == 0 { "the file is empty".to_owned() } else { what }));
        }
        Ok(Self { name: name.to_owned(), path, bytes, header: 0, before, n: (len / record) as usize })
    }
}

/// A dataset of records.
#[derive(Debug)]
pub(super) struct Records {
    listing: Listing,
    parts: Vec<Part>,
    /// Index of each part's first image.
    starts: Vec<usize>,
    size: (usize, usize),
    channels: usize,
    layout: Layout,
}

impl Records {
    /// Images are numbered part after part. `listing` lacks the digest.
    pub(super) fn new(
        mut listing: Listing,
        parts: Vec<Part>,
        (height, width, channels): (usize, usize, usize),
        layout: Layout,
        options: &DatasetOptions,
    ) -> Result<Self> {
        if height.min(width) < options.min_side {
            let (side, path) = (options.min_side, &listing.root);
            let what = format!("its images are {height} x {width}, smaller than the {side} x {side} asked for");
            return Err(Error::file(path, what, "use smaller crops, or a dataset of larger images"));
        }
        let mut hash = Sha256::new();
        hash.update(b"gim image corpus 1\n");
        let (mut starts, mut n) = (Vec::new(), 0);
        for part in &parts {
            starts.push(n);
            n += part.n;
            hash.update(format!("{} {} {height} {width} {channels}\n", part.name, part.n));
            part.bytes.digest(&part.path, &mut hash)?;
        }
        assert_eq!(n, listing.labels.len(), "labels of the images");
        listing.seal(hash);
        Ok(Self { listing, parts, starts, size: (height, width), channels, layout })
    }

    /// The part an image is in, and its place there.
    fn find(&self, i: usize) -> (&Part, usize) {
        let part = self.starts.partition_point(|&s| s <= i) - 1;
        (&self.parts[part], i - self.starts[part])
    }
}

impl ImageDataset for Records {
    fn listing(&self) -> &Listing {
        &self.listing
    }

    fn id(&self, i: usize) -> String {
        let (part, at) = self.find(i);
        format!("{}/{at}", part.name)
    }

    fn file(&self, i: usize) -> &Path {
        &self.find(i).0.path
    }

    fn size(&self, _: usize) -> (usize, usize) {
        self.size
    }

    fn read(&self, i: usize) -> Result<Image> {
        let ((part, at), (height, width), channels) = (self.find(i), self.size, self.channels);
        let area = height * width;
        let record = part.before + (area * channels) as u64;
        let raw =
            part.bytes.range(&part.path, part.header + at as u64 * record + part.before, (area * channels) as u64)?;
        if channels == 1 && self.layout == Layout::Rows {
            return Ok(Image::new(height, width, 1, raw));
        }
        let mut pixels = vec![0; raw.len()];
        for (c, plane) in raw.chunks_exact(area).enumerate() {
            for y in 0..height {
                for x in 0..width {
                    let from = if self.layout == Layout::Rows { y * width + x } else { x * height + y };
                    pixels[(y * width + x) * channels + c] = plane[from];
                }
            }
        }
        Ok(Image::new(height, width, channels, pixels))
    }
}

/// Maps a label of the file, `first` to `first + n − 1`, to 0 .. n. The error says what is wrong
/// with it.
pub(super) fn in_range(kind: &str, label: u8, first: usize, n: usize) -> std::result::Result<usize, String> {
    let fits = usize::from(label).checked_sub(first).filter(|&l| l < n);
    fits.ok_or_else(|| format!("{kind} {label} is outside {first} to {}", first + n - 1))
}

/// Adds the labels of the part `name`, read from `path`, to the listing and returns the images that
/// have one. An image without a label is an error; with `skip_bad` it is noted, and keeps its index
/// but is in no split.
pub(super) fn add_labels(
    name: &str,
    path: &Path,
    labels: impl Iterator<Item = std::result::Result<usize, String>>,
    options: &DatasetOptions,
    listing: &mut Listing,
) -> Result<Vec<usize>> {
    let start = listing.labels.len();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (at, label) in labels.enumerate() {
        match label {
            Ok(label) => {
                good.push(start + at);
                listing.labels.push(Some(label));
            }
            Err(what) => {
                bad.push((at, what));
                listing.labels.push(None);
            }
        }
    }
    let Some((at, what)) = bad.first() else { return Ok(good) };
    let e = again(path, format_args!("image {at}: {what}"));
    if good.is_empty() {
        // Leaving all of them out is no remedy.
        return Err(e);
    }
    if !options.skip_bad {
        return Err(or_skip_all(e, bad.len() - 1));
    }
    let bad: Vec<String> = bad.iter().map(|(at, what)| format!("{name}/{at} ({what})")).collect();
    listing.notes.push(left_out(&bad, "image", "bad"));
    Ok(good)
}

/// Notes the parts whose number of images differs from the published one. Nothing else shows that a
/// file was cut between two records.
pub(super) fn note_sizes<'a>(parts: impl Iterator<Item = (&'a Part, usize)>, notes: &mut Vec<String>) {
    let others: Vec<String> = parts
        .filter(|(part, published)| part.n != *published)
        .map(|(part, published)| format!("{} ({} instead of {published})", part.path.display(), part.n))
        .collect();
    if !others.is_empty() {
        let others = others.join(", ");
        notes.push(format!("not as many images as published, so a part of the dataset, or cut short: {others}"));
    }
}
