//! Convolution of pictures, as matrix products on gathered windows.

use gim_core::activations::Shape;
use gim_core::kernels::gemm::{Mat, MatMut, Store};
use gim_core::kernels::vector::add_column_sums;
use gim_core::layers::{ItemLayer, Work};
use gim_core::param::{Param, Params};
use gim_core::{Error, Key, Result, Scalar};

/// Settings of a [`Conv2d`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// Input channels C.
    pub c_in: usize,
    /// Output channels O.
    pub c_out: usize,
    /// Rows and columns (kh, kw) of the kernel.
    pub kernel: [usize; 2],
    /// Stride in both directions.
    pub stride: usize,
    /// Zeros above, below, left and right.
    pub padding: [usize; 4],
    /// The convolution sees max(0, x) instead of x (pre-activation).
    pub relu: bool,
}

impl Conv2dConfig {
    /// A square kernel with ⌊kernel/2⌋ zeros on all sides.
    pub fn square(c_in: usize, c_out: usize, kernel: usize, stride: usize) -> Self {
        Self { c_in, c_out, kernel: [kernel; 2], stride, padding: [kernel / 2; 4], relu: false }
    }

    /// With the ReLU in front.
    pub fn after_relu(self) -> Self {
        Self { relu: true, ..self }
    }

    /// Numbers of a window: kh·kw·C.
    fn window(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.c_in
    }

    /// Windows are the positions themselves.
    fn pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == 1 && self.padding == [0; 4]
    }
}

/// y = W * x + b, or W * max(0, x) + b: x (N, H, W, C) → y (N, H', W', O), H' = ⌊(H + above + below − kh)/s⌋ + 1.
pub struct Conv2d<F: Scalar> {
    config: Conv2dConfig,
    /// (O, kh·kw·C): rows of the kernel outside, then columns, channels inside.
    weight: Param<F>,
    /// (O).
    bias: Param<F>,
}

/// Numbers of gathered windows at a time: they are read again at once, from a core's own cache.
const WINDOWS: usize = 1 << 17;

impl<F: Scalar> Conv2d<F> {
    /// Weights and bias from U(±1/√(kh·kw·C)).
    ///
    /// # Errors
    /// When a size is zero, or the padding as large as the kernel.
    pub fn new(config: Conv2dConfig, key: Key) -> Result<Self> {
        let Conv2dConfig { c_in, c_out, kernel: [kh, kw], stride, padding: [above, below, left, right], .. } = config;
        if c_in == 0 || c_out == 0 || kh == 0 || kw == 0 || stride == 0 {
            return Err(Error::config("network", format_args!("{config:?} has a size of 0"), "use 1 or more"));
        }
        if above.max(below) >= kh || left.max(right) >= kw {
            return Err(Error::config(
                "network",
                format_args!("{config:?} has windows that see only zeros"),
                "use less padding than kernel",
            ));
        }
        let bound = 1.0 / (config.window() as f64).sqrt();
        Ok(Self {
            config,
            weight: Param::uniform("weight", &[c_out, config.window()], bound, key),
            bias: Param::uniform("bias", &[c_out], bound, key.with_item(key.item + 1)),
        })
    }

    /// Settings.
    pub fn config(&self) -> Conv2dConfig {
        self.config
    }

    /// The weight (O, kh·kw·C), for initialisations.
    pub fn weight_mut(&mut self) -> &mut Param<F> {
        &mut self.weight
    }

    fn out(&self, x: Shape) -> Option<Shape> {
        let Conv2dConfig { c_out, kernel: [kh, kw], stride, padding: [above, below, left, right], .. } = self.config;
        let size = |n: usize, k: usize| n.checked_sub(k).map(|n| n / stride + 1);
        let (steps, cols) = (size(x.steps + above + below, kh)?, size(x.cols + left + right, kw)?);
        Some(Shape { items: x.items, steps, cols, channels: c_out })
    }

    fn planned(&self, x: Shape) -> Shape {
        self.out(x).unwrap_or_else(|| unreachable!("{x:?} was checked when planned"))
    }

