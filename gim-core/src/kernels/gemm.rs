//! Matrix products, in parallel and bit-identical for any number of threads.
//!
//! The crate `gemm` multiplies one block on one thread. How a product is cut into blocks depends on its shape alone, and where
//! partial sums are added they are added in block order, so the thread count never reaches the result.

use rayon::prelude::*;

use crate::{Pool, Scalar};

/// A read-only matrix inside a slice. Rows may overlap (`row_stride < cols`): that is how a convolution becomes a product.
#[derive(Debug, Clone, Copy)]
pub struct Mat<'a, F> {
    data: &'a [F],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, F: Scalar> Mat<'a, F> {
    /// Row-major `(rows, cols)` without gaps.
    pub fn new(data: &'a [F], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows of `cols` numbers, one every `row_stride`.
    pub fn strided(data: &'a [F], rows: usize, cols: usize, row_stride: usize) -> Self {
        let need = if rows == 0 || cols == 0 { 0 } else { (rows - 1) * row_stride + cols };
        assert!(
            data.len() >= need,
            "matrix ({rows}, {cols}) with row stride {row_stride} needs {need} numbers, the slice has {}",
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

    fn block(self, rows: std::ops::Range<usize>, cols: std::ops::Range<usize>) -> Self {
        debug_assert!(rows.end <= self.rows && cols.end <= self.cols);
        Self {
            data: &self.data[rows.start * self.row_stride + cols.start * self.col_stride..],
            rows: rows.len(),
            cols: cols.len(),
            ..self
        }
    }
}

/// What a product does with the numbers that are already in its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// `c = a·b`; old contents, NaN included, do not matter.
    Overwrite,
    /// `c += a·b`.
    Add,
}

/// A row-major destination: rows of `cols` numbers, one every `row_stride ≥ cols`.
#[derive(Debug)]
pub struct MatMut<'a, F> {
    data: &'a mut [F],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl<'a, F: Scalar> MatMut<'a, F> {
    /// Row-major `(rows, cols)` without gaps.
    pub fn new(data: &'a mut [F], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows of `cols` numbers, one every `row_stride`; numbers between rows stay as they are.
    pub fn strided(data: &'a mut [F], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(row_stride >= cols, "rows of a destination must not overlap: {row_stride} < {cols}");
        let need = if rows == 0 || cols == 0 { 0 } else { (rows - 1) * row_stride + cols };
        assert!(
            data.len() >= need,
            "destination ({rows}, {cols}) with row stride {row_stride} needs {need} numbers, the slice has {}",
            data.len()
        );
        Self { data, rows, cols, row_stride }
    }
}

/// Destination handed to the threads, each of which writes a block of its own.
#[derive(Clone, Copy)]
struct Shared<F>(*mut F);
// SAFETY: blocks given to different threads are disjoint, and the borrow of the destination outlives the parallel section.
unsafe impl<F: Send> Send for Shared<F> {}
// SAFETY: as above; nobody reads through the pointer while it is shared.
unsafe impl<F: Send> Sync for Shared<F> {}
impl<F> Shared<F> {
    // A method, so that closures capture the wrapper and not the bare pointer.
    fn get(self) -> *mut F {
        self.0
    }
}

/// Multiply-adds below which a product is not worth handing out.
const SMALL: usize = 1 << 18;
/// Blocks a large product is cut into. More would balance more threads, but each packs its operands again.
const BLOCKS: usize = 4;
/// Least rows or columns of a block.
const LEAST: usize = 64;
/// Depth from which a product with a small result is cut along its depth.
const DEEP: usize = 2048;

fn block_len(len: usize, blocks: usize) -> usize {
    // A multiple of 16: whole register tiles for all kernels.
    len.div_ceil(blocks).max(LEAST).next_multiple_of(16)
}

fn check_shapes<F: Scalar>(a: Mat<'_, F>, b: Mat<'_, F>, c: &MatMut<'_, F>) {
    assert_eq!(a.cols, b.rows, "inner sizes differ: a {:?}, b {:?}", a.dim(), b.dim());
    let got = (c.rows, c.cols);
    assert_eq!((a.rows, b.cols), got, "result {got:?} for a {:?}, b {:?}", a.dim(), b.dim());
}

/// `c = a·b` or `c += a·b` for `a (m, k)`, `b (k, n)`, `c (m, n)`.
///
/// Small results of great depth (weight gradients) are computed as partial sums in `pool`, added in order.
pub fn gemm<F: Scalar>(a: Mat<'_, F>, b: Mat<'_, F>, c: MatMut<'_, F>, into: Store, pool: &Pool<F>) {
    check_shapes(a, b, &c);
    let (m, k, n) = (a.rows, a.cols, b.cols);
    if m == 0 || n == 0 {
        return;
    }
    let dst = Shared(c.data.as_mut_ptr());
    let stride = c.row_stride;
    if m * n * k < SMALL {
        // SAFETY: `c` is exclusively borrowed and holds (m, n) at this stride, as `MatMut` checked.
        unsafe { block(a, b, dst.get(), stride, into) };
        return;
    }
    let (step_m, step_n) = (block_len(m, BLOCKS), block_len(n, BLOCKS));
    if k >= DEEP && m.div_ceil(step_m).max(n.div_ceil(step_n)) < BLOCKS {
        deep(a, b, dst, stride, into, pool);
    } else if m >= n || m.div_ceil(step_m) >= BLOCKS {
        (0..m.div_ceil(step_m)).into_par_iter().for_each(|i| {
            let rows = i * step_m..m.min((i + 1) * step_m);
            // SAFETY: rows of different blocks are disjoint.
            unsafe { block(a.block(rows.clone(), 0..k), b, dst.get().add(rows.start * stride), stride, into) };
        });
    } else {
        (0..n.div_ceil(step_n)).into_par_iter().for_each(|j| {
            let cols = j * step_n..n.min((j + 1) * step_n);
            // SAFETY: columns of different blocks are disjoint.
            unsafe { block(a, b.block(0..k, cols.clone()), dst.get().add(cols.start), stride, into) };
        });
    }
}

/// As [`gemm`], on this thread alone: for callers that are parallel themselves.
pub fn gemm_here<F: Scalar>(a: Mat<'_, F>, b: Mat<'_, F>, c: MatMut<'_, F>, into: Store) {
    check_shapes(a, b, &c);
    if c.rows > 0 && c.cols > 0 {
        // SAFETY: `c` is exclusively borrowed and holds its rows at its stride, as `MatMut` checked.
        unsafe { block(a, b, c.data.as_mut_ptr(), c.row_stride, into) };
    }
}

/// Cut along the depth: block `i` sums its part into a buffer of its own, then the buffers are added in order.
fn deep<F: Scalar>(a: Mat<'_, F>, b: Mat<'_, F>, dst: Shared<F>, stride: usize, into: Store, pool: &Pool<F>) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    let step = block_len(k, BLOCKS);
    let blocks = k.div_ceil(step);
    let mut parts = pool.take(blocks * m * n);
    parts.par_chunks_mut(m * n).enumerate().for_each(|(i, part)| {
        let depth = i * step..k.min((i + 1) * step);
        let (a, b) = (a.block(0..m, depth.clone()), b.block(depth, 0..n));
        // SAFETY: `part` is exclusively borrowed and holds (m, n).
        unsafe { block(a, b, part.as_mut_ptr(), n, Store::Overwrite) };
    });
    (0..m).into_par_iter().with_min_len(64).for_each(|row| {
        // SAFETY: each row of the destination is visited by one thread.
        let out = unsafe { std::slice::from_raw_parts_mut(dst.get().add(row * stride), n) };
        for i in 0..blocks {
            let part = &parts[(i * m + row) * n..][..n];
            if i == 0 && into == Store::Overwrite {
                out.copy_from_slice(part);
            } else {
                out.iter_mut().zip(part).for_each(|(o, p)| *o += *p);
            }
        }
    });
}

/// One block on this thread.
///
/// # Safety
/// `dst` must be valid for writes (and, for `Add`, reads) of `a.rows` rows of `b.cols` numbers, one every `stride`.
unsafe fn block<F: Scalar>(a: Mat<'_, F>, b: Mat<'_, F>, dst: *mut F, stride: usize, into: Store) {
    let beta = if into == Store::Add { F::one() } else { F::zero() };
    // SAFETY: the caller answers for `dst`; `Mat` checked that (rows, cols) lie inside its slice at its strides.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            dst,
            1,
            stride as isize,
            into == Store::Add,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            beta,
            F::one(),
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// The definition, for tests: `c (m, n)` as a fresh vector.
pub fn gemm_naive<F: Scalar>(a: Mat<'_, F>, b: Mat<'_, F>) -> Vec<F> {
    let mut c = Vec::with_capacity(a.rows * b.cols);
    for i in 0..a.rows {
        for j in 0..b.cols {
            c.push((0..a.cols).map(|k| a.at(i, k) * b.at(k, j)).sum());
        }
    }
    c
}
