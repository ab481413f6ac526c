//! Every audio network learns the same bits by every schedule.

use gim_audio::network::{LossConfig, NetworkConfig, NetworkKind};
use gim_core::activations::Shape;
use gim_core::loss::Supervision;
use gim_core::optim::OptimizerConfig;
use gim_core::testing::{check_async, check_pipelined, check_replicas};

const SAMPLES: usize = 3200;
const BATCH: usize = 3;

fn check(network: &NetworkConfig, supervision: Option<Supervision>) {
    let loss = LossConfig { prediction_steps: 3, negatives: 4, window: 0, ..LossConfig::default() };
    let build = |pool: &_| network.build(&loss, supervision, &OptimizerConfig::default(), 1, pool).unwrap();
    // Full batches, short ones, and utterances of other lengths.
    let input = |batch: usize, samples: usize| {
        let bins = supervision.map_or(0, |s| s.bins.unwrap_or(samples / 160));
        let class = |i: usize| (i % supervision.map_or(1, |s| s.classes)) as i32;
        (Shape::sequence(batch, samples, 1), (0..batch * bins).map(class).collect())
    };
    let inputs = match supervision {
        Some(Supervision { bins: None, .. }) => [input(1, SAMPLES), input(1, SAMPLES + 1600), input(1, SAMPLES - 480)],
        _ => [input(BATCH, SAMPLES), input(BATCH, SAMPLES), input(BATCH - 1, SAMPLES)],
    };
    check_pipelined(&build, &inputs);
    check_async(&build, &inputs);
    check_replicas(&build, &inputs);
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
        check(&network(kind), Some(Supervision { classes: 5, bins: Some(SAMPLES / 160) }));
        check(&network(kind), Some(Supervision { classes: 3, bins: Some(1) }));
        check(&network(kind), Some(Supervision { classes: 5, bins: None }));
    }
}
