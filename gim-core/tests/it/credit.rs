//! Feedback alignment, and losses that train several modules.

use std::sync::Arc;

use gim_core::activations::{Activations, Layout, Shape};
use gim_core::credit::{CreditAssignment, alignments};
use gim_core::layers::{InputGrad, Keep, Layer, Sequential};
use gim_core::link::Packet;
use gim_core::loss::{CrossEntropy, CrossEntropyConfig, InfoNce, InfoNceConfig, LocalLoss, StepInfo};
use gim_core::module::{LocalModule, Mode, Module, Overlap, Parts};
use gim_core::optim::{OptimizerConfig, OptimizerKind};
use gim_core::param::{Param, Params};
use gim_core::sampler::SamplerKind;
use gim_core::schedule::{ModuleReport, step_in_turn};
use gim_core::stack::Stack;
use gim_core::testing::{Linear, uniform};
use gim_core::{Key, Pool, Purpose, Result, Scalar};

const SEED: u64 = 6;
const CHANNELS: [usize; 4] = [3, 4, 5, 4];
/// Modules of [`parts`]: three encoders, and a context network alone.
const MODULES: usize = 4;

fn linear<F: Scalar>(in_channels: usize, out_channels: usize, key: Key, item: u32) -> Box<dyn Layer<F>> {
    Box::new(Linear::new(in_channels, out_channels, key.with_item(item)))
}

/// Parts of module number `number`. The first has two layers, the second a context network of its own, and the
/// last no layers but a context network. Updates are steps by the gradient itself.
fn parts<F: Scalar>(number: usize, key: Key) -> Parts<F> {
    let (from, to) = (CHANNELS[(number - 1).min(3)], CHANNELS[number.min(3)]);
    let context = [None, Some(3), None, Some(2)][number - 1];
    let item = 10 * number as u32;
    let encoder: Vec<Box<dyn Layer<F>>> = match number {
        1 => vec![linear(from, 6, key, item), linear(6, to, key, item + 1)],
        2 | 3 => vec![linear(from, to, key, item)],
        _ => Vec::new(),
    };
    let config = InfoNceConfig {
        channels: to,
        context: context.unwrap_or(to),
        prediction_steps: 2,
        negatives: 3,
        window: None,
        ..InfoNceConfig::default()
    };
    let optimizer = OptimizerConfig { kind: OptimizerKind::Sgd, lr: 1.0, momentum: 0.0, ..Default::default() };
    Parts {
        encoder: Sequential::new(encoder),
        readout: None,
        context: context.map(|c| linear(to, c, key, item + 2)),
        loss: Box::new(InfoNce::new(config, SamplerKind::Others.build(), key.with_item(item + 3)).unwrap()),
        optimizer: optimizer.build().unwrap(),
    }
}

/// The stack in which each loss trains `modules_per_loss` modules.
fn overlapping<F: Scalar>(modules_per_loss: usize, pool: &Pool<F>) -> Stack<F> {
    let overlap = Overlap { modules_per_loss, n_modules: MODULES };
    let key = Key::new(SEED, Purpose::Init);
    Stack::new((1..=MODULES).map(|n| overlap.module(n, parts(n, key), pool.clone()).unwrap()).collect())
}

fn packet<F: Scalar>(stack: &Stack<F>, step: u64, pool: &Pool<F>) -> Packet<F> {
    let shape = Shape::sequence(2, 6, CHANNELS[0]);
    let layouts: Arc<[Layout]> = stack.layouts(shape).unwrap();
    let values: Vec<F> = uniform(shape.len(), step).into_iter().map(F::of).collect();
    let x = Activations::from_slice(layouts[0], &values, pool).detach();
    Packet { x, step, labels: [].into(), layouts }
}

fn step<F: Scalar>(stack: &mut Stack<F>, number: u64, pool: &Pool<F>) -> Result<Vec<ModuleReport>> {
    let (packet, mut reports) = (packet(stack, number, pool), Vec::new());
    step_in_turn(stack, packet, SEED, &[Mode::Train; MODULES], &mut |r| reports.push(r))?;
    Ok(reports)
}

/// Losses of all modules, without a training step.
fn losses(stack: &mut Stack<f64>, pool: &Pool<f64>) -> Vec<f64> {
    let (packet, mut losses) = (packet(stack, 0, pool), Vec::new());
    step_in_turn(stack, packet, SEED, &[Mode::Validate; MODULES], &mut |r| losses.push(r.loss.loss)).unwrap();
    losses
}

