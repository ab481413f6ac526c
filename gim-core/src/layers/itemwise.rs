//! Layers that compute every item by itself, run over chunks of items.
//!
//! Patches of an image meet only in the loss. So a chunk of patches goes through all layers of a module
//! on one thread, while its activations are in cache.
//!
//! Chunks and groups of chunks depend only on shapes and on [`Pool::is_low_memory`]. Each group sums its
//! parameter gradients, and the groups' sums are added in order. So results do not depend on the number
//! of threads, nor on the number of replicas, which share out whole groups.

use std::ops::Range;

use rayon::prelude::*;

use crate::activations::{Activations, Shape};
use crate::kernels::gemm::{Store, Threads};
use crate::kernels::profile::Tasks;
use crate::kernels::vector::add_scaled;
use crate::layers::{InputGrad, Keep, Layer, LayerInfo, ReadoutGrad};
use crate::param::{Param, Params};
use crate::replicas::Replicas;
use crate::{Buffer, Pool, Result, Scalar};

/// Values of a chunk in its widest layer: 2 MB in single precision, small enough to stay near its core.
const CHUNK: usize = 1 << 19;
/// Values that all partial sums of weight gradients may take.
const PARTIAL_SUMS: usize = 1 << 25;
/// Values of hidden outputs of a batch (400 MB in single precision) above which outputs are recomputed
/// where a layer can, as with a low-memory pool. Recomputing is a twelfth of a stage's arithmetic.
const KEPT_OUTPUTS: usize = 100 << 20;
/// Most partial sums, and most with a low-memory pool.
const GROUPS: usize = 16;
const LOW_MEMORY_GROUPS: usize = 6;

/// What a chunk computes with.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a, F: Scalar> {
    /// Scratch.
    pub pool: &'a Pool<F>,
    /// Threads of a product: all of them when there are too few chunks to occupy them.
    pub threads: Threads,
}

/// What weights are packed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Outputs.
    Forward,
    /// Gradients.
    Backward,
}

/// A layer whose output for an item depends on that item alone. Activations are dense (N, H, W, C).
pub trait ItemLayer<F: Scalar>: LayerInfo + Params<F> + Send + Sync {
    /// Number of values per item that `backward` needs besides `x`. With `recompute`, values that are
    /// cheap to recompute are not counted; `forward` and `backward` see that by the length of `kept`.
    fn kept(&self, x: Shape, recompute: bool) -> usize;

    /// Packs weights for the next pass over inputs of shape `x`, once for all chunks.
    fn pack(&mut self, pass: Pass, x: Shape, pool: &Pool<F>);

    /// Releases what was packed.
    fn unpack(&mut self);

    /// `x` (of shape `shape`) → `y`, and `kept` for backward; both are overwritten.
    fn forward(&self, x: &[F], shape: Shape, y: &mut [F], kept: &mut [F], work: Work<'_, F>);

    /// Whether the output can be recomputed in the backward pass instead of kept.
    fn recomputes(&self) -> bool {
        false
    }

    /// Recomputes `y` from `x` and `kept`, to the same bits.
    fn recompute(&self, _x: &[F], _shape: Shape, _kept: &[F], _y: &mut [F], _work: Work<'_, F>) {
        unreachable!("{} keeps its output", self.describe())
    }

    /// `dy` → `dx` (overwritten) and `grads`, the gradients of all parameters one after the other (added to). May change `dy`.
    fn backward(
        &self,
        x: &[F],
        shape: Shape,
        kept: &[F],
        dy: &mut [F],
        dx: Option<&mut [F]>,
        grads: &mut [F],
        work: Work<'_, F>,
    );

    /// Number of values of all parameters that `visit` names.
    fn n_params(&self) -> usize;
}

/// A chain of layers that compute every item by itself, as one [`Layer`].
pub struct Itemwise<F: Scalar> {
    layers: Vec<Box<dyn ItemLayer<F>>>,
    /// Items of a chunk; `None` to choose by size.
    chunk: Option<usize>,
    /// Most values of hidden outputs that are kept.
    kept_outputs: usize,
    /// They share out whole groups of chunks.
    replicas: Replicas<F>,
    saved: Option<Saved<F>>,
}

/// What backward needs of this replica's items: outputs of all layers but the last, and what the layers keep.
struct Saved<F: Scalar> {
    /// Empty where a layer recomputes its output.
    hidden: Vec<Buffer<F>>,
    kept: Vec<Buffer<F>>,
}

impl<F: Scalar> Saved<F> {
    /// Input of layer `i`: the part of `x` or of the output of the layer below, kept or recomputed.
    fn input<'a>(&'a self, i: usize, x: &'a [F], recomputed: &'a [Buffer<F>], part: Range<usize>) -> &'a [F] {
        match i.checked_sub(1) {
            None => &x[part],
            Some(below) if self.hidden[below].is_empty() => &recomputed[below],
            Some(below) => &self.hidden[below][part],
        }
    }
}

