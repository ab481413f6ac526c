//! Similarity of two modules' features: linear centered kernel alignment (CKA) of the same rows; and how many
//! dimensions the features of one module use.
//!
//! Kornblith, Norouzi, Lee, Hinton 2019, "Similarity of Neural Network Representations Revisited",
//! section 3. With centered columns,
//!
//! ```text
//! CKA(X, Y) = HSIC(XXᵀ, YYᵀ) / √(HSIC(XXᵀ, XXᵀ) HSIC(YYᵀ, YYᵀ)) = ‖XᵀY‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F)
//! ```
//!
//! The right-hand form is computed. Its matrices are (D₁, D₂) instead of (N, N), which is smaller
//! with more rows than dimensions. CKA has no unit and lies in [0, 1]. It is invariant to
//! translation, rotation, reflection and isotropic scaling of the features, but not to scaling of
//! single dimensions.
//!
//! This is the biased estimate: independent features of N rows give about √(D₁D₂) / N for
//! D₁, D₂ ≪ N, and close to 1 for N ≪ D₁, D₂. Use many more rows than dimensions, and compare values
//! of the same number of rows only.

use gim_core::kernels::gemm::{Mat, MatMut, Store, matmul};
use gim_core::{Error, Pool, Result};
use ndarray::{Array2, ArrayView1, ArrayView2};
use rayon::prelude::*;

/// Rows of a product in single precision. Products of blocks are summed in double precision.
const BLOCK: usize = 1024;

/// Linear CKA of `x (N, D₁)` and `y (N, D₂)`, whose rows are the same examples in the same order. See
/// the [module](self).
///
/// Columns are centered here, in double precision. The result has an error below 1e-5, and does not
/// depend on the number of threads. Extra memory: a (D, D) matrix, D = max(D₁, D₂), and a block of rows
/// of each.
///
/// # Errors
/// When the numbers of rows differ or are less than 2, or a feature is not finite. When all rows of
/// `x` or of `y` are equal (CKA is 0/0) or have no dimensions.
pub fn linear_cka(x: ArrayView2<'_, f32>, y: ArrayView2<'_, f32>) -> Result<f64> {
    Ok(cka_matrix(&[x, y])?[[0, 1]])
}

/// Linear CKA of every pair of `groups`, each (N, D_i) with the same rows. Returns a symmetric matrix
/// (n_groups, n_groups) with ones on the diagonal.
///
/// Gives the same as [`linear_cka`] of each pair, but computes each product once.
///
/// # Errors
/// As [`linear_cka`], with the index of the group.
pub fn cka_matrix(groups: &[ArrayView2<'_, f32>]) -> Result<Array2<f64>> {
    let n = groups.first().map_or(0, |group| group.nrows());
    let centered =
        groups.iter().enumerate().map(|(i, group)| Centered::new(*group, i, n)).collect::<Result<Vec<_>>>()?;
    let pool = Pool::new();
    let own: Vec<f64> = centered.iter().map(|x| squared_norm(x, x, &pool)).collect();
    let mut cka = Array2::eye(groups.len());
    for i in 0..groups.len() {
        for j in 0..i {
            // Cauchy–Schwarz holds up to rounding only.
            let value = (squared_norm(&centered[i], &centered[j], &pool) / (own[i] * own[j]).sqrt()).min(1.0);
            cka[[i, j]] = value;
            cka[[j, i]] = value;
        }
    }
    Ok(cka)
}

/// How many dimensions `x (N, D)` uses: the participation ratio (Σλ)² / Σλ² of the eigenvalues λ of its covariance,
/// from 1 to D; D where all directions vary alike, 0 where nothing varies. `‖XᵀX‖²_F = Σλ²` spares the eigenvalues
/// themselves.
///
/// Source: Gao, Trautmann, Yu, Santhanam, Ryu, Shenoy, Ganguli 2017, "A theory of multineuronal dimensionality,
/// dynamics and measurement", eq. 5. As the effective rank of Roy and Vetterli (2007), with order 2 instead of 1 of
/// the entropy.
///
/// # Errors
/// When there are fewer than 2 rows, or a feature is not finite.
pub fn participation_ratio(x: ArrayView2<'_, f32>) -> Result<f64> {
    if x.nrows() > 1 && x.rows().into_iter().all(|row| row == x.row(0)) {
        return Ok(0.0);
    }
    let x = Centered::new(x, 0, x.nrows())?;
    let mut block = vec![0.0; BLOCK * x.dims()];
    let mut trace = 0.0;
    for from in (0..x.features.nrows()).step_by(BLOCK) {
        let rows = x.block(from, &mut block);
        trace += block[..rows * x.dims()].iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
    }
    Ok(trace * trace / squared_norm(&x, &x, &Pool::new()))
}

/// Features with the shift and scale of their columns.
struct Centered<'a> {
    features: ArrayView2<'a, f32>,
    /// Mean of each column; exactly the column's value if it is constant.
    mean: Vec<f64>,
    /// Scales the largest deviation to 1, against overflow in single precision. CKA is invariant to it.
    scale: f64,
}

