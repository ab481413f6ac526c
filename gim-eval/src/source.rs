//! Where features are: in memory, or in a file that is read block by block.
//!
//! Where they are decides no result. All sums over rows are made in the same order, to the last bit.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use gim_core::{Error, Result};
use ndarray::{Array2, s};
use rayon::prelude::*;

use crate::features::{AGAIN, h5_error, not_finite};
use crate::scratch::Scratch;

/// Rows of a block are multiples of this, and so is where blocks begin: sums over rows are made in parts
/// of 256, 512 and 1024 rows.
pub(crate) const UNIT: usize = 1024;
/// Most bytes of a block, and how many of them a budget holds.
const BLOCK_BYTES: usize = 1 << 24;
const BLOCKS: usize = 16;
/// Most rows between two that are wanted, to read both at once.
const GAP: usize = 32;
/// Most values that are read from a file at once.
const READ: usize = 1 << 20;

/// How much memory a probe may take for what grows with the number of rows: features, a standardized
/// copy of them and scores of classes. Labels are always in memory.
///
/// Features that need more are read from their file in blocks, as often as a probe passes over them.
/// Results are the same to the last bit. A few blocks of 1024 rows are the least that a probe takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes.
    pub bytes: u64,
}

impl Budget {
    /// All features in memory, however many.
    pub const UNLIMITED: Self = Self { bytes: u64::MAX };

    /// Bytes of `rows` rows of `dims` features and `classes` scores in a converged probe: features, their
    /// copy, and three scores of each class. Other evaluations take less.
    pub fn need(rows: usize, dims: usize, classes: usize) -> u64 {
        (rows as u64).saturating_mul(2 * dims as u64 + 3 * classes as u64).saturating_mul(size_of::<f32>() as u64)
    }

    /// Rows of a block of rows of `values` values.
    pub(crate) fn block_rows(self, values: usize) -> usize {
        let bytes = usize::try_from(self.bytes / BLOCKS as u64).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        (bytes / size_of::<f32>() / values.max(1) / UNIT * UNIT).max(UNIT)
    }

    /// Whether three scores of `classes` classes are more than half of the budget.
    pub(crate) fn scores_on_disk(self, rows: usize, classes: usize) -> bool {
        Self::need(rows, 0, classes) > self.bytes / 2
    }

    /// Rows of `bytes` bytes that a quarter of the budget holds, in multiples of the unit.
    pub(crate) fn quarter(self, bytes: usize) -> usize {
        let quarter = usize::try_from(self.bytes / 4).unwrap_or(usize::MAX);
        (quarter / bytes.max(1) / UNIT * UNIT).max(UNIT)
    }
}

/// Rows of features (N, D).
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// In memory, row-major.
    Memory(Array2<f32>),
    /// Too many for a budget: in a file.
    Disk(OnDisk),
}

/// Features in a file.
#[derive(Debug, Clone)]
pub(crate) struct OnDisk {
    pub(crate) place: Place,
    pub(crate) rows: usize,
    pub(crate) dims: usize,
    pub(crate) budget: Budget,
    /// Where scores may be kept.
    pub(crate) folder: PathBuf,
}

/// Which file.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// Rows of a group of a feature file, from row `first` on.
    Group { path: PathBuf, stamp: Stamp, group: String, data: hdf5::Dataset, first: usize },
    /// Means that were computed.
    Scratch(Arc<Scratch>),
}

/// Length of a file and when it was written. The HDF5 library reads zeros past the end of a file that was
/// cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) bytes: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    /// That of a file.
    ///
    /// # Errors
    /// When there is no such file.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let of = std::fs::metadata(path).map_err(|e| Error::io(path, "read", e))?;
        Ok(Self { bytes: of.len(), modified: of.modified().ok() })
    }
}