fn values<F: Scalar>(stack: &mut Stack<F>) -> Vec<Vec<F>> {
    let mut all = Vec::new();
    stack.modules_mut().iter_mut().for_each(|m| m.params().visit(&mut |p| all.push(p.value.clone())));
    all
}

/// Central differences of the sum of some losses by the value number `entry` of parameter number `which` of a module.
fn difference(stack: &mut Stack<f64>, at: (usize, usize, usize), of: std::ops::Range<usize>, pool: &Pool<f64>) -> f64 {
    const H: f64 = 1e-5;
    let (module, which, entry) = at;
    let mut moved = |by: f64| {
        let mut i = 0;
        stack.modules_mut()[module].params().visit(&mut |p| {
            if i == which {
                p.value[entry] += by;
            }
            i += 1;
        });
        losses(stack, pool)[of.clone()].iter().sum::<f64>()
    };
    let up = moved(H);
    let down = moved(-2.0 * H);
    moved(H);
    (up - down) / (2.0 * H)
}

/// The update of a module is the gradient of the sum of its loss and of the n − 1 above it.
#[test]
fn each_loss_trains_so_many_modules() {
    let pool = Pool::new();
    for n in 1..=MODULES + 1 {
        let mut stack = overlapping::<f64>(n, &pool);
        let mut trained = overlapping::<f64>(n, &pool);
        let before = losses(&mut stack, &pool);
        let reports = step(&mut trained, 0, &pool).unwrap();
        assert_eq!(reports.iter().map(|r| r.module).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(reports.iter().map(|r| r.loss.loss).collect::<Vec<_>>(), before);
        for module in 0..MODULES {
            let mut after = Vec::new();
            trained.modules_mut()[module].params().visit(&mut |p| after.push(p.value.clone()));
            let mut start = Vec::new();
            stack.modules_mut()[module].params().visit(&mut |p| start.push(p.value.clone()));
            for (which, (start, after)) in start.iter().zip(&after).enumerate() {
                for (entry, (w, now)) in start.iter().zip(after).enumerate() {
                    let losses = module..MODULES.min(module + n);
                    let want = difference(&mut stack, (module, which, entry), losses, &pool);
                    let got = w - now;
                    let what = format!("{n} modules a loss: module {}, {which}[{entry}]", module + 1);
                    assert!((got - want).abs() < 1e-6 * want.abs().max(0.1), "{what}: {got}, not {want}");
                }
            }
        }
    }
}

/// With one module a loss, a chain of modules that share losses has the bits of isolated ones. With two, it has not.
#[test]
fn one_module_a_loss_is_isolation() {
    fn after<F: Scalar>(n: usize, open: bool) -> Vec<Vec<F>> {
        let pool = Pool::new();
        let key = Key::new(SEED, Purpose::Init);
        let overlap = Overlap { modules_per_loss: n, n_modules: MODULES };
        let module = |number: usize| -> Box<dyn Module<F>> {
            match open {
                true => Box::new(overlap.open(number, parts(number, key), pool.clone()).unwrap()),
                false => Box::new(LocalModule::new(number, parts(number, key), pool.clone())),
            }
        };
        let mut stack = Stack::new((1..=MODULES).map(module).collect());
        (0..3).for_each(|number| drop(step(&mut stack, number, &pool).unwrap()));
        values(&mut stack)
    }
    assert_eq!(after::<f32>(1, true), after::<f32>(1, false));
    let (two, one) = (after::<f32>(2, true), after::<f32>(1, false));
    assert!(two[0] != one[0], "the first module takes no notice of the second loss");
}

#[test]
fn shared_losses_give_the_same_bits_on_any_threads_and_allocate_nothing() {
    let on = |threads: usize| {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        threads.install(|| {
            let pool = Pool::<f32>::new();
            let mut stack = overlapping(2, &pool);
            (0..2).for_each(|number| drop(step(&mut stack, number, &pool).unwrap()));
            let warm = pool.allocated();
            (2..4).for_each(|number| drop(step(&mut stack, number, &pool).unwrap()));
            assert_eq!(pool.allocated(), warm, "a warm step makes buffers");
            values(&mut stack)
        })
    };
    assert_eq!(on(1), on(3));
}

/// A loss that diverges changes no module, and the next step finds nothing of it.
#[test]
fn divergence_leaves_all_modules_as_they_were() {
    let pool = Pool::<f64>::new();
    let mut stack = overlapping(2, &pool);
    let spoil = |stack: &mut Stack<f64>, by: f64| {
        stack.modules_mut()[2].params().visit(&mut |p| {
            if p.name.contains("predictor") {
                p.value.iter_mut().for_each(|w| *w *= by);
            }
        });
    };
    spoil(&mut stack, 1e9);
    let before = values(&mut stack);
    let said = step(&mut stack, 0, &pool).unwrap_err().to_string();
    assert!(said.contains("module 3") && values(&mut stack) == before, "{said}");
    spoil(&mut stack, 1e-9);
    step(&mut stack, 0, &pool).unwrap();
}

#[test]
#[should_panic(expected = "does not train alone")]
fn a_module_that_shares_losses_does_not_train_alone() {
    let pool = Pool::<f32>::new();
    let mut stack = overlapping(2, &pool);
    let Packet { x, layouts, .. } = packet(&stack, 0, &pool);
    let module = &mut stack.modules_mut()[0];
    module.forward(&x, layouts[1], Mode::Train);
    let _ = module.train(&x, StepInfo { seed: SEED, step: 0, module: 1, labels: &[] });
}

#[test]
#[should_panic(expected = "train together")]
fn modules_that_share_losses_train_together() {
    let pool = Pool::<f32>::new();
    let mut stack = overlapping(2, &pool);
    let packet = packet(&stack, 0, &pool);
    let _ = step_in_turn(&mut stack, packet, SEED, &[Mode::Eval, Mode::Train], &mut |_| {});
}

/// A stack of isolated modules with this rule.
fn with_credit(credit: CreditAssignment, pool: &Pool<f64>) -> Stack<f64> {
    let module =
        |number, key| -> Box<dyn Module<f64>> { Box::new(LocalModule::new(number, parts(number, key), pool.clone())) };
    credit
        .build(|purpose| {
            let key = Key::new(SEED, purpose);
            Ok(Stack::new((1..=MODULES).map(|number| module(number, key)).collect()))
        })
        .unwrap()
}

/// Feedback weights are drawn for all weights, for themselves, and leave the initial weights and the loss as they are.
/// What a first step changes in a module is what errors reach through them.
#[test]
fn feedback_weights_change_what_is_below_them() {
    let pool = Pool::new();
    let [mut exact, mut aligned] =
        [CreditAssignment::Backpropagation, CreditAssignment::FeedbackAlignment].map(|c| with_credit(c, &pool));
    assert_eq!(values(&mut exact), values(&mut aligned));
    assert!(alignments(&mut exact).is_empty());
    let angles = alignments(&mut aligned);
    assert_eq!(angles.len(), values(&mut aligned).len(), "every weight here is one that errors go through");
    assert!(angles.iter().all(|a| a.degrees > 30.0 && a.degrees < 150.0), "{angles:?}");
    for (exact, aligned) in step(&mut exact, 0, &pool).unwrap().iter().zip(step(&mut aligned, 0, &pool).unwrap()) {
        assert_eq!(exact.loss, aligned.loss);
    }
    let same: Vec<bool> = values(&mut exact).iter().zip(values(&mut aligned)).map(|(a, b)| *a == b).collect();
    // By module: layers, context network, predictor. No error comes to a predictor through other weights.
    let want = [&[false, false, true][..], &[false, false, true], &[false, true], &[false, true]].concat();
    assert_eq!(same, want);
    // Further on they differ.
    (1..3).for_each(|number| drop((step(&mut exact, number, &pool), step(&mut aligned, number, &pool))));
    assert!(values(&mut exact).iter().zip(values(&mut aligned)).all(|(a, b)| *a != b));
}

/// Gradient of the features by a loss whose transported weights have `scale` times their values as feedback
/// weights; `None` for no feedback weights.
fn by_features(loss: &mut dyn LocalLoss<f64>, scale: Option<f64>, labels: &[i32]) -> (f64, Vec<f64>) {
    let (pool, shape) = (Pool::new(), Shape::sequence(2, 6, 4));
    loss.visit(&mut |p| {
        if p.is_transported() {
            p.set_feedback(scale.map(|s| p.value.iter().map(|w| s * w).collect()));
        }
        p.attach_grad(&pool);
    });
    let z = Activations::from_slice(Layout::dense(shape), &uniform(shape.len(), 3), &pool);
    let mut dz = Activations::new(Layout::dense(shape), &pool);
    let step = StepInfo { seed: 1, step: 0, module: 1, labels };
    let loss = loss.value_and_grad(&z, None, step, Some(&mut dz), None, &pool).loss;
    (loss, dz.to_vec())
}

/// The gradient of the features is a part that no weight carries, and one that is linear in the feedback weights.
#[test]
fn losses_pass_errors_through_feedback_weights() {
    // With labels, and whether weights alone carry the error.
    type Case<'a> = (Box<dyn LocalLoss<f64>>, &'a [i32], bool);
    let key = Key::new(SEED, Purpose::Init);
    let config = CrossEntropyConfig { channels: 4, classes: 3, bins: Some(2) };
    let infonce = InfoNceConfig { channels: 4, context: 4, prediction_steps: 2, negatives: 3, ..Default::default() };
    let losses: [Case<'_>; 2] = [
        (Box::new(CrossEntropy::new(config, key).unwrap()), &[0, 1, 2, 1], true),
        (Box::new(InfoNce::new(infonce, SamplerKind::Others.build(), key).unwrap()), &[], false),
    ];
    for (mut loss, labels, by_weights_alone) in losses {
        let name = loss.describe();
        let mut of = |scale| by_features(&mut *loss, scale, labels);
        let (plain, none, own, twice) = (of(None), of(Some(0.0)), of(Some(1.0)), of(Some(2.0)));
        assert_eq!(plain, own, "{name}: feedback weights that are the weights");
        assert_eq!(plain.0, twice.0, "{name}: the loss");
        assert_eq!(none.1.iter().all(|d| *d == 0.0), by_weights_alone, "{name}");
        assert!(plain.1 != none.1, "{name}");
        for ((none, own), twice) in none.1.iter().zip(&own.1).zip(&twice.1) {
            assert!((twice - none - 2.0 * (own - none)).abs() < 1e-12, "{name}: {none} {own} {twice}");
        }
    }
}

