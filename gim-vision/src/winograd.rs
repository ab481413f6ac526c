//! 3×3 convolutions by Winograd's minimal filtering F(2×2, 3×3) (Lavin & Gray 2016, §4.1): 16 multiplications per channel
//! for four outputs instead of 36.
//!
//! A tile of 4×4 inputs d, a kernel g and the four outputs y they make are related by y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A. For all
//! tiles and channels at once, ⊙ is one matrix product per place of the tile. The gradient of the kernel is the adjoint,
//! dg = Gᵀ[(A dy Aᵀ) ⊙ (Bᵀ d B)]G, with sums over tiles for products. The constants are 0, ±1 and ½, so in f32 the result
//! is as good as that of a plain sum, to a small factor; a test holds both against f64.

use std::array::from_fn;
use std::ops::{Add, Range, Sub};

use gim_core::activations::Shape;
use gim_core::kernels::gemm::{Mat, MatMut, Packed, Store, Threads, outer, product};
use gim_core::kernels::profile::Tasks;
use gim_core::kernels::vector::relu;
use gim_core::layers::Work;
use gim_core::{Pool, Scalar};
use rayon::prelude::*;

/// Places of a tile of inputs.
const PLACES: usize = 16;
/// Taps of a kernel.
const TAPS: usize = 9;
/// Tiles whose transforms are made, multiplied and brought back at a time: they stay in a second-level cache.
const BLOCK: usize = 48;
/// Tiles of a block of kernel gradients, which profit from long sums.
const GRAD_BLOCK: usize = 256;
/// Channels from which on transforms cost less than the products they save.
const LEAST_CHANNELS: usize = 16;
/// Channels computed at a time.
const LANES: usize = 8;

/// Numbers of neighbouring channels.
#[derive(Clone, Copy)]
struct Lanes<F, const L: usize>([F; L]);

impl<F: Scalar, const L: usize> Add for Lanes<F, L> {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i] + other.0[i]))
    }
}

impl<F: Scalar, const L: usize> Sub for Lanes<F, L> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i] - other.0[i]))
    }
}

impl<F: Scalar, const L: usize> Lanes<F, L> {
    #[inline(always)]
    fn half(self) -> Self {
        let half = F::of(0.5);
        Self(self.0.map(|x| x * half))
    }

    #[inline(always)]
    fn minus(self) -> Self {
        Self(self.0.map(|x| -x))
    }
}

/// One of the transforms, along one side of a tile. `IN` and `OUT` numbers go in and come out.
trait Transform<const IN: usize, const OUT: usize> {
    fn side<F: Scalar, const L: usize>(x: [Lanes<F, L>; IN]) -> [Lanes<F, L>; OUT];
}

/// Bᵀ, of inputs.
struct Input;
impl Transform<4, 4> for Input {
    #[inline(always)]
    fn side<F: Scalar, const L: usize>([d0, d1, d2, d3]: [Lanes<F, L>; 4]) -> [Lanes<F, L>; 4] {
        [d0 - d2, d1 + d2, d2 - d1, d1 - d3]
    }
}

/// Aᵀ, to outputs.
struct Output;
impl Transform<4, 2> for Output {
    #[inline(always)]
    fn side<F: Scalar, const L: usize>([m0, m1, m2, m3]: [Lanes<F, L>; 4]) -> [Lanes<F, L>; 2] {
        [m0 + m1 + m2, m1 - m2 - m3]
    }
}

/// A, of the outputs' gradient.
struct OutputGrad;
impl Transform<2, 4> for OutputGrad {
    #[inline(always)]
    fn side<F: Scalar, const L: usize>([y0, y1]: [Lanes<F, L>; 2]) -> [Lanes<F, L>; 4] {
        [y0, y0 + y1, y0 - y1, y1.minus()]
    }
}

