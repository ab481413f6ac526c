//! What every loss of the registry must keep: gradients, isolation, the same bits for any number of
//! threads and after resuming, no allocation in a warm step, and that collapse is noticed.

use gim_core::activations::{Activations, Detached, Layout, Shape};
use gim_core::checkpoint::{self, CheckpointMeta};
use gim_core::collapse::LEAST_SPREAD;
use gim_core::layers::{Layer, Sequential};
use gim_core::loss::{Compare, Estimator, LocalLoss, LossKind, LossSettings, Place, Prediction, StepInfo, Supervision};
use gim_core::module::{LocalModule, Mode, Module, Parts};
use gim_core::optim::OptimizerConfig;
use gim_core::param::Params;
use gim_core::sampler::{Direction, SamplerKind};
use gim_core::testing::{Linear, check_loss, uniform};
use gim_core::{Key, Pool, Purpose, Scalar};

const CLASSES: usize = 3;
const GRID: Shape = Shape { batch: 6, height: 5, width: 4, channels: 6 };
const LABELS: [i32; 6] = [2, 0, 1, 2, 1, 1];

fn place(kind: LossKind, context: usize) -> Place {
    Place {
        channels: GRID.channels,
        context,
        prediction: Prediction {
            prediction_steps: 2,
            negatives: 3,
            sampler: SamplerKind::Others,
            skip: 0,
            window: None,
            epsilon: None,
            directions: Some(vec![Direction::Down, Direction::Right]),
        },
        supervision: kind.needs_labels().then_some(Supervision { classes: CLASSES, bins: Some(1) }),
    }
}

/// Defaults, and settings that use what defaults leave out; pairs are few enough to be drawn. Losses that can
/// compare the views of items do.
fn variants(kind: LossKind) -> Vec<LossSettings> {
    let views = [(Compare::Views, 2), (Compare::Views, 1024), (Compare::ViewPositions, 7)].map(|(compare, pairs)| {
        let mut s = LossSettings::default();
        for (at, projector, n) in two_view(&mut s) {
            (*at, *projector, *n) = (compare, if pairs == 2 { vec![7, 5] } else { Vec::new() }, pairs);
        }
        s
    });
    estimators().into_iter().chain(views.into_iter().filter(|s| s.needs_views(kind))).collect()
}

/// What the losses of two views compare, their projectors and numbers of pairs.
fn two_view(s: &mut LossSettings) -> [(&mut Compare, &mut Vec<usize>, &mut usize); 4] {
    [
        (&mut s.vicreg.compare, &mut s.vicreg.projector, &mut s.vicreg.pairs),
        (&mut s.barlow_twins.compare, &mut s.barlow_twins.projector, &mut s.barlow_twins.pairs),
        (&mut s.nt_xent.compare, &mut s.nt_xent.projector, &mut s.nt_xent.pairs),
        (&mut s.slow_features.compare, &mut s.slow_features.projector, &mut s.slow_features.pairs),
    ]
}

/// With each estimator of InfoNCE.
fn estimators() -> [LossSettings; 4] {
    Estimator::ALL.map(|estimator| {
        let mut s = LossSettings::default();
        s.infonce.estimator = estimator;
        if estimator == Estimator::Nwj {
            s.infonce.negative_shares = 2;
        }
        if estimator != Estimator::InfoNce {
            s.auxiliary.pointwise = 2;
            for (_, projector, pairs) in two_view(&mut s) {
                (*projector, *pairs) = (vec![7, 5], 20);
            }
        }
        s
    })
}

fn build<F: Scalar>(kind: LossKind, settings: &LossSettings, context: usize) -> Box<dyn LocalLoss<F>> {
    settings.build(kind, &place(kind, context), Key::new(3, Purpose::Init)).unwrap()
}

fn info(kind: LossKind, step: u64, module: u32) -> StepInfo<'static> {
    StepInfo { seed: 5, step, module, labels: if kind.needs_labels() { &LABELS } else { &[] } }
}

#[test]
fn gradients_are_those_of_the_value() {
    for kind in LossKind::ALL {
        for settings in variants(*kind) {
            check_loss(&mut *build(*kind, &settings, 6), GRID, None, info(*kind, 3, 2));
            check_loss(&mut *build(*kind, &settings, 5), GRID, Some(GRID.with_channels(5)), info(*kind, 3, 2));
        }
    }
}

