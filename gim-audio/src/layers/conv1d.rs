//! Convolution along time with ReLU, as matrix products on the activations in place.
//!
//! Activations are channels-last, so the window of output o is k·C consecutive values, from position
//! o·s on. The windows of an item are the overlapping rows of one matrix, and its convolution is
//! one matrix product.
//!
//! The whole batch is a single product when every item is stored with margins of zeros, in exactly
//! s times as many positions as its output. Then the windows of all items lie at the same distance from
//! each other. A few of them straddle two items; their outputs land on margins, which are cleared.
//!
//! Replicas share out windows for outputs and input gradients, and output channels for the gradient of
//! the weights. What one has computed all get, so nothing is computed twice at a border.

use std::ops::Range;

use gim_core::activations::{Activations, Layout, Shape};
use gim_core::kernels::gemm::{Mat, MatMut, Packed, Store, Threads, gemm, gemm_tn_rows};
use gim_core::kernels::profile::Tasks;
use gim_core::kernels::vector::{add_column_sums, add_scaled, relu};
use gim_core::layers::{InputGrad, Keep, Layer, LayerInfo};
use gim_core::param::{Param, Params};
use gim_core::replicas::Replicas;
use gim_core::{Error, Key, Pool, Result, Scalar};
use rayon::prelude::*;

use crate::layers::conv1d_winograd::{LEAST_BLOCK, WinogradWeights, outer_of_two};

/// Settings of a [`Conv1d`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv1dConfig {
    /// Input channels C.
    pub in_channels: usize,
    /// Output channels O.
    pub out_channels: usize,
    /// Kernel size k, in positions.
    pub kernel_size: usize,
    /// Stride s, in positions.
    pub stride: usize,
    /// Zeros p before and after the input.
    pub padding: usize,
}

/// y = max(0, W * x + b): x (N, L, 1, C) → y (N, L', 1, O), L' = ⌊(L + 2p − k)/s⌋ + 1.
pub struct Conv1d<F: Scalar> {
    config: Conv1dConfig,
    /// (O, k·C), channels fastest.
    weight: Param<F>,
    /// (O).
    bias: Param<F>,
    replicas: Replicas<F>,
}

/// Rows in a task of the element-wise passes.
const ROWS: usize = 128;
/// Rows that replicas do not divide: products of two blocks take them in pairs.
const PAIR: usize = 2;

/// Weights arranged for products with windows: two blocks that share products with neighbors, or
/// whole windows.
enum Arranged<F: Scalar> {
    Shared(WinogradWeights<F>),
    Plain(Packed<F>),
}

/// The matrix products that compute all outputs. One has `rows` windows, each `stride`·C values
/// after the one before.
struct Products {
    /// Steps from one product's first window to the next one's.
    x_item: usize,
    /// Rows from one product's first output to the next one's.
    y_item: usize,
    /// Number of products: 1 for the whole batch, or one for every item.
    count: usize,
    /// Windows in a product.
    rows: usize,
}

impl<F: Scalar> Conv1d<F> {
    /// A layer with weights and bias drawn from U(±1/√(k·C)).
    ///
    /// # Errors
    /// When a size is zero, or the padding as large as the kernel.
    pub fn new(config: Conv1dConfig, key: Key) -> Result<Self> {
        let Conv1dConfig { in_channels, out_channels, kernel_size, stride, .. } = config;
        if in_channels == 0 || out_channels == 0 || kernel_size == 0 || stride == 0 {
            return Err(Error::config("network", format_args!("{config:?} has a size of 0"), "use 1 or more"));
        }
        if config.padding >= kernel_size {
            return Err(Error::config(
                "network.padding",
                format_args!("a padding of {} makes windows of {kernel_size} that see only zeros", config.padding),
                "use less padding than kernel",
            ));
        }
        let bound = 1.0 / ((kernel_size * in_channels) as f64).sqrt();
        Ok(Self {
            config,
            weight: Param::uniform("weight", &[out_channels, kernel_size * in_channels], bound, key).transported(),
            bias: Param::uniform("bias", &[out_channels], bound, key.with_item(key.item + 1)),
            replicas: Replicas::default(),
        })
    }

    fn positions_out(&self, positions: usize) -> Option<usize> {
        let Conv1dConfig { kernel_size, stride, padding, .. } = self.config;
        (positions + 2 * padding).checked_sub(kernel_size).map(|n| n / stride + 1)
    }

