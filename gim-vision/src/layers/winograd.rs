//! 3×3 convolutions by Winograd's minimal filtering (Lavin & Gray 2016, §4).
//!
//! The plain sum takes 9 multiplications for each output and input channel. F(2×2, 3×3), on tiles of
//! 2×2 outputs, takes 4; F(4×4, 3×3), on tiles of 4×4, takes 2.25. A tile of inputs d, a kernel g and
//! the tile's outputs y are related by
//!
//! ```text
//! y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A        dg = Gᵀ[(A dy Aᵀ) ⊙ (Bᵀ d B)]G, summed over tiles
//! ```
//!
//! For all tiles and channels at once, ⊙ is one matrix product for each place of the tile.
//!
//! The transforms evaluate polynomials at points: 0, ±1 and ∞ for F(2×2). F(4×4) uses 0, ±√½, ±√2 and
//! ∞, whose powers stay near 1; with the usual 0, ±1, ±2 and ∞, errors are three times as large. In
//! f32, outputs and gradients are within 4·10⁻⁶ of the plain sum, relative to the largest value
//! (F(2×2): 2·10⁻⁶). A test checks this against f64.

use std::ops::{Add, Range, Sub};

use gim_core::activations::Shape;
use gim_core::kernels::gemm::{Mat, MatMut, Packed, Store, Threads, gemm, gemm_tn};
use gim_core::kernels::profile::Tasks;
use gim_core::kernels::vector::relu;
use gim_core::layers::Work;
use gim_core::{Pool, Scalar};
use rayon::prelude::*;

/// Weights of a 3×3 kernel for one input channel.
const KERNEL_AREA: usize = 9;
/// Tiles that are transformed, multiplied and transformed back at a time: few enough to stay in the
/// second-level cache.
const BLOCK: usize = 48;
/// Tiles in a block of kernel gradients, which gain from long sums.
const GRAD_BLOCK: usize = 64;
/// Channels up to which tiles of 4×4 outputs are used: the kernels of their 36 places take four
/// times the plain kernel's memory, and from 256 channels on reading them costs what they save.
const MOST_FOUR: usize = 128;
/// Channels up to which a kernel's gradient is made from tiles of 4×4 outputs: the sums of their 36
/// places are four times as many values, and fewer tiles are summed into each.
const MOST_FOUR_GRADS: usize = 64;
/// Channels from which on transforms cost less than the products they save.
const LEAST_CHANNELS: usize = 16;
/// Values in a cache line.
const PAD: usize = 16;
/// Channels computed at a time.
const LANES: usize = 8;

/// Values of neighboring channels.
#[derive(Clone, Copy)]
struct Lanes<F>([F; LANES]);

impl<F: Scalar> Add for Lanes<F> {
    type Output = Self;
    #[inline(always)]
    fn add(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(x, y)| *x += y);
        self
    }
}

impl<F: Scalar> Sub for Lanes<F> {
    type Output = Self;
    #[inline(always)]
    fn sub(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(x, y)| *x -= y);
        self
    }
}

impl<F: Scalar> Lanes<F> {
    #[inline(always)]
    fn zero() -> Self {
        Self([F::zero(); LANES])
    }

    /// Those of `from` from `at` on.
    #[inline(always)]
    fn load(from: &[F], at: usize, through_relu: bool) -> Self {
        let mut lanes = [F::zero(); LANES];
        lanes.copy_from_slice(&from[at..at + LANES]);
        if through_relu {
            lanes.iter_mut().for_each(|x| *x = relu(*x));
        }
        Self(lanes)
    }

    #[inline(always)]
    fn times(mut self, by: f64) -> Self {
        let by = F::of(by);
        self.0.iter_mut().for_each(|x| *x *= by);
        self
    }

    #[inline(always)]
    fn minus(mut self) -> Self {
        self.0.iter_mut().for_each(|x| *x = -*x);
        self
    }
}

/// One of the transforms, along one side of a tile. It takes `IN` values and gives `OUT`: 4 and 2
/// are inputs and outputs of F(2×2), 6 and 4 those of F(4×4).
trait Transform<const IN: usize, const OUT: usize> {
    fn side<F: Scalar>(x: [Lanes<F>; IN]) -> [Lanes<F>; OUT];
}