    /// Calls `f(window offset, position offset, length)` for every run of numbers that lies together in the window at output
    /// (row, col) and in an item of the input, and `gap(window offset, length)` for every run of zeros.
    #[inline(always)]
    fn runs(
        &self,
        x: Shape,
        row: usize,
        col: usize,
        mut f: impl FnMut(usize, usize, usize),
        mut gap: impl FnMut(usize, usize),
    ) {
        let Conv2dConfig { c_in, kernel: [kh, kw], stride, padding: [above, _, left, _], .. } = self.config;
        let first = (col * stride).max(left) - left;
        let skipped = left.saturating_sub(col * stride).min(kw);
        let inside = (x.cols.saturating_sub(first)).min(kw - skipped);
        for tap in 0..kh {
            let to = tap * kw * c_in;
            match (row * stride + tap).checked_sub(above).filter(|r| *r < x.steps) {
                None => gap(to, kw * c_in),
                Some(r) => {
                    gap(to, skipped * c_in);
                    f(to + skipped * c_in, (r * x.cols + first) * c_in, inside * c_in);
                    gap(to + (skipped + inside) * c_in, (kw - skipped - inside) * c_in);
                }
            }
        }
    }

    /// Windows of the positions `rows` (numbered over all items) → `out (rows, kh·kw·C)`.
    fn gather(&self, x: &[F], shape: Shape, rows: std::ops::Range<usize>, out: &mut [F]) {
        let y = self.planned(shape);
        let (per_item, item) = (y.steps * y.cols, shape.steps * shape.cols * shape.channels);
        let relu = self.config.relu;
        for (window, row) in out.chunks_exact_mut(self.config.window()).zip(rows) {
            let x = &x[row / per_item * item..][..item];
            let at = row % per_item;
            if self.config.pointwise() {
                copy(window, 0, &x[at * shape.channels..][..shape.channels], relu);
                continue;
            }
            // Two closures write to the window in turn; a cell lets them share it.
            let cell = std::cell::RefCell::new(window);
            self.runs(
                shape,
                at / y.cols,
                at % y.cols,
                |to, from, len| copy(&mut cell.borrow_mut(), to, &x[from..from + len], relu),
                |to, len| cell.borrow_mut()[to..to + len].fill(F::zero()),
            );
        }
    }

    /// Adds windows (rows, kh·kw·C) to the positions of `dx` they were gathered from.
    fn scatter(&self, windows: &[F], shape: Shape, rows: std::ops::Range<usize>, dx: &mut [F]) {
        let y = self.planned(shape);
        let (per_item, item) = (y.steps * y.cols, shape.steps * shape.cols * shape.channels);
        for (window, row) in windows.chunks_exact(self.config.window()).zip(rows) {
            let dx = &mut dx[row / per_item * item..][..item];
            let at = row % per_item;
            self.runs(
                shape,
                at / y.cols,
                at % y.cols,
                |from, to, len| {
                    dx[to..to + len].iter_mut().zip(&window[from..from + len]).for_each(|(d, w)| *d += *w);
                },
                |_, _| {},
            );
        }
    }

    /// Output positions handled at a time.
    fn block(&self) -> usize {
        (WINDOWS / self.config.window()).max(64)
    }
}

/// Not `max`: a NaN has to stay one, so that a diverged module is found out.
#[inline(always)]
pub(crate) fn relu<F: Scalar>(x: F) -> F {
    if x <= F::zero() { F::zero() } else { x }
}

#[inline(always)]
fn copy<F: Scalar>(window: &mut [F], to: usize, from: &[F], through_relu: bool) {
    let window = &mut window[to..to + from.len()];
    if through_relu {
        window.iter_mut().zip(from).for_each(|(w, x)| *w = relu(*x));
    } else {
        window.copy_from_slice(from);
    }
}

impl<F: Scalar> Params<F> for Conv2d<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        f(&mut self.weight);
        f(&mut self.bias);
    }
}

impl<F: Scalar> ItemLayer<F> for Conv2d<F> {
    fn describe(&self) -> String {
        let Conv2dConfig { c_in, c_out, kernel: [kh, kw], stride, .. } = self.config;
        format!("conv {c_in} → {c_out}, {kh}×{kw}/{stride}")
    }

    fn output(&self, x: Shape) -> Result<Shape> {
        assert_eq!(x.channels, self.config.c_in, "{x:?} into {}", self.describe());
        self.out(x).ok_or_else(|| {
            Error::config(
                "input",
                format_args!("{} × {} positions are too few for {}", x.steps, x.cols, self.describe()),
                "use larger patches",
            )
        })
    }

