//! ABX: how well features tell phones apart, without fitting anything.
//!
//! Schatz, Peddinti, Bach, Jansen, Hermansky, Dupoux 2013, "Evaluating speech features with the minimal-pair ABX
//! task"; as CPC_audio computes it (Rivière, Joulin, Mazaré, Dupoux 2020, "Unsupervised pretraining transfers well
//! across languages").
//!
//! An item is a triphone. A and X are the same triphone, B differs in the middle phone. X is mistaken when it is
//! farther from A than from B; a tie is half a mistake. A and B are of one speaker. X is of the same speaker
//! (within) or of another (across). The error of a pair of phones is the mean over contexts, then over
//! speakers; the error of the features is the mean over pairs.
//!
//! The distance of two items is the mean over the best path of dynamic time warping of the angle between frames,
//! in half turns.

mod items;

use std::collections::BTreeMap;
use std::ops::Range;

use gim_core::data::shuffle;
use gim_core::{Error, Key, Purpose, Result};
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

pub use items::{Items, listed_items, triphones};

/// A triphone of a speaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbxItem {
    /// Its rows of the features.
    pub rows: Range<usize>,
    /// Number of the pair of phones beside the middle one.
    pub context: usize,
    /// Number of the middle phone.
    pub phone: usize,
    /// Number of the speaker.
    pub speaker: usize,
}

/// How ABX errors are computed; the default is that of CPC_audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abx {
    /// Most items of a speaker, phone and context; more are drawn from.
    pub most_items: usize,
    /// Most other speakers whose X is compared with the A of a speaker; more are drawn from.
    pub most_speakers: usize,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Abx {
    fn default() -> Self {
        Self { most_items: 20, most_speakers: 5, seed: 0 }
    }
}

/// Errors of features.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AbxErrors {
    /// X is of the speaker of A and B; none without two items of one speaker, phone and context beside another phone.
    pub within: Option<f64>,
    /// X is of another speaker.
    pub across: Option<f64>,
    /// Ordered pairs of phones that `within` is the mean of.
    pub within_pairs: usize,
    /// The same of `across`.
    pub across_pairs: usize,
}

/// Items of one phone, by speaker and context.
type Group = Vec<usize>;
/// Speaker of A and B, phone of A and X, phone of B, speaker of X.
type Cell = (usize, usize, usize, usize);
/// A cell, and the error in one context.
type CellError = (Cell, f64);

impl Abx {
    /// Errors of `features (N, D)` on items whose rows are theirs. Results do not depend on the number of threads.
    ///
    /// # Errors
    /// When an item has no rows or rows that the features lack, or a feature is not finite.
    pub fn errors(&self, features: ArrayView2<'_, f32>, items: &[AbxItem]) -> Result<AbxErrors> {
        if let Some(item) = items.iter().find(|i| i.rows.is_empty() || i.rows.end > features.nrows()) {
            let what = format!("an item has rows {:?} of {}", item.rows, features.nrows());
            return Err(Error::data("abx", what, "make items of these features"));
        }
        let units = units(features)?;
        let groups = self.groups(items);
        // (context, speaker) → phone → items: what A and B are taken from.
        let mut spoken: BTreeMap<(usize, usize), BTreeMap<usize, &Group>> = BTreeMap::new();
        // (context, phone) → speaker → items: what X is taken from.
        let mut said: BTreeMap<(usize, usize), BTreeMap<usize, &Group>> = BTreeMap::new();
        for ((context, speaker, phone), group) in &groups {
            spoken.entry((*context, *speaker)).or_default().insert(*phone, group);
            said.entry((*context, *phone)).or_default().insert(*speaker, group);
        }
        let spoken: Vec<_> = spoken.into_iter().collect();
        let compared: Vec<(Vec<CellError>, Vec<CellError>)> = spoken
            .par_iter()
            .enumerate()
            .map(|(n, ((context, speaker), phones))| {
                let mut scratch = Scratch { units: &units, items, cost: Vec::new() };
                let (mut within, mut across) = (Vec::new(), Vec::new());
                for (a, of_a) in phones {
                    let others = said[&(*context, *a)].iter().filter(|(other, _)| *other != speaker);
                    let mut others: Vec<(usize, &Group)> = others.map(|(other, group)| (*other, *group)).collect();
                    if others.len() > self.most_speakers {
                        shuffle(&mut others, self.key(1).with_step(n as u64).with_item(*a as u32));
                        others.truncate(self.most_speakers);
                    }
                    // Neither depends on B.
                    let own = (of_a.len() > 1).then(|| scratch.distances(of_a, of_a));
                    let theirs: Vec<_> = others.iter().map(|(_, x)| scratch.distances(x, of_a)).collect();
                    for (b, of_b) in phones.iter().filter(|(b, _)| *b != a) {
                        if let Some(to_a) = &own {
                            let to_b = scratch.distances(of_a, of_b);
                            within.push(((*speaker, *a, *b, *speaker), mistaken(to_a, &to_b, true)));
                        }
                        for ((other, x), to_a) in others.iter().zip(&theirs) {
                            let to_b = scratch.distances(x, of_b);
                            across.push(((*speaker, *a, *b, *other), mistaken(to_a, &to_b, false)));
                        }
                    }
                }
                (within, across)
            })
            .collect();
        let (within, across): (Vec<_>, Vec<_>) = compared.into_iter().unzip();
        let ((within, within_pairs), (across, across_pairs)) = (mean(within.concat()), mean(across.concat()));
        Ok(AbxErrors { within, across, within_pairs, across_pairs })
    }

