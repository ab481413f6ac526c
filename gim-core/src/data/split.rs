//! The parts of a dataset, the held-out fifth of one without parts, and the order of an epoch.
//!
//! Both depend on the seed and the number of items alone.

use rand::RngExt;

use crate::{Key, Purpose};

/// A part of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// To train on without labels: the part that has none, or without such a part the same as [`Train`](Self::Train).
    Unlabeled,
    /// To train on with labels; probes are fitted on it.
    Train,
    /// To evaluate on.
    Test,
}

/// What a folder of a dataset holds, by its name; or a row of a [`Manifest`](super::Manifest), by its cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitFolder {
    /// `train` or `training`.
    Train,
    /// `test` or `testing`.
    Test,
    /// `val`, `valid`, `validation` or `dev`.
    Val,
    /// `unlabeled` or `unlabelled`.
    Unlabeled,
}

impl SplitFolder {
    /// The part that a name stands for, in any case; `None` for other names.
    pub fn of(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "train" | "training" => Some(Self::Train),
            "test" | "testing" => Some(Self::Test),
            "val" | "valid" | "validation" | "dev" => Some(Self::Val),
            "unlabeled" | "unlabelled" => Some(Self::Unlabeled),
            _ => None,
        }
    }
}

/// Permutes `items`: Fisher–Yates on the key's stream. Written out so that the order outlives changes of library.
pub fn shuffle<T>(items: &mut [T], key: Key) {
    let mut rng = key.rng();
    for i in (1..items.len()).rev() {
        items.swap(i, below(rng.random(), i + 1));
    }
}

/// Draws a fifth of a group's items for testing, at least one if there are two or more. Moves them to the
/// front and returns their number. Each group of a corpus (a speaker, a class) draws for itself.
pub fn draw_fifth<T>(items: &mut [T], seed: u64, group: usize) -> usize {
    shuffle(items, Key::new(seed, Purpose::Probe).with_item(group as u32));
    if items.len() < 2 { 0 } else { ((items.len() + 2) / 5).max(1) }
}

/// Draws a share of the items, rounded, to validate on: at least one, and never all. Moves them to the
/// front and returns their number.
pub fn draw_share<T>(items: &mut [T], share: f64, seed: u64) -> usize {
    shuffle(items, Key::new(seed, Purpose::Validate));
    let n = (share * items.len() as f64).round() as usize;
    n.max(1).min(items.len().saturating_sub(1))
}

/// A number in 0..n from 64 random bits. The bias is at most n/2⁶⁴.
pub fn below(bits: u64, n: usize) -> usize {
    ((u128::from(bits) * n as u128) >> 64) as usize
}

/// The order of items: a new permutation for each epoch, cut into batches.
#[derive(Debug, Clone)]
pub struct EpochOrder {
    n: usize,
    batch: usize,
    seed: u64,
    keep_last: bool,
    /// The order of the current epoch.
    order: Vec<u32>,
    epoch: Option<u32>,
}

impl EpochOrder {
    /// Over items 0 .. n, at least `batch` of them, `batch` positive.
    pub fn new(n: usize, batch: usize, seed: u64) -> Self {
        assert!(batch > 0 && n >= batch && n <= u32::MAX as usize, "{n} items, batch {batch}");
        Self { n, batch, seed, keep_last: false, order: Vec::with_capacity(n), epoch: None }
    }

    /// Whether an epoch ends with what is left of its items, in a short batch.
    #[must_use]
    pub fn keep_last(self, keep_last: bool) -> Self {
        Self { keep_last, ..self }
    }

    /// Training steps in an epoch. An incomplete last batch is left out, unless it is kept.
    pub fn epoch_len(&self) -> u64 {
        (if self.keep_last { self.n.div_ceil(self.batch) } else { self.n / self.batch }) as u64
    }

    /// Sizes of batches: of full ones and, where an incomplete last one is kept, of that.
    pub fn sizes(&self) -> impl Iterator<Item = usize> {
        let last = self.n % self.batch;
        std::iter::once(self.batch).chain((self.keep_last && last > 0).then_some(last))
    }

