//! Matrices in memory, and matrices that are written out block by block.

use std::ops::Range;

use super::prefetch;
use crate::Scalar;

/// A read-only matrix inside a slice. Rows may overlap (`row_stride < cols`): that is how a convolution becomes a product.
#[derive(Debug, Clone, Copy)]
pub struct Mat<'a, F> {
    pub(super) data: &'a [F],
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) row_stride: usize,
    pub(super) col_stride: usize,
}

impl<'a, F: Scalar> Mat<'a, F> {
    /// Row-major `(rows, cols)` without gaps.
    pub fn new(data: &'a [F], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows of `cols` values, one every `row_stride`.
    pub fn strided(data: &'a [F], rows: usize, cols: usize, row_stride: usize) -> Self {
        let need = if rows == 0 || cols == 0 { 0 } else { (rows - 1) * row_stride + cols };
        assert!(
            data.len() >= need,
            "matrix ({rows}, {cols}) with row stride {row_stride} needs {need} values, the slice has {}",
            data.len()
        );
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// The transpose, without moving anything.
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    /// `(rows, cols)`.
    pub fn dim(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Element at row `i`, column `j`.
    pub fn at(&self, i: usize, j: usize) -> F {
        self.data[i * self.row_stride + j * self.col_stride]
    }
}

/// What a product does with the values that are already in its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// `c = a·b`; old contents, NaN included, do not matter.
    Overwrite,
    /// `c += a·b`.
    Add,
}

/// A row-major destination: rows of `cols` values, one every `row_stride ≥ cols`.
#[derive(Debug)]
pub struct MatMut<'a, F> {
    pub(super) data: &'a mut [F],
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) row_stride: usize,
}

impl<'a, F: Scalar> MatMut<'a, F> {
    /// Row-major `(rows, cols)` without gaps.
    pub fn new(data: &'a mut [F], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows of `cols` values, one every `row_stride`; values between rows stay as they are.
    pub fn strided(data: &'a mut [F], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(row_stride >= cols, "rows of a destination must not overlap: {row_stride} < {cols}");
        let need = if rows == 0 || cols == 0 { 0 } else { (rows - 1) * row_stride + cols };
        assert!(
            data.len() >= need,
            "destination ({rows}, {cols}) with row stride {row_stride} needs {need} values, the slice has {}",
            data.len()
        );
        Self { data, rows, cols, row_stride }
    }
}

/// A matrix that can be written out block by block: values in memory, or windows of a convolution.
pub trait Rows<F>: Sync {
    /// `(rows, cols)`.
    fn dim(&self) -> (usize, usize);

    /// Writes the block `rows × cols` to `out`, one row every `stride` values.
    fn copy(&self, rows: Range<usize>, cols: Range<usize>, out: &mut [F], stride: usize);

    /// Prefetches values that `copy` will read soon. A hint: it may do nothing.
    fn prefetch(&self, _rows: Range<usize>, _cols: Range<usize>) {}
}

impl<F: Scalar> Rows<F> for Mat<'_, F> {
    fn dim(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    fn copy(&self, rows: Range<usize>, cols: Range<usize>, out: &mut [F], stride: usize) {
        if self.col_stride == 1 {
            for (row, to) in rows.zip(out.chunks_mut(stride)) {
                to[..cols.len()].copy_from_slice(&self.data[row * self.row_stride + cols.start..][..cols.len()]);
            }
        } else {
            for (row, to) in rows.zip(out.chunks_mut(stride)) {
                for (col, to) in cols.clone().zip(to) {
                    *to = self.at(row, col);
                }
            }
        }
    }

    fn prefetch(&self, rows: Range<usize>, cols: Range<usize>) {
        if self.col_stride == 1 {
            for row in rows {
                prefetch(&self.data[row * self.row_stride + cols.start..][..cols.len()]);
            }
        }
    }
}
