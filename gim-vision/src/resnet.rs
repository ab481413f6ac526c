//! Pre-activation residual blocks without normalisation (He et al. 2016, "Identity mappings"; Löwe et al. 2019, §4.1).

use gim_core::activations::Shape;
use gim_core::kernels::vector::add_scaled;
use gim_core::layers::{ItemLayer, Work};
use gim_core::param::{Param, Params};
use gim_core::{Key, Result, Scalar};
use serde::{Deserialize, Serialize};

use crate::conv2d::{Conv2d, Conv2dConfig, delta_orthogonal};

/// What a block is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlockKind {
    /// 1×1, 3×3 (with the stride), 1×1 to four times the width: ResNet-50.
    Bottleneck,
    /// Two 3×3: ResNet-34.
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

/// y = f(max(0, x)) + shortcut, f = a chain of convolutions with a ReLU before each. The shortcut is x itself, or a 1×1
/// convolution of max(0, x) where stride or channels change. No ReLU at the end.
pub struct Residual<F: Scalar> {
    kind: BlockKind,
    convs: Vec<Conv2d<F>>,
    shortcut: Option<Conv2d<F>>,
}

impl<F: Scalar> Residual<F> {
    /// A block from `c_in` channels to those of `width`.
    ///
    /// # Errors
    /// When a size is zero.
    pub fn new(kind: BlockKind, c_in: usize, width: usize, stride: usize, key: Key) -> Result<Self> {
        let c_out = kind.channels(width);
        let configs = match kind {
            BlockKind::Bottleneck => vec![
                Conv2dConfig::square(c_in, width, 1, 1),
                Conv2dConfig::square(width, width, 3, stride),
                Conv2dConfig::square(width, c_out, 1, 1),
            ],
            BlockKind::Basic => {
                vec![Conv2dConfig::square(c_in, width, 3, stride), Conv2dConfig::square(width, width, 3, 1)]
            }
        };
        let make = |(i, config): (usize, Conv2dConfig)| {
            let mut conv = Conv2d::new(config.after_relu(), key.with_item(key.item + 2 * i as u32))?;
            conv.visit(&mut |p| p.name = format!("conv{}.{}", i + 1, p.name));
            Ok(conv)
        };
        let convs = configs.into_iter().enumerate().map(make).collect::<Result<Vec<_>>>()?;
        let shortcut = if stride != 1 || c_in != c_out {
            let config = Conv2dConfig::square(c_in, c_out, 1, stride).after_relu();
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

    /// Shapes of the inputs of all convolutions, and of the output.
    fn shapes(&self, x: Shape) -> Result<Vec<Shape>> {
        let mut shapes = vec![x];
        for conv in &self.convs {
            shapes.push(conv.output(shapes[shapes.len() - 1])?);
        }
        Ok(shapes)
    }

    fn planned(&self, x: Shape) -> Vec<Shape> {
        self.shapes(x).unwrap_or_else(|e| unreachable!("shapes were checked when planned: {e}"))
    }
}

impl<F: Scalar> Params<F> for Residual<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        self.convs.iter_mut().chain(&mut self.shortcut).for_each(|c| c.visit(f));
    }
}

impl<F: Scalar> ItemLayer<F> for Residual<F> {
    fn describe(&self) -> String {
        let (first, last) = (self.convs[0].config(), self.convs[self.convs.len() - 1].config());
        let name = match self.kind {
            BlockKind::Bottleneck => "bottleneck",
            BlockKind::Basic => "basic",
        };
        let stride = self.convs.iter().map(|c| c.config().stride).product::<usize>();
        let stride = if stride > 1 { format!(", /{stride}") } else { String::new() };
        format!("{name} {} → {}{stride}", first.c_in, last.c_out)
    }

    fn output(&self, x: Shape) -> Result<Shape> {
        self.convs.iter().try_fold(x, |x, c| c.output(x))
    }

    /// Outputs of all convolutions but the last: recomputing them would cost a third of the arithmetic.
    fn kept(&self, x: Shape) -> usize {
        let shapes = self.planned(x);
        shapes[1..shapes.len() - 1].iter().map(|s| s.len() / s.items.max(1)).sum()
    }

    fn forward(&self, x: &[F], shape: Shape, y: &mut [F], mut kept: &mut [F], work: Work<'_, F>) {
        let shapes = self.planned(shape);
        let n = self.convs.len();
        let mut input = x;
        for (i, conv) in self.convs.iter().enumerate() {
            if i + 1 == n {
                conv.forward(input, shapes[i], y, &mut [], work);
            } else {
                let (h, rest) = kept.split_at_mut(shapes[i + 1].len());
                conv.forward(input, shapes[i], h, &mut [], work);
                (input, kept) = (h, rest);
            }
        }
        match &self.shortcut {
            None => add_scaled(y, F::one(), x),
            Some(conv) => {
                let mut s = work.pool.take(shapes[n].len());
                conv.forward(x, shape, &mut s, &mut [], work);
                add_scaled(y, F::one(), &s);
            }
        }
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
        let shapes = self.planned(shape);
        let mut end = grads.len();
        let (grads, shortcut_grads) = grads.split_at_mut(end - self.shortcut.as_ref().map_or(0, |s| s.n_params()));
        if self.shortcut.is_some() {
            end = grads.len();
        }
        let mut kept_end = kept.len();
        let mut above: Option<gim_core::Buffer<F>> = None;
        for (i, conv) in self.convs.iter().enumerate().rev() {
            let grads = &mut grads[end - conv.n_params()..end];
            end -= conv.n_params();
            let dh: &mut [F] = above.as_deref_mut().unwrap_or(&mut *dy);
            if i == 0 {
                conv.backward(x, shape, &[], dh, dx.as_deref_mut(), grads, work);
            } else {
                let input = &kept[kept_end - shapes[i].len()..kept_end];
                kept_end -= shapes[i].len();
                let mut below = work.pool.take(shapes[i].len());
                conv.backward(input, shapes[i], &[], dh, Some(&mut below), grads, work);
                above = Some(below);
            }
        }
        match (&self.shortcut, dx) {
            (None, None) => {}
            (None, Some(dx)) => add_scaled(dx, F::one(), dy),
            (Some(conv), None) => conv.backward(x, shape, &[], dy, None, shortcut_grads, work),
            (Some(conv), Some(dx)) => {
                let mut own = work.pool.take(dx.len());
                conv.backward(x, shape, &[], dy, Some(&mut own), shortcut_grads, work);
                add_scaled(dx, F::one(), &own);
            }
        }
    }

    fn n_params(&self) -> usize {
        self.convs.iter().chain(&self.shortcut).map(|c| c.n_params()).sum()
    }

    fn multiply_adds(&self, x: Shape) -> u64 {
        let Ok(shapes) = self.shapes(x) else { return 0 };
        let chain: u64 = self.convs.iter().zip(shapes).map(|(c, s)| c.multiply_adds(s)).sum();
        chain + self.shortcut.as_ref().map_or(0, |s| s.multiply_adds(x))
    }
}
