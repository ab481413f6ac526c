//! Normalization within an item: of groups of channels, or of each position.

use std::ops::Range;

use gim_core::activations::Shape;
use gim_core::kernels::vector::sum;
use gim_core::layers::{ItemLayer, LayerInfo, Pass, Work};
use gim_core::param::{Param, Params};
use gim_core::{Error, Pool, Result, Scalar};

/// Which values of an item are normalized together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormSets {
    /// All positions of each of so many groups of channels: `GroupNorm` (Wu & He 2018).
    Groups(usize),
    /// All channels of each position: layer normalization (Ba et al. 2016) over channels.
    Positions,
}

/// y = γ (x − μ)/√(σ² + ε) + β: x (N, H, W, C) → y (N, H, W, C).
///
/// Mean μ and variance σ² (biased) are those of the value's set; γ and β (C) are learned, and ε is 1e-5: as `GroupNorm`
/// and, over channels, `LayerNorm` of PyTorch. Statistics are of one item and of nothing above or below: neither
/// items of a batch nor modules are coupled.
pub struct Normalize<F: Scalar> {
    sets: NormSets,
    /// γ (C), then β (C).
    weight: Param<F>,
    bias: Param<F>,
}

/// ε, PyTorch's default.
const EPSILON: f64 = 1e-5;
/// Values that are kept of a set: μ and 1/√(σ² + ε).
const KEPT: usize = 2;

/// Positions and channels of a set.
struct Set {
    positions: Range<usize>,
    channels: Range<usize>,
}

impl Set {
    fn len(&self) -> usize {
        self.positions.len() * self.channels.len()
    }

    /// Where its values lie among those of `channels` channels, position by position.
    fn rows(&self, channels: usize) -> impl Iterator<Item = Range<usize>> {
        let Range { start, end } = self.channels;
        self.positions.clone().map(move |p| p * channels + start..p * channels + end)
    }
}

impl<F: Scalar> Normalize<F> {
    /// A layer with γ = 1 and β = 0.
    ///
    /// # Errors
    /// When groups do not have the same number of channels.
    pub fn new(sets: NormSets, channels: usize) -> Result<Self> {
        if let NormSets::Groups(groups) = sets
            && (groups == 0 || !channels.is_multiple_of(groups))
        {
            let what = format!("{channels} channels cannot be cut into {groups} groups of one size");
            return Err(Error::config("network.norm_groups", what, "use a number that divides all widths"));
        }
        let weight = Param::new("weight", &[channels], vec![F::one(); channels]);
        Ok(Self { sets, weight, bias: Param::new("bias", &[channels], vec![F::zero(); channels]) })
    }

    fn channels(&self) -> usize {
        self.weight.value.len()
    }

    /// Sets of an item.
    fn sets_of_item(&self, x: Shape) -> usize {
        match self.sets {
            NormSets::Groups(groups) => groups,
            NormSets::Positions => x.height * x.width,
        }
    }

    /// Set number `at` of a batch.
    fn set(&self, at: usize, x: Shape) -> Set {
        match self.sets {
            NormSets::Groups(groups) => {
                let (item, group) = (at / groups, at % groups);
                let (positions, channels) = (x.height * x.width, x.channels / groups);
                Set {
                    positions: item * positions..(item + 1) * positions,
                    channels: group * channels..(group + 1) * channels,
                }
            }
            NormSets::Positions => Set { positions: at..at + 1, channels: 0..x.channels },
        }
    }

    /// μ and 1/√(σ² + ε) of a set of values.
    fn statistics(x: &[F], channels: usize, set: &Set) -> [F; KEPT] {
        let share = 1.0 / set.len() as f64;
        let mean = F::of(set.rows(channels).map(|row| sum(&x[row]).f64()).sum::<f64>() * share);
        let squares = |row: Range<usize>| {
            let row = x[row].iter().fold(F::zero(), |sum, x| sum + (*x - mean) * (*x - mean));
            row.f64()
        };
        let variance = set.rows(channels).map(squares).sum::<f64>() * share;
        [mean, F::of(1.0 / (variance + EPSILON).sqrt())]
    }

