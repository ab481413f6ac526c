//! The published vision sampler: uniform over the targets of the same prediction.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{NegativeSampler, PredictionGrid};

/// Uniform, with replacement, over the targets of the same prediction. A negative can be the positive
/// itself.
#[derive(Debug, Default)]
pub struct Targets {
    /// For each k: (rows(k), N) rows whose targets are the negatives. Rows are in the published order
    /// (t, line, item).
    rows: Vec<Vec<u32>>,
}

impl Targets {
    /// As if these rows had been drawn, a (rows(k), N) table for each k.
    pub fn from_rows(rows: Vec<Vec<u32>>) -> Self {
        Self { rows }
    }
}

impl NegativeSampler for Targets {
    fn name(&self) -> &'static str {
        "targets"
    }

    fn draw(&mut self, grid: &PredictionGrid, rng: &mut ChaCha8Rng) {
        self.rows.resize_with(grid.prediction_steps, Vec::new);
        for (k, rows) in (1..).zip(&mut self.rows) {
            let n = grid.rows(k);
            rows.clear();
            rows.extend((0..n * grid.negatives).map(|_| rng.random_range(0..n as u32)));
        }
    }

    fn negatives(&self, grid: &PredictionGrid, k: usize, out: &mut [u32]) {
        let drawn = &self.rows[k - 1];
        for (row, out) in out.chunks_exact_mut(grid.negatives).enumerate() {
            let (t, item, line) = grid.place(row);
            let published = (t * grid.across + line) * grid.items + item;
            for (out, other) in out.iter_mut().zip(&drawn[published * grid.negatives..]) {
                let (item, rest) = (*other as usize % grid.items, *other as usize / grid.items);
                *out = grid.position(rest / grid.across + grid.offset(k), item, rest % grid.across) as u32;
            }
        }
    }
}
