//! Gradient isolation, and that a bridge across a gradient block does not go unseen.

use gim_audio::network::{LossConfig, NetworkConfig, NetworkKind};
use gim_core::Pool;
use gim_core::activations::{Activations, Shape};
use gim_core::link::Packet;
use gim_core::module::Mode;
use gim_core::optim::OptimizerConfig;
use gim_core::schedule::step_in_turn;
use gim_core::testing::uniform;

const SAMPLES: usize = 5120;

fn network(kind: NetworkKind) -> NetworkConfig {
    NetworkConfig { kind, width: 8, context: 6, ..NetworkConfig::default() }
}

fn weights(stack: &mut gim_core::stack::Stack<f32>) -> Vec<Vec<Vec<f32>>> {
    let of = |m: &mut Box<dyn gim_core::module::Module<f32>>| {
        let mut v = Vec::new();
        m.params().visit(&mut |p| v.push(p.value.clone()));
        v
    };
    stack.modules_mut().iter_mut().map(of).collect()
}

/// Weights of the last convolution after three steps, with the GRU's initial weights scaled.
fn last_convolution(kind: NetworkKind, scale: f32) -> Vec<f32> {
    let pool = Pool::new();
    let mut stack = network(kind).build(&LossConfig::default(), None, &OptimizerConfig::default(), 1, &pool).unwrap();
    let modules = stack.modules().len();
    let last = stack.modules_mut().last_mut().unwrap();
    last.params().visit(&mut |p| {
        if p.name.starts_with("context") {
            p.value.iter_mut().for_each(|v| *v *= scale);
        }
    });
    let layouts = stack.layouts(Shape::sequence(4, SAMPLES, 1)).unwrap();
    for step in 0..3 {
        let waveforms: Vec<f32> = uniform(4 * SAMPLES, step).iter().map(|x| *x as f32).collect();
        let x = Activations::from_slice(layouts[0], &waveforms, &pool).detach();
        let packet = Packet { x, step, labels: [].into(), layouts: layouts.clone() };
        step_in_turn(&mut stack, packet, 1, &vec![Mode::Train; modules], &mut |_| {}).unwrap();
    }
    let mut found = Vec::new();
    stack.modules_mut()[4].params().visit(&mut |p| {
        if p.name == "encoder.0.weight" {
            found.clone_from(&p.value);
        }
    });
    found
}

/// With a gradient block between them, the convolution does not feel the GRU; in `fused-context`
/// the two form one module, the block is bridged, and the same comparison finds the difference.
#[test]
fn a_bridge_is_found_out() {
    assert_eq!(
        last_convolution(NetworkKind::SeparateContext, 1.0),
        last_convolution(NetworkKind::SeparateContext, 1.5)
    );
    assert_ne!(last_convolution(NetworkKind::FusedContext, 1.0), last_convolution(NetworkKind::FusedContext, 1.5));
}

/// Weights of all modules after three steps, when those of module `scaled` (one-based) are half as
/// large again at the start.
fn after_three_steps(scaled: usize) -> Vec<Vec<Vec<f32>>> {
    let pool = Pool::new();
    let config = network(NetworkKind::SeparateContext);
    let mut stack = config.build(&LossConfig::default(), None, &OptimizerConfig::default(), 1, &pool).unwrap();
    if let Some(above) = scaled.checked_sub(1) {
        stack.modules_mut()[above].params().visit(&mut |p| p.value.iter_mut().for_each(|v| *v *= 1.5));
    }
    let layouts = stack.layouts(Shape::sequence(4, SAMPLES, 1)).unwrap();
    for step in 0..3 {
        let waveforms: Vec<f32> = uniform(4 * SAMPLES, step).iter().map(|x| *x as f32).collect();
        let x = Activations::from_slice(layouts[0], &waveforms, &pool).detach();
        let packet = Packet { x, step, labels: [].into(), layouts: layouts.clone() };
        step_in_turn(&mut stack, packet, 1, &[Mode::Train; 6], &mut |_| {}).unwrap();
    }
    weights(&mut stack)
}

/// Every pair of modules, over several steps: a gradient may leak between two convolutions although
/// none comes from the GRU, and it may arrive a step late, when one step alone shows nothing.
#[test]
fn no_module_feels_one_above() {
    let before = after_three_steps(0);
    for scaled in 2..=6 {
        let after = after_three_steps(scaled);
        for below in 1..scaled {
            assert!(before[below - 1] == after[below - 1], "module {below} feels module {scaled}");
        }
        assert!(before[scaled - 1] != after[scaled - 1], "module {scaled} was not changed");
    }
}

