//! Matrix products, in parallel and bit-identical for any number of threads.
//!
//! Two shapes of product make up all of training. [`product`] has many rows on the left and weights on the right, which are
//! packed once ([`Packed`]) and shared; [`outer`] sums over positions, which are many, into weights. Both take the side with
//! many rows through [`Rows`], which writes a block of it next to its core: windows of a convolution are gathered there, and
//! nowhere else.
//!
//! How a product is cut into blocks depends on its shape alone, and where partial sums are added they are added in block
//! order, so the thread count never reaches the result.

mod tile;

use std::ops::Range;

use rayon::prelude::*;

pub use tile::{PORTABLE_F64, Tile, best_f32};

use super::profile::{Kind, Tasks, timed};
use crate::{Buffer, Pool, Scalar};
pub use tile::prefetch;
use tile::{LARGEST, LEFT_STRIDE, OUTER_LEFT_STRIDE, OUTER_RIGHT_STRIDE, RunTile};

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

/// A matrix that can be written out block by block: numbers in memory, or windows of a convolution.
pub trait Rows<F>: Sync {
    /// `(rows, cols)`.
    fn dim(&self) -> (usize, usize);

    /// Writes the block `rows × cols` to `out`, one row every `stride` numbers.
    fn copy(&self, rows: Range<usize>, cols: Range<usize>, out: &mut [F], stride: usize);

    /// Asks the memory for these numbers, which `copy` will want soon. A hint: it may do nothing.
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

/// Blocks that will be wanted after the one at hand, asked for little by little while tiles are computed.
struct Ahead<'a, R> {
    source: &'a R,
    rows: Range<usize>,
    cols: Range<usize>,
    /// Rows to ask for per tile.
    step: usize,
}

impl<'a, R> Ahead<'a, R> {
    /// The block `rows × cols` of `source`, in `tiles` portions.
    fn new(source: &'a R, (rows, cols): (Range<usize>, Range<usize>), tiles: usize) -> Self {
        let step = rows.len().div_ceil(tiles.max(1));
        Self { source, rows, cols, step }
    }

    #[inline(always)]
    fn one_tile<F>(&mut self)
    where
        R: Rows<F>,
    {
        if !self.rows.is_empty() {
            let to = self.rows.end.min(self.rows.start + self.step);
            self.source.prefetch(self.rows.start..to, self.cols.clone());
            self.rows.start = to;
        }
    }
}

/// Who computes a product. The result is the same to the last bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// All threads, block by block.
    All,
    /// The caller's: it is one of many that are at work.
    This,
}

impl Threads {
    /// How many work on so many tasks.
    fn count(self, tasks: usize) -> usize {
        if self == Self::All { rayon::current_num_threads().min(tasks.max(1)) } else { 1 }
    }

    /// Not generic in `f`: every product has a closure of its own, and would be compiled with threads of its own.
    fn for_each(self, name: &'static str, tasks: usize, f: &(dyn Fn(usize) + Sync)) {
        if self == Self::All && tasks > 1 {
            (0..tasks).into_par_iter().for_each_task(name, f);
        } else {
            (0..tasks).for_each(f);
        }
    }
}

/// Destination handed to the threads, each of which writes blocks of its own.
#[derive(Debug)]
struct Shared<F> {
    at: *mut F,
    stride: usize,
    cols: usize,
}
impl<F> Clone for Shared<F> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<F> Copy for Shared<F> {}
// SAFETY: blocks given to different threads are disjoint, and the borrow of the destination outlives the parallel section.
unsafe impl<F: Send> Send for Shared<F> {}
// SAFETY: as above; nobody reads through the pointer what another thread writes.
unsafe impl<F: Send> Sync for Shared<F> {}

impl<F: Scalar> Shared<F> {
    fn new(c: &mut MatMut<'_, F>) -> Self {
        Self { at: c.data.as_mut_ptr(), stride: c.row_stride, cols: c.cols }
    }

