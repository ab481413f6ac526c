//! The innermost product: one tile of the result, held in registers.
//!
//! A tile of `rows × cols` values is Σ_d a[·, d]·b[d, ·]. The left side is read value by value and spread
//! over a register, the right side register by register.

use super::{DEPTH, TN_BLOCK, TN_ROWS};
use crate::Scalar;

/// `c = a·b` or (`add`) `c += a·b` for one tile: depth, a, b, c and its row stride.
///
/// # Safety
/// `a` and `b` must be readable for (rows, depth) and (depth, cols) at the strides of the kernel's [`Lay`], `c` writable (and,
/// for `add`, initialized) for (rows, cols), and the processor must have what the kernel was compiled for.
pub(super) type RunTile<F> = unsafe fn(usize, *const F, *const F, *mut F, usize, bool);

/// How the sides of a product lie in memory, in values. They are constants of a kernel, because addresses
/// computed in the innermost loop cost a sixth of its speed.
struct Lay {
    /// From one row of a to the next.
    row: usize,
    /// From one depth of a to the next.
    depth: usize,
    /// From one depth of b to the next.
    right: usize,
}

/// Values from one row of the left side's block to the next. The padding keeps rows off the same cache
/// sets.
pub(super) const LEFT_STRIDE: usize = DEPTH + 16;
/// Values from one position of the blocks of `gemm_tn` to the next.
pub(super) const TN_LEFT_STRIDE: usize = TN_ROWS + 16;
pub(super) const TN_RIGHT_STRIDE: usize = TN_BLOCK + 16;

impl Lay {
    /// Of `gemm`: rows of a block; strips as wide as a tile.
    const fn gemm(cols: usize) -> Self {
        Self { row: LEFT_STRIDE, depth: 1, right: cols }
    }

    /// Of `gemm_tn`: positions are rows of both blocks.
    const fn gemm_tn() -> Self {
        Self { row: 1, depth: TN_LEFT_STRIDE, right: TN_RIGHT_STRIDE }
    }
}

/// A kernel and the size of its tile.
#[derive(Debug, Clone, Copy)]
pub struct Tile<F> {
    /// What it is made of, e.g. `AVX2`.
    pub name: &'static str,
    /// Rows of the tile.
    pub rows: usize,
    /// Columns of the tile.
    pub cols: usize,
    /// The kernel of [`gemm`](super::gemm).
    pub(super) gemm: RunTile<F>,
    /// The kernel of [`gemm_tn`](super::gemm_tn).
    pub(super) gemm_tn: RunTile<F>,
    /// Rows and kernel of a lower tile, with the same columns, for products of few rows.
    low: (usize, RunTile<F>),
}

impl<F: Copy> Tile<F> {
    /// The tile for a product of so many rows: the low one where that leaves fewer rows empty. Of many rows few are empty anyway,
    /// and the whole tile reads its right side less often.
    pub(super) fn for_rows(&self, rows: usize) -> Self {
        let (low, gemm) = self.low;
        if rows <= 2 * self.rows && rows.next_multiple_of(low) < rows.next_multiple_of(self.rows) {
            Self { rows: low, gemm, ..*self }
        } else {
            *self
        }
    }
}

/// Most values of a tile.
pub(super) const LARGEST: usize = 12 * 32;

/// Asks the memory to bring these values near the core, without waiting.
#[inline(always)]
pub fn prefetch<F>(values: &[F]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks((64 / size_of::<F>()).max(1)) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a hint without effect on memory; every processor of this architecture has it.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
    }
}