    fn key(&self, what: u32) -> Key {
        Key::new(self.seed, Purpose::Probe).with_module(what)
    }

    /// Items by context, speaker and phone; some of each where there are too many.
    fn groups(&self, items: &[AbxItem]) -> BTreeMap<(usize, usize, usize), Group> {
        let mut groups: BTreeMap<_, Group> = BTreeMap::new();
        for (i, item) in items.iter().enumerate() {
            groups.entry((item.context, item.speaker, item.phone)).or_default().push(i);
        }
        for (n, group) in groups.values_mut().enumerate().filter(|(_, group)| group.len() > self.most_items) {
            shuffle(group, self.key(0).with_step(n as u64));
            group.truncate(self.most_items);
        }
        groups
    }
}

/// The rows, of length 1; zeros stay zeros, a quarter turn from all others.
fn units(features: ArrayView2<'_, f32>) -> Result<Array2<f32>> {
    let mut units = features.to_owned();
    for (n, mut row) in units.rows_mut().into_iter().enumerate() {
        let squares: f32 = row.iter().map(|x| x * x).sum();
        if !squares.is_finite() {
            return Err(Error::data("abx", format_args!("row {n} is not finite or too large"), "check the features"));
        }
        row /= (squares + 1e-12).sqrt();
    }
    Ok(units)
}

struct Scratch<'a> {
    units: &'a Array2<f32>,
    items: &'a [AbxItem],
    /// Costs of the best paths to every pair of frames.
    cost: Vec<f32>,
}

impl Scratch<'_> {
    /// (x, y) distances of every two items.
    fn distances(&mut self, x: &[usize], y: &[usize]) -> Array2<f32> {
        Array2::from_shape_fn((x.len(), y.len()), |(i, j)| self.distance(x[i], y[j]))
    }

    /// Mean angle over the best path, which steps on in one item or in both.
    fn distance(&mut self, x: usize, y: usize) -> f32 {
        let (x, y) = (&self.items[x].rows, &self.items[y].rows);
        let (n, m) = (x.len(), y.len());
        self.cost.resize(n * m, 0.0);
        let cost = &mut self.cost[..n * m];
        for i in 0..n {
            for j in 0..m {
                let dot = self.units.row(x.start + i).dot(&self.units.row(y.start + j));
                let angle = dot.clamp(-1.0, 1.0).acos() / std::f32::consts::PI;
                let before = match (i, j) {
                    (0, 0) => 0.0,
                    (_, 0) => cost[(i - 1) * m],
                    (0, _) => cost[j - 1],
                    _ => cost[(i - 1) * m + j].min(cost[(i - 1) * m + j - 1]).min(cost[i * m + j - 1]),
                };
                cost[i * m + j] = angle + before;
            }
        }
        let (mut i, mut j, mut steps) = (n - 1, m - 1, 1);
        while i > 0 && j > 0 {
            let (up, left, both) = (cost[(i - 1) * m + j], cost[i * m + j - 1], cost[(i - 1) * m + j - 1]);
            if both <= left && both <= up {
                (i, j) = (i - 1, j - 1);
            } else if left <= up {
                j -= 1;
            } else {
                i -= 1;
            }
            steps += 1;
        }
        cost[n * m - 1] / (steps + i + j) as f32
    }
}

/// Share of mistaken X from distances (X, A) and (X, B). Where `same`, A and X are the same items, and none is
/// compared with itself.
fn mistaken(to_a: &Array2<f32>, to_b: &Array2<f32>, same: bool) -> f64 {
    let (mut right, mut all) = (0.0, 0.0);
    for ((x, _), own) in to_a.indexed_iter().filter(|((x, a), _)| !(same && x == a)) {
        for other in to_b.row(x) {
            right += if own < other { 1.0 } else { f64::from(u8::from(own == other)) / 2.0 };
            all += 1.0;
        }
    }
    1.0 - right / all
}

/// Mean over contexts, then over speakers, then over pairs of phones, and the number of those.
fn mean(errors: Vec<CellError>) -> (Option<f64>, usize) {
    let mut cells: BTreeMap<Cell, (f64, f64)> = BTreeMap::new();
    for (cell, error) in errors {
        let (sum, count) = cells.entry(cell).or_default();
        (*sum, *count) = (*sum + error, *count + 1.0);
    }
    let mut pairs: BTreeMap<(usize, usize), (f64, f64)> = BTreeMap::new();
    for ((_, a, b, _), (sum, count)) in cells {
        let pair = pairs.entry((a, b)).or_default();
        *pair = (pair.0 + sum / count, pair.1 + 1.0);
    }
    let sum: f64 = pairs.values().map(|(sum, count)| sum / count).sum();
    ((!pairs.is_empty()).then(|| sum / pairs.len() as f64), pairs.len())
}
