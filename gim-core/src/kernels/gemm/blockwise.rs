//! [`gemm_tn`](super::gemm_tn) over positions that do not lie in memory together.

use std::ops::Range;

use super::{
    LEAST_TASKS, Mat, MatMut, Shared, Store, TN_COLS, TN_ROWS, Threads, add_parts, gemm_tn_block, parts, tn_depth,
    tn_parts,
};
use crate::{Buffer, Pool, Scalar};

/// The sum aᵀ·b of [`gemm_tn`](super::gemm_tn) with [`Store::Overwrite`], to the last bit, over `k` positions
/// that arrive block by block.
///
/// Blocks may be of any size: positions that end amid a call of the kernel wait for the next block. They
/// are fewer than 128.
#[derive(Debug)]
pub struct BlockwiseTn<F: Scalar> {
    k: usize,
    m: usize,
    n: usize,
    /// Parts of the positions, and the sum of each, (m, n).
    parts: Vec<Range<usize>>,
    sums: Buffer<F>,
    /// Rows and columns of the tasks. Unlike the parts, they do not reach the result.
    tasks: Vec<(Range<usize>, Range<usize>)>,
    /// Positions that were summed, and those that wait, as rows of a and b.
    done: usize,
    a: Vec<F>,
    b: Vec<F>,
}

impl<F: Scalar> BlockwiseTn<F> {
    /// For a (k, m) and b (k, n).
    pub fn new((k, m, n): (usize, usize, usize), pool: &Pool<F>) -> Self {
        let tile = F::tile(n);
        let col_blocks: Vec<_> = parts(n, TN_COLS, tile.cols).collect();
        let parts_of_k = tn_parts(k, parts(m, TN_ROWS, tile.rows).count() * col_blocks.len());
        // Positions of a block are mostly of one part: more tasks than gemm_tn's.
        let most = m.div_ceil(LEAST_TASKS.div_ceil(col_blocks.len().max(1))).clamp(1, TN_ROWS);
        let tasks =
            parts(m, most, tile.rows).flat_map(|rows| col_blocks.iter().map(move |c| (rows.clone(), c.clone())));
        let tasks = tasks.collect();
        let sums = pool.zeros(parts_of_k.len() * m * n);
        Self { k, m, n, parts: parts_of_k, sums, tasks, done: 0, a: Vec::new(), b: Vec::new() }
    }

    /// Adds the next positions: rows of a (rows, m) and b (rows, n).
    ///
    /// # Panics
    /// When there are more than `k`, or the numbers of rows differ.
    pub fn add(&mut self, a: &[F], b: &[F], threads: Threads) {
        let rows = a.len() / self.m.max(1);
        assert_eq!((a.len(), b.len()), (rows * self.m, rows * self.n), "values of {rows} positions");
        let waiting = self.a.len() / self.m.max(1);
        assert!(self.done + waiting + rows <= self.k, "more than {} positions", self.k);
        let mut from = 0;
        if waiting > 0 {
            from = rows.min(self.end_of_call() - self.done - waiting);
            self.a.extend_from_slice(&a[..from * self.m]);
            self.b.extend_from_slice(&b[..from * self.n]);
            let (a, b) = (std::mem::take(&mut self.a), std::mem::take(&mut self.b));
            self.sum(&a, &b, threads);
            if from == rows {
                return;
            }
        }
        self.sum(&a[from * self.m..], &b[from * self.n..], threads);
    }

    /// Writes the sum to c (m, n).
    ///
    /// # Panics
    /// When positions are missing, or c is of another size.
    pub fn finish(self, c: MatMut<'_, F>) {
        assert_eq!(self.done, self.k, "positions that were added");
        assert_eq!((self.m, self.n), (c.rows, c.cols), "the result's size");
        if self.parts.is_empty() {
            c.data.chunks_mut(c.row_stride).take(c.rows).for_each(|row| row[..c.cols].fill(F::zero()));
        } else {
            let rows = 0..c.rows;
            add_parts(&self.sums, self.parts.len(), c, rows, Store::Overwrite);
        }
    }

    /// The part of the next position.
    fn part(&self) -> usize {
        self.parts.partition_point(|part| part.end <= self.done)
    }

    /// Where the kernel's call ends that the next position is in.
    fn end_of_call(&self) -> usize {
        let part = &self.parts[self.part()];
        part.end.min(self.done + tn_depth(part.len()))
    }

