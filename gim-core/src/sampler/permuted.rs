//! Sampling method 1 of the published audio code: permutations of all positions of the batch.

use rand_chacha::ChaCha8Rng;

use super::{NegativeSampler, PredictionGrid, permutation_tail};

/// One permutation of all positions of the batch per negative. Prediction k uses its last `rows(k)`
/// entries, so successive predictions share their draws.
///
/// A negative is the positive itself with probability 1/positions.
#[derive(Debug, Default)]
pub struct Permuted {
    /// (N, rows(1)) last entries of the permutations; the others are never used.
    tails: Vec<u32>,
    scratch: Vec<u32>,
}

impl Permuted {
    /// As if the given permutations (N, positions) had been drawn.
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
        let contexts = grid.contexts(k);
        for (row, out) in out.chunks_exact_mut(grid.negatives).enumerate() {
            let (t, item, line) = grid.place(row);
            // The published code numbers rows item by item.
            let entry = first - rows + (item * contexts + t) * grid.across + line;
            for (n, out) in out.iter_mut().enumerate() {
                *out = self.tails[n * first + entry];
            }
        }
    }
}