/// Points ±√P and ±1/√P of F(4×4), and √P and its inverse.
const P: f64 = 0.5;
const ROOT: f64 = std::f64::consts::FRAC_1_SQRT_2;
const INVERSE: f64 = std::f64::consts::SQRT_2;
/// Π (point − another) of ±√P, and of ±1/√P.
const NEAR: f64 = 2.0 * P * (P - 1.0 / P);
const FAR: f64 = 2.0 / P * (1.0 / P - P);

/// Bᵀ, of inputs.
struct Input;
impl Transform<4, 4> for Input {
    #[inline(always)]
    fn side<F: Scalar>([d0, d1, d2, d3]: [Lanes<F>; 4]) -> [Lanes<F>; 4] {
        [d0 - d2, d1 + d2, d2 - d1, d1 - d3]
    }
}
impl Transform<6, 6> for Input {
    #[inline(always)]
    fn side<F: Scalar>([d0, d1, d2, d3, d4, d5]: [Lanes<F>; 6]) -> [Lanes<F>; 6] {
        let near = (d4 - d2.times(1.0 / P), (d3 - d1.times(1.0 / P)).times(ROOT));
        let far = (d4 - d2.times(P), (d3 - d1.times(P)).times(INVERSE));
        let all = P + 1.0 / P;
        let (first, last) = (d0 - d2.times(all) + d4, d1 - d3.times(all) + d5);
        [first, near.0 + near.1, near.0 - near.1, far.0 + far.1, far.0 - far.1, last]
    }
}

/// Aᵀ, to outputs.
struct Output;
impl Transform<4, 2> for Output {
    #[inline(always)]
    fn side<F: Scalar>([m0, m1, m2, m3]: [Lanes<F>; 4]) -> [Lanes<F>; 2] {
        [m0 + m1 + m2, m1 - m2 - m3]
    }
}
impl Transform<6, 4> for Output {
    #[inline(always)]
    fn side<F: Scalar>([m0, m1, m2, m3, m4, m5]: [Lanes<F>; 6]) -> [Lanes<F>; 4] {
        let (near, far) = (m1 + m2, m3 + m4);
        let (near_odd, far_odd) = ((m1 - m2).times(ROOT), (m3 - m4).times(INVERSE));
        [
            m0 + near + far,
            near_odd + far_odd,
            near.times(P) + far.times(1.0 / P),
            near_odd.times(P) + far_odd.times(1.0 / P) + m5,
        ]
    }
}

/// A, of the outputs' gradient.
struct OutputGrad;
impl Transform<2, 4> for OutputGrad {
    #[inline(always)]
    fn side<F: Scalar>([y0, y1]: [Lanes<F>; 2]) -> [Lanes<F>; 4] {
        [y0, y0 + y1, y0 - y1, y1.minus()]
    }
}
impl Transform<4, 6> for OutputGrad {
    #[inline(always)]
    fn side<F: Scalar>([y0, y1, y2, y3]: [Lanes<F>; 4]) -> [Lanes<F>; 6] {
        let near = (y0 + y2.times(P), (y1 + y3.times(P)).times(ROOT));
        let far = (y0 + y2.times(1.0 / P), (y1 + y3.times(1.0 / P)).times(INVERSE));
        [y0, near.0 + near.1, near.0 - near.1, far.0 + far.1, far.0 - far.1, y3]
    }
}

/// G, of kernels.
struct Kernel;
impl Transform<3, 4> for Kernel {
    #[inline(always)]
    fn side<F: Scalar>([g0, g1, g2]: [Lanes<F>; 3]) -> [Lanes<F>; 4] {
        let outer = g0 + g2;
        [g0, (outer + g1).times(0.5), (outer - g1).times(0.5), g2]
    }
}
impl Transform<3, 6> for Kernel {
    #[inline(always)]
    fn side<F: Scalar>([g0, g1, g2]: [Lanes<F>; 3]) -> [Lanes<F>; 6] {
        let near = ((g0 + g2.times(P)).times(1.0 / NEAR), g1.times(ROOT / NEAR));
        let far = ((g0 + g2.times(1.0 / P)).times(1.0 / FAR), g1.times(INVERSE / FAR));
        [g0, near.0 + near.1, near.0 - near.1, far.0 + far.1, far.0 - far.1, g2]
    }
}

