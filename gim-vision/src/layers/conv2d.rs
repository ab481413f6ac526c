//! Convolution of images, as matrix products on windows that are gathered into cache.

use gim_core::activations::Shape;
use gim_core::kernels::gemm::{Mat, MatMut, Packed, Store, gemm, gemm_tn};
use gim_core::kernels::vector::add_column_sums;
use gim_core::layers::{ItemLayer, LayerInfo, Pass, Work};
use gim_core::param::{Param, Params};
use gim_core::{Error, Key, Pool, Result, Scalar};

use crate::layers::im2col::{Grid, Im2col};
use crate::layers::orthonormal::orthonormal;
use crate::layers::winograd::{self, Places, Tiled};

/// Settings of a [`Conv2d`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// Input channels C.
    pub in_channels: usize,
    /// Output channels O.
    pub out_channels: usize,
    /// Rows and columns (kh, kw) of the kernel.
    pub kernel_size: [usize; 2],
    /// Stride in both directions.
    pub stride: usize,
    /// Zeros above, below, left and right.
    pub padding: [usize; 4],
    /// The convolution sees max(0, x) instead of x (pre-activation).
    pub relu: bool,
}

impl Conv2dConfig {
    /// A square kernel with ⌊kernel_size/2⌋ zeros on all sides.
    pub fn square(in_channels: usize, out_channels: usize, kernel_size: usize, stride: usize) -> Self {
        Self {
            in_channels,
            out_channels,
            kernel_size: [kernel_size; 2],
            stride,
            padding: [kernel_size / 2; 4],
            relu: false,
        }
    }

    /// With the ReLU in front.
    pub fn after_relu(self) -> Self {
        Self { relu: true, ..self }
    }

    /// Values in a window: kh·kw·C.
    fn window(&self) -> usize {
        self.kernel_size[0] * self.kernel_size[1] * self.in_channels
    }
}

/// y = W * x + b, or W * max(0, x) + b: x (N, H, W, C) → y (N, H', W', O), H' = ⌊(H + above + below
/// − kh)/s⌋ + 1.
pub struct Conv2d<F: Scalar> {
    config: Conv2dConfig,
    /// (O, kh·kw·C): by row of the kernel, then column, channels fastest.
    weight: Param<F>,
    /// (O).
    bias: Param<F>,
    /// The weight, packed for the forward pass and for the input gradient.
    packed: [Option<Kernels<F>>; 2],
}

/// Weights, packed for matrix products.
enum Kernels<F: Scalar> {
    /// For products with windows.
    Im2col(Packed<F>),
    /// For products with Winograd's tiles.
    Tiles(Places<F>),
}

/// Values of windows that are scattered at a time: few enough to stay in a core's own cache.
const WINDOWS: usize = 1 << 16;

impl<F: Scalar> Conv2d<F> {
    /// A layer with weights and bias drawn from U(±1/√(kh·kw·C)).
    ///
    /// # Errors
    /// When a size is zero, or the padding as large as the kernel.
    pub fn new(config: Conv2dConfig, key: Key) -> Result<Self> {
        Self::with_fan_in(config, config.window(), key)
    }

    /// As [`Self::new`], with weights and biases from U(±1/√`fan_in`).
    pub(crate) fn with_fan_in(config: Conv2dConfig, fan_in: usize, key: Key) -> Result<Self> {
        let Conv2dConfig {
            in_channels,
            out_channels,
            kernel_size: [kh, kw],
            stride,
            padding: [above, below, left, right],
            ..
        } = config;
        if in_channels == 0 || out_channels == 0 || kh == 0 || kw == 0 || stride == 0 {
            return Err(Error::config("network", format_args!("{config:?} has a size of 0"), "use 1 or more"));
        }
        if above.max(below) >= kh || left.max(right) >= kw {
            return Err(Error::config(
                "network",
                format_args!("{config:?} has windows that see only zeros"),
                "use less padding than kernel",
            ));
        }
        let bound = 1.0 / (fan_in as f64).sqrt();
        Ok(Self {
            config,
            weight: Param::uniform("weight", &[out_channels, config.window()], bound, key).transported(),
            bias: Param::uniform("bias", &[out_channels], bound, key.with_item(key.item + 1)),
            packed: [None, None],
        })
    }

    /// The settings.
    pub fn config(&self) -> Conv2dConfig {
        self.config
    }

    fn out(&self, x: Shape) -> Option<Shape> {
        let Conv2dConfig { out_channels, kernel_size: [kh, kw], stride, padding: [above, below, left, right], .. } =
            self.config;
        let size = |n: usize, k: usize| n.checked_sub(k).map(|n| n / stride + 1);
        let (steps, cols) = (size(x.height + above + below, kh)?, size(x.width + left + right, kw)?);
        Some(Shape { batch: x.batch, height: steps, width: cols, channels: out_channels })
    }

    fn planned(&self, x: Shape) -> Shape {
        self.out(x).unwrap_or_else(|| unreachable!("{x:?} was checked when planned"))
    }

