//! Modules do not feel what lies above them, and the check would notice if they did.

use gim_core::activations::Shape;
use gim_core::link::Packet;
use gim_core::module::Mode;
use gim_core::optim::OptimizerConfig;
use gim_core::schedule::step_in_turn;
use gim_core::testing::uniform;
use gim_core::{Pool, Scalar};
use gim_vision::network::{LossConfig, NetworkConfig, NetworkKind};

/// Parameters of the first stage after two steps, when the weights of the second stage are scaled
/// by `factor` beforehand.
fn first_stage<F: Scalar>(kind: NetworkKind, factor: f64) -> Vec<F> {
    let config = NetworkConfig {
        kind,
        blocks: vec![1, 1],
        widths: vec![2, 3],
        patch: 4,
        overlap: 2,
        stem: 3,
        ..NetworkConfig::default()
    };
    let loss = LossConfig { prediction_steps: 2, negatives: 4, ..LossConfig::default() };
    let pool = Pool::<F>::new();
    let mut stack = config.build(12, 1, &loss, None, &OptimizerConfig::default(), 1, &pool).unwrap();
    // Of one module, the second stage is the chain's second link.
    let second = if kind == NetworkKind::Cpc { (0, "encoder.1.") } else { (1, "encoder.0.") };
    stack.modules_mut()[second.0].params().visit(&mut |p| {
        if p.name.starts_with(second.1) {
            p.value.iter_mut().for_each(|v| *v *= F::of(factor));
        }
    });
    let images = Shape { batch: 3, height: 12, width: 12, channels: 1 };
    let patches = config.patches().unwrap();
    let layouts = stack.layouts(patches.shape(images)).unwrap();
    for step in 0..2 {
        let pixels: Vec<F> = uniform(images.len(), step).into_iter().map(F::of).collect();
        let x = patches.cut(&pixels, images, layouts[0], &pool).detach();
        let modes = vec![Mode::Train; stack.modules().len()];
        let packet = Packet { x, step, labels: [].into(), layouts: layouts.clone() };
        step_in_turn(&mut stack, packet, 1, &modes, &mut |_| {}).unwrap();
    }
    let mut values = Vec::new();
    stack.modules_mut()[0].params().visit(&mut |p| {
        if p.name.starts_with("encoder.0.") {
            values.extend_from_slice(&p.value);
        }
    });
    values
}

#[test]
fn a_stage_does_not_feel_the_one_above() {
    assert_eq!(first_stage::<f32>(NetworkKind::Gim, 1.0), first_stage::<f32>(NetworkKind::Gim, 1.7));
}

/// The same check on the same network without the gradient block.
#[test]
fn end_to_end_it_does() {
    assert_ne!(first_stage::<f32>(NetworkKind::Cpc, 1.0), first_stage::<f32>(NetworkKind::Cpc, 1.7));
}