impl Source {
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Memory(x) => x.nrows(),
            Self::Disk(disk) => disk.rows,
        }
    }

    pub(crate) fn dims(&self) -> usize {
        match self {
            Self::Memory(x) => x.ncols(),
            Self::Disk(disk) => disk.dims,
        }
    }

    /// The values, where they are in memory.
    pub(crate) fn values(&self) -> Option<&[f32]> {
        match self {
            Self::Memory(x) => Some(x.as_slice().unwrap_or_else(|| unreachable!("features are made row-major"))),
            Self::Disk(_) => None,
        }
    }

    /// The budget that they exceed, and the folder for scores; `None` where they are in memory.
    pub(crate) fn limit(&self) -> Option<(Budget, &Path)> {
        match self {
            Self::Memory(_) => None,
            Self::Disk(disk) => Some((disk.budget, &disk.folder)),
        }
    }

    /// `out (rows, D)` = these rows, in this order.
    ///
    /// # Errors
    /// When the file cannot be read, or a value in it is not finite.
    pub(crate) fn gather(&self, rows: &[usize], out: &mut [f32]) -> Result<()> {
        match self {
            Self::Memory(_) => {
                let (d, values) = (self.dims(), self.values().unwrap_or_default());
                out.par_chunks_mut(d * 64).zip(rows.par_chunks(64)).for_each(|(out, rows)| {
                    for (out, row) in out.chunks_exact_mut(d).zip(rows) {
                        out.copy_from_slice(&values[row * d..(row + 1) * d]);
                    }
                });
                Ok(())
            }
            Self::Disk(disk) => disk.gather(rows, out),
        }
    }
}

impl OnDisk {
    fn gather(&self, rows: &[usize], out: &mut [f32]) -> Result<()> {
        let d = self.dims;
        let (mut at, mut read) = (0, Vec::new());
        while at < rows.len() {
            let run = run(&rows[at..], (READ / d).max(1));
            let first = rows[at];
            let to = &mut out[at * d..(at + run) * d];
            let wanted = rows[at..at + run].iter().map(|row| row - first);
            self.read(first, rows[at + run - 1] + 1 - first, &mut read)?;
            for (to, row) in to.chunks_exact_mut(d).zip(wanted) {
                to.copy_from_slice(&read[row * d..(row + 1) * d]);
            }
            at += run;
        }
        match out.par_chunks_exact(d).position_first(|row| row.iter().any(|x| !x.is_finite())) {
            None => Ok(()),
            Some(at) => Err(self.not_finite(rows[at])),
        }
    }

    /// Reads all `rows` rows from row `first` on.
    fn read(&self, first: usize, rows: usize, out: &mut Vec<f32>) -> Result<()> {
        match &self.place {
            Place::Group { path, stamp, data, first: begin, .. } => {
                let first = begin + first;
                let x: Array2<f32> =
                    data.read_slice(s![first..first + rows, ..]).map_err(h5_error(path, "read features", AGAIN))?;
                if Stamp::of(path)? != *stamp {
                    return Err(Error::file(path, "was changed while it was read", "run the probe again"));
                }
                *out = x.into_raw_vec_and_offset().0;
                Ok(())
            }
            Place::Scratch(file) => {
                out.resize(rows * self.dims, 0.0);
                file.read(first * self.dims, out)
            }
        }
    }

    fn not_finite(&self, row: usize) -> Error {
        match &self.place {
            Place::Group { path, group, first, .. } => not_finite(path, group, first + row),
            Place::Scratch(_) => {
                let what = format_args!("the features of row {row} are not finite");
                Error::data("examples", what, "train with a smaller rate, or leave this item out")
            }
        }
    }
}

/// How many of the first rows are read at once: rising, with small gaps, over `most` rows at most.
fn run(rows: &[usize], most: usize) -> usize {
    let near = |pair: &[usize]| pair[1] > pair[0] && pair[1] - pair[0] <= GAP && pair[1] - rows[0] < most;
    1 + rows.windows(2).take_while(|pair| near(pair)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_rise_with_small_gaps() {
        assert_eq!(run(&[5], 10), 1);
        assert_eq!(run(&[5, 6, 7, 20], 100), 4);
        assert_eq!(run(&[5, 6, 7, 20], 10), 3);
        assert_eq!(run(&[5, 6, 6 + GAP, 7 + 2 * GAP], 1000), 3);
        assert_eq!(run(&[5, 4], 10), 1);
        assert_eq!(run(&[5, 5], 10), 1);
        assert_eq!(run(&[5, 6], 1), 1);
    }

    #[test]
    fn blocks_are_whole_units_within_the_budget() {
        for (bytes, values, want) in [
            (0, 512, UNIT),
            (u64::MAX, 512, 8 * UNIT),
            (1 << 26, 512, 2 * UNIT),
            (1 << 26, 500, 2 * UNIT),
            (u64::MAX, 100_000, UNIT),
        ] {
            assert_eq!(Budget { bytes }.block_rows(values), want, "{bytes} bytes, {values} values");
        }
        assert_eq!(Budget::need(1000, 512, 41), 4 * 1000 * (1024 + 123));
    }
}
