//! The gated recurrent unit (Cho 2014; gates as in the published networks): the context network for
//! audio.

use gim_core::activations::{Activations, Shape};
use gim_core::kernels::gemm::{Mat, MatMut, Packed, Store, Threads, gemm, matmul};
use gim_core::kernels::vector::{add_column_sums, sigmoid, tanh};
use gim_core::layers::{InputGrad, Keep, Layer, LayerInfo, Part};
use gim_core::param::{Param, Params};
use gim_core::{Buffer, Error, Key, Pool, Result, Scalar};

/// Settings of a [`Gru`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GruConfig {
    /// Input channels C.
    pub in_channels: usize,
    /// Channels H of the state.
    pub hidden: usize,
    /// Whether gradients flow through the previous state (back-propagation through time).
    pub bptt: bool,
}

/// x (N, L, 1, C) → h (N, L, 1, H), from a zero state, or from that of the [`Part`] before:
///
/// ```text
/// r = σ(W_ir x + b_ir + W_hr h₋ + b_hr)      u = σ(W_iu x + b_iu + W_hu h₋ + b_hu)
/// n = tanh(W_in x + b_in + r ∘ (W_hn h₋ + b_hn))      h = (1 − u) ∘ n + u ∘ h₋
/// ```
pub struct Gru<F: Scalar> {
    config: GruConfig,
    /// (3H, C), gates stacked r, u, n.
    weight_ih: Param<F>,
    /// (3H, H).
    weight_hh: Param<F>,
    /// (3H).
    bias_ih: Param<F>,
    /// (3H).
    bias_hh: Param<F>,
    /// r, u, n and W_hn h₋ + b_hn for every position (N, L, 4H): recomputing them would cost a
    /// matrix product at every step.
    saved: Buffer<F>,
    /// What the next pass goes over, if not whole sequences, and the state before it (H); empty for
    /// a zero state.
    part: Option<Part>,
    state: Vec<F>,
}

impl<F: Scalar> Gru<F> {
    /// A layer with all parameters drawn from U(±1/√H).
    ///
    /// # Errors
    /// When a size is zero.
    pub fn new(config: GruConfig, key: Key) -> Result<Self> {
        let GruConfig { in_channels, hidden, .. } = config;
        if in_channels == 0 || hidden == 0 {
            return Err(Error::config("network.context", "a GRU of width 0", "use 1 or more, or no context"));
        }
        let bound = 1.0 / (hidden as f64).sqrt();
        let param = |name: &str, shape: &[usize], i| Param::uniform(name, shape, bound, key.with_item(key.item + i));
        Ok(Self {
            config,
            weight_ih: param("weight_ih", &[3 * hidden, in_channels], 0).transported(),
            weight_hh: param("weight_hh", &[3 * hidden, hidden], 1).transported(),
            bias_ih: param("bias_ih", &[3 * hidden], 2),
            bias_hh: param("bias_hh", &[3 * hidden], 3),
            saved: Buffer::default(),
            part: None,
            state: Vec::new(),
        })
    }

    /// All stored steps of `x` as rows, margins included: (N·padded, C).
    fn rows<'a>(x: &'a Activations<F>) -> Mat<'a, F> {
        let l = x.layout();
        Mat::new(x.memory(), l.shape.batch * l.padded, l.shape.channels)
    }
}

/// One step of one item: `from_x` (3H) and `from_h` (3H), the parts of the gates that come from the
/// input and from the previous state, and that state `before` (H) → the new state `now` (H).
/// `gates` (4H) gets r, u, n and W_hn h₋ + b_hn.
///
/// A separate function, so that the compiler knows that the slices do not overlap and vectorizes
/// the loop.
fn step<F: Scalar>(from_x: &[F], from_h: &[F], before: &[F], now: &mut [F], gates: &mut [F]) {
    fn three<F>(rows: &[F], h: usize) -> [&[F]; 3] {
        std::array::from_fn(|i| &rows[i * h..][..h])
    }
    let h = now.len();
    let (before, x, past) = (&before[..h], three(from_x, h), three(from_h, h));
    let (r, rest) = gates.split_at_mut(h);
    let (u, rest) = rest.split_at_mut(h);
    let (n, b) = rest.split_at_mut(h);
    let b = &mut b[..h];
    for j in 0..h {
        r[j] = sigmoid(x[0][j] + past[0][j]);
        u[j] = sigmoid(x[1][j] + past[1][j]);
        b[j] = past[2][j];
        n[j] = tanh(x[2][j] + r[j] * b[j]);
        now[j] = (F::one() - u[j]) * n[j] + u[j] * before[j];
    }
}

impl<F: Scalar> Params<F> for Gru<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        f(&mut self.weight_ih);
        f(&mut self.weight_hh);
        f(&mut self.bias_ih);
        f(&mut self.bias_hh);
    }
}

