//! Exact t-SNE (van der Maaten and Hinton 2008) for a few hundred items.
//!
//! It sums over every pair of items, in double precision, on one thread, in a fixed order. It is
//! slower than tree approximations, and the same seed gives the same map, bit for bit.

use gim_core::{Error, Key, Purpose, Result};
use ndarray::{Array2, ArrayView2, Axis};
use rand::RngExt;

/// Settings of [`tsne`]; the default is common practice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tsne {
    /// Effective number of neighbors of an item; at most (n − 1)/3 for n items.
    pub perplexity: f64,
    /// Iterations of gradient descent.
    pub iterations: usize,
    /// Seed of the noise that separates equal items.
    pub seed: u64,
}

impl Tsne {
    /// The perplexity used for `n_items` items.
    pub(super) fn perplexity_for(&self, n_items: usize) -> f64 {
        self.perplexity.clamp(1.0, (n_items.saturating_sub(1) as f64 / 3.0).max(1.0))
    }
}

impl Default for Tsne {
    fn default() -> Self {
        Self { perplexity: 30.0, iterations: 1000, seed: 0 }
    }
}

/// Accepted numbers of items. Time and memory are quadratic in it.
const ITEMS: std::ops::RangeInclusive<usize> = 4..=3000;
/// Early exaggeration: a factor on P in the first iterations, so that clusters form before they
/// spread.
const EXAGGERATION: f64 = 12.0;
const EXAGGERATED_ITERATIONS: usize = 250;
/// Standard deviation of the initial map: small against the finished map, as the method needs.
const START_SPREAD: f64 = 1e-4;

/// Maps the rows of `x` (n, D) to the plane, (n, 2), so that neighbors stay near each other.
///
/// The initial map is the first two principal components.
///
/// # Errors
/// When there are fewer than 4 or more than 3000 items, or a feature is not finite.
pub(crate) fn tsne(x: ArrayView2<'_, f32>, settings: &Tsne) -> Result<Array2<f64>> {
    let n = x.nrows();
    if !ITEMS.contains(&n) {
        let remedy = format!("choose between {} and {}", ITEMS.start(), ITEMS.end());
        return Err(Error::data("t-SNE", format_args!("{n} items cannot be laid out"), remedy));
    }
    if x.iter().any(|v| !v.is_finite()) {
        return Err(Error::data("t-SNE", "a feature is not finite", "check whether the module diverged"));
    }
    let x = x.mapv(f64::from);
    let p = affinities(&x, settings.perplexity_for(n));
    Ok(descend(&p, start(&x, settings.seed), settings.iterations))
}

/// Symmetric affinities p_ij = (p_{j|i} + p_{i|j}) / 2n of the rows of `x` (n, D): (n, n),
/// row-major. Each item's kernel width gives its p_{·|i} the perplexity.
fn affinities(x: &Array2<f64>, perplexity: f64) -> Vec<f64> {
    let n = x.nrows();
    let mut distances = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..i {
            let d = x.row(i).iter().zip(x.row(j)).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
            (distances[i * n + j], distances[j * n + i]) = (d, d);
        }
    }
    let mut conditional = vec![0.0; n * n];
    for i in 0..n {
        fit_row(&distances[i * n..][..n], i, perplexity.ln(), &mut conditional[i * n..][..n]);
    }
    let mut p = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..n {
            p[i * n + j] = ((conditional[i * n + j] + conditional[j * n + i]) / (2 * n) as f64).max(1e-12);
        }
        p[i * n + i] = 0.0;
    }
    p
}