    /// Stored positions that an item needs, counted from the start of its first window, `padding`
    /// before its first position.
    fn stored_positions(&self, x: Shape, y: Shape) -> usize {
        let Conv1dConfig { kernel_size, stride, padding, .. } = self.config;
        (padding + x.height).max((y.height - 1) * stride + kernel_size)
    }

    fn products(&self, x: Layout, y: Layout) -> Products {
        let Conv1dConfig { stride, padding, .. } = self.config;
        assert!(
            x.before >= padding && x.padded - (x.before - padding) >= self.stored_positions(x.shape, y.shape),
            "{x:?} has too little room for {}",
            self.describe_config()
        );
        let items = y.shape.batch;
        if x.padded == stride * y.padded {
            Products { x_item: 0, y_item: 0, count: 1, rows: (items - 1) * y.padded + y.shape.height }
        } else {
            Products { x_item: x.padded, y_item: y.padded, count: items, rows: y.shape.height }
        }
    }

    fn describe_config(&self) -> String {
        let Conv1dConfig { in_channels, out_channels, kernel_size, stride, .. } = self.config;
        format!("conv {in_channels} → {out_channels}, {kernel_size}/{stride}")
    }

    /// Index of the first value of product `i`'s window number `row`.
    fn first(config: Conv1dConfig, x: &Activations<F>, i: usize, row: usize, p: &Products) -> usize {
        (i * p.x_item + x.layout().before + row * config.stride - config.padding) * config.in_channels
    }

    /// These windows of product `i` as overlapping rows.
    fn windows<'a>(
        config: Conv1dConfig,
        x: &'a Activations<F>,
        i: usize,
        rows: &Range<usize>,
        p: &Products,
    ) -> Mat<'a, F> {
        let Conv1dConfig { in_channels, kernel_size, stride, .. } = config;
        Mat::strided(
            &x.memory()[Self::first(config, x, i, rows.start, p)..],
            rows.len(),
            kernel_size * in_channels,
            stride * in_channels,
        )
    }

    /// Whether windows are two blocks of a stride each, with enough values for shared products to
    /// pay.
    fn is_two_blocks(&self, block: usize) -> bool {
        self.config.kernel_size == 2 * self.config.stride && block >= LEAST_BLOCK
    }

    /// Weights rearranged for the input gradient: (q·O, s·C), q = ⌈k/s⌉. Block j of s positions of the
    /// gradient is Σ_i dy[j−i] · W[i·s..(i+1)·s], and dy[j−q+1..=j] are consecutive in memory.
    fn weight_by_block(&self, pool: &Pool<F>) -> gim_core::Buffer<F> {
        let Conv1dConfig { in_channels, out_channels, kernel_size, stride, .. } = self.config;
        let (q, block) = (kernel_size.div_ceil(stride), stride * in_channels);
        let mut w = pool.zeros(q * out_channels * block);
        for (row, to) in w.chunks_exact_mut(block).enumerate() {
            let (i, o) = (q - 1 - row / out_channels, row % out_channels);
            let from = &self.weight.feedback()[o * kernel_size * in_channels..(o + 1) * kernel_size * in_channels];
            let part = &from[i * block..((i + 1) * block).min(kernel_size * in_channels)];
            to[..part.len()].copy_from_slice(part);
        }
        w
    }

    /// ∂loss/∂x from ∂loss/∂(pre-activation).
    fn input_grad(&self, dy: &Activations<F>, dx: &mut Activations<F>, store: Store, pool: &Pool<F>) {
        let Conv1dConfig { in_channels, out_channels, kernel_size, stride, padding, .. } = self.config;
        let q = kernel_size.div_ceil(stride);
        let (lx, ly) = (dx.layout(), dy.layout());
        let w = self.weight_by_block(pool);
        let packed = || Packed::new(Mat::new(&w, q * out_channels, stride * in_channels), pool);
        // Blocks that hold a position of the input; windows start `padding` before the first.
        let blocks = (padding + lx.shape.height).div_ceil(stride);
        let whole_batch = lx.padded == stride * ly.padded
            && lx.before >= padding
            && ly.before + 1 >= q
            && ly.padded - ly.shape.height + 1 >= q
            && ly.before + blocks <= ly.padded
            && lx.before - padding + blocks * stride <= lx.padded;
        if whole_batch {
            let all = (lx.shape.batch - 1) * ly.padded + blocks;
            let (rows, cols) = (self.replicas.own_part(all, PAIR), stride * in_channels);
            let dy = &dy.memory()[(ly.before + 1 - q + rows.start) * out_channels..];
            let to_all = &mut dx.memory_mut()[(lx.before - padding) * in_channels..];
            let to = &mut to_all[rows.start * cols..];
            if rows.is_empty() {
                // There are more replicas than pairs of rows.
            } else if self.is_two_blocks(out_channels) {
                let w = WinogradWeights::of_rows(&w, cols, pool);
                w.gemm(dy, rows.len(), to, store, |_, _, _| {}, pool);
            } else {
                let dy = Mat::strided(dy, rows.len(), q * out_channels, out_channels);
                gemm(&dy, &packed(), MatMut::new(to, rows.len(), cols), store, |_, _, _| {}, Threads::All);
            }
            self.replicas.gather(to_all, all, PAIR, |rows| rows.start * cols..rows.end * cols);
            dx.clear_margins();
            return;
        }
        // Item by item, through copies with the margins that the layouts at hand do not have. Each replica
        // computes all of it.
        let w = packed();
        let mut dys = pool.zeros((blocks + 2 * (q - 1)) * out_channels);
        let mut dxs = pool.take(blocks * stride * in_channels);
        for item in 0..lx.shape.batch {
            let from = dy.item(item);
            let kept = from.len().min((blocks + q - 1) * out_channels);
            dys[(q - 1) * out_channels..][..kept].copy_from_slice(&from[..kept]);
            let rows = Mat::strided(&dys, blocks, q * out_channels, out_channels);
            let to = MatMut::new(&mut dxs, blocks, stride * in_channels);
            gemm(&rows, &w, to, Store::Overwrite, |_, _, _| {}, Threads::All);
            let to = dx.item_mut(item);
            let from = &dxs[padding * in_channels..][..to.len()];
            match store {
                Store::Overwrite => to.copy_from_slice(from),
                Store::Add => add_scaled(to, F::one(), from),
            }
        }
    }
}

