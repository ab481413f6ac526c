//! L-BFGS (Liu & Nocedal 1989) for the penalized loss of a linear probe.
//!
//! The scores are linear in the parameters: a step α·p changes them by α·zp, zp = X·p. So an iteration
//! costs one product forward and one backward, however many step lengths the line search tries. The
//! loss is convex along the line, so it can be bracketed by the sign of its slope.

use std::collections::VecDeque;

use gim_core::kernels::vector::{add_scaled, dot};
use gim_core::{Buffer, Result, Scalar};

use super::precondition::Preconditioner;
use super::problem::{Problem, Scores};
use super::softmax::prior_curvature;

/// Most pairs of step and change of gradient that are kept. On features of alike channels, 60 save three
/// quarters of the iterations that 10 take.
const MEMORY: usize = 60;
/// Fewest, where they are large.
const LEAST_MEMORY: usize = 10;
/// Bytes of all pairs, above which fewer are kept.
const MEMORY_BYTES: usize = 1 << 28;
/// Accepted slope, relative to the slope at the start (the second Wolfe condition).
const SLOPE: f64 = 0.9;
/// Accepted rise of the loss, relative: rounding, when the step is tiny (Hager & Zhang 2005).
const NOISE: f64 = 1e-7;
/// Step lengths tried before the search is given up.
const TRIALS: usize = 25;
/// Iterations that together must lower the loss by more than [`NOISE`]. Otherwise the search has
/// reached its precision.
const PATIENCE: usize = 20;
/// Iterations after which the scores are recomputed, so that rounding errors do not accumulate.
const REFRESH: usize = 32;

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    /// Largest entry of the gradient, relative to the largest at zero parameters.
    pub(super) tolerance: f64,
    pub(super) max_iterations: usize,
}

/// Where the search ended.
#[derive(Debug, Clone)]
pub(super) struct Solution {
    /// Weights (d, classes), then bias (classes).
    pub(super) theta: Vec<f64>,
    pub(super) iterations: usize,
    pub(super) converged: bool,
}

struct State<'a, F: Scalar> {
    l2: f64,
    n_weights: usize,
    scores: Scores<'a, F>,
    /// A direction or gradient in working precision.
    narrow: Buffer<F>,
}

fn largest(v: &[f64]) -> f64 {
    v.iter().fold(0.0, |m, x| x.abs().max(m))
}

impl<F: Scalar> State<'_, F> {
    /// z or zp = scores of `theta`.
    fn scores(&mut self, theta: &[f64], along: bool) -> Result<()> {
        self.narrow.iter_mut().zip(theta).for_each(|(n, t)| *n = F::of(*t));
        let (weight, bias) = self.narrow.split_at(self.n_weights);
        self.scores.compute(weight, bias, along)
    }

    /// Gradient of the penalized loss at `theta`, from r.
    fn gradient(&mut self, theta: &[f64], g: &mut [f64]) -> Result<()> {
        let at = self.n_weights;
        let (dw, db) = self.narrow.split_at_mut(at);
        self.scores.gradient(dw, db)?;
        g.iter_mut().zip(self.narrow.iter()).for_each(|(g, n)| *g = n.f64());
        g[..at].iter_mut().zip(theta).for_each(|(g, t)| *g += self.l2 * t);
        Ok(())
    }

    /// Finds α with a small enough slope along `p`; leaves r at z + α·zp and returns α and the penalized loss.
    ///
    /// `f` and `slope` are the loss and its slope at α = 0.
    fn search(&mut self, theta: &[f64], p: &[f64], f: f64, slope: f64) -> Result<Option<(f64, f64)>> {
        let w = self.n_weights;
        let (tt, tp, pp) = (dot(&theta[..w], &theta[..w]), dot(&theta[..w], &p[..w]), dot(&p[..w], &p[..w]));
        let (mut low, mut low_slope, mut high) = (0.0, slope, None::<(f64, f64)>);
        let mut a = 1.0;
        let mut too_far = 0;
        for _ in 0..TRIALS {
            let (loss, s) = self.scores.loss(Some(F::of(a)))?;
            let s = s + self.l2 * (tp + a * pp);
            let value = loss + 0.5 * self.l2 * (tt + 2.0 * a * tp + a * a * pp);
            if value <= f + NOISE * f.abs() && s.abs() <= SLOPE * slope.abs() {
                return Ok(Some((a, value)));
            }
            // A loss that is not finite counts as uphill.
            if s < 0.0 && value.is_finite() {
                (low, low_slope) = (a, s);
                too_far = 0;
            } else {
                high = Some((a, s));
                too_far += 1;
            }
            a = match high {
                None => a * 4.0,
                Some((b, b_slope)) => {
                    // Where a straight slope would be zero, kept away from both ends.
                    let t = -low_slope / (b_slope - low_slope);
                    let t = if t.is_finite() { t.clamp(0.1, 0.9) } else { 0.5 };
                    // If a feature is active in few rows, the slope changes sharply near the start and
                    // interpolation converges slowly. After two misses on the same side, the step
                    // shrinks faster each time.
                    let t = if too_far > 2 { t * 0.5f64.powi(too_far - 2) } else { t };
                    low + t * (b - low)
                }
            };
        }
        Ok(None)
    }
}

/// The last steps and the changes of the gradient along them, oldest first.
struct Steps {
    /// (step, change of the gradient, 1 / their product).
    pairs: VecDeque<(Vec<f64>, Vec<f64>, f64)>,
    weights: Vec<f64>,
}

