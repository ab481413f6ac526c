//! What a stack shows of its modules: features, and outputs of the layers inside.

use std::sync::Arc;

use gim_core::activations::{Activations, Detached, Layout, Shape};
use gim_core::layers::{Keep, Layer, Sequential};
use gim_core::link::Packet;
use gim_core::loss::{InfoNce, InfoNceConfig};
use gim_core::module::{LocalModule, Mode, Module, Parts};
use gim_core::optim::OptimizerConfig;
use gim_core::sampler::SamplerKind;
use gim_core::schedule::step_in_turn;
use gim_core::stack::Stack;
use gim_core::testing::{Linear, uniform};
use gim_core::{Key, Pool, Purpose};

const SEED: u64 = 4;

fn linear(in_channels: usize, out_channels: usize, item: u32) -> Box<dyn Layer<f64>> {
    Box::new(Linear::new(in_channels, out_channels, Key::new(SEED, Purpose::Init).with_item(item)))
}

/// A module with layers of these channels, the first being the input's, and a context network.
fn module(number: usize, channels: &[usize], context: Option<usize>, pool: &Pool<f64>) -> Box<dyn Module<f64>> {
    let layers = (0..).zip(channels.windows(2)).map(|(i, c)| linear(c[0], c[1], 10 * number as u32 + i));
    let top = channels[channels.len() - 1];
    let config = InfoNceConfig {
        channels: top,
        context: context.unwrap_or(top),
        prediction_steps: 2,
        negatives: 3,
        window: None,
        ..InfoNceConfig::default()
    };
    let parts = Parts {
        encoder: Sequential::new(layers),
        readout: None,
        context: context.map(|c| linear(top, c, 99)),
        loss: Box::new(InfoNce::new(config, SamplerKind::Others.build(), Key::new(SEED, Purpose::Init)).unwrap()),
        optimizer: OptimizerConfig::default().build().unwrap(),
    };
    Box::new(LocalModule::new(number, parts, pool.clone()))
}

fn batch(stack: &Stack<f64>, pool: &Pool<f64>) -> (Arc<[Layout]>, Detached<f64>) {
    let shape = Shape::sequence(2, 6, 3);
    let layouts = stack.layouts(shape).unwrap();
    let x = Activations::from_slice(layouts[0], &uniform(shape.len(), 1), pool).detach();
    (layouts, x)
}

/// (module, layer, values) in the order of the visits.
type Visits = Vec<(usize, Option<(usize, String)>, Vec<f64>)>;

fn visits(stack: &mut Stack<f64>, layouts: &[Layout], x: &Detached<f64>, mode: Mode) -> Visits {
    let mut seen = Vec::new();
    stack.visit_features(x.clone(), layouts, mode, |v| seen.push((v.module, v.layer, v.features.to_vec())));
    seen
}

#[test]
fn features_are_the_same_in_training_and_evaluation() {
    let pool = Pool::new();
    let modules =
        vec![module(1, &[3, 5, 4], None, &pool), module(2, &[4, 2], Some(3), &pool), module(3, &[2], None, &pool)];
    let mut stack = Stack::new(modules);
    let (layouts, x) = batch(&stack, &pool);
    let mut trained: Visits = Vec::new();
    let mut below = x.clone();
    for (i, module) in stack.modules_mut().iter_mut().enumerate() {
        module.forward(&below, layouts[i + 1], Mode::Train);
        trained.push((i + 1, None, module.features().to_vec()));
        below = module.output();
        module.release();
    }
    pool.poison();
    assert_eq!(visits(&mut stack, &layouts, &x, Mode::Eval), trained);
    assert_eq!(trained[1].2.len(), 2 * 6 * 3, "features of a module with a context network are its contexts");
}

