//! The two floating-point types of all generic code: `f32` to train, `f64` to check gradients.

use std::cell::RefCell;
use std::fmt::{Debug, Display};
use std::iter::Sum;

use num_traits::{Float, FromPrimitive, NumAssign};

use crate::kernels::dot4;
use crate::kernels::gemm::{PORTABLE_F64, Tile, best_f32};

/// A floating-point type that the kernels support.
pub trait Scalar: Float + NumAssign + FromPrimitive + Sum + Default + Debug + Display + Send + Sync + 'static {
    /// Name of the type in checkpoint files.
    const DTYPE: safetensors::Dtype;
    /// Bytes of one value.
    const BYTES: usize;

    /// Rounds to this type.
    fn of(x: f64) -> Self;
    /// Widens to `f64`.
    fn f64(self) -> f64;
    /// eˣ for inner loops: vectorizable for `f32` (error below 3e-7), exact to rounding for `f64`.
    fn fast_exp(self) -> Self;
    /// The innermost kernel of matrix products whose result has `cols` columns.
    fn tile(cols: usize) -> &'static Tile<Self>;
    /// Dot products of `a` with `N` ≤ 4 rows at least as long. Each has the same bits for every `N`.
    fn dots<const N: usize>(a: &[Self], b: [&[Self]; N]) -> [Self; N];
    /// y += s·x for `N` ≤ 4 rows at least as long, one after the other.
    fn add_scaled<const N: usize>(y: &mut [Self], terms: [(Self, &[Self]); N]);
    /// Calls `f` with `len` values of the thread's own scratch, which are unspecified. They begin at a
    /// cache line. `f` must not call this again.
    fn with_scratch(len: usize, f: impl FnOnce(&mut [Self]));
    /// Appends the little-endian bytes.
    fn write_le(self, out: &mut Vec<u8>);
    /// Reads `BYTES` little-endian bytes.
    fn read_le(bytes: &[u8]) -> Self;
}

macro_rules! scalar {
    ($t:ty, $dtype:ident, $exp:path, $tile:expr, $dots:path, $add_scaled:path) => {
        impl Scalar for $t {
            const DTYPE: safetensors::Dtype = safetensors::Dtype::$dtype;
            const BYTES: usize = size_of::<$t>();
            #[inline(always)]
            fn of(x: f64) -> Self {
                x as $t
            }
            #[inline(always)]
            fn f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn fast_exp(self) -> Self {
                $exp(self)
            }
            #[inline]
            fn tile(cols: usize) -> &'static Tile<$t> {
                let best: fn(usize) -> &'static Tile<$t> = $tile;
                best(cols)
            }
            #[inline(always)]
            fn dots<const N: usize>(a: &[$t], b: [&[$t]; N]) -> [$t; N] {
                $dots(a, b)
            }
            #[inline(always)]
            fn add_scaled<const N: usize>(y: &mut [$t], terms: [($t, &[$t]); N]) {
                $add_scaled(y, terms);
            }
            fn with_scratch(len: usize, f: impl FnOnce(&mut [$t])) {
                const LINE: usize = 64;
                thread_local!(static SCRATCH: RefCell<Vec<$t>> = const { RefCell::new(Vec::new()) });
                SCRATCH.with_borrow_mut(|scratch| {
                    let need = len + LINE / size_of::<$t>();
                    if scratch.len() < need {
                        scratch.resize(need, 0.0);
                    }
                    let from = scratch.as_ptr().align_offset(LINE);
                    f(&mut scratch[from..from + len]);
                });
            }
            fn write_le(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn read_le(bytes: &[u8]) -> Self {
                let mut b = [0; size_of::<$t>()];
                b.copy_from_slice(bytes);
                <$t>::from_le_bytes(b)
            }
        }
    };
}
scalar!(f32, F32, crate::kernels::exp::exp_f32, best_f32, dot4::dots_f32, dot4::add_scaled_f32);
scalar!(f64, F64, f64::exp, |_| &PORTABLE_F64, dot4::dots_portable, dot4::add_scaled_portable);
