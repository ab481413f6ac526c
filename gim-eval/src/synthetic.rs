//! Synthetic features with classes, for measurements without a dataset.

use gim_core::kernels::gemm::{Mat, MatMut, Store, matmul};
use gim_core::{Error, Pool, Result, testing::uniform};
use ndarray::Array2;

use crate::examples::Examples;
use crate::items::{ItemIndex, Split};

/// Features `(items · frames, d)`, correlated and nonnegative like the output of a ReLU layer:
/// y = max(0, A·h + b). The hidden h has d/4 dimensions; some carry the class, scaled by `strength`.
/// Every tenth item is a test item.
///
/// # Errors
/// When there are no rows or dimensions, or fewer than two classes.
pub fn examples(items: usize, frames: usize, d: usize, classes: usize, strength: f32) -> Result<Examples> {
    if items * frames == 0 || d == 0 || classes < 2 {
        let what = format!("{items} items of {frames} rows, {d} dimensions and {classes} classes are no problem");
        return Err(Error::config("synthetic features", what, "use 1 or more, and 2 classes or more"));
    }
    let (n, hidden) = (items * frames, d.div_ceil(4));
    let narrow = |v: Vec<f64>| v.into_iter().map(|x| x as f32).collect::<Vec<f32>>();
    let mut h = narrow(uniform(n * hidden, 1));
    let labels: Vec<i32> = uniform(n, 4).iter().map(|u| (((u + 1.0) / 2.0).powi(2) * classes as f64) as i32).collect();
    for (row, label) in h.chunks_exact_mut(hidden).zip(&labels) {
        for (j, v) in row.iter_mut().enumerate() {
            // Later hidden dimensions vary less: an ill-conditioned problem.
            *v = *v / (1.0 + j as f32 / 8.0)
                + if j % classes == *label as usize { strength / (1.0 + j as f32 / 8.0) } else { 0.0 };
        }
    }
    let mix = narrow(uniform(hidden * d, 2));
    let mut x = vec![0f32; n * d];
    matmul(
        Mat::new(&h, n, hidden),
        Mat::new(&mix, hidden, d),
        MatMut::new(&mut x, n, d),
        Store::Overwrite,
        &Pool::new(),
    );
    let noise = narrow(uniform(n * 7 + d, 3));
    x.iter_mut().enumerate().for_each(|(i, v)| *v = (*v + 0.1 * noise[i % noise.len()] - 0.1).max(0.0));
    let features = Array2::from_shape_vec((n, d), x).unwrap_or_else(|e| unreachable!("x has n · d values: {e}"));
    let split = (0..items).map(|i| if i % 10 == 9 { Split::Test } else { Split::Train }).collect();
    Examples::per_frame(features, labels, classes, ItemIndex::from_counts(vec![frames; items]), split)
}