impl<F: Scalar> Params<F> for Conv1d<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        f(&mut self.weight);
        f(&mut self.bias);
    }
}

impl<F: Scalar> LayerInfo for Conv1d<F> {
    fn describe(&self) -> String {
        format!("{} + ReLU", self.describe_config())
    }

    fn output(&self, x: Shape) -> Result<Shape> {
        assert_eq!((x.width, x.channels), (1, self.config.in_channels), "{x:?} into {}", self.describe_config());
        let positions = self.positions_out(x.height).ok_or_else(|| {
            Error::config(
                "input",
                format_args!("a sequence of {} is too short for {}", x.height, self.describe_config()),
                "use longer inputs",
            )
        })?;
        Ok(Shape::sequence(x.batch, positions, self.config.out_channels))
    }

    fn multiply_adds(&self, x: Shape) -> u64 {
        let Conv1dConfig { in_channels, out_channels, kernel_size, .. } = self.config;
        (x.batch * self.positions_out(x.height).unwrap_or(0) * kernel_size * in_channels * out_channels) as u64
    }
}

impl<F: Scalar> Layer<F> for Conv1d<F> {
    fn input_layout(&self, x: Shape, y: Layout) -> Layout {
        let need = self.stored_positions(x, y.shape);
        let whole_batch = self.config.stride * y.padded;
        Layout::padded(x, self.config.padding, if whole_batch >= need { whole_batch } else { need })
    }

    fn output_layout(&self, y: Shape) -> Layout {
        // One zero position on either side is what the layers below need to run the batch as one
        // product.
        Layout::padded(y, 1, y.height + 2)
    }

    fn set_replicas(&mut self, replicas: &Replicas<F>) {
        self.replicas = replicas.clone();
    }

