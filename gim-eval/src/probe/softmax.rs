//! The loss of a linear probe, multinomial logistic loss, and its gradient.

use gim_core::kernels::gemm::{Mat, MatMut, Store, matmul};
use gim_core::kernels::vector::{add_column_sums, dot, exp_shifted};
use gim_core::{Pool, Scalar};
use rayon::prelude::*;

/// Rows summed by one thread at a time; a constant, so that sums do not depend on the number of threads.
const ROWS: usize = 256;

/// `n` labeled rows: x (n, d), classes (n) below `classes`.
pub(super) struct Softmax<'a, F: Scalar> {
    pub(super) x: &'a [F],
    pub(super) labels: &'a [u32],
    pub(super) d: usize,
    pub(super) classes: usize,
    pub(super) pool: &'a Pool<F>,
}

impl<F: Scalar> Softmax<'_, F> {
    pub(super) fn n(&self) -> usize {
        self.labels.len()
    }

    /// z (n, classes) = x·w + b for weight (d, classes), bias (classes).
    pub(super) fn scores(&self, weight: &[F], bias: &[F], z: &mut [F]) {
        scores(self.x, self.n(), self.d, weight, bias, z, self.pool);
    }

    /// Mean loss at the scores z + α·zp, its derivative by α, and ∂loss/∂z into r (n, classes).
    ///
    /// ```text
    /// loss = mean over rows of  log Σ_c exp z_c − z_y        r_c = (p_c − 1[c = y]) / n,  p = softmax(z)
    /// ```
    pub(super) fn loss(&self, z: &[F], along: Option<(F, &[F])>, r: &mut [F]) -> (f64, f64) {
        let (loss, slope) = loss_of(self.labels, self.n(), z, along, r, (0.0, 0.0));
        (loss / self.n() as f64, slope)
    }
    /// ∂loss/∂weight = xᵀ·r and ∂loss/∂bias = column sums of r, overwriting.
    pub(super) fn gradient(&self, r: &[F], dw: &mut [F], db: &mut [F]) {
        let (n, d, c) = (self.n(), self.d, self.classes);
        matmul(Mat::new(self.x, n, d).t(), Mat::new(r, n, c), MatMut::new(dw, d, c), Store::Overwrite, self.pool);
        db.fill(F::zero());
        add_column_sums(db, r);
    }
}

/// Sums of the loss and its derivative along zp over some of `n` rows, with ∂loss/∂z into r, as
/// [`Softmax::loss`]. The sums go on from those of the rows before, which are a multiple of [`ROWS`].
pub(super) fn loss_of<F: Scalar>(
    labels: &[u32],
    n: usize,
    z: &[F],
    along: Option<(F, &[F])>,
    r: &mut [F],
    before: (f64, f64),
) -> (f64, f64) {
    let c = z.len() / labels.len().max(1);
    let share = F::of(1.0 / n as f64);
    let sums: Vec<(f64, f64)> = r
        .par_chunks_mut(ROWS * c)
        .zip(z.par_chunks(ROWS * c))
        .zip(labels.par_chunks(ROWS))
        .enumerate()
        .map(|(i, ((r, z), labels))| {
            let along = along.map(|(a, zp)| (a, &zp[i * ROWS * c..][..z.len()]));
            match along {
                Some((a, zp)) => r.iter_mut().zip(z).zip(zp).for_each(|((r, z), p)| *r = *z + a * *p),
                None => r.copy_from_slice(z),
            }
            let (mut loss, mut slope) = (0.0, 0.0);
            for (j, (row, label)) in r.chunks_exact_mut(c).zip(labels).enumerate() {
                let y = *label as usize;
                let own = row[y];
                let (max, sum) = exp_shifted(row);
                loss += sum.f64().ln() - (own - max).f64();
                let scale = share / sum;
                row.iter_mut().for_each(|v| *v *= scale);
                row[y] -= share;
                if let Some((_, zp)) = along {
                    let zp = &zp[j * c..][..c];
                    slope += dot(row, zp).f64();
                }
            }
            (loss, slope)
        })
        .collect();
    sums.iter().fold(before, |(l, s), (dl, ds)| (l + dl, s + ds))
}

/// `mean (classes)` += the sum of p(1 − p) / n over some of `n` rows, from their r: in the end the diagonal
/// of the Hessian ∂²loss/∂z² relative to 1/n. The rows before are a multiple of [`ROWS`].
pub(super) fn add_curvature<F: Scalar>(r: &[F], n: usize, mean: &mut [f64]) {
    let (c, n) = (mean.len(), n as f64);
    let sums: Vec<Vec<f64>> = r
        .par_chunks(ROWS * c)
        .map(|r| {
            let mut sums = vec![0.0; c];
            for row in r.chunks_exact(c) {
                // |n·r| is p for the other classes and 1 − p for the row's own.
                let q = row.iter().map(|v| v.f64().abs() * n);
                sums.iter_mut().zip(q).for_each(|(sum, q)| *sum += q * (1.0 - q));
            }
            sums
        })
        .collect();
    for part in sums {
        mean.iter_mut().zip(part).for_each(|(m, s)| *m += s / n);
    }
}

