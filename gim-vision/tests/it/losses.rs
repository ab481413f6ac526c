//! Every loss of the registry in networks on images, with and without contexts.

use gim_core::Pool;
use gim_core::activations::Shape;
use gim_core::link::Packet;
use gim_core::loss::{LossChoice, LossKind, Supervision};
use gim_core::module::{Mode, Module};
use gim_core::optim::OptimizerConfig;
use gim_core::sampler::Direction;
use gim_core::schedule::step_in_turn;
use gim_core::testing::uniform;
use gim_vision::network::{LossConfig, NetworkConfig, NetworkKind};

fn weights(module: &mut dyn Module<f32>) -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    module.params().visit(&mut |p| all.push(p.value.clone()));
    all
}

fn network(kind: NetworkKind) -> NetworkConfig {
    NetworkConfig {
        kind,
        blocks: vec![1, 1],
        widths: vec![2, 3],
        patch: 4,
        overlap: 2,
        stem: 3,
        ..NetworkConfig::default()
    }
}

#[test]
fn every_loss_trains_every_module() {
    let images = Shape { batch: 3, height: 12, width: 12, channels: 1 };
    for kind in LossKind::ALL {
        for (net, directions) in
            [(NetworkKind::Gim, vec![Direction::Down, Direction::Right]), (NetworkKind::Cpc, vec![Direction::Down])]
        {
            let pool = Pool::new();
            let mut loss = LossConfig {
                kind: LossChoice(Some(*kind)),
                prediction_steps: 2,
                negatives: 4,
                directions,
                ..LossConfig::default()
            };
            loss.settings.autoencoder.corruption = 0.2;
            let labels: &[i32] = if kind.needs_labels() { &[1, 0, 1] } else { &[] };
            let supervision = kind.needs_labels().then_some(Supervision { classes: 2, bins: Some(1) });
            let config = network(net);
            let optimizer = OptimizerConfig::default();
            let mut stack = config.build(12, 1, &loss, supervision, &optimizer, 1, &pool).unwrap();
            let before: Vec<_> = stack.modules_mut().iter_mut().map(|m| weights(&mut **m)).collect();
            let patches = config.patches().unwrap();
            let layouts = stack.layouts(patches.shape(images)).unwrap();
            for step in 0..2 {
                let pixels: Vec<f32> = uniform(images.len(), step).iter().map(|x| *x as f32).collect();
                let x = patches.cut(&pixels, images, layouts[0], &pool).detach();
                let packet = Packet { x, step, labels: labels.into(), layouts: layouts.clone() };
                let modes = vec![Mode::Train; before.len()];
                step_in_turn(&mut stack, packet, 1, &modes, &mut |report| {
                    assert!(report.loss.loss.is_finite(), "{kind}, {net:?}: module {}", report.module);
                })
                .unwrap();
            }
            for (m, (module, before)) in stack.modules_mut().iter_mut().zip(&before).enumerate() {
                assert_ne!(&weights(&mut **module), before, "{kind}, {net:?}: module {}", m + 1);
            }
        }
    }
}

/// A module rebuilds the whole patch as it gets it.
#[test]
fn blocks_are_patches() {
    let loss = LossConfig { kind: LossChoice(Some(LossKind::Autoencoder)), ..LossConfig::default() };
    let optimizer = OptimizerConfig::default();
    let mut stack = network(NetworkKind::Gim).build::<f32>(12, 1, &loss, None, &optimizer, 1, &Pool::new()).unwrap();
    let mut decoders = Vec::new();
    for module in stack.modules_mut() {
        module.params().visit(&mut |p| {
            if p.name == "loss.decoder.0.weight" {
                decoders.push(p.shape[0]);
            }
        });
    }
    let first = network(NetworkKind::Gim).block.channels(2);
    assert_eq!(decoders, [4 * 4, 4 * 4 * first]);
}
