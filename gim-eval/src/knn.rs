//! The k nearest neighbors by cosine similarity: an evaluation without fitting.
//!
//! A linear probe can select a few informative dimensions; neighbors use all of them. Rows are neither
//! centered nor standardized, so the similarity is that of the encoder's output.
//!
//! Queries are taken in blocks, and the training rows pass by each of them in blocks. So memory holds a
//! block of queries with their nearest rows and two blocks of training rows, however many there are.
//! Where features are in a file, a block of queries is a quarter of their [`Budget`](crate::Budget), which
//! is how often the training rows are read: test rows · bytes of a row / (budget / 4) times.

use std::cmp::Ordering;
use std::ops::Range;

use gim_core::kernels::gemm::{Mat, MatMut, Store, matmul};
use gim_core::{Error, Pool, Result};
use ndarray::ArrayView2;
use rayon::prelude::*;

use crate::examples::Part;
use crate::items::Split;
use crate::metrics::{Score, majority};

/// Queries and candidates of a block of similarities: 4 MB, whatever the size of the parts.
const BLOCK: usize = 1024;
/// Most queries of a block in memory.
const QUERIES: usize = 1 << 14;
/// Rows or queries of a parallel task.
const ROWS: usize = 16;

/// A classifier by the votes of the `k` training rows of greatest cosine similarity.
///
/// Ties are broken by the sum of similarities, then by the lower class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knn {
    /// Neighbors that vote; all training rows if there are fewer.
    pub k: usize,
}

impl Default for Knn {
    fn default() -> Self {
        Self { k: 20 }
    }
}

impl Knn {
    /// Class of each row of `test`.
    ///
    /// # Errors
    /// When `k` is 0, `train` is a test part, a part is empty or has features that are not finite, or
    /// the parts differ in dimensions or classes.
    pub fn predict(&self, train: &Part<'_>, test: &Part<'_>) -> Result<Vec<u32>> {
        let mut predicted = Vec::with_capacity(test.n_rows());
        self.vote(train, test, |_, ranking| predicted.push(ranking[0]))?;
        Ok(predicted)
    }

    /// Evaluates the votes on `test`, also without the class `silence` if given.
    ///
    /// `top5` is the share of rows whose class is among the five with most votes; classes without
    /// votes do not count.
    ///
    /// # Errors
    /// As [`Knn::predict`].
    pub fn evaluate(&self, train: &Part<'_>, test: &Part<'_>, silence: Option<usize>) -> Result<Score> {
        let (truth, mut in_five) = (test.labels(), 0);
        let mut predicted = Vec::with_capacity(truth.len());
        self.vote(train, test, |row, ranking| {
            predicted.push(ranking[0]);
            in_five += usize::from(ranking.iter().take(5).any(|class| *class == truth[row]));
        })?;
        let majority = majority(train.labels(), train.n_classes());
        let top5 = in_five as f64 / truth.len() as f64;
        Ok(Score::new(test.n_classes(), truth, &predicted, top5, majority, silence))
    }

    /// Calls `each` with every row of `test`, in order, and the classes with votes, best first.
    fn vote(&self, train: &Part<'_>, test: &Part<'_>, mut each: impl FnMut(usize, Vec<u32>)) -> Result<()> {
        self.check(train, test)?;
        search(
            train,
            test,
            self.k,
            |_, _| false,
            |first, near| {
                let rankings: Vec<_> = near.into_par_iter().map(|near| rank(&near, train.labels())).collect();
                rankings.into_iter().enumerate().for_each(|(i, ranking)| each(first + i, ranking));
            },
        )
    }

    fn check(&self, train: &Part<'_>, test: &Part<'_>) -> Result<()> {
        if self.k == 0 {
            return Err(Error::config("knn.k", "no neighbor may vote", "use k = 1 or more"));
        }
        if train.split() != Split::Train {
            return Err(Error::config("knn", "asked to take neighbors from a test part", "give the training part"));
        }
        if (train.dims(), train.n_classes()) != (test.dims(), test.n_classes()) {
            return Err(Error::data(
                "examples",
                format_args!(
                    "{} dimensions and {} classes to train, {} and {} to test",
                    train.dims(),
                    train.n_classes(),
                    test.dims(),
                    test.n_classes()
                ),
                "give two parts of the same examples",
            ));
        }
        train.check()?;
        test.check()
    }
}

