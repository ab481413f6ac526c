//! Every network for images learns the same bits by every schedule.

use gim_core::Pool;
use gim_core::activations::Shape;
use gim_core::loss::Supervision;
use gim_core::module::Mode;
use gim_core::optim::{OptimizerConfig, OptimizerKind};
use gim_core::schedule::step_in_turn;
use gim_core::testing::{check_async, check_pipelined, check_replicas, uniform};
use gim_vision::layers::residual::BlockKind;
use gim_vision::network::{LossConfig, NetworkConfig, NetworkKind};

const SIDE: usize = 16;
const BATCH: usize = 3;

fn check(network: &NetworkConfig, supervision: Option<Supervision>) {
    let loss = LossConfig { prediction_steps: 2, negatives: 4, ..LossConfig::default() };
    let build = |pool: &_| network.build(SIDE, 1, &loss, supervision, &OptimizerConfig::default(), 1, pool).unwrap();
    // Full batches and short ones.
    let input = |n: usize| {
        let images = Shape { batch: n, height: SIDE, width: SIDE, channels: 1 };
        let labels = supervision.map_or(0..0, |_| 0..n as i32);
        (network.patches().unwrap().shape(images), labels.collect())
    };
    let inputs = [input(BATCH), input(BATCH), input(BATCH - 1)];
    check_pipelined(&build, &inputs);
    check_async(&build, &inputs);
    check_replicas(&build, &inputs);
}

fn network(kind: NetworkKind) -> NetworkConfig {
    NetworkConfig {
        kind,
        blocks: vec![1, 1, 1],
        widths: vec![2, 3, 4],
        patch: 4,
        overlap: 2,
        stem: 3,
        context_layers: 1,
        ..NetworkConfig::default()
    }
}

#[test]
fn three_modules() {
    check(&network(NetworkKind::Gim), None);
    check(&NetworkConfig { block: BlockKind::Basic, cuts: vec![1, 2], ..network(NetworkKind::Gim) }, None);
}

#[test]
fn one_module_with_a_pixelcnn() {
    check(&network(NetworkKind::Cpc), None);
}

#[test]
fn supervised_modules() {
    for kind in [NetworkKind::Gim, NetworkKind::Cpc] {
        check(&network(kind), Some(Supervision { classes: 3, bins: Some(1) }));
    }
}

/// Enough patches for several groups of chunks, which replicas share out; a batch of one image has one.
#[test]
fn replicas_with_parts_of_their_own() {
    let network = NetworkConfig { patch: 16, overlap: 8, widths: vec![16, 8, 8], ..network(NetworkKind::Gim) };
    let (side, loss) = (64, LossConfig { prediction_steps: 2, negatives: 4, ..LossConfig::default() });
    let build = |pool: &_| network.build(side, 1, &loss, None, &OptimizerConfig::default(), 1, pool).unwrap();
    let input = |n: usize| {
        let images = Shape { batch: n, height: side, width: side, channels: 1 };
        (network.patches().unwrap().shape(images), (0..0).collect())
    };
    let sent = check_replicas(&build, &[input(8), input(1), input(7)]);
    assert!(sent.iter().all(|values| *values > 1e5), "both have computed outputs: {sent:?} values");
}

/// The weights after one step on `n` of three images, of which these have labels.
fn after_a_step(n: usize, labels: &[i32]) -> Vec<f32> {
    let (pool, network) = (Pool::new(), network(NetworkKind::Gim));
    let supervision = Some(Supervision { classes: 3, bins: Some(1) });
    let optimizer = OptimizerConfig { kind: OptimizerKind::Sgd, lr: 0.1, ..OptimizerConfig::default() };
    let mut stack = network.build(SIDE, 1, &LossConfig::default(), supervision, &optimizer, 1, &pool).unwrap();
    let images = Shape { batch: n, height: SIDE, width: SIDE, channels: 1 };
    let pixels: Vec<f32> = uniform(BATCH * SIDE * SIDE, 1).iter().map(|x| *x as f32).collect();
    let patches = network.patches().unwrap();
    let plans = stack.plan([patches.shape(images)]).unwrap();
    let x = patches.cut(&pixels[..images.len()], images, plans.largest()[0], &pool);
    step_in_turn(&mut stack, plans.packet(x, 0, labels.into()), 1, &[Mode::Train; 3], &mut |_| {}).unwrap();
    let mut weights = Vec::new();
    stack.modules_mut().iter_mut().for_each(|m| m.params().visit(&mut |p| weights.extend_from_slice(&p.value)));
    weights
}

/// The gradient of a short batch is that of its items alone, as if the others had no labels.
#[test]
fn a_short_batch_learns_from_its_items() {
    let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let short = after_a_step(2, &[2, 0]);
    assert!(apart(&short, &after_a_step(3, &[2, 0, -1])) < 1e-6);
    assert!(apart(&short, &after_a_step(3, &[2, 0, 1])) > 1e-4, "the third image counts where it has a label");
}
