//! Takes the content of a feature file apart, and checks that it is consistent. It may come from any
//! program: numbers and strings may be of any type, and most attributes may be missing.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use gim_core::{Error, Result};
use hdf5::types::{FixedAscii, FixedUnicode, TypeDescriptor, VarLenAscii, VarLenUnicode};

use super::reader::{FeatureFile, Group};
use super::{AGAIN, FrameTimes, Labels, Per, Provenance, VERSION, WITHOUT_SILENCE};
use crate::items::{ItemIndex, Split};
use crate::source::{Budget, Stamp};

/// Bytes of data that a byte of the file can hold at most: zlib's limit.
const MOST_COMPRESSED: u64 = 1100;
/// Classes that labels may have: a damaged number would take all memory.
const MOST_CLASSES: usize = 1 << 24;
/// Bytes of the longest string of fixed length.
const LONGEST: usize = 1024;

/// A file that is being opened.
pub(super) struct Content<'a> {
    pub(super) path: &'a Path,
    /// Its length, and when it was written.
    pub(super) stamp: Stamp,
}

/// Outer error: the HDF5 library's; inner: the content's.
pub(super) type Loaded<T> = hdf5::Result<Result<T>>;

/// The value of a [`Loaded`], or the way out.
macro_rules! content {
    ($loaded:expr) => {
        match $loaded? {
            Ok(value) => value,
            Err(e) => return Ok(Err(e)),
        }
    };
}

impl Content<'_> {
    fn bad<T>(&self, what: impl Display) -> Loaded<T> {
        Ok(Err(Error::file(self.path, what, AGAIN)))
    }

    /// Checks that the file is long enough for a dataset: damaged shapes would take all memory.
    fn fits(&self, data: &hdf5::Dataset) -> Loaded<()> {
        let value = data.dtype()?.size() as u64;
        let size = data.shape().iter().try_fold(value, |size, n| size.checked_mul(*n as u64));
        match size {
            Some(size) if size <= self.stamp.bytes.saturating_mul(MOST_COMPRESSED) => Ok(Ok(())),
            _ => self.bad(format_args!("{} has {:?} values, more than the file can hold", data.name(), data.shape())),
        }
    }

    /// All values of a dataset.
    fn values<T: hdf5::H5Type>(&self, data: &hdf5::Dataset) -> Loaded<Vec<T>> {
        content!(self.fits(data));
        data.read_raw().map(Ok)
    }

    /// All strings of a dataset.
    fn strings(&self, data: &hdf5::Dataset) -> Loaded<Vec<String>> {
        content!(self.fits(data));
        strings(data).map(Ok)
    }

    pub(super) fn load(&self) -> Loaded<FeatureFile> {
        let file = hdf5::FileBuilder::new().with_fapl(|p| p.file_locking(false)).open(self.path)?;
        let version = number(&file, "format_version")?.map_or(VERSION, |v| v as u32);
        if !(WITHOUT_SILENCE..=VERSION).contains(&version) {
            return self.bad(format_args!("format version {version}, this program reads {VERSION}"));
        }
        let provenance = provenance(&file)?;
        let ids = content!(self.strings(&file.dataset("items")?));
        let index = content!(self.index(&file, &ids));
        let test: Vec<u8> = content!(self.values(&file.dataset("splits/test")?));
        if test.len() != ids.len() || test.iter().any(|t| *t > 1) {
            return self.bad(format_args!("{} split entries for {} items, all to be 0 or 1", test.len(), ids.len()));
        }
        let split = test.iter().map(|t| if *t == 1 { Split::Test } else { Split::Train }).collect();
        let mut labels = BTreeMap::new();
        if file.link_exists("labels") {
            for data in file.group("labels")?.datasets()? {
                let task = data.name().rsplit('/').next().unwrap_or_default().to_owned();
                let mut read = content!(self.labels(&data, &task, &index));
                if version == WITHOUT_SILENCE && task == "phone" {
                    read.silence = read.silence.or(Some(0));
                }
                if file.link_exists("classes") && file.group("classes")?.link_exists(&task) {
                    read.names = content!(self.strings(&file.dataset(&format!("classes/{task}"))?));
                }
                labels.insert(task, read);
            }
        }
        let (mut groups, mut frames) = (BTreeMap::new(), None);
        for group in file.groups()? {
            let key = group.name().trim_start_matches('/').to_owned();
            if ["labels", "splits", "classes"].contains(&key.as_str()) {
                continue;
            }
            let data = group.dataset("features")?;
            content!(self.fits(&data));
            let shape = data.get_shape()?;
            let float = matches!(data.dtype()?.to_descriptor()?, TypeDescriptor::Float(_));
            if shape.len() != 2 || shape[0] != index.n_rows() || shape[1] == 0 || !float {
                return self.bad(format_args!("features of {key} are {shape:?}, not f32 of {} rows", index.n_rows()));
            }
            if let (Some(first), Some(hop)) = (number(&data, "first_seconds")?, number(&data, "hop_seconds")?) {
                frames = Some(FrameTimes { first, hop });
            }
            let name = string(&group, "name")?.unwrap_or_else(|| key.clone());
            groups.insert(key, Group { name, dims: shape[1], data });
        }
        let path = self.path.to_owned();
        Ok(Ok(FeatureFile {
            path,
            groups,
            ids,
            index,
            split,
            labels,
            frames,
            provenance,
            budget: Budget::UNLIMITED,
            stamp: self.stamp,
        }))
    }

    fn index(&self, file: &hdf5::File, ids: &[String]) -> Loaded<ItemIndex> {
        let data = file.dataset("index")?;
        let pairs: Vec<u64> = content!(self.values(&data));
        if data.shape() != [ids.len(), 2] || ids.is_empty() {
            return self.bad(format_args!("{} items, index {:?}", ids.len(), data.shape()));
        }
        let mut next = 0u64;
        for (pair, id) in pairs.chunks_exact(2).zip(ids) {
            if pair[0] != next || pair[1] == 0 || pair[1] > self.stamp.bytes.saturating_mul(MOST_COMPRESSED) {
                let (first, rows) = (pair[0], pair[1]);
                return self.bad(format_args!("item {id:?} begins at row {first} with {rows} rows, not at {next}"));
            }
            next = next.saturating_add(pair[1]);
        }
        Ok(Ok(ItemIndex::from_counts(pairs.chunks_exact(2).map(|pair| pair[1] as usize))))
    }

    fn labels(&self, data: &hdf5::Dataset, task: &str, index: &ItemIndex) -> Loaded<Labels> {
        let values: Vec<i32> = content!(self.values(data));
        let per = match string(data, "per")?.as_deref() {
            Some("frame") => Per::Frame,
            Some("item") => Per::Item,
            Some(other) => return self.bad(format_args!("labels {task} are per {other:?}, not frame or item")),
            None if values.len() == index.n_items() => Per::Item,
            None => Per::Frame,
        };
        let largest = values.iter().max().map_or(0, |v| v + 1);
        let classes = number(data, "classes")?.map_or(largest as usize, |c| c as usize);
        if classes > MOST_CLASSES {
            return self.bad(format_args!("labels {task} have {classes} classes, above {MOST_CLASSES}"));
        }
        let need = if per == Per::Frame { index.n_rows() } else { index.n_items() };
        if values.len() != need || values.iter().any(|v| *v < -1 || i64::from(*v) >= classes as i64) {
            let n = values.len();
            return self.bad(format_args!("{n} labels {task} for {need} places, all in -1..{classes}"));
        }
        let silence = number(data, "silence")?.map(|s| s as usize);
        if silence.is_some_and(|s| s >= classes) {
            return self.bad(format_args!("the silence of labels {task} is none of its {classes} classes"));
        }
        Ok(Ok(Labels { per, classes, silence, values, names: Vec::new() }))
    }
}