/// G, of kernels.
struct Kernel;
impl Transform<3, 4> for Kernel {
    #[inline(always)]
    fn side<F: Scalar, const L: usize>([g0, g1, g2]: [Lanes<F, L>; 3]) -> [Lanes<F, L>; 4] {
        let outer = g0 + g2;
        [g0, (outer + g1).half(), (outer - g1).half(), g2]
    }
}

/// Gᵀ, to the kernel's gradient.
struct KernelGrad;
impl Transform<4, 3> for KernelGrad {
    #[inline(always)]
    fn side<F: Scalar, const L: usize>([u0, u1, u2, u3]: [Lanes<F, L>; 4]) -> [Lanes<F, L>; 3] {
        let (sum, difference) = ((u1 + u2).half(), (u1 - u2).half());
        [u0 + sum, difference, sum + u3]
    }
}

/// Transforms both sides of a tile whose places are `from(row, column)`, for all channels; `to(row, column, first channel,
/// numbers)` takes the results.
#[inline(always)]
fn transform<F: Scalar, T: Transform<IN, OUT>, const IN: usize, const OUT: usize>(
    from: [[&[F]; IN]; IN],
    through_relu: bool,
    channels: usize,
    mut to: impl FnMut(usize, usize, usize, &[F]),
) {
    let mut at = 0;
    while at + LANES <= channels {
        some_lanes::<F, T, IN, OUT, LANES>(&from, through_relu, at, &mut to);
        at += LANES;
    }
    while at < channels {
        some_lanes::<F, T, IN, OUT, 1>(&from, through_relu, at, &mut to);
        at += 1;
    }
}

#[inline(always)]
fn some_lanes<F: Scalar, T: Transform<IN, OUT>, const IN: usize, const OUT: usize, const L: usize>(
    from: &[[&[F]; IN]; IN],
    through_relu: bool,
    at: usize,
    to: &mut impl FnMut(usize, usize, usize, &[F]),
) {
    let load = |from: &[F]| {
        let from = &from[at..at + L];
        Lanes::<F, L>(from_fn(|i| if through_relu { relu(from[i]) } else { from[i] }))
    };
    let rows: [[Lanes<F, L>; OUT]; IN] = from_fn(|i| T::side(from_fn(|j| load(from[i][j]))));
    for j in 0..OUT {
        let column: [Lanes<F, L>; OUT] = T::side(from_fn(|i| rows[i][j]));
        for (i, lanes) in column.iter().enumerate() {
            to(i, j, at, &lanes.0);
        }
    }
}

/// Whether the convolution of such a picture (N, H, W, C), padded by one zero on all sides, falls into tiles, and has the
/// channels to be worth their transforms.
pub(crate) fn fits(shape: Shape, c_out: usize) -> bool {
    shape.steps.is_multiple_of(2) && shape.cols.is_multiple_of(2) && shape.channels.min(c_out) >= LEAST_CHANNELS
}

/// A picture (N, H, W, C), or max(0, picture), with even sides, and a zero around it.
#[derive(Clone, Copy)]
pub(crate) struct Tiled<'a, F> {
    pub picture: &'a [F],
    pub shape: Shape,
    pub relu: bool,
}

impl<'a, F: Scalar> Tiled<'a, F> {
    /// Rows of tiles of all items.
    fn tile_rows(&self) -> usize {
        self.shape.items * self.shape.steps / 2
    }

    /// Tiles of a row.
    fn across(&self) -> usize {
        self.shape.cols / 2
    }

    /// Rows of tiles of a block of about `tiles` tiles.
    fn block(&self, tiles: usize) -> usize {
        (tiles / self.across()).max(1)
    }

