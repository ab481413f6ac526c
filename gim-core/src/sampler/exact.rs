//! Published method 0: never the positive.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{NegativeSampler, Scene};

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

    fn draw(&mut self, scene: &Scene, rng: &mut ChaCha8Rng) {
        self.offsets.resize_with(scene.prediction_steps, Vec::new);
        for (k, offsets) in (1..).zip(&mut self.offsets) {
            let rows = scene.rows(k);
            offsets.clear();
            // A lone row has itself at every distance.
            let end = rows.max(2) as u32;
            offsets.extend((0..scene.negatives * rows).map(|_| rng.random_range(1..end)));
        }
    }

    fn negatives(&self, scene: &Scene, k: usize, out: &mut [u32]) {
        let (rows, steps) = (scene.rows(k), scene.context_steps(k));
        let offsets = &self.offsets[k - 1];
        for (row, out) in out.chunks_exact_mut(scene.negatives).enumerate() {
            let (step, item, col) = scene.place(row);
            let published = (item * steps + step) * scene.cols + col;
            for (n, out) in out.iter_mut().enumerate() {
                let other = (published + offsets[n * rows + published] as usize) % rows;
                let (item, rest) = (other / (steps * scene.cols), other % (steps * scene.cols));
                *out = scene.position(rest / scene.cols + scene.offset(k), item, rest % scene.cols) as u32;
            }
        }
    }
}