/// A loss on the two views of items is that of the views in its order, pooled or position by position; it
/// needs two of each item, and at least two items.
#[test]
fn views_are_compared_in_their_order() {
    let pool = Pool::new();
    let values = uniform(GRID.len(), 3);
    let z = Activations::from_slice(Layout::dense(GRID), &values, &pool);
    let kinds = [LossKind::VicReg, LossKind::BarlowTwins, LossKind::NtXent, LossKind::SlowFeatures];
    for kind in LossKind::ALL {
        for compare in [Compare::Views, Compare::ViewPositions] {
            let mut settings = LossSettings::default();
            two_view(&mut settings).into_iter().for_each(|(at, _, _)| *at = compare);
            assert_eq!(settings.needs_views(*kind), kinds.contains(kind), "{kind}");
            if !kinds.contains(kind) {
                continue;
            }
            assert_eq!(settings.need(*kind, &place(*kind, 6).prediction), 1);
            let mut loss = build::<f64>(*kind, &settings, 6);
            let info = info(*kind, 0, 1);
            let got = loss.value_and_grad(&z, None, info, None, None, &pool).loss;
            // Swapping the views of an item pair by pair changes nothing; shifting the batch by one does.
            let item = GRID.len() / GRID.batch;
            let mut swapped = values.clone();
            swapped.chunks_exact_mut(2 * item).for_each(|two| two.rotate_left(item));
            let mut shifted = values.clone();
            shifted.rotate_left(item);
            let mut of = |values: &[f64]| {
                let z = Activations::from_slice(Layout::dense(GRID), values, &pool);
                loss.value_and_grad(&z, None, info, None, None, &pool).loss
            };
            assert!((of(&swapped) - got).abs() < 1e-9 * got.abs(), "{kind} {compare:?}");
            assert!((of(&shifted) - got).abs() > 1e-6 * got.abs(), "{kind} {compare:?}");
            // Positions within an item may trade places where they are averaged.
            let mut turned = values.clone();
            turned.chunks_exact_mut(2 * item).for_each(|two| two[..item].rotate_left(6));
            assert_eq!((of(&turned) - got).abs() < 1e-9 * got.abs(), compare == Compare::Views, "{kind}");
            for wrong in [3, 2] {
                let said =
                    loss.check(Shape { batch: wrong, height: 1, width: 1, ..GRID }, None).unwrap_err().to_string();
                assert!(said.contains("two views"), "{said}");
            }
            loss.check(Shape { batch: 4, height: 1, width: 1, ..GRID }, None).unwrap();
        }
    }
}

/// A module of one linear layer, `weights` times as large as usual.
fn module(kind: LossKind, settings: &LossSettings, number: u32, weights: f32, pool: &Pool<f32>) -> LocalModule<f32> {
    let key = Key::new(4, Purpose::Init).with_module(number);
    let layer: Box<dyn Layer<f32>> = Box::new(Linear::new(6, 6, key));
    let mut encoder = Sequential::new([layer]);
    encoder.visit(&mut |p| p.value.iter_mut().for_each(|w| *w *= weights));
    let parts = Parts {
        encoder,
        readout: None,
        context: None,
        loss: build(kind, settings, 6),
        optimizer: OptimizerConfig::default().build().unwrap(),
    };
    LocalModule::new(number as usize, parts, pool.clone())
}

fn input(step: u64, pool: &Pool<f32>) -> Detached<f32> {
    let values: Vec<f32> = uniform(GRID.len(), step).iter().map(|x| *x as f32).collect();
    Activations::from_slice(Layout::dense(GRID), &values, pool).detach()
}

/// Trains a module on `x`, and gives its loss and what it hands on.
fn train(module: &mut LocalModule<f32>, x: &Detached<f32>, info: StepInfo<'_>) -> (u64, Detached<f32>) {
    module.forward(x, Layout::dense(GRID), Mode::Train);
    let out = module.output();
    (module.train(x, info).unwrap().loss.to_bits(), out)
}

fn bytes(module: &mut LocalModule<f32>) -> Vec<u8> {
    checkpoint::to_bytes(module, &CheckpointMeta { module: 1, ..CheckpointMeta::default() }).unwrap()
}

