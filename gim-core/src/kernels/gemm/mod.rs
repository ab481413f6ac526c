//! Matrix products, in parallel and bit-identical for any number of threads.
//!
//! Two shapes of product make up all of training. [`gemm`] has many rows on the left and weights on the right, which are
//! packed once ([`Packed`]) and shared; [`gemm_tn`] sums over positions, which are many, into weights. Both take the side with
//! many rows through [`Rows`], which writes a block of it next to its core: windows of a convolution are gathered there, and
//! nowhere else.
//!
//! How a product is cut into blocks depends on its shape alone, and where partial sums are added they are added in block
//! order, so the thread count never reaches the result.

mod blockwise;
mod mat;
mod pack;
mod tile;

use std::ops::Range;

use rayon::prelude::*;

pub use blockwise::BlockwiseTn;
pub use mat::{Mat, MatMut, Rows, Store};
pub use pack::Packed;
use tile::{LARGEST, LEFT_STRIDE, RunTile, TN_LEFT_STRIDE, TN_RIGHT_STRIDE};
pub use tile::{PORTABLE_F64, Tile, best_f32, prefetch};

use super::profile::{Kind, Tasks, timed};
use crate::{Pool, Scalar};

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
// SAFETY: as above; no task reads through the pointer what another thread writes.
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
/// Rows and columns of a task of [`gemm_tn`].
const TN_ROWS: usize = 256;
const TN_COLS: usize = 512;
/// Columns of the right side's block of [`gemm_tn`].
const TN_BLOCK: usize = 128;
/// Most parts that a small [`gemm_tn`] over many positions is cut into, and positions of a part.
const TN_PARTS: usize = 16;
const TN_PART: usize = 1024;
/// Positions of a block of [`gemm_tn`]: the strips of both sides that a tile reads stay in a first-level cache.
const TN_DEPTH: usize = 128;
/// Bytes of a right side up to which it stays in a second-level cache, and need not be asked for.
const NEAR_BYTES: usize = 1 << 18;

/// Ranges of at most `most` indices that `len` falls into, as equal as multiples of `unit` allow.
fn parts(len: usize, most: usize, unit: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let step = len.div_ceil(len.div_ceil(most).max(1)).next_multiple_of(unit).max(1);
    (0..len.div_ceil(step)).map(move |i| i * step..len.min((i + 1) * step))
}

/// `c = a·b` or `c += a·b` for `a (m, k)`, `b (k, n)`, `c (m, n)`; then `finish(row, first column, values)` for every part of
/// a row of `c` while it is hot: bias, nonlinearity, residual.
pub fn gemm<F: Scalar>(
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
                        unsafe { to.tile(tile, tile.gemm, (rows.start + i, col), size, sides, add) };
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
    timed(Kind::Gemm, (m, k, n), threads.count(tasks), || threads.for_each("gemm", tasks, &each_task));
}

/// `c = aᵀ·b` or `c += aᵀ·b` for `a (k, m)`, `b (k, n)`, `c (m, n)`: a sum over positions, as a weight's gradient is.
pub fn gemm_tn<F: Scalar>(
    a: Mat<'_, F>,
    b: &impl Rows<F>,
    c: MatMut<'_, F>,
    into: Store,
    threads: Threads,
    pool: &Pool<F>,
) {
    let rows = 0..c.rows;
    gemm_tn_rows(a, b, c, rows, into, threads, pool);
}

/// [`gemm_tn`] for these rows of `c` alone, with the bits that they have in the whole product. The other
/// rows are left as they are.
pub fn gemm_tn_rows<F: Scalar>(
    a: Mat<'_, F>,
    b: &impl Rows<F>,
    mut c: MatMut<'_, F>,
    own: Range<usize>,
    into: Store,
    threads: Threads,
    pool: &Pool<F>,
) {
    let ((k, m), (depth, n)) = (a.dim(), b.dim());
    assert_eq!(k, depth, "counts of positions differ: a {:?}, b {:?}", a.dim(), b.dim());
    assert_eq!((m, n), (c.rows, c.cols), "result {:?} for aᵀ, a {:?}, b {:?}", (c.rows, c.cols), a.dim(), b.dim());
    assert_eq!(a.col_stride, 1, "positions are rows of values that lie together");
    assert!(own.end <= m, "rows {own:?} of {m}");
    if own.is_empty() || n == 0 {
        return;
    }
    let tile = F::tile(n);
    let all_rows: Vec<_> = parts(m, TN_ROWS, tile.rows).collect();
    let col_blocks: Vec<_> = parts(n, TN_COLS, tile.cols).collect();
    // Where positions are cut follows from the whole product, whoever computes which rows of it.
    let parts = tn_parts(k, all_rows.len() * col_blocks.len());
    let within = |rows: Range<usize>| rows.start.max(own.start)..rows.end.min(own.end);
    let row_blocks: Vec<_> = all_rows.into_iter().map(within).filter(|rows| !rows.is_empty()).collect();
    let blocks = row_blocks.len() * col_blocks.len();
    let block = |task: usize| (&row_blocks[task / col_blocks.len()], &col_blocks[task % col_blocks.len()]);
    if parts.len() <= 1 {
        let to = Shared::new(&mut c);
        let each_task = |task| gemm_tn_block(a, b, 0..k, tn_depth(k), block(task), to, into == Store::Add);
        timed(Kind::GemmTn, (k, own.len(), n), threads.count(blocks), || {
            threads.for_each("gemm_tn", blocks, &each_task)
        });
        return;
    }
    // Each part sums into values of its own; then they are added in order.
    let mut sums = pool.take(parts.len() * m * n);
    let tos: Vec<_> = sums.chunks_exact_mut(m * n).map(|part| Shared::new(&mut MatMut::new(part, m, n))).collect();
    let each_task = |task: usize| {
        let (part, to) = (parts[task / blocks].clone(), tos[task / blocks]);
        let depth = tn_depth(part.len());
        gemm_tn_block(a, b, part, depth, block(task % blocks), to, false);
    };
    let tasks = parts.len() * blocks;
    timed(Kind::GemmTn, (k, own.len(), n), threads.count(tasks), || threads.for_each("gemm_tn", tasks, &each_task));
    add_parts(&sums, parts.len(), c, own, into);
}

