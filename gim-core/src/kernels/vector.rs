//! Short loops over rows: dot products, scaled sums, column sums.

use rayon::prelude::*;

use super::dot4::ROWS;
use super::profile::Tasks;

use crate::Scalar;

/// aᵀb over the shorter length, in 16 interleaved partial sums. The order is fixed, so the bits are.
#[inline(always)]
pub fn dot<F: Scalar>(a: &[F], b: &[F]) -> F {
    F::dots(&a[..a.len().min(b.len())], [b])[0]
}

/// `out[i]` = aᵀ·row(i), each as by [`dot`]; rows are as long as a, or longer.
#[inline(always)]
pub fn dots<'a, F: Scalar>(a: &[F], row: impl Fn(usize) -> &'a [F], out: &mut [F]) {
    for (i, out) in out.chunks_mut(ROWS).enumerate() {
        let row = |j| row(i * ROWS + j);
        match out.len() {
            1 => out.copy_from_slice(&F::dots(a, [row(0)])),
            2 => out.copy_from_slice(&F::dots(a, [row(0), row(1)])),
            3 => out.copy_from_slice(&F::dots(a, [row(0), row(1), row(2)])),
            _ => out.copy_from_slice(&F::dots::<ROWS>(a, std::array::from_fn(row))),
        }
    }
}

/// Largest value; −∞ for an empty slice. NaN is ignored.
#[inline(always)]
pub fn max<F: Scalar>(x: &[F]) -> F {
    const LANES: usize = 8;
    let larger = |a: F, b: F| if b > a { b } else { a };
    let mut best = [F::neg_infinity(); LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for c in chunks {
        for i in 0..LANES {
            best[i] = larger(best[i], c[i]);
        }
    }
    best.iter().chain(rest).copied().fold(F::neg_infinity(), larger)
}

/// Sum in 8 interleaved partial sums (a fixed order).
#[inline(always)]
pub fn sum<F: Scalar>(x: &[F]) -> F {
    const LANES: usize = 8;
    let mut sums = [F::zero(); LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for c in chunks {
        for i in 0..LANES {
            sums[i] += c[i];
        }
    }
    sums.iter().chain(rest).copied().sum()
}

/// x → exp(x − max x) in place. Returns (max, sum of the results).
#[inline(always)]
pub fn exp_shifted<F: Scalar>(x: &mut [F]) -> (F, F) {
    let top = max(x);
    x.iter_mut().for_each(|x| *x = (*x - top).fast_exp());
    (top, sum(x))
}

/// y += s·x over the shorter length.
#[inline(always)]
pub fn add_scaled<F: Scalar>(y: &mut [F], s: F, x: &[F]) {
    let n = y.len().min(x.len());
    F::add_scaled(&mut y[..n], [(s, x)]);
}

/// y += s·x for the terms 0..n, in this order: the bits of [`add_scaled`] for each, with a quarter of its reads and writes of y.
#[inline(always)]
pub fn add_all_scaled<'a, F: Scalar>(y: &mut [F], n: usize, term: impl Fn(usize) -> (F, &'a [F])) {
    let full = n - n % ROWS;
    for first in (0..full).step_by(ROWS) {
        F::add_scaled::<ROWS>(y, std::array::from_fn(|i| term(first + i)));
    }
    match n - full {
        0 => {}
        1 => F::add_scaled(y, [term(full)]),
        2 => F::add_scaled(y, [term(full), term(full + 1)]),
        _ => F::add_scaled(y, [term(full), term(full + 1), term(full + 2)]),
    }
}

/// max(0, x). NaN stays NaN, so that divergence is noticed.
#[inline(always)]
pub fn relu<F: Scalar>(x: F) -> F {
    if x <= F::zero() { F::zero() } else { x }
}

/// log(1 + eˣ), without overflow.
pub fn softplus(x: f64) -> f64 {
    if x > 0.0 { x + (-x).exp().ln_1p() } else { x.exp().ln_1p() }
}

/// 1/(1 + e⁻ˣ), vectorizable.
#[inline(always)]
pub fn sigmoid<F: Scalar>(x: F) -> F {
    F::one() / (F::one() + (-x).fast_exp())
}