impl<F: Scalar> LayerInfo for Gru<F> {
    fn describe(&self) -> String {
        let GruConfig { in_channels, hidden, bptt } = self.config;
        format!("GRU {in_channels} → {hidden}{}", if bptt { "" } else { ", not through time" })
    }

    fn output(&self, x: Shape) -> Result<Shape> {
        assert_eq!((x.width, x.channels), (1, self.config.in_channels), "{x:?} into {}", LayerInfo::describe(self));
        Ok(x.with_channels(self.config.hidden))
    }

    fn multiply_adds(&self, x: Shape) -> u64 {
        (x.positions() * 3 * self.config.hidden * (self.config.in_channels + self.config.hidden)) as u64
    }
}

impl<F: Scalar> Layer<F> for Gru<F> {
    fn set_part(&mut self, part: Option<Part>) {
        if part.as_ref().is_none_or(|part| part.first) {
            self.state.clear();
        }
        self.part = part;
    }

    fn forward(&mut self, x: &Activations<F>, y: &mut Activations<F>, keep: Keep, pool: &Pool<F>) {
        let GruConfig { in_channels, hidden: h, .. } = self.config;
        let (lx, ly) = (x.layout(), y.layout());
        let (items, steps) = (lx.shape.batch, lx.shape.height);
        assert!(
            self.part.as_ref().is_none_or(|p| items == 1 && p.own.end <= steps && keep != Keep::ForBackward),
            "{:?} of {:?}, {keep:?}",
            self.part,
            lx.shape
        );
        self.saved = if keep == Keep::ForBackward { pool.take(items * steps * 4 * h) } else { Buffer::default() };

        // The input's part of all gates and steps in one product.
        let mut from_x = pool.take(items * lx.padded * 3 * h);
        from_x.chunks_exact_mut(3 * h).for_each(|row| row.copy_from_slice(&self.bias_ih.value));
        let weight = Mat::new(&self.weight_ih.value, 3 * h, in_channels).t();
        matmul(Self::rows(x), weight, MatMut::new(&mut from_x, items * lx.padded, 3 * h), Store::Add, pool);

        let weight = Packed::new(Mat::new(&self.weight_hh.value, 3 * h, h).t(), pool);
        let mut from_h = pool.take(items * 3 * h);
        let zeros = pool.zeros(h);
        let mut not_kept = pool.take(4 * h);
        let own = self.part.as_ref().map_or(0..steps, |part| part.own.clone());
        if own.len() < steps {
            y.memory_mut().fill(F::zero());
        }
        for t in own.clone() {
            let first = t == own.start;
            from_h.chunks_exact_mut(3 * h).for_each(|row| row.copy_from_slice(&self.bias_hh.value));
            if !first || !self.state.is_empty() {
                let before = if first {
                    Mat::new(&self.state, items, h)
                } else {
                    Mat::strided(&y.memory()[(ly.before + t - 1) * h..], items, h, ly.batch_stride())
                };
                let to = MatMut::new(&mut from_h, items, 3 * h);
                gemm(&before, &weight, to, Store::Add, |_, _, _| {}, Threads::All);
            }
            for item in 0..items {
                let from_x = &from_x[lx.row(item, t, 0) * 3 * h..][..3 * h];
                let from_h = &from_h[item * 3 * h..][..3 * h];
                let at = ly.row(item, t, 0) * h;
                let (past, now) = y.memory_mut().split_at_mut(at);
                let before = match first {
                    false => &past[at - h..],
                    true if self.state.is_empty() => &zeros,
                    true => &self.state,
                };
                let gates = match keep {
                    Keep::ForBackward => &mut self.saved[(item * steps + t) * 4 * h..][..4 * h],
                    Keep::Outputs | Keep::Nothing => &mut not_kept,
                };
                step(from_x, from_h, before, &mut now[..h], gates);
            }
        }
        if self.part.is_some() && !own.is_empty() {
            self.state.clear();
            self.state.extend_from_slice(&y.item(0)[(own.end - 1) * h..][..h]);
        }
    }

