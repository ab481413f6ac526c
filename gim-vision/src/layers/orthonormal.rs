//! Random orthonormal matrices for initialization, by the QR decomposition of LAPACK.
//!
//! LAPACK runs here and never in a training step: its last bits may differ between libraries.

use gim_core::{Error, Key, Result};
use ndarray::Array2;
use ndarray_linalg::QR;
use rand::RngExt;

/// A (rows, cols) matrix with orthonormal rows or columns, whichever are fewer: QR of a Gaussian matrix, with the signs that
/// make it uniform over such matrices (Mezzadri 2007).
///
/// # Errors
/// When the decomposition fails.
pub(crate) fn orthonormal(rows: usize, cols: usize, key: Key) -> Result<Array2<f64>> {
    let (long, short) = (rows.max(cols), rows.min(cols));
    let mut rng = key.rng();
    let mut normal = || {
        // Box–Muller; 1 − u keeps the logarithm finite.
        let (u, v): (f64, f64) = (rng.random(), rng.random());
        (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    };
    let a = Array2::from_shape_simple_fn((long, short), &mut normal);
    let (mut q, r) = a
        .qr()
        .map_err(|e| Error::config("network.init", format_args!("an orthogonal matrix failed: {e}"), "use uniform"))?;
    for (mut column, pivot) in q.columns_mut().into_iter().zip(r.diag()) {
        column *= pivot.signum();
    }
    Ok(if rows >= cols { q } else { q.reversed_axes() })
}

#[cfg(test)]
mod tests {
    use gim_core::Purpose;

    use super::*;

    #[test]
    fn rows_or_columns_are_orthonormal() {
        for (rows, cols) in [(5, 3), (3, 5), (4, 4), (1, 7)] {
            let q = orthonormal(rows, cols, Key::new(1, Purpose::Init)).unwrap();
            assert_eq!(q.dim(), (rows, cols));
            let gram = if rows >= cols { q.t().dot(&q) } else { q.dot(&q.t()) };
            for ((i, j), v) in gram.indexed_iter() {
                assert!((v - f64::from(u8::from(i == j))).abs() < 1e-12);
            }
        }
    }
}
