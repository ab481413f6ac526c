//! Every loss against finite differences, with every sampler; products against their definition; threads and bits.

use gim_core::activations::{Activations, Layout, Shape};
use gim_core::kernels::gemm::{Mat, MatMut, Store, matmul, matmul_naive};
use gim_core::loss::{CrossEntropy, CrossEntropyConfig, Directions, InfoNce, InfoNceConfig, LocalLoss, StepInfo};
use gim_core::param::Params;
use gim_core::sampler::{Direction, NegativeSampler, PredictionGrid, Recorded, SamplerKind, Targets};
use gim_core::testing::vectors::{farthest, of};
use gim_core::testing::{check_loss, uniform};
use gim_core::{Key, Pool, Purpose, Scalar};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;

fn step(labels: &[i32]) -> StepInfo<'_> {
    StepInfo { seed: 5, step: 3, module: 2, labels }
}

#[test]
fn infonce() {
    for (i, kind) in SamplerKind::ALL.into_iter().enumerate() {
        for (context, skip, epsilon, window) in
            [(None, 0, None, Some(6)), (Some(3), 1, None, None), (None, 0, Some(1e-3), Some(7))]
        {
            let way = Direction::ALL[i % 4];
            let config = InfoNceConfig {
                channels: 4,
                context: context.unwrap_or(4),
                prediction_steps: 3,
                negatives: 3,
                skip,
                window,
                epsilon,
                direction: way,
                ..InfoNceConfig::default()
            };
            let key = Key::new(i as u64, Purpose::Init);
            let mut loss = InfoNce::new(config, kind.build(), key).unwrap();
            let z = if way.sideways() { (2, 8) } else { (8, 2) };
            let z = Shape { batch: 2, height: z.0, width: z.1, channels: 4 };
            check_loss(&mut loss, z, context.map(|c| z.with_channels(c)), step(&[]));
        }
    }
}

fn small() -> InfoNceConfig {
    InfoNceConfig {
        channels: 3,
        context: 3,
        prediction_steps: 2,
        negatives: 4,
        skip: 1,
        window: None,
        ..InfoNceConfig::default()
    }
}

/// What a replica with this share of the batch would draw by.
struct Share(u64, Box<dyn NegativeSampler>);

impl NegativeSampler for Share {
    fn name(&self) -> &'static str {
        self.1.name()
    }

    fn draw(&mut self, grid: &PredictionGrid, rng: &mut ChaCha8Rng) {
        rng.set_stream(self.0);
        self.1.draw(grid, rng);
    }

    fn negatives(&self, grid: &PredictionGrid, k: usize, out: &mut [u32]) {
        self.1.negatives(grid, k, out);
    }
}

/// Gradients of features and contexts, loss, and gradient of the predictor.
fn evaluated(
    loss: &mut InfoNce<f32>,
    z: (Shape, &[f32]),
    c: Option<(Shape, &[f32])>,
) -> (Vec<f32>, Vec<f32>, f64, Vec<f32>) {
    let pool = Pool::new();
    let of = |(shape, values)| Activations::from_slice(Layout::dense(shape), values, &pool);
    let (z, c) = (of(z), c.map(of));
    let mut dz = Activations::new(z.layout(), &pool);
    let mut dc = c.as_ref().map(|c| Activations::new(c.layout(), &pool));
    loss.visit(&mut |p| p.attach_grad(&pool));
    let report = loss.value_and_grad(&z, c.as_ref(), step(&[]), Some(&mut dz), dc.as_mut(), &pool);
    let mut dw = Vec::new();
    loss.visit(&mut |p| dw.extend_from_slice(p.grad_mut()));
    (dz.to_vec(), dc.map_or(Vec::new(), |dc| dc.to_vec()), report.loss, dw)
}