    fn kept(&self, _: Shape) -> usize {
        0
    }

    fn forward(&self, x: &[F], shape: Shape, y: &mut [F], _: &mut [F], work: Work<'_, F>) {
        let (window, c_out) = (self.config.window(), self.config.c_out);
        let weight = Mat::new(&self.weight.value, c_out, window).t();
        let n = self.planned(shape).positions();
        let bias = &self.bias.value;
        let product = |a: Mat<'_, F>, y: &mut [F]| {
            let rows = a.dim().0;
            work.gemm(a, weight, MatMut::new(y, rows, c_out), Store::Overwrite);
            for y in y.chunks_exact_mut(c_out) {
                y.iter_mut().zip(bias).for_each(|(y, b)| *y += *b);
            }
        };
        if self.config.pointwise() && !self.config.relu {
            return product(Mat::new(x, n, window), &mut y[..n * c_out]);
        }
        let mut windows = work.pool.take(self.block().min(n) * window);
        for from in (0..n).step_by(self.block()) {
            let to = n.min(from + self.block());
            let windows = &mut windows[..(to - from) * window];
            self.gather(x, shape, from..to, windows);
            product(Mat::new(windows, to - from, window), &mut y[from * c_out..to * c_out]);
        }
    }

    fn backward(
        &self,
        x: &[F],
        shape: Shape,
        _: &[F],
        dy: &mut [F],
        mut dx: Option<&mut [F]>,
        grads: &mut [F],
        work: Work<'_, F>,
    ) {
        let (window, c_out) = (self.config.window(), self.config.c_out);
        let weight = Mat::new(&self.weight.value, c_out, window);
        let n = self.planned(shape).positions();
        let (dweight, dbias) = grads.split_at_mut(self.weight.value.len());
        add_column_sums(dbias, &dy[..n * c_out]);
        let pointwise = self.config.pointwise();
        if let Some(dx) = dx.as_deref_mut()
            && !pointwise
        {
            dx.fill(F::zero());
        }
        let mut windows = work.pool.take(self.block().min(n) * window);
        for from in (0..n).step_by(self.block()) {
            let to = n.min(from + self.block());
            let dy = Mat::new(&dy[from * c_out..to * c_out], to - from, c_out);
            let windows = &mut windows[..(to - from) * window];
            self.gather(x, shape, from..to, windows);
            let dw = MatMut::new(dweight, c_out, window);
            work.gemm(dy.t(), Mat::new(windows, to - from, window), dw, Store::Add);
            let Some(dx) = dx.as_deref_mut() else { continue };
            if pointwise {
                let dx = &mut dx[from * window..to * window];
                work.gemm(dy, weight, MatMut::new(dx, to - from, window), Store::Overwrite);
            } else {
                work.gemm(dy, weight, MatMut::new(windows, to - from, window), Store::Overwrite);
                self.scatter(windows, shape, from..to, dx);
            }
        }
        if let Some(dx) = dx.filter(|_| self.config.relu) {
            dx.iter_mut().zip(x).for_each(|(d, x)| *d = if *x > F::zero() { *d } else { F::zero() });
        }
    }

    fn n_params(&self) -> usize {
        self.weight.value.len() + self.bias.value.len()
    }

    fn multiply_adds(&self, x: Shape) -> u64 {
        self.out(x).map_or(0, |y| (y.len() * self.config.window()) as u64)
    }
}

/// Delta-orthogonal initialisation (Xiao et al. 2018, algorithm 2): zero but for the centre tap, which preserves norms.
pub fn delta_orthogonal<F: Scalar>(conv: &mut Conv2d<F>, key: Key) -> Result<()> {
    let Conv2dConfig { c_in, c_out, kernel: [kh, kw], .. } = conv.config;
    let centre = gim_core::linalg::orthonormal(c_out, c_in, key)?;
    let window = conv.config.window();
    let tap = (kh / 2 * kw + kw / 2) * c_in;
    conv.weight.value.fill(F::zero());
    for o in 0..c_out {
        for c in 0..c_in {
            conv.weight.value[o * window + tap + c] = F::of(centre[[o, c]]);
        }
    }
    conv.bias.value.fill(F::zero());
    Ok(())
}
