//! Winograd's minimal filtering for convolutions along time whose kernel is twice as long as their
//! stride: two outputs take three matrix products instead of four.
//!
//! Output j of such a convolution sees two blocks of one stride each: y_j = x_j·U + x_{j+1}·V.
//! Neighboring outputs share a block (Winograd 1980, F(2, 2)):
//!
//! ```text
//! shared = x_1·(U + V)        y_0 = (x_0 − x_1)·U + shared        y_1 = (x_2 − x_1)·V + shared
//! ∂U = (x_0 − x_1)ᵀ·∂y_0 + both        ∂V = (x_2 − x_1)ᵀ·∂y_1 + both        both = x_1ᵀ·(∂y_0 + ∂y_1)
//! ```
//!
//! All of the paper's convolutions and the gradients of their inputs are of this kind. The first
//! one's blocks have only 5 values, so that differences would cost more than they save
//! ([`LEAST_BLOCK`]).

use std::ops::Range;

use gim_core::kernels::gemm::{Mat, MatMut, Packed, Rows, Store, Threads, gemm, gemm_tn_rows, prefetch};
use gim_core::kernels::profile::Tasks;
use gim_core::kernels::vector::add_scaled;
use gim_core::{Buffer, Pool, Scalar};
use rayon::prelude::*;

/// Smallest number of values in a block for which the shared product saves more than the
/// differences cost.
pub(crate) const LEAST_BLOCK: usize = 64;
/// Rows in a task of the element-wise passes.
const ROWS: usize = 64;

/// Every other pair of neighboring blocks, subtracted: row i is block 2i + `plus` minus block 2i +
/// 1.
struct Differences<'a, F> {
    x: &'a [F],
    block: usize,
    plus: usize,
    pairs: usize,
}

impl<F: Scalar> Differences<'_, F> {
    fn sides(&self, row: usize, cols: &Range<usize>) -> [&[F]; 2] {
        [2 * row + self.plus, 2 * row + 1].map(|i| &self.x[i * self.block..][..self.block][cols.clone()])
    }
}

impl<F: Scalar> Rows<F> for Differences<'_, F> {
    fn dim(&self) -> (usize, usize) {
        (self.pairs, self.block)
    }

    fn copy(&self, rows: Range<usize>, cols: Range<usize>, out: &mut [F], stride: usize) {
        for (row, to) in rows.zip(out.chunks_mut(stride)) {
            let [a, b] = self.sides(row, &cols);
            to.iter_mut().zip(a).zip(b).for_each(|((to, a), b)| *to = *a - *b);
        }
    }

    fn prefetch(&self, rows: Range<usize>, cols: Range<usize>) {
        rows.for_each(|row| self.sides(row, &cols).into_iter().for_each(prefetch));
    }
}

/// The blocks that two outputs share: every other one, from the second on.
fn shared<F: Scalar>(x: &[F], block: usize, pairs: usize) -> Mat<'_, F> {
    Mat::strided(x.get(block..).unwrap_or(&[]), pairs, block, 2 * block)
}

/// rows (n, 2·`half`) → to (n, `half`): the sum of both halves of each row.
fn add_halves<F: Scalar>(rows: &[F], half: usize, to: &mut [F]) {
    (to.par_chunks_mut(ROWS * half), rows.par_chunks(2 * ROWS * half)).into_par_iter().for_each_task(
        "sums of halves",
        |(to, rows)| {
            for (to, row) in to.chunks_exact_mut(half).zip(rows.chunks_exact(2 * half)) {
                let (a, b) = row.split_at(half);
                to.iter_mut().zip(a).zip(b).for_each(|((to, a), b)| *to = *a + *b);
            }
        },
    );
}

/// U, V and U + V, packed for products with blocks.
pub(crate) struct WinogradWeights<F: Scalar> {
    first: Packed<F>,
    second: Packed<F>,
    sum: Packed<F>,
    block: usize,
    cols: usize,
}