    /// Epoch of a training step (0-based, counted over the whole run), and the items of its batch.
    pub fn batch(&mut self, step: u64) -> (u32, &[u32]) {
        let (epoch, within) = ((step / self.epoch_len()) as u32, (step % self.epoch_len()) as usize);
        if self.epoch != Some(epoch) {
            self.order.clear();
            self.order.extend(0..self.n as u32);
            shuffle(&mut self.order, Key::new(self.seed, Purpose::Shuffle).with_epoch(epoch));
            self.epoch = Some(epoch);
        }
        let first = within * self.batch;
        (epoch, &self.order[first..(first + self.batch).min(self.n)])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    /// Which items depends on the order they come in, the seed and the group, for ever: corpora are split by it.
    #[test]
    fn a_fifth_is_drawn() {
        let fifth = |n: usize, seed, group| {
            let mut items: Vec<usize> = (0..n).collect();
            let fifth = draw_fifth(&mut items, seed, group);
            let drawn = items[..fifth].to_vec();
            items.sort_unstable();
            assert!(items.iter().copied().eq(0..n));
            drawn
        };
        assert_eq!([0, 1, 2, 7, 8, 10, 100].map(|n| fifth(n, 0, 0).len()), [0, 0, 1, 1, 2, 2, 20]);
        assert_eq!(fifth(100, 3, 1), fifth(100, 3, 1));
        assert_ne!(fifth(100, 3, 1), fifth(100, 3, 2));
        assert_ne!(fifth(100, 3, 1), fifth(100, 4, 1));
    }

    #[test]
    fn a_share_is_drawn_but_never_all() {
        let share = |n: usize, share, seed| {
            let mut items: Vec<usize> = (0..n).collect();
            let drawn = draw_share(&mut items, share, seed);
            items.truncate(drawn);
            items
        };
        assert_eq!([0, 1, 2, 3, 10, 100].map(|n| share(n, 0.2, 0).len()), [0, 0, 1, 1, 2, 20]);
        assert_eq!(share(3, 0.999, 0).len(), 2);
        assert_eq!(share(100, 0.2, 3), share(100, 0.2, 3));
        assert_ne!(share(100, 0.2, 3), share(100, 0.2, 4));
    }

    #[test]
    fn an_epoch_is_a_permutation() {
        let mut order = EpochOrder::new(10, 3, 7);
        assert_eq!(order.epoch_len(), 3);
        let mut epochs = Vec::new();
        for epoch in 0..2u32 {
            let mut seen: Vec<u32> = Vec::new();
            for step in 0..3 {
                let (e, items) = order.batch(u64::from(epoch) * 3 + step);
                assert_eq!(e, epoch);
                seen.extend(items);
            }
            let mut sorted = seen.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), 9);
            epochs.push(seen);
        }
        assert_ne!(epochs[0], epochs[1]);
        assert_eq!(EpochOrder::new(10, 3, 7).batch(4).1, &epochs[1][3..6]);
    }

    #[test]
    fn a_short_last_batch_can_be_kept() {
        let mut order = EpochOrder::new(10, 3, 7).keep_last(true);
        assert_eq!(order.epoch_len(), 4);
        assert!(order.sizes().eq([3, 1]));
        let epoch: Vec<Vec<u32>> = (4..8).map(|step| order.batch(step).1.to_vec()).collect();
        assert_eq!(epoch.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 1]);
        let mut all = epoch.concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..10), "every item once an epoch");
        // Full batches are those of an order that leaves the last one out.
        let mut dropping = EpochOrder::new(10, 3, 7);
        assert!((3..6).all(|step| dropping.batch(step).1 == epoch[step as usize - 3]));
        let even = EpochOrder::new(9, 3, 7).keep_last(true);
        assert!(even.epoch_len() == 3 && even.sizes().eq([3]));
    }
}
