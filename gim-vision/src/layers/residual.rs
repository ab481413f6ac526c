//! Pre-activation residual blocks without normalization (He et al. 2016, "Identity mappings"; Löwe
//! et al. 2019, §4.1).

use gim_core::activations::Shape;
use gim_core::kernels::gemm::Store;
use gim_core::kernels::vector::relu;
use gim_core::layers::{ItemLayer, LayerInfo, Pass, Work};
use gim_core::param::{Param, Params};
use gim_core::{Buffer, Key, Pool, Result, Scalar};
use serde::{Deserialize, Serialize};

use crate::layers::conv2d::{Conv2d, Conv2dConfig, delta_orthogonal};

/// The kinds of residual blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlockKind {
    /// Convolutions 1×1, 3×3 (with the stride) and 1×1 (to four times the width): ResNet-50.
    Bottleneck,
    /// Two convolutions 3×3: ResNet-34.
    Basic,
}

impl BlockKind {
    /// Output channels for a width.
    pub fn channels(self, width: usize) -> usize {
        match self {
            Self::Bottleneck => 4 * width,
            Self::Basic => width,
        }
    }
}

/// y = f(max(0, x)) + shortcut: x (N, H, W, C) → y (N, ⌈H/s⌉, ⌈W/s⌉, O), O =
/// [`BlockKind::channels`] of the width.
///
/// f is a chain of convolutions with a ReLU before each, and none after the last. The shortcut is x
/// itself; when the stride s is not 1 or the number of channels changes, it is a 1×1 convolution of
/// max(0, x).
pub struct Residual<F: Scalar> {
    kind: BlockKind,
    convs: Vec<Conv2d<F>>,
    shortcut: Option<Conv2d<F>>,
}

impl<F: Scalar> Residual<F> {
    /// A block from `in_channels` channels to those of `width`.
    ///
    /// # Errors
    /// When a size is zero.
    pub fn new(kind: BlockKind, in_channels: usize, width: usize, stride: usize, key: Key) -> Result<Self> {
        let out_channels = kind.channels(width);
        let configs = match kind {
            BlockKind::Bottleneck => vec![
                Conv2dConfig::square(in_channels, width, 1, 1),
                Conv2dConfig::square(width, width, 3, stride),
                Conv2dConfig::square(width, out_channels, 1, 1),
            ],
            BlockKind::Basic => {
                vec![Conv2dConfig::square(in_channels, width, 3, stride), Conv2dConfig::square(width, width, 3, 1)]
            }
        };
        let make = |(i, config): (usize, Conv2dConfig)| {
            let mut conv = Conv2d::new(config.after_relu(), key.with_item(key.item + 2 * i as u32))?;
            conv.visit(&mut |p| p.name = format!("conv{}.{}", i + 1, p.name));
            Ok(conv)
        };
        let convs = configs.into_iter().enumerate().map(make).collect::<Result<Vec<_>>>()?;
        let shortcut = if stride != 1 || in_channels != out_channels {
            let config = Conv2dConfig::square(in_channels, out_channels, 1, stride).after_relu();
            let mut conv = Conv2d::new(config, key.with_item(key.item + 8))?;
            conv.visit(&mut |p| p.name = format!("shortcut.{}", p.name));
            Some(conv)
        } else {
            None
        };
        Ok(Self { kind, convs, shortcut })
    }

    /// Replaces the weights by delta-orthogonal ones.
    ///
    /// # Errors
    /// When the decomposition fails.
    pub fn delta_orthogonal(&mut self, key: Key) -> Result<()> {
        for (i, conv) in self.convs.iter_mut().chain(&mut self.shortcut).enumerate() {
            delta_orthogonal(conv, key.with_item(key.item + i as u32))?;
        }
        Ok(())
    }

    /// The convolutions of f.
    pub(super) fn convs(&self) -> &[Conv2d<F>] {
        &self.convs
    }

    /// The convolution of the shortcut, if there is one.
    pub(super) fn shortcut(&self) -> Option<&Conv2d<F>> {
        self.shortcut.as_ref()
    }

    /// The convolutions of f, and that of the shortcut.
    pub(super) fn layers_mut(&mut self) -> (&mut [Conv2d<F>], Option<&mut Conv2d<F>>) {
        (&mut self.convs, self.shortcut.as_mut())
    }