/// Feedback alignment across modules that share losses: errors that come from above take feedback weights, too.
#[test]
fn feedback_and_shared_losses_go_together() {
    let pool = Pool::<f64>::new();
    let overlap = Overlap { modules_per_loss: 2, n_modules: MODULES };
    let build = |credit: CreditAssignment| {
        let draw = |purpose| {
            let modules = (1..=MODULES).map(|n| overlap.module(n, parts(n, Key::new(SEED, purpose)), pool.clone()));
            Ok(Stack::new(modules.collect::<Result<_>>()?))
        };
        let mut stack = credit.build(draw).unwrap();
        step(&mut stack, 0, &pool).unwrap();
        values(&mut stack)
    };
    let (exact, aligned) = (build(CreditAssignment::Backpropagation), build(CreditAssignment::FeedbackAlignment));
    assert!(exact[0] != aligned[0]);
}

/// A linear network learns four classes by feedback alignment, and its weights turn towards the feedback weights, the
/// classifier's the most. Those of the first layer, which hand nothing down, do not have to.
#[test]
fn weights_turn_towards_feedback_weights() {
    let pool = Pool::<f64>::new();
    let draw = |purpose| {
        let key = Key::new(SEED, purpose);
        let layers = [(8, 16), (16, 16)].into_iter().zip(0..).map(|((i, o), item)| linear::<f64>(i, o, key, item));
        let classifier = CrossEntropyConfig { channels: 16, classes: 4, bins: Some(1) };
        let optimizer = OptimizerConfig { kind: OptimizerKind::Sgd, lr: 0.5, momentum: 0.0, ..Default::default() };
        let parts = Parts {
            encoder: Sequential::new(layers),
            readout: None,
            context: None,
            loss: Box::new(CrossEntropy::new(classifier, key.with_item(9))?),
            optimizer: optimizer.build()?,
        };
        Ok(Stack::new(vec![Box::new(LocalModule::new(1, parts, pool.clone())) as Box<dyn Module<f64>>]))
    };
    let mut stack = CreditAssignment::FeedbackAlignment.build(draw).unwrap();
    let before = alignments(&mut stack);
    let labels: Vec<i32> = (0..16).map(|item| item % 4).collect();
    let means = uniform(4 * 8, 1);
    let mut last = f64::NAN;
    for step in 0..300 {
        let noise = uniform(16 * 8, 100 + step);
        let of = |i: usize| means[labels[i / 8] as usize * 8 + i % 8] + 0.3 * noise[i];
        let x = ndarray::Array4::from_shape_vec((16, 1, 1, 8), (0..16 * 8).map(of).collect()).unwrap();
        last = stack.step(x.view(), &labels, SEED, step).unwrap()[0].loss.loss;
    }
    let after = alignments(&mut stack);
    assert!(last < 0.2, "{last}");
    assert!(after[1].degrees < before[1].degrees - 4.0, "{before:?} {after:?}");
    assert!(after[2].degrees < 65.0, "{before:?} {after:?}");
}

