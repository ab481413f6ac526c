//! InfoNCE on arrays of one's own, without modules: value, accuracy and gradients for features z (N, L, C) and contexts
//! c (N, L, D), and a predictor that learns by Adam.
//!
//! ```text
//! cargo run --release -p gim-examples --example infonce_alone
//! ```

use gim_core::activations::{Activations, Layout, Shape};
use gim_core::loss::{InfoNce, InfoNceConfig, LocalLoss, LossReport, StepInfo};
use gim_core::optim::{Adam, AdamConfig, Optimizer};
use gim_core::param::Params;
use gim_core::sampler::SamplerKind;
use gim_core::testing::uniform;
use gim_core::{Key, Pool, Purpose, Result};
use ndarray::{Array3, Axis, s};

const SEQUENCES: usize = 8;
const STEPS: usize = 64;
const CHANNELS: usize = 8;
const CONTEXT: usize = 12;
/// Negatives beside each positive.
pub const NEGATIVES: usize = 9;

/// Sequences with structure. Features turn by an angle of their own in each plane, with some noise; contexts are a fixed mixture
/// of the features of their step, with some noise. So c says something of the z to come, and W_k has to undo mixture and turn.
pub fn arrays(seed: u64) -> (Array3<f64>, Array3<f64>) {
    let noise = |n, seed| uniform(n, seed).into_iter();
    let mut fresh = noise(SEQUENCES * STEPS * CHANNELS, seed);
    let mut z = Array3::from_shape_simple_fn((SEQUENCES, STEPS, CHANNELS), || fresh.next().unwrap_or_default());
    for item in 0..SEQUENCES {
        for t in 1..STEPS {
            for plane in 0..CHANNELS / 2 {
                let (sin, cos) = (0.4 * (plane + 1) as f64).sin_cos();
                let (a, b) = (z[[item, t - 1, 2 * plane]], z[[item, t - 1, 2 * plane + 1]]);
                z[[item, t, 2 * plane]] = 0.95 * (cos * a - sin * b) + 0.3 * z[[item, t, 2 * plane]];
                z[[item, t, 2 * plane + 1]] = 0.95 * (sin * a + cos * b) + 0.3 * z[[item, t, 2 * plane + 1]];
            }
        }
    }
    let mix = uniform(CHANNELS * CONTEXT, 1);
    let mut fresh = noise(SEQUENCES * STEPS * CONTEXT, seed + 1);
    let c = Array3::from_shape_fn((SEQUENCES, STEPS, CONTEXT), |(item, t, d)| {
        let mixed: f64 = (0..CHANNELS).map(|i| mix[i * CONTEXT + d] * z[[item, t, i]]).sum();
        mixed + 0.1 * fresh.next().unwrap_or_default()
    });
    (z, c)
}

/// An array as activations: sequences are grids of one column.
fn activations(x: &Array3<f64>, pool: &Pool<f64>) -> Activations<f64> {
    let grid = x.view().insert_axis(Axis(2));
    Activations::from_array(Layout::dense(Shape::of(&grid)), grid, pool)
}

/// Value and accuracy, ∂loss/∂z and ∂loss/∂c. The predictor's gradient is added to, where one is attached.
pub fn value_and_grad(
    loss: &mut InfoNce<f64>,
    z: &Array3<f64>,
    c: &Array3<f64>,
    step: u64,
    pool: &Pool<f64>,
) -> Result<(LossReport, Array3<f64>, Array3<f64>)> {
    let (z, c) = (activations(z, pool), activations(c, pool));
    loss.check(z.shape(), Some(c.shape()))?;
    let (mut dz, mut dc) = (Activations::new(z.layout(), pool), Activations::new(c.layout(), pool));
    // Negatives are a function of seed and step.
    let step = StepInfo { seed: 0, step, module: 1, labels: &[] };
    let report = loss.value_and_grad(&z, Some(&c), step, Some(&mut dz), Some(&mut dc), pool);
    let array = |a: &Activations<f64>| a.view().index_axis(Axis(2), 0).to_owned();
    Ok((report, array(&dz), array(&dc)))
}

/// What the program shows, all on arrays that the predictor has not learned from.
#[derive(Debug)]
pub struct Outcome {
    /// With the initial predictor.
    pub before: LossReport,
    /// After learning.
    pub after: LossReport,
    /// After learning, with the contexts of other sequences: nothing to know, hence an accuracy near chance.
    pub mismatched: LossReport,
}

/// Sixty steps of Adam on the predictor.
pub fn run() -> Result<Outcome> {
    let pool = Pool::new();
    let config = InfoNceConfig {
        channels: CHANNELS,
        context: CONTEXT,
        prediction_steps: 3,
        negatives: NEGATIVES,
        window: None,
        ..InfoNceConfig::default()
    };
    let mut loss = InfoNce::new(config, SamplerKind::Others.build(), Key::new(0, Purpose::Init))?;
    let mut optimizer = Adam::new(AdamConfig { lr: 0.05, ..AdamConfig::default() })?;
    let (z, c) = arrays(10);
    let (z_new, c_new) = arrays(20);
    let on_new = |loss: &mut InfoNce<f64>, c: &Array3<f64>| -> Result<LossReport> {
        loss.visit(&mut |p| p.attach_grad(&pool));
        let report = value_and_grad(loss, &z_new, c, 1000, &pool)?.0;
        loss.visit(&mut |p| p.release_grad());
        Ok(report)
    };
    let before = on_new(&mut loss, &c_new)?;
    for step in 0..60 {
        // Attaching sets a gradient to zero; from then on it is added to.
        loss.visit(&mut |p| p.attach_grad(&pool));
        value_and_grad(&mut loss, &z, &c, step, &pool)?;
        optimizer.update(&mut loss);
    }
    let after = on_new(&mut loss, &c_new)?;
    let mismatched = on_new(&mut loss, &c_new.slice(s![..;-1, .., ..]).to_owned())?;
    Ok(Outcome { before, after, mismatched })
}

fn main() -> Result<()> {
    let Outcome { before, after, mismatched } = run()?;
    let n = (NEGATIVES + 1) as f64;
    println!("chance                    loss {:.3}  accuracy {:.3}", n.ln(), 1.0 / n);
    for (name, r) in [("before learning", before), ("after learning", after), ("contexts of others", mismatched)] {
        println!("{name:<25} loss {:.3}  accuracy {:.3}", r.loss, r.accuracy);
    }
    Ok(())
}