fn provenance(file: &hdf5::File) -> hdf5::Result<Provenance> {
    let text = |name: &str| string(file, name).map(Option::unwrap_or_default);
    let count = |name: &str| -> hdf5::Result<Option<u64>> {
        if has_attr(file, name)? { file.attr(name)?.read_raw::<u64>().map(|v| v.first().copied()) } else { Ok(None) }
    };
    Ok(Provenance {
        configuration: text("configuration")?,
        seed: count("seed")?.unwrap_or(0),
        commit: text("commit")?,
        dataset_digest: text("dataset_digest")?,
        trained_on: text("trained_on")?,
        step: count("step")?,
        checkpoint: text("checkpoint")?,
        pooling: count("pooling")?,
        module: count("module")?,
    })
}

fn has_attr(at: &hdf5::Location, name: &str) -> hdf5::Result<bool> {
    Ok(at.attr_names()?.iter().any(|n| n == name))
}

/// A number of any type; none where there is no such attribute.
fn number(at: &hdf5::Location, name: &str) -> hdf5::Result<Option<f64>> {
    if !has_attr(at, name)? {
        return Ok(None);
    }
    let attr = at.attr(name)?;
    Ok(match attr.dtype()?.to_descriptor()? {
        TypeDescriptor::Float(_) => attr.read_raw::<f64>()?.first().copied(),
        _ => attr.read_raw::<i64>()?.first().map(|v| *v as f64),
    })
}

/// A string of any type; none where there is no such attribute.
fn string(at: &hdf5::Location, name: &str) -> hdf5::Result<Option<String>> {
    if !has_attr(at, name)? {
        return Ok(None);
    }
    Ok(strings(&*at.attr(name)?)?.into_iter().next())
}

/// Strings of all types that HDF5 has.
fn strings(at: &hdf5::Container) -> hdf5::Result<Vec<String>> {
    Ok(match at.dtype()?.to_descriptor()? {
        TypeDescriptor::VarLenUnicode => at.read_raw::<VarLenUnicode>()?.iter().map(|s| s.to_string()).collect(),
        TypeDescriptor::VarLenAscii => at.read_raw::<VarLenAscii>()?.iter().map(|s| s.to_string()).collect(),
        TypeDescriptor::FixedUnicode(n) if n <= LONGEST => {
            at.read_raw::<FixedUnicode<LONGEST>>()?.iter().map(|s| s.to_string()).collect()
        }
        TypeDescriptor::FixedAscii(n) if n <= LONGEST => {
            at.read_raw::<FixedAscii<LONGEST>>()?.iter().map(|s| s.to_string()).collect()
        }
        other => return Err(format!("{other:?} where strings of up to {LONGEST} bytes belong").into()),
    })
}