/// A batch whose negatives stay in two shares is two batches that do not know of each other. Features'
/// gradients agree in their bits, twice as large for a mean over half as many rows; the loss is the mean
/// and the predictor's gradient the sum, to rounding. Negatives from the whole batch are something else.
#[test]
fn a_share_is_a_batch_of_its_own() {
    let whole = Shape { batch: 4, height: 7, width: 3, channels: 3 };
    let half = Shape { batch: 2, ..whole };
    let values = |seed| uniform(whole.len(), seed).iter().map(|x| *x as f32).collect::<Vec<_>>();
    let (z, c) = (values(1), values(2));
    let key = Key::new(2, Purpose::Init);
    for (kind, contexts) in SamplerKind::ALL.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let of = |sampler| InfoNce::<f32>::new(small(), sampler, key).unwrap();
        let all = |sampler| evaluated(&mut of(sampler), (whole, &z), contexts.then_some((whole, &c)));
        let (dz, dc, loss, dw) = all(kind.build_shares(2));
        if kind != SamplerKind::WithinSequence {
            assert!(all(kind.build()).0 != dz, "{kind}: shares change nothing");
        }
        let (mut sum, mut mean) = (vec![0.0f32; dw.len()], 0.0);
        for share in 0..2 {
            let part = share as usize * half.len()..(share as usize + 1) * half.len();
            let own = contexts.then(|| (half, &c[part.clone()]));
            let alone = evaluated(&mut of(Box::new(Share(share, kind.build()))), (half, &z[part.clone()]), own);
            let halved = |x: &[f32]| x.iter().map(|x| x / 2.0).collect::<Vec<_>>();
            assert_eq!(dz[part.clone()], halved(&alone.0), "{kind}, share {share}");
            if contexts {
                assert_eq!(dc[part], halved(&alone.1), "{kind}, share {share}");
            }
            sum.iter_mut().zip(&alone.3).for_each(|(sum, x)| *sum += x / 2.0);
            mean += alone.2 / 2.0;
        }
        assert!((loss - mean).abs() < 1e-12 * mean, "{kind}: {loss} and {mean}");
        let error = sum.iter().zip(&dw).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(error < 1e-6, "{kind}: {error}");
    }
}

#[test]
fn several_directions() {
    let key = Key::new(2, Purpose::Init);
    let mut loss = Directions::new(&small(), &Direction::ALL, || SamplerKind::Targets.build(), key).unwrap();
    let z = Shape { batch: 2, height: 5, width: 4, channels: 3 };
    check_loss(&mut loss, z, None, step(&[]));
    check_loss(&mut loss, z, Some(z), step(&[]));
}

/// Wide features are scored a few distances at a time, narrow ones all at once. Channels that are zero widen them and must change
/// nothing: finite differences cannot see a group that uses the weights of another, since its gradient is wrong in the same way.
#[test]
fn groups_of_distances_use_their_own_weights() {
    let (items, steps, prediction_steps, few) = (2, 9, 5, 4);
    let pool = Pool::new();
    let weights = uniform(prediction_steps * few * few, 21);
    let values = uniform(items * steps * few, 22);
    let run = |channels: usize| {
        let config =
            InfoNceConfig { channels, context: channels, prediction_steps, negatives: 3, window: None, ..small() };
        let mut loss = InfoNce::<f64>::new(config, SamplerKind::Others.build(), Key::new(1, Purpose::Init)).unwrap();
        loss.visit(&mut |p| {
            p.value.fill(0.0);
            for (row, from) in weights.chunks_exact(few).enumerate() {
                let to = (row / few * channels + row % few) * channels;
                p.value[to..to + few].copy_from_slice(from);
            }
            p.attach_grad(&pool);
        });
        let layout = Layout::dense(Shape::sequence(items, steps, channels));
        let mut z = Activations::zeros(layout, &pool);
        for (row, from) in values.chunks_exact(few).enumerate() {
            z.at_mut(row)[..few].copy_from_slice(from);
        }
        let mut dz = Activations::new(layout, &pool);
        loss.value_and_grad(&z, None, step(&[]), Some(&mut dz), None, &pool);
        let mut out = loss.per_prediction_step().to_vec();
        (0..items * steps).for_each(|row| out.extend_from_slice(&dz.at(row)[..few]));
        loss.visit(&mut |p| {
            for row in 0..prediction_steps * few {
                let from = (row / few * channels + row % few) * channels;
                out.extend_from_slice(&p.grad()[from..from + few]);
            }
        });
        out
    };
    // 1024 channels: distances 1 and 2, then 3 and 4, then 5.
    let (narrow, wide) = (run(few), run(1024));
    for (i, (a, b)) in narrow.iter().zip(&wide).enumerate() {
        assert!((a - b).abs() < 1e-12, "number {i}: {a} all at once, {b} in groups");
    }
}

