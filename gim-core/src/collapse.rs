//! Collapse: features that are the same everywhere.

use crate::activations::Activations;
use crate::kernels::vector::{add_scaled, dot};
use crate::{Pool, Scalar};

/// Features with less [`spread`] have collapsed: their standard deviation is below 0.3 % of their size.
pub const LEAST_SPREAD: f64 = 1e-5;

/// Most positions that are measured.
const MOST_POSITIONS: usize = 1024;

/// Share of the features' mean square that is variance between positions, Σ_c Var z_c / Σ_c E z_c²: 0
/// when all positions have the same features, or none, and 1 when their mean is zero.
///
/// Of a large batch, evenly spaced positions are measured. NaN when a feature is.
pub fn spread<F: Scalar>(features: &Activations<F>, pool: &Pool<F>) -> f64 {
    let (layout, channels) = (features.layout(), features.shape().channels);
    let positions = features.shape().positions();
    let step = positions.div_ceil(MOST_POSITIONS).max(1);
    let at = |position| features.at(layout.row_of(position));
    // Differences from the first position, so that nothing cancels where all are nearly the same.
    let (mut apart, mut mean) = (pool.take(channels), pool.zeros(channels));
    let (mut squares, mut apart_squares) = (0.0, 0.0);
    let n = positions.div_ceil(step);
    let share = F::of(1.0 / n.max(1) as f64);
    for position in (0..positions).step_by(step) {
        let z = at(position);
        apart.copy_from_slice(z);
        add_scaled(&mut apart, -F::one(), at(0));
        add_scaled(&mut mean, share, &apart);
        squares += dot(z, z).f64();
        apart_squares += dot(&apart, &apart).f64();
    }
    let variance = apart_squares / n.max(1) as f64 - dot(&mean, &mean).f64();
    // Rounding may leave it below 0; not `max`, which would hide NaN.
    let variance = if variance < 0.0 { 0.0 } else { variance };
    if squares == 0.0 { 0.0 } else { variance / (squares / n as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activations::{Layout, Shape};
    use crate::testing::uniform;

    #[test]
    fn spread_is_the_share_of_variance() {
        let pool = Pool::new();
        let shape = Shape { batch: 3, height: 50, width: 20, channels: 4 };
        let of = |values: &[f64]| spread(&Activations::from_slice(Layout::padded(shape, 1, 53), values, &pool), &pool);
        let noise = uniform(shape.len(), 1);
        assert!((of(&noise) - 1.0).abs() < 0.01);
        let (offset, width) = (2.0, 1.0 / 3.0);
        let shifted: Vec<f64> = noise.iter().map(|x| x + offset).collect();
        assert!((of(&shifted) - width / (width + offset * offset)).abs() < 0.01);
        assert_eq!(of(&vec![0.7; shape.len()]), 0.0);
        assert_eq!(of(&vec![0.0; shape.len()]), 0.0);
        let mut broken = noise;
        broken[0] = f64::NAN;
        assert!(of(&broken).is_nan());
    }
}