    /// One tile at (row, col), of which `rows × cols` count.
    ///
    /// # Safety
    /// `left` and `right` must be readable for a whole tile of this depth; no other thread may be at the same tile.
    unsafe fn tile(
        self,
        tile: &Tile<F>,
        run: RunTile<F>,
        (row, col): (usize, usize),
        (rows, cols): (usize, usize),
        (depth, left, right): (usize, *const F, *const F),
        add: bool,
    ) {
        debug_assert!(rows > 0 && cols > 0 && col + cols <= self.cols);
        // SAFETY: (row, col) and what counts of the tile lie inside the destination, which `MatMut` checked.
        unsafe {
            let at = self.at.add(row * self.stride + col);
            if rows == tile.rows && cols == tile.cols {
                return run(depth, left, right, at, self.stride, add);
            }
            let mut whole = [F::zero(); LARGEST];
            run(depth, left, right, whole.as_mut_ptr(), tile.cols, false);
            for (i, from) in whole.chunks_exact(tile.cols).take(rows).enumerate() {
                let to = std::slice::from_raw_parts_mut(at.add(i * self.stride), cols);
                if add {
                    to.iter_mut().zip(from).for_each(|(t, f)| *t += *f);
                } else {
                    to.copy_from_slice(&from[..cols]);
                }
            }
        }
    }

    /// Columns of a row that one thread has for itself.
    ///
    /// # Safety
    /// The row and columns must lie inside the destination; no other thread may be at them.
    unsafe fn row<'a>(self, row: usize, cols: Range<usize>) -> &'a mut [F] {
        // SAFETY: the caller answers for the place.
        unsafe { std::slice::from_raw_parts_mut(self.at.add(row * self.stride + cols.start), cols.len()) }
    }
}

/// Depth of a block: the right side's strip of it stays in a first-level cache.
const DEPTH: usize = 256;
/// Rows of a block of the left side: with `DEPTH` columns it takes a fraction of a second-level cache. Whole tiles for all kernels.
const BLOCK_ROWS: usize = 96;
/// Columns of a task of a product: they share the left side's block.
const BLOCK_COLS: usize = 512;
/// Tasks that products with few rows are cut into, if they have the columns.
const LEAST_TASKS: usize = 16;
/// Rows and columns of a task of an outer product.
const OUTER_ROWS: usize = 256;
const OUTER_COLS: usize = 512;
/// Columns of the right side's block of an outer product.
const OUTER_BLOCK: usize = 128;
/// Most parts that a small outer product over many positions is cut into, and positions of a part.
const OUTER_PARTS: usize = 16;
const OUTER_PART: usize = 1024;
/// Positions of a block of an outer product: the strips of both sides that a tile reads stay in a first-level cache.
const OUTER_DEPTH: usize = 128;
/// Bytes of a right side up to which it stays in a second-level cache, and need not be asked for.
const NEAR_BYTES: usize = 1 << 18;
/// Bytes of a cache line.
const LINE: usize = 64;

/// Ranges of at most `most` numbers that `len` falls into, as equal as multiples of `unit` allow.
fn parts(len: usize, most: usize, unit: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let step = len.div_ceil(len.div_ceil(most).max(1)).next_multiple_of(unit).max(1);
    (0..len.div_ceil(step)).map(move |i| i * step..len.min((i + 1) * step))
}

/// The right side of a [`product`], (depth, cols): strips as wide as a tile, block after block of the depth.
pub struct Packed<F: Scalar> {
    numbers: Buffer<F>,
    /// The first number, at the beginning of a cache line.
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
                // Eight columns at a time: numbers that will lie together are written together.
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

    /// `strip(depths, columns, width, to)` writes one strip of a block, one row every `width` numbers.
    fn pack(
        depth: usize,
        cols: usize,
        pool: &Pool<F>,
        strip: impl Fn(Range<usize>, Range<usize>, usize, &mut [F]) + Sync + Send,
    ) -> Self {
        let width = F::tile(cols).cols;
        let padded = cols.next_multiple_of(width);
        let mut numbers = pool.take(depth * padded + LINE / F::BYTES);
        let from = numbers.as_ptr().align_offset(LINE);
        let mut rest = &mut numbers[from..from + depth * padded];
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
        Self { numbers, from, depth, cols }
    }

