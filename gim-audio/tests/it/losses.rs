//! Every loss of the registry in networks on waveforms, with and without contexts.

use gim_audio::network::{LossConfig, NetworkConfig, NetworkKind};
use gim_core::Pool;
use gim_core::activations::{Activations, Shape};
use gim_core::link::Packet;
use gim_core::loss::{LossChoice, LossKind, Supervision};
use gim_core::module::{Mode, Module};
use gim_core::optim::OptimizerConfig;
use gim_core::schedule::step_in_turn;
use gim_core::testing::uniform;

const SAMPLES: usize = 2560;

fn weights(module: &mut dyn Module<f32>) -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    module.params().visit(&mut |p| all.push(p.value.clone()));
    all
}

#[test]
fn every_loss_trains_every_module() {
    for kind in LossKind::ALL {
        for network in [NetworkKind::SeparateContext, NetworkKind::FusedContext, NetworkKind::Cpc] {
            let pool = Pool::new();
            let mut loss = LossConfig {
                kind: LossChoice(Some(*kind)),
                prediction_steps: 2,
                negatives: 4,
                ..LossConfig::default()
            };
            loss.settings.autoencoder.corruption = 0.2;
            let labels: &[i32] = if kind.needs_labels() { &[1, 0, 2] } else { &[] };
            let supervision = kind.needs_labels().then_some(Supervision { classes: 3, bins: Some(1) });
            let config = NetworkConfig { kind: network, width: 8, context: 6, ..NetworkConfig::default() };
            let mut stack = config.build(&loss, supervision, &OptimizerConfig::default(), 1, &pool).unwrap();
            let before: Vec<_> = stack.modules_mut().iter_mut().map(|m| weights(&mut **m)).collect();
            let layouts = stack.layouts(Shape::sequence(3, SAMPLES, 1)).unwrap();
            for step in 0..2 {
                let waveforms: Vec<f32> = uniform(3 * SAMPLES, step).iter().map(|x| *x as f32).collect();
                let x = Activations::from_slice(layouts[0], &waveforms, &pool).detach();
                let packet = Packet { x, step, labels: labels.into(), layouts: layouts.clone() };
                let modes = vec![Mode::Train; before.len()];
                step_in_turn(&mut stack, packet, 1, &modes, &mut |report| {
                    assert!(report.loss.loss.is_finite(), "{kind}, {network:?}: module {}", report.module);
                })
                .unwrap();
            }
            for (m, (module, before)) in stack.modules_mut().iter_mut().zip(&before).enumerate() {
                assert_ne!(&weights(&mut **module), before, "{kind}, {network:?}: module {}", m + 1);
            }
        }
    }
}

/// Each module rebuilds the input that it gets: a sample for each that its stride skips.
#[test]
fn blocks_are_as_long_as_strides() {
    let loss = LossConfig { kind: LossChoice(Some(LossKind::Autoencoder)), ..LossConfig::default() };
    let decoders = |kind| {
        let config = NetworkConfig { kind, width: 8, context: 6, ..NetworkConfig::default() };
        let mut stack = config.build::<f32>(&loss, None, &OptimizerConfig::default(), 1, &Pool::new()).unwrap();
        let mut shapes = Vec::new();
        for module in stack.modules_mut() {
            module.params().visit(&mut |p| {
                if p.name == "loss.decoder.0.weight" {
                    shapes.push(p.shape.clone());
                }
            });
        }
        shapes
    };
    let convs = [[5, 8], [32, 8], [16, 8], [16, 8], [16, 8]];
    assert_eq!(decoders(NetworkKind::SeparateContext)[..5], convs);
    assert_eq!(decoders(NetworkKind::SeparateContext)[5], [8, 6]);
    assert_eq!(decoders(NetworkKind::Cpc), [[160, 6]]);
}
