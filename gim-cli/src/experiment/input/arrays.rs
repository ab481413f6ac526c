//! Feature files in other formats than HDF5: arrays of the same names, for NumPy and PyTorch.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use gim_core::{Error, Result};
use gim_eval::{FeatureFile, Split};
use npyz::{AutoSerialize, WriterBuilder};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::json;
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::experiment::interrupt::Scratch;

/// Values that are read at a time.
const BLOCK: usize = 1 << 20;

/// Kind of feature file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FeatureFormat {
    /// HDF5.
    H5,
    /// NumPy.
    Npz,
    /// The format of Hugging Face.
    Safetensors,
}

impl FeatureFormat {
    /// The format that a file's name says; HDF5 without an extension.
    ///
    /// # Errors
    /// When the extension is that of no format.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        match path.extension().map(|e| e.to_ascii_lowercase()).as_deref().map(|e| e.to_str()) {
            None | Some(Some("h5" | "hdf5" | "he5")) => Ok(Self::H5),
            Some(Some("npz")) => Ok(Self::Npz),
            Some(Some("safetensors")) => Ok(Self::Safetensors),
            Some(_) => {
                let what = "the end of its name is that of no feature file";
                Err(Error::file(path, what, "use .h5, .npz or .safetensors, or add --format"))
            }
        }
    }
}

/// Has `extract` write an HDF5 file, and turns that into `format` at `out`.
///
/// # Errors
/// As `extract`, and when the file cannot be written.
pub(crate) fn write_as(format: FeatureFormat, out: &Path, extract: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if format == FeatureFormat::H5 {
        return extract(out);
    }
    let beside = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let io = |e: io::Error| Error::io(out, "write", e);
    let folder = tempfile::Builder::new().prefix(".gim-features-").tempdir_in(beside).map_err(io)?;
    let _unfinished = Scratch::new(folder.path())?;
    let (h5, done) = (folder.path().join("features.h5"), folder.path().join("features"));
    extract(&h5)?;
    let (file, to) = (FeatureFile::open(&h5)?, File::create(&done).map_err(io)?);
    let arrays = Arrays { file: &file, out };
    match format {
        FeatureFormat::H5 => unreachable!("HDF5 is written above"),
        FeatureFormat::Npz => arrays.npz(&to)?,
        FeatureFormat::Safetensors => arrays.safetensors(&to)?,
    }
    to.sync_all().and_then(|()| fs::rename(&done, out)).map_err(io)
}

/// The content of an array.
enum Values<'a> {
    /// Features (N, D) of a group, which are read in blocks.
    Group(&'a str),
    U64(Vec<u64>),
    I32(&'a [i32]),
    U8(Vec<u8>),
}

/// An array of a feature file.
struct Array<'a> {
    name: String,
    shape: Vec<usize>,
    values: Values<'a>,
}

impl Array<'_> {
    fn dtype(&self) -> Dtype {
        match self.values {
            Values::Group(_) => Dtype::F32,
            Values::U64(_) => Dtype::U64,
            Values::I32(_) => Dtype::I32,
            Values::U8(_) => Dtype::U8,
        }
    }
}

/// The arrays of a feature file, on their way to another.
struct Arrays<'a> {
    file: &'a FeatureFile,
    out: &'a Path,
}

impl<'a> Arrays<'a> {
    fn failed(&self, e: impl Into<io::Error>) -> Error {
        Error::io(self.out, "write", e.into())
    }