/// For each row in `queries` of `features (N, D)`, the `k` other rows of greatest cosine similarity,
/// nearest first.
///
/// Ties are broken by the lower row. There are fewer than `k` if `features` has fewer rows. The query
/// itself is excluded, copies of it are not.
///
/// # Errors
/// When a query is not a row of `features`, or features are not finite.
pub fn nearest(features: ArrayView2<'_, f32>, queries: &[usize], k: usize) -> Result<Vec<Vec<usize>>> {
    let n = features.nrows();
    if let Some(query) = queries.iter().find(|q| **q >= n) {
        let what = format_args!("row {query} is asked for, there are {n}");
        return Err(Error::data("neighbors", what, "ask for rows that exist"));
    }
    let features = features.as_standard_layout();
    let values = features.as_slice().unwrap_or_else(|| unreachable!("features are made row-major"));
    let d = features.ncols();
    let bad = values.par_chunks(d.max(1)).position_first(|row| row.iter().any(|x| !x.is_finite()));
    if let Some(row) = bad {
        let what = format_args!("the features of row {row} are not finite");
        return Err(Error::data("neighbors", what, "train with a smaller rate, or leave this row out"));
    }
    let all: Vec<usize> = (0..n).collect();
    let (bank, asked) = (Selected { values, d, rows: &all }, Selected { values, d, rows: queries });
    let mut found = Vec::with_capacity(queries.len());
    search(
        &bank,
        &asked,
        k,
        |query, row| queries[query] == row,
        |_, near| {
            found.extend(near.into_iter().map(|near| near.into_iter().map(|n| n.row).collect()));
        },
    )?;
    Ok(found)
}

/// Rows that are searched.
trait Rows: Sync {
    /// Number of rows, and of dimensions.
    fn dim(&self) -> (usize, usize);

    /// Most rows to hold at once, in multiples of [`BLOCK`].
    fn most(&self) -> usize;

    /// `out (rows, D)` = these rows.
    fn gather(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()>;
}

impl Rows for Part<'_> {
    fn dim(&self) -> (usize, usize) {
        (self.n_rows(), self.dims())
    }

    fn most(&self) -> usize {
        let row = self.dims() * size_of::<f32>();
        self.limit().map_or(QUERIES, |(budget, _)| budget.quarter(row))
    }

    fn gather(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.gather(rows, out)
    }
}

/// Rows of an array (_, d) in memory.
struct Selected<'a> {
    values: &'a [f32],
    d: usize,
    rows: &'a [usize],
}

impl Rows for Selected<'_> {
    fn dim(&self) -> (usize, usize) {
        (self.rows.len(), self.d)
    }

    fn most(&self) -> usize {
        QUERIES
    }

    fn gather(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let d = self.d;
        for (out, row) in out.chunks_exact_mut(d).zip(&self.rows[rows]) {
            out.copy_from_slice(&self.values[row * d..(row + 1) * d]);
        }
        Ok(())
    }
}

/// A candidate and its similarity.
#[derive(Debug, Clone, Copy)]
struct Near {
    similarity: f32,
    row: usize,
}