    /// `(depth, cols)`.
    pub fn dim(&self) -> (usize, usize) {
        (self.depth, self.cols)
    }

    /// Number `strip` of the block at `depths`; none past the last one.
    fn strip(&self, depths: &Range<usize>, strip: usize) -> &[F] {
        let width = F::tile(self.cols).cols;
        let padded = self.cols.next_multiple_of(width);
        let from = strip * depths.len() * width;
        let block = &self.numbers[self.from + depths.start * padded..][..depths.len() * padded];
        block.get(from..from + depths.len() * width).unwrap_or(&[])
    }
}

impl<F: Scalar> std::fmt::Debug for Packed<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed{:?}", self.dim())
    }
}

/// `c = a·b` or `c += a·b` for `a (m, k)`, `b (k, n)`, `c (m, n)`; then `finish(row, first column, numbers)` for every part of
/// a row of `c` while it is hot: bias, nonlinearity, residual.
pub fn product<F: Scalar>(
    a: &impl Rows<F>,
    b: &Packed<F>,
    mut c: MatMut<'_, F>,
    into: Store,
    finish: impl Fn(usize, usize, &mut [F]) + Sync,
    threads: Threads,
) {
    let ((m, k), (depth, n)) = (a.dim(), b.dim());
    assert_eq!(k, depth, "inner sizes differ: a {:?}, b {:?}", a.dim(), b.dim());
    assert_eq!((m, n), (c.rows, c.cols), "result {:?} for a {:?}, b {:?}", (c.rows, c.cols), a.dim(), b.dim());
    if m == 0 || n == 0 {
        return;
    }
    let tile = &F::tile(n).for_rows(m);
    let to = Shared::new(&mut c);
    let far = k * n * F::BYTES > NEAR_BYTES;
    let row_blocks: Vec<_> = parts(m, BLOCK_ROWS, tile.rows).collect();
    let wanted = LEAST_TASKS.div_ceil(row_blocks.len());
    let widest = BLOCK_COLS.min(n.div_ceil(wanted).max(2 * tile.cols));
    let col_blocks: Vec<_> = parts(n, widest, tile.cols).collect();
    let each_task = |task: usize| {
        let (rows, cols) = (&row_blocks[task / col_blocks.len()], &col_blocks[task % col_blocks.len()]);
        if k == 0 && into == Store::Overwrite {
            // SAFETY: this task has these rows and columns for itself.
            rows.clone().for_each(|row| unsafe { to.row(row, cols.clone()) }.fill(F::zero()));
        }
        F::with_scratch(rows.len().next_multiple_of(tile.rows) * LEFT_STRIDE, |block| {
            let mut depth_blocks = parts(k, DEPTH, 8).peekable();
            let first = depth_blocks.peek().cloned().unwrap_or(0..0);
            while let Some(depths) = depth_blocks.next() {
                a.copy(rows.clone(), depths.clone(), block, LEFT_STRIDE);
                let next = match depth_blocks.peek() {
                    Some(depths) => (rows.clone(), depths.clone()),
                    None => (rows.end..m.min(rows.end + rows.len()), first.clone()),
                };
                let tiles = cols.len().div_ceil(tile.cols) * rows.len().div_ceil(tile.rows);
                let mut ahead = Ahead::new(a, next, tiles);
                let portion = (depths.len() * tile.cols).div_ceil(rows.len().div_ceil(tile.rows));
                let add = depths.start > 0 || into == Store::Add;
                for col in cols.clone().step_by(tile.cols) {
                    let right = b.strip(&depths, col / tile.cols).as_ptr();
                    let next_strip = if far { b.strip(&depths, col / tile.cols + 1) } else { &[] };
                    let mut next_strip = next_strip.chunks(portion);
                    for i in (0..rows.len()).step_by(tile.rows) {
                        let size = (tile.rows.min(rows.len() - i), tile.cols.min(cols.end - col));
                        let sides = (depths.len(), block[i * LEFT_STRIDE..].as_ptr(), right);
                        ahead.one_tile();
                        prefetch(next_strip.next().unwrap_or(&[]));
                        // SAFETY: the block holds whole tiles of rows, the strip whole rows of a tile; tasks are disjoint.
                        unsafe { to.tile(tile, tile.product, (rows.start + i, col), size, sides, add) };
                    }
                }
            }
        });
        for row in rows.clone() {
            // SAFETY: this task has these rows and columns for itself.
            finish(row, cols.start, unsafe { to.row(row, cols.clone()) });
        }
    };
    let tasks = row_blocks.len() * col_blocks.len();
    timed(Kind::Product, (m, k, n), threads.count(tasks), || threads.for_each("product", tasks, &each_task));
}