    /// The windows that outputs of shape `y` see.
    fn grid(&self, x: Shape) -> Grid {
        let Conv2dConfig { kernel_size, stride, padding: [above, _, left, _], .. } = self.config;
        let y = self.planned(x);
        Grid { shape: x, kernel_size, stride, above, left, windows: [y.height, y.width] }
    }

    /// Whether the convolution of images of this shape can use Winograd's tiles.
    fn tiled(&self, x: Shape) -> bool {
        let Conv2dConfig { kernel_size, stride, padding, out_channels, .. } = self.config;
        kernel_size == [3, 3] && stride == 1 && padding == [1; 4] && winograd::fits(x, out_channels)
    }

    fn packed(&self, pass: Pass) -> &Kernels<F> {
        let packed = self.packed[pass as usize].as_ref();
        packed.unwrap_or_else(|| unreachable!("{} was not packed for {pass:?}", self.describe()))
    }

    /// `x` → `y` (or added to it), then `finish(position, first channel, channels)` for every part
    /// of a position.
    pub(crate) fn apply(
        &self,
        x: &[F],
        shape: Shape,
        y: &mut [F],
        into: Store,
        finish: impl Fn(usize, usize, &mut [F]) + Sync,
        work: Work<'_, F>,
    ) {
        let relu = self.config.relu;
        let with_bias = |row: usize, col: usize, y: &mut [F]| {
            y.iter_mut().zip(&self.bias.value[col..]).for_each(|(y, b)| *y += *b);
            finish(row, col, y);
        };
        match self.packed(Pass::Forward) {
            Kernels::Im2col(packed) => {
                let windows = Im2col { grid: self.grid(shape), image: x, relu };
                let y = MatMut::new(y, windows.grid.count(), self.config.out_channels);
                gemm(&windows, packed, y, into, with_bias, work.threads);
            }
            Kernels::Tiles(places) => {
                winograd::convolve(Tiled { image: x, shape, relu }, places, y, into, with_bias, work);
            }
        }
    }

    /// Adds the gradients of weight and bias to `grads`.
    pub(crate) fn weight_grads(&self, x: &[F], shape: Shape, dy: &[F], grads: &mut [F], work: Work<'_, F>) {
        let (out_channels, relu) = (self.config.out_channels, self.config.relu);
        let n = self.planned(shape).positions();
        let (dweight, dbias) = grads.split_at_mut(self.weight.value.len());
        add_column_sums(dbias, &dy[..n * out_channels]);
        if self.tiled(shape) {
            return winograd::kernel_grads(Tiled { image: x, shape, relu }, dy, dweight, work);
        }
        let windows = Im2col { grid: self.grid(shape), image: x, relu };
        let dweight = MatMut::new(dweight, out_channels, self.config.window());
        gemm_tn(Mat::new(dy, n, out_channels), &windows, dweight, Store::Add, work.threads, work.pool);
    }

    /// `dx` = (or +=) the gradient of what the windows see; then, behind a ReLU, 0 where `x` is not
    /// positive; then `finish`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn input_grad(
        &self,
        x: &[F],
        shape: Shape,
        dy: &[F],
        dx: &mut [F],
        into: Store,
        finish: impl Fn(usize, usize, &mut [F]) + Sync,
        work: Work<'_, F>,
    ) {
        let Conv2dConfig { in_channels, kernel_size: [kh, kw], stride, padding: [above, _, left, _], relu, .. } =
            self.config;
        let last = |position: usize, col: usize, dx: &mut [F]| {
            if relu {
                let x = &x[position * in_channels + col..];
                dx.iter_mut().zip(x).for_each(|(d, x)| *d = if *x > F::zero() { *d } else { F::zero() });
            }
            finish(position, col, dx);
        };
        let y = self.planned(shape);
        let packed = match self.packed(Pass::Backward) {
            Kernels::Im2col(packed) => packed,
            Kernels::Tiles(places) => {
                return winograd::convolve(Tiled { image: dy, shape: y, relu: false }, places, dx, into, last, work);
            }
        };
        if stride == 1 {
            // A convolution of dy with the kernel turned round.
            let grid = Grid {
                shape: y,
                kernel_size: [kh, kw],
                stride: 1,
                above: kh - 1 - above,
                left: kw - 1 - left,
                windows: [shape.height, shape.width],
            };
            let windows = Im2col { grid, image: dy, relu: false };
            let dx = MatMut::new(dx, shape.positions(), in_channels);
            return gemm(&windows, packed, dx, into, last, work.threads);
        }
        if into == Store::Overwrite {
            dx.fill(F::zero());
        }
        let (grid, len) = (self.grid(shape), self.config.window());
        let block = (WINDOWS / len).max(64).min(y.positions().max(1));
        let mut windows = work.pool.take(block * len);
        for (i, dy) in dy.chunks(block * y.channels).enumerate() {
            let n = dy.len() / y.channels;
            let (dy, to) = (Mat::new(dy, n, y.channels), MatMut::new(&mut windows, n, len));
            gemm(&dy, packed, to, Store::Overwrite, |_, _, _| {}, work.threads);
            grid.scatter(&windows[..n * len], i * block..i * block + n, dx);
        }
        dx.chunks_exact_mut(in_channels).enumerate().for_each(|(position, dx)| last(position, 0, dx));
    }
}

