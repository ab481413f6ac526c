//! Published method 1: permutations of all positions of the batch.

use rand_chacha::ChaCha8Rng;

use super::{NegativeSampler, PredictionGrid, permutation_tail};

/// One permutation of all positions of the batch per negative; prediction k uses its last `rows(k)` entries.
///
/// Successive predictions share their draws, displaced. A negative can be the positive itself (once in `positions` draws).
#[derive(Debug, Default)]
pub struct Permuted {
    /// (negatives, rows(1)): the used tails of the permutations.
    tails: Vec<u32>,
    scratch: Vec<u32>,
}

impl Permuted {
    /// As if the given permutations (negatives, positions) had been drawn.
    pub fn from_permutations(grid: &PredictionGrid, permutations: &[u32]) -> Self {
        let rows = grid.rows(1);
        let tails = permutations.chunks(grid.positions()).flat_map(|p| &p[p.len() - rows..]).copied().collect();
        Self { tails, scratch: Vec::new() }
    }
}

impl NegativeSampler for Permuted {
    fn name(&self) -> &'static str {
        "permuted"
    }

    fn draw(&mut self, grid: &PredictionGrid, rng: &mut ChaCha8Rng) {
        let rows = grid.rows(1);
        self.tails.resize(grid.negatives * rows, 0);
        for tail in self.tails.chunks_mut(rows) {
            permutation_tail(grid.positions(), tail, &mut self.scratch, rng);
        }
    }

    fn negatives(&self, grid: &PredictionGrid, k: usize, out: &mut [u32]) {
        let (first, rows) = (grid.rows(1), grid.rows(k));
        let steps = grid.context_steps(k);
        for (row, out) in out.chunks_exact_mut(grid.negatives).enumerate() {
            let (step, item, col) = grid.place(row);
            // The published code numbers rows item by item.
            let entry = first - rows + (item * steps + step) * grid.cols + col;
            for (n, out) in out.iter_mut().enumerate() {
                *out = self.tails[n * first + entry];
            }
        }
    }
}