/// `c = aᵀ·b` or `c += aᵀ·b` for `a (k, m)`, `b (k, n)`, `c (m, n)`: a sum over positions, as a weight's gradient is.
pub fn outer<F: Scalar>(
    a: Mat<'_, F>,
    b: &impl Rows<F>,
    mut c: MatMut<'_, F>,
    into: Store,
    threads: Threads,
    pool: &Pool<F>,
) {
    let ((k, m), (depth, n)) = (a.dim(), b.dim());
    assert_eq!(k, depth, "numbers of positions differ: a {:?}, b {:?}", a.dim(), b.dim());
    assert_eq!((m, n), (c.rows, c.cols), "result {:?} for aᵀ, a {:?}, b {:?}", (c.rows, c.cols), a.dim(), b.dim());
    assert_eq!(a.col_stride, 1, "positions are rows of numbers that lie together");
    if m == 0 || n == 0 {
        return;
    }
    let tile = F::tile(n);
    let row_blocks: Vec<_> = parts(m, OUTER_ROWS, tile.rows).collect();
    let col_blocks: Vec<_> = parts(n, OUTER_COLS, tile.cols).collect();
    let blocks = row_blocks.len() * col_blocks.len();
    let depth_parts = (OUTER_PARTS / blocks).clamp(1, k.div_ceil(OUTER_PART).max(1));
    let block = |task: usize| (&row_blocks[task / col_blocks.len()], &col_blocks[task % col_blocks.len()]);
    if depth_parts == 1 {
        let to = Shared::new(&mut c);
        let each_task = |task| outer_block(a, b, 0..k, block(task), to, into == Store::Add);
        timed(Kind::Outer, (k, m, n), threads.count(blocks), || {
            threads.for_each("sum of products", blocks, &each_task)
        });
        return;
    }
    // Each part sums into numbers of its own; then they are added in order.
    let mut sums = pool.take(depth_parts * m * n);
    let parts: Vec<_> = parts(k, k.div_ceil(depth_parts), 8).collect();
    let tos: Vec<_> =
        sums.chunks_exact_mut(m * n).take(parts.len()).map(|part| Shared::new(&mut MatMut::new(part, m, n))).collect();
    let each_task = |task: usize| {
        outer_block(a, b, parts[task / blocks].clone(), block(task % blocks), tos[task / blocks], false);
    };
    let tasks = parts.len() * blocks;
    timed(Kind::Outer, (k, m, n), threads.count(tasks), || threads.for_each("sum of products", tasks, &each_task));
    for (row, to) in c.data.chunks_mut(c.row_stride).take(m).enumerate() {
        for part in 0..parts.len() {
            let from = &sums[(part * m + row) * n..][..n];
            if part == 0 && into == Store::Overwrite {
                to[..n].copy_from_slice(from);
            } else {
                to[..n].iter_mut().zip(from).for_each(|(t, f)| *t += *f);
            }
        }
    }
}

