//! Metrics of predictions.

use serde::{Deserialize, Serialize};

/// Confusion matrix: counts of (true class, predicted class).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    n_classes: usize,
    /// Row-major (true, predicted).
    counts: Vec<u64>,
}

impl Confusion {
    /// Counts `predicted` against `truth`, row by row.
    ///
    /// # Panics
    /// When the lengths differ or a class is not below `n_classes`.
    pub fn new(n_classes: usize, truth: &[u32], predicted: &[u32]) -> Self {
        assert_eq!(truth.len(), predicted.len(), "true and predicted classes");
        let mut counts = vec![0; n_classes * n_classes];
        for (t, p) in truth.iter().zip(predicted) {
            let (t, p) = (*t as usize, *p as usize);
            assert!(t < n_classes && p < n_classes, "classes {t} and {p} of {n_classes}");
            counts[t * n_classes + p] += 1;
        }
        Self { n_classes, counts }
    }

    /// Number of classes.
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// Rows of class `truth` predicted as `predicted`.
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        self.counts[truth * self.n_classes + predicted]
    }

    /// Rows of class `truth`.
    pub fn support(&self, truth: usize) -> u64 {
        self.counts[truth * self.n_classes..][..self.n_classes].iter().sum()
    }

    fn rate_over(&self, classes: impl Iterator<Item = usize>) -> Option<f64> {
        let (right, all) = classes.fold((0, 0), |(r, n), c| (r + self.count(c, c), n + self.support(c)));
        (all > 0).then(|| right as f64 / all as f64)
    }

    /// Accuracy; `None` without rows.
    pub fn accuracy(&self) -> Option<f64> {
        self.rate_over(0..self.n_classes)
    }

    /// Accuracy over rows whose true class is not `class` (e.g. silence); `None` without such rows.
    pub fn accuracy_without(&self, class: usize) -> Option<f64> {
        self.rate_over((0..self.n_classes).filter(|c| *c != class))
    }

    /// Recall of class `truth`; `None` if the class is absent.
    pub fn recall(&self, truth: usize) -> Option<f64> {
        self.rate_over(truth..truth + 1)
    }

    /// Mean recall over the classes present; `None` without rows.
    pub fn macro_accuracy(&self) -> Option<f64> {
        let recalls: Vec<f64> = (0..self.n_classes).filter_map(|c| self.recall(c)).collect();
        (!recalls.is_empty()).then(|| recalls.iter().sum::<f64>() / recalls.len() as f64)
    }
}

/// Class of the largest score; ties by the lower class.
pub fn argmax(scores: &[f32]) -> u32 {
    let mut best = 0;
    for (i, s) in scores.iter().enumerate() {
        if *s > scores[best] {
            best = i;
        }
    }
    best as u32
}

/// Share of rows whose true class is among the `k` best scores of `logits (n, n_classes)`, row-major.
/// `None` without rows.
///
/// Ties go to the lower class, as in [`argmax`]: `top_k(.., 1)` is the accuracy.
pub fn top_k(n_classes: usize, logits: &[f32], truth: &[u32], k: usize) -> Option<f64> {
    let right = among_top(n_classes, logits, truth, k);
    (!truth.is_empty()).then(|| right as f64 / truth.len() as f64)
}

/// Number of rows for [`top_k`].
pub(crate) fn among_top(n_classes: usize, logits: &[f32], truth: &[u32], k: usize) -> usize {
    assert_eq!(logits.len(), truth.len() * n_classes, "scores of {} rows and {n_classes} classes", truth.len());
    let right = logits.chunks_exact(n_classes).zip(truth).filter(|(row, t)| {
        let t = **t as usize;
        let better = row.iter().enumerate().filter(|(i, s)| **s > row[t] || (**s == row[t] && *i < t));
        better.count() < k
    });
    right.count()
}

/// Metrics of a fitted probe on a part.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Rows evaluated.
    pub rows: usize,
    /// Accuracy.
    pub accuracy: f64,
    /// Accuracy over rows whose class is not silence, if a silence class was given.
    pub accuracy_no_silence: Option<f64>,
    /// Mean recall over the classes present.
    pub macro_accuracy: f64,
    /// Share of rows whose class is among the five best.
    pub top5: f64,
    /// Accuracy of always predicting the most frequent class of the training part.
    pub majority: f64,
    /// The confusion matrix.
    pub confusion: Confusion,
}

impl Score {
    /// Metrics of at least one prediction, given the true classes. The caller computes `top5`;
    /// `majority` is the most frequent class of the training part.
    pub(crate) fn new(
        n_classes: usize,
        truth: &[u32],
        predicted: &[u32],
        top5: f64,
        majority: u32,
        silence: Option<usize>,
    ) -> Self {
        let confusion = Confusion::new(n_classes, truth, predicted);
        // With rows, none of the rates below is undefined.
        Self {
            rows: truth.len(),
            accuracy: confusion.accuracy().unwrap_or(f64::NAN),
            accuracy_no_silence: silence.and_then(|s| confusion.accuracy_without(s)),
            macro_accuracy: confusion.macro_accuracy().unwrap_or(f64::NAN),
            top5,
            majority: truth.iter().filter(|t| **t == majority).count() as f64 / truth.len() as f64,
            confusion,
        }
    }
}

/// Most frequent class; ties by the lower class.
pub(crate) fn majority(labels: &[u32], n_classes: usize) -> u32 {
    let mut counts = vec![0usize; n_classes];
    labels.iter().for_each(|l| counts[*l as usize] += 1);
    (0..n_classes).rev().max_by_key(|c| counts[*c]).unwrap_or_default() as u32
}

