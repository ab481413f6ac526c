//! Feedback alignment and shared losses in the networks for images.

use gim_core::activations::{Activations, Shape};
use gim_core::credit::{CreditAssignment, alignments};
use gim_core::link::Packet;
use gim_core::module::Mode;
use gim_core::optim::{OptimizerConfig, OptimizerKind};
use gim_core::schedule::step_in_turn;
use gim_core::stack::Stack;
use gim_core::testing::uniform;
use gim_core::{Pool, Scalar};
use gim_vision::network::{EncoderKind, LossConfig, NetworkConfig, NetworkKind, ReadoutKind};

const SIDE: usize = 12;
const MODULES: usize = 3;

/// Residual blocks on patches, whose readout is a mean.
fn residual() -> NetworkConfig {
    NetworkConfig {
        blocks: vec![1, 1, 1],
        widths: vec![2, 3, 2],
        patch: 4,
        overlap: 2,
        stem: 3,
        ..NetworkConfig::default()
    }
}

/// Convolutions on whole images, whose map is the output itself.
fn vgg() -> NetworkConfig {
    NetworkConfig {
        encoder: EncoderKind::Vgg,
        widths: vec![3, 4, 3],
        pools: vec![2],
        patch: SIDE,
        overlap: 0,
        readout: ReadoutKind::Map,
        ..NetworkConfig::default()
    }
}

/// Updates are steps by the gradient itself.
fn build<F: Scalar>(network: &NetworkConfig, pool: &Pool<F>) -> Stack<F> {
    let loss = LossConfig { prediction_steps: 2, negatives: 3, ..LossConfig::default() };
    let optimizer = OptimizerConfig { kind: OptimizerKind::Sgd, lr: 1.0, momentum: 0.0, ..Default::default() };
    network.build(SIDE, 1, &loss, None, &optimizer, 1, pool).unwrap()
}

/// Losses of all modules on one batch.
fn run<F: Scalar>(network: &NetworkConfig, stack: &mut Stack<F>, mode: Mode, step: u64, pool: &Pool<F>) -> Vec<f64> {
    let images = Shape { batch: 2, height: SIDE, width: SIDE, channels: 1 };
    let patches = network.patches().unwrap();
    let layouts = stack.layouts(patches.shape(images)).unwrap();
    let pixels: Vec<F> = uniform(images.len(), step).into_iter().map(F::of).collect();
    let x: Activations<F> = patches.cut(&pixels, images, layouts[0], pool);
    let packet = Packet { x: x.detach(), step, labels: [].into(), layouts };
    let (modes, mut losses) = (vec![mode; stack.modules().len()], Vec::new());
    step_in_turn(stack, packet, 1, &modes, &mut |r| losses.push(r.loss.loss)).unwrap();
    losses
}

fn values<F: Scalar>(stack: &mut Stack<F>, module: usize) -> Vec<Vec<F>> {
    let mut all = Vec::new();
    stack.modules_mut()[module].params().visit(&mut |p| all.push(p.value.clone()));
    all
}

fn nudge(stack: &mut Stack<f64>, module: usize, which: usize, entry: usize, by: f64) {
    let mut at = 0;
    stack.modules_mut()[module].params().visit(&mut |p| {
        if at == which {
            p.value[entry] += by;
        }
        at += 1;
    });
}

/// The update of a module is the gradient of the losses that train it, with a readout and without one.
#[test]
fn shared_losses_by_finite_differences() {
    const H: f64 = 1e-6;
    for network in [residual(), vgg()] {
        for n in [2, 3] {
            let network = NetworkConfig { modules_per_loss: n, ..network.clone() };
            let pool = Pool::<f64>::new();
            let (mut stack, mut trained) = (build(&network, &pool), build(&network, &pool));
            run(&network, &mut trained, Mode::Train, 0, &pool);
            for module in 0..MODULES {
                let (start, after) = (values(&mut stack, module), values(&mut trained, module));
                for (which, (start, after)) in start.iter().zip(&after).enumerate() {
                    let entry = start.len() / 2;
                    let mut losses = |by: f64| {
                        nudge(&mut stack, module, which, entry, by);
                        let losses = run(&network, &mut stack, Mode::Validate, 0, &pool);
                        nudge(&mut stack, module, which, entry, -by);
                        losses[module..MODULES.min(module + n)].iter().sum::<f64>()
                    };
                    let want = (losses(H) - losses(-H)) / (2.0 * H);
                    let got = start[entry] - after[entry];
                    let what = format!("{:?}, {n} modules a loss: module {}, {which}", network.encoder, module + 1);
                    assert!((got - want).abs() < 1e-5 * want.abs().max(0.01), "{what}: {got}, not {want}");
                }
            }
        }
    }
}

/// The initial weights do not know of feedback weights, which do not depend on where the network is cut. One module's
/// layers feel them, and every thread count gives the same bits.
#[test]
fn feedback_alignment_within_modules() {
    let aligned = NetworkConfig { credit: CreditAssignment::FeedbackAlignment, ..residual() };
    let (exact, whole) = (residual(), NetworkConfig { kind: NetworkKind::Cpc, context_layers: 1, ..aligned.clone() });
    let pool = Pool::<f32>::new();
    let mut stacks = [&exact, &aligned].map(|network| build(network, &pool));
    for module in 0..MODULES {
        assert_eq!(values(&mut stacks[0], module), values(&mut stacks[1], module));
    }
    let encoders = |stack: &mut Stack<f32>| -> Vec<f64> {
        let angles = alignments(stack).into_iter().filter(|a| a.weight.starts_with("encoder"));
        angles.map(|a| a.degrees).collect()
    };
    let cut = encoders(&mut stacks[1]);
    assert_eq!(cut, encoders(&mut build(&whole, &pool)));
    assert!(cut.len() > 8 && alignments(&mut stacks[0]).is_empty());
    let after = |network: &NetworkConfig, threads: usize| {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        threads.install(|| {
            let pool = Pool::<f32>::new();
            let mut stack = build(network, &pool);
            (0..2).for_each(|step| drop(run(network, &mut stack, Mode::Train, step, &pool)));
            (0..stack.modules().len()).map(|m| values(&mut stack, m)).collect::<Vec<_>>()
        })
    };
    let direct = CreditAssignment::DirectFeedbackAlignment;
    // One module of several stages; a layer of a plain network is a stage.
    let direct =
        [NetworkConfig { credit: direct, ..whole.clone() }, NetworkConfig { credit: direct, cuts: vec![3], ..vgg() }];
    let shared = NetworkConfig { modules_per_loss: 2, ..aligned.clone() };
    for network in [&aligned, &whole, &shared, &direct[0], &direct[1]] {
        let one = after(network, 1);
        assert!(one == after(network, 3), "threads change bits");
        let plain = NetworkConfig { credit: CreditAssignment::Backpropagation, ..network.clone() };
        assert!(one[0] != after(&plain, 1)[0], "feedback weights change nothing");
    }
}
