//! What L-BFGS minimizes: the mean loss of all rows, whose features come in blocks.
//!
//! An iteration passes over the features twice: for the scores along the direction, and for the
//! gradient. Scores (n, classes) are kept between passes, in memory or on disk. All sums go over the rows
//! in one order, so blocks do not reach the result.

use std::ops::Range;
use std::path::Path;

use gim_core::kernels::gemm::{BlockwiseTn, Mat, MatMut, Store, Threads, matmul};
use gim_core::kernels::vector::{add_column_sums, add_scaled};
use gim_core::{Pool, Result, Scalar};
use rayon::prelude::*;

use super::Standardize;
use super::softmax::{add_curvature, loss_of, scores};
use crate::examples::Part;
use crate::scratch::{Access, Table};

/// Values of scores that one thread moves at a time.
const MOVED: usize = 1 << 14;

/// Work on the features (rows, d) of a block, given its first row.
type Work<'a, F> = &'a mut (dyn FnMut(usize, &[F]) -> Result<()> + Send);

/// Rows x (n, d), handed over block by block, in order. Blocks begin at multiples of 1024 rows.
pub(super) trait Pass<F>: Sync {
    /// Calls `work` for every block.
    ///
    /// # Errors
    /// Those of `work`, and when the features cannot be read.
    fn pass(&self, work: Work<'_, F>) -> Result<()>;
}

/// Rows in memory: a single block.
pub(super) struct Resident<'a, F>(pub(super) &'a [F]);

impl<F: Scalar> Pass<F> for Resident<'_, F> {
    fn pass(&self, work: Work<'_, F>) -> Result<()> {
        work(0, self.0)
    }
}

/// Rows of a part, standardized anew in every pass.
pub(super) struct Streamed<'a> {
    pub(super) part: &'a Part<'a>,
    pub(super) by: &'a Standardize,
}

impl Pass<f32> for Streamed<'_> {
    fn pass(&self, work: Work<'_, f32>) -> Result<()> {
        self.part.for_each_block(|first, x| {
            self.by.apply(x);
            work(first, x)
        })
    }
}

/// `n` labeled rows, classes below `classes`.
pub(super) struct Problem<'a, F: Scalar> {
    pub(super) x: &'a dyn Pass<F>,
    pub(super) labels: &'a [u32],
    pub(super) d: usize,
    pub(super) classes: usize,
    pub(super) pool: &'a Pool<F>,
    /// Where scores are kept if not in memory, and rows of a block of them.
    pub(super) on_disk: Option<(&'a Path, usize)>,
}

impl<F: Scalar> Problem<'_, F> {
    /// Number of rows.
    pub(super) fn n(&self) -> usize {
        self.labels.len()
    }

    /// Place and rows of each block of scores.
    fn blocks(&self) -> impl Iterator<Item = ((usize, usize), Range<usize>)> + use<F> {
        let (n, c) = (self.n(), self.classes);
        let each = self.on_disk.map_or(n, |on_disk| on_disk.1).max(1);
        (0..n.div_ceil(each)).map(move |i| {
            let rows = i * each..n.min((i + 1) * each);
            ((rows.start * c, rows.len() * c), rows)
        })
    }
}

/// Scores of all rows, (n, classes) each.
pub(super) struct Scores<'a, F: Scalar> {
    problem: &'a Problem<'a, F>,
    /// z, zp along a direction, and r = ∂loss/∂z.
    z: Table<F>,
    zp: Table<F>,
    r: Table<F>,
}