    /// Calls `f(number in the range, the tile's 4×4 places)` for the tiles of some rows of tiles.
    fn tiles(&self, rows: Range<usize>, zeros: &'a [F], mut f: impl FnMut(usize, [[&'a [F]; 4]; 4])) {
        let Shape { steps, cols, channels, .. } = self.shape;
        let mut number = 0;
        for row in rows {
            let (item, top) = (row / (steps / 2), row % (steps / 2) * 2);
            for left in (0..cols).step_by(2) {
                f(
                    number,
                    from_fn(|i| {
                        from_fn(|j| match ((top + i).checked_sub(1), (left + j).checked_sub(1)) {
                            (Some(r), Some(c)) if r < steps && c < cols => {
                                &self.picture[((item * steps + r) * cols + c) * channels..][..channels]
                            }
                            _ => &zeros[..channels],
                        })
                    }),
                );
                number += 1;
            }
        }
    }

    /// Bᵀ d B of some rows of tiles → (16, `block` tiles, C), of which the first tiles are written.
    fn inputs(&self, rows: Range<usize>, block: usize, zeros: &'a [F], out: &mut [F]) {
        let (channels, relu) = (self.shape.channels, self.relu);
        self.tiles(rows, zeros, |tile, places| {
            transform::<F, Input, 4, 4>(places, relu, channels, |i, j, at, lanes| {
                out[((i * 4 + j) * block + tile) * channels + at..][..lanes.len()].copy_from_slice(lanes);
            });
        });
    }
}

/// G g Gᵀ of the kernels (O, 3·3·C), packed place by place for products with inputs (as (C, O)), or turned round for
/// products with the outputs' gradient (as (O, C)).
pub(crate) fn pack<F: Scalar>(weight: &[F], c_out: usize, turned: bool, pool: &Pool<F>) -> Vec<Packed<F>> {
    let c_in = weight.len() / (c_out * TAPS);
    // (O, 16, C): every kernel is written by one thread.
    let mut all = pool.take(PLACES * c_out * c_in);
    all.par_chunks_exact_mut(PLACES * c_in).zip(weight.par_chunks_exact(TAPS * c_in)).for_each_task(
        "pack weights",
        |(to, kernel)| {
            let tap = |tap: usize| &kernel[if turned { TAPS - 1 - tap } else { tap } * c_in..][..c_in];
            transform::<F, Kernel, 3, 4>(from_fn(|i| from_fn(|j| tap(i * 3 + j))), false, c_in, |i, j, at, lanes| {
                to[(i * 4 + j) * c_in + at..][..lanes.len()].copy_from_slice(lanes);
            });
        },
    );
    let mut place = pool.take(c_out * c_in);
    (0..PLACES)
        .map(|p| {
            for (o, to) in place.chunks_exact_mut(c_in).enumerate() {
                to.copy_from_slice(&all[(o * PLACES + p) * c_in..][..c_in]);
            }
            let place = Mat::new(&place, c_out, c_in);
            Packed::new(if turned { place } else { place.t() }, pool)
        })
        .collect()
}

/// `x` → `y` = (or +=) the convolution, then `finish(position, 0, numbers)` for all positions.
pub(crate) fn convolve<F: Scalar>(
    x: Tiled<'_, F>,
    kernels: &[Packed<F>],
    y: &mut [F],
    into: Store,
    finish: impl Fn(usize, usize, &mut [F]) + Sync,
    Work { pool, threads, .. }: Work<'_, F>,
) {
    let (c_in, c_out) = kernels[0].dim();
    let (across, cols) = (x.across(), x.shape.cols);
    let rows_each = x.block(BLOCK);
    let (block, line) = (rows_each * across, 2 * cols * c_out);
    let zeros = pool.zeros(c_in);
    let one = |(number, y): (usize, &mut [F])| {
        let rows = number * rows_each..number * rows_each + y.len() / line;
        let n = rows.len() * across;
        let mut inputs = pool.take(PLACES * block * c_in);
        let mut products = pool.take(PLACES * block * c_out);
        x.inputs(rows.clone(), block, &zeros, &mut inputs);
        for (p, kernel) in kernels.iter().enumerate() {
            let from = Mat::new(&inputs[p * block * c_in..], n, c_in);
            let to = MatMut::new(&mut products[p * block * c_out..], n, c_out);
            product(&from, kernel, to, Store::Overwrite, |_, _, _| {}, Threads::This);
        }
        for tile in 0..n {
            let places = from_fn(|i| from_fn(|j| &products[((i * 4 + j) * block + tile) * c_out..][..c_out]));
            let first = (tile / across * 2 * cols + tile % across * 2) * c_out;
            transform::<F, Output, 4, 2>(places, false, c_out, |i, j, at, lanes| {
                let to = &mut y[first + (i * cols + j) * c_out + at..][..lanes.len()];
                match into {
                    Store::Overwrite => to.copy_from_slice(lanes),
                    Store::Add => to.iter_mut().zip(lanes).for_each(|(t, l)| *t += *l),
                }
            });
        }
        let first = number * rows_each * 2 * cols;
        y.chunks_exact_mut(c_out).enumerate().for_each(|(position, y)| finish(first + position, 0, y));
    };
    let y = &mut y[..x.shape.positions() * c_out];
    match threads {
        Threads::All => y.par_chunks_mut(rows_each * line).enumerate().for_each_task("blocks of tiles", one),
        Threads::This => y.chunks_mut(rows_each * line).enumerate().for_each(one),
    }
}

