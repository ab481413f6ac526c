//! Encoders, readouts and normalization by configuration.

use gim_core::Pool;
use gim_core::activations::Shape;
use gim_core::loss::{LossChoice, LossKind, Supervision};
use gim_core::optim::{OptimizerConfig, OptimizerKind};
use gim_core::sampler::Direction;
use gim_core::stack::Stack;
use gim_core::testing::{Input, check_async, check_pipelined, uniform};
use gim_vision::layers::residual::BlockKind;
use gim_vision::network::{EncoderKind, LossConfig, NetworkConfig, NetworkKind, Norm, ReadoutKind};
use ndarray::Array4;

const SIDE: usize = 16;

/// A small VGG-6 on whole images: maps of 16, 8, 8, 4, 2 and 1 position a side.
fn vgg() -> NetworkConfig {
    NetworkConfig {
        encoder: EncoderKind::Vgg,
        widths: vec![4, 6, 6, 8, 8, 8],
        pools: vec![2, 4, 5, 6],
        readout: ReadoutKind::Map,
        patch: SIDE,
        overlap: 0,
        ..NetworkConfig::default()
    }
}

/// The same without the pooling at the top, averaged to 4 × 4 positions or fewer: the last maps have 2 × 2.
fn coarse() -> NetworkConfig {
    NetworkConfig { pools: vec![2, 4, 5], readout_side: 4, ..vgg() }
}

fn mlp() -> NetworkConfig {
    NetworkConfig { encoder: EncoderKind::Mlp, widths: vec![12, 8], pools: Vec::new(), ..vgg() }
}

/// A residual network with normalization on whole images.
fn residual() -> NetworkConfig {
    NetworkConfig {
        block: BlockKind::Basic,
        blocks: vec![1, 1],
        widths: vec![4, 8],
        stem: 3,
        norm: Norm::Group,
        norm_groups: 2,
        readout: ReadoutKind::Map,
        readout_side: 4,
        patch: SIDE,
        overlap: 0,
        ..NetworkConfig::default()
    }
}

fn loss(kind: LossKind) -> LossConfig {
    let directions = Direction::ALL.to_vec();
    let kind = LossChoice(Some(kind));
    let mut loss = LossConfig { kind, prediction_steps: 1, skip: 0, negatives: 4, directions, ..LossConfig::default() };
    // The smallest maps have 2 × 2 positions.
    loss.settings.time_contrastive.segments = 2;
    loss
}

fn build(network: &NetworkConfig, loss: &LossConfig, supervision: Option<Supervision>) -> Result<Stack<f32>, String> {
    let optimizer = OptimizerConfig { kind: OptimizerKind::Adam, lr: 1e-2, ..OptimizerConfig::default() };
    network.build(SIDE, 1, loss, supervision, &optimizer, 1, &Pool::new()).map_err(|e| e.to_string())
}

fn supervision(kind: LossKind) -> Option<Supervision> {
    kind.needs_labels().then_some(Supervision { classes: 2, bins: Some(1) })
}

fn images(n: usize, seed: u64) -> Array4<f32> {
    let values = uniform(n * SIDE * SIDE, seed).iter().map(|x| *x as f32).collect();
    Array4::from_shape_vec((n, SIDE, SIDE, 1), values).unwrap()
}

/// Every loss learns on the maps of every module: after some steps on one batch, all are smaller.
#[test]
fn all_losses_learn_on_maps() {
    let (x, labels) = (images(8, 5), [0, 1, 0, 1, 1, 0, 1, 0]);
    for kind in LossKind::ALL {
        let mut stack = build(&coarse(), &loss(*kind), supervision(*kind)).unwrap();
        let labels = if kind.needs_labels() { &labels[..] } else { &[] };
        let mut mean = [0.0; 2];
        for step in 0..40 {
            for report in stack.step(x.view(), labels, 1, step).unwrap() {
                assert!(report.loss.loss.is_finite(), "{kind}");
                match step {
                    0..5 => mean[0] += report.loss.loss,
                    35.. => mean[1] += report.loss.loss,
                    _ => {}
                }
            }
        }
        assert!(mean[1] < mean[0], "{kind}: {mean:?}");
    }
}

/// Positions of the loss's grid are those of the module's map, or of the grid it is averaged to.
#[test]
fn grids_are_maps() {
    let sides = |network: &NetworkConfig| {
        let mut stack = build(network, &loss(LossKind::CrossEntropy), supervision(LossKind::CrossEntropy)).unwrap();
        let patches = network.patches().unwrap().of(images(2, 1).view());
        let features = stack.features(patches.view()).unwrap();
        features.iter().map(|f| f.dim()).map(|(n, h, w, c)| (n == 2 && h == w, h, c)).collect::<Vec<_>>()
    };
    let with = |sides: [usize; 6]| sides.into_iter().zip(vgg().widths).map(|(s, c)| (true, s, c)).collect::<Vec<_>>();
    assert_eq!(sides(&vgg()), with([16, 8, 8, 4, 2, 1]));
    assert_eq!(sides(&coarse()), with([4, 4, 4, 4, 2, 2]));
    assert_eq!(sides(&NetworkConfig { readout: ReadoutKind::Patches, ..vgg() }), with([1; 6]));
    // Patches of 8 × 8 pixels: a grid of 3 × 3, whatever the maps.
    let patches = NetworkConfig { readout: ReadoutKind::Patches, patch: 8, overlap: 4, pools: vec![2, 4, 5], ..vgg() };
    assert_eq!(sides(&patches), with([3; 6]));
    assert_eq!(sides(&mlp()), [(true, 1, 12), (true, 1, 8)]);
}