/// Finds the `k` nearest candidates of each query, nearest first; ties by the lower row. Leaves out
/// pairs (query, candidate) for which `skip` is true. Calls `each` with the first query of a block and
/// what was found for its queries.
///
/// Similarities are computed block by block; only the nearest so far are kept.
fn search(
    candidates: &impl Rows,
    queries: &impl Rows,
    k: usize,
    skip: impl Fn(usize, usize) -> bool + Sync,
    mut each: impl FnMut(usize, Vec<Vec<Near>>),
) -> Result<()> {
    let ((n, d), (asked, _)) = (candidates.dim(), queries.dim());
    let k = k.min(n);
    let pool = Pool::new();
    let unit = |of: &dyn Rows, rows: Range<usize>| {
        let mut x = pool.take(rows.len() * d);
        of.gather(rows, &mut x)?;
        normalize(&mut x, d);
        Ok(x)
    };
    for first in (0..asked).step_by(queries.most()) {
        let some = first..asked.min(first + queries.most());
        let mut best: Vec<Vec<Near>> = some.clone().map(|_| Vec::with_capacity(k + 1)).collect();
        if k > 0 && d > 0 {
            let unit_queries = unit(queries, some.clone())?;
            let block = |c: usize| if c < n { unit(candidates, c..n.min(c + BLOCK)).map(Some) } else { Ok(None) };
            let mut next = block(0)?;
            for c in (0..n).step_by(BLOCK) {
                let Some(unit_candidates) = next else { break };
                let work = || {
                    for ((q, unit_queries), best) in
                        (first..).step_by(BLOCK).zip(unit_queries.chunks(BLOCK * d)).zip(best.chunks_mut(BLOCK))
                    {
                        compare((q, unit_queries), (c, &unit_candidates), d, k, best, &skip, &pool);
                    }
                };
                let ((), after) = rayon::join(work, || block(c + BLOCK));
                next = after?;
            }
        }
        each(first, best);
    }
    Ok(())
}

/// Keeps what is nearest of some candidates to some queries, both of length 1 and given with the first
/// row.
fn compare(
    (q, queries): (usize, &[f32]),
    (c, candidates): (usize, &[f32]),
    d: usize,
    k: usize,
    best: &mut [Vec<Near>],
    skip: &(impl Fn(usize, usize) -> bool + Sync),
    pool: &Pool<f32>,
) {
    let (rows, columns) = (queries.len() / d, candidates.len() / d);
    let mut similarities = pool.take(rows * columns);
    matmul(
        Mat::new(queries, rows, d),
        Mat::new(candidates, columns, d).t(),
        MatMut::new(&mut similarities, rows, columns),
        Store::Overwrite,
        pool,
    );
    let rows = similarities.par_chunks(columns);
    best.par_iter_mut().zip(rows).with_min_len(ROWS).enumerate().for_each(|(i, (best, similarities))| {
        for (j, &similarity) in similarities.iter().enumerate() {
            if !skip(q + i, c + j) {
                keep(best, k, Near { similarity, row: c + j });
            }
        }
    });
}

/// Inserts a candidate among the `k` best if it is nearer than one of them. Candidates come in order
/// of their rows, so a tie goes last.
fn keep(best: &mut Vec<Near>, k: usize, new: Near) {
    if best.len() == k && best[k - 1].similarity >= new.similarity {
        return;
    }
    let at = best.partition_point(|old| old.similarity >= new.similarity);
    best.insert(at, new);
    best.truncate(k);
}

/// Divides each row of x (rows, D) by its norm; rows of zeros stay, with similarity 0 to all.
fn normalize(x: &mut [f32], d: usize) {
    x.par_chunks_mut(d).with_min_len(ROWS).for_each(|row| {
        // In double precision: squares of large features would overflow in single.
        let length = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
        row.iter_mut().for_each(|x| *x = (f64::from(*x) * scale) as f32);
    });
}

/// The classes of the neighbors: by votes, then by the sum of similarities, then the lower class.
fn rank(near: &[Near], labels: &[u32]) -> Vec<u32> {
    let mut votes: Vec<(u32, usize, f64)> = Vec::new();
    for near in near {
        let (class, similarity) = (labels[near.row], f64::from(near.similarity));
        match votes.iter_mut().find(|v| v.0 == class) {
            Some(vote) => {
                vote.1 += 1;
                vote.2 += similarity;
            }
            None => votes.push((class, 1, similarity)),
        }
    }
    votes.sort_by(|a, b| {
        let by_sum = || b.2.partial_cmp(&a.2).unwrap_or(Ordering::Equal);
        b.1.cmp(&a.1).then_with(by_sum).then(a.0.cmp(&b.0))
    });
    votes.into_iter().map(|v| v.0).collect()
}