    /// A set's outputs, from its statistics.
    fn scale(&self, x: &[F], y: &mut [F], set: &Set, [mean, scale]: [F; KEPT]) {
        let (weight, bias) = (&self.weight.value[set.channels.clone()], &self.bias.value[set.channels.clone()]);
        for row in set.rows(self.channels()) {
            let affine = weight.iter().zip(bias);
            for ((y, x), (w, b)) in y[row.clone()].iter_mut().zip(&x[row]).zip(affine) {
                *y = (*x - mean) * scale * *w + *b;
            }
        }
    }
}

impl<F: Scalar> Params<F> for Normalize<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        f(&mut self.weight);
        f(&mut self.bias);
    }
}

impl<F: Scalar> LayerInfo for Normalize<F> {
    fn describe(&self) -> String {
        match self.sets {
            NormSets::Groups(groups) => format!("group norm, {groups} groups"),
            NormSets::Positions => "layer norm".into(),
        }
    }

    fn output(&self, x: Shape) -> Result<Shape> {
        assert_eq!(x.channels, self.channels(), "{x:?} into {}", self.describe());
        Ok(x)
    }

    fn multiply_adds(&self, _: Shape) -> u64 {
        0
    }
}

impl<F: Scalar> ItemLayer<F> for Normalize<F> {
    fn kept(&self, x: Shape, _: bool) -> usize {
        KEPT * self.sets_of_item(x)
    }

    fn pack(&mut self, _: Pass, _: Shape, _: &Pool<F>) {}

    fn unpack(&mut self) {}

    fn forward(&self, x: &[F], shape: Shape, y: &mut [F], kept: &mut [F], _: Work<'_, F>) {
        for (at, kept) in kept.chunks_exact_mut(KEPT).enumerate() {
            let set = self.set(at, shape);
            let statistics = Self::statistics(x, self.channels(), &set);
            kept.copy_from_slice(&statistics);
            self.scale(x, y, &set, statistics);
        }
    }

    fn recomputes(&self) -> bool {
        true
    }

    fn recompute(&self, x: &[F], shape: Shape, kept: &[F], y: &mut [F], _: Work<'_, F>) {
        for (at, kept) in kept.chunks_exact(KEPT).enumerate() {
            self.scale(x, y, &self.set(at, shape), [kept[0], kept[1]]);
        }
    }

    /// With x̂ = (x − μ)/√(σ² + ε) and g = γ dy, means over the set:
    /// ∂loss/∂x = (g − mean(g) − x̂ mean(g x̂))/√(σ² + ε).
    fn backward(
        &self,
        x: &[F],
        shape: Shape,
        kept: &[F],
        dy: &mut [F],
        mut dx: Option<&mut [F]>,
        grads: &mut [F],
        _: Work<'_, F>,
    ) {
        let channels = self.channels();
        let (dweight, dbias) = grads.split_at_mut(channels);
        for (at, kept) in kept.chunks_exact(KEPT).enumerate() {
            let (set, [mean, scale]) = (self.set(at, shape), [kept[0], kept[1]]);
            let weight = &self.weight.value[set.channels.clone()];
            let (dweight, dbias) = (&mut dweight[set.channels.clone()], &mut dbias[set.channels.clone()]);
            let mut sums = [0.0; 2];
            for row in set.rows(channels) {
                let mut own = [F::zero(); 2];
                for (c, (dy, x)) in dy[row.clone()].iter().zip(&x[row]).enumerate() {
                    let normal = (*x - mean) * scale;
                    dweight[c] += *dy * normal;
                    dbias[c] += *dy;
                    let g = *dy * weight[c];
                    own[0] += g;
                    own[1] += g * normal;
                }
                sums.iter_mut().zip(own).for_each(|(sum, own)| *sum += own.f64());
            }
            let Some(dx) = dx.as_deref_mut() else { continue };
            let [mean_g, mean_gx] = sums.map(|sum| F::of(sum / set.len() as f64));
            for row in set.rows(channels) {
                let values = dy[row.clone()].iter().zip(&x[row.clone()]).zip(weight);
                for (dx, ((dy, x), w)) in dx[row].iter_mut().zip(values) {
                    *dx = scale * (*dy * *w - mean_g - (*x - mean) * scale * mean_gx);
                }
            }
        }
    }

    fn n_params(&self) -> usize {
        2 * self.channels()
    }
}