/// Sizes that follow from an input's shape.
struct Plan {
    /// Shape of every layer's input, and of the output.
    shapes: Vec<Shape>,
    /// Items of a chunk.
    chunk: usize,
    /// Chunks of a group whose gradients are summed on the way.
    group: usize,
    /// Whether outputs are recomputed in the backward pass instead of kept.
    recompute: bool,
}

impl Plan {
    /// Values per item of layer `i`'s input.
    fn item(&self, i: usize) -> usize {
        self.shapes[i].len() / self.shapes[i].batch.max(1)
    }

    fn last(&self) -> usize {
        self.shapes.len() - 1
    }

    /// Items of a group.
    fn per_group(&self) -> usize {
        self.group * self.chunk
    }
}

/// Threads of the products of one of `tasks` tasks: all, where some threads would be left without a
/// task. The result is the same.
fn within(tasks: usize) -> Threads {
    if tasks <= 2 || tasks < rayon::current_num_threads() { Threads::All } else { Threads::This }
}

/// The part of a whole-batch buffer that belongs to each chunk. After the end of the buffer come empty
/// parts, without end.
fn split<F>(buffer: &mut [F], per_item: usize, chunk: usize) -> impl Iterator<Item = &mut [F]> {
    // Layers that keep nothing, or have no parameters, still take part.
    let size = (per_item * chunk).max(1);
    buffer.chunks_mut(size).chain(std::iter::repeat_with(|| &mut [][..]))
}

impl<F: Scalar> Itemwise<F> {
    /// The chain of these layers; parameters are prefixed with their layer's number.
    pub fn new(mut layers: Vec<Box<dyn ItemLayer<F>>>) -> Self {
        assert!(!layers.is_empty(), "a chain without layers has no output");
        for (i, layer) in layers.iter_mut().enumerate() {
            let mut visited = 0;
            layer.visit(&mut |p| {
                p.name = format!("{i}.{}", p.name);
                visited += p.value.len();
            });
            let said = layer.n_params();
            assert_eq!(said, visited, "{}: number of its parameters, and what it visits", layer.describe());
        }
        Self { layers, chunk: None, kept_outputs: KEPT_OUTPUTS, replicas: Replicas::default(), saved: None }
    }

    /// Fixes the number of items of a chunk. Results depend on it in the last bits.
    pub fn with_chunk(mut self, items: usize) -> Self {
        self.chunk = Some(items.max(1));
        self
    }

    /// Keeps at most `values` values of hidden outputs. If there are more, outputs are recomputed, to
    /// the same bits.
    pub fn with_kept_outputs(mut self, values: usize) -> Self {
        self.kept_outputs = values;
        self
    }

    fn plan(&self, x: Shape, low_memory: bool) -> Result<Plan> {
        let mut shapes = vec![x];
        for layer in &self.layers {
            shapes.push(layer.output(shapes[shapes.len() - 1])?);
        }
        let widest = shapes.iter().map(|s| s.len() / s.batch.max(1)).max().unwrap_or(1).max(1);
        let chunk = self.chunk.unwrap_or(CHUNK / widest).clamp(1, x.batch.max(1));
        let chunks = x.batch.div_ceil(chunk);
        let n_params: usize = self.layers.iter().map(|l| l.n_params()).sum();
        let outputs: usize = shapes[1..shapes.len() - 1].iter().map(Shape::len).sum();
        let recompute = low_memory || outputs > self.kept_outputs;
        let most = if low_memory { LOW_MEMORY_GROUPS } else { GROUPS };
        let groups = (PARTIAL_SUMS / n_params.max(1)).clamp(1, most).min(chunks.max(1));
        Ok(Plan { shapes, chunk, group: chunks.div_ceil(groups).max(1), recompute })
    }

    /// The backward pass from the gradient of a readout of the output, computed chunk by chunk.
    pub(super) fn backward_below(
        &mut self,
        x: &Activations<F>,
        grad: ReadoutGrad<'_, F>,
        dx: InputGrad<'_, F>,
        pool: &Pool<F>,
    ) {
        self.backward_from(x, &mut [], Some(grad), dx, pool);
    }

