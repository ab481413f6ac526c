//! Negatives from a share of the batch, as data-parallel replicas draw them.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;

use super::{NegativeSampler, PredictionGrid};

/// Cuts a batch into shares of contiguous items, within each of which a sampler of its own draws.
///
/// Share s of S has the items ⌊s·n/S⌋ .. ⌊(s+1)·n/S⌋ of n. It draws what the sampler would draw for a
/// batch of these items alone, from stream s of the generator. So one share is the sampler itself, and
/// a share can be drawn without the others. All shares score the same window.
///
/// Published code under PyTorch's `DataParallel` draws negatives on each device, from its own part of
/// the batch. Differs from it: there, each device has a window of its own.
pub struct Shares {
    samplers: Vec<Box<dyn NegativeSampler>>,
    /// For each k: (rows(k), N) negatives as position numbers of the whole batch.
    negatives: Vec<Vec<u32>>,
    /// (rows(k), N) negatives of one share, as its own position numbers.
    scratch: Vec<u32>,
}

impl Shares {
    /// Shares that draw by these samplers, of one kind.
    ///
    /// # Panics
    /// When there are none.
    pub fn new(samplers: Vec<Box<dyn NegativeSampler>>) -> Self {
        assert!(!samplers.is_empty(), "a batch has one share or more");
        Self { samplers, negatives: Vec::new(), scratch: Vec::new() }
    }

    /// Items of share `share` of `shares` in a batch of `items`.
    pub fn items(items: usize, share: usize, shares: usize) -> Range<usize> {
        items * share / shares..items * (share + 1) / shares
    }
}

impl NegativeSampler for Shares {
    fn name(&self) -> &'static str {
        self.samplers[0].name()
    }

    fn shares(&self) -> usize {
        self.samplers.len()
    }

    fn draw(&mut self, grid: &PredictionGrid, rng: &mut ChaCha8Rng) {
        let (shares, n) = (self.samplers.len(), grid.negatives);
        self.negatives.resize_with(grid.prediction_steps, Vec::new);
        for (k, negatives) in (1..).zip(&mut self.negatives) {
            negatives.resize(grid.rows(k) * n, 0);
        }
        for (share, sampler) in self.samplers.iter_mut().enumerate() {
            let items = Self::items(grid.items, share, shares);
            let own = PredictionGrid { items: items.len(), ..*grid };
            let first = (items.start * grid.along * grid.across) as u32;
            let mut stream = rng.clone();
            stream.set_stream(share as u64);
            sampler.draw(&own, &mut stream);
            for (k, negatives) in (1..).zip(&mut self.negatives) {
                self.scratch.resize(own.rows(k) * n, 0);
                sampler.negatives(&own, k, &mut self.scratch);
                for (row, from) in self.scratch.chunks_exact(n).enumerate() {
                    let (t, item, line) = own.place(row);
                    let row = (t * grid.items + items.start + item) * grid.across + line;
                    negatives[row * n..][..n].iter_mut().zip(from).for_each(|(to, from)| *to = first + from);
                }
            }
        }
    }

    fn negatives(&self, _: &PredictionGrid, k: usize, out: &mut [u32]) {
        out.copy_from_slice(&self.negatives[k - 1]);
    }
}