/// 1 − 2/(e²ˣ + 1): absolute error of a few roundings, and vectorizable.
#[inline(always)]
pub fn tanh<F: Scalar>(x: F) -> F {
    let two = F::one() + F::one();
    F::one() - two / ((two * x).fast_exp() + F::one())
}

/// Rows of a partial column sum.
const SUM_ROWS: usize = 512;
/// Columns of a partial column sum: whole cache lines of a row.
const PART: usize = 64;

/// `sums (cols)` += column sums of `rows (n, cols)`: a bias gradient. Columns are shared out, rows are added in order.
pub fn add_column_sums<F: Scalar>(sums: &mut [F], rows: &[F]) {
    let cols = sums.len();
    assert!(cols > 0 && rows.len().is_multiple_of(cols), "{} values are not rows of {cols}", rows.len());
    // Partial sums over blocks of rows keep single-precision rounding small when there are tens of thousands of rows.
    let block = cols.div_ceil(8).max(PART);
    sums.par_chunks_mut(block).enumerate().for_each_task("column sums", |(i, sums)| {
        let from = i * block;
        for rows in rows.chunks(SUM_ROWS * cols) {
            let mut part = [F::zero(); PART];
            for (j, sums) in sums.chunks_mut(PART).enumerate() {
                let part = &mut part[..sums.len()];
                part.fill(F::zero());
                let row = |i: usize| (F::one(), &rows[i * cols + from + j * PART..]);
                add_all_scaled(part, rows.len() / cols, row);
                sums.iter_mut().zip(part.iter()).for_each(|(s, p)| *s += *p);
            }
        }
    });
}

/// `logits` (n) → log-softmax in place: x − max − log Σ exp(x − max), finite for finite logits.
pub fn log_softmax<F: Scalar>(logits: &mut [F]) {
    let max = logits.iter().copied().fold(F::neg_infinity(), F::max);
    let sum: F = logits.iter().map(|x| (*x - max).fast_exp()).sum();
    let lse = max + sum.ln();
    logits.iter_mut().for_each(|x| *x -= lse);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn dot_agrees_with_its_definition(n in 0usize..100) {
            let a: Vec<f64> = (0..n).map(|i| (i as f64 * 0.7).sin()).collect();
            let b: Vec<f64> = (0..n).map(|i| (i as f64 * 0.3).cos()).collect();
            let want: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            prop_assert!((dot(&a, &b) - want).abs() < 1e-12);
        }

        #[test]
        fn many_rows_at_once_give_the_bits_of_one_by_one(len in 0usize..70, n in 0usize..14) {
            let row = |i: usize| -> Vec<f32> { (0..len).map(|j| ((i * len + j) as f32 * 0.7).sin()).collect() };
            let (a, rows): (_, Vec<_>) = (row(99), (0..n).map(row).collect());
            let mut got = vec![f32::NAN; n];
            dots(&a, |i| &rows[i], &mut got);
            prop_assert_eq!(&got, &rows.iter().map(|r| dot(&a, r)).collect::<Vec<_>>());

            let (mut all, mut each) = (a.clone(), a);
            add_all_scaled(&mut all, n, |i| (got[i], &rows[i]));
            got.iter().zip(&rows).for_each(|(s, r)| add_scaled(&mut each, *s, r));
            prop_assert_eq!(all, each);
        }

        #[test]
        fn column_sums_agree_with_their_definition(n in 0usize..1200, cols in 1usize..150) {
            let rows: Vec<f64> = (0..n * cols).map(|i| (i as f64 * 0.7).sin()).collect();
            let mut got = vec![1.0; cols];
            add_column_sums(&mut got, &rows);
            for j in 0..cols {
                let want = 1.0 + (0..n).map(|i| rows[i * cols + j]).sum::<f64>();
                prop_assert!((got[j] - want).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn log_softmax_survives_large_scores() {
        let mut x = [1e4f32, 0.0, -1e4];
        log_softmax(&mut x);
        assert_eq!(x, [0.0, -1e4, -2e4]);
    }
}