    fn forward(&mut self, x: &Activations<F>, y: &mut Activations<F>, _: Keep, pool: &Pool<F>) {
        let Conv1dConfig { in_channels, out_channels, kernel_size, stride, .. } = self.config;
        let layout = y.layout();
        let p = self.products(x.layout(), layout);
        let bias = &self.bias.value;
        let bias_and_relu = |_: usize, col: usize, y: &mut [F]| {
            y.iter_mut().zip(&bias[col..]).for_each(|(y, b)| *y = relu(*y + *b));
        };
        let weight = if self.is_two_blocks(stride * in_channels) {
            Arranged::Shared(WinogradWeights::of_columns(&self.weight.value, out_channels, pool))
        } else {
            Arranged::Plain(Packed::new(
                Mat::new(&self.weight.value, out_channels, kernel_size * in_channels).t(),
                pool,
            ))
        };
        let rows = self.replicas.own_part(p.rows, PAIR);
        for i in 0..p.count {
            let all = &mut y.memory_mut()[(i * p.y_item + layout.before) * out_channels..];
            let to = &mut all[rows.start * out_channels..];
            match &weight {
                _ if rows.is_empty() => {}
                Arranged::Shared(winograd) => {
                    let x = &x.memory()[Self::first(self.config, x, i, rows.start, &p)..];
                    winograd.gemm(x, rows.len(), to, Store::Overwrite, bias_and_relu, pool);
                }
                Arranged::Plain(weight) => {
                    let x = Self::windows(self.config, x, i, &rows, &p);
                    gemm(
                        &x,
                        weight,
                        MatMut::new(to, rows.len(), out_channels),
                        Store::Overwrite,
                        bias_and_relu,
                        Threads::All,
                    );
                }
            }
            self.replicas.gather(all, p.rows, PAIR, |rows| rows.start * out_channels..rows.end * out_channels);
        }
        y.clear_margins();
    }