    /// The backward pass, from the gradient of all outputs in `dy`, or from that of a `readout` of them.
    fn backward_from(
        &mut self,
        x: &Activations<F>,
        dy: &mut [F],
        readout: Option<ReadoutGrad<'_, F>>,
        dx: InputGrad<'_, F>,
        pool: &Pool<F>,
    ) {
        let Some(saved) = self.saved.take() else {
            panic!("backward without a forward pass that kept its activations")
        };
        let plan = self.planned(x, pool);
        let (items, per_group) = (x.shape().batch, plan.per_group());
        let own = self.replicas.own_part(items, per_group);
        let n_params: usize = self.layers.iter().map(|l| l.n_params()).sum();
        let groups = own.len().div_ceil(per_group);
        let mut sums = scratch(pool, groups * n_params);
        sums.fill(F::zero());
        let (mut dx, store) = match dx {
            InputGrad::Stop => (None, None),
            InputGrad::Overwrite(dx) => (Some(dx), Some(Store::Overwrite)),
            InputGrad::Add(dx) => (Some(dx), Some(Store::Add)),
        };
        let dx_memory: &mut [F] = dx.as_mut().map_or(&mut [], |dx| dx.memory_mut());
        let (dx_item, dy_item) = (plan.item(0), plan.item(plan.last()));
        let dx_parts = split(portion(dx_memory, &own, dx_item), dx_item, per_group);
        let dy_parts = split(portion(dy, &own, dy_item), dy_item, per_group);
        let sums_parts = split(&mut sums, n_params, 1);
        let tasks: Vec<_> = sums_parts.zip(dx_parts).zip(dy_parts).enumerate().take(groups).collect();
        for (layer, x) in self.layers.iter_mut().zip(&plan.shapes) {
            layer.pack(Pass::Backward, *x, pool);
            if plan.recompute && layer.recomputes() {
                layer.pack(Pass::Forward, *x, pool);
            }
        }
        let work = Work { pool, threads: within(tasks.len()) };
        let (layers, first, x) = (&self.layers, own.start, &x.memory()[span(&own, dx_item)]);
        let chain = Backward { layers, plan: &plan, saved: &saved, x, first, readout, store, work };
        tasks.into_par_iter().for_each_task("groups of chunks backward", |(g, ((sums, dx), dy))| {
            let (begin, end) = (g * per_group, own.len().min((g + 1) * per_group));
            for from in (begin..end).step_by(plan.chunk) {
                let to = end.min(from + plan.chunk);
                let within = from - begin..to - begin;
                chain.chunk(from..to, portion(dy, &within, dy_item), portion(dx, &within, dx_item), sums);
            }
        });
        self.layers.iter_mut().for_each(|l| l.unpack());
        let (sums, replicas) = (&sums, self.replicas.clone());
        let mut at = 0;
        self.visit(&mut |p| {
            let len = p.value.len();
            replicas.add_in_turn(p.grad_mut(), |grad| {
                for group in 0..groups {
                    add_scaled(grad, F::one(), &sums[group * n_params + at..][..len]);
                }
            });
            at += len;
        });
        self.visit(&mut |p| replicas.take_sum(p.grad_mut()));
        if let Some(dx) = dx {
            replicas.gather(dx.memory_mut(), items, per_group, |items| span(&items, dx_item));
        }
    }

    fn planned(&self, x: &Activations<F>, pool: &Pool<F>) -> Plan {
        assert_eq!(x.layout().padded, x.shape().height, "items are stored without margins");
        self.plan(x.shape(), pool.is_low_memory())
            .unwrap_or_else(|e| unreachable!("shapes were checked when planned: {e}"))
    }
}

/// A backward pass over the items of this replica, of which each task does some chunks. Items are counted
/// from the first of them.
struct Backward<'a, F: Scalar> {
    layers: &'a [Box<dyn ItemLayer<F>>],
    plan: &'a Plan,
    saved: &'a Saved<F>,
    x: &'a [F],
    /// That item's number in the batch.
    first: usize,
    readout: Option<ReadoutGrad<'a, F>>,
    /// How the input gradient is stored; `None` when it is not computed.
    store: Option<Store>,
    work: Work<'a, F>,
}