/// Finds by bisection the precision β for which p_j ∝ exp(−β d_j), j ≠ i, has this entropy in
/// nats. `distances` (n) are the squared distances of item i; `p` (n) is the result.
fn fit_row(distances: &[f64], i: usize, entropy: f64, p: &mut [f64]) {
    let others = || (0..distances.len()).filter(move |&j| j != i);
    let nearest = others().map(|j| distances[j]).fold(f64::INFINITY, f64::min);
    // In units of the mean distance, so that the scale of the features does not matter.
    let unit =
        (others().map(|j| distances[j] - nearest).sum::<f64>() / (distances.len() - 1) as f64).max(f64::MIN_POSITIVE);
    let (mut low, mut high, mut beta) = (0.0, f64::INFINITY, 1.0);
    for _ in 0..80 {
        let (mut sum, mut weighted) = (0.0, 0.0);
        for j in others() {
            let d = (distances[j] - nearest) / unit;
            p[j] = (-beta * d).exp();
            sum += p[j];
            weighted += p[j] * d;
        }
        others().for_each(|j| p[j] /= sum);
        let found = sum.ln() + beta * weighted / sum;
        if (found - entropy).abs() < 1e-7 {
            break;
        }
        if found > entropy {
            low = beta;
            beta = if high.is_finite() { (low + high) / 2.0 } else { beta * 2.0 };
        } else {
            high = beta;
            beta = (low + high) / 2.0;
        }
    }
}

/// The initial map of the rows of `x` (n, D): n points on the first two principal components,
/// scaled down, with a little noise.
fn start(x: &Array2<f64>, seed: u64) -> Vec<[f64; 2]> {
    let mut rng = Key::new(seed, Purpose::Figure).rng();
    let centered = match x.mean_axis(Axis(0)) {
        Some(mean) => x - &mean,
        None => x.clone(),
    };
    let mut y: Vec<[f64; 2]> = (0..x.nrows()).map(|_| [0, 1].map(|_| rng.random_range(-0.01..0.01))).collect();
    let mut found: Vec<ndarray::Array1<f64>> = Vec::new();
    for k in 0..2 {
        // Power iteration on XᵀX. Directions it has not separated after 60 rounds are equally good
        // to start from.
        let mut direction = ndarray::Array1::from_shape_fn(x.ncols(), |_| rng.random_range(-1.0..1.0));
        for _ in 0..60 {
            for earlier in &found {
                direction = &direction - &(earlier * earlier.dot(&direction));
            }
            let next = centered.t().dot(&centered.dot(&direction));
            let length = next.dot(&next).sqrt();
            if length == 0.0 {
                break;
            }
            direction = next / length;
        }
        let scores = centered.dot(&direction);
        let spread = scores.mapv(|v| v * v).mean().unwrap_or(0.0).sqrt();
        if spread > 0.0 {
            y.iter_mut().zip(&scores).for_each(|(y, s)| y[k] += s / spread);
        }
        found.push(direction);
    }
    y.iter_mut().flatten().for_each(|v| *v *= START_SPREAD);
    y
}

/// Gradient descent on KL(P‖Q), q_ij ∝ 1 / (1 + |y_i − y_j|²), with momentum and a gain for each
/// coordinate. `p` (n, n) are the affinities and `y` (n, 2) the initial map. Gives the final map
/// (n, 2).
fn descend(p: &[f64], mut y: Vec<[f64; 2]>, iterations: usize) -> Array2<f64> {
    let n = y.len();
    let rate = (n as f64 / EXAGGERATION / 4.0).max(50.0);
    let mut kernel = vec![0.0; n * n];
    let (mut velocity, mut gain) = (vec![[0.0f64; 2]; n], vec![[1.0f64; 2]; n]);
    for iteration in 0..iterations {
        let (attraction, momentum) = if iteration < EXAGGERATED_ITERATIONS { (EXAGGERATION, 0.5) } else { (1.0, 0.8) };
        let mut total = 0.0;
        for i in 0..n {
            for j in 0..i {
                let (dx, dy) = (y[i][0] - y[j][0], y[i][1] - y[j][1]);
                let k = 1.0 / (1.0 + dx * dx + dy * dy);
                (kernel[i * n + j], kernel[j * n + i]) = (k, k);
                total += 2.0 * k;
            }
        }
        // ∂KL/∂y_i = 4 Σ_j (p_ij − q_ij) k_ij (y_i − y_j)   (van der Maaten and Hinton 2008, eq. 5)
        let gradient: Vec<[f64; 2]> = (0..n)
            .map(|i| {
                let mut g = [0.0; 2];
                for j in 0..n {
                    let k = kernel[i * n + j];
                    let pull = 4.0 * (attraction * p[i * n + j] - k / total) * k;
                    g[0] += pull * (y[i][0] - y[j][0]);
                    g[1] += pull * (y[i][1] - y[j][1]);
                }
                g
            })
            .collect();
        let mut mean = [0.0; 2];
        for i in 0..n {
            for c in 0..2 {
                let agrees = gradient[i][c].signum() == velocity[i][c].signum();
                gain[i][c] = if agrees { (gain[i][c] * 0.8).max(0.01) } else { gain[i][c] + 0.2 };
                velocity[i][c] = momentum * velocity[i][c] - rate * gain[i][c] * gradient[i][c];
                y[i][c] += velocity[i][c];
                mean[c] += y[i][c] / n as f64;
            }
        }
        y.iter_mut().for_each(|v| (v[0], v[1]) = (v[0] - mean[0], v[1] - mean[1]));
    }
    Array2::from_shape_fn((n, 2), |(i, c)| y[i][c])
}