    /// All arrays, those of the largest values first: safetensors wants them aligned.
    fn list(&self) -> Result<Vec<Array<'a>>> {
        let file = self.file;
        let pairs = file.index().iter().flat_map(|r| [r.start as u64, r.len() as u64]).collect();
        let (items, rows) = (file.items().len(), file.index().n_rows());
        let mut arrays = vec![Array { name: "index".into(), shape: vec![items, 2], values: Values::U64(pairs) }];
        for group in file.groups() {
            let shape = vec![rows, file.group_info(group)?.1];
            arrays.push(Array { name: group.into(), shape, values: Values::Group(group) });
        }
        for task in file.tasks() {
            let values = &file.labels(task)?.values;
            arrays.push(Array {
                name: format!("labels_{task}"),
                shape: vec![values.len()],
                values: Values::I32(values),
            });
        }
        let test = file.split().iter().map(|s| u8::from(*s == Split::Test)).collect();
        arrays.push(Array { name: "test".into(), shape: vec![items], values: Values::U8(test) });
        Ok(arrays)
    }

    /// Lists of strings, by name.
    fn strings(&self) -> Result<Vec<(String, &'a [String])>> {
        let mut lists = vec![("items".to_owned(), self.file.items())];
        for task in self.file.tasks() {
            let names = &self.file.labels(task)?.names;
            if !names.is_empty() {
                lists.push((format!("classes_{task}"), names));
            }
        }
        Ok(lists)
    }

    /// The attributes of the file, as text.
    fn attributes(&self) -> Vec<(&'static str, String)> {
        let made = self.file.provenance();
        let mut all = vec![
            ("configuration", made.configuration.clone()),
            ("seed", made.seed.to_string()),
            ("commit", made.commit.clone()),
            ("dataset_digest", made.dataset_digest.clone()),
            ("trained_on", made.trained_on.clone()),
            ("checkpoint", made.checkpoint.clone()),
        ];
        all.extend(made.step.map(|step| ("step", step.to_string())));
        all.extend(made.pooling.map(|n| ("pooling", n.to_string())));
        if let Some(times) = self.file.frames() {
            all.extend([("first_seconds", times.first.to_string()), ("hop_seconds", times.hop.to_string())]);
        }
        all
    }

    /// Hands the features of a group to `take`, block by block.
    fn blocks(&self, group: &str, mut take: impl FnMut(Vec<f32>) -> io::Result<()>) -> Result<()> {
        let rows = self.file.index().n_rows();
        let block = (BLOCK / self.file.group_info(group)?.1.max(1)).max(1);
        for first in (0..rows).step_by(block) {
            let x = self.file.read_rows(group, first..(first + block).min(rows))?;
            take(x.iter().copied().collect()).map_err(|e| self.failed(e))?;
        }
        Ok(())
    }

    /// NumPy's archive: a member for each array and list of strings, and the attributes as `gim.json`.
    fn npz(&self, to: &File) -> Result<()> {
        let mut zip = ZipWriter::new(BufWriter::new(to));
        let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored).large_file(true);
        for Array { name, shape, values } in self.list()? {
            zip.start_file(format!("{name}.npy"), options).map_err(|e| self.failed(e))?;
            match values {
                Values::Group(group) => self.npy_group(&mut zip, &shape, group)?,
                Values::U64(v) => npy(&mut zip, &shape, v).map_err(|e| self.failed(e))?,
                Values::I32(v) => npy(&mut zip, &shape, v.iter().copied()).map_err(|e| self.failed(e))?,
                Values::U8(v) => npy(&mut zip, &shape, v).map_err(|e| self.failed(e))?,
            }
        }
        for (name, list) in self.strings()? {
            zip.start_file(format!("{name}.npy"), options).map_err(|e| self.failed(e))?;
            npy_strings(&mut zip, list).map_err(|e| self.failed(e))?;
        }
        let attributes: HashMap<_, _> = self.attributes().into_iter().collect();
        zip.start_file("gim.json", options).map_err(|e| self.failed(e))?;
        zip.write_all(json!(attributes).to_string().as_bytes()).map_err(|e| self.failed(e))?;
        let mut done = zip.finish().map_err(|e| self.failed(e))?;
        done.flush().map_err(|e| self.failed(e))
    }

    fn npy_group(&self, to: impl Write, shape: &[usize], group: &str) -> Result<()> {
        let mut to = BufWriter::new(to);
        let begin = npyz::WriteOptions::new().default_dtype().shape(&sizes(shape)).writer(&mut to).begin_nd();
        let mut npy = begin.map_err(|e| self.failed(e))?;
        self.blocks(group, |block| npy.extend(block))?;
        npy.finish().and_then(|()| to.flush()).map_err(|e| self.failed(e))
    }

    /// A tensor for each array. Lists of strings, as JSON, and attributes are its metadata.
    fn safetensors(&self, to: &File) -> Result<()> {
        let (arrays, mut at) = (self.list()?, 0);
        let infos = arrays.iter().map(|a| {
            let begin = at;
            at += a.shape.iter().product::<usize>() * a.dtype().bitsize() / 8;
            let info = TensorInfo { dtype: a.dtype(), shape: a.shape.clone(), data_offsets: (begin, at) };
            (a.name.clone(), info)
        });
        let infos = infos.collect();
        let lists = self.strings()?.into_iter().map(|(name, list)| (name, json!(list).to_string()));
        let texts = self.attributes().into_iter().map(|(name, text)| (name.to_owned(), text)).chain(lists).collect();
        let defect = |e: &dyn std::fmt::Display| Error::internal("safetensors", e);
        let head = Metadata::new(Some(texts), infos).map_err(|e| defect(&e))?;
        let mut head = serde_json::to_vec(&head).map_err(|e| defect(&e))?;
        // The format asks for data at a multiple of 8 bytes.
        head.resize(head.len().next_multiple_of(8), b' ');
        let mut to = BufWriter::new(to);
        let length = (head.len() as u64).to_le_bytes();
        to.write_all(&length).and_then(|()| to.write_all(&head)).map_err(|e| self.failed(e))?;
        for array in arrays {
            let mut write = |bytes: Vec<u8>| to.write_all(&bytes);
            let written = match array.values {
                Values::Group(group) => {
                    self.blocks(group, |block| write(block.iter().flat_map(|x| x.to_le_bytes()).collect()))?;
                    Ok(())
                }
                Values::U64(v) => write(v.iter().flat_map(|x| x.to_le_bytes()).collect()),
                Values::I32(v) => write(v.iter().flat_map(|x| x.to_le_bytes()).collect()),
                Values::U8(v) => write(v),
            };
            written.map_err(|e| self.failed(e))?;
        }
        to.flush().map_err(|e| self.failed(e))
    }
}

fn sizes(shape: &[usize]) -> Vec<u64> {
    shape.iter().map(|n| *n as u64).collect()
}

fn npy<T: AutoSerialize>(to: impl Write, shape: &[usize], values: impl IntoIterator<Item = T>) -> io::Result<()> {
    let mut to = BufWriter::new(to);
    let mut npy = npyz::WriteOptions::new().default_dtype().shape(&sizes(shape)).writer(&mut to).begin_nd()?;
    npy.extend(values)?;
    npy.finish()?;
    to.flush()
}

/// Strings as NumPy's type `<U`, as long as the longest.
fn npy_strings(to: impl Write, list: &[String]) -> io::Result<()> {
    let longest = list.iter().map(|s| s.chars().count()).max().unwrap_or(0).max(1);
    let dtype = format!("<U{longest}").parse().map_err(|e| io::Error::other(format!("{e}")))?;
    let mut to = BufWriter::new(to);
    let options = npyz::WriteOptions::<str>::new().dtype(npyz::DType::Plain(dtype)).shape(&[list.len() as u64]);
    let mut npy = options.writer(&mut to).begin_nd()?;
    for text in list {
        npy.push(text.as_str())?;
    }
    npy.finish()?;
    to.flush()
}