/// Initial weights depend on the seed and the layer, not on the cuts; cut or not, the random encoder is the same.
#[test]
fn cuts_change_no_features() {
    let entropy = loss(LossKind::CrossEntropy);
    for network in [vgg(), mlp(), NetworkConfig { norm: Norm::Layer, ..vgg() }] {
        let last = |network: &NetworkConfig, modules: usize| {
            let mut stack = build(network, &entropy, supervision(LossKind::CrossEntropy)).unwrap();
            assert_eq!(stack.modules().len(), modules);
            stack.features(images(3, 2).view()).unwrap().pop().unwrap()
        };
        let layers = network.widths.len();
        let whole = last(&network, layers);
        assert!(whole.iter().any(|x| *x != 0.0));
        assert_eq!(whole, last(&NetworkConfig { cuts: vec![1], ..network.clone() }, 2));
        assert_eq!(whole, last(&NetworkConfig { kind: NetworkKind::Cpc, ..network.clone() }, 1));
    }
}

#[test]
fn schedules_give_the_same_bits() {
    let normed = |norm| NetworkConfig { norm, norm_groups: 2, cuts: vec![2, 4], ..coarse() };
    let patches = NetworkConfig { readout: ReadoutKind::Patches, patch: 8, overlap: 4, ..coarse() };
    for (network, kind) in [
        (coarse(), LossKind::InfoNce),
        (normed(Norm::Group), LossKind::Clapp),
        (normed(Norm::Layer), LossKind::InfoNce),
        (patches, LossKind::InfoNce),
        (NetworkConfig { kind: NetworkKind::Cpc, context_layers: 1, ..coarse() }, LossKind::InfoNce),
        (mlp(), LossKind::CrossEntropy),
        (residual(), LossKind::InfoNce),
    ] {
        let directions = vec![Direction::Down];
        let loss = LossConfig { directions, ..loss(kind) };
        let supervision = supervision(kind);
        let optimizer = OptimizerConfig::default();
        let build = |pool: &_| network.build(SIDE, 1, &loss, supervision, &optimizer, 1, pool).unwrap();
        let input = |n: usize| -> Input {
            let images = Shape { batch: n, height: SIDE, width: SIDE, channels: 1 };
            let labels: Vec<i32> = supervision.map_or(Vec::new(), |_| (0..n as i32).map(|i| i % 2).collect());
            (network.patches().unwrap().shape(images), labels.into())
        };
        let inputs = [input(3), input(3), input(2)];
        check_pipelined(&build, &inputs);
        check_async(&build, &inputs);
    }
}

/// Weights after some steps, on so many threads.
fn weights(network: &NetworkConfig, threads: usize) -> Vec<f32> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let mut stack = build(network, &loss(LossKind::InfoNce), None).unwrap();
        for step in 0..3 {
            stack.step(images(8, step).view(), &[], 1, step).unwrap();
        }
        let mut all = Vec::new();
        stack.modules_mut().iter_mut().for_each(|m| m.params().visit(&mut |p| all.extend_from_slice(&p.value)));
        all
    })
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for norm in [Norm::None, Norm::Group, Norm::Layer] {
        let network = NetworkConfig { norm, norm_groups: 2, ..coarse() };
        assert_eq!(weights(&network, 1), weights(&network, 3), "{norm:?}");
    }
}

/// What cannot be used is refused with the setting, what is wrong, and what to do.
#[test]
fn settings_that_cannot_be_used() {
    let predicting = loss(LossKind::InfoNce);
    let of = |network: NetworkConfig, loss: &LossConfig| build(&network, loss, None).err().unwrap();
    for (network, loss, parts) in [
        (vgg(), &predicting, ["network.readout", "module 6 has 1 × 1 positions, and the loss needs 2 × 2"]),
        (
            coarse(),
            &LossConfig { prediction_steps: 2, ..predicting.clone() },
            ["network.readout", "module 5 has 2 × 2"],
        ),
        (mlp(), &predicting, ["network.readout", "module 1 has 1 × 1 positions"]),
        (NetworkConfig { patch: 8, ..coarse() }, &predicting, ["network.readout", "network.patch = 16"]),
        (
            NetworkConfig { readout: ReadoutKind::Patches, ..coarse() },
            &predicting,
            ["data.crop", "network.readout = \"map\""],
        ),
        (NetworkConfig { pools: vec![1, 2, 3, 4, 5], ..vgg() }, &predicting, ["network.readout", "module 4 has 1 × 1"]),
        (NetworkConfig { pools: vec![7], ..vgg() }, &predicting, ["network.pools", "6 layers"]),
        (NetworkConfig { pools: vec![2, 2], ..vgg() }, &predicting, ["network.pools", "rise"]),
        (NetworkConfig { pools: vec![1], ..mlp() }, &predicting, ["network.pools", "fully connected"]),
        (
            NetworkConfig { widths: Vec::new(), pools: Vec::new(), ..vgg() },
            &predicting,
            ["network.widths", "every layer"],
        ),
        (NetworkConfig { cuts: vec![7], ..coarse() }, &predicting, ["network.cuts", "6 layers"]),
        (
            NetworkConfig { norm: Norm::Group, norm_groups: 3, ..coarse() },
            &predicting,
            ["network.norm_groups", "4 channels"],
        ),
    ] {
        let said = of(network, loss);
        assert!(parts.iter().all(|part| said.contains(part)), "{parts:?}: {said}");
    }
    let all = NetworkConfig { pools: vec![1, 2, 3, 4, 5], ..vgg() };
    let said = build(&all, &loss(LossKind::CrossEntropy), supervision(LossKind::CrossEntropy)).err().unwrap();
    assert!(said.contains("network.pools") && said.contains("pool after fewer layers"), "{said}");
    let said = of(NetworkConfig { pools: vec![1], ..residual() }, &predicting);
    assert!(said.contains("network.pools") && said.contains("vgg"), "{said}");
}
