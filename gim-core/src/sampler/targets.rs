//! The published vision sampler: uniform over the targets of the same prediction.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{NegativeSampler, Scene};

/// Uniform with replacement over the targets of the prediction; can be the positive.
#[derive(Debug, Default)]
pub struct Targets {
    /// For each k: (rows(k), negatives) rows whose targets are the negatives, rows in the published order (step, column, item).
    rows: Vec<Vec<u32>>,
}

impl Targets {
    /// As if these rows had been drawn, a (rows(k), negatives) table for each k.
    pub fn from_rows(rows: Vec<Vec<u32>>) -> Self {
        Self { rows }
    }
}

impl NegativeSampler for Targets {
    fn name(&self) -> &'static str {
        "targets"
    }

    fn draw(&mut self, scene: &Scene, rng: &mut ChaCha8Rng) {
        self.rows.resize_with(scene.prediction_steps, Vec::new);
        for (k, rows) in (1..).zip(&mut self.rows) {
            let n = scene.rows(k);
            rows.clear();
            rows.extend((0..n * scene.negatives).map(|_| rng.random_range(0..n as u32)));
        }
    }

    fn negatives(&self, scene: &Scene, k: usize, out: &mut [u32]) {
        let drawn = &self.rows[k - 1];
        for (row, out) in out.chunks_exact_mut(scene.negatives).enumerate() {
            let (step, item, col) = scene.place(row);
            let published = (step * scene.cols + col) * scene.items + item;
            for (out, other) in out.iter_mut().zip(&drawn[published * scene.negatives..]) {
                let (item, rest) = (*other as usize % scene.items, *other as usize / scene.items);
                *out = scene.position(rest / scene.cols + scene.offset(k), item, rest % scene.cols) as u32;
            }
        }
    }
}