    fn backward(
        &mut self,
        x: &Activations<F>,
        y: &Activations<F>,
        dy: &mut Activations<F>,
        dx: InputGrad<'_, F>,
        pool: &Pool<F>,
    ) {
        let Conv1dConfig { in_channels, out_channels, kernel_size, stride, .. } = self.config;
        // The gradient before the ReLU: nothing flows where the output is 0. Margins are 0 in y, so
        // they stay 0.
        (dy.memory_mut().par_chunks_mut(ROWS * out_channels), y.memory().par_chunks(ROWS * out_channels))
            .into_par_iter()
            .for_each_task("gradient of ReLU", |(dy, y)| {
                dy.iter_mut().zip(y).for_each(|(d, y)| *d = if *y > F::zero() { *d } else { F::zero() });
            });
        add_column_sums(self.bias.grad_mut(), dy.memory());
        let layout = dy.layout();
        let p = self.products(x.layout(), layout);
        let (all, own, values) = (0..p.rows, self.replicas.own_part(out_channels, 1), kernel_size * in_channels);
        for i in 0..p.count {
            let from = &dy.memory()[(i * p.y_item + layout.before) * out_channels..];
            if self.is_two_blocks(stride * in_channels) {
                let x = &x.memory()[Self::first(self.config, x, i, 0, &p)..];
                let size = (p.rows, out_channels);
                outer_of_two(x, from, size, own.clone(), self.weight.grad_mut(), pool);
            } else {
                let dw = MatMut::new(self.weight.grad_mut(), out_channels, values);
                let (from, x) = (Mat::new(from, p.rows, out_channels), Self::windows(self.config, x, i, &all, &p));
                gemm_tn_rows(from, &x, dw, own.clone(), Store::Add, Threads::All, pool);
            }
        }
        self.replicas.gather(self.weight.grad_mut(), out_channels, 1, |o| o.start * values..o.end * values);
        match dx {
            InputGrad::Stop => {}
            InputGrad::Overwrite(dx) => self.input_grad(dy, dx, Store::Overwrite, pool),
            InputGrad::Add(dx) => self.input_grad(dy, dx, Store::Add, pool),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gim_core::Purpose;
    use gim_core::testing::{check_layer, check_layer_replicas};

    fn conv(in_channels: usize, kernel_size: usize, stride: usize, padding: usize) -> Conv1d<f64> {
        conv_to(5, in_channels, kernel_size, stride, padding)
    }

    fn conv_to(
        out_channels: usize,
        in_channels: usize,
        kernel_size: usize,
        stride: usize,
        padding: usize,
    ) -> Conv1d<f64> {
        let config = Conv1dConfig { in_channels, out_channels, kernel_size, stride, padding };
        Conv1d::new(config, Key::new(3, Purpose::Init)).unwrap()
    }

    /// Kernels of the paper, odd ones, strides longer than the kernel and inputs that do not
    /// divide.
    #[test]
    fn gradients() {
        let cases = [
            (1, 10, 5, 2),
            (3, 8, 4, 2),
            (4, 4, 2, 2),
            (4, 4, 2, 1),
            (2, 3, 1, 1),
            (2, 5, 2, 0),
            (3, 1, 1, 0),
            (2, 2, 3, 1),
        ];
        for (i, (in_channels, kernel_size, stride, padding)) in cases.into_iter().enumerate() {
            for steps in [kernel_size + 7 * stride, kernel_size + 3 * stride + stride / 2 + 1] {
                check_layer(
                    &mut conv(in_channels, kernel_size, stride, padding),
                    Shape::sequence(3, steps, in_channels),
                    50 + i as u64,
                );
            }
        }
    }

    /// Blocks long enough for products to be shared: of the input, of the output, of both.
    #[test]
    fn gradients_by_shared_products() {
        for (out_channels, in_channels) in [(3, LEAST_BLOCK / 2), (LEAST_BLOCK, 2), (LEAST_BLOCK, LEAST_BLOCK / 2)] {
            for steps in [11, 13] {
                check_layer(
                    &mut conv_to(out_channels, in_channels, 4, 2, 1),
                    Shape::sequence(2, steps, in_channels),
                    60,
                );
            }
        }
    }

    /// Whole batches as one product and items one by one, with and without shared products; one pair of
    /// rows, and fewer output channels than replicas.
    #[test]
    fn replicas_share_out_rows_and_channels() {
        let half = LEAST_BLOCK / 2;
        let cases = [
            (5, 1, 10, 5, 2),
            (5, 3, 8, 4, 2),
            (2, 3, 3, 1, 1),
            (5, 2, 5, 2, 0),
            (3, half, 4, 2, 1),
            (70, half, 4, 2, 1),
        ];
        for (out_channels, in_channels, kernel_size, stride, padding) in cases {
            let conv = || {
                let conv = conv_to(out_channels, in_channels, kernel_size, stride, padding);
                Box::new(conv) as Box<dyn Layer<f64>>
            };
            for (batch, steps) in [(1, kernel_size), (3, kernel_size + 7 * stride), (4, kernel_size + 20 * stride + 1)]
            {
                check_layer_replicas(&conv, Shape::sequence(batch, steps, in_channels), 70);
            }
        }
    }

    /// The definition, tap by tap.
    #[test]
    fn forward_is_a_convolution() {
        let mut layer = conv(3, 4, 2, 1);
        let pool = Pool::new();
        let x = Shape::sequence(2, 11, 3);
        let y = layer.output(x).unwrap();
        let input = gim_core::testing::uniform(x.len(), 1);
        for layout in [Layout::dense(y), Layout::padded(y, 2, y.height + 4)] {
            let xs = Activations::from_slice(layer.input_layout(x, layout), &input, &pool);
            let mut ys = Activations::new(layout, &pool);
            layer.forward(&xs, &mut ys, Keep::Nothing, &pool);
            for b in 0..2 {
                for o in 0..y.height {
                    for c in 0..5 {
                        let mut want = layer.bias.value[c];
                        for tap in 0..4 {
                            let t = (o * 2 + tap) as isize - 1;
                            if (0..11).contains(&t) {
                                for ci in 0..3 {
                                    want += layer.weight.value[(c * 4 + tap) * 3 + ci]
                                        * input[(b * 11 + t as usize) * 3 + ci];
                                }
                            }
                        }
                        assert!((ys.view()[[b, o, 0, c]] - want.max(0.0)).abs() < 1e-12);
                    }
                }
            }
        }
    }

    #[test]
    fn bad_settings_are_errors() {
        for config in [
            Conv1dConfig { in_channels: 1, out_channels: 1, kernel_size: 3, stride: 0, padding: 0 },
            Conv1dConfig { in_channels: 1, out_channels: 1, kernel_size: 3, stride: 1, padding: 3 },
        ] {
            assert!(Conv1d::<f32>::new(config, Key::new(0, Purpose::Init)).is_err());
        }
        assert!(conv(1, 10, 5, 2).output(Shape::sequence(1, 3, 1)).is_err());
    }
}
