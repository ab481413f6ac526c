//! Pre-activation residual blocks with normalization (He et al. 2016, "Identity mappings").

use std::ops::Range;

use gim_core::activations::Shape;
use gim_core::kernels::gemm::Store;
use gim_core::kernels::vector::add_scaled;
use gim_core::layers::{ItemLayer, LayerInfo, Pass, Work};
use gim_core::param::{Param, Params};
use gim_core::{Buffer, Pool, Result, Scalar};

use crate::layers::conv2d::Conv2d;
use crate::layers::normalize::{NormSets, Normalize};
use crate::layers::residual::Residual;

/// A [`Residual`] block whose convolutions see max(0, norm(x)) instead of max(0, x): x (N, H, W, C) →
/// y (N, ⌈H/s⌉, ⌈W/s⌉, O).
///
/// A shortcut with a convolution sees the same as the first convolution; the other is x itself.
pub struct NormedResidual<F: Scalar> {
    block: Residual<F>,
    /// In front of each convolution of the chain.
    norms: Vec<Normalize<F>>,
}

/// Where the parts of what is kept lie: statistics and output of each normalization, and its input, where that is
/// not the block's.
struct Parts {
    statistics: Range<usize>,
    normal: Range<usize>,
    input: Range<usize>,
}

impl<F: Scalar> NormedResidual<F> {
    /// The block with normalization in front of each convolution, γ = 1 and β = 0.
    ///
    /// # Errors
    /// When groups do not have the same number of channels.
    pub fn new(block: Residual<F>, sets: NormSets) -> Result<Self> {
        let norm = |(i, conv): (usize, &Conv2d<F>)| {
            let mut norm = Normalize::new(sets, conv.config().in_channels)?;
            norm.visit(&mut |p| p.name = format!("norm{}.{}", i + 1, p.name));
            Ok(norm)
        };
        let norms = block.convs().iter().enumerate().map(norm).collect::<Result<Vec<_>>>()?;
        Ok(Self { block, norms })
    }

    /// What is kept of a chunk of shape `x`, by convolution.
    fn parts(&self, x: Shape) -> Vec<Parts> {
        let (shapes, mut end) = (self.block.planned(x), 0);
        let mut take = |len: usize| {
            end += len;
            end - len..end
        };
        let of = |(i, (norm, shape)): (usize, (&Normalize<F>, &Shape))| Parts {
            input: take(if i == 0 { 0 } else { shape.len() }),
            statistics: take(shape.batch * norm.kept(*shape, false)),
            normal: take(shape.len()),
        };
        self.norms.iter().zip(&shapes).enumerate().map(of).collect()
    }

    /// The last convolution and the shortcut, into `y`.
    fn join(&self, x: &[F], shape: Shape, kept: &[F], y: &mut [F], work: Work<'_, F>) {
        let (parts, shapes) = (self.parts(shape), self.block.planned(shape));
        let last = parts.len() - 1;
        let (conv, normal) = (&self.block.convs()[last], &kept[parts[last].normal.clone()]);
        match self.block.shortcut() {
            None => {
                let add_x = |position: usize, col: usize, y: &mut [F]| {
                    let x = &x[position * shape.channels + col..];
                    y.iter_mut().zip(x).for_each(|(y, x)| *y += *x);
                };
                conv.apply(normal, shapes[last], y, Store::Overwrite, add_x, work);
            }
            Some(shortcut) => {
                shortcut.apply(&kept[parts[0].normal.clone()], shape, y, Store::Overwrite, |_, _, _| {}, work);
                conv.apply(normal, shapes[last], y, Store::Add, |_, _, _| {}, work);
            }
        }
    }
}

impl<F: Scalar> Params<F> for NormedResidual<F> {
    /// Each normalization with its convolution, then the shortcut.
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        let (convs, shortcut) = self.block.layers_mut();
        for (norm, conv) in self.norms.iter_mut().zip(convs) {
            norm.visit(f);
            conv.visit(f);
        }
        if let Some(shortcut) = shortcut {
            shortcut.visit(f);
        }
    }
}

impl<F: Scalar> LayerInfo for NormedResidual<F> {
    fn describe(&self) -> String {
        format!("{}, {}", self.block.describe(), self.norms[0].describe())
    }