impl<F: Scalar> Backward<'_, F> {
    /// Input of layer `i` for these items, its shape, and what the layer kept of them.
    fn saved<'a>(&'a self, i: usize, items: &Range<usize>, recomputed: &'a [Buffer<F>]) -> (&'a [F], Shape, &'a [F]) {
        let shape = Shape { batch: items.len(), ..self.plan.shapes[i] };
        let input = self.saved.input(i, self.x, recomputed, span(items, self.plan.item(i)));
        let kept = self.layers[i].kept(shape, self.plan.recompute);
        (input, shape, &self.saved.kept[i][span(items, kept)])
    }

    /// Outputs that were not kept, from the bottom up; empty where they were.
    fn recompute(&self, items: &Range<usize>) -> Vec<Buffer<F>> {
        let hidden = self.layers.len() - 1;
        let mut recomputed: Vec<Buffer<F>> = Vec::with_capacity(hidden);
        for i in 0..hidden {
            let missing = self.saved.hidden[i].is_empty();
            let mut y = scratch(self.work.pool, if missing { self.plan.item(i + 1) * items.len() } else { 0 });
            if missing {
                let (input, shape, kept) = self.saved(i, items, &recomputed);
                self.layers[i].recompute(input, shape, kept, &mut y, self.work);
            }
            recomputed.push(y);
        }
        recomputed
    }

    /// One chunk: parameter gradients are added to `sums`, the input gradient goes to `dx`. `dy` is the gradient of the
    /// chunk's output; empty when that comes from the readout.
    fn chunk(&self, items: Range<usize>, dy: &mut [F], dx: &mut [F], sums: &mut [F]) {
        let (plan, pool) = (self.plan, self.work.pool);
        let recomputed = self.recompute(&items);
        let mut above: Option<Buffer<F>> = self.readout.map(|readout| {
            let mut dy = scratch(pool, plan.item(plan.last()) * items.len());
            let of_batch = self.first + items.start..self.first + items.end;
            readout.of_items(plan.shapes[plan.last()], of_batch, &mut dy);
            dy
        });
        let mut end = sums.len();
        for (i, layer) in self.layers.iter().enumerate().rev() {
            let (input, shape, kept) = self.saved(i, &items, &recomputed);
            let begin = end - layer.n_params();
            let grads = &mut sums[begin..end];
            end = begin;
            let dy: &mut [F] = match &mut above {
                Some(above) => above,
                None => &mut *dy,
            };
            // The chain's input gradient is written where it belongs, unless it is added to what is there.
            let direct = i == 0 && self.store != Some(Store::Add);
            let mut own = scratch(pool, if direct { 0 } else { plan.item(i) * items.len() });
            let into: Option<&mut [F]> = match (direct, self.store) {
                (true, None) => None,
                (true, Some(_)) => Some(&mut *dx),
                (false, _) => Some(&mut own),
            };
            layer.backward(input, shape, kept, dy, into, grads, self.work);
            if i == 0 && !direct {
                add_scaled(dx, F::one(), &own);
            }
            above = Some(own);
        }
    }
}

/// Where the values of some items lie, with `per_item` values each.
fn span(items: &Range<usize>, per_item: usize) -> Range<usize> {
    items.start * per_item..items.end * per_item
}

/// The part of a buffer that belongs to some of its items; empty for an empty buffer.
fn portion<'a, F>(buffer: &'a mut [F], items: &Range<usize>, per_item: usize) -> &'a mut [F] {
    if buffer.is_empty() { buffer } else { &mut buffer[span(items, per_item)] }
}

/// Scratch of any length, 0 included: empty buffers do not come from the pool.
fn scratch<F: Scalar>(pool: &Pool<F>, len: usize) -> Buffer<F> {
    if len == 0 { Buffer::default() } else { pool.take(len) }
}

impl<F: Scalar> Params<F> for Itemwise<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        self.layers.iter_mut().for_each(|l| l.visit(f));
    }
}

impl<F: Scalar> LayerInfo for Itemwise<F> {
    fn describe(&self) -> String {
        self.layers.iter().map(|l| l.describe()).collect::<Vec<_>>().join(", ")
    }

    fn output(&self, x: Shape) -> Result<Shape> {
        self.layers.iter().try_fold(x, |x, l| l.output(x))
    }

    fn multiply_adds(&self, x: Shape) -> u64 {
        let shapes = self.plan(x, false).map(|p| p.shapes).unwrap_or_default();
        self.layers.iter().zip(shapes).map(|(l, s)| l.multiply_adds(s)).sum()
    }

