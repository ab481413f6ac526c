//! Checks that every layer and loss must pass: gradients against finite differences, dirty scratch,
//! accumulation, and the same bits by every schedule. Also test vectors recorded from other
//! programs ([`vectors`]), and a small layer for tests and examples ([`Linear`]).

mod feedback;
mod linear;
mod replicas;
mod schedules;
pub mod vectors;

pub use linear::Linear;
pub use replicas::{check_layer_replicas, check_replicas};
pub use schedules::{Input, check_async, check_pipelined};

use crate::activations::{Activations, Layout, Shape};
use crate::layers::{InputGrad, Keep, Layer, Readout, ReadoutGrad};
use crate::loss::{LocalLoss, StepInfo};
use crate::param::Params;
use crate::{Key, Pool, Purpose};
use feedback::check_feedback;
use rand::RngExt;

/// Half-width h of the central differences (f(x + h) − f(x − h)) / 2h.
const H: f64 = 1e-5;
/// Tolerated error of a gradient entry, relative to the largest entry of its tensor.
const TOLERANCE: f64 = 1e-6;

/// `n` values from U(−1, 1), for tests and benchmarks.
pub fn uniform(n: usize, seed: u64) -> Vec<f64> {
    let mut rng = Key::new(seed, Purpose::Synthetic).rng();
    (0..n).map(|_| rng.random::<f64>() * 2.0 - 1.0).collect()
}

/// Values and gradients of all parameters, in order.
fn snapshot(params: &mut dyn Params<f64>) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let (mut values, mut grads) = (Vec::new(), Vec::new());
    params.visit(&mut |p| {
        values.push(p.value.clone());
        grads.push(p.grad().to_vec());
    });
    (values, grads)
}

/// Adds `by` to one value of parameter number `which`.
fn nudge<P: Params<f64> + ?Sized>(params: &mut P, which: usize, entry: usize, by: f64) {
    let mut at = 0;
    params.visit(&mut |p| {
        if at == which {
            p.value[entry] += by;
        }
        at += 1;
    });
}

/// Central differences of `value` by each of the `len` values of parameter number `which`.
fn by_param<P: Params<f64> + ?Sized>(
    params: &mut P,
    which: usize,
    len: usize,
    value: impl Fn(&mut P) -> f64,
) -> Vec<f64> {
    (0..len)
        .map(|i| {
            nudge(params, which, i, H);
            let up = value(params);
            nudge(params, which, i, -2.0 * H);
            let down = value(params);
            nudge(params, which, i, H);
            (up - down) / (2.0 * H)
        })
        .collect()
}

/// Central differences of `value` by each value of `x` (N, H, W, C).
fn by_input(x: &mut Activations<f64>, mut value: impl FnMut(&Activations<f64>) -> f64) -> Vec<f64> {
    let shape = x.shape();
    let mut differences = Vec::with_capacity(shape.len());
    for item in 0..shape.batch {
        for i in 0..shape.len() / shape.batch {
            let at = x.item(item)[i];
            x.item_mut(item)[i] = at + H;
            let up = value(x);
            x.item_mut(item)[i] = at - H;
            let down = value(x);
            x.item_mut(item)[i] = at;
            differences.push((up - down) / (2.0 * H));
        }
    }
    differences
}

fn compare(what: &str, got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(1e-3f64, |m, x| m.max(x.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= TOLERANCE * scale, "{what}[{i}]: gradient {g}, finite differences {w}");
    }
}

