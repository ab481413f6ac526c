//! The probe solved to convergence, with the penalty selected on held-out training items.

use gim_core::{Error, Key, Pool, Result};
use rand::seq::SliceRandom;

use super::lbfgs::{Solution, Stop, minimize};
use super::precondition::gram;
use super::problem::{Problem, Resident, Streamed};
use super::softmax::scores;
use super::{FittedProbe, Standardize};
use crate::examples::Part;
use crate::metrics::{argmax, majority};

/// Settings of the protocol `converged`: minimizes mean cross-entropy + λ/2 ‖weights‖² on standardized
/// features.
///
/// λ is selected by the accuracy on held-out items; ties go to the largest. The final fit uses all
/// training rows. It scales λ so that λ · rows stays the same.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvergedProbe {
    /// Penalties λ to select from, tried from the largest down, each from the solution before, until
    /// two in a row are worse than the best. A single one is used as it is.
    pub l2: Vec<f64>,
    /// Share of the training items held out to select λ.
    pub validation: f64,
    /// Most rows, sampled at random, for each fit that selects λ, and for its evaluation.
    pub path_rows: usize,
    /// Largest entry of the gradient at which the final fit stops, relative to the largest at zero weights.
    pub tolerance: f64,
    /// Most iterations of a fit. A fit that stops there reports that it has not converged.
    pub max_iterations: usize,
}

impl Default for ConvergedProbe {
    fn default() -> Self {
        Self {
            l2: vec![1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6],
            validation: 0.2,
            path_rows: 15_000,
            tolerance: 1e-4,
            max_iterations: 1000,
        }
    }
}

/// Penalties in a row that must be worse than the best before the search for λ ends.
const PATIENCE: usize = 2;
/// Tolerance of the fits that select λ, which need less precision than the final one.
const PATH_TOLERANCE: f64 = 1e-3;

impl ConvergedProbe {
    fn check(&self) -> Result<()> {
        let fine = |l: &f64| l.is_finite() && *l >= 0.0;
        if self.l2.is_empty() || !self.l2.iter().all(fine) {
            return Err(Error::config("probe.l2", format_args!("{:?}", self.l2), "give one penalty or more, all ≥ 0"));
        }
        if !(self.validation > 0.0 && self.validation < 1.0) {
            return Err(Error::config("probe.validation", self.validation, "use a share between 0 and 1"));
        }
        if self.path_rows == 0 || self.max_iterations == 0 || !(self.tolerance > 0.0 && self.tolerance < 1.0) {
            let what =
                format!("{} rows, {} iterations, tolerance {}", self.path_rows, self.max_iterations, self.tolerance);
            return Err(Error::config("probe", what, "use counts above 0 and a tolerance between 0 and 1"));
        }
        Ok(())
    }

    pub(super) fn fit(&self, train: &Part<'_>, key: Key) -> Result<FittedProbe> {
        self.check()?;
        let pool = Pool::new();
        let (d, classes) = (train.dims(), train.n_classes());
        let by = Standardize::of(train)?;
        let (mut l2, mut start, mut path) = (self.l2[0], vec![0.0; (d + 1) * classes], Vec::new());
        let mut correlations = None;
        if self.l2.len() > 1 {
            let (fit, held_out) = hold_out(train, self.validation, key.with_item(3))?;
            let some = Rows::new(&fit, draw(fit.n_rows(), self.path_rows, key.with_item(4)), &by)?;
            let validation = Rows::new(&held_out, draw(held_out.n_rows(), self.path_rows, key.with_item(5)), &by)?;
            correlations = gram(&some.x, some.labels.len(), d);
            (l2, start) = self.choose(&some, &validation, classes, correlations.as_deref(), start, &mut path, &pool)?;
            l2 *= some.labels.len() as f64 / train.n_rows() as f64;
            pool.trim();
        }
        let stop = Stop { tolerance: self.tolerance, max_iterations: self.max_iterations };
        let Solution { theta, iterations, converged } = match train.limit() {
            None => {
                let all = Rows::new(train, (0..train.n_rows()).collect(), &by)?;
                if correlations.is_none() {
                    let rows = all.labels.len().min(self.path_rows);
                    correlations = gram(&all.x[..rows * d], rows, d);
                }
                all.minimize(d, classes, l2, start, correlations.as_deref(), stop, &pool)?
            }
            Some((budget, folder)) => {
                if correlations.is_none() {
                    let first = Rows::new(train, (0..train.n_rows().min(self.path_rows)).collect(), &by)?;
                    correlations = gram(&first.x, first.labels.len(), d);
                }
                let (x, labels) = (Streamed { part: train, by: &by }, train.labels());
                let on_disk = budget.scores_on_disk(labels.len(), classes).then(|| (folder, train.block_rows()));
                let problem = Problem { x: &x, labels, d, classes, pool: &pool, on_disk };
                minimize(&problem, l2, start, correlations.as_deref(), stop)?
            }
        };
        let (weights, bias) = narrow(&theta, d * classes);
        Ok(FittedProbe {
            hidden: None,
            weights,
            bias,
            standardize: Some(by),
            majority: majority(train.labels(), classes),
            l2: Some(l2),
            iterations,
            converged,
            path,
            seconds: 0.0,
        })
    }

