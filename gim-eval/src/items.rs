//! The rows of each item, and the split of items into training and test.

use std::ops::Range;

pub use gim_core::data::Split;
use ndarray::{Array2, ArrayView2, ArrayViewMut1};
use rayon::prelude::*;

/// Rows of each item: items follow one another without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemIndex {
    /// First row of each item, and the number of rows as last entry.
    starts: Vec<usize>,
}

impl ItemIndex {
    /// From the number of rows of each item.
    pub fn from_counts(counts: impl IntoIterator<Item = usize>) -> Self {
        let mut starts = vec![0];
        let mut at = 0;
        for count in counts {
            at += count;
            starts.push(at);
        }
        Self { starts }
    }

    /// One row an item.
    pub fn single(n_items: usize) -> Self {
        Self { starts: (0..=n_items).collect() }
    }

    /// Number of items.
    pub fn n_items(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of rows of all items.
    pub fn n_rows(&self) -> usize {
        self.starts[self.n_items()]
    }

    /// Rows of item `i`.
    pub fn rows(&self, i: usize) -> Range<usize> {
        self.starts[i]..self.starts[i + 1]
    }

    /// Rows of every item, in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.starts.windows(2).map(|w| w[0]..w[1])
    }
}

/// Adds the rows of `item (n, D)` to `sums (D)`.
fn add_rows(item: ArrayView2<'_, f32>, sums: &mut [f64]) {
    for row in item.rows() {
        sums.iter_mut().zip(row).for_each(|(s, x)| *s += f64::from(*x));
    }
}

/// `out (D)` = mean of the rows of `item (n, D)`, summed in double precision.
pub(crate) fn mean_of_rows(item: ArrayView2<'_, f32>, mut out: ArrayViewMut1<'_, f32>) {
    let mut sums = vec![0f64; item.ncols()];
    add_rows(item, &mut sums);
    out.iter_mut().zip(&sums).for_each(|(o, s)| *o = (s / item.nrows() as f64) as f32);
}

/// The mean over the frames of one item that come in parts, by group of features; with the bits of
/// [`mean_over_time`].
#[derive(Debug, Clone, Default)]
pub struct Means {
    /// (D) for each group.
    sums: Vec<Vec<f64>>,
    rows: usize,
}

impl Means {
    /// Adds rows (n, D) of each group.
    pub fn add(&mut self, groups: &[Array2<f32>]) {
        self.sums.resize_with(groups.len(), Vec::new);
        for (sums, group) in self.sums.iter_mut().zip(groups) {
            sums.resize(group.ncols(), 0.0);
            add_rows(group.view(), sums);
        }
        self.rows += groups.first().map_or(0, Array2::nrows);
    }

    /// (1, D) for each group.
    pub fn finish(&self) -> Vec<Array2<f32>> {
        let mean =
            |sums: &Vec<f64>| Array2::from_shape_fn((1, sums.len()), |(_, d)| (sums[d] / self.rows as f64) as f32);
        self.sums.iter().map(mean).collect()
    }
}

/// Features of frames (N, D) → features of items (n_items, D): the mean over each item's frames.
///
/// An item without frames becomes NaN, which the probes refuse.
///
/// # Panics
/// When the index does not have N rows.
pub fn mean_over_time(features: ArrayView2<'_, f32>, index: &ItemIndex) -> Array2<f32> {
    assert_eq!(features.nrows(), index.n_rows(), "rows of the features and rows of the index");
    let mut means = Array2::zeros((index.n_items(), features.ncols()));
    let items: Vec<_> = means.rows_mut().into_iter().zip(index.iter()).collect();
    items.into_par_iter().for_each(|(out, rows)| mean_of_rows(features.slice(ndarray::s![rows, ..]), out));
    means
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn mean_over_time_by_hand() {
        let x = array![[1f32, 10.0], [3.0, 20.0], [5.0, 0.0]];
        let index = ItemIndex::from_counts([2, 1]);
        assert_eq!(mean_over_time(x.view(), &index), array![[2f32, 15.0], [5.0, 0.0]]);
        let mut means = Means::default();
        x.axis_chunks_iter(ndarray::Axis(0), 2).for_each(|part| means.add(&[part.to_owned()]));
        assert_eq!(means.finish(), [mean_over_time(x.view(), &ItemIndex::from_counts([3]))]);
        assert_eq!((index.n_items(), index.n_rows(), index.rows(1)), (2, 3, 2..3));
        assert_eq!(ItemIndex::single(3), ItemIndex::from_counts([1, 1, 1]));
    }
}