    /// Shapes of the inputs of all convolutions, and of the output.
    fn shapes(&self, x: Shape) -> Result<Vec<Shape>> {
        let mut shapes = vec![x];
        for conv in &self.convs {
            shapes.push(conv.output(shapes[shapes.len() - 1])?);
        }
        Ok(shapes)
    }

    /// The last convolution, of `h`, and the shortcut, of `x` (of shape `shape`), into `y`.
    fn join(&self, x: &[F], h: &[F], shape: Shape, y: &mut [F], work: Work<'_, F>) {
        let shapes = self.planned(shape);
        let last = self.convs.len() - 1;
        let conv = &self.convs[last];
        match &self.shortcut {
            None => {
                let add_x = |position: usize, col: usize, y: &mut [F]| {
                    let x = &x[position * shape.channels + col..];
                    y.iter_mut().zip(x).for_each(|(y, x)| *y += *x);
                };
                conv.apply(h, shapes[last], y, Store::Overwrite, add_x, work);
            }
            Some(shortcut) => {
                shortcut.apply(x, shape, y, Store::Overwrite, |_, _, _| {}, work);
                conv.apply(h, shapes[last], y, Store::Add, |_, _, _| {}, work);
            }
        }
    }

    /// Whether the first convolution's output has more positions than all later activations.
    fn opens_wide(&self) -> bool {
        self.convs[0].config().stride == 1 && self.convs[1..self.convs.len() - 1].iter().any(|c| c.config().stride > 1)
    }

    /// Output of convolution `i`, which is not the last, after the ReLU of the next one. Nothing else
    /// reads it without the ReLU.
    fn hidden(&self, i: usize, x: &[F], shape: Shape, h: &mut [F], work: Work<'_, F>) {
        self.convs[i].apply(x, shape, h, Store::Overwrite, |_, _, h| h.iter_mut().for_each(|h| *h = relu(*h)), work);
    }

    /// Recomputes the first convolution's output, when the `kept` values do not include it.
    fn wide(&self, x: &[F], shapes: &[Shape], kept: usize, work: Work<'_, F>) -> Option<Buffer<F>> {
        let hidden: usize = shapes[1..self.convs.len()].iter().map(Shape::len).sum();
        (kept < hidden).then(|| {
            let mut h = work.pool.take(shapes[1].len());
            self.hidden(0, x, shapes[0], &mut h, work);
            h
        })
    }

    pub(super) fn planned(&self, x: Shape) -> Vec<Shape> {
        self.shapes(x).unwrap_or_else(|e| unreachable!("shapes were checked when planned: {e}"))
    }
}

impl<F: Scalar> Params<F> for Residual<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        self.convs.iter_mut().chain(&mut self.shortcut).for_each(|c| c.visit(f));
    }
}

impl<F: Scalar> LayerInfo for Residual<F> {
    fn describe(&self) -> String {
        let (first, last) = (self.convs[0].config(), self.convs[self.convs.len() - 1].config());
        let name = match self.kind {
            BlockKind::Bottleneck => "bottleneck",
            BlockKind::Basic => "basic",
        };
        let stride = self.convs.iter().map(|c| c.config().stride).product::<usize>();
        let stride = if stride > 1 { format!(", /{stride}") } else { String::new() };
        format!("{name} {} → {}{stride}", first.in_channels, last.out_channels)
    }

    fn output(&self, x: Shape) -> Result<Shape> {
        self.convs.iter().try_fold(x, |x, c| c.output(x))
    }

    fn multiply_adds(&self, x: Shape) -> u64 {
        let Ok(shapes) = self.shapes(x) else { return 0 };
        let chain: u64 = self.convs.iter().zip(shapes).map(|(c, s)| c.multiply_adds(s)).sum();
        chain + self.shortcut.as_ref().map_or(0, |s| s.multiply_adds(x))
    }

    fn first_multiply_adds(&self, x: Shape) -> u64 {
        self.convs.first().into_iter().chain(&self.shortcut).map(|c| c.multiply_adds(x)).sum()
    }
}