impl<'a> Centered<'a> {
    /// Checks group `i`, which must have `n` rows.
    fn new(features: ArrayView2<'a, f32>, i: usize, n: usize) -> Result<Self> {
        let refuse = |what: String, remedy| Err(Error::data("similarity", format_args!("group {i} {what}"), remedy));
        if features.nrows() != n {
            let what = format!("has {} rows, group 0 has {n}", features.nrows());
            return refuse(what, "give features of the same examples");
        }
        if n < 2 {
            return refuse(format!("has {n} rows"), "give two rows at least, and many times more than dimensions");
        }
        if let Some(row) = features.rows().into_iter().position(|row| row.iter().any(|x| !x.is_finite())) {
            let what = format!("has features that are not finite in row {row}");
            return refuse(what, "train with a smaller rate, or leave this row out");
        }
        let mean = mean(features);
        let deviation = |row: ArrayView1<'_, f32>| {
            row.iter().zip(&mean).fold(0f64, |most, (x, mean)| most.max((f64::from(*x) - mean).abs()))
        };
        let largest = features.rows().into_iter().fold(0f64, |most, row| most.max(deviation(row)));
        if largest == 0.0 {
            let what = "has the same features in every row".to_owned();
            return refuse(what, "leave this group out; its module may have collapsed");
        }
        Ok(Self { features, mean, scale: 1.0 / largest })
    }

    fn dims(&self) -> usize {
        self.mean.len()
    }

    /// `out (rows, D)` = the block of rows from `from` on, centered and scaled; returns how many rows there are.
    fn block(&self, from: usize, out: &mut [f32]) -> usize {
        let rows = BLOCK.min(self.features.nrows() - from);
        out.par_chunks_mut(self.dims()).take(rows).with_min_len(16).enumerate().for_each(|(i, out)| {
            for ((out, x), mean) in out.iter_mut().zip(self.features.row(from + i)).zip(&self.mean) {
                *out = ((f64::from(*x) - mean) * self.scale) as f32;
            }
        });
        rows
    }
}

/// Mean of each column, summed as differences from the first row. This avoids cancellation far from
/// zero, and is exact for constant columns.
fn mean(features: ArrayView2<'_, f32>) -> Vec<f64> {
    let origin: Vec<f64> = features.row(0).iter().map(|x| f64::from(*x)).collect();
    let mut sums = vec![0f64; origin.len()];
    for row in features.rows() {
        sums.iter_mut().zip(row).zip(&origin).for_each(|((sum, x), origin)| *sum += f64::from(*x) - origin);
    }
    origin.iter().zip(&sums).map(|(origin, sum)| origin + sum / features.nrows() as f64).collect()
}

/// ‖XᵀY‖²_F of the centered features.
///
/// Blocks of rows are multiplied in single precision, which is fast, and summed in double precision.
/// So the error does not grow with the number of rows.
fn squared_norm(x: &Centered<'_>, y: &Centered<'_>, pool: &Pool<f32>) -> f64 {
    let (p, q) = (x.dims(), y.dims());
    let (mut a, mut b) = (pool.take(BLOCK * p), pool.take(BLOCK * q));
    let mut product = pool.take(p * q);
    let mut sums = vec![0f64; p * q];
    for from in (0..x.features.nrows()).step_by(BLOCK) {
        let rows = x.block(from, &mut a);
        y.block(from, &mut b);
        let (a, b) = (Mat::new(&a, rows, p), Mat::new(&b, rows, q));
        matmul(a.t(), b, MatMut::new(&mut product, p, q), Store::Overwrite, pool);
        sums.par_iter_mut().zip(&product[..]).with_min_len(BLOCK).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    sums.iter().map(|sum| sum * sum).sum()
}
