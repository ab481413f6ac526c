//! Runs the examples, and checks what they add.

#![allow(clippy::unwrap_used)] // A failure should stop a test.
#![allow(dead_code, reason = "the examples' `main` and what only it prints")]

use gim_core::activations::{Activations, Layout, Shape};
use gim_core::layers::Itemwise;
use gim_core::loss::{InfoNce, InfoNceConfig, LocalLoss, StepInfo};
use gim_core::module::Mode;
use gim_core::param::Params;
use gim_core::sampler::SamplerKind;
use gim_core::testing::{check_layer, check_loss};
use gim_core::{Key, Pool, Purpose};
use ndarray::Array3;

#[path = "../clapp_loss.rs"]
pub mod clapp_loss;
#[path = "../infonce_alone.rs"]
pub mod infonce_alone;
#[path = "../new_block.rs"]
pub mod new_block;

const KEY: Key = Key { seed: 3, purpose: Purpose::Init, module: 1, epoch: 0, step: 0, item: 0 };
const STEP: StepInfo<'static> = StepInfo { seed: 5, step: 3, module: 2, labels: &[] };

#[test]
fn clapp_loss_gradients() {
    let z = Shape { batch: 3, height: 5, width: 2, channels: 4 };
    check_loss(&mut clapp_loss::ClappLoss::new(4, 4, 2, KEY), z, None, STEP);
    check_loss(&mut clapp_loss::ClappLoss::new(4, 3, 2, KEY), z, Some(z.with_channels(3)), STEP);
}

/// A hinge must not swallow NaN, or a module that diverges would continue.
#[test]
fn clapp_loss_shows_what_is_not_finite() {
    let pool = Pool::new();
    let mut loss = clapp_loss::ClappLoss::new(1, 1, 1, KEY);
    loss.visit(&mut |p| p.attach_grad(&pool));
    let z = Activations::from_slice(Layout::dense(Shape::sequence(2, 2, 1)), &[1.0, f64::NAN, 1.0, 1.0], &pool);
    assert!(loss.value_and_grad(&z, None, STEP, None, None, &pool).loss.is_nan());
}

#[test]
fn clapp_loss_falls_in_every_module() {
    for (m, [first, last]) in clapp_loss::run().unwrap().into_iter().enumerate() {
        println!("module {}: {first:.4} → {last:.4}", m + 1);
        assert!(last < 0.95 * first, "module {}: {first} → {last}", m + 1);
    }
}

/// A loss from outside is as isolated as those inside: bit for bit, a module does not feel what lies above it.
#[test]
fn clapp_modules_are_isolated() {
    let (alone, below) = (clapp_loss::train(&[Mode::Train], 5), clapp_loss::train(&[Mode::Train; 3], 5));
    assert_eq!(alone.unwrap()[0], below.unwrap()[0]);
}

#[test]
fn new_block_gradients() {
    // Chunks of two items, so that sums over chunks are checked too; one thread, so that scratch is counted exactly.
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    one.install(|| {
        let block = Box::new(new_block::GainBlock::new(3, KEY).unwrap());
        let x = Shape { batch: 5, height: 4, width: 3, channels: 3 };
        check_layer(&mut Itemwise::new(vec![block]).with_chunk(2), x, 7);
    });
}

#[test]
fn new_block_learns_in_every_module() {
    for (m, [first, last]) in new_block::run().unwrap().into_iter().enumerate() {
        println!("module {}: {first:.4} → {last:.4}", m + 1);
        assert!(last < 0.95 * first, "module {}: {first} → {last}", m + 1);
    }
}

#[test]
fn infonce_alone_beats_chance_where_there_is_structure() {
    let o = infonce_alone::run().unwrap();
    println!("{o:?}");
    let n = (infonce_alone::NEGATIVES + 1) as f64;
    assert!(o.after.loss < o.before.loss && o.after.loss < 0.7 * n.ln(), "{o:?}");
    assert!(o.after.accuracy > 4.0 / n, "{o:?}");
    assert!(o.mismatched.accuracy < 2.0 / n && o.mismatched.loss > n.ln(), "{o:?}");
}

/// The gradient that is handed out is that of the value, at a few entries.
#[test]
fn infonce_alone_gradients_are_those_of_the_arrays() {
    let pool = Pool::new();
    let config = InfoNceConfig {
        channels: 8,
        context: 12,
        prediction_steps: 2,
        negatives: 4,
        window: None,
        ..InfoNceConfig::default()
    };
    let mut loss = InfoNce::new(config, SamplerKind::Others.build(), KEY).unwrap();
    loss.visit(&mut |p| p.attach_grad(&pool));
    let mut run = |arrays: &[Array3<f64>; 2]| {
        let (report, dz, dc) = infonce_alone::value_and_grad(&mut loss, &arrays[0], &arrays[1], 0, &pool).unwrap();
        (report.loss, [dz, dc])
    };
    let mut arrays: [Array3<f64>; 2] = infonce_alone::arrays(4).into();
    let grads = run(&arrays).1;
    for (which, at) in [(0, [0, 1, 0]), (0, [3, 20, 5]), (0, [7, 63, 7]), (1, [0, 0, 0]), (1, [7, 60, 11])] {
        let mut nudged = |by: f64| {
            arrays[which][at] += by;
            run(&arrays).0
        };
        let (up, down) = (nudged(1e-5), nudged(-2e-5));
        nudged(1e-5);
        let (got, want) = (grads[which][at], (up - down) / 2e-5);
        assert!((got - want).abs() < 1e-9, "array {which} at {at:?}: {got} against {want}");
    }
}
