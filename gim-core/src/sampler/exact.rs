//! Published method 0: never the positive.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{NegativeSampler, PredictionGrid};

/// Another row's positive of the same prediction, at a random cyclic distance 1..rows−1: never one's own, unless there is no
/// other row.
///
/// Negatives come from the window only, and every (row, negative, k) has a draw of its own.
#[derive(Debug, Default)]
pub struct Exact {
    /// For each k: (negatives, rows(k)) offsets in the published row order (item by item).
    offsets: Vec<Vec<u32>>,
}

impl Exact {
    /// As if these offsets had been drawn, a (negatives, rows(k)) table for each k.
    pub fn from_offsets(offsets: Vec<Vec<u32>>) -> Self {
        Self { offsets }
    }
}

impl NegativeSampler for Exact {
    fn name(&self) -> &'static str {
        "exact"
    }

    fn draw(&mut self, grid: &PredictionGrid, rng: &mut ChaCha8Rng) {
        self.offsets.resize_with(grid.prediction_steps, Vec::new);
        for (k, offsets) in (1..).zip(&mut self.offsets) {
            let rows = grid.rows(k);
            offsets.clear();
            // A lone row has itself at every distance.
            let end = rows.max(2) as u32;
            offsets.extend((0..grid.negatives * rows).map(|_| rng.random_range(1..end)));
        }
    }

    fn negatives(&self, grid: &PredictionGrid, k: usize, out: &mut [u32]) {
        let (rows, steps) = (grid.rows(k), grid.context_steps(k));
        let offsets = &self.offsets[k - 1];
        for (row, out) in out.chunks_exact_mut(grid.negatives).enumerate() {
            let (step, item, col) = grid.place(row);
            let published = (item * steps + step) * grid.cols + col;
            for (n, out) in out.iter_mut().enumerate() {
                let other = (published + offsets[n * rows + published] as usize) % rows;
                let (item, rest) = (other / (steps * grid.cols), other % (steps * grid.cols));
                *out = grid.position(rest / grid.cols + grid.offset(k), item, rest % grid.cols) as u32;
            }
        }
    }
}