impl<F: Scalar> WinogradWeights<F> {
    /// Packs weights (cols, 2·block), as layers store them.
    pub(crate) fn of_columns(weight: &[F], cols: usize, pool: &Pool<F>) -> Self {
        let block = weight.len() / cols / 2;
        let mut sum = pool.take(cols * block);
        add_halves(weight, block, &mut sum);
        let half = |from| Packed::new(Mat::strided(&weight[from..], cols, block, 2 * block).t(), pool);
        Self {
            first: half(0),
            second: half(block),
            sum: Packed::new(Mat::new(&sum, cols, block).t(), pool),
            block,
            cols,
        }
    }

    /// Packs weights (2·block, cols).
    pub(crate) fn of_rows(weight: &[F], cols: usize, pool: &Pool<F>) -> Self {
        let block = weight.len() / cols / 2;
        let (u, v) = weight.split_at(block * cols);
        let mut sum: Buffer<F> = pool.take(block * cols);
        sum.copy_from_slice(u);
        add_scaled(&mut sum, F::one(), v);
        let packed = |w| Packed::new(Mat::new(w, block, cols), pool);
        Self { first: packed(u), second: packed(v), sum: packed(&sum), block, cols }
    }

    /// `y (rows, cols)`, y_j = x_j·U + x_{j+1}·V, for the `rows + 1` blocks at the beginning of `x`; then `finish` as for
    /// [`product`].
    pub(crate) fn gemm(
        &self,
        x: &[F],
        rows: usize,
        y: &mut [F],
        into: Store,
        finish: impl Fn(usize, usize, &mut [F]) + Sync,
        pool: &Pool<F>,
    ) {
        let Self { block, cols, .. } = *self;
        let pairs = rows / 2;
        let mut both = pool.take(pairs * cols);
        let to = MatMut::new(&mut both, pairs, cols);
        gemm(&shared(x, block, pairs), &self.sum, to, Store::Overwrite, |_, _, _| {}, Threads::All);
        for (odd, weight) in [(0, &self.first), (1, &self.second)] {
            let own = Differences { x, block, plus: 2 * odd, pairs };
            let to = MatMut::strided(y.get_mut(odd * cols..).unwrap_or(&mut []), pairs, cols, 2 * cols);
            let add_shared = |row: usize, col: usize, y: &mut [F]| {
                y.iter_mut().zip(&both[row * cols + col..]).for_each(|(y, both)| *y += *both);
                finish(2 * row + odd, col, y);
            };
            gemm(&own, weight, to, into, add_shared, Threads::All);
        }
        if rows % 2 == 1 {
            let (x, last) = (&x[(rows - 1) * block..], &mut y[(rows - 1) * cols..][..cols]);
            let left = |block_of: usize| Mat::new(&x[block_of * block..], 1, block);
            gemm(&left(0), &self.first, MatMut::new(last, 1, cols), into, |_, _, _| {}, Threads::All);
            let finish = |_, col, y: &mut [F]| finish(rows - 1, col, y);
            gemm(&left(1), &self.second, MatMut::new(last, 1, cols), Store::Add, finish, Threads::All);
        }
    }
}