/// Gᵀ, to the kernel's gradient.
struct KernelGrad;
impl Transform<4, 3> for KernelGrad {
    #[inline(always)]
    fn side<F: Scalar>([u0, u1, u2, u3]: [Lanes<F>; 4]) -> [Lanes<F>; 3] {
        let (sum, difference) = ((u1 + u2).times(0.5), (u1 - u2).times(0.5));
        [u0 + sum, difference, sum + u3]
    }
}
impl Transform<6, 3> for KernelGrad {
    #[inline(always)]
    fn side<F: Scalar>([u0, u1, u2, u3, u4, u5]: [Lanes<F>; 6]) -> [Lanes<F>; 3] {
        let (near, far) = ((u1 + u2).times(1.0 / NEAR), (u3 + u4).times(1.0 / FAR));
        let odd = (u1 - u2).times(ROOT / NEAR) + (u3 - u4).times(INVERSE / FAR);
        [u0 + near + far, odd, near.times(P) + far.times(1.0 / P) + u5]
    }
}

/// Transforms both sides of a tile whose places are `from[row][column]`, for all channels;
/// `to(row, column, first channel, values)` takes the results.
#[inline(always)]
fn transform<F: Scalar, T: Transform<IN, OUT>, const IN: usize, const OUT: usize>(
    from: &[[&[F]; IN]; IN],
    through_relu: bool,
    channels: usize,
    mut to: impl FnMut(usize, usize, usize, &[F; LANES]),
) {
    for at in (0..channels).step_by(LANES) {
        let mut rows = [[Lanes::<F>::zero(); OUT]; IN];
        for (from, row) in from.iter().zip(&mut rows) {
            let mut side = [Lanes::<F>::zero(); IN];
            for (from, lanes) in from.iter().zip(&mut side) {
                *lanes = Lanes::load(from, at, through_relu);
            }
            *row = T::side(side);
        }
        for j in 0..OUT {
            let mut side = [Lanes::<F>::zero(); IN];
            for (row, lanes) in rows.iter().zip(&mut side) {
                *lanes = row[j];
            }
            for (i, lanes) in T::side(side).iter().enumerate() {
                to(i, j, at, &lanes.0);
            }
        }
    }
}

/// The values of a tile's places, each of them `at(row, column)`. Here and in [`transform`] there
/// are loops, because closures of `array::from_fn` would be called for every value.
#[inline(always)]
fn places<'a, F, const N: usize>(at: impl Fn(usize, usize) -> &'a [F]) -> [[&'a [F]; N]; N] {
    let mut places: [[&[F]; N]; N] = [[&[]; N]; N];
    for (i, row) in places.iter_mut().enumerate() {
        for (j, place) in row.iter_mut().enumerate() {
            *place = at(i, j);
        }
    }
    places
}

/// Whether a convolution of images of `shape` (N, H, W, C), padded by one zero on all sides,
/// divides into tiles and has enough channels for their transforms to pay.
pub(crate) fn fits(shape: Shape, out_channels: usize) -> bool {
    let worth = |channels: usize| channels >= LEAST_CHANNELS && channels.is_multiple_of(LANES);
    shape.height.is_multiple_of(2) && shape.width.is_multiple_of(2) && worth(shape.channels) && worth(out_channels)
}

/// Values from one place's tiles to the next one's. Not a power of two: places would then share the
/// sets of a cache.
fn apart(tiles: usize, channels: usize) -> usize {
    tiles * channels + PAD
}

/// Whether images of `shape` divide into tiles of 4×4 outputs and gain by them: with at most `most`
/// input and output channels ([`MOST_FOUR`] or [`MOST_FOUR_GRADS`]).
fn fits_four(shape: Shape, in_channels: usize, out_channels: usize, most: usize) -> bool {
    shape.height.is_multiple_of(4) && shape.width.is_multiple_of(4) && in_channels.max(out_channels) <= most
}

/// Transformed kernels, one matrix for each place of a tile.
pub(crate) enum Places<F: Scalar> {
    /// 16 places, for tiles of 2×2 outputs.
    Two(Vec<Packed<F>>),
    /// 36 places, for tiles of 4×4 outputs.
    Four(Vec<Packed<F>>),
}

/// An image (N, H, W, C), or max(0, image), with even sides, and a zero around it.
#[derive(Clone, Copy)]
pub(crate) struct Tiled<'a, F> {
    pub image: &'a [F],
    pub shape: Shape,
    pub relu: bool,
}