/// The definition in plain loops, for every processor; the reference of all others.
///
/// # Safety
/// As [`RunTile`].
unsafe fn portable<F: Scalar, const ROWS: usize, const COLS: usize, const TN: bool>(
    depth: usize,
    a: *const F,
    b: *const F,
    c: *mut F,
    c_stride: usize,
    add: bool,
) {
    let lay = const { if TN { Lay::gemm_tn() } else { Lay::gemm(COLS) } };
    let mut sums = [[F::zero(); COLS]; ROWS];
    for d in 0..depth {
        // SAFETY: the caller answers for (rows, depth) of `a` and (depth, cols) of `b`.
        let b: &[F; COLS] = unsafe { &*b.add(d * lay.right).cast() };
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: as above.
            let a = unsafe { *a.add(i * lay.row + d * lay.depth) };
            for j in 0..COLS {
                sums[j] += a * b[j];
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        // SAFETY: the caller answers for (rows, cols) of `c`.
        let c: &mut [F; COLS] = unsafe { &mut *c.add(i * c_stride).cast() };
        for j in 0..COLS {
            c[j] = if add { c[j] + sums[j] } else { sums[j] };
        }
    }
}

/// The portable kernel for double precision.
pub const PORTABLE_F64: Tile<f64> = Tile {
    name: "portable",
    rows: 4,
    cols: 8,
    gemm: portable::<f64, 4, 8, false>,
    gemm_tn: portable::<f64, 4, 8, true>,
    low: (2, portable::<f64, 2, 8, false>),
};
/// The portable kernel for single precision.
const PORTABLE_F32: Tile<f32> = Tile {
    name: "portable",
    rows: 6,
    cols: 16,
    gemm: portable::<f32, 6, 16, false>,
    gemm_tn: portable::<f32, 6, 16, true>,
    low: (4, portable::<f32, 4, 16, false>),
};

/// Kernels of single precision that this processor can run, the best for wide results first.
pub(super) fn available_f32() -> Vec<Tile<f32>> {
    #[allow(unused_mut)]
    let mut tiles = vec![PORTABLE_F32];
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            tiles.insert(0, x86::AVX2);
        }
        if is_x86_feature_detected!("avx512f") {
            tiles.insert(0, x86::AVX512_NARROW);
            tiles.insert(0, x86::AVX512);
        }
    }
    tiles
}

