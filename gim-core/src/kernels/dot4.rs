//! Dot products and scaled sums of a row with up to four others, in vector registers. The InfoNCE loss
//! computes scores of candidates and their gradients with them.
//!
//! They are written by hand because compilers keep the sixteen partial sums of four rows in memory, at
//! half the speed or less. [`dots_portable`] and [`add_scaled_portable`] are the reference; the others
//! multiply, add and round in the same order.

use crate::Scalar;

/// Most rows at a time.
pub(crate) const ROWS: usize = 4;
/// Independent partial sums of a dot product: enough for the widest vector registers.
const LANES: usize = 16;

/// The definition of dot products in plain loops: 16 interleaved partial sums, whose halves are added until one is left.
#[inline(always)]
pub(crate) fn dots_portable<F: Scalar, const N: usize>(a: &[F], b: [&[F]; N]) -> [F; N] {
    let (a16, a_rest) = a.as_chunks::<LANES>();
    b.map(|b| {
        let (b16, b_rest) = b[..a.len()].as_chunks::<LANES>();
        let mut sums = [F::zero(); LANES];
        for (a, b) in a16.iter().zip(b16) {
            for j in 0..LANES {
                sums[j] += a[j] * b[j];
            }
        }
        let mut width = LANES / 2;
        while width > 0 {
            for i in 0..width {
                let other = sums[i + width];
                sums[i] += other;
            }
            width /= 2;
        }
        sums[0] + rest(a_rest, b_rest)
    })
}

/// The dot product of the last values of a row, fewer than a register holds.
#[inline(always)]
fn rest<F: Scalar>(a: &[F], b: &[F]) -> F {
    a.iter().zip(b).map(|(a, b)| *a * *b).sum()
}

/// The definition of scaled sums in plain loops: a value of y gets its terms one after the other.
#[inline(always)]
pub(crate) fn add_scaled_portable<F: Scalar, const N: usize>(y: &mut [F], terms: [(F, &[F]); N]) {
    let terms = terms.map(|(s, x)| (s, &x[..y.len()]));
    for (i, y) in y.iter_mut().enumerate() {
        *y = terms.iter().fold(*y, |sum, (s, x)| sum + *s * x[i]);
    }
}

/// [`dots_portable`] by the best instructions of this processor.
#[inline(always)]
pub(crate) fn dots_f32<const N: usize>(a: &[f32], b: [&[f32]; N]) -> [f32; N] {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has it.
            return unsafe { avx512::dots(a, b) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has it.
            return unsafe { avx2::dots(a, b) };
        }
    }
    dots_portable(a, b)
}

/// [`add_scaled_portable`] by the best instructions of this processor.
#[inline(always)]
pub(crate) fn add_scaled_f32<const N: usize>(y: &mut [f32], terms: [(f32, &[f32]); N]) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has it.
            return unsafe { avx512::add_scaled(y, terms) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has it.
            return unsafe { avx2::add_scaled(y, terms) };
        }
    }
    add_scaled_portable(y, terms);
}