/// A module whose features have collapsed ties every negative with the positive: its loss is chance,
/// and it wins nothing.
#[test]
fn collapsed_features_win_nothing() {
    let pool = Pool::new();
    let config = InfoNceConfig { negatives: 4, window: None, ..small() };
    let mut loss = InfoNce::<f64>::new(config, SamplerKind::Others.build(), Key::new(1, Purpose::Init)).unwrap();
    loss.visit(&mut |p| p.attach_grad(&pool));
    let shape = Shape::sequence(4, 12, 3);
    let z = Activations::from_slice(Layout::dense(shape), &vec![0.5; shape.len()], &pool);
    let report = loss.value_and_grad(&z, None, step(&[]), None, None, &pool);
    assert!((report.loss - 5f64.ln()).abs() < 1e-9, "{report:?}");
    assert_eq!(report.accuracy, 0.0);
}

/// Predicting another way is predicting downwards in a grid that was turned or mirrored.
#[test]
fn directions_are_those_of_a_turned_grid() {
    let (items, height, width, c) = (2, 6, 5, 3);
    let pool = Pool::new();
    let value = |direction, height, width, data: &[f64]| {
        let config = InfoNceConfig { direction, negatives: 1, ..small() };
        // The only negative is the target of the first row, wherever the draws fall.
        let first = vec![vec![0; 400]; 2];
        let sampler = Box::new(Recorded(Targets::from_rows(first)));
        let mut loss = InfoNce::<f64>::new(config, sampler, Key::new(1, Purpose::Init)).unwrap();
        loss.visit(&mut |p| p.attach_grad(&pool));
        let layout = Layout::dense(Shape { batch: items, height, width, channels: c });
        let z = Activations::from_slice(layout, data, &pool);
        loss.value_and_grad(&z, None, step(&[]), None, None, &pool).loss
    };
    let x = uniform(items * height * width * c, 8);
    let turn = |rows: usize, columns: usize, from: &dyn Fn(usize, usize) -> (usize, usize)| -> Vec<f64> {
        let mut out = Vec::new();
        for b in 0..items {
            for i in 0..rows {
                for j in 0..columns {
                    let (y, x_) = from(i, j);
                    let at = ((b * height + y) * width + x_) * c;
                    out.extend_from_slice(&x[at..at + c]);
                }
            }
        }
        out
    };
    let down = |rows, columns, data: Vec<f64>| value(Direction::Down, rows, columns, &data);
    let pairs = [
        (Direction::Up, down(height, width, turn(height, width, &|i, j| (height - 1 - i, j)))),
        (Direction::Right, down(width, height, turn(width, height, &|i, j| (j, i)))),
        (Direction::Left, down(width, height, turn(width, height, &|i, j| (j, width - 1 - i)))),
    ];
    for (direction, want) in pairs {
        let got = value(direction, height, width, &x);
        assert!((got - want).abs() < 1e-12, "{direction:?}: {got}, turned {want}");
    }
}

#[test]
fn cross_entropy() {
    for (bins, labels) in [(1, vec![2, 0]), (3, vec![1, -1, 0, 2, 2, 1])] {
        let config = CrossEntropyConfig { channels: 4, classes: 3, bins: Some(bins) };
        let mut loss = CrossEntropy::new(config, Key::new(1, Purpose::Init)).unwrap();
        let z = Shape { batch: 2, height: 7, width: 1, channels: 4 };
        check_loss(&mut loss, z, None, step(&labels));
    }
}