/// The best kernel of single precision on this processor for a result of `cols` columns; detected once.
pub fn best_f32(cols: usize) -> &'static Tile<f32> {
    static BEST: std::sync::OnceLock<[Tile<f32>; 2]> = std::sync::OnceLock::new();
    let [wide, narrow] = BEST.get_or_init(|| {
        let tiles = available_f32();
        // Where the best has a narrower one, that comes next, and leaves fewer columns empty.
        let narrow = tiles.get(1).filter(|t| t.cols < tiles[0].cols);
        [tiles[0], *narrow.unwrap_or(&tiles[0])]
    });
    // Of a result with many columns few are empty anyway, and the wide kernel reads its left side less often.
    let narrow_is_fuller =
        cols <= 2 * wide.cols && cols.div_ceil(narrow.cols) * narrow.cols < cols.div_ceil(wide.cols) * wide.cols;
    if narrow_is_fuller { narrow } else { wide }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Lay, Tile};

    /// A kernel whose tile is `ROWS` rows of `WIDE` registers: as many sums as leave registers for `b` and one value of `a`.
    macro_rules! kernel {
        ($name:ident, $features:literal, $lanes:literal, $zero:ident, $load:ident, $store:ident, $spread:ident, $fma:ident,
         $add:ident) => {
            /// # Safety
            /// As [`super::RunTile`].
            #[target_feature(enable = $features)]
            unsafe fn $name<const TN: bool, const ROWS: usize, const WIDE: usize>(
                depth: usize,
                mut a: *const f32,
                mut b: *const f32,
                c: *mut f32,
                c_stride: usize,
                add: bool,
            ) {
                let lay = const { if TN { Lay::gemm_tn() } else { Lay::gemm(WIDE * $lanes) } };
                // The destination comes from main memory while the sums are made.
                for i in 0..ROWS {
                    let c = c.wrapping_add(i * c_stride).cast::<i8>();
                    _mm_prefetch::<_MM_HINT_ET0>(c);
                    _mm_prefetch::<_MM_HINT_ET0>(c.wrapping_add(4 * WIDE * $lanes - 1));
                }
                let mut sums = [[$zero(); WIDE]; ROWS];
                for _ in 0..depth {
                    // SAFETY: the caller answers for (rows, depth) of `a` and (depth, cols) of `b`.
                    let right: [_; WIDE] = std::array::from_fn(|j| unsafe { $load(b.add(j * $lanes)) });
                    for (i, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: as above.
                        let x = $spread(unsafe { *a.add(i * lay.row) });
                        for (sum, right) in sums.iter_mut().zip(right) {
                            *sum = $fma(x, right, *sum);
                        }
                    }
                    // Past the end after the last round, but not read there.
                    (a, b) = (a.wrapping_add(lay.depth), b.wrapping_add(lay.right));
                }
                for (i, sums) in sums.iter().enumerate() {
                    // SAFETY: the caller answers for (rows, cols) of `c`.
                    unsafe {
                        let c = c.add(i * c_stride);
                        for (j, sum) in sums.iter().enumerate() {
                            let c = c.add(j * $lanes);
                            $store(c, if add { $add($load(c), *sum) } else { *sum });
                        }
                    }
                }
            }
        };
    }

    kernel!(
        avx2,
        "avx2,fma",
        8,
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_set1_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps
    );
    kernel!(
        avx512,
        "avx512f",
        16,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_set1_ps,
        _mm512_fmadd_ps,
        _mm512_add_ps
    );
    /// 12 sums in 16 registers of 8 values.
    pub(super) const AVX2: Tile<f32> = Tile {
        name: "AVX2",
        rows: 6,
        cols: 16,
        gemm: avx2::<false, 6, 2>,
        gemm_tn: avx2::<true, 6, 2>,
        low: (4, avx2::<false, 4, 2>),
    };
    /// 24 sums in 32 registers of 16 values.
    pub(super) const AVX512: Tile<f32> = Tile {
        name: "AVX-512",
        rows: 12,
        cols: 32,
        gemm: avx512::<false, 12, 2>,
        gemm_tn: avx512::<true, 12, 2>,
        low: (8, avx512::<false, 8, 2>),
    };
    /// The same for results of few columns, which would leave half of the other's empty.
    pub(super) const AVX512_NARROW: Tile<f32> = Tile {
        name: "AVX-512, narrow",
        rows: 24,
        cols: 16,
        gemm: avx512::<false, 24, 1>,
        gemm_tn: avx512::<true, 24, 1>,
        low: (8, avx512::<false, 8, 1>),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The tile of a kernel, and the definition.
    fn both<F: Scalar>(
        (rows, cols): (usize, usize),
        run: RunTile<F>,
        depth: usize,
        tn: bool,
        add: bool,
    ) -> (Vec<F>, Vec<F>) {
        let lay = if tn { Lay::gemm_tn() } else { Lay::gemm(cols) };
        let number = |i: usize, by: f64| F::of((i as f64 * by).sin());
        let a: Vec<F> = (0..rows * lay.row + depth * lay.depth).map(|i| number(i, 0.7)).collect();
        let b: Vec<F> = (0..depth * lay.right + cols).map(|i| number(i, 0.3)).collect();
        let stride = cols + 2;
        let mut c: Vec<F> = (0..rows * stride).map(|i| if add { number(i, 0.1) } else { F::nan() }).collect();
        let mut want = c.clone();
        for i in 0..rows {
            for j in 0..cols {
                let sum: F = (0..depth).map(|d| a[i * lay.row + d * lay.depth] * b[d * lay.right + j]).sum();
                want[i * stride + j] = if add { want[i * stride + j] + sum } else { sum };
            }
        }
        // SAFETY: the vectors hold (rows, depth), (depth, cols) and (rows, cols) at these strides.
        unsafe { run(depth, a.as_ptr(), b.as_ptr(), c.as_mut_ptr(), stride, add) };
        (c, want)
    }

    /// The kernels of a tile, with their rows.
    fn kernels<F>(tile: &Tile<F>, tn: bool) -> Vec<(usize, RunTile<F>)> {
        if tn { vec![(tile.rows, tile.gemm_tn)] } else { vec![(tile.rows, tile.gemm), tile.low] }
    }

    #[test]
    fn few_rows_take_the_tile_that_leaves_fewer_empty() {
        for tile in available_f32() {
            let rows = |of| tile.for_rows(of).rows;
            assert_eq!([1, tile.low.0].map(rows), [tile.low.0; 2], "{}", tile.name);
            assert_eq!([tile.rows, 2 * tile.rows + 1, 1000].map(rows), [tile.rows; 3], "{}", tile.name);
        }
    }

    proptest! {
        #[test]
        fn every_kernel_agrees_with_the_definition(depth in 0usize..70, tn: bool, add: bool) {
            for tile in available_f32() {
                prop_assert!(tile.rows * tile.cols <= LARGEST);
                for (rows, run) in kernels(&tile, tn) {
                    let (got, want) = both((rows, tile.cols), run, depth, tn, add);
                    for (g, w) in got.iter().zip(&want) {
                        let same = (g - w).abs() < 1e-4 || (g.is_nan() && w.is_nan());
                        prop_assert!(same, "{}, {rows} rows: {g} for {w}", tile.name);
                    }
                }
            }
            for (rows, run) in kernels(&PORTABLE_F64, tn) {
                let (got, want) = both((rows, PORTABLE_F64.cols), run, depth, tn, add);
                for (g, w) in got.iter().zip(&want) {
                    prop_assert!((g - w).abs() < 1e-12 || (g.is_nan() && w.is_nan()));
                }
            }
        }
    }
}
