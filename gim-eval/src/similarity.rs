//! How alike are two modules' features? Linear centered kernel alignment (CKA) of the same rows.
//!
//! Kornblith, Norouzi, Lee, Hinton 2019, "Similarity of Neural Network Representations Revisited", section 3: with columns
//! centered,
//!
//! ```text
//! CKA(X, Y) = HSIC(XXᵀ, YYᵀ) / √(HSIC(XXᵀ, XXᵀ) HSIC(YYᵀ, YYᵀ)) = ‖XᵀY‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F)
//! ```
//!
//! The right-hand form is computed: its matrices have the size of the dimensions, (D₁, D₂), where those of the definition are
//! (N, N), and there are many more rows than dimensions. CKA has no unit and lies in [0, 1]; it does not change when features
//! are moved, turned, reflected or scaled as a whole, but does when single dimensions are scaled.
//!
//! It is the biased estimate: independent features of N rows do not give 0 but about √(D₁D₂) / N as long as D₁, D₂ ≪ N, and
//! approach 1 when N ≪ D₁, D₂. Compare numbers made from the same number of rows, and give many times more rows than dimensions.

use gim_core::kernels::gemm::{Mat, MatMut, Store, matmul};
use gim_core::{Error, Pool, Result};
use ndarray::{Array2, ArrayView1, ArrayView2};
use rayon::prelude::*;

/// Rows of a product in single precision; the products of blocks are added up in double.
const BLOCK: usize = 1024;

/// Linear CKA of `x (N, D₁)` and `y (N, D₂)`, whose rows are the same examples in the same order; see the [module](self).
///
/// Columns are centered here, in double precision. The result is good to 1e-5, and the same for any number of threads. Memory
/// beside the features is a matrix of the greater D by the greater D and a block of rows of each.
///
/// # Errors
/// When the numbers of rows differ or are less than 2, or a feature is not finite; when all rows of `x` or of `y` are the same
/// (CKA is 0/0 there) or have no dimensions.
pub fn linear_cka(x: ArrayView2<'_, f32>, y: ArrayView2<'_, f32>) -> Result<f64> {
    Ok(cka_matrix(&[x, y])?[[0, 1]])
}

/// Linear CKA of every pair of `groups`, each (N, D_i) with the same rows: symmetric (n_groups, n_groups), 1 on the diagonal.
///
/// As [`linear_cka`] of each pair, but the products ‖XᵀX‖ are made once a group and those of pairs once a pair. No groups give
/// (0, 0).
///
/// # Errors
/// As [`linear_cka`], with the number of the group that is to blame.
pub fn cka_matrix(groups: &[ArrayView2<'_, f32>]) -> Result<Array2<f64>> {
    let n = groups.first().map_or(0, |group| group.nrows());
    let centered =
        groups.iter().enumerate().map(|(i, group)| Centerd::new(*group, i, n)).collect::<Result<Vec<_>>>()?;
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

/// Features, and what makes columns of mean 0 of them.
struct Centerd<'a> {
    features: ArrayView2<'a, f32>,
    /// Mean of each column; exactly the column's number when it does not vary.
    mean: Vec<f64>,
    /// Brings the largest deviation to 1, so that nothing overflows in single precision. CKA does not see it.
    scale: f64,
}

impl<'a> Centerd<'a> {
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

/// Mean of each column, summed as differences from the first row: no cancellation when it is far from zero, and no rounding in
/// a column that does not vary.
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
/// Blocks of rows are multiplied in single precision, where the kernels are fast, and added up in double: the error does not
/// grow with the number of rows.
fn squared_norm(x: &Centerd<'_>, y: &Centerd<'_>, pool: &Pool<f32>) -> f64 {
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