/// An end-to-end module is one with all layers. Probes see each of them.
#[test]
fn inspection_shows_every_layer_of_an_end_to_end_module() {
    let pool = Pool::new();
    let channels = [3, 5, 4, 2];
    let mut stack = Stack::new(vec![module(1, &channels, Some(7), &pool)]);
    let (layouts, x) = batch(&stack, &pool);
    let seen = visits(&mut stack, &layouts, &x, Mode::Inspect);

    let mut want: Visits = Vec::new();
    let mut below = x.to_vec();
    let mut layers: Vec<_> = (0..).zip(channels.windows(2)).map(|(i, c)| (c[0], linear(c[0], c[1], 10 + i))).collect();
    layers.push((2, linear(2, 7, 99)));
    for (at, (in_channels, layer)) in layers.iter_mut().enumerate() {
        let input = Activations::from_slice(Layout::dense(Shape::sequence(2, 6, *in_channels)), &below, &pool);
        let mut output = Activations::new(Layout::dense(layer.output(input.shape()).unwrap()), &pool);
        layer.forward(&input, &mut output, Keep::Nothing, &pool);
        below = output.to_vec();
        want.push((1, Some((at, layer.describe())), below.clone()));
    }
    assert_eq!(seen, want);
    let features = visits(&mut stack, &layouts, &x, Mode::Eval);
    assert_eq!(features.len(), 1);
    assert_eq!(features[0].2, seen[3].2, "the last layer's output and the features");
}

/// Validation gives the losses that training starts from, and leaves parameters and optimizers alone.
#[test]
fn validation_measures_and_changes_nothing() {
    let pool = Pool::new();
    let modules =
        vec![module(1, &[3, 5, 4], None, &pool), module(2, &[4, 2], Some(3), &pool), module(3, &[2], None, &pool)];
    let mut stack = Stack::new(modules);
    let (layouts, x) = batch(&stack, &pool);
    let mut losses = |step: u64, mode: Mode| {
        pool.poison();
        let (mut seen, packet) =
            (Vec::new(), Packet { x: x.clone(), step, labels: Arc::from([]), layouts: layouts.clone() });
        step_in_turn(&mut stack, packet, SEED, &[mode; 3], &mut |r| seen.push((r.module, r.loss))).unwrap();
        seen
    };
    let before = losses(7, Mode::Validate);
    assert_eq!(before.len(), 3);
    assert_eq!(losses(7, Mode::Validate), before);
    assert_ne!(losses(8, Mode::Validate), before, "other draws");
    assert_eq!(losses(7, Mode::Train), before);
    assert_ne!(losses(7, Mode::Validate), before, "other weights");
    assert!(losses(7, Mode::Eval).is_empty());
}

/// Arrays go through the same steps as packets.
#[test]
fn steps_and_features_of_arrays() {
    let pool = Pool::new();
    let stack = || Stack::new(vec![module(1, &[3, 8], None, &pool), module(2, &[8, 4], None, &pool)]);
    let (mut by_arrays, mut by_packets) = (stack(), stack());
    let (layouts, x) = batch(&by_packets, &pool);
    let array = x.view().to_owned();
    for step in 0..3 {
        let reports = by_arrays.step(array.view(), &[], 7, step).unwrap();
        let packet = Packet { x: x.clone(), step, labels: Arc::default(), layouts: layouts.clone() };
        let mut wanted = Vec::new();
        step_in_turn(&mut by_packets, packet, 7, &[Mode::Train; 2], &mut |r| wanted.push(r)).unwrap();
        assert_eq!(reports, wanted);
    }
    let features = by_arrays.features(array.view()).unwrap();
    assert_eq!(features.len(), 2);
    by_packets.visit_features(x, &layouts, Mode::Eval, |view| {
        assert_eq!(features[view.module - 1], view.features.view());
    });
    assert!(by_arrays.step(array.slice(ndarray::s![.., ..1, .., ..]), &[], 7, 3).is_err(), "too short to predict in");
}

#[test]
#[should_panic(expected = "Mode::Eval or Mode::Inspect")]
fn features_are_not_visited_in_training() {
    let pool = Pool::new();
    let mut stack = Stack::new(vec![module(1, &[3, 2], None, &pool)]);
    let (layouts, x) = batch(&stack, &pool);
    visits(&mut stack, &layouts, &x, Mode::Train);
}