/// The check itself must be able to fail: a loss with a wrong gradient is found out.
#[test]
#[should_panic(expected = "finite differences")]
fn a_wrong_gradient_is_found() {
    struct Wrong(CrossEntropy<f64>);
    impl gim_core::param::Params<f64> for Wrong {
        fn visit(&mut self, f: &mut dyn FnMut(&mut gim_core::param::Param<f64>)) {
            self.0.visit(f);
        }
    }
    impl LocalLoss<f64> for Wrong {
        fn describe(&self) -> String {
            "wrong".into()
        }
        fn check(&self, z: Shape, c: Option<Shape>) -> gim_core::Result<()> {
            self.0.check(z, c)
        }
        fn value_and_grad(
            &mut self,
            z: &gim_core::activations::Activations<f64>,
            c: Option<&gim_core::activations::Activations<f64>>,
            step: StepInfo<'_>,
            dz: Option<&mut gim_core::activations::Activations<f64>>,
            dc: Option<&mut gim_core::activations::Activations<f64>>,
            pool: &Pool<f64>,
        ) -> gim_core::loss::LossReport {
            let r = self.0.value_and_grad(z, c, step, dz, dc, pool);
            gim_core::loss::LossReport { loss: 1.01 * r.loss, ..r }
        }
        fn multiply_adds(&self, _: Shape) -> u64 {
            0
        }
    }
    let config = CrossEntropyConfig { channels: 4, classes: 3, bins: Some(1) };
    let mut loss = Wrong(CrossEntropy::new(config, Key::new(1, Purpose::Init)).unwrap());
    check_loss(&mut loss, Shape { batch: 2, height: 7, width: 1, channels: 4 }, None, step(&[2, 0]));
}

/// Largest distance of a·b, or of 1 + a·b, to its definition in f64 of the same (rounded) values; rows of a are `stride` apart.
fn product_error<F: Scalar>(m: usize, k: usize, n: usize, stride: usize, add: bool) -> f64 {
    let values = |n, seed| of::<F>(&uniform(n, seed));
    let (a, b) = (values(m * stride + k, 1), values(k * n, 2));
    let mut c = vec![if add { F::one() } else { F::nan() }; m * n];
    let (left, right) = (Mat::strided(&a, m, k, stride), Mat::new(&b, n, k).t());
    let store = if add { Store::Add } else { Store::Overwrite };
    matmul(left, right, MatMut::new(&mut c, m, n), store, &Pool::new());
    let wide = |x: &[F]| x.iter().map(|x| x.f64()).collect::<Vec<_>>();
    let (a, b) = (wide(&a), wide(&b));
    let start = f64::from(u8::from(add));
    let want = matmul_naive(Mat::strided(&a, m, k, stride), Mat::new(&b, n, k).t());
    farthest(&c, &want.iter().map(|w| w + start).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn products_agree_with_their_definition(m in 1usize..200, k in 1usize..300, n in 1usize..200, overlap in 0usize..2, add: bool) {
        let stride = if overlap == 1 { k.div_ceil(2) } else { k + 3 };
        let exact = product_error::<f64>(m, k, n, stride, add);
        prop_assert!(exact < 1e-9, "f64: {exact}");
        // Sums of up to 300 values below 1.
        let rounded = product_error::<f32>(m, k, n, stride, add);
        prop_assert!(rounded < 1e-4, "f32: {rounded}");
    }
}

/// Deep products are cut along their depth: same value, and the same bits for any number of threads.
#[test]
fn deep_products_and_threads() {
    let (m, k, n) = (70, 9000, 40);
    let (a, b) = (uniform(k * m, 1), uniform(k * n, 2));
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut c = vec![f64::NAN; m * n];
        pool.install(|| {
            matmul(
                Mat::new(&a, k, m).t(),
                Mat::new(&b, k, n),
                MatMut::new(&mut c, m, n),
                Store::Overwrite,
                &Pool::new(),
            );
        });
        c
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
    let want = matmul_naive(Mat::new(&a, k, m).t(), Mat::new(&b, k, n));
    assert!(one.iter().zip(&want).all(|(c, w)| (c - w).abs() < 1e-9));
}