/// Mean over seeds with its 95 % interval, mean ± half_width.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Number of values.
    pub n: usize,
    /// Mean.
    pub mean: f64,
    /// Standard deviation of the values, n − 1 in the denominator; NaN for one value.
    pub std: f64,
    /// t₀.₉₇₅(n − 1) · std / √n; NaN for one value, which says nothing about the spread.
    pub half_width: f64,
}

impl Interval {
    /// Mean and interval of `values`; `None` without values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        if n == 1 {
            return Some(Self { n, mean, std: f64::NAN, half_width: f64::NAN });
        }
        let std = (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (n - 1) as f64).sqrt();
        Some(Self { n, mean, std, half_width: t_975(n - 1) * std / (n as f64).sqrt() })
    }
}

/// The 97.5 % point of Student's t with `df ≥ 1` degrees of freedom.
fn t_975(df: usize) -> f64 {
    const TABLE: [f64; 10] = [
        12.706_204_736,
        4.302_652_730,
        3.182_446_305,
        2.776_445_105,
        2.570_581_836,
        2.446_911_851,
        2.364_624_252,
        2.306_004_135,
        2.262_157_163,
        2.228_138_852,
    ];
    if df <= TABLE.len() {
        return TABLE[df - 1];
    }
    // Cornish–Fisher expansion about the normal quantile (Abramowitz & Stegun 26.7.5): within 1e-5 from df = 11 on.
    let (z, v) = (1.959_963_984_540_054_f64, df as f64);
    let z2 = z * z;
    let g1 = z * (z2 + 1.0) / 4.0;
    let g2 = z * ((5.0 * z2 + 16.0) * z2 + 3.0) / 96.0;
    let g3 = z * (((3.0 * z2 + 19.0) * z2 + 17.0) * z2 - 15.0) / 384.0;
    let g4 = z * ((((79.0 * z2 + 776.0) * z2 + 1482.0) * z2 - 1920.0) * z2 - 945.0) / 92_160.0;
    z + g1 / v + g2 / v.powi(2) + g3 / v.powi(3) + g4 / v.powi(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_by_hand() {
        // Class 0: 3 of 4 right; class 1: 1 of 2; class 2 absent; class 3: 0 of 1.
        let truth = [0, 0, 0, 0, 1, 1, 3];
        let predicted = [0, 0, 0, 1, 1, 0, 2];
        let c = Confusion::new(4, &truth, &predicted);
        assert_eq!(c.accuracy(), Some(4.0 / 7.0));
        assert_eq!(c.accuracy_without(0), Some(1.0 / 3.0));
        assert_eq!(c.macro_accuracy(), Some((0.75 + 0.5 + 0.0) / 3.0));
        assert_eq!((c.recall(2), c.count(3, 2), c.support(0)), (None, 1, 4));
        assert_eq!(Confusion::new(2, &[], &[]).accuracy(), None);
        assert_eq!(Confusion::new(2, &[0], &[0]).accuracy_without(0), None);
    }

    #[test]
    fn interval_by_hand() {
        let i = Interval::of(&[1.0, 2.0, 3.0]).unwrap();
        assert_eq!((i.n, i.mean, i.std), (3, 2.0, 1.0));
        assert!((i.half_width - 4.302_652_730 / 3f64.sqrt()).abs() < 1e-12);
        assert!(Interval::of(&[]).is_none());
        assert!(Interval::of(&[1.0]).unwrap().half_width.is_nan());
        // scipy.stats.t.ppf(0.975, df)
        for (df, want) in [(11, 2.200_985_160), (20, 2.085_963_447), (50, 2.008_559_109), (1000, 1.962_339_081)] {
            assert!((t_975(df) - want).abs() < 1e-5, "{df}: {} {want}", t_975(df));
        }
    }

    proptest! {
        #[test]
        fn rates_hold_together(rows in prop::collection::vec((0u32..5, prop::collection::vec(-3i8..3, 5)), 1..60)) {
            let truth: Vec<u32> = rows.iter().map(|r| r.0).collect();
            let logits: Vec<f32> = rows.iter().flat_map(|r| r.1.iter().map(|x| f32::from(*x))).collect();
            let predicted: Vec<u32> = logits.chunks(5).map(argmax).collect();
            let c = Confusion::new(5, &truth, &predicted);
            let by_rows = truth.iter().zip(&predicted).filter(|(t, p)| t == p).count() as f64 / truth.len() as f64;
            prop_assert_eq!(c.accuracy(), Some(by_rows));
            prop_assert_eq!(top_k(5, &logits, &truth, 1), Some(by_rows));
            prop_assert_eq!(top_k(5, &logits, &truth, 5), Some(1.0));
            let tops: Vec<_> = (0..=5).map(|k| top_k(5, &logits, &truth, k)).collect();
            prop_assert!(tops.is_sorted());
            prop_assert_eq!((0..5).map(|t| c.support(t)).sum::<u64>(), truth.len() as u64);
            // The macro average lies between the worst and the best class, and equals accuracy when classes weigh the same.
            let recalls: Vec<f64> = (0..5).filter_map(|t| c.recall(t)).collect();
            let (lo, hi) = recalls.iter().fold((1f64, 0f64), |(lo, hi), r| (lo.min(*r), hi.max(*r)));
            let mean = c.macro_accuracy().unwrap();
            prop_assert!(lo - 1e-12 <= mean && mean <= hi + 1e-12);
            // Right and wrong rows of the left-out class do not count.
            if let (Some(without), Some(recall)) = (c.accuracy_without(2), c.recall(2)) {
                let n2 = c.support(2) as f64;
                let n = truth.len() as f64;
                prop_assert!((without * (n - n2) + recall * n2 - by_rows * n).abs() < 1e-9);
            }
        }
    }
}