/// Direct feedback by its definition, on linear layers: ∂W_i = (B_i e)ᵀ x_i, the last layer's with e itself. The
/// error of the input is that of the first layer.
#[test]
fn direct_feedback_by_definition() {
    let pool = Pool::<f64>::new();
    let (key, feedback) = (Key::new(SEED, Purpose::Init), Key::new(SEED, Purpose::Feedback).with_item(7));
    let widths = [3, 5, 4, 2];
    let mut chain = Sequential::<f64>::new((0..3).map(|i| linear::<f64>(widths[i], widths[i + 1], key, i as u32)));
    chain.set_direct_feedback(feedback);
    chain.visit(&mut |p| p.attach_grad(&pool));
    let shape = Shape::sequence(2, 3, widths[0]);
    let dense = |channels: usize, seed| {
        let shape = shape.with_channels(channels);
        Activations::from_slice(Layout::dense(shape), &uniform(shape.len(), seed), &pool)
    };
    let (x, e) = (dense(3, 1), dense(2, 2));
    let mut z = dense(2, 3);
    chain.forward(&x, &mut z, Keep::ForBackward, &pool);
    let array = |values: &[f64], columns: usize| {
        ndarray::Array2::from_shape_vec((values.len() / columns, columns), values.to_vec()).unwrap()
    };
    let mut weights = Vec::new();
    chain.visit(&mut |p| weights.push(array(&p.value, p.shape[1])));
    let error = array(&e.to_vec(), 2);
    let mut inputs = vec![array(&x.to_vec(), 3)];
    inputs.extend(chain.hidden().iter().map(|h| array(&h.to_vec(), h.shape().channels)));
    let (mut dz, mut dx) = (dense(2, 2), dense(3, 4));
    chain.backward(&x, &z, &mut dz, InputGrad::Overwrite(&mut dx), &pool);
    let mut grads = Vec::new();
    chain.visit(&mut |p| grads.push(array(p.grad(), p.shape[1])));
    let at = |layer: usize| match layer {
        2 => error.clone(),
        _ => {
            let key = feedback.with_item(feedback.item + layer as u32);
            let bound = 1.0 / 2.0_f64.sqrt();
            let b = Param::<f64>::uniform("b", &[widths[layer + 1], 2], bound, key).value;
            error.dot(&array(&b, 2).t())
        }
    };
    let near = |a: &ndarray::Array2<f64>, b: &ndarray::Array2<f64>| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
    for (layer, got) in grads.iter().enumerate() {
        assert!(near(got, &at(layer).t().dot(&inputs[layer])), "layer {layer}");
    }
    assert!(near(&array(&dx.to_vec(), 3), &at(0).dot(&weights[0])));
}

/// Angles are those of vectors: of a weight with itself, with its negative, and with an orthogonal one.
#[test]
fn angles_of_feedback_weights() {
    let mut layer = Linear::<f64>::new(2, 2, Key::new(1, Purpose::Init));
    let mut angle = |feedback: Option<[f64; 4]>| {
        let mut angle = None;
        layer.visit(&mut |p| {
            p.value.copy_from_slice(&[3.0, 0.0, 0.0, 4.0]);
            p.set_feedback(feedback.map(|f| f.to_vec()));
            angle = p.feedback_angle();
        });
        angle
    };
    assert_eq!(angle(None), None);
    let near = |got: Option<f64>, want: f64| assert!((got.unwrap() - want).abs() < 1e-6, "{got:?}, not {want}");
    near(angle(Some([6.0, 0.0, 0.0, 8.0])), 0.0);
    near(angle(Some([-3.0, 0.0, 0.0, -4.0])), 180.0);
    near(angle(Some([0.0, 5.0, 1.0, 0.0])), 90.0);
    near(angle(Some([1.0, 0.0, 0.0, 0.0])), (3.0_f64 / 5.0).acos().to_degrees());
    assert!(angle(Some([0.0; 4])).unwrap().is_nan());
}