/// With two or three modules a loss, one step reaches just so far down: through convolutions, and through the module
/// that is a context network alone.
#[test]
fn a_shared_loss_reaches_so_many_modules() {
    let after_one_step = |modules_per_loss: usize, scaled: usize| {
        let pool = Pool::new();
        let config = NetworkConfig { modules_per_loss, ..network(NetworkKind::SeparateContext) };
        let mut stack = config.build(&LossConfig::default(), None, &OptimizerConfig::default(), 1, &pool).unwrap();
        if let Some(above) = scaled.checked_sub(1) {
            stack.modules_mut()[above].params().visit(&mut |p| p.value.iter_mut().for_each(|v| *v *= 1.5));
        }
        let layouts = stack.layouts(Shape::sequence(4, SAMPLES, 1)).unwrap();
        let waveforms: Vec<f32> = uniform(4 * SAMPLES, 0).iter().map(|x| *x as f32).collect();
        let x = Activations::from_slice(layouts[0], &waveforms, &pool).detach();
        let packet = Packet { x, step: 0, labels: [].into(), layouts };
        step_in_turn(&mut stack, packet, 1, &[Mode::Train; 6], &mut |_| {}).unwrap();
        weights(&mut stack)
    };
    for n in [2, 3] {
        let before = after_one_step(n, 0);
        for scaled in 2..=6 {
            let after = after_one_step(n, scaled);
            for below in 1..scaled {
                let feels = before[below - 1] != after[below - 1];
                assert_eq!(feels, scaled - below < n, "{n} modules a loss: module {below}, module {scaled}");
            }
        }
    }
}

/// Shapes are known before anything is computed, and the last thing to see inside a module is what
/// a probe gets.
#[test]
fn modules_give_what_they_say() {
    for kind in [NetworkKind::SeparateContext, NetworkKind::FusedContext, NetworkKind::Cpc] {
        let pool = Pool::new();
        let mut stack =
            network(kind).build(&LossConfig::default(), None, &OptimizerConfig::default(), 1, &pool).unwrap();
        let layouts = stack.layouts(Shape::sequence(2, SAMPLES, 1)).unwrap();
        let mut x = Activations::from_slice(layouts[0], &vec![0.1f32; 2 * SAMPLES], &pool).detach();
        for (module, layout) in stack.modules_mut().iter_mut().zip(&layouts[1..]) {
            let said = module.shapes(x.shape()).unwrap();
            module.forward(&x, *layout, Mode::Train);
            let (output, features) = (module.output(), module.features());
            assert_eq!((output.shape(), features.shape()), (said.output, said.features), "{kind:?}");
            assert!(std::ptr::eq(module.layer_outputs().last().unwrap().1, features), "{kind:?}");
            x = output;
        }
    }
}

/// Buffers made and bytes (held, in use at most) after each of five steps with this pool.
fn steps_with(pool: Pool<f32>) -> Vec<(usize, usize, usize)> {
    let mut stack = network(NetworkKind::SeparateContext)
        .build(&LossConfig::default(), None, &OptimizerConfig::default(), 1, &pool)
        .unwrap();
    let layouts = stack.layouts(Shape::sequence(4, SAMPLES, 1)).unwrap();
    let mut after = Vec::new();
    for step in 0..5 {
        let waveforms = vec![0.1f32; 4 * SAMPLES];
        let x = Activations::from_slice(layouts[0], &waveforms, &pool).detach();
        let packet = Packet { x, step, labels: [].into(), layouts: layouts.clone() };
        step_in_turn(&mut stack, packet, 1, &[Mode::Train; 6], &mut |_| {}).unwrap();
        after.push((pool.allocated(), pool.bytes(), pool.peak_bytes()));
    }
    after
}

/// After the first steps, a step makes no buffer; with a low-memory pool it needs no more memory, and
/// little more than is in use.
#[test]
fn a_warm_step_makes_no_buffers() {
    let after = steps_with(Pool::new());
    assert_eq!(after[1], after[4], "{after:?}");
    let low_memory = steps_with(Pool::low_memory());
    let (_, held, peak) = low_memory[4];
    assert_eq!(low_memory[1].2, peak, "{low_memory:?}");
    assert!(held <= peak + peak / 16 && held < after[4].1, "{low_memory:?} instead of {after:?}");
}

/// Initial weights of encoder and context layers, in order, and of the losses.
fn initial(config: &NetworkConfig) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let pool = Pool::new();
    let mut stack = config.build(&LossConfig::default(), None, &OptimizerConfig::default(), 1, &pool).unwrap();
    let (mut layers, mut losses) = (Vec::new(), Vec::new());
    for module in stack.modules_mut() {
        module.params().visit(&mut |p| {
            if p.name.starts_with("encoder.") || p.name.starts_with("context.") {
                layers.push(p.value.clone());
            } else {
                losses.push(p.value.clone());
            }
        });
    }
    (layers, losses)
}

#[test]
fn the_random_encoder_is_the_same_wherever_it_is_cut() {
    let [(separate, losses), (fused, _), (cpc, _)] =
        [NetworkKind::SeparateContext, NetworkKind::FusedContext, NetworkKind::Cpc].map(|kind| initial(&network(kind)));
    assert_eq!(separate, fused);
    assert_eq!(separate, cpc);
    // No two layers and no two losses begin alike.
    let with_contexts = initial(&NetworkConfig { context_per_module: true, ..network(NetworkKind::SeparateContext) });
    for drawn in [with_contexts.0, losses, with_contexts.1] {
        for (i, a) in drawn.iter().enumerate() {
            assert!(drawn[..i].iter().all(|b| a[..4] != b[..4]), "{i} was drawn before");
        }
    }
}