impl<F: Scalar> ItemLayer<F> for Residual<F> {
    /// Outputs of all convolutions but the last: recomputing them would cost a third of the arithmetic. That of a 1×1 in front of
    /// a stride is the exception: as large as the others of its stage together, and a sixth of its block's arithmetic.
    fn kept(&self, x: Shape, recompute: bool) -> usize {
        let shapes = self.planned(x);
        let first = 1 + usize::from(recompute && self.opens_wide());
        shapes[first..shapes.len() - 1].iter().map(|s| s.len() / s.batch.max(1)).sum()
    }

    fn pack(&mut self, pass: Pass, x: Shape, pool: &Pool<F>) {
        let shapes = self.planned(x);
        self.convs.iter_mut().zip(shapes).for_each(|(c, x)| c.pack(pass, x, pool));
        self.shortcut.iter_mut().for_each(|c| c.pack(pass, x, pool));
    }

    fn unpack(&mut self) {
        self.convs.iter_mut().chain(&mut self.shortcut).for_each(|c| c.unpack());
    }

    fn forward(&self, x: &[F], shape: Shape, y: &mut [F], mut kept: &mut [F], work: Work<'_, F>) {
        let shapes = self.planned(shape);
        let wide = self.wide(x, &shapes, kept.len(), work);
        let mut input = wide.as_deref().unwrap_or(x);
        for i in usize::from(wide.is_some())..self.convs.len() - 1 {
            let h = kept.split_off_mut(..shapes[i + 1].len()).unwrap_or_default();
            self.hidden(i, input, shapes[i], h, work);
            input = h;
        }
        self.join(x, input, shape, y, work);
    }

    fn recomputes(&self) -> bool {
        true
    }

    fn recompute(&self, x: &[F], shape: Shape, kept: &[F], y: &mut [F], work: Work<'_, F>) {
        let shapes = self.planned(shape);
        let last = shapes[self.convs.len() - 1].len();
        self.join(x, &kept[kept.len() - last..], shape, y, work);
    }

    fn backward(
        &self,
        x: &[F],
        shape: Shape,
        kept: &[F],
        dy: &mut [F],
        dx: Option<&mut [F]>,
        grads: &mut [F],
        work: Work<'_, F>,
    ) {
        let shapes = self.planned(shape);
        let chain: usize = self.convs.iter().map(|c| c.n_params()).sum();
        let (mut grads, shortcut_grads) = grads.split_at_mut(chain);
        let wide = self.wide(x, &shapes, kept.len(), work);
        let mut kept_end = kept.len();
        let mut above: Option<Buffer<F>> = None;
        for (i, conv) in self.convs.iter().enumerate().skip(1).rev() {
            let (rest, own) = grads.split_at_mut(grads.len() - conv.n_params());
            grads = rest;
            let dh: &[F] = above.as_deref().unwrap_or(dy);
            let input = match wide.as_deref().filter(|_| i == 1) {
                Some(wide) => wide,
                None => {
                    kept_end -= shapes[i].len();
                    &kept[kept_end..][..shapes[i].len()]
                }
            };
            let mut below = work.pool.take(shapes[i].len());
            conv.weight_grads(input, shapes[i], dh, own, work);
            conv.input_grad(input, shapes[i], dh, &mut below, Store::Overwrite, |_, _, _| {}, work);
            above = Some(below);
        }
        let (first, dh) = (&self.convs[0], above.as_deref().unwrap_or(dy));
        first.weight_grads(x, shape, dh, grads, work);
        if let Some(shortcut) = &self.shortcut {
            shortcut.weight_grads(x, shape, dy, shortcut_grads, work);
        }
        let Some(dx) = dx else { return };
        match &self.shortcut {
            None => {
                let add_dy = |position: usize, col: usize, dx: &mut [F]| {
                    let dy = &dy[position * shape.channels + col..];
                    dx.iter_mut().zip(dy).for_each(|(d, dy)| *d += *dy);
                };
                first.input_grad(x, shape, dh, dx, Store::Overwrite, add_dy, work);
            }
            Some(shortcut) => {
                shortcut.input_grad(x, shape, dy, dx, Store::Overwrite, |_, _, _| {}, work);
                first.input_grad(x, shape, dh, dx, Store::Add, |_, _, _| {}, work);
            }
        }
    }

    fn n_params(&self) -> usize {
        self.convs.iter().chain(&self.shortcut).map(|c| c.n_params()).sum()
    }
}
