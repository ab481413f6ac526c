//! Every network for images learns the same bits by every schedule.

use gim_core::activations::Shape;
use gim_core::loss::Supervision;
use gim_core::optim::OptimizerConfig;
use gim_core::testing::{check_async, check_pipelined};
use gim_vision::layers::residual::BlockKind;
use gim_vision::network::{LossConfig, NetworkConfig, NetworkKind};

const SIDE: usize = 16;
const BATCH: usize = 3;

fn check(network: &NetworkConfig, supervision: Option<Supervision>) {
    let labels: Vec<i32> = supervision.map_or(Vec::new(), |s| (0..BATCH).map(|i| (i % s.classes) as i32).collect());
    let loss = LossConfig { prediction_steps: 2, negatives: 4, ..LossConfig::default() };
    let build = |pool: &_| network.build(SIDE, 1, &loss, supervision, &OptimizerConfig::default(), 1, pool).unwrap();
    let images = Shape { batch: BATCH, height: SIDE, width: SIDE, channels: 1 };
    let (input, labels) = (network.patches().unwrap().shape(images), labels.into());
    check_pipelined(&build, input, &labels);
    check_async(&build, input, &labels);
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
        check(&network(kind), Some(Supervision { classes: 3, bins: 1 }));
    }
}