/// Adds the gradient of the kernels (O, 3·3·C) to `grads`; `dy` is (N, H, W, O).
pub(crate) fn kernel_grads<F: Scalar>(
    x: Tiled<'_, F>,
    dy: &[F],
    grads: &mut [F],
    Work { pool, threads, .. }: Work<'_, F>,
) {
    let Shape { cols, channels: c_in, .. } = x.shape;
    let c_out = grads.len() / (TAPS * c_in);
    let rows_each = x.block(GRAD_BLOCK).min(x.tile_rows().max(1));
    let block = rows_each * x.across();
    let zeros = pool.zeros(c_in);
    let mut inputs = pool.take(PLACES * block * c_in);
    let mut outputs = pool.take(PLACES * block * c_out);
    // (16, O, C).
    let mut sums = pool.zeros(PLACES * c_out * c_in);
    for from in (0..x.tile_rows()).step_by(rows_each) {
        let rows = from..x.tile_rows().min(from + rows_each);
        let n = rows.len() * x.across();
        x.inputs(rows, block, &zeros, &mut inputs);
        for tile in 0..n {
            let (row, col) = (from + tile / x.across(), tile % x.across());
            let first = row * 2 * cols + col * 2;
            let places = from_fn(|i| from_fn(|j| &dy[(first + i * cols + j) * c_out..][..c_out]));
            transform::<F, OutputGrad, 2, 4>(places, false, c_out, |i, j, at, lanes| {
                outputs[((i * 4 + j) * block + tile) * c_out + at..][..lanes.len()].copy_from_slice(lanes);
            });
        }
        for (p, sums) in sums.chunks_exact_mut(c_out * c_in).enumerate() {
            let outputs = Mat::new(&outputs[p * block * c_out..], n, c_out);
            let inputs = Mat::new(&inputs[p * block * c_in..], n, c_in);
            outer(outputs, &inputs, MatMut::new(sums, c_out, c_in), Store::Add, threads, pool);
        }
    }
    for (o, grads) in grads.chunks_exact_mut(TAPS * c_in).enumerate() {
        let places = from_fn(|i| from_fn(|j| &sums[((i * 4 + j) * c_out + o) * c_in..][..c_in]));
        transform::<F, KernelGrad, 4, 3>(places, false, c_in, |i, j, at, lanes| {
            let to = &mut grads[(i * 3 + j) * c_in + at..][..lanes.len()];
            to.iter_mut().zip(lanes).for_each(|(t, l)| *t += *l);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gim_core::testing::uniform;
    use proptest::prelude::*;

    /// Σ over taps and channels in f64: outputs (N, H, W, O), and the kernels' gradient for `dy`.
    fn naive(x: &[f64], shape: Shape, weight: &[f64], dy: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let Shape { items, steps, cols, channels } = shape;
        let c_out = weight.len() / (TAPS * channels);
        let (mut y, mut dweight) = (vec![0.0; shape.positions() * c_out], vec![0.0; weight.len()]);
        for (item, row, col, tap) in (0..shape.positions() * TAPS).map(|i| {
            let (position, tap) = (i / TAPS, i % TAPS);
            (position / (steps * cols), position / cols % steps, position % cols, tap)
        }) {
            assert!(item < items);
            let (Some(r), Some(c)) = ((row + tap / 3).checked_sub(1), (col + tap % 3).checked_sub(1)) else { continue };
            if r >= steps || c >= cols {
                continue;
            }
            let from = &x[((item * steps + r) * cols + c) * channels..][..channels];
            let at = ((item * steps + row) * cols + col) * c_out;
            for o in 0..c_out {
                let place = (o * TAPS + tap) * channels;
                for i in 0..channels {
                    y[at + o] += weight[place + i] * from[i].max(0.0);
                    dweight[place + i] += dy[at + o] * from[i].max(0.0);
                }
            }
        }
        (y, dweight)
    }

    fn narrow(x: &[f64]) -> Vec<f32> {
        x.iter().map(|x| *x as f32).collect()
    }

    /// Largest difference, relative to the largest number.
    fn error<F: Scalar>(got: &[F], want: &[f64]) -> f64 {
        let largest = want.iter().fold(0.0f64, |m, w| m.max(w.abs()));
        got.iter().zip(want).fold(0.0f64, |m, (g, w)| m.max((g.f64() - w).abs())) / largest
    }

    /// Errors of outputs and of the kernels' gradient.
    fn errors<F: Scalar>(
        x: &[F],
        shape: Shape,
        weight: &[F],
        dy: &[F],
        want: &(Vec<f64>, Vec<f64>),
        threads: Threads,
    ) -> [f64; 2] {
        let pool = Pool::new();
        let c_out = weight.len() / (TAPS * shape.channels);
        let tiled = Tiled { picture: x, shape, relu: true };
        let work = Work { pool: &pool, threads, sparing: false };
        let mut y = vec![F::nan(); want.0.len()];
        convolve(tiled, &pack(weight, c_out, false, &pool), &mut y, Store::Overwrite, |_, _, _| {}, work);
        let mut dweight = vec![F::zero(); weight.len()];
        kernel_grads(tiled, dy, &mut dweight, work);
        [error(&y, &want.0), error(&dweight, &want.1)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Blocks of several items and several blocks of an item, channels that are no multiple of the lanes.
        #[test]
        fn is_the_plain_sum(
            items in 1usize..6, rows in 1usize..9, across in 1usize..9, c_in in 8usize..40, c_out in 8usize..40, seed: u64, all: bool
        ) {
            let shape = Shape { items, steps: 2 * rows, cols: 2 * across, channels: c_in };
            let x = uniform(shape.len(), seed);
            let weight = uniform(c_out * TAPS * c_in, seed ^ 1);
            let dy = uniform(shape.positions() * c_out, seed ^ 2);
            let want = naive(&x, shape, &weight, &dy);
            let threads = if all { Threads::All } else { Threads::This };
            let exact = errors(&x, shape, &weight, &dy, &want, threads);
            prop_assert!(exact.iter().all(|e| *e < 1e-13), "f64: {exact:?}");
            // The reference gets the rounded numbers, so that only the arithmetic is compared.
            let (x, weight, dy) = (narrow(&x), narrow(&weight), narrow(&dy));
            let widen = |x: &[f32]| x.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
            let want = naive(&widen(&x), shape, &widen(&weight), &widen(&dy));
            let rounded = errors(&x, shape, &weight, &dy, &want, threads);
            prop_assert!(rounded.iter().all(|e| *e < 2e-6), "f32: {rounded:?}");
        }
    }
}