/// Adds the gradients of U and V to `grad (cols, 2·block)`, from `dy (rows, cols)` and the
/// `rows + 1` blocks of `x`. Only the columns `own` get theirs.
pub(crate) fn outer_of_two<F: Scalar>(
    x: &[F],
    dy: &[F],
    (rows, cols): (usize, usize),
    own: Range<usize>,
    grad: &mut [F],
    pool: &Pool<F>,
) {
    let block = grad.len() / cols / 2;
    let pairs = rows / 2;
    let mut sums = pool.take(pairs * cols);
    add_halves(&dy[..2 * pairs * cols], cols, &mut sums);
    let mut both = pool.take(cols * block);
    let to = MatMut::new(&mut both, cols, block);
    let (from, blocks) = (Mat::new(&sums, pairs, cols), shared(x, block, pairs));
    gemm_tn_rows(from, &blocks, to, own.clone(), Store::Overwrite, Threads::All, pool);
    for odd in [0, 1] {
        let dy = Mat::strided(dy.get(odd * cols..).unwrap_or(&[]), pairs, cols, 2 * cols);
        let differences = Differences { x, block, plus: 2 * odd, pairs };
        let to = MatMut::strided(&mut grad[odd * block..], cols, block, 2 * block);
        gemm_tn_rows(dy, &differences, to, own.clone(), Store::Add, Threads::All, pool);
    }
    let grads_of_own = &mut grad[2 * block * own.start..2 * block * own.end];
    (grads_of_own.par_chunks_mut(2 * block), both[block * own.start..block * own.end].par_chunks(block))
        .into_par_iter()
        .for_each_task("shared gradients of blocks", |(to, row)| {
            to.chunks_exact_mut(block).for_each(|to| add_scaled(to, F::one(), row))
        });
    if rows % 2 == 1 {
        let last = Mat::new(&dy[(rows - 1) * cols..][..cols], 1, cols);
        let window = Mat::new(&x[(rows - 1) * block..], 1, 2 * block);
        gemm_tn_rows(last, &window, MatMut::new(grad, cols, 2 * block), own, Store::Add, Threads::All, pool);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gim_core::kernels::gemm::matmul_naive;
    use gim_core::testing::uniform;
    use gim_core::testing::vectors::farthest;
    use proptest::prelude::*;

    /// Largest distance to plain sums over windows, in products with both arrangements of the
    /// weights and in gradients.
    fn errors<F: Scalar>(rows: usize, block: usize, cols: usize, seed: u64) -> [f64; 3] {
        let pool = Pool::<F>::new();
        let numbers = |n: usize, s: u64| uniform(n, seed + s).into_iter().map(F::of).collect::<Vec<F>>();
        let x = numbers((rows + 1) * block, 1);
        let (weight, start, dy) = (numbers(cols * 2 * block, 2), numbers(rows * cols, 3), numbers(rows * cols, 4));
        let wide = |v: &[F]| v.iter().map(|v| v.f64()).collect::<Vec<f64>>();
        let (exact_x, exact_dy, exact_w) = (wide(&x), wide(&dy), wide(&weight));
        let windows = Mat::strided(&exact_x, rows, 2 * block, block);

        let mut y = vec![F::nan(); rows * cols];
        let negate = |_: usize, _: usize, y: &mut [F]| y.iter_mut().for_each(|y| *y = -*y);
        WinogradWeights::of_columns(&weight, cols, &pool).gemm(&x, rows, &mut y, Store::Overwrite, negate, &pool);
        let want = matmul_naive(windows, Mat::new(&exact_w, cols, 2 * block).t());
        let columns = farthest(&y, &want.iter().map(|w| -w).collect::<Vec<_>>());

        let mut y = start.clone();
        WinogradWeights::of_rows(&weight, cols, &pool).gemm(&x, rows, &mut y, Store::Add, |_, _, _| {}, &pool);
        let want = matmul_naive(windows, Mat::new(&exact_w, 2 * block, cols));
        let by_rows = farthest(&y, &want.iter().zip(&start).map(|(w, s)| w + s.f64()).collect::<Vec<_>>());

        let mut grad = weight.clone();
        outer_of_two(&x, &dy, (rows, cols), 0..cols, &mut grad, &pool);
        let want = matmul_naive(Mat::new(&exact_dy, rows, cols).t(), windows);
        let grads = farthest(&grad, &want.iter().zip(&exact_w).map(|(w, s)| w + s).collect::<Vec<_>>());
        [columns, by_rows, grads]
    }

    proptest! {
        #[test]
        fn agrees_with_plain_sums(rows in 1usize..40, block in 1usize..70, cols in 1usize..40, seed in 0u64..1000) {
            for (i, error) in errors::<f64>(rows, block, cols, seed).into_iter().enumerate() {
                prop_assert!(error < 1e-12, "{i}: {error}");
            }
            // Sums of up to 140 numbers below 1.
            for (i, error) in errors::<f32>(rows, block, cols, seed).into_iter().enumerate() {
                prop_assert!(error < 2e-5, "{i}: {error}");
            }
        }
    }
}