/// Checks a readout on outputs of shape `z`: its gradient, for all items and for some, against central differences of Σ r·y.
///
/// # Panics
/// When the readout fails the check.
pub fn check_readout(readout: &dyn Readout<f64>, z: Shape, seed: u64) {
    let pool = Pool::new();
    let out = readout.output(z).unwrap_or_else(|e| panic!("{}: {e}", readout.describe()));
    let mut input = Activations::from_slice(Layout::dense(z), &uniform(z.len(), seed), &pool);
    let weights = uniform(out.len(), seed + 1);
    let value = |input: &Activations<f64>| -> f64 {
        let mut y = Activations::new(Layout::dense(out), &pool);
        y.memory_mut().fill(f64::NAN);
        readout.forward(input, &mut y, &pool);
        y.to_vec().iter().zip(&weights).map(|(y, w)| y * w).sum()
    };
    let want = by_input(&mut input, value);
    let dy = Activations::from_slice(Layout::dense(out), &weights, &pool);
    let grad = ReadoutGrad { readout, dy: &dy };
    compare(&format!("{} input", readout.describe()), &grad.whole(Layout::dense(z), &pool).to_vec(), &want);
    let (item, last) = (z.len() / z.batch, z.batch - 1);
    let mut some = vec![f64::NAN; item];
    grad.of_items(z, last..z.batch, &mut some);
    compare(&format!("{} input, last item", readout.describe()), &some, &want[last * item..]);
}

/// Checks a layer on an input of shape `x`:
///
/// - the output does not depend on old contents of scratch, and its margins stay zero;
/// - gradients of parameters and input agree with central differences of Σ r·y, r random;
/// - parameter gradients accumulate, and `Add` agrees with `Overwrite`;
/// - with feedback weights, gradients are those of a backward pass through these weights;
/// - a warm pass allocates no buffers.
///
/// Near a kink, such as ReLU's, a central difference is not the derivative. Within h = 1e-5 of an input
/// that is rare, and the same `seed` always draws the same inputs.
///
/// # Panics
/// When the layer fails a check.
pub fn check_layer(layer: &mut dyn Layer<f64>, x: Shape, seed: u64) {
    let pool = Pool::new();
    let out = layer.output(x).unwrap_or_else(|e| panic!("{}: {e}", layer.describe()));
    // Odd margins on the output, so that a layer that ignores layouts is found out.
    let y_layout = Layout::padded(out, 1, out.height + 3);
    let x_layout = layer.input_layout(x, y_layout);
    let mut input = Activations::from_slice(x_layout, &uniform(x.len(), seed), &pool);
    let weights = uniform(out.len(), seed + 1);
    layer.visit(&mut |p| p.attach_grad(&pool));

    let forward = |layer: &mut dyn Layer<f64>, input: &Activations<f64>, keep| {
        pool.poison();
        let mut y = Activations::new(y_layout, &pool);
        layer.forward(input, &mut y, keep, &pool);
        y
    };
    let value = |layer: &mut dyn Layer<f64>, input: &Activations<f64>| -> f64 {
        forward(layer, input, Keep::Nothing).to_vec().iter().zip(&weights).map(|(y, w)| y * w).sum()
    };
    let backward = |layer: &mut dyn Layer<f64>, input: &Activations<f64>, dx: InputGrad<'_, f64>| {
        let y = forward(layer, input, Keep::ForBackward);
        let margins: f64 = y.memory().iter().sum::<f64>() - y.to_vec().iter().sum::<f64>();
        assert!(margins.abs() < 1e-9, "{}: margins of the output are not zero", layer.describe());
        pool.poison();
        let mut dy = Activations::from_slice(y_layout, &weights, &pool);
        layer.backward(input, &y, &mut dy, dx, &pool);
    };

    assert_eq!(
        forward(layer, &input, Keep::Nothing).to_vec(),
        forward(layer, &input, Keep::Nothing).to_vec(),
        "{}: outputs depend on old contents of scratch",
        layer.describe()
    );
    let mut dx = Activations::new(x_layout, &pool);
    backward(layer, &input, InputGrad::Overwrite(&mut dx));
    let (values, grads) = snapshot(layer);
    for (which, (v, grad)) in values.iter().zip(&grads).enumerate() {
        let want = by_param(layer, which, v.len(), |layer| value(layer, &input));
        compare(&format!("{} parameter {which}", layer.describe()), grad, &want);
    }
    let want = by_input(&mut input, |input| value(layer, input));
    compare(&format!("{} input", layer.describe()), &dx.to_vec(), &want);

    // A second pass doubles the parameter gradients and, with `Add`, the input's.
    let mut sum = Activations::from_slice(x_layout, &dx.to_vec(), &pool);
    backward(layer, &input, InputGrad::Add(&mut sum));
    let added = want.iter().map(|w| 2.0 * w).collect::<Vec<_>>();
    compare(&format!("{} input, added", layer.describe()), &sum.to_vec(), &added);
    drop(sum);
    let (_, twice) = snapshot(layer);
    for (once, twice) in grads.iter().zip(&twice) {
        compare("accumulated", twice, &once.iter().map(|g| 2.0 * g).collect::<Vec<_>>());
    }
    backward(layer, &input, InputGrad::Stop);
    let (_, thrice) = snapshot(layer);
    for (once, thrice) in grads.iter().zip(&thrice) {
        compare("without input gradient", thrice, &once.iter().map(|g| 3.0 * g).collect::<Vec<_>>());
    }
    let allocated = pool.allocated();
    backward(layer, &input, InputGrad::Stop);
    assert_eq!(pool.allocated(), allocated, "{}: a warm pass allocates", layer.describe());
    layer.visit(&mut |p| p.release_grad());
    check_feedback(layer, x, seed);
}