/// The parts of `k` positions that [`gemm_tn`] sums one by one, where the result is cut into `blocks`.
fn tn_parts(k: usize, blocks: usize) -> Vec<Range<usize>> {
    let most = (TN_PARTS / blocks).clamp(1, k.div_ceil(TN_PART).max(1));
    parts(k, k.div_ceil(most).max(1), 8).collect()
}

/// Positions of a kernel's call in a part of `len` positions; the last call may have fewer.
fn tn_depth(len: usize) -> usize {
    parts(len, TN_DEPTH, 8).next().map_or(TN_DEPTH, |depths| depths.len())
}

/// These rows of c (m, n) = or += the sum of those of `parts` matrices, one after the other.
fn add_parts<F: Scalar>(sums: &[F], parts: usize, c: MatMut<'_, F>, rows: Range<usize>, into: Store) {
    let (m, n) = (c.rows, c.cols);
    for (row, to) in c.data.chunks_mut(c.row_stride).enumerate().take(rows.end).skip(rows.start) {
        for part in 0..parts {
            let from = &sums[(part * m + row) * n..][..n];
            if part == 0 && into == Store::Overwrite {
                to[..n].copy_from_slice(from);
            } else {
                to[..n].iter_mut().zip(from).for_each(|(t, f)| *t += *f);
            }
        }
    }
}

/// One task of [`gemm_tn`]: the sum over `positions` for some rows and columns, `depth` positions at a
/// time.
fn gemm_tn_block<F: Scalar>(
    a: Mat<'_, F>,
    b: &impl Rows<F>,
    positions: Range<usize>,
    depth: usize,
    (rows, cols): (&Range<usize>, &Range<usize>),
    to: Shared<F>,
    add: bool,
) {
    let tile = F::tile(b.dim().1);
    let most = positions.len().min(depth);
    // The last tile of a block reads past its last column.
    let (left_len, right_len) = (most * TN_LEFT_STRIDE, most * TN_RIGHT_STRIDE);
    if positions.is_empty() && !add {
        // SAFETY: this task has these rows and columns for itself.
        rows.clone().for_each(|row| unsafe { to.row(row, cols.clone()) }.fill(F::zero()));
    }
    F::with_scratch(left_len + right_len + tile.rows + tile.cols, |scratch| {
        let (left, right) = scratch.split_at_mut(left_len);
        let blocks: Vec<_> = parts(cols.len(), TN_BLOCK, tile.cols)
            .map(|block| cols.start + block.start..cols.start + block.end)
            .collect();
        for first in positions.clone().step_by(depth) {
            let add = add || first > positions.start;
            let depths = first..positions.end.min(first + depth);
            let after = depths.end..positions.end.min(depths.end + depths.len());
            a.copy(depths.clone(), rows.clone(), left, TN_LEFT_STRIDE);
            let tiles = |cols: &Range<usize>| cols.len().div_ceil(tile.cols) * rows.len().div_ceil(tile.rows);
            let mut left_ahead = Ahead::new(&a, (after.clone(), rows.clone()), tiles(cols));
            for (i, block) in blocks.iter().enumerate() {
                b.copy(depths.clone(), block.clone(), right, TN_RIGHT_STRIDE);
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
                        unsafe { to.tile(tile, tile.gemm_tn, (rows.start + i, col), size, sides, add) };
                    }
                }
            }
        }
    });
}