    /// Selects the best penalty. Returns it with its solution.
    fn choose(
        &self,
        fit: &Rows,
        validation: &Rows,
        classes: usize,
        correlations: Option<&[f64]>,
        mut theta: Vec<f64>,
        path: &mut Vec<(f64, f64)>,
        pool: &Pool<f32>,
    ) -> Result<(f64, Vec<f64>)> {
        let d = theta.len() / classes - 1;
        let stop = Stop { tolerance: self.tolerance.max(PATH_TOLERANCE), max_iterations: self.max_iterations };
        let mut grid = self.l2.clone();
        grid.sort_by(|a, b| b.total_cmp(a));
        let (mut best, mut worse) = ((f64::NEG_INFINITY, grid[0], Vec::new()), 0);
        for l2 in grid {
            theta = fit.minimize(d, classes, l2, theta, correlations, stop, pool)?.theta;
            let accuracy = validation.accuracy(&theta, d, classes, pool);
            path.push((l2, accuracy));
            if accuracy > best.0 {
                best = (accuracy, l2, theta.clone());
                worse = 0;
            } else if accuracy < best.0 {
                worse += 1;
                if worse == PATIENCE {
                    break;
                }
            }
        }
        Ok((best.1, best.2))
    }
}

/// Standardized rows in memory.
struct Rows {
    x: Vec<f32>,
    labels: Vec<u32>,
}

impl Rows {
    fn new(part: &Part<'_>, rows: Vec<usize>, by: &Standardize) -> Result<Self> {
        let mut x = vec![0.0; rows.len() * part.dims()];
        part.gather(rows.iter().copied(), &mut x)?;
        by.apply(&mut x);
        Ok(Self { x, labels: rows.iter().map(|r| part.labels()[*r]).collect() })
    }

    /// [`minimize`] on these rows.
    fn minimize(
        &self,
        d: usize,
        classes: usize,
        l2: f64,
        start: Vec<f64>,
        correlations: Option<&[f64]>,
        stop: Stop,
        pool: &Pool<f32>,
    ) -> Result<Solution> {
        let (x, labels) = (Resident(&self.x), &self.labels);
        minimize(&Problem { x: &x, labels, d, classes, pool, on_disk: None }, l2, start, correlations, stop)
    }

    fn accuracy(&self, theta: &[f64], d: usize, classes: usize, pool: &Pool<f32>) -> f64 {
        let (weights, bias) = narrow(theta, d * classes);
        let mut z = pool.take(self.labels.len() * classes);
        scores(&self.x, self.labels.len(), d, &weights, &bias, &mut z, pool);
        let right = z.chunks_exact(classes).zip(&self.labels).filter(|(z, y)| argmax(z) == **y).count();
        right as f64 / self.labels.len() as f64
    }
}

fn narrow(theta: &[f64], n_weights: usize) -> (Vec<f32>, Vec<f32>) {
    let (weights, bias) = theta.split_at(n_weights);
    (weights.iter().map(|w| *w as f32).collect(), bias.iter().map(|b| *b as f32).collect())
}

/// At most `most` of `n` rows, sampled without replacement, in ascending order.
fn draw(n: usize, most: usize, key: Key) -> Vec<usize> {
    if n <= most {
        return (0..n).collect();
    }
    let mut rows = rand::seq::index::sample(&mut key.rng(), n, most).into_vec();
    rows.sort_unstable();
    rows
}