/// Checks a loss on features `z` and contexts `c`, both stored with margins:
///
/// - gradients of parameters, features and contexts agree with central differences;
/// - they do not depend on old contents of scratch;
/// - parameter gradients accumulate.
///
/// A loss that [wants its input](LocalLoss::wants_input) has been given it.
///
/// # Panics
/// When the loss fails a check, or stops gradients: those of [`check_stopped_loss`] are then the right ones.
pub fn check_loss(loss: &mut dyn LocalLoss<f64>, z: Shape, c: Option<Shape>, step: StepInfo<'_>) {
    assert!(!loss.stops_gradients(), "{} stops gradients: what it follows is to be said", loss.describe());
    check_gradients(loss, z, c, step, None);
}

/// Where a loss is evaluated: the values of its parameters, in order, and its features and contexts.
#[derive(Debug, Clone)]
pub struct Point {
    /// Parameters of the loss.
    pub params: Vec<Vec<f64>>,
    /// Features (N, H, W, C).
    pub z: Vec<f64>,
    /// Contexts (N, H, W, D), where the features are not the contexts.
    pub c: Option<Vec<f64>>,
}

impl Point {
    fn of(loss: &mut dyn LocalLoss<f64>, z: &Activations<f64>, c: Option<&Activations<f64>>) -> Self {
        let mut params = Vec::new();
        loss.visit(&mut |p| params.push(p.value.clone()));
        Self { params, z: z.to_vec(), c: c.map(Activations::to_vec) }
    }
}

/// What a loss that stops gradients follows: a function of a live and a held point, whose derivatives by the
/// live one, where both are the same, are the update, and whose value there is the loss.
pub type Surrogate<'a> = dyn Fn(&Point, &Point) -> f64 + 'a;

/// [`check_loss`] for a loss that stops gradients: its gradients are those of `surrogate` by the live point,
/// its value is the surrogate's, and they are not the gradients of its own value.
///
/// # Panics
/// When the loss fails a check.
pub fn check_stopped_loss(
    loss: &mut dyn LocalLoss<f64>,
    z: Shape,
    c: Option<Shape>,
    step: StepInfo<'_>,
    surrogate: &Surrogate<'_>,
) {
    assert!(loss.stops_gradients(), "{} stops no gradient", loss.describe());
    check_gradients(loss, z, c, step, Some(surrogate));
}