impl Steps {
    /// For so many parameters.
    fn new(len: usize) -> Self {
        let of_a_pair = 2 * len.max(1) * size_of::<f64>();
        let memory = (MEMORY_BYTES / of_a_pair).clamp(LEAST_MEMORY, MEMORY);
        Self { pairs: VecDeque::with_capacity(memory), weights: vec![0.0; memory] }
    }

    /// p = −H g by the two-loop recursion (Nocedal & Wright 2006, algorithm 7.4).
    fn direction(&mut self, g: &[f64], guess: &Preconditioner, p: &mut [f64]) {
        p.copy_from_slice(g);
        for (i, (s, y, rho)) in self.pairs.iter().enumerate().rev() {
            self.weights[i] = rho * dot(s, p);
            add_scaled(p, -self.weights[i], y);
        }
        guess.apply(p);
        for (i, (s, y, rho)) in self.pairs.iter().enumerate() {
            let b = rho * dot(y, p);
            add_scaled(p, self.weights[i] - b, s);
        }
        p.iter_mut().for_each(|v| *v = -*v);
    }

    /// Two vectors for the next pair: those of the oldest one when there are enough.
    fn vectors(&mut self, len: usize) -> (Vec<f64>, Vec<f64>) {
        if self.pairs.len() < self.weights.len() {
            return (vec![0.0; len], vec![0.0; len]);
        }
        self.pairs.pop_front().map(|(s, y, _)| (s, y)).unwrap_or_default()
    }

    /// Keeps a step `s` and the gradient's change `y`. Rounding can hide the curvature of a tiny step:
    /// such a pair is skipped.
    fn keep(&mut self, s: Vec<f64>, y: Vec<f64>) {
        let sy = dot(&s, &y);
        if sy > 1e-10 * (dot(&s, &s) * dot(&y, &y)).sqrt() {
            self.pairs.push_back((s, y, 1.0 / sy));
        }
    }
}

/// Minimizes mean loss + λ/2 ‖weights‖² (bias free) from `start`.
///
/// # Errors
/// When features cannot be read, or scores cannot be kept on disk.
pub(super) fn minimize<F: Scalar>(
    problem: &Problem<'_, F>,
    l2: f64,
    start: Vec<f64>,
    gram: Option<&[f64]>,
    stop: Stop,
) -> Result<Solution> {
    let (c, d) = (problem.classes, problem.d);
    let (scores, narrow) = (Scores::zeros(problem)?, problem.pool.take(start.len()));
    let mut state = State { l2, n_weights: d * c, scores, narrow };
    let is_zero = start.iter().all(|t| *t == 0.0);
    let mut theta = start;
    let mut g = vec![0.0; theta.len()];
    // The tolerance is relative to the gradient at zero parameters, whatever the start.
    state.scores.loss(None)?;
    state.gradient(&vec![0.0; theta.len()], &mut g)?;
    let goal = stop.tolerance * largest(&g).max(f64::MIN_POSITIVE);

    let penalty = |theta: &[f64]| 0.5 * l2 * dot(&theta[..d * c], &theta[..d * c]);
    state.scores(&theta, false)?;
    let mut f = state.scores.loss(None)?.0 + penalty(&theta);
    state.gradient(&theta, &mut g)?;
    let curvature = if is_zero { prior_curvature(problem.labels, c) } else { state.scores.curvature()? };
    let guess = Preconditioner::new(gram, d, l2, &curvature);

    let mut steps = Steps::new(theta.len());
    let (mut iterations, mut fresh) = (0, 0);
    let mut milestone = f64::INFINITY;
    let mut p = vec![0.0; theta.len()];
    loop {
        let done = largest(&g) <= goal;
        if (done && fresh > 0) || fresh >= REFRESH {
            state.scores(&theta, false)?;
            f = state.scores.loss(None)?.0 + penalty(&theta);
            state.gradient(&theta, &mut g)?;
            fresh = 0;
            continue;
        }
        if done || iterations >= stop.max_iterations {
            return Ok(Solution { theta, iterations, converged: done });
        }
        steps.direction(&g, &guess, &mut p);
        let slope = dot(&g, &p);
        let found = if slope < 0.0 {
            state.scores(&p, true)?;
            state.search(&theta, &p, f, slope)?
        } else {
            None
        };
        let Some((a, value)) = found else {
            if steps.pairs.is_empty() {
                // The preconditioned gradient does not lead down either: the limit of the precision.
                return Ok(Solution { theta, iterations, converged: false });
            }
            steps.pairs.clear();
            fresh = REFRESH;
            continue;
        };
        iterations += 1;
        fresh += 1;
        if iterations.is_multiple_of(PATIENCE) {
            if milestone - value <= NOISE * value.abs() {
                add_scaled(&mut theta, a, &p);
                return Ok(Solution { theta, iterations, converged: false });
            }
            milestone = value;
        }
        f = value;
        state.scores.advance(F::of(a))?;
        let (mut s, mut y) = steps.vectors(theta.len());
        s.iter_mut().zip(&p).for_each(|(s, p)| *s = a * p);
        theta.iter_mut().zip(&s).for_each(|(t, s)| *t += s);
        y.copy_from_slice(&g);
        state.gradient(&theta, &mut g)?;
        y.iter_mut().zip(&g).for_each(|(y, g)| *y = g - *y);
        steps.keep(s, y);
    }
}