    fn first_multiply_adds(&self, x: Shape) -> u64 {
        self.layers[0].first_multiply_adds(x)
    }
}

impl<F: Scalar> Layer<F> for Itemwise<F> {
    fn set_replicas(&mut self, replicas: &Replicas<F>) {
        self.replicas = replicas.clone();
    }

    fn forward(&mut self, x: &Activations<F>, y: &mut Activations<F>, keep: Keep, pool: &Pool<F>) {
        self.saved = None;
        let plan = self.planned(x, pool);
        let (n, items, last) = (self.layers.len(), x.shape().batch, plan.last());
        let own = self.replicas.own_part(items, plan.per_group());
        let keeps = keep == Keep::ForBackward;
        let whole = |per_item: usize| scratch(pool, if keeps { per_item * own.len() } else { 0 });
        // The output of layer i is hidden number i.
        let stays: Vec<bool> = self.layers.iter().map(|l| keeps && !(plan.recompute && l.recomputes())).collect();
        let mut hidden: Vec<Buffer<F>> = (1..n).map(|i| whole(if stays[i - 1] { plan.item(i) } else { 0 })).collect();
        let kept_sizes: Vec<usize> =
            self.layers.iter().zip(&plan.shapes).map(|(l, s)| l.kept(*s, plan.recompute)).collect();
        let mut kept: Vec<Buffer<F>> = kept_sizes.iter().map(|k| whole(*k)).collect();

        // Each chunk's part of every buffer.
        let mut hidden_parts: Vec<_> =
            hidden.iter_mut().enumerate().map(|(i, b)| split(b, plan.item(i + 1), plan.chunk)).collect();
        let mut kept_parts: Vec<_> = kept.iter_mut().zip(&kept_sizes).map(|(b, k)| split(b, *k, plan.chunk)).collect();
        let dense = y.layout().padded == y.shape().height;
        let mut outside = scratch(pool, if dense { 0 } else { plan.item(last) * items });
        let out: &mut [F] = if dense { y.memory_mut() } else { &mut outside };
        let tasks: Vec<_> = portion(out, &own, plan.item(last))
            .chunks_mut((plan.item(last) * plan.chunk).max(1))
            .enumerate()
            .map(|(c, y)| {
                let hidden: Vec<&mut [F]> = hidden_parts.iter_mut().filter_map(Iterator::next).collect();
                let kept: Vec<&mut [F]> = kept_parts.iter_mut().filter_map(Iterator::next).collect();
                (c, y, hidden, kept)
            })
            .collect();
        let work = Work { pool, threads: within(tasks.len()) };
        self.layers.iter_mut().zip(&plan.shapes).for_each(|(l, x)| l.pack(Pass::Forward, *x, pool));
        let layers = &self.layers;
        tasks.into_par_iter().for_each_task("chunks forward", |(c, y, mut hidden, mut kept)| {
            let from = own.start + c * plan.chunk;
            let items = plan.chunk.min(own.end - from);
            let x = &x.memory()[from * plan.item(0)..(from + items) * plan.item(0)];
            // Without a backward pass, hidden activations live as long as the next layer needs them.
            let mut before: Option<Buffer<F>> = None;
            let inner = hidden.len();
            for i in 0..n {
                let shape = Shape { batch: items, ..plan.shapes[i] };
                let mut own_kept = scratch(pool, if keeps { 0 } else { kept_sizes[i] * items });
                let kept: &mut [F] = if keeps { kept[i] } else { &mut own_kept };
                let mut own = scratch(pool, if stays[i] || i + 1 == n { 0 } else { plan.item(i + 1) * items });
                let (done, rest) = hidden.split_at_mut(i.min(inner));
                let input: &[F] = match (i, &before) {
                    (0, _) => x,
                    (_, Some(before)) => before,
                    _ => done[i - 1],
                };
                let output: &mut [F] = if i + 1 == n {
                    y
                } else if stays[i] {
                    rest[0]
                } else {
                    &mut own
                };
                layers[i].forward(input, shape, output, kept, work);
                before = (!stays[i]).then_some(own);
            }
        });
        drop((hidden_parts, kept_parts));
        self.layers.iter_mut().for_each(|l| l.unpack());
        self.replicas.gather(out, items, plan.per_group(), |items| span(&items, plan.item(last)));
        if !dense {
            let item = plan.item(last).max(1);
            for (i, from) in outside.chunks_exact(item).enumerate() {
                y.item_mut(i).copy_from_slice(from);
            }
        }
        if keeps {
            self.saved = Some(Saved { hidden, kept });
        }
    }