/// [`add_curvature`] where every row has the probabilities of the classes as a whole: what a fit from
/// zero weights soon comes to.
pub(super) fn prior_curvature(labels: &[u32], classes: usize) -> Vec<f64> {
    let mut counts = vec![0usize; classes];
    labels.iter().for_each(|y| counts[*y as usize] += 1);
    let share = |count: usize| count as f64 / labels.len() as f64;
    counts.into_iter().map(|count| share(count) * (1.0 - share(count))).collect()
}

/// z (n, classes) = x (n, d) · weight (d, classes) + bias.
pub(super) fn scores<F: Scalar>(x: &[F], n: usize, d: usize, weight: &[F], bias: &[F], z: &mut [F], pool: &Pool<F>) {
    let c = bias.len();
    z.par_chunks_mut(ROWS * c).for_each(|z| z.chunks_exact_mut(c).for_each(|row| row.copy_from_slice(bias)));
    matmul(Mat::new(x, n, d), Mat::new(weight, d, c), MatMut::new(z, n, c), Store::Add, pool);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Central differences in double precision, on scores z = x·w + b.
    #[test]
    fn gradient_agrees_with_finite_differences() {
        let (n, d, c) = (300, 4, 3);
        let pool = Pool::<f64>::new();
        let x: Vec<f64> = (0..n * d).map(|i| (i as f64 * 0.77).sin() * 2.0).collect();
        let labels: Vec<u32> = (0..n as u32).map(|i| i * 7 % 3).collect();
        let problem = Softmax { x: &x, labels: &labels, d, classes: c, pool: &pool };
        let theta: Vec<f64> = (0..(d + 1) * c).map(|i| (i as f64 * 1.3).cos()).collect();
        let (mut z, mut r) = (vec![f64::NAN; n * c], vec![f64::NAN; n * c]);
        let mut value = |theta: &[f64], r: &mut [f64]| {
            problem.scores(&theta[..d * c], &theta[d * c..], &mut z);
            problem.loss(&z, None, r).0
        };
        value(&theta, &mut r);
        let mut g = vec![f64::NAN; theta.len()];
        let (dw, db) = g.split_at_mut(d * c);
        problem.gradient(&r, dw, db);
        let h = 1e-5;
        for i in 0..theta.len() {
            let (mut up, mut down) = (theta.clone(), theta.clone());
            up[i] += h;
            down[i] -= h;
            let want = (value(&up, &mut r) - value(&down, &mut r)) / (2.0 * h);
            assert!((g[i] - want).abs() < 1e-9, "{i}: {} {want}", g[i]);
        }
    }

    #[test]
    fn slope_along_a_line_agrees_with_finite_differences() {
        let (n, c) = (600, 5);
        let pool = Pool::<f64>::new();
        let labels: Vec<u32> = (0..n as u32).map(|i| i % 5).collect();
        let problem = Softmax { x: &[], labels: &labels, d: 0, classes: c, pool: &pool };
        let z: Vec<f64> = (0..n * c).map(|i| (i as f64 * 0.3).sin() * 4.0).collect();
        let zp: Vec<f64> = (0..n * c).map(|i| (i as f64 * 1.7).cos()).collect();
        let mut r = vec![0.0; n * c];
        let at = |a: f64, r: &mut [f64]| problem.loss(&z, Some((a, &zp)), r);
        let (_, slope) = at(0.4, &mut r);
        let want = (at(0.4 + 1e-5, &mut r).0 - at(0.4 - 1e-5, &mut r).0) / 2e-5;
        assert!((slope - want).abs() < 1e-9, "{slope} {want}");
    }

    #[test]
    fn curvature_by_hand() {
        let pool = Pool::<f64>::new();
        let problem = Softmax { x: &[], labels: &[0, 1], d: 0, classes: 2, pool: &pool };
        let mut r = [0.0; 4];
        let (loss, _) = problem.loss(&[0.0, 0.0, 0.0, 3f64.ln()], None, &mut r);
        assert!((loss - (2f64.ln() - 0.75f64.ln()) / 2.0).abs() < 1e-12);
        let mean = (0.25 + 0.1875) / 2.0;
        let mut got = [0.0; 2];
        add_curvature(&r, 2, &mut got);
        assert!(got.iter().all(|h| (h - mean).abs() < 1e-12));
        assert_eq!(prior_curvature(&[0, 1], 2), [0.25, 0.25]);
    }
}
