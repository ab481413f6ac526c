//! Values that may be too many for memory: in a file without a name, which the system removes by itself.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use gim_core::{Buffer, Error, Pool, Result, Scalar};

/// Values that are converted at a time.
const VALUES: usize = 1 << 18;

/// A file of values that lives as long as this.
#[derive(Debug)]
pub(crate) struct Scratch {
    file: File,
    folder: PathBuf,
}

impl Scratch {
    /// An empty file in `folder`, or in the system's folder for temporary files where `folder` cannot be
    /// written.
    ///
    /// # Errors
    /// When neither can be written.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        if let Ok(file) = tempfile::tempfile_in(folder) {
            return Ok(Self { file, folder: folder.to_owned() });
        }
        let folder = std::env::temp_dir();
        let file = tempfile::tempfile_in(&folder).map_err(|e| Error::io(&folder, "create a temporary file in", e))?;
        Ok(Self { file, folder })
    }

    /// Writes `values` from place `at` on, counted in values.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn write<F: Scalar>(&self, at: usize, values: &[F]) -> Result<()> {
        let failed = |e| Error::io(&self.folder, "write a temporary file in", e);
        let mut bytes = Vec::with_capacity(VALUES.min(values.len()) * F::BYTES);
        for (i, values) in values.chunks(VALUES).enumerate() {
            bytes.clear();
            values.iter().for_each(|v| v.write_le(&mut bytes));
            self.file.write_all_at(&bytes, ((at + i * VALUES) * F::BYTES) as u64).map_err(failed)?;
        }
        Ok(())
    }

    /// Reads values from place `at` on.
    ///
    /// # Errors
    /// When the disk refuses, or they were not written.
    pub(crate) fn read<F: Scalar>(&self, at: usize, out: &mut [F]) -> Result<()> {
        let failed = |e| Error::io(&self.folder, "read a temporary file in", e);
        let mut bytes = vec![0; VALUES.min(out.len()) * F::BYTES];
        for (i, out) in out.chunks_mut(VALUES).enumerate() {
            let bytes = &mut bytes[..out.len() * F::BYTES];
            self.file.read_exact_at(bytes, ((at + i * VALUES) * F::BYTES) as u64).map_err(failed)?;
            out.iter_mut().zip(bytes.chunks_exact(F::BYTES)).for_each(|(v, b)| *v = F::read_le(b));
        }
        Ok(())
    }
}

/// What is done with values of a [`Table`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// They are read.
    Read,
    /// They are overwritten; what they were is unspecified.
    Write,
    /// They are changed.
    Update,
}

/// Values in memory or on disk.
#[derive(Debug)]
pub(crate) enum Table<F: Scalar> {
    /// In memory.
    Memory(Buffer<F>),
    /// On disk, and memory for some of them.
    Disk(Scratch, Vec<F>),
}

impl<F: Scalar> Table<F> {
    /// `len` values, which are unspecified: on disk where `folder` is given.
    ///
    /// # Errors
    /// As [`Scratch::new`].
    pub(crate) fn new(len: usize, folder: Option<&Path>, pool: &Pool<F>) -> Result<Self> {
        Ok(match folder {
            None => Self::Memory(pool.take(len)),
            Some(folder) => Self::Disk(Scratch::new(folder)?, Vec::new()),
        })
    }

    /// Calls `work` with `len` values from place `at` on. Reading needs values that were written.
    ///
    /// # Errors
    /// Those of `work`, and when the disk refuses.
    pub(crate) fn with<T>(
        &mut self,
        (at, len): (usize, usize),
        access: Access,
        work: impl FnOnce(&mut [F]) -> Result<T>,
    ) -> Result<T> {
        match self {
            Self::Memory(values) => work(&mut values[at..at + len]),
            Self::Disk(file, values) => {
                values.resize(len, F::zero());
                if access != Access::Write {
                    file.read(at, values)?;
                }
                let result = work(values)?;
                if access != Access::Read {
                    file.write(at, values)?;
                }
                Ok(result)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_on_disk_hold_what_tables_in_memory_hold() {
        let folder = tempfile::tempdir().unwrap();
        let (n, pool) = (VALUES + 1000, Pool::new());
        for place in [None, Some(folder.path()), Some(Path::new("/nowhere at all"))] {
            let mut table = Table::<f32>::new(n, place, &pool).unwrap();
            for at in [0, VALUES] {
                let len = VALUES.min(n - at);
                let fill = |v: &mut [f32]| {
                    v.iter_mut().enumerate().for_each(|(i, v)| *v = (at + i) as f32);
                    Ok(())
                };
                table.with((at, len), Access::Write, fill).unwrap();
            }
            let negate = |v: &mut [f32]| {
                v.iter_mut().for_each(|v| *v = -*v);
                Ok(())
            };
            table.with((VALUES - 3, 5), Access::Update, negate).unwrap();
            // What readers do to values in memory stays there, so they do nothing.
            let sum = |v: &mut [f32]| Ok(v.iter().map(|v| f64::from(*v)).sum::<f64>());
            let got = table.with((0, n), Access::Read, sum).unwrap();
            let all = (n * (n - 1) / 2) as f64;
            let changed: usize = (VALUES - 3..VALUES + 2).sum();
            assert_eq!(got, all - 2.0 * changed as f64, "{place:?}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "files have no names");
        let table = Scratch::new(folder.path()).unwrap();
        assert!(table.read(0, &mut [0f32]).unwrap_err().to_string().contains("temporary file"));
    }
}