    fn backward(
        &mut self,
        x: &Activations<F>,
        y: &Activations<F>,
        dy: &mut Activations<F>,
        dx: InputGrad<'_, F>,
        pool: &Pool<F>,
    ) {
        let GruConfig { in_channels, hidden: h, bptt } = self.config;
        let lx = x.layout();
        let (items, steps) = (lx.shape.batch, lx.shape.height);
        let rows = items * lx.padded;
        let saved = std::mem::take(&mut self.saved);
        assert_eq!(saved.len(), items * steps * 4 * h, "backward without a forward pass that kept its gates");

        // Gradients before the gates, as seen from the input (da) and from the state (db), and the
        // states they saw. Stored like x, so that margins give rows of zeros.
        let mut da = pool.zeros(rows * 3 * h);
        let mut db = pool.zeros(rows * 3 * h);
        let mut states = pool.zeros(rows * h);
        let mut dh = pool.zeros(items * h);
        let weight_hh = Packed::new(Mat::new(self.weight_hh.feedback(), 3 * h, h), pool);
        for t in (0..steps).rev() {
            for item in 0..items {
                let row = lx.row(item, t, 0);
                let dh = &mut dh[item * h..][..h];
                let dy = &dy.item(item)[t * h..][..h];
                let s = &saved[(item * steps + t) * 4 * h..][..4 * h];
                let states = &mut states[row * h..][..h];
                if t > 0 {
                    states.copy_from_slice(&y.item(item)[(t - 1) * h..][..h]);
                }
                let (da, db) = (&mut da[row * 3 * h..][..3 * h], &mut db[row * 3 * h..][..3 * h]);
                {
                    for j in 0..h {
                        let (r, u, n, b) = (s[j], s[h + j], s[2 * h + j], s[3 * h + j]);
                        let d = dh[j] + dy[j];
                        let dn = d * (F::one() - u) * (F::one() - n * n);
                        let dr = dn * b * r * (F::one() - r);
                        let du = d * (states[j] - n) * u * (F::one() - u);
                        (da[j], da[h + j], da[2 * h + j]) = (dr, du, dn);
                        (db[j], db[h + j], db[2 * h + j]) = (dr, du, dn * r);
                        // What the previous state gets past the gates; without back-propagation
                        // through time, nothing.
                        dh[j] = if bptt { d * u } else { F::zero() };
                    }
                };
            }
            if bptt && t > 0 {
                let db = Mat::strided(&db[(lx.before + t) * 3 * h..], items, 3 * h, lx.padded * 3 * h);
                let to = MatMut::new(&mut dh, items, h);
                gemm(&db, &weight_hh, to, Store::Add, |_, _, _| {}, Threads::All);
            }
        }

        add_column_sums(self.bias_ih.grad_mut(), &da);
        add_column_sums(self.bias_hh.grad_mut(), &db);
        let (da, db) = (Mat::new(&da, rows, 3 * h), Mat::new(&db, rows, 3 * h));
        matmul(da.t(), Self::rows(x), MatMut::new(self.weight_ih.grad_mut(), 3 * h, in_channels), Store::Add, pool);
        matmul(db.t(), Mat::new(&states, rows, h), MatMut::new(self.weight_hh.grad_mut(), 3 * h, h), Store::Add, pool);
        let (dx, store) = match dx {
            InputGrad::Stop => return,
            InputGrad::Overwrite(dx) => (dx, Store::Overwrite),
            InputGrad::Add(dx) => (dx, Store::Add),
        };
        assert_eq!(dx.layout(), lx, "the input's gradient is stored like the input");
        let weight_ih = Mat::new(self.weight_ih.feedback(), 3 * h, in_channels);
        matmul(da, weight_ih, MatMut::new(dx.memory_mut(), rows, in_channels), store, pool);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gim_core::Purpose;
    use gim_core::testing::check_layer;

    #[test]
    fn gradients_through_time() {
        let config = GruConfig { in_channels: 3, hidden: 4, bptt: true };
        check_layer(&mut Gru::new(config, Key::new(3, Purpose::Init)).unwrap(), Shape::sequence(2, 9, 3), 7);
    }

    /// Cut at every step, the unit is exact for sequences of one step and differs from the full
    /// gradient for longer ones.
    #[test]
    fn gradients_not_through_time() {
        let new =
            |bptt| Gru::<f64>::new(GruConfig { in_channels: 3, hidden: 4, bptt }, Key::new(3, Purpose::Init)).unwrap();
        check_layer(&mut new(false), Shape::sequence(2, 1, 3), 7);
        let pool = Pool::new();
        let grads = [true, false].map(|through| {
            let mut gru = new(through);
            gru.visit(&mut |p| p.attach_grad(&pool));
            let layout = gim_core::activations::Layout::dense(Shape::sequence(2, 5, 3));
            let x = Activations::from_slice(layout, &gim_core::testing::uniform(30, 1), &pool);
            let out = gim_core::activations::Layout::dense(Shape::sequence(2, 5, 4));
            let mut y = Activations::new(out, &pool);
            gru.forward(&x, &mut y, Keep::ForBackward, &pool);
            let mut dy = Activations::from_slice(out, &gim_core::testing::uniform(40, 2), &pool);
            gru.backward(&x, &y, &mut dy, InputGrad::Stop, &pool);
            gru.weight_hh.grad().to_vec()
        });
        assert_ne!(grads[0], grads[1]);
    }
}