impl<'a, F: Scalar> Scores<'a, F> {
    /// z = 0.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn zeros(problem: &'a Problem<'a, F>) -> Result<Self> {
        let folder = problem.on_disk.map(|on_disk| on_disk.0);
        let table = || Table::new(problem.n() * problem.classes, folder, problem.pool);
        let mut z = table()?;
        for (at, _) in problem.blocks() {
            z.with(at, Access::Write, |z| {
                z.fill(F::zero());
                Ok(())
            })?;
        }
        Ok(Self { problem, z, zp: table()?, r: table()? })
    }

    /// z, or `along` zp, = x·w + b for weight (d, classes), bias (classes). Passes over the features.
    ///
    /// # Errors
    /// When they cannot be read, or the disk refuses.
    pub(super) fn compute(&mut self, weight: &[F], bias: &[F], along: bool) -> Result<()> {
        let Problem { d, classes: c, pool, .. } = *self.problem;
        let table = if along { &mut self.zp } else { &mut self.z };
        self.problem.x.pass(&mut |first, x| {
            let rows = x.len() / d;
            table.with((first * c, rows * c), Access::Write, |z| {
                scores(x, rows, d, weight, bias, z, pool);
                Ok(())
            })
        })
    }

    /// Mean loss at z + α·zp and its derivative by α; leaves r there. At z where there is no α.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn loss(&mut self, along: Option<F>) -> Result<(f64, f64)> {
        let (n, mut sums) = (self.problem.n(), (0.0, 0.0));
        let Self { problem, z, zp, r } = self;
        for (at, rows) in problem.blocks() {
            let labels = &problem.labels[rows];
            let mut add = |z: &[F], along: Option<(F, &[F])>| {
                r.with(at, Access::Write, |r| {
                    sums = loss_of(labels, n, z, along, r, sums);
                    Ok(())
                })
            };
            z.with(at, Access::Read, |z| match along {
                None => add(z, None),
                Some(a) => zp.with(at, Access::Read, |zp| add(z, Some((a, zp)))),
            })?;
        }
        Ok((sums.0 / n as f64, sums.1))
    }

    /// z += α·zp.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn advance(&mut self, a: F) -> Result<()> {
        let Self { problem, z, zp, .. } = self;
        problem.blocks().try_for_each(|(at, _)| {
            z.with(at, Access::Update, |z| {
                zp.with(at, Access::Read, |zp| {
                    z.par_chunks_mut(MOVED).zip(zp.par_chunks(MOVED)).for_each(|(z, zp)| add_scaled(z, a, zp));
                    Ok(())
                })
            })
        })
    }

    /// ∂loss/∂weight = xᵀ·r and ∂loss/∂bias = column sums of r, overwriting. Passes over the features.
    ///
    /// # Errors
    /// When they cannot be read, or the disk refuses.
    pub(super) fn gradient(&mut self, dw: &mut [F], db: &mut [F]) -> Result<()> {
        let Self { problem, r, .. } = self;
        let Problem { d, classes: c, pool, .. } = **problem;
        let n = problem.n();
        let mut sum = None;
        db.fill(F::zero());
        problem.x.pass(&mut |first, x| {
            let rows = x.len() / d;
            r.with((first * c, rows * c), Access::Read, |r| {
                add_column_sums(db, r);
                if rows == n {
                    let (x, r) = (Mat::new(x, n, d), Mat::new(r, n, c));
                    matmul(x.t(), r, MatMut::new(dw, d, c), Store::Overwrite, pool);
                } else {
                    let sum = sum.get_or_insert_with(|| BlockwiseTn::new((n, d, c), pool));
                    sum.add(x, r, Threads::All);
                }
                Ok(())
            })
        })?;
        if let Some(sum) = sum {
            sum.finish(MatMut::new(dw, d, c));
        }
        Ok(())
    }

    /// Mean of p(1 − p) over rows, by class, from r.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn curvature(&mut self) -> Result<Vec<f64>> {
        let Self { problem, r, .. } = self;
        let (n, mut mean) = (problem.n(), vec![0.0; problem.classes]);
        for (at, _) in problem.blocks() {
            r.with(at, Access::Read, |r| {
                add_curvature(r, n, &mut mean);
                Ok(())
            })?;
        }
        Ok(mean)
    }
}