/// `c = a·b` or `c += a·b` for `a (m, k)`, `b (k, n)`, `c (m, n)`, on all threads: for products that are made once, of
/// matrices that lie in memory.
pub fn matmul<F: Scalar>(a: Mat<'_, F>, b: Mat<'_, F>, c: MatMut<'_, F>, into: Store, pool: &Pool<F>) {
    if a.col_stride != 1 && b.col_stride == 1 {
        gemm_tn(a.t(), &b, c, into, Threads::All, pool);
    } else {
        gemm(&a, &Packed::new(b, pool), c, into, |_, _, _| {}, Threads::All);
    }
}

/// GFLOP/s of the innermost kernel on all threads at once, on values in first-level caches: what a product can reach here.
pub fn peak_gflops<F: Scalar>() -> f64 {
    let rates: Vec<f64> = rayon::broadcast(|_| {
        // Clocks rise and fall: the best of several short rounds.
        (0..20).map(|_| kernel_gflops::<F>(2000)).fold(0.0, f64::max)
    });
    rates.iter().sum()
}

/// GFLOP/s of `rounds` runs of the innermost kernel on this thread, on sides that fit into a first-level cache of 32 KB.
fn kernel_gflops<F: Scalar>(rounds: usize) -> f64 {
    let tile = F::tile(usize::MAX);
    let a = vec![F::one(); tile.rows * LEFT_STRIDE];
    let b = vec![F::one(); tile.cols * TN_DEPTH];
    let mut c = vec![F::zero(); tile.rows * tile.cols];
    let from = std::time::Instant::now();
    for _ in 0..rounds {
        // SAFETY: `a`, `b` and `c` hold a whole tile of this depth.
        unsafe { (tile.gemm)(TN_DEPTH, a.as_ptr(), b.as_ptr(), c.as_mut_ptr(), tile.cols, false) };
        std::hint::black_box(&c);
    }
    2.0 * (rounds * tile.rows * tile.cols * TN_DEPTH) as f64 / from.elapsed().as_secs_f64() / 1e9
}

/// The definition, for tests: `c (m, n)` as a fresh vector.
pub fn matmul_naive<F: Scalar>(a: Mat<'_, F>, b: Mat<'_, F>) -> Vec<F> {
    let mut c = Vec::with_capacity(a.rows * b.cols);
    for i in 0..a.rows {
        for j in 0..b.cols {
            c.push((0..a.cols).map(|k| a.at(i, k) * b.at(k, j)).sum());
        }
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, by: f64) -> Vec<f32> {
        (0..n).map(|i| (i as f64 * by).sin() as f32).collect()
    }

    /// Replicas compute some rows each.
    #[test]
    fn rows_alone_have_the_bits_of_the_whole_product() {
        let pool = Pool::new();
        for (m, k, n) in [(1, 5, 3), (37, 300, 17), (200, 70, 130), (1000, 520, 40), (513, 8, 600)] {
            let (a, b) = (values(m * k, 0.7), values(k * n, 0.3));
            let packed = Packed::new(Mat::new(&b, k, n), &pool);
            let product = |rows: Range<usize>, into| {
                let mut c = values(rows.len() * n, 0.9);
                let a = Mat::new(&a[rows.start * k..rows.end * k], rows.len(), k);
                gemm(&a, &packed, MatMut::new(&mut c, rows.len(), n), into, |_, _, _| {}, Threads::All);
                c
            };
            let whole = product(0..m, Store::Overwrite);
            for rows in [0..m / 2, m / 2..m, m / 3..m / 3 + 1, m - 1..m] {
                assert!(product(rows.clone(), Store::Overwrite) == whole[rows.start * n..rows.end * n], "{m} {rows:?}");
            }
        }
    }

    #[test]
    fn rows_alone_have_the_bits_of_the_whole_sum() {
        let pool = Pool::new();
        for (k, m, n) in [(1, 1, 3), (3, 37, 17), (5000, 5, 40), (9001, 300, 41), (1500, 600, 700)] {
            let (a, b) = (values(k * m, 0.7), values(k * n, 0.3));
            let (a, b) = (Mat::new(&a, k, m), Mat::new(&b, k, n));
            for into in [Store::Overwrite, Store::Add] {
                let start = values(m * n, 0.9);
                let (mut whole, mut parts) = (start.clone(), start.clone());
                gemm_tn(a, &b, MatMut::new(&mut whole, m, n), into, Threads::All, &pool);
                let cuts = [0, m / 3, m / 2, m];
                for (i, rows) in cuts.windows(2).map(|cut| cut[0]..cut[1]).enumerate() {
                    pool.poison();
                    gemm_tn_rows(a, &b, MatMut::new(&mut parts, m, n), rows, into, Threads::All, &pool);
                    let after = cuts[i + 1] * n;
                    assert!(parts[after..] == start[after..], "rows of others change: {k} {m} {n}");
                }
                assert!(parts == whole, "{k} {m} {n} {into:?}");
            }
        }
    }
}
