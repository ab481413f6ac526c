//! The right side of a product, packed in the order in which tiles read it.

use std::ops::Range;

use rayon::prelude::*;

use super::mat::Mat;
use super::{DEPTH, parts};
use crate::kernels::profile::Tasks;
use crate::{Buffer, Pool, Scalar};

/// Bytes of a cache line.
const LINE: usize = 64;

/// The right side of a [`gemm`], (depth, cols): strips as wide as a tile, block after block of the depth.
pub struct Packed<F: Scalar> {
    values: Buffer<F>,
    /// Index of the first value, at the beginning of a cache line.
    from: usize,
    depth: usize,
    cols: usize,
}

impl<F: Scalar> Packed<F> {
    /// Packs a matrix.
    pub fn new(b: Mat<'_, F>, pool: &Pool<F>) -> Self {
        if b.col_stride == 1 {
            Self::from_rows(b.rows, b.cols, |d| &b.data[d * b.row_stride..][..b.cols], pool)
        } else if b.row_stride == 1 {
            Self::pack(b.rows, b.cols, pool, |depths, cols, width, to| {
                // Eight columns at a time: values that will lie together are written together.
                for group in cols.clone().step_by(8) {
                    let column = |col: usize| &b.data[col * b.col_stride + depths.start..][..depths.len()];
                    let to = to[group - cols.start..].chunks_mut(width);
                    if group + 8 <= cols.end {
                        let from: [&[F]; 8] = std::array::from_fn(|j| column(group + j));
                        to.enumerate().for_each(|(d, to)| to[..8].copy_from_slice(&from.map(|from| from[d])));
                    } else {
                        to.enumerate()
                            .for_each(|(d, to)| (group..cols.end).zip(to).for_each(|(col, t)| *t = column(col)[d]));
                    }
                }
            })
        } else {
            unreachable!("a matrix is row-major, or the transpose of one that is")
        }
    }

    /// Packs the matrix whose row d is `row(d)`.
    pub fn from_rows<'a>(
        depth: usize,
        cols: usize,
        row: impl Fn(usize) -> &'a [F] + Sync + Send,
        pool: &Pool<F>,
    ) -> Self {
        Self::pack(depth, cols, pool, |depths, cols, width, to| {
            for (d, to) in depths.zip(to.chunks_exact_mut(width)) {
                to[..cols.len()].copy_from_slice(&row(d)[cols.clone()]);
            }
        })
    }

    /// `strip(depths, columns, width, to)` writes one strip of a block, one row every `width` values.
    fn pack(
        depth: usize,
        cols: usize,
        pool: &Pool<F>,
        strip: impl Fn(Range<usize>, Range<usize>, usize, &mut [F]) + Sync + Send,
    ) -> Self {
        let width = F::tile(cols).cols;
        let padded = cols.next_multiple_of(width);
        let mut values = pool.take(depth * padded + LINE / F::BYTES);
        let from = values.as_ptr().align_offset(LINE);
        let mut rest = &mut values[from..from + depth * padded];
        for depths in parts(depth, DEPTH, 8) {
            let (block, after) = rest.split_at_mut(depths.len() * padded);
            rest = after;
            block.par_chunks_mut((depths.len() * width).max(1)).enumerate().for_each_task("pack weights", |(i, to)| {
                let cols = i * width..cols.min((i + 1) * width);
                if cols.len() < width {
                    to.fill(F::zero());
                }
                strip(depths.clone(), cols, width, to);
            });
        }
        Self { values, from, depth, cols }
    }

    /// `(depth, cols)`.
    pub fn dim(&self) -> (usize, usize) {
        (self.depth, self.cols)
    }

    /// Number `strip` of the block at `depths`; none past the last one.
    pub(super) fn strip(&self, depths: &Range<usize>, strip: usize) -> &[F] {
        let width = F::tile(self.cols).cols;
        let padded = self.cols.next_multiple_of(width);
        let from = strip * depths.len() * width;
        let block = &self.values[self.from + depths.start * padded..][..depths.len() * padded];
        block.get(from..from + depths.len() * width).unwrap_or(&[])
    }
}

impl<F: Scalar> std::fmt::Debug for Packed<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed{:?}", self.dim())
    }
}