fn check_gradients(
    loss: &mut dyn LocalLoss<f64>,
    z: Shape,
    c: Option<Shape>,
    step: StepInfo<'_>,
    surrogate: Option<&Surrogate<'_>>,
) {
    loss.check(z, c).unwrap_or_else(|e| panic!("{}: {e}", loss.describe()));
    let pool = Pool::new();
    let padded = |s: Shape| Layout::padded(s, 2, s.height + 3);
    let mut zs = Activations::from_slice(padded(z), &uniform(z.len(), 11), &pool);
    let mut cs = c.map(|c| Activations::from_slice(padded(c), &uniform(c.len(), 12), &pool));
    let evaluate = |loss: &mut dyn LocalLoss<f64>, z: &Activations<f64>, c: Option<&Activations<f64>>| {
        pool.poison();
        let mut dc = c.map(|c| Activations::new(c.layout(), &pool));
        loss.value_and_grad(z, c, step, None, dc.as_mut(), &pool).loss
    };
    let held = Point::of(loss, &zs, cs.as_ref());
    // The function whose derivatives the gradients are.
    let value = |loss: &mut dyn LocalLoss<f64>, z: &Activations<f64>, c: Option<&Activations<f64>>| match surrogate {
        None => evaluate(loss, z, c),
        Some(surrogate) => surrogate(&Point::of(loss, z, c), &held),
    };

    let run = |loss: &mut dyn LocalLoss<f64>| {
        loss.visit(&mut |p| p.attach_grad(&pool));
        pool.poison();
        let mut dz = Activations::new(zs.layout(), &pool);
        let mut dc = cs.as_ref().map(|c| Activations::new(c.layout(), &pool));
        loss.value_and_grad(&zs, cs.as_ref(), step, Some(&mut dz), dc.as_mut(), &pool);
        (dz.to_vec(), dc.map(|d| d.to_vec()))
    };
    let (dz, dc) = run(loss);
    assert_eq!((&dz, &dc), (&run(loss).0, &run(loss).1), "{}: gradients depend on scratch", loss.describe());
    let (values, grads) = snapshot(loss);
    // A second evaluation doubles the parameter gradients.
    let reported = evaluate(loss, &zs, cs.as_ref());
    if let Some(surrogate) = surrogate {
        compare(&format!("{} value", loss.describe()), &[reported], &[surrogate(&held, &held)]);
    }
    for (once, twice) in grads.iter().zip(&snapshot(loss).1) {
        compare("accumulated", twice, &once.iter().map(|g| 2.0 * g).collect::<Vec<_>>());
    }
    for (which, (v, grad)) in values.iter().zip(&grads).enumerate() {
        let want = by_param(loss, which, v.len(), |loss| value(loss, &zs, cs.as_ref()));
        compare(&format!("{} parameter {which}", loss.describe()), grad, &want);
    }
    let want = by_input(&mut zs, |z| value(loss, z, cs.as_ref()));
    compare(&format!("{} features", loss.describe()), &dz, &want);
    if surrogate.is_some() {
        let whole = [dz, dc.clone().unwrap_or_default()].concat();
        let mut of_value = by_input(&mut zs, |z| evaluate(loss, z, cs.as_ref()));
        if let Some(cs) = &mut cs {
            of_value.extend(by_input(cs, |c| evaluate(loss, &zs, Some(c))));
        }
        let stopped =
            whole.iter().zip(&of_value).any(|(got, whole)| (got - whole).abs() > 1e-3 * whole.abs().max(1e-3));
        assert!(stopped, "{}: the gradients are those of the value", loss.describe());
    }
    if let (Some(cs), Some(dc)) = (&mut cs, dc) {
        let want = by_input(cs, |c| value(loss, &zs, Some(c)));
        compare(&format!("{} contexts", loss.describe()), &dc, &want);
    }
    loss.visit(&mut |p| p.release_grad());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear() {
        check_layer(
            &mut Linear::new(3, 2, Key::new(1, Purpose::Init)),
            Shape { batch: 2, height: 3, width: 2, channels: 3 },
            5,
        );
    }
}