impl<F: Scalar> Params<F> for Conv2d<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        f(&mut self.weight);
        f(&mut self.bias);
    }
}

impl<F: Scalar> LayerInfo for Conv2d<F> {
    fn describe(&self) -> String {
        let Conv2dConfig { in_channels, out_channels, kernel_size: [kh, kw], stride, .. } = self.config;
        format!("conv {in_channels} → {out_channels}, {kh}×{kw}/{stride}")
    }

    fn output(&self, x: Shape) -> Result<Shape> {
        assert_eq!(x.channels, self.config.in_channels, "{x:?} into {}", self.describe());
        self.out(x).ok_or_else(|| {
            Error::config(
                "input",
                format_args!("{} × {} positions are too few for {}", x.height, x.width, self.describe()),
                "use larger patches",
            )
        })
    }

    fn multiply_adds(&self, x: Shape) -> u64 {
        self.out(x).map_or(0, |y| (y.len() * self.config.window()) as u64)
    }
}

impl<F: Scalar> ItemLayer<F> for Conv2d<F> {
    fn kept(&self, _: Shape, _: bool) -> usize {
        0
    }

    fn pack(&mut self, pass: Pass, x: Shape, pool: &Pool<F>) {
        let Conv2dConfig { in_channels, out_channels, kernel_size: [kh, kw], stride, .. } = self.config;
        let (window, kernel_area) = (self.config.window(), kh * kw);
        let weight = match pass {
            Pass::Forward => &self.weight.value,
            Pass::Backward => self.weight.feedback(),
        };
        let windows = || match pass {
            Pass::Forward => Packed::new(Mat::new(weight, out_channels, window).t(), pool),
            // The kernel turned round: tap by tap from the last one, output channels as depth.
            Pass::Backward if stride == 1 => Packed::from_rows(
                kernel_area * out_channels,
                in_channels,
                |d| {
                    &weight[d % out_channels * window + (kernel_area - 1 - d / out_channels) * in_channels..]
                        [..in_channels]
                },
                pool,
            ),
            Pass::Backward => Packed::new(Mat::new(weight, out_channels, window), pool),
        };
        self.packed[pass as usize] = Some(if self.tiled(x) {
            Kernels::Tiles(winograd::pack(weight, out_channels, pass == Pass::Backward, x, pool))
        } else {
            Kernels::Im2col(windows())
        });
    }

    fn unpack(&mut self) {
        self.packed = [None, None];
    }

    fn recomputes(&self) -> bool {
        true
    }

    fn recompute(&self, x: &[F], shape: Shape, _: &[F], y: &mut [F], work: Work<'_, F>) {
        self.forward(x, shape, y, &mut [], work);
    }

    fn forward(&self, x: &[F], shape: Shape, y: &mut [F], _: &mut [F], work: Work<'_, F>) {
        self.apply(x, shape, y, Store::Overwrite, |_, _, _| {}, work);
    }

    fn backward(
        &self,
        x: &[F],
        shape: Shape,
        _: &[F],
        dy: &mut [F],
        dx: Option<&mut [F]>,
        grads: &mut [F],
        work: Work<'_, F>,
    ) {
        self.weight_grads(x, shape, dy, grads, work);
        if let Some(dx) = dx {
            self.input_grad(x, shape, dy, dx, Store::Overwrite, |_, _, _| {}, work);
        }
    }

    fn n_params(&self) -> usize {
        self.weight.value.len() + self.bias.value.len()
    }
}

/// Gain of delta-orthogonal weights: `calculate_gain("relu")` of PyTorch.
pub(crate) const ORTHOGONAL_GAIN: f64 = std::f64::consts::SQRT_2;

/// Delta-orthogonal initialization (Xiao et al. 2018, algorithm 2): weights are zero except at the
/// center of the kernel, which holds an orthonormal matrix times √2, PyTorch's gain for a ReLU. With
/// at least as many output channels as input channels, it multiplies norms by the gain.
///
/// As published, biases stay as they are.
///
/// # Errors
/// When the decomposition fails.
pub fn delta_orthogonal<F: Scalar>(conv: &mut Conv2d<F>, key: Key) -> Result<()> {
    let Conv2dConfig { in_channels, out_channels, kernel_size: [kh, kw], .. } = conv.config;
    let center = orthonormal(out_channels, in_channels, key)?;
    let window = conv.config.window();
    let tap = (kh / 2 * kw + kw / 2) * in_channels;
    conv.weight.value.fill(F::zero());
    for o in 0..out_channels {
        for c in 0..in_channels {
            conv.weight.value[o * window + tap + c] = F::of(ORTHOGONAL_GAIN * center[[o, c]]);
        }
    }
    Ok(())
}
