//! What every loss of the registry must keep: gradients, isolation, the same bits for any number of
//! threads and after resuming, no allocation in a warm step, and that collapse is noticed.

use gim_core::activations::{Activations, Detached, Layout, Shape};
use gim_core::checkpoint::{self, CheckpointMeta};
use gim_core::collapse::LEAST_SPREAD;
use gim_core::layers::{Layer, Sequential};
use gim_core::loss::{
    ClappUpdate, Compare, Estimator, InputBlock, LocalLoss, LossKind, LossSettings, Place, Prediction, StepInfo,
    Supervision,
};
use gim_core::module::{LocalModule, Mode, Module, Parts};
use gim_core::optim::OptimizerConfig;
use gim_core::param::Params;
use gim_core::sampler::{Direction, SamplerKind};
use gim_core::testing::{Linear, Point, Surrogate, check_loss, check_stopped_loss, uniform};
use gim_core::{Key, Pool, Purpose, Scalar};
use rand::RngExt;

const CLASSES: usize = 3;
const GRID: Shape = Shape { batch: 6, height: 5, width: 4, channels: 6 };
const LABELS: [i32; 6] = [2, 0, 1, 2, 1, 1];

fn place(kind: LossKind, context: usize) -> Place {
    Place {
        channels: GRID.channels,
        context,
        input: InputBlock { height: 1, width: 1, channels: GRID.channels },
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
        (s.lpl.compare, s.lpl.projector) = (compare, s.nt_xent.projector.clone());
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

/// With each estimator of InfoNCE, and each update of CLAPP. LPL takes all pairs: its reference below does.
fn estimators() -> [LossSettings; 4] {
    let updates = Estimator::ALL.into_iter().zip(ClappUpdate::ALL).collect::<Vec<_>>();
    std::array::from_fn(|i| {
        let (estimator, update) = updates[i];
        let mut s = LossSettings::default();
        s.clapp.update = update;
        s.infonce.estimator = estimator;
        if estimator == Estimator::Nwj {
            s.infonce.negative_shares = 2;
        }
        if estimator != Estimator::InfoNce {
            s.auxiliary.pointwise = 2;
            s.lpl.projector = vec![7, 5];
            s.time_contrastive.segments = 3;
            s.permutation_contrastive.pairs = 20;
            s.autoencoder.corruption = 0.3;
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

/// Features or contexts of an item and its position (y, x).
fn at(values: &[f64], channels: usize, (item, y, x): (usize, usize, usize)) -> &[f64] {
    &values[((item * GRID.height + y) * GRID.width + x) * channels..][..channels]
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// y = W x + b of each row x, with ReLU between the layers.
fn perceptron(params: &[Vec<f64>], row: &[f64]) -> Vec<f64> {
    let mut x = row.to_vec();
    for (i, layer) in params.chunks_exact(2).enumerate() {
        let rows = layer[0].chunks_exact(x.len()).zip(&layer[1]);
        x = rows.map(|(w, b)| dot(w, &x) + b).map(|y| if 2 * i + 2 < params.len() { y.max(0.0) } else { y }).collect();
    }
    x
}

/// CLAPP's hinge, score by score, of which `update` takes parts from the held point.
fn clapp(update: ClappUpdate, context: usize, step: StepInfo<'_>, live: &Point, held: &Point) -> f64 {
    let shift = step.key(Purpose::Negatives).rng().random_range(1..GRID.batch);
    let (channels, steps) = (GRID.channels, 2);
    let [c_live, c_held] = [live, held].map(|p| p.c.as_ref().unwrap_or(&p.z));
    let mut loss = 0.0;
    for (way, (down, right)) in [(1, 0), (0, 1)].into_iter().enumerate() {
        for k in 1..=steps {
            let weights = |p: &Point, number: usize| {
                let from = (way * steps + k - 1) * channels * context;
                p.params[number][from..from + channels * context].to_vec()
            };
            let score = |z: &[f64], w: &[f64], c: &[f64]| {
                w.chunks_exact(context).zip(z).map(|(w, z)| z * dot(w, c)).sum::<f64>()
            };
            let (height, width) = (GRID.height - k * down, GRID.width - k * right);
            let share = 0.25 / (steps * GRID.batch * height * width) as f64;
            for i in 0..GRID.batch * height * width {
                let (item, y, x) = (i / (height * width), i / width % height, i % width);
                let [c, c0] = [c_live, c_held].map(|c| at(c, context, (item, y, x)));
                for (item, sign) in [(item, 1.0), ((item + shift) % GRID.batch, -1.0)] {
                    let place = (item, y + k * down, x + k * right);
                    let [z, z0] = [&live.z, &held.z].map(|z| at(z, channels, place));
                    let hinge = |u: f64| share * (1.0 - sign * u).max(0.0);
                    loss += match update {
                        ClappUpdate::Gradient => hinge(score(z, &weights(live, 0), c)),
                        ClappUpdate::Target => hinge(score(z, &weights(live, 0), c0)),
                        ClappUpdate::TwoWeights => {
                            hinge(score(z0, &weights(live, 0), c)) + hinge(score(z, &weights(live, 1), c0))
                        }
                        ClappUpdate::Scalar => {
                            let moved = |a: &[f64], b: &[f64]| a.iter().sum::<f64>() - b.iter().sum::<f64>();
                            hinge(score(z0, &weights(live, 0), c0) + moved(z, z0) + moved(c, c0))
                        }
                    };
                }
            }
        }
    }
    loss
}

/// LPL's terms on all pairs, whose earlier row is held.
fn lpl(settings: &LossSettings, context: usize, live: &Point, held: &Point) -> f64 {
    let features = |p: &Point, place| at(p.c.as_ref().unwrap_or(&p.z), context, place).to_vec();
    let row = |p: &Point, place| perceptron(&p.params, &features(p, place));
    let positions = || (0..GRID.height * GRID.width).map(|i| (i / GRID.width, i % GRID.width));
    let view = |p: &Point, item: usize| {
        let mut mean = vec![0.0; context];
        for (y, x) in positions() {
            let share = 1.0 / (GRID.height * GRID.width) as f64;
            mean.iter_mut().zip(features(p, (item, y, x))).for_each(|(m, f)| *m += share * f);
        }
        perceptron(&p.params, &mean)
    };
    let mut pairs = Vec::new();
    match settings.lpl.compare {
        Compare::Neighbors => {
            for (down, right) in [(1, 0), (0, 1)] {
                for (item, (y, x)) in (0..GRID.batch).flat_map(|item| positions().map(move |at| (item, at))) {
                    if y + down < GRID.height && x + right < GRID.width {
                        pairs.push((row(held, (item, y, x)), row(live, (item, y + down, x + right))));
                    }
                }
            }
        }
        Compare::Views => pairs.extend((0..GRID.batch / 2).map(|i| (view(held, 2 * i), view(live, 2 * i + 1)))),
        Compare::ViewPositions => {
            for (i, (y, x)) in (0..GRID.batch / 2).flat_map(|i| positions().map(move |at| (i, at))) {
                pairs.push((row(held, (2 * i, y, x)), row(live, (2 * i + 1, y, x))));
            }
        }
    }
    let (n, c) = (pairs.len() as f64, pairs[0].1.len());
    let mean = |of: &dyn Fn(&[f64]) -> f64| pairs.iter().map(|p| of(&p.1)).sum::<f64>() / n;
    let means: Vec<f64> = (0..c).map(|j| mean(&|z| z[j])).collect();
    let cov = |j: usize, k: usize| mean(&|z| (z[j] - means[j]) * (z[k] - means[k])) * n / (n - 1.0);
    let apart = pairs.iter().map(|(a, b)| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>()).sum::<f64>();
    let hebbian = (0..c).map(|j| (cov(j, j) + 1e-4).ln()).sum::<f64>() / c as f64;
    let others = (0..c * c).map(|i| (i / c, i % c)).filter(|(j, k)| j != k);
    let decorrelation = others.map(|(j, k)| cov(j, k).powi(2)).sum::<f64>() / (c * c - c) as f64;
    apart / (2.0 * n * c as f64) - settings.lpl.hebbian * hebbian + settings.lpl.decorrelation * decorrelation
}

/// What a loss that stops gradients follows. A new one needs its reference here.
fn surrogate<'a>(kind: LossKind, settings: &'a LossSettings, context: usize, step: StepInfo<'a>) -> Box<Surrogate<'a>> {
    match kind {
        LossKind::Clapp => Box::new(move |live, held| clapp(settings.clapp.update, context, step, live, held)),
        LossKind::Lpl => Box::new(move |live, held| lpl(settings, context, live, held)),
        _ => panic!("{kind} stops gradients: write the function that its update follows"),
    }
}

#[test]
fn gradients_are_those_of_the_value_or_of_what_stands_in_for_it() {
    let pool = Pool::new();
    let mut stopped = 0;
    for kind in LossKind::ALL {
        for settings in variants(*kind) {
            let step = info(*kind, 3, 2);
            for (context, c) in [(6, None), (5, Some(GRID.with_channels(5)))] {
                let mut loss = build(*kind, &settings, context);
                let x = Activations::from_slice(Layout::padded(GRID, 1, 7), &uniform(GRID.len(), 13), &pool);
                loss.set_input(Some(&x.detach()));
                if loss.stops_gradients() {
                    let follows = surrogate(*kind, &settings, context, step);
                    check_stopped_loss(&mut *loss, GRID, c, step, &*follows);
                    stopped += 1;
                } else {
                    check_loss(&mut *loss, GRID, c, step);
                }
            }
        }
    }
    assert_eq!(stopped, 2 * (3 + 7), "three updates of CLAPP, and LPL on neighbors and views");
}

/// An autoencoder of patches: each is an item of the input, and one position of the features.
#[test]
fn an_autoencoder_rebuilds_patches() {
    let pool = Pool::new();
    let z = Shape { batch: 2, height: 2, width: 3, channels: 4 };
    let patches = Shape { batch: 12, height: 3, width: 2, channels: 5 };
    let input = InputBlock { height: 3, width: 2, channels: 5 };
    let place = Place { channels: 4, context: 4, input, ..place(LossKind::Autoencoder, 4) };
    let build = || LossSettings::default().build(LossKind::Autoencoder, &place, Key::new(1, Purpose::Init)).unwrap();
    let mut loss: Box<dyn LocalLoss<f64>> = build();
    let values = uniform(patches.len(), 3);
    let x = Activations::from_slice(Layout::padded(patches, 1, 5), &values, &pool).detach();
    loss.set_input(Some(&x));
    loss.check_input(patches, z).unwrap();
    check_loss(&mut *loss, z, None, info(LossKind::Autoencoder, 3, 2));
    // Without weights, what is decoded is the bias: the loss is the mean square of the input less it.
    loss.visit(&mut |p| p.value.fill(0.0));
    loss.visit(&mut |p| p.attach_grad(&pool));
    let features = Activations::zeros(Layout::dense(z), &pool);
    let got = loss.value_and_grad(&features, None, info(LossKind::Autoencoder, 3, 2), None, None, &pool).loss;
    let want = values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64;
    assert!((got - want).abs() < 1e-12, "{got}, {want}");
    loss.set_input(None);
    for wrong in [Shape { batch: 11, ..patches }, Shape { batch: 12, height: 2, ..patches }] {
        let e = loss.check_input(wrong, z).unwrap_err().to_string();
        assert!(e.contains("loss.kind") && e.contains("have no blocks"), "{e}");
    }
}

/// A denoising module hands on what it computes from the whole input, and trains on another.
#[test]
fn a_denoising_module_hands_on_what_it_computes_from_the_whole_input() {
    let run = |corruption: f64| {
        let pool = Pool::new();
        let mut settings = LossSettings::default();
        settings.autoencoder.corruption = corruption;
        let mut one = module(LossKind::Autoencoder, &settings, 1, 1.0, &pool);
        let (x, step) = (input(0, &pool), info(LossKind::Autoencoder, 0, 1));
        let before = x.to_vec();
        one.forward(&x, Layout::dense(GRID), Mode::Validate);
        let validated = one.validate(step).loss;
        let (trained, out) = train(&mut one, &x, step);
        assert_eq!(x.to_vec(), before, "the input is read only");
        (validated, f64::from_bits(trained), out.to_vec(), bytes(&mut one))
    };
    let (whole, noisy) = (run(0.0), run(0.5));
    assert!(whole.0 == whole.1, "the loss that is validated is the loss of the step");
    assert!(noisy.0 == whole.0, "the whole input is validated");
    assert!(noisy.2 == whole.2, "the whole input is handed on");
    assert!(noisy.1 != whole.1 && noisy.3 != whole.3, "another input trains");
    assert!(noisy == run(0.5), "the same values are zeroed again");
}

/// What a loss cannot use is an error that names the setting.
#[test]
fn impossible_settings_and_shapes_are_refused() {
    let refuses = |kind: LossKind, settings: &LossSettings, place: &Place, shape: Shape| {
        let built = settings.build::<f64>(kind, place, Key::new(1, Purpose::Init));
        built.and_then(|loss| loss.check(shape, None)).unwrap_err().to_string()
    };
    let mut settings = LossSettings::default();
    let of = |kind| place(kind, 6);
    let kind = LossKind::TimeContrastive;
    let e = refuses(kind, &settings, &of(kind), Shape { width: 3, ..GRID });
    assert!(e.contains("loss.time-contrastive.segments") && e.contains("3 positions"), "{e}");
    settings.time_contrastive.segments = 1;
    assert!(refuses(kind, &settings, &of(kind), GRID).contains("use 2 segments or more"));
    let kind = LossKind::PermutationContrastive;
    settings.permutation_contrastive.distance = 5;
    assert!(refuses(kind, &settings, &of(kind), GRID).contains("fewer than two pairs at distance 5"));
    let kind = LossKind::Lpl;
    settings.lpl.projector = vec![1];
    assert!(refuses(kind, &settings, &of(kind), GRID).contains("use 2 channels or more"));
    let kind = LossKind::Autoencoder;
    settings.autoencoder.corruption = 1.0;
    assert!(refuses(kind, &settings, &of(kind), GRID).contains("loss.autoencoder.corruption"));
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
        let optimizer = OptimizerConfig { lr: 0.01, ..OptimizerConfig::default() }.build().unwrap();
        let loss = build(LossKind::VicReg, settings, 6);
        let parts = Parts { encoder, readout: None, context: None, loss, optimizer };
        let mut one = LocalModule::new(1, parts, pool.clone());
        // A constant channel, which all positions share, is what remains.
        let values: Vec<f32> =
            uniform(GRID.len(), 1).iter().enumerate().map(|(i, x)| if i % 6 == 0 { 1.0 } else { *x as f32 }).collect();
        let x = Activations::from_slice(Layout::dense(GRID), &values, &pool).detach();
        (0..2_000).for_each(|step| drop(train(&mut one, &x, info(LossKind::VicReg, step, 1))));
        one.spread().unwrap()
    };
    assert!(run(&settings) < LEAST_SPREAD, "invariance alone: {}", run(&settings));
    let kept = run(&LossSettings::default());
    assert!(kept > 100.0 * LEAST_SPREAD, "{kept}");
}
