//! An approximate inverse Hessian. It makes the number of iterations nearly independent of the
//! correlation of the features.
//!
//! The Hessian of the loss is Σ_n (diag p − ppᵀ)_n ⊗ x xᵀ / N + λI. The approximation replaces the first
//! factor by h, the mean of p(1 − p). Then all classes share the matrix A = h·XᵀX/N + λI = LLᵀ, and
//! A⁻¹v = MᵀMv with M = L⁻¹ costs two small products.

use gim_core::kernels::gemm::{Mat, MatMut, Store, matmul};
use gim_core::kernels::vector::{add_scaled, dot};
use gim_core::{Pool, Scalar};

/// Rows of a block of the factorization.
const BLOCK: usize = 64;
/// Dimensions above which the factorization, O(d³), costs more than it saves. Above it, the diagonal of
/// A is used.
pub(super) const MOST_DIMS: usize = 2048;

/// An approximate inverse Hessian for weight (d, classes) and bias (classes).
pub(super) struct Preconditioner<'a, F: Scalar> {
    /// M = L⁻¹, (d, d), lower triangle; `None` for the scaled identity.
    inverse: Option<Vec<F>>,
    scale: f64,
    bias_scale: f64,
    d: usize,
    pool: &'a Pool<F>,
}

/// XᵀX/n (d, d) of standardized rows x (n, d); `None` when d is too large to use it.
pub(super) fn gram<F: Scalar>(x: &[F], n: usize, d: usize, pool: &Pool<F>) -> Option<Vec<F>> {
    (d <= MOST_DIMS).then(|| {
        let mut g = vec![F::zero(); d * d];
        let x = Mat::new(x, n, d);
        matmul(x.t(), x, MatMut::new(&mut g, d, d), Store::Overwrite, pool);
        let share = F::of(1.0 / n as f64);
        g.iter_mut().for_each(|v| *v *= share);
        g
    })
}

impl<'a, F: Scalar> Preconditioner<'a, F> {
    /// For penalty `l2` where the mean of p(1 − p) is `h`.
    pub(super) fn new(gram: Option<&[F]>, d: usize, l2: f64, h: f64, pool: &'a Pool<F>) -> Self {
        let h = h.max(1e-4);
        // Directions without variance have curvature λ. The floor keeps A positive definite despite
        // rounding.
        let ridge = l2.max(1e-3 * h);
        let inverse = gram.map(|g| {
            let scratch = Pool::new();
            let mut a: Vec<f64> = g.iter().map(|v| v.f64() * h).collect();
            (0..d).for_each(|i| a[i * d + i] += ridge);
            cholesky(&mut a, d, ridge, &scratch);
            invert_lower(&a, d, &scratch).into_iter().map(F::of).collect()
        });
        Self { inverse, scale: 1.0 / (h + ridge), bias_scale: 1.0 / h, d, pool }
    }

    /// v ← A⁻¹v for v = weights (d, classes), then bias (classes).
    pub(super) fn apply(&self, v: &mut [f64], classes: usize) {
        let (d, c) = (self.d, classes);
        let (weight, bias) = v.split_at_mut(d * c);
        bias.iter_mut().for_each(|b| *b *= self.bias_scale);
        let Some(m) = &self.inverse else {
            weight.iter_mut().for_each(|w| *w *= self.scale);
            return;
        };
        let (mut a, mut b) = (self.pool.take(d * c), self.pool.take(d * c));
        // Scaled to 1 and back: late gradients are small enough for single precision to lose digits.
        let size = weight.iter().fold(0f64, |s, w| s.max(w.abs()));
        if size == 0.0 {
            return;
        }
        a.iter_mut().zip(weight.iter()).for_each(|(a, w)| *a = F::of(*w / size));
        let m = Mat::new(m, d, d);
        matmul(m, Mat::new(&a, d, c), MatMut::new(&mut b, d, c), Store::Overwrite, self.pool);
        matmul(m.t(), Mat::new(&b, d, c), MatMut::new(&mut a, d, c), Store::Overwrite, self.pool);
        weight.iter_mut().zip(a.iter()).for_each(|(w, a)| *w = a.f64() * size);
    }
}

