//! Feedback alignment in any layer: errors take other weights, and nothing else changes.

use super::{compare, snapshot, uniform};
use crate::Pool;
use crate::activations::{Activations, Shape};
use crate::layers::{InputGrad, Keep, Layer};
use crate::param::Params;

/// Feedback weights, drawn by `seed`, of all parameters that have some; `None` for the others.
fn draw(params: &mut dyn Params<f64>, seed: u64) -> Vec<Option<Vec<f64>>> {
    let mut drawn = Vec::new();
    params.visit(&mut |p| {
        let seed = seed + drawn.len() as u64;
        drawn.push(p.is_transported().then(|| uniform(p.value.len(), seed)));
    });
    drawn
}

fn attach(params: &mut dyn Params<f64>, feedback: Option<&[Option<Vec<f64>>]>) {
    let mut at = 0;
    params.visit(&mut |p| {
        p.set_feedback(feedback.and_then(|f| f[at].clone()));
        at += 1;
    });
}

/// Exchanges values and feedback weights.
fn exchange(params: &mut dyn Params<f64>, feedback: &mut [Option<Vec<f64>>]) {
    let mut feedback = feedback.iter_mut();
    params.visit(&mut |p| {
        if let Some(Some(feedback)) = feedback.next() {
            std::mem::swap(&mut p.value, feedback);
        }
    });
}

/// Checks a layer with feedback weights on an input of shape `x`: its gradients are those of a backward pass for
/// which all weights are exchanged after the forward pass, whether or not outputs are recomputed for it. Where the
/// layer has such weights, they make a difference.
///
/// # Panics
/// When the layer fails the check.
pub(super) fn check_feedback(layer: &mut dyn Layer<f64>, x: Shape, seed: u64) {
    let name = layer.describe();
    let mut feedback = draw(layer, seed + 100);
    if feedback.iter().all(Option::is_none) {
        return;
    }
    let out = layer.output(x).unwrap_or_else(|e| panic!("{name}: {e}"));
    let y_layout = layer.output_layout(out);
    let x_layout = layer.input_layout(x, y_layout);
    let mut gradients = |layer: &mut dyn Layer<f64>, pool: &Pool<f64>, exchanged: bool| {
        layer.visit(&mut |p| p.attach_grad(pool));
        let input = Activations::from_slice(x_layout, &uniform(x.len(), seed), pool);
        let mut y = Activations::new(y_layout, pool);
        layer.forward(&input, &mut y, Keep::ForBackward, pool);
        let mut dy = Activations::from_slice(y_layout, &uniform(out.len(), seed + 1), pool);
        let mut dx = Activations::new(x_layout, pool);
        if exchanged {
            exchange(layer, &mut feedback);
        }
        layer.backward(&input, &y, &mut dy, InputGrad::Overwrite(&mut dx), pool);
        if exchanged {
            exchange(layer, &mut feedback);
        }
        let mut all = snapshot(layer).1;
        layer.visit(&mut |p| p.release_grad());
        all.push(dx.to_vec());
        all
    };
    let exact = gradients(layer, &Pool::new(), false);
    let reference = gradients(layer, &Pool::new(), true);
    let weights = draw(layer, seed + 100);
    attach(layer, Some(&weights));
    for pool in [Pool::new(), Pool::low_memory()] {
        let got = gradients(layer, &pool, false);
        for (i, (got, want)) in got.iter().zip(&reference).enumerate() {
            compare(&format!("{name} with feedback weights, gradient {i}"), got, want);
        }
        assert!(got.last() != exact.last(), "{name}: the input gradient takes no notice of feedback weights");
    }
    attach(layer, None);
}