/// Splits a part by item into one to fit and one to evaluate. If every item has a single row, each
/// class is split by itself.
fn hold_out<'a>(train: &Part<'a>, share: f64, key: Key) -> Result<(Part<'a>, Part<'a>)> {
    let n = train.n_items();
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut key.rng());
    let mut held = vec![false; n];
    if train.n_rows() == n {
        let mut classes = vec![Vec::new(); train.n_classes()];
        order.iter().for_each(|i| classes[train.labels()[*i] as usize].push(*i));
        for class in classes {
            // Every class keeps at least one item to fit.
            let out = ((class.len() as f64 * share).round() as usize).min(class.len().saturating_sub(1));
            class[..out].iter().for_each(|i| held[*i] = true);
        }
    } else {
        let out = ((n as f64 * share).round() as usize).max(1);
        order.iter().take(out).for_each(|i| held[*i] = true);
    }
    let (out, rest): (Vec<usize>, Vec<usize>) = (0..n).partition(|i| held[*i]);
    if out.is_empty() || rest.is_empty() {
        return Err(Error::config(
            "probe.validation",
            format_args!("{n} training items cannot be split to choose a penalty"),
            "give more items, or a single value of probe.l2",
        ));
    }
    Ok((train.select_items(&rest), train.select_items(&out)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::Examples;
    use crate::items::{ItemIndex, Split};
    use gim_core::Purpose;
    use ndarray::Array2;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn held_out_items_are_whole(counts in prop::collection::vec(1usize..9, 2..40), seed: u64, share in 0.05f64..0.9) {
            let index = ItemIndex::from_counts(counts.iter().copied());
            let (n, items) = (index.n_rows(), index.n_items());
            let labels = (0..n).map(|i| i as i32 % 4 - 1).collect();
            let split = (0..items).map(|i| if i % 5 == 4 { Split::Test } else { Split::Train }).collect();
            let all = Examples::per_frame(Array2::zeros((n, 1)), labels, 3, index.clone(), split).unwrap();
            let train = all.part(Split::Train);
            if let Ok((fit, out)) = hold_out(&train, share, Key::new(seed, Purpose::Probe)) {
                prop_assert!(fit.items().iter().all(|i| !out.items().contains(i)));
                prop_assert_eq!(fit.n_rows() + out.n_rows(), train.n_rows());
                for part in [&fit, &out] {
                    prop_assert!(part.n_items() > 0);
                    prop_assert_eq!(part.rows().len(), part.labels().len());
                    for (at, item) in part.items().iter().enumerate() {
                        // All labeled rows of the item are here, and no row of another item.
                        let want: Vec<usize> = index.rows(*item).filter(|r| all.labels()[*r] >= 0).collect();
                        prop_assert_eq!(&part.rows()[part.index().rows(at)], want);
                    }
                }
            } else {
                prop_assert!(train.n_items() < 3 || train.n_rows() == train.n_items() || share > 0.5);
            }
        }
    }

    #[test]
    fn single_rows_are_held_out_by_class() {
        let labels: Vec<i32> = (0..103)
            .map(|i| {
                if i < 80 {
                    0
                } else if i < 100 {
                    1
                } else {
                    i - 98
                }
            })
            .collect();
        let all = Examples::per_item(Array2::zeros((103, 1)), labels, 5, vec![Split::Train; 103]).unwrap();
        let (fit, out) = hold_out(&all.part(Split::Train), 0.2, Key::new(1, Purpose::Probe)).unwrap();
        let count = |p: &Part<'_>, c| p.labels().iter().filter(|l| **l == c).count();
        assert_eq!([0, 1, 2, 3, 4].map(|c| count(&out, c)), [16, 4, 0, 0, 0]);
        assert_eq!(fit.n_rows() + out.n_rows(), 103);
    }

    #[test]
    fn rows_are_drawn_without_replacement() {
        let rows = draw(1000, 100, Key::new(1, Purpose::Probe));
        assert!(rows.len() == 100 && rows.windows(2).all(|w| w[0] < w[1]) && rows[99] < 1000);
        assert_eq!(draw(5, 9, Key::new(1, Purpose::Probe)), [0, 1, 2, 3, 4]);
    }
}
