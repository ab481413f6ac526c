//! Gated PixelCNN (van den Oord et al. 2016): the context network of the CPC baseline for images.
//!
//! The context of a row of the grid sees the rows above it and the row itself. There are two
//! streams:
//!
//! - a vertical one with 3×3 kernels whose last row is masked. They are stored as 2×3 kernels, so
//!   that masked weights do not exist and cannot change;
//! - a horizontal one with 1×3 kernels.
//!
//! Gates are tanh(a)·σ(b).

use gim_core::activations::Shape;
use gim_core::kernels::vector::{add_scaled, sigmoid, tanh};
use gim_core::layers::{ItemLayer, LayerInfo, Pass, Work};
use gim_core::param::{Param, Params};
use gim_core::{Buffer, Error, Key, Pool, Result, Scalar};

use crate::layers::conv2d::{Conv2d, Conv2dConfig};

/// One layer; C = channels of both streams.
struct GatedLayer<F: Scalar> {
    /// C → 2C, 2×3.
    vertical: Conv2d<F>,
    /// 2C → 2C, 1×1: from the vertical pre-activation, before its residual.
    down: Conv2d<F>,
    /// C → 2C, 1×3.
    horizontal: Conv2d<F>,
    /// C → 2C, 1×1; none in the first layer.
    residual: Option<Conv2d<F>>,
    /// C → C, 1×1.
    output: Conv2d<F>,
}

impl<F: Scalar> GatedLayer<F> {
    fn convs_mut(&mut self) -> impl Iterator<Item = &mut Conv2d<F>> {
        let Self { vertical, down, horizontal, residual, output } = self;
        [vertical, down, horizontal].into_iter().chain(residual).chain([output])
    }

    fn convs(&self) -> impl Iterator<Item = &Conv2d<F>> {
        [&self.vertical, &self.down, &self.horizontal].into_iter().chain(&self.residual).chain([&self.output])
    }
}

/// c = PixelCNN(z): (N, H, W, C) → (N, H, W, C).
pub struct PixelCnn<F: Scalar> {
    channels: usize,
    layers: Vec<GatedLayer<F>>,
    out: Conv2d<F>,
}

/// What the backward pass needs of a layer: inputs of both streams, pre-activations and the gated
/// horizontal stream.
struct Kept<'a, F> {
    v: &'a [F],
    h: &'a [F],
    /// Vertical pre-activation without and with the residual; (n, 2C) each.
    vertical: &'a [F],
    gate_v: &'a [F],
    /// Horizontal pre-activation (n, 2C) and what its gate lets through (n, C).
    gate_h: &'a [F],
    gated: &'a [F],
}

/// Values per position and channel that a layer keeps: v, h, two vertical and one horizontal
/// pre-activation, gated.
const KEPT: usize = 9;

impl<'a, F> Kept<'a, F> {
    /// Splits a layer's slice for `n` positions × channels.
    fn of(slice: &'a [F], n: usize) -> Self {
        let (v, rest) = slice.split_at(n);
        let (h, rest) = rest.split_at(n);
        let (vertical, rest) = rest.split_at(2 * n);
        let (gate_v, rest) = rest.split_at(2 * n);
        let (gate_h, gated) = rest.split_at(2 * n);
        Self { v, h, vertical, gate_v, gate_h, gated }
    }
}

/// out (n, C) = tanh(a)·σ(b) for rows (a, b) of `pre (n, 2C)`.
fn gate<F: Scalar>(pre: &[F], channels: usize, out: &mut [F]) {
    for (pre, out) in pre.chunks_exact(2 * channels).zip(out.chunks_exact_mut(channels)) {
        let (a, b) = pre.split_at(channels);
        out.iter_mut().zip(a.iter().zip(b)).for_each(|(o, (a, b))| *o = tanh(*a) * sigmoid(*b));
    }
}

/// ∂/∂(a, b) of [`gate`]: dout (n, C) → dpre (n, 2C).
fn gate_grad<F: Scalar>(pre: &[F], channels: usize, dout: &[F], dpre: &mut [F]) {
    let rows = pre.chunks_exact(2 * channels).zip(dpre.chunks_exact_mut(2 * channels)).zip(dout.chunks_exact(channels));
    for ((pre, dpre), dout) in rows {
        for c in 0..channels {
            let (t, s) = (tanh(pre[c]), sigmoid(pre[channels + c]));
            dpre[c] = dout[c] * s * (F::one() - t * t);
            dpre[channels + c] = dout[c] * t * s * (F::one() - s);
        }
    }
}