    fn backward(
        &mut self,
        x: &Activations<F>,
        _: &Activations<F>,
        dy: &mut Activations<F>,
        dx: InputGrad<'_, F>,
        pool: &Pool<F>,
    ) {
        let mut copied;
        let dense: &mut [F] = if dy.layout().padded == dy.shape().height {
            dy.memory_mut()
        } else {
            copied = scratch(pool, dy.shape().len());
            let item = dy.shape().len() / dy.shape().batch.max(1);
            copied.chunks_exact_mut(item.max(1)).enumerate().for_each(|(i, to)| to.copy_from_slice(dy.item(i)));
            &mut copied
        };
        self.backward_from(x, dense, None, dx, pool);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_layer, check_layer_replicas};

    /// y = g·x², with g = 1 where nothing is learned.
    struct Square {
        gain: Option<Param<f64>>,
        n_params: usize,
    }

    impl Square {
        fn gain(&self) -> f64 {
            self.gain.as_ref().map_or(1.0, |p| p.value[0])
        }
    }

    impl Params<f64> for Square {
        fn visit(&mut self, f: &mut dyn FnMut(&mut Param<f64>)) {
            self.gain.iter_mut().for_each(f);
        }
    }

    impl LayerInfo for Square {
        fn describe(&self) -> String {
            "squares".into()
        }
        fn output(&self, x: Shape) -> Result<Shape> {
            Ok(x)
        }
        fn multiply_adds(&self, x: Shape) -> u64 {
            x.len() as u64
        }
    }

    impl ItemLayer<f64> for Square {
        fn kept(&self, _: Shape, _: bool) -> usize {
            0
        }
        fn pack(&mut self, _: Pass, _: Shape, _: &Pool<f64>) {}
        fn unpack(&mut self) {}
        fn forward(&self, x: &[f64], _: Shape, y: &mut [f64], _: &mut [f64], _: Work<'_, f64>) {
            y.iter_mut().zip(x).for_each(|(y, x)| *y = self.gain() * x * x);
        }
        fn backward(
            &self,
            x: &[f64],
            _: Shape,
            _: &[f64],
            dy: &mut [f64],
            dx: Option<&mut [f64]>,
            grads: &mut [f64],
            _: Work<'_, f64>,
        ) {
            if let Some(grad) = grads.first_mut() {
                *grad += dy.iter().zip(x).map(|(dy, x)| dy * x * x).sum::<f64>();
            }
            if let Some(dx) = dx {
                dx.iter_mut().zip(&*dy).zip(x).for_each(|((dx, dy), x)| *dx = 2.0 * self.gain() * x * dy);
            }
        }
        fn n_params(&self) -> usize {
            self.n_params
        }
    }

    fn square(learns: bool) -> Box<dyn ItemLayer<f64>> {
        let gain = learns.then(|| Param::new("gain", &[1], vec![0.7]));
        Box::new(Square { gain, n_params: usize::from(learns) })
    }

    fn check(layers: Vec<Box<dyn ItemLayer<f64>>>) {
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let x = Shape { batch: 5, height: 3, width: 2, channels: 2 };
        one.install(|| check_layer(&mut Itemwise::new(layers).with_chunk(2), x, 4));
    }

    #[test]
    fn replicas_share_out_groups_of_chunks() {
        for learns in [[true, true], [true, false], [false, true], [false, false]] {
            for (batch, chunk) in [(1, 1), (5, 2), (40, 1), (41, 2)] {
                let chain = || {
                    let layers = learns.into_iter().map(square).collect();
                    Box::new(Itemwise::new(layers).with_chunk(chunk)) as Box<dyn Layer<f64>>
                };
                check_layer_replicas(&chain, Shape { batch, height: 3, width: 2, channels: 2 }, 5);
            }
        }
    }

    #[test]
    fn a_chain_that_learns_nothing_has_an_input_gradient() {
        check(vec![square(false)]);
        check(vec![square(false), square(false)]);
    }

    #[test]
    fn some_layers_learn_nothing() {
        check(vec![square(true), square(false)]);
        check(vec![square(false), square(true)]);
    }

    #[test]
    #[should_panic(expected = "number of its parameters")]
    fn parameters_are_counted() {
        Itemwise::new(vec![Box::new(Square { gain: None, n_params: 1 }) as Box<dyn ItemLayer<f64>>]);
    }
}