    /// Sums the positions of whole calls; the others wait. The first one begins a call.
    fn sum(&mut self, a: &[F], b: &[F], threads: Threads) {
        let rows = a.len() / self.m.max(1);
        let first = self.done;
        let end = first + rows;
        // Of each part, what is there: the part, its positions and those of a call.
        let mut pieces = Vec::new();
        while self.done < end {
            let (at, from) = (self.part(), self.done);
            let (part, depth) = (&self.parts[at], tn_depth(self.parts[at].len()));
            let to = if end >= part.end { part.end } else { end - (end - from) % depth };
            if to == from {
                break;
            }
            pieces.push((at, from..to, depth));
            self.done = to;
        }
        let (m, n) = (self.m, self.n);
        let (left, right) = (Mat::new(a, rows, m), Mat::new(b, rows, n));
        let tos: Vec<_> =
            self.sums.chunks_exact_mut((m * n).max(1)).map(|s| Shared::new(&mut MatMut::new(s, m, n))).collect();
        let (tasks, parts) = (&self.tasks, &self.parts);
        let each_task = |task: usize| {
            let (at, positions, depth) = &pieces[task / tasks.len()];
            let (rows, cols) = &tasks[task % tasks.len()];
            let add = positions.start > parts[*at].start;
            let positions = positions.start - first..positions.end - first;
            gemm_tn_block(left, &right, positions, *depth, (rows, cols), tos[*at], add);
        };
        threads.for_each("gemm_tn", pieces.len() * tasks.len(), &each_task);
        let used = self.done - first;
        self.a.extend_from_slice(&a[used * m..]);
        self.b.extend_from_slice(&b[used * n..]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{gemm_tn, matmul_naive};
    use super::*;
    use proptest::prelude::*;

    fn values<F: Scalar>(n: usize, by: f64) -> Vec<F> {
        (0..n).map(|i| F::of((i as f64 * by).sin())).collect()
    }

    /// Both sums, in bits as doubles, of positions in blocks of these sizes, in turns.
    fn both<F: Scalar>((k, m, n): (usize, usize, usize), blocks: &[usize]) -> (Vec<f64>, Vec<f64>) {
        let (a, b): (Vec<F>, Vec<F>) = (values(k * m, 0.7), values(k * n, 0.3));
        let pool = Pool::new();
        let (mut want, mut got) = (vec![F::nan(); m * n], vec![F::nan(); m * n]);
        let c = MatMut::new(&mut want, m, n);
        gemm_tn(Mat::new(&a, k, m), &Mat::new(&b, k, n), c, Store::Overwrite, Threads::All, &pool);
        let mut sum = BlockwiseTn::new((k, m, n), &pool);
        let mut at = 0;
        for size in blocks.iter().cycle() {
            let to = k.min(at + size);
            sum.add(&a[at * m..to * m], &b[at * n..to * n], Threads::All);
            at = to;
            if at == k {
                break;
            }
        }
        sum.finish(MatMut::new(&mut got, m, n));
        let wide = |v: Vec<F>| v.into_iter().map(Scalar::f64).collect();
        (wide(got), wide(want))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn has_the_bits_of_the_sum_at_once(
            k in 0usize..5000, m in 1usize..40, n in 1usize..40,
            blocks in prop::collection::vec(1usize..3000, 1..4),
        ) {
            let (got, want) = both::<f32>((k, m, n), &blocks);
            prop_assert_eq!(got, want);
            let (got, want) = both::<f64>((k.min(1500), m, n), &blocks);
            prop_assert_eq!(got, want);
        }
    }

    /// Sizes of probes, and blocks that end amid calls of the kernel and parts.
    #[test]
    fn wide_sums_have_the_bits_of_the_sum_at_once() {
        for (k, m, n) in [(9001, 512, 41), (5000, 1024, 10), (3000, 39, 251), (4000, 300, 600)] {
            for blocks in [&[1024][..], &[100], &[4096, 7], &[9001]] {
                let (got, want) = both::<f32>((k, m, n), blocks);
                assert!(got == want, "{k} {m} {n} {blocks:?}");
            }
        }
    }

    #[test]
    fn agrees_with_the_definition() {
        let (k, m, n) = (300, 5, 3);
        let (a, b): (Vec<f64>, Vec<f64>) = (values(k * m, 0.7), values(k * n, 0.3));
        let (got, _) = both::<f64>((k, m, n), &[77]);
        let want = matmul_naive(Mat::new(&a, k, m).t(), Mat::new(&b, k, n));
        assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-11));
    }
}
