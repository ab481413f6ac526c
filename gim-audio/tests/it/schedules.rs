//! Every audio network learns the same bits by every schedule.

use gim_audio::network::{LossConfig, NetworkConfig, NetworkKind};
use gim_core::activations::Shape;
use gim_core::loss::Supervision;
use gim_core::optim::OptimizerConfig;
use gim_core::testing::{check_async, check_pipelined};

const SAMPLES: usize = 3200;
const BATCH: usize = 3;

fn check(network: &NetworkConfig, supervision: Option<Supervision>) {
    let labels: Vec<i32> = match supervision {
        None => Vec::new(),
        Some(s) => (0..BATCH * s.bins).map(|i| (i % s.classes) as i32).collect(),
    };
    let loss = LossConfig { prediction_steps: 3, negatives: 4, window: 0, ..LossConfig::default() };
    let build = |pool: &_| network.build(&loss, supervision, &OptimizerConfig::default(), 1, pool).unwrap();
    let (input, labels) = (Shape::sequence(BATCH, SAMPLES, 1), labels.into());
    check_pipelined(&build, input, &labels);
    check_async(&build, input, &labels);
}

fn network(kind: NetworkKind) -> NetworkConfig {
    NetworkConfig { kind, width: 8, context: 6, ..NetworkConfig::default() }
}

#[test]
fn separate_context() {
    check(&network(NetworkKind::SeparateContext), None);
}

#[test]
fn fused_context_and_one_in_every_module() {
    check(&network(NetworkKind::FusedContext), None);
    check(&NetworkConfig { context_per_module: true, bptt: false, ..network(NetworkKind::FusedContext) }, None);
}

#[test]
fn one_module() {
    check(&network(NetworkKind::Cpc), None);
}

#[test]
fn supervised_modules() {
    for kind in [NetworkKind::SeparateContext, NetworkKind::Cpc] {
        check(&network(kind), Some(Supervision { classes: 5, bins: SAMPLES / 160 }));
        check(&network(kind), Some(Supervision { classes: 3, bins: 1 }));
    }
}