#[cfg(test)]
mod tests {
    use super::super::testing::blobs;
    use super::*;

    /// Share of the items whose nearest neighbor in the map has their class.
    fn purity(y: &Array2<f64>, class: &[usize]) -> f64 {
        let n = y.nrows();
        let nearest = |i: usize| {
            let d = |j: usize| (y[[i, 0]] - y[[j, 0]]).hypot(y[[i, 1]] - y[[j, 1]]);
            (0..n).filter(|&j| j != i).min_by(|&a, &b| d(a).total_cmp(&d(b))).unwrap()
        };
        (0..n).filter(|&i| class[nearest(i)] == class[i]).count() as f64 / n as f64
    }

    #[test]
    fn clusters_stay_clusters_and_the_map_is_reproducible() {
        let (x, class) = blobs(5, 24, 16, 1.0, 3);
        let settings = Tsne { iterations: 400, ..Tsne::default() };
        let y = tsne(x.view(), &settings).unwrap();
        assert!(purity(&y, &class) > 0.98, "{}", purity(&y, &class));
        assert_eq!(y, tsne(x.view(), &settings).unwrap());
        let spread = y.mapv(|v| v * v).mean().unwrap().sqrt();
        assert!((1.0..200.0).contains(&spread), "{spread}");
    }

    #[test]
    fn rows_reach_the_wanted_perplexity() {
        let (x, _) = blobs(3, 30, 8, 1000.0, 1);
        let n = x.nrows();
        let x = x.mapv(f64::from);
        let d: Vec<f64> = (0..n).map(|j| (&x.row(7) - &x.row(j)).mapv(|v| v * v).sum()).collect();
        let mut p = vec![0.0; n];
        fit_row(&d, 7, 12f64.ln(), &mut p);
        let entropy: f64 = p.iter().filter(|v| **v > 0.0).map(|v| -v * v.ln()).sum();
        assert!((entropy.exp() - 12.0).abs() < 1e-3, "{}", entropy.exp());
        assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn coinciding_items_give_a_finite_map() {
        let y = tsne(Array2::from_elem((12, 4), 1.5).view(), &Tsne::default()).unwrap();
        assert!(y.iter().all(|v| v.is_finite()));
        let y = tsne(Array2::<f32>::zeros((4, 1)).view(), &Tsne::default()).unwrap();
        assert!(y.iter().all(|v| v.is_finite()));
    }

    #[test]
    fn refuses_what_it_cannot_lay_out() {
        assert!(tsne(Array2::zeros((3, 4)).view(), &Tsne::default()).is_err());
        let error = tsne(Array2::from_elem((9, 4), f32::NAN).view(), &Tsne::default()).unwrap_err().to_string();
        assert!(error.contains("not finite"), "{error}");
    }
}
