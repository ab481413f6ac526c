//! The k nearest neighbors by cosine similarity: an evaluation without fitting.
//!
//! A linear probe can select a few informative dimensions; neighbors use all of them. Rows are neither
//! centered nor standardized, so the similarity is that of the encoder's output.

use std::cmp::Ordering;

use gim_core::kernels::gemm::{Mat, MatMut, Store, matmul};
use gim_core::{Error, Pool, Result};
use ndarray::ArrayView2;
use rayon::prelude::*;

use crate::examples::Part;
use crate::items::Split;
use crate::metrics::{Score, majority};

/// Queries and candidates of a block of similarities: 4 MB, whatever the size of the parts.
const BLOCK: usize = 1024;
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
        Ok(self.vote(train, test)?.iter().map(|ranking| ranking[0]).collect())
    }

    /// Evaluates the votes on `test`, also without the class `silence` if given.
    ///
    /// `top5` is the share of rows whose class is among the five with most votes; classes without
    /// votes do not count.
    ///
    /// # Errors
    /// As [`Knn::predict`].
    pub fn evaluate(&self, train: &Part<'_>, test: &Part<'_>, silence: Option<usize>) -> Result<Score> {
        let rankings = self.vote(train, test)?;
        let (truth, n) = (test.labels(), test.n_rows() as f64);
        let predicted: Vec<u32> = rankings.iter().map(|ranking| ranking[0]).collect();
        let in_five = rankings.iter().zip(truth).filter(|(ranking, t)| ranking.iter().take(5).any(|c| c == *t)).count();
        let majority = majority(train.labels(), train.n_classes());
        Ok(Score::new(test.n_classes(), truth, &predicted, in_five as f64 / n, majority, silence))
    }

    /// The classes with votes, best first, for each row of `test`.
    fn vote(&self, train: &Part<'_>, test: &Part<'_>) -> Result<Vec<Vec<u32>>> {
        self.check(train, test)?;
        let candidates: Vec<&[f32]> = (0..train.n_rows()).map(|i| train.row(i)).collect();
        let queries: Vec<&[f32]> = (0..test.n_rows()).map(|i| test.row(i)).collect();
        let near = search(&candidates, &queries, self.k, |_, _| false);
        Ok(near.into_par_iter().map(|near| rank(&near, train.labels())).collect())
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
    let rows: Vec<&[f32]> = values.chunks(features.ncols().max(1)).collect();
    if let Some(row) = rows.par_iter().position_first(|row| row.iter().any(|x| !x.is_finite())) {
        let what = format_args!("the features of row {row} are not finite");
        return Err(Error::data("neighbors", what, "train with a smaller rate, or leave this row out"));
    }
    let asked: Vec<&[f32]> = queries.iter().map(|q| rows[*q]).collect();
    let near = search(&rows, &asked, k, |query, row| queries[query] == row);
    Ok(near.into_iter().map(|near| near.into_iter().map(|n| n.row).collect()).collect())
}

/// A candidate and its similarity.
#[derive(Debug, Clone, Copy)]
struct Near {
    similarity: f32,
    row: usize,
}

/// The `k` nearest candidates of each query, nearest first; ties by the lower row. Leaves out pairs
/// (query, candidate) for which `skip` is true.
///
/// Similarities are computed block by block; only the nearest so far are kept.
fn search(
    candidates: &[&[f32]],
    queries: &[&[f32]],
    k: usize,
    skip: impl Fn(usize, usize) -> bool + Sync,
) -> Vec<Vec<Near>> {
    let d = candidates.first().map_or(0, |row| row.len());
    let k = k.min(candidates.len());
    let mut best: Vec<Vec<Near>> = queries.iter().map(|_| Vec::with_capacity(k + 1)).collect();
    if k == 0 || d == 0 {
        return best;
    }
    let pool = Pool::new();
    for ((q, queries), best) in queries.chunks(BLOCK).enumerate().zip(best.chunks_mut(BLOCK)) {
        let unit_queries = normalized(queries, d, pool.take(queries.len() * d));
        for (c, candidates) in candidates.chunks(BLOCK).enumerate() {
            let unit_candidates = normalized(candidates, d, pool.take(candidates.len() * d));
            let mut similarities = pool.take(queries.len() * candidates.len());
            matmul(
                Mat::new(&unit_queries, queries.len(), d),
                Mat::new(&unit_candidates, candidates.len(), d).t(),
                MatMut::new(&mut similarities, queries.len(), candidates.len()),
                Store::Overwrite,
                &pool,
            );
            let rows = similarities.par_chunks(candidates.len());
            best.par_iter_mut().zip(rows).with_min_len(ROWS).enumerate().for_each(|(i, (best, similarities))| {
                for (j, &similarity) in similarities.iter().enumerate() {
                    let row = c * BLOCK + j;
                    if !skip(q * BLOCK + i, row) {
                        keep(best, k, Near { similarity, row });
                    }
                }
            });
        }
    }
    best
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

/// `out (rows, D)` = the rows, each divided by its norm; rows of zeros stay, with similarity 0 to all.
fn normalized<B: std::ops::DerefMut<Target = [f32]>>(rows: &[&[f32]], d: usize, mut out: B) -> B {
    out.par_chunks_mut(d).zip(rows).with_min_len(ROWS).for_each(|(out, row)| {
        // In double precision: squares of large features would overflow in single.
        let length = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
        out.iter_mut().zip(*row).for_each(|(out, x)| *out = (f64::from(*x) * scale) as f32);
    });
    out
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