impl<F: Scalar> PixelCnn<F> {
    /// All convolutions, in the order of their parameters.
    fn convs(&self) -> impl Iterator<Item = &Conv2d<F>> {
        self.layers.iter().flat_map(GatedLayer::convs).chain([&self.out])
    }

    fn convs_mut(&mut self) -> impl Iterator<Item = &mut Conv2d<F>> {
        self.layers.iter_mut().flat_map(GatedLayer::convs_mut).chain([&mut self.out])
    }

    /// `n_layers` gated layers and a 1×1 convolution. Weights from U(±1/√fan_in). As published,
    /// the fan-in of a vertical kernel counts its masked row: 9 C.
    ///
    /// # Errors
    /// When a size or the number of layers is zero.
    pub fn new(channels: usize, n_layers: usize, key: Key) -> Result<Self> {
        if n_layers == 0 {
            return Err(Error::config("network.context_layers", "a PixelCNN of no layers", "use 1 or more"));
        }
        let mut item = key.item;
        let mut conv =
            |in_channels: usize, out_channels: usize, kernel_size: [usize; 2], padding: [usize; 4], name: &str| {
                let config = Conv2dConfig { in_channels, out_channels, kernel_size, stride: 1, padding, relu: false };
                item += 2;
                // A vertical kernel has a third row, which is masked.
                let rows = if kernel_size[0] == 2 { 3 } else { kernel_size[0] };
                let fan_in = rows * kernel_size[1] * in_channels;
                let mut conv = Conv2d::with_fan_in(config, fan_in, key.with_item(item))?;
                conv.visit(&mut |p| p.name = format!("{name}.{}", p.name));
                Ok::<_, gim_core::Error>(conv)
            };
        let (c, point, none) = (channels, [1, 1], [0; 4]);
        let mut layers = Vec::new();
        for i in 0..n_layers {
            layers.push(GatedLayer {
                vertical: conv(c, 2 * c, [2, 3], [1, 0, 1, 1], &format!("{i}.vertical"))?,
                down: conv(2 * c, 2 * c, point, none, &format!("{i}.down"))?,
                horizontal: conv(c, 2 * c, [1, 3], [0, 0, 1, 1], &format!("{i}.horizontal"))?,
                residual: if i > 0 { Some(conv(c, 2 * c, point, none, &format!("{i}.residual"))?) } else { None },
                output: conv(c, c, point, none, &format!("{i}.output"))?,
            });
        }
        let out = conv(c, c, point, none, "out")?;
        Ok(Self { channels, layers, out })
    }
}

impl<F: Scalar> Params<F> for PixelCnn<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        self.convs_mut().for_each(|c| c.visit(f));
    }
}

impl<F: Scalar> LayerInfo for PixelCnn<F> {
    fn describe(&self) -> String {
        format!("PixelCNN {} × {}", self.layers.len(), self.channels)
    }

    fn output(&self, x: Shape) -> Result<Shape> {
        assert_eq!(x.channels, self.channels, "{x:?} into {}", self.describe());
        Ok(x)
    }

    fn multiply_adds(&self, x: Shape) -> u64 {
        self.convs().map(|c| c.multiply_adds(x.with_channels(c.config().in_channels))).sum()
    }
}

impl<F: Scalar> ItemLayer<F> for PixelCnn<F> {
    fn kept(&self, x: Shape, _: bool) -> usize {
        // The last horizontal stream, too, for the convolution at the end.
        x.height * x.width * x.channels * (KEPT * self.layers.len() + 1)
    }

    fn pack(&mut self, pass: Pass, x: Shape, pool: &Pool<F>) {
        self.convs_mut().for_each(|c| c.pack(pass, x, pool));
    }

    fn unpack(&mut self) {
        self.convs_mut().for_each(|c| c.unpack());
    }

    fn forward(&self, x: &[F], shape: Shape, y: &mut [F], kept: &mut [F], work: Work<'_, F>) {
        let (n, c) = (shape.len(), self.channels);
        let double = shape.with_channels(2 * c);
        let mut own = work.pool.take(2 * n);
        kept[..n].copy_from_slice(x);
        kept[n..2 * n].copy_from_slice(x);
        for (i, l) in self.layers.iter().enumerate() {
            let (this, next) = kept[i * KEPT * n..].split_at_mut(KEPT * n);
            let (v, rest) = this.split_at_mut(n);
            let (h, rest) = rest.split_at_mut(n);
            let (vertical, rest) = rest.split_at_mut(2 * n);
            let (gate_v, rest) = rest.split_at_mut(2 * n);
            let (gate_h, gated) = rest.split_at_mut(2 * n);
            l.vertical.forward(v, shape, vertical, &mut [], work);
            l.horizontal.forward(h, shape, gate_h, &mut [], work);
            l.down.forward(vertical, double, &mut own, &mut [], work);
            add_scaled(gate_h, F::one(), &own);
            gate_v.copy_from_slice(vertical);
            if let Some(r) = &l.residual {
                r.forward(v, shape, &mut own, &mut [], work);
                add_scaled(gate_v, F::one(), &own);
            }
            gate(gate_h, c, gated);
            // After the last layer nobody reads the vertical stream: only h has a place there.
            let last = i + 1 == self.layers.len();
            if !last {
                gate(gate_v, c, &mut next[..n]);
            }
            let next_h = if last { &mut next[..n] } else { &mut next[n..2 * n] };
            l.output.forward(gated, shape, next_h, &mut [], work);
            if i > 0 {
                add_scaled(next_h, F::one(), h);
            }
        }
        let h = &kept[self.layers.len() * KEPT * n..];
        self.out.forward(&h[..n], shape, y, &mut [], work);
    }

