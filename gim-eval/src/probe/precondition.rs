//! An approximate inverse Hessian. It makes the number of iterations nearly independent of the
//! correlation of the features.
//!
//! The Hessian of the loss is Σ_n (diag p − ppᵀ)_n ⊗ x xᵀ / N + λI. The approximation keeps the diagonal of
//! the first factor, and replaces it by its mean over rows: h_c, the mean of p_c(1 − p_c), which is small
//! for a rare class. Classes of similar h share a matrix A = h·XᵀX/N + λI = LLᵀ, and A⁻¹v = MᵀMv with
//! M = L⁻¹ costs two small products.

use gim_core::kernels::gemm::{Mat, MatMut, Store, matmul};
use gim_core::kernels::vector::{add_scaled, dot};
use gim_core::{Pool, Scalar};

/// Least mean of p(1 − p) that is believed: of a class that a start gives no probability, it would rise.
const LEAST_CURVATURE: f64 = 1e-4;
/// Least curvature of a direction, relative to h. It keeps A positive definite despite rounding.
const FLOOR: f64 = 1e-6;
/// Rows that are widened to double precision at a time.
const GRAM_ROWS: usize = 1024;
/// Rows of a block of the factorization.
const BLOCK: usize = 64;
/// Dimensions above which the factorization, O(d³), costs more than it saves. Above it, the diagonal of
/// A is used.
pub(super) const MOST_DIMS: usize = 2048;

/// Classes share a matrix if their h differ by at most this factor. Factorizations cost more than the few
/// iterations that a finer division would save.
const ALIKE: f64 = 4.0;

/// An approximate inverse Hessian for weight (d, classes) and bias (classes).
pub(super) struct Preconditioner {
    levels: Vec<Level>,
    bias_scale: Vec<f64>,
    d: usize,
    pool: Pool<f64>,
}

/// Classes that share a matrix.
struct Level {
    classes: Vec<usize>,
    /// M = L⁻¹, (d, d), lower triangle; `None` for the scaled identity.
    inverse: Option<Vec<f64>>,
    scale: f64,
}

/// XᵀX/n (d, d) of standardized rows x (n, d); `None` when d is too large to use it. In double precision:
/// features of a network are so alike that single precision would lose the directions in which they differ.
pub(super) fn gram<F: Scalar>(x: &[F], n: usize, d: usize) -> Option<Vec<f64>> {
    (d <= MOST_DIMS).then(|| {
        let pool = Pool::new();
        let mut g = vec![0.0; d * d];
        let mut some = pool.take((GRAM_ROWS * d).min(x.len()));
        for x in x.chunks(GRAM_ROWS * d) {
            some.iter_mut().zip(x).for_each(|(wide, x)| *wide = x.f64());
            let x = Mat::new(&some[..x.len()], x.len() / d, d);
            matmul(x.t(), x, MatMut::new(&mut g, d, d), Store::Add, &pool);
        }
        g.iter_mut().for_each(|v| *v /= n as f64);
        g
    })
}

impl Preconditioner {
    /// For penalty `l2` where the mean of p_c(1 − p_c) is `h` (classes).
    pub(super) fn new(gram: Option<&[f64]>, d: usize, l2: f64, h: &[f64]) -> Self {
        let pool = Pool::new();
        let h: Vec<f64> = h.iter().map(|h| h.max(LEAST_CURVATURE)).collect();
        let levels = alike(&h).into_iter().map(|classes| {
            let mean = classes.iter().map(|c| h[*c].ln()).sum::<f64>() / classes.len() as f64;
            let h = mean.exp();
            // Directions without variance have curvature λ.
            let ridge = l2.max(FLOOR * h);
            let inverse = gram.map(|g| {
                let mut a: Vec<f64> = g.iter().map(|v| v * h).collect();
                (0..d).for_each(|i| a[i * d + i] += ridge);
                cholesky(&mut a, d, ridge, &pool);
                invert_lower(&a, d, &pool)
            });
            Level { classes, inverse, scale: 1.0 / (h + ridge) }
        });
        let levels = levels.collect();
        Self { levels, bias_scale: h.iter().map(|h| 1.0 / h).collect(), d, pool }
    }

    /// v ← A⁻¹v for v = weights (d, classes), then bias (classes).
    pub(super) fn apply(&self, v: &mut [f64]) {
        let (d, all) = (self.d, self.bias_scale.len());
        let (weight, bias) = v.split_at_mut(d * all);
        bias.iter_mut().zip(&self.bias_scale).for_each(|(b, scale)| *b *= scale);
        for Level { classes, inverse, scale } in &self.levels {
            let own = |row: usize| classes.iter().map(move |c| row * all + c);
            let Some(m) = inverse else {
                (0..d).flat_map(own).for_each(|i| weight[i] *= scale);
                continue;
            };
            let c = classes.len();
            let (mut a, mut b) = (self.pool.take(d * c), self.pool.take(d * c));
            a.iter_mut().zip((0..d).flat_map(own)).for_each(|(a, i)| *a = weight[i]);
            let m = Mat::new(m, d, d);
            matmul(m, Mat::new(&a, d, c), MatMut::new(&mut b, d, c), Store::Overwrite, &self.pool);
            matmul(m.t(), Mat::new(&b, d, c), MatMut::new(&mut a, d, c), Store::Overwrite, &self.pool);
            a.iter().zip((0..d).flat_map(own)).for_each(|(a, i)| weight[i] = *a);
        }
    }
}

/// Classes by falling `h`, divided where h has fallen by more than [`ALIKE`].
fn alike(h: &[f64]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..h.len()).collect();
    order.sort_by(|a, b| h[*b].total_cmp(&h[*a]).then(a.cmp(b)));
    let mut levels: Vec<Vec<usize>> = Vec::new();
    for class in order {
        match levels.last_mut() {
            Some(level) if h[class] * ALIKE >= h[level[0]] => level.push(class),
            _ => levels.push(vec![class]),
        }
    }
    levels
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
            let n = d + 20;
            let x: Vec<f64> = (0..n * d).map(|i| (i as f64 * 0.731).sin() + (i as f64 * 1.93).cos()).collect();
            let g = gram(&x, n, d).unwrap();
            // Classes 0 and 2 share a matrix.
            let h = [0.4, 0.01, 0.1];
            let p = Preconditioner::new(Some(&g), d, 1e-2, &h);
            assert_eq!(p.levels.iter().map(|l| l.classes.clone()).collect::<Vec<_>>(), [vec![0, 2], vec![1]]);
            let v: Vec<f64> = (0..(d + 1) * 3).map(|i| (i as f64).sin()).collect();
            let mut u = v.clone();
            p.apply(&mut u);
            // A u = v.
            for i in 0..d {
                for (c, h) in [0.2, 0.01, 0.2].into_iter().enumerate() {
                    let au: f64 = (0..d).map(|j| h * g[i * d + j] * u[j * 3 + c]).sum::<f64>() + 1e-2 * u[i * 3 + c];
                    assert!((au - v[i * 3 + c]).abs() < 1e-8, "d {d}: {au} {}", v[i * 3 + c]);
                }
            }
            assert!(h.iter().enumerate().all(|(c, h)| (u[d * 3 + c] - v[d * 3 + c] / h).abs() < 1e-12));
        }
    }
}