/// Bit for bit, a module does not feel whether one above it trains.
#[test]
fn modules_are_isolated() {
    for kind in LossKind::ALL {
        for settings in variants(*kind) {
            let run = |above: bool| {
                let pool = Pool::new();
                let mut first = module(*kind, &settings, 1, 1.0, &pool);
                let mut second = module(*kind, &settings, 2, 1.0, &pool);
                let before = bytes(&mut first);
                for step in 0..3 {
                    let (_, out) = train(&mut first, &input(step, &pool), info(*kind, step, 1));
                    if above {
                        train(&mut second, &out, info(*kind, step, 2));
                    }
                }
                let after = bytes(&mut first);
                assert!(before != after, "{kind} trains");
                after
            };
            assert!(run(true) == run(false), "{kind}");
        }
    }
}

#[test]
fn threads_and_resuming_change_no_bit_and_a_warm_step_allocates_nothing() {
    for kind in LossKind::ALL {
        for settings in variants(*kind) {
            let run = |threads: usize, resume: bool| {
                let threads = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                threads.install(|| {
                    let pool = Pool::new();
                    let (mut losses, mut allocated) = (Vec::new(), Vec::new());
                    let mut one = module(*kind, &settings, 1, 1.0, &pool);
                    for step in 0..6 {
                        if resume && step == 3 {
                            let folder = tempfile::tempdir().unwrap();
                            let file = folder.path().join("module.safetensors");
                            std::fs::write(&file, bytes(&mut one)).unwrap();
                            one = module(*kind, &settings, 1, 0.5, &pool);
                            checkpoint::load(&file, &mut one).unwrap();
                        }
                        losses.push(train(&mut one, &input(step, &pool), info(*kind, step, 1)).0);
                        allocated.push(pool.allocated());
                    }
                    assert_eq!(allocated[2], allocated[5], "{kind}: a warm step allocates");
                    (losses, bytes(&mut one))
                })
            };
            let one = run(1, false);
            assert!(one == run(3, false), "{kind}: three threads");
            assert!(one == run(2, true), "{kind}: resumed");
        }
    }
}

/// A loss tells nothing apart in features that are the same everywhere: the module says so. Ordinary
/// features are not taken for collapsed.
#[test]
fn collapse_is_noticed() {
    for kind in LossKind::ALL {
        for settings in variants(*kind) {
            let spread = |weights: f32| {
                let pool = Pool::new();
                let mut one = module(*kind, &settings, 1, weights, &pool);
                assert_eq!(one.spread(), None);
                let (loss, _) = train(&mut one, &input(0, &pool), info(*kind, 0, 1));
                assert!(f64::from_bits(loss).is_finite(), "{kind}");
                one.spread().unwrap()
            };
            assert!(spread(0.0) < LEAST_SPREAD, "{kind}: collapsed");
            assert!(spread(1.0) > 0.1, "{kind}");
        }
    }
}

/// A rule that rewards sameness alone collapses, and is found out while it trains.
#[test]
fn a_rule_that_collapses_is_found_out() {
    let mut settings = LossSettings::default();
    (settings.vicreg.variance, settings.vicreg.covariance) = (0.0, 0.0);
    let run = |settings: &LossSettings| {
        let pool = Pool::new();
        let key = Key::new(4, Purpose::Init);
        let encoder = Sequential::new([Box::new(Linear::new(6, 6, key)) as Box<dyn Layer<f32>>]);
        let optimizer = OptimizerConfig { lr: 0.05, ..OptimizerConfig::default() }.build().unwrap();
        let loss = build(LossKind::VicReg, settings, 6);
        let parts = Parts { encoder, readout: None, context: None, loss, optimizer };
        let mut one = LocalModule::new(1, parts, pool.clone());
        // A constant channel, which all positions share, is what remains.
        let values: Vec<f32> =
            uniform(GRID.len(), 1).iter().enumerate().map(|(i, x)| if i % 6 == 0 { 1.0 } else { *x as f32 }).collect();
        let x = Activations::from_slice(Layout::dense(GRID), &values, &pool).detach();
        (0..600).for_each(|step| drop(train(&mut one, &x, info(LossKind::VicReg, step, 1))));
        one.spread().unwrap()
    };
    assert!(run(&settings) < LEAST_SPREAD, "invariance alone: {}", run(&settings));
    let kept = run(&LossSettings::default());
    assert!(kept > 100.0 * LEAST_SPREAD, "{kept}");
}