    fn backward(
        &self,
        _: &[F],
        shape: Shape,
        kept: &[F],
        dy: &mut [F],
        dx: Option<&mut [F]>,
        grads: &mut [F],
        work: Work<'_, F>,
    ) {
        let (n, c) = (shape.len(), self.channels);
        let double = shape.with_channels(2 * c);
        let take = |len| -> Buffer<F> { work.pool.take(len) };
        let (mut dv, mut dh) = (work.pool.zeros(n), take(n));
        let (mut own, mut own2) = (take(n), take(2 * n));
        let (mut d_gated, mut d_gate_h, mut d_gate_v) = (take(n), take(2 * n), take(2 * n));
        let mut end = grads.len();
        let mut of = |conv: &Conv2d<F>| {
            let range = end - conv.n_params()..end;
            end = range.start;
            range
        };
        let h = &kept[self.layers.len() * KEPT * n..];
        let range = of(&self.out);
        self.out.backward(&h[..n], shape, &[], dy, Some(&mut dh), &mut grads[range], work);
        for (i, l) in self.layers.iter().enumerate().rev() {
            let k = Kept::of(&kept[i * KEPT * n..(i + 1) * KEPT * n], n);
            // Gradients lie in the order of `visit`; ranges are taken from the end.
            let output = of(&l.output);
            let residual = l.residual.as_ref().map(&mut of);
            let (horizontal, down, vertical) = (of(&l.horizontal), of(&l.down), of(&l.vertical));
            l.output.backward(k.gated, shape, &[], &mut dh, Some(&mut d_gated), &mut grads[output], work);
            gate_grad(k.gate_h, c, &d_gated, &mut d_gate_h);
            gate_grad(k.gate_v, c, &dv, &mut d_gate_v);
            // h' = output (+ h after the first layer).
            if i == 0 {
                dh.fill(F::zero());
            }
            l.horizontal.backward(k.h, shape, &[], &mut d_gate_h, Some(&mut own), &mut grads[horizontal], work);
            add_scaled(&mut dh, F::one(), &own);
            dv.fill(F::zero());
            if let (Some(r), Some(range)) = (&l.residual, residual) {
                r.backward(k.v, shape, &[], &mut d_gate_v, Some(&mut dv), &mut grads[range], work);
            }
            l.down.backward(k.vertical, double, &[], &mut d_gate_h, Some(&mut own2), &mut grads[down], work);
            add_scaled(&mut own2, F::one(), &d_gate_v);
            l.vertical.backward(k.v, shape, &[], &mut own2, Some(&mut own), &mut grads[vertical], work);
            add_scaled(&mut dv, F::one(), &own);
        }
        if let Some(dx) = dx {
            dx.copy_from_slice(&dv);
            add_scaled(dx, F::one(), &dh);
        }
    }

    fn n_params(&self) -> usize {
        self.convs().map(|c| c.n_params()).sum()
    }
}

#[cfg(test)]
mod tests {
    use gim_core::Purpose;

    use super::*;

    #[test]
    fn weights_start_within_the_published_bounds() {
        let c = 16;
        let mut net = PixelCnn::<f64>::new(c, 2, Key::new(1, Purpose::Init)).unwrap();
        net.visit(&mut |p| {
            if !p.name.ends_with("weight") {
                return;
            }
            let fan_in = if p.name.contains("vertical") {
                9 * c
            } else if p.name.contains("horizontal") {
                3 * c
            } else {
                p.shape[1]
            };
            let widest = p.value.iter().fold(0.0_f64, |most, w| most.max(w.abs())) * (fan_in as f64).sqrt();
            assert!(widest > 0.95 && widest <= 1.0, "{}: {widest} of the bound", p.name);
        });
    }
}