    fn output(&self, x: Shape) -> Result<Shape> {
        self.block.output(x)
    }

    fn multiply_adds(&self, x: Shape) -> u64 {
        self.block.multiply_adds(x)
    }

    fn first_multiply_adds(&self, _: Shape) -> u64 {
        // Even where nothing below trains, the first normalization needs the gradient of its output.
        0
    }
}

impl<F: Scalar> ItemLayer<F> for NormedResidual<F> {
    fn kept(&self, x: Shape, _: bool) -> usize {
        self.parts(Shape { batch: 1, ..x }).last().map_or(0, |p| p.normal.end)
    }

    fn pack(&mut self, pass: Pass, x: Shape, pool: &Pool<F>) {
        self.block.pack(pass, x, pool);
    }

    fn unpack(&mut self) {
        self.block.unpack();
    }

    fn forward(&self, x: &[F], shape: Shape, y: &mut [F], kept: &mut [F], work: Work<'_, F>) {
        let (parts, shapes) = (self.parts(shape), self.block.planned(shape));
        for (i, (norm, part)) in self.norms.iter().zip(&parts).enumerate() {
            // Parts lie one after the other: what is read comes before what is written.
            let (before, rest) = kept.split_at_mut(part.statistics.start);
            let (statistics, rest) = rest.split_at_mut(part.statistics.len());
            let (normal, after) = rest.split_at_mut(part.normal.len());
            let input = if i == 0 { x } else { &before[part.input.clone()] };
            norm.forward(input, shapes[i], normal, statistics, work);
            if i + 1 < parts.len() {
                let next = &mut after[..shapes[i + 1].len()];
                self.block.convs()[i].apply(normal, shapes[i], next, Store::Overwrite, |_, _, _| {}, work);
            }
        }
        self.join(x, shape, kept, y, work);
    }

    fn recomputes(&self) -> bool {
        true
    }

    fn recompute(&self, x: &[F], shape: Shape, kept: &[F], y: &mut [F], work: Work<'_, F>) {
        self.join(x, shape, kept, y, work);
    }

    fn backward(
        &self,
        x: &[F],
        shape: Shape,
        kept: &[F],
        dy: &mut [F],
        mut dx: Option<&mut [F]>,
        grads: &mut [F],
        work: Work<'_, F>,
    ) {
        let (parts, shapes) = (self.parts(shape), self.block.planned(shape));
        let own: usize = self.norms.iter().zip(self.block.convs()).map(|(n, c)| n.n_params() + c.n_params()).sum();
        let (mut grads, shortcut_grads) = grads.split_at_mut(own);
        let mut above: Option<Buffer<F>> = None;
        for (i, (norm, conv)) in self.norms.iter().zip(self.block.convs()).enumerate().rev() {
            let (rest, of_conv) = grads.split_at_mut(grads.len() - conv.n_params());
            let (rest, of_norm) = rest.split_at_mut(rest.len() - norm.n_params());
            grads = rest;
            let (part, at) = (&parts[i], shapes[i]);
            let (normal, dh) = (&kept[part.normal.clone()], above.as_deref().unwrap_or(dy));
            let mut dnormal = work.pool.take(at.len());
            conv.weight_grads(normal, at, dh, of_conv, work);
            conv.input_grad(normal, at, dh, &mut dnormal, Store::Overwrite, |_, _, _| {}, work);
            let statistics = &kept[part.statistics.clone()];
            if i > 0 {
                let mut below = work.pool.take(at.len());
                let input = &kept[part.input.clone()];
                norm.backward(input, at, statistics, &mut dnormal, Some(&mut below), of_norm, work);
                above = Some(below);
                continue;
            }
            if let Some(shortcut) = self.block.shortcut() {
                shortcut.weight_grads(normal, at, dy, shortcut_grads, work);
                shortcut.input_grad(normal, at, dy, &mut dnormal, Store::Add, |_, _, _| {}, work);
            }
            norm.backward(x, at, statistics, &mut dnormal, dx.as_deref_mut(), of_norm, work);
        }
        if let (Some(dx), None) = (dx, self.block.shortcut()) {
            add_scaled(dx, F::one(), dy);
        }
    }

    fn n_params(&self) -> usize {
        self.block.n_params() + self.norms.iter().map(|n| n.n_params()).sum::<usize>()
    }
}