/// One task of [`outer`]: the sum over `positions` for some rows and columns.
fn outer_block<F: Scalar>(
    a: Mat<'_, F>,
    b: &impl Rows<F>,
    positions: Range<usize>,
    (rows, cols): (&Range<usize>, &Range<usize>),
    to: Shared<F>,
    add: bool,
) {
    let tile = F::tile(b.dim().1);
    let most = positions.len().min(OUTER_DEPTH);
    // The last tile of a block reads past its last column.
    let (left_len, right_len) = (most * OUTER_LEFT_STRIDE, most * OUTER_RIGHT_STRIDE);
    if positions.is_empty() && !add {
        // SAFETY: this task has these rows and columns for itself.
        rows.clone().for_each(|row| unsafe { to.row(row, cols.clone()) }.fill(F::zero()));
    }
    F::with_scratch(left_len + right_len + tile.rows + tile.cols, |scratch| {
        let (left, right) = scratch.split_at_mut(left_len);
        let blocks: Vec<_> = parts(cols.len(), OUTER_BLOCK, tile.cols)
            .map(|block| cols.start + block.start..cols.start + block.end)
            .collect();
        for depths in parts(positions.len(), OUTER_DEPTH, 8) {
            let add = add || depths.start > 0;
            let depths = positions.start + depths.start..positions.start + depths.end;
            let after = depths.end..positions.end.min(depths.end + depths.len());
            a.copy(depths.clone(), rows.clone(), left, OUTER_LEFT_STRIDE);
            let tiles = |cols: &Range<usize>| cols.len().div_ceil(tile.cols) * rows.len().div_ceil(tile.rows);
            let mut left_ahead = Ahead::new(&a, (after.clone(), rows.clone()), tiles(cols));
            for (i, block) in blocks.iter().enumerate() {
                b.copy(depths.clone(), block.clone(), right, OUTER_RIGHT_STRIDE);
                let next = match blocks.get(i + 1) {
                    Some(block) => (depths.clone(), block.clone()),
                    None => (after.clone(), blocks[0].clone()),
                };
                let mut right_ahead = Ahead::new(b, next, tiles(block));
                for col in block.clone().step_by(tile.cols) {
                    let right = right[col - block.start..].as_ptr();
                    for i in (0..rows.len()).step_by(tile.rows) {
                        let size = (tile.rows.min(rows.len() - i), tile.cols.min(block.end - col));
                        let sides = (depths.len(), left[i..].as_ptr(), right);
                        left_ahead.one_tile();
                        right_ahead.one_tile();
                        // SAFETY: both blocks hold whole tiles at every position; tasks are disjoint.
                        unsafe { to.tile(tile, tile.outer, (rows.start + i, col), size, sides, add) };
                    }
                }
            }
        }
    });
}

/// `c = a·b` or `c += a·b` for `a (m, k)`, `b (k, n)`, `c (m, n)`, on all threads: for products that are made once, of
/// matrices that lie in memory.
pub fn gemm<F: Scalar>(a: Mat<'_, F>, b: Mat<'_, F>, c: MatMut<'_, F>, into: Store, pool: &Pool<F>) {
    if a.col_stride != 1 && b.col_stride == 1 {
        outer(a.t(), &b, c, into, Threads::All, pool);
    } else {
        product(&a, &Packed::new(b, pool), c, into, |_, _, _| {}, Threads::All);
    }
}

/// GFLOP/s of `rounds` runs of the innermost kernel on this thread, on sides that fit into a first-level cache of 32 KB.
pub(super) fn kernel_gflops<F: Scalar>(rounds: usize) -> f64 {
    let tile = F::tile(usize::MAX);
    let a = vec![F::one(); tile.rows * LEFT_STRIDE];
    let b = vec![F::one(); tile.cols * OUTER_DEPTH];
    let mut c = vec![F::zero(); tile.rows * tile.cols];
    let from = std::time::Instant::now();
    for _ in 0..rounds {
        // SAFETY: `a`, `b` and `c` hold a whole tile of this depth.
        unsafe { (tile.product)(OUTER_DEPTH, a.as_ptr(), b.as_ptr(), c.as_mut_ptr(), tile.cols, false) };
        std::hint::black_box(&c);
    }
    2.0 * (rounds * tile.rows * tile.cols * OUTER_DEPTH) as f64 / from.elapsed().as_secs_f64() / 1e9
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