/// Both loops for registers of `$lanes` values; `$fold` adds the upper half of sixteen sums to the lower.
#[cfg(target_arch = "x86_64")]
macro_rules! kernels {
    ($name:ident, $features:literal, $lanes:literal, $zero:ident, $load:ident, $store:ident, $spread:ident, $mul:ident, $add:ident, $fold:expr) => {
        mod $name {
            use std::arch::x86_64::*;

            use super::{LANES, ROWS, rest};

            #[inline]
            #[target_feature(enable = $features)]
            pub(super) fn dots<const N: usize>(a: &[f32], b: [&[f32]; N]) -> [f32; N] {
                const { assert!(N <= ROWS) };
                let (a16, a_rest) = a.as_chunks::<LANES>();
                let b = b.map(|b| b[..a.len()].as_chunks::<LANES>());
                let mut sums = [[$zero(); LANES / $lanes]; N];
                for (i, a) in a16.iter().enumerate() {
                    for part in 0..LANES / $lanes {
                        // SAFETY: `LANES` values from here on are a chunk's.
                        let x = unsafe { $load(a.as_ptr().add(part * $lanes)) };
                        for (sums, (b16, _)) in sums.iter_mut().zip(&b) {
                            // SAFETY: as above; every row has as many chunks as `a`.
                            let y = unsafe { $load(b16.get_unchecked(i).as_ptr().add(part * $lanes)) };
                            sums[part] = $add(sums[part], $mul(x, y));
                        }
                    }
                }
                let mut fours = [_mm_setzero_ps(); ROWS];
                for (four, sums) in fours.iter_mut().zip(sums) {
                    let eight = $fold(sums);
                    *four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
                }
                let [mut p, mut q, mut r, mut s] = fours;
                _MM_TRANSPOSE4_PS(&mut p, &mut q, &mut r, &mut s);
                let mut totals = [0.0; ROWS];
                // SAFETY: the array holds four values.
                unsafe { _mm_storeu_ps(totals.as_mut_ptr(), _mm_add_ps(_mm_add_ps(p, r), _mm_add_ps(q, s))) };
                std::array::from_fn(|i| totals[i] + rest(a_rest, b[i].1))
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub(super) fn add_scaled<const N: usize>(y: &mut [f32], terms: [(f32, &[f32]); N]) {
                let x = terms.map(|(_, x)| x[..y.len()].as_chunks::<$lanes>());
                let scales = terms.map(|(s, _)| s);
                let wide = scales.map(|s| $spread(s));
                let (chunks, last) = y.as_chunks_mut::<$lanes>();
                for (i, y) in chunks.iter_mut().enumerate() {
                    // SAFETY: a chunk holds a register's values.
                    let mut sum = unsafe { $load(y.as_ptr()) };
                    for ((x, _), s) in x.iter().zip(wide) {
                        // SAFETY: as above; every row has as many chunks as `y`.
                        sum = $add(sum, $mul(s, unsafe { $load(x.get_unchecked(i).as_ptr()) }));
                    }
                    // SAFETY: as above.
                    unsafe { $store(y.as_mut_ptr(), sum) };
                }
                for (i, y) in last.iter_mut().enumerate() {
                    *y = x.iter().zip(scales).fold(*y, |sum, ((_, x), s)| sum + s * x[i]);
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
kernels!(
    avx2,
    "avx2",
    8,
    _mm256_setzero_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_set1_ps,
    _mm256_mul_ps,
    _mm256_add_ps,
    |[low, high]: [__m256; 2]| _mm256_add_ps(low, high)
);
#[cfg(target_arch = "x86_64")]
kernels!(
    avx512,
    "avx512f",
    16,
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_set1_ps,
    _mm512_mul_ps,
    _mm512_add_ps,
    |[all]: [__m512; 1]| {
        let high = _mm512_extractf64x4_pd(_mm512_castps_pd(all), 1);
        _mm256_add_ps(_mm512_castps512_ps256(all), _mm256_castpd_ps(high))
    }
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn waves(len: usize, by: f32) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * by).sin()).collect()
    }

    /// Results of all kernels this processor can run, the reference first.
    fn all<const N: usize>(a: &[f32], b: [&[f32]; N]) -> Vec<([f32; N], Vec<f32>)> {
        let terms = b.map(|b| (0.5 + b.first().unwrap_or(&0.0), b));
        let scaled = |f: &dyn Fn(&mut [f32])| {
            let mut y = a.to_vec();
            f(&mut y);
            y
        };
        #[allow(unused_mut)]
        let mut all = vec![(dots_portable(a, b), scaled(&|y| add_scaled_portable(y, terms)))];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has it.
                all.push((unsafe { avx2::dots(a, b) }, scaled(&|y| unsafe { avx2::add_scaled(y, terms) })));
            }
            if is_x86_feature_detected!("avx512f") {
                // SAFETY: the processor has it.
                all.push((unsafe { avx512::dots(a, b) }, scaled(&|y| unsafe { avx512::add_scaled(y, terms) })));
            }
        }
        all
    }

    proptest! {
        #[test]
        fn kernels_have_the_bits_of_the_definition(len in 0usize..150) {
            let rows: Vec<Vec<f32>> = (1..=4).map(|i| waves(len, 0.3 + i as f32)).collect();
            let all = all::<4>(&waves(len, 0.7), std::array::from_fn(|i| &rows[i][..]));
            for kernel in &all[1..] {
                prop_assert_eq!(kernel, &all[0]);
            }
        }
    }
}