/// A (d, d) → L in its lower triangle, A = LLᵀ. Pivots below `floor` are raised to it.
fn cholesky(a: &mut [f64], d: usize, floor: f64, pool: &Pool<f64>) {
    for from in (0..d).step_by(BLOCK) {
        let to = d.min(from + BLOCK);
        let width = to - from;
        // The block's columns, row by row: L_ij = (A_ij − Σ_k L_ik L_jk) / L_jj; earlier blocks are subtracted already.
        for i in from..d {
            for j in from..to.min(i + 1) {
                let (upper, lower) = a.split_at_mut(i * d);
                let row_i = &mut lower[..d];
                if i == j {
                    let pivot = row_i[i] - dot(&row_i[from..i], &row_i[from..i]);
                    row_i[i] = pivot.max(floor).sqrt();
                } else {
                    let row_j = &upper[j * d..][..d];
                    row_i[j] = (row_i[j] - dot(&row_i[from..j], &row_j[from..j])) / row_j[j];
                }
            }
        }
        // A₂₂ −= L₂₁ L₂₁ᵀ.
        let rest = d - to;
        if rest > 0 {
            let panel: Vec<f64> = (to..d).flat_map(|i| a[i * d + from..i * d + to].to_vec()).collect();
            let minus: Vec<f64> = panel.iter().map(|v| -v).collect();
            let below = MatMut::strided(&mut a[to * d + to..], rest, rest, d);
            matmul(Mat::new(&minus, rest, width), Mat::new(&panel, rest, width).t(), below, Store::Add, pool);
        }
    }
}

/// L (lower triangle of (d, d)) → M = L⁻¹, zero above the diagonal.
fn invert_lower(l: &[f64], d: usize, pool: &Pool<f64>) -> Vec<f64> {
    let mut m = vec![0.0; d * d];
    for from in (0..d).step_by(BLOCK) {
        let to = d.min(from + BLOCK);
        let (done, rest) = m.split_at_mut(from * d);
        let block = &mut rest[..(to - from) * d];
        // Rows of the block: L_ii M_i = I_i − Σ_{j<i} L_ij M_j; the sum over finished blocks is a product.
        if from > 0 {
            let left = Mat::strided(&l[from * d..], to - from, from, d);
            let above = Mat::strided(done, from, from, d);
            matmul(left, above, MatMut::strided(block, to - from, from, d), Store::Overwrite, pool);
            block.iter_mut().for_each(|v| *v = -*v);
        }
        for i in 0..to - from {
            let (upper, lower) = block.split_at_mut(i * d);
            let row = &mut lower[..d];
            row[from + i] += 1.0;
            let l_row = &l[(from + i) * d..][..d];
            for j in 0..i {
                add_scaled(&mut row[..to], -l_row[from + j], &upper[j * d..][..to]);
            }
            let pivot = 1.0 / l_row[from + i];
            row[..to].iter_mut().for_each(|v| *v *= pivot);
        }
    }
    m
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_and_inverts() {
        for d in [1, 5, 64, 65, 150] {
            let (n, pool) = (d + 20, Pool::new());
            let x: Vec<f64> = (0..n * d).map(|i| (i as f64 * 0.731).sin() + (i as f64 * 1.93).cos()).collect();
            let g = gram(&x, n, d, &pool).unwrap();
            let p = Preconditioner::new(Some(&g), d, 1e-2, 0.3, &pool);
            let v: Vec<f64> = (0..(d + 1) * 2).map(|i| (i as f64).sin()).collect();
            let mut u = v.clone();
            p.apply(&mut u, 2);
            // A u = v.
            for i in 0..d {
                for c in 0..2 {
                    let au: f64 = (0..d).map(|j| 0.3 * g[i * d + j] * u[j * 2 + c]).sum::<f64>() + 1e-2 * u[i * 2 + c];
                    assert!((au - v[i * 2 + c]).abs() < 1e-8, "d {d}: {au} {}", v[i * 2 + c]);
                }
            }
            assert!((u[d * 2] - v[d * 2] / 0.3).abs() < 1e-12);
        }
    }
}