/// An image seen as tiles of `T`×`T` inputs, `M` = `T` − 2 apart.
impl<'a, F: Scalar> Tiled<'a, F> {
    /// Rows of tiles of all items.
    fn tile_rows<const M: usize>(&self) -> usize {
        self.shape.batch * self.shape.height / M
    }

    /// Tiles of a row.
    fn across<const M: usize>(&self) -> usize {
        self.shape.width / M
    }

    /// Rows of tiles of a block of about `tiles` tiles.
    fn block<const M: usize>(&self, tiles: usize) -> usize {
        (tiles / self.across::<M>()).max(1)
    }

    /// Calls `f(index in the range, the tile's places)` for the tiles of some rows of tiles.
    fn tiles<const T: usize, const M: usize>(
        &self,
        rows: Range<usize>,
        zeros: &'a [F],
        mut f: impl FnMut(usize, [[&'a [F]; T]; T]),
    ) {
        let Shape { height: steps, width: cols, channels, .. } = self.shape;
        let mut number = 0;
        for row in rows {
            let (item, top) = (row / (steps / M), row % (steps / M) * M);
            for left in (0..cols).step_by(M) {
                let place = |i: usize, j: usize| match ((top + i).checked_sub(1), (left + j).checked_sub(1)) {
                    (Some(r), Some(c)) if r < steps && c < cols => {
                        &self.image[((item * steps + r) * cols + c) * channels..][..channels]
                    }
                    _ => &zeros[..channels],
                };
                f(number, places(place));
                number += 1;
            }
        }
    }

    /// Bᵀ d B of some rows of tiles → (T·T, tiles, C), one place every `apart` values.
    fn inputs<const T: usize, const M: usize>(&self, rows: Range<usize>, apart: usize, zeros: &'a [F], out: &mut [F])
    where
        Input: Transform<T, T>,
    {
        let (channels, relu) = (self.shape.channels, self.relu);
        self.tiles::<T, M>(rows, zeros, |tile, places| {
            transform::<F, Input, T, T>(&places, relu, channels, |i, j, at, lanes| {
                out[(i * T + j) * apart + tile * channels + at..][..LANES].copy_from_slice(lanes);
            });
        });
    }
}

/// G g Gᵀ of the kernels (O, 3·3·C) for images of a shape, packed place by place: (C, O) for products
/// with inputs or, `turned` by 180°, (O, C) for products with the outputs' gradient.
pub(crate) fn pack<F: Scalar>(
    weight: &[F],
    out_channels: usize,
    turned: bool,
    shape: Shape,
    pool: &Pool<F>,
) -> Places<F> {
    if fits_four(shape, weight.len() / (out_channels * KERNEL_AREA), out_channels, MOST_FOUR) {
        Places::Four(pack_for::<F, 6>(weight, out_channels, turned, pool))
    } else {
        Places::Two(pack_for::<F, 4>(weight, out_channels, turned, pool))
    }
}

fn pack_for<F: Scalar, const T: usize>(
    weight: &[F],
    out_channels: usize,
    turned: bool,
    pool: &Pool<F>,
) -> Vec<Packed<F>>
where
    Kernel: Transform<3, T>,
{
    let in_channels = weight.len() / (out_channels * KERNEL_AREA);
    // (O, T·T, C): every kernel is written by one thread.
    let mut all = pool.take(T * T * out_channels * in_channels);
    all.par_chunks_exact_mut(T * T * in_channels)
        .zip(weight.par_chunks_exact(KERNEL_AREA * in_channels))
        .for_each_task("pack weights", |(to, kernel)| {
            let tap =
                |tap: usize| &kernel[if turned { KERNEL_AREA - 1 - tap } else { tap } * in_channels..][..in_channels];
            transform::<F, Kernel, 3, T>(&places(|i, j| tap(i * 3 + j)), false, in_channels, |i, j, at, lanes| {
                to[(i * T + j) * in_channels + at..][..LANES].copy_from_slice(lanes);
            });
        });
    let mut place = pool.take(out_channels * in_channels);
    (0..T * T)
        .map(|p| {
            for (o, to) in place.chunks_exact_mut(in_channels).enumerate() {
                to.copy_from_slice(&all[(o * T * T + p) * in_channels..][..in_channels]);
            }
            let place = Mat::new(&place, out_channels, in_channels);
            Packed::new(if turned { place } else { place.t() }, pool)
        })
        .collect()
}

/// Convolves `x` with kernels that are packed for its shape, into `y` (= or +=). Then calls
/// `finish(position, 0, values)` for all positions.
pub(crate) fn convolve<F: Scalar>(
    x: Tiled<'_, F>,
    kernels: &Places<F>,
    y: &mut [F],
    into: Store,
    finish: impl Fn(usize, usize, &mut [F]) + Sync,
    work: Work<'_, F>,
) {
    match kernels {
        Places::Two(kernels) => convolve_tiles::<F, 4, 2>(x, kernels, y, into, finish, work),
        Places::Four(kernels) => convolve_tiles::<F, 6, 4>(x, kernels, y, into, finish, work),
    }
}

fn convolve_tiles<F: Scalar, const T: usize, const M: usize>(
    x: Tiled<'_, F>,
    kernels: &[Packed<F>],
    y: &mut [F],
    into: Store,
    finish: impl Fn(usize, usize, &mut [F]) + Sync,
    Work { pool, threads }: Work<'_, F>,
) where
    Input: Transform<T, T>,
    Output: Transform<T, M>,
{
    let (in_channels, out_channels) = kernels[0].dim();
    let (across, cols) = (x.across::<M>(), x.shape.width);
    let rows_each = x.block::<M>(BLOCK);
    let line = M * cols * out_channels;
    let (apart_in, apart_out) = (apart(rows_each * across, in_channels), apart(rows_each * across, out_channels));
    let zeros = pool.zeros(in_channels);
    let one = |number: usize, y: &mut [F]| {
        let rows = number * rows_each..number * rows_each + y.len() / line;
        let n = rows.len() * across;
        let mut inputs = pool.take(T * T * apart_in);
        let mut products = pool.take(T * T * apart_out);
        x.inputs::<T, M>(rows.clone(), apart_in, &zeros, &mut inputs);
        for (p, kernel) in kernels.iter().enumerate() {
            let from = Mat::new(&inputs[p * apart_in..], n, in_channels);
            let to = MatMut::new(&mut products[p * apart_out..], n, out_channels);
            gemm(&from, kernel, to, Store::Overwrite, |_, _, _| {}, Threads::This);
        }
        outputs::<F, T, M>(&products, apart_out, cols, y, out_channels, into);
        let first = number * rows_each * M * cols;
        y.chunks_exact_mut(out_channels).enumerate().for_each(|(position, y)| finish(first + position, 0, y));
    };
    let y = &mut y[..x.shape.positions() * out_channels];
    // Not generic in `finish`: one loop over threads is compiled for all.
    let one: &(dyn Fn(usize, &mut [F]) + Sync) = &one;
    let blocks = rows_each * line;
    match threads {
        Threads::All => {
            let each = y.par_chunks_mut(blocks).enumerate();
            each.for_each_task("blocks of tiles", |(number, y)| one(number, y));
        }
        Threads::This => y.chunks_mut(blocks).enumerate().for_each(|(number, y)| one(number, y)),
    }
}

/// Products m of whole rows of tiles (T·T, tiles, O), one place every `apart` values → `y` = (or +=)
/// Aᵀ m A, `cols` positions a row. A separate function, because the compiler copies
/// [`convolve_tiles`] for every kind of `finish`.
fn outputs<F: Scalar, const T: usize, const M: usize>(
    products: &[F],
    apart: usize,
    cols: usize,
    y: &mut [F],
    out_channels: usize,
    into: Store,
) where
    Output: Transform<T, M>,
{
    let across = cols / M;
    for tile in 0..y.len() / (M * M * out_channels) {
        let places = places(|i, j| &products[(i * T + j) * apart + tile * out_channels..][..out_channels]);
        let first = (tile / across * M * cols + tile % across * M) * out_channels;
        transform::<F, Output, T, M>(&places, false, out_channels, |i, j, at, lanes| {
            let to = &mut y[first + (i * cols + j) * out_channels + at..][..LANES];
            match into {
                Store::Overwrite => to.copy_from_slice(lanes),
                Store::Add => to.iter_mut().zip(lanes).for_each(|(t, l)| *t += *l),
            }
        });
    }
}

/// Adds the gradient of the kernels (O, 3·3·C) to `grads`; `dy` is (N, H, W, O).
pub(crate) fn kernel_grads<F: Scalar>(x: Tiled<'_, F>, dy: &[F], grads: &mut [F], work: Work<'_, F>) {
    let in_channels = x.shape.channels;
    if fits_four(x.shape, in_channels, grads.len() / (KERNEL_AREA * in_channels), MOST_FOUR_GRADS) {
        kernel_grads_of_tiles::<F, 6, 4>(x, dy, grads, work);
    } else {
        kernel_grads_of_tiles::<F, 4, 2>(x, dy, grads, work);
    }
}

fn kernel_grads_of_tiles<F: Scalar, const T: usize, const M: usize>(
    x: Tiled<'_, F>,
    dy: &[F],
    grads: &mut [F],
    Work { pool, threads }: Work<'_, F>,
) where
    Input: Transform<T, T>,
    OutputGrad: Transform<M, T>,
    KernelGrad: Transform<T, 3>,
{
    let Shape { width: cols, channels: in_channels, .. } = x.shape;
    let (out_channels, across) = (grads.len() / (KERNEL_AREA * in_channels), x.across::<M>());
    let tile_rows = x.tile_rows::<M>();
    if tile_rows == 0 {
        return;
    }
    let rows_each = x.block::<M>(GRAD_BLOCK).min(tile_rows);
    let (apart_in, apart_out) = (apart(rows_each * across, in_channels), apart(rows_each * across, out_channels));
    let zeros = pool.zeros(in_channels);
    let mut inputs = pool.take(T * T * apart_in);
    let mut outputs = pool.take(T * T * apart_out);
    // (T·T, O, C), written by the first block.
    let mut sums = pool.take(T * T * out_channels * in_channels);
    for from in (0..tile_rows).step_by(rows_each) {
        let into = if from == 0 { Store::Overwrite } else { Store::Add };
        let rows = from..tile_rows.min(from + rows_each);
        let n = rows.len() * across;
        x.inputs::<T, M>(rows, apart_in, &zeros, &mut inputs);
        for tile in 0..n {
            let (row, col) = (from + tile / across, tile % across);
            let first = row * M * cols + col * M;
            let places = places(|i, j| &dy[(first + i * cols + j) * out_channels..][..out_channels]);
            transform::<F, OutputGrad, M, T>(&places, false, out_channels, |i, j, at, lanes| {
                outputs[(i * T + j) * apart_out + tile * out_channels + at..][..LANES].copy_from_slice(lanes);
            });
        }
        for (p, sums) in sums.chunks_exact_mut(out_channels * in_channels).enumerate() {
            let outputs = Mat::new(&outputs[p * apart_out..], n, out_channels);
            let inputs = Mat::new(&inputs[p * apart_in..], n, in_channels);
            gemm_tn(outputs, &inputs, MatMut::new(sums, out_channels, in_channels), into, threads, pool);
        }
    }
    for (o, grads) in grads.chunks_exact_mut(KERNEL_AREA * in_channels).enumerate() {
        let places = places(|i, j| &sums[((i * T + j) * out_channels + o) * in_channels..][..in_channels]);
        transform::<F, KernelGrad, T, 3>(&places, false, in_channels, |i, j, at, lanes| {
            let to = &mut grads[(i * 3 + j) * in_channels + at..][..LANES];
            to.iter_mut().zip(lanes).for_each(|(t, l)| *t += *l);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gim_core::testing::uniform;
    use gim_core::testing::vectors::farthest;
    use proptest::prelude::*;

    /// Σ over kernel and channels in f64: outputs (N, H, W, O), and the kernels' gradient for `dy`.
    fn naive(x: &[f64], shape: Shape, weight: &[f64], dy: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let Shape { batch: items, height: steps, width: cols, channels } = shape;
        let out_channels = weight.len() / (KERNEL_AREA * channels);
        let (mut y, mut dweight) = (vec![0.0; shape.positions() * out_channels], vec![0.0; weight.len()]);
        for (item, row, col, tap) in (0..shape.positions() * KERNEL_AREA).map(|i| {
            let (position, tap) = (i / KERNEL_AREA, i % KERNEL_AREA);
            (position / (steps * cols), position / cols % steps, position % cols, tap)
        }) {
            assert!(item < items);
            let (Some(r), Some(c)) = ((row + tap / 3).checked_sub(1), (col + tap % 3).checked_sub(1)) else { continue };
            if r >= steps || c >= cols {
                continue;
            }
            let from = &x[((item * steps + r) * cols + c) * channels..][..channels];
            let at = ((item * steps + row) * cols + col) * out_channels;
            for o in 0..out_channels {
                let place = (o * KERNEL_AREA + tap) * channels;
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

    /// Largest difference, relative to the largest value.
    fn error<F: Scalar>(got: &[F], want: &[f64]) -> f64 {
        let largest = want.iter().fold(0.0f64, |m, w| m.max(w.abs()));
        farthest(got, want) / largest
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
        let out_channels = weight.len() / (KERNEL_AREA * shape.channels);
        let tiled = Tiled { image: x, shape, relu: true };
        let work = Work { pool: &pool, threads };
        let mut y = vec![F::nan(); want.0.len()];
        convolve(tiled, &pack(weight, out_channels, false, shape, &pool), &mut y, Store::Overwrite, |_, _, _| {}, work);
        let mut dweight = vec![F::zero(); weight.len()];
        kernel_grads(tiled, dy, &mut dweight, work);
        [error(&y, &want.0), error(&dweight, &want.1)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Both sizes of tiles, blocks of several items and several blocks of an item.
        #[test]
        fn is_the_plain_sum(
            items in 1usize..6, rows in 1usize..9, across in 1usize..9, in_channels in 1usize..6, out_channels in 1usize..6, seed: u64,
            all: bool, four: bool
        ) {
            let (in_channels, out_channels) = (LANES * in_channels, LANES * out_channels);
            let side = |tiles: usize| if four { 4 * tiles.div_ceil(2) } else { 2 * tiles };
            let shape = Shape { batch: items, height: side(rows), width: side(across), channels: in_channels };
            let most = if fits_four(shape, in_channels, out_channels, MOST_FOUR) { 4e-6 } else { 2e-6 };
            let x = uniform(shape.len(), seed);
            let weight = uniform(out_channels * KERNEL_AREA * in_channels, seed ^ 1);
            let dy = uniform(shape.positions() * out_channels, seed ^ 2);
            let want = naive(&x, shape, &weight, &dy);
            let threads = if all { Threads::All } else { Threads::This };
            let exact = errors(&x, shape, &weight, &dy, &want, threads);
            prop_assert!(exact.iter().all(|e| *e < 1e-13), "f64: {exact:?}");
            // The reference gets the rounded values, so that only the arithmetic is compared.
            let (x, weight, dy) = (narrow(&x), narrow(&weight), narrow(&dy));
            let widen = |x: &[f32]| x.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
            let want = naive(&widen(&x), shape, &widen(&weight), &widen(&dy));
            let rounded = errors(&x, shape, &weight, &dy, &want, threads);
            prop_assert!(rounded.iter().all(|e| *e < most), "f32: {rounded:?}");
        }
    }

    /// Each limit is the last number of channels, of either side, that larger tiles are used for.
    #[test]
    fn tiles_are_larger_up_to_a_limit() {
        let shape = |side: usize| Shape { batch: 1, height: side, width: 8, channels: 16 };
        for most in [MOST_FOUR, MOST_FOUR_GRADS] {
            assert!(fits_four(shape(8), most, most, most));
            assert!(!fits_four(shape(8), most + 8, 16, most) && !fits_four(shape(8), 16, most + 8, most));
            assert!(!fits_four(shape(6), 16, 16, most));
        }
        let packed = |side: usize, out_channels: usize| {
            pack(&vec![0.0f32; out_channels * KERNEL_AREA * 16], out_channels, false, shape(side), &Pool::new())
        };
        assert!(matches!(packed(8, MOST_FOUR), Places::Four(places) if places.len() == 36));
        assert!(matches!(packed(8, MOST_FOUR + 8), Places::Two(places) if places.len() == 16));
        assert!(matches!(packed(6, 16), Places::Two(_)));
    }
}
