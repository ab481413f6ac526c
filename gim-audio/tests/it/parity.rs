//! Agreement with PyTorch on recorded test vectors: outputs and losses to 1e-5, gradients to 1e-4
//! in f32, 1e-6 in f64.

use std::path::Path;
use std::sync::Arc;

use gim_audio::layers::conv1d::{Conv1d, Conv1dConfig};
use gim_audio::layers::gru::{Gru, GruConfig};
use gim_core::activations::{Activations, Layout, Shape};
use gim_core::layers::Sequential;
use gim_core::layers::{InputGrad, Keep, Layer, LayerInfo};
use gim_core::link::Packet;
use gim_core::loss::{CrossEntropy, CrossEntropyConfig, InfoNce, InfoNceConfig, LocalLoss, LossReport, StepInfo};
use gim_core::module::{LocalModule, Mode, Parts};
use gim_core::optim::{Adam, AdamConfig, Optimizer};
use gim_core::param::{Param, Params};
use gim_core::sampler::{Direction, Exact, NegativeSampler, Permuted, PredictionGrid, Recorded, WithinSequence};
use gim_core::schedule::step_in_turn;
use gim_core::stack::Stack;
use gim_core::testing::vectors::{Vectors, close, of, tolerance};
use gim_core::{Key, Pool, Purpose, Scalar};

fn open(name: &str) -> Vectors {
    Vectors::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.safetensors")))
}

/// (N, C, L) → (N, L, C); its own inverse with `rows` and `cols` exchanged.
fn transpose(x: &[f64], n: usize, rows: usize, cols: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(x.len());
    for b in 0..n {
        for j in 0..cols {
            out.extend((0..rows).map(|i| x[(b * rows + i) * cols + j]));
        }
    }
    out
}

fn key() -> Key {
    Key::new(0, Purpose::Init)
}

const CONVS: [(usize, usize, usize); 5] = [(10, 5, 2), (8, 4, 2), (4, 2, 2), (4, 2, 2), (4, 2, 1)];

/// Name in the test vectors, and kernel size of a convolution's weight (0 for other parameters).
fn published(name: &str) -> (String, usize) {
    let (rest, last) = name.rsplit_once('.').unwrap();
    match rest.split_once('.') {
        Some(("encoder", layer)) => (format!("encoder.model.layer {layer}.0.{last}"), usize::from(last == "weight")),
        Some(("loss", "linear")) => (format!("loss.linear_classifier.0.{last}"), 0),
        Some(("loss", _)) => (name.to_owned(), 0),
        _ => (format!("autoregressor.gru.{last}"), 0),
    }
}

fn find(case: &Vectors, prefix: &str, name: &str) -> (String, bool) {
    let (n, conv) = published(name);
    let n = format!("{prefix}{n}");
    if case.has(&n) { (n, conv == 1) } else { (format!("{n}_l0"), conv == 1) }
}

/// The values of a parameter in our layout.
fn values<F: Scalar>(case: &Vectors, prefix: &str, p: &Param<F>) -> Vec<f64> {
    let (name, conv) = find(case, prefix, &p.name);
    let v = case.floats(&name);
    if conv {
        let s = case.shape(&name);
        transpose(&v, s[0], s[1], s[2])
    } else {
        v
    }
}

fn set<F: Scalar>(case: &Vectors, prefix: &str, params: &mut dyn Params<F>) {
    params.visit(&mut |p| p.value = of(&values(case, prefix, p)));
}

fn gru<F: Scalar>(hidden: usize, bptt: bool) -> Box<dyn Layer<F>> {
    Box::new(Gru::new(GruConfig { in_channels: 8, hidden, bptt }, key()).unwrap())
}

fn conv<F: Scalar>(in_channels: usize, (kernel_size, stride, padding): (usize, usize, usize)) -> Box<dyn Layer<F>> {
    Box::new(Conv1d::new(Conv1dConfig { in_channels, out_channels: 8, kernel_size, stride, padding }, key()).unwrap())
}

fn sampler(case: &Vectors, grid: &PredictionGrid) -> Box<dyn NegativeSampler> {
    match case.n("method") {
        0 => {
            let offsets = (1..=grid.prediction_steps).map(|k| case.ints(&format!("draw.offsets.k{k}"))).collect();
            Box::new(Recorded(Exact::from_offsets(offsets)))
        }
        1 => Box::new(Recorded(Permuted::from_permutations(grid, &case.ints("draw.perms")))),
        _ => Box::new(Recorded(WithinSequence::from_permutations(case.ints("draw.perms"), case.n("start_neg")))),
    }
}

/// The recorded frames of the negatives, which pin the samplers' arithmetic by themselves.
fn check_rows(case: &Vectors, grid: &PredictionGrid, sampler: &dyn NegativeSampler) {
    for k in [1, grid.prediction_steps] {
        let want = case.ints(&format!("draw.resolved_rows.k{k}"));
        let mut got = vec![0; want.len()];
        sampler.negatives(grid, k, &mut got);
        let (n, steps) = (grid.negatives, grid.contexts(k));
        for row in 0..grid.rows(k) {
            let (step, item, _) = grid.place(row);
            assert_eq!(got[row * n..(row + 1) * n], want[(item * steps + step) * n..][..n], "k {k}, row {row}");
        }
    }
}

/// Mean over k of the share of rows whose positive scores above all `negatives` of k (rows · N frames),
/// by more than rounding. A negative that is the positive itself is a tie, and lost.
///
/// z (frames, 8), c (frames, H), predictor (K · 8, H).
fn strict_accuracy(grid: &PredictionGrid, negatives: &[Vec<u32>], z: &[f64], c: &[f64], predictor: &[f64]) -> f64 {
    let hidden = c.len() / (z.len() / 8);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let share = |(i, negatives): (usize, &Vec<u32>)| {
        let (k, mut won) = (i + 1, 0);
        for (row, negatives) in negatives.chunks_exact(grid.negatives).enumerate() {
            let (t, item, line) = grid.place(row);
            let context = grid.at(grid.start + t, item, line);
            let target = grid.at(grid.start + t + grid.offset(k), item, line);
            let weights = predictor[i * 8 * hidden..].chunks_exact(hidden).take(8);
            let q: Vec<f64> = weights.map(|w| dot(w, &c[context * hidden..][..hidden])).collect();
            let score = |frame: usize| dot(&q, &z[frame * 8..][..8]);
            let least = score(target) - 1e-6 * (1.0 + score(target).abs());
            won += usize::from(negatives.iter().all(|n| score(*n as usize) < least));
        }
        won as f64 / grid.rows(k) as f64
    };
    negatives.iter().enumerate().map(share).sum::<f64>() / grid.prediction_steps as f64
}

fn module_case<F: Scalar>(name: &str) {
    let case = open(name);
    let (loss_tolerance, grad_tolerance) = tolerance::<F>();
    let specs: Vec<(usize, usize, usize)> = case.meta()["specs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s[0].as_u64().unwrap() as usize, s[1].as_u64().unwrap() as usize, s[2].as_u64().unwrap() as usize))
        .collect();
    let (batch, in_channels) = (case.n("B"), case.n("cin"));
    let mut encoder = Sequential::<F>::new(
        specs.iter().enumerate().map(|(i, s)| conv(if i == 0 { in_channels } else { 8 }, *s)).collect::<Vec<_>>(),
    );
    encoder.visit(&mut |p| p.name = format!("encoder.{}", p.name));
    let recurrent = case.meta()["use_gru"].as_bool().unwrap();
    let mut context = recurrent.then(|| gru::<F>(case.n("H"), !case.meta()["truncate"].as_bool().unwrap()));
    if let Some(c) = &mut context {
        c.visit(&mut |p| p.name = format!("context.{}", p.name));
    }
    let grid = PredictionGrid {
        items: batch,
        along: case.n("L_full"),
        across: 1,
        direction: Direction::Down,
        start: case.n("start"),
        window: case.n("L"),
        first_offset: 1,
        prediction_steps: case.n("K"),
        negatives: case.n("N"),
    };
    let sampler = sampler(&case, &grid);
    check_rows(&case, &grid, &*sampler);
    let negatives: Vec<Vec<u32>> = (1..=grid.prediction_steps)
        .map(|k| {
            let mut frames = vec![0; grid.rows(k) * grid.negatives];
            sampler.negatives(&grid, k, &mut frames);
            frames
        })
        .collect();
    let config = InfoNceConfig {
        channels: 8,
        context: if recurrent { case.n("H") } else { 8 },
        prediction_steps: grid.prediction_steps,
        negatives: grid.negatives,
        window: Some(grid.window),
        ..InfoNceConfig::default()
    };
    let mut loss = InfoNce::<F>::new(config, sampler, key()).unwrap().with_fixed_start(grid.start);
    set(&case, "param.", &mut encoder);
    set(&case, "param.", &mut loss);

    let pool = Pool::new();
    let raw = case.floats("in.x");
    let steps = raw.len() / batch / in_channels;
    let shape = Shape::sequence(batch, steps, in_channels);
    let z_shape = encoder.output(shape).unwrap();
    let z_layout = Layout::padded(z_shape, 1, z_shape.height + 2);
    let layout = encoder.input_layout(shape, z_layout);
    let x = Activations::from_slice(layout, &of(&transpose(&raw, batch, in_channels, steps)), &pool);
    let mut z = Activations::new(z_layout, &pool);
    if encoder.is_empty() {
        z = Activations::from_slice(z_layout, &x.to_vec(), &pool);
    } else {
        encoder.forward(&x, &mut z, Keep::ForBackward, &pool);
    }
    close("z", &z.to_vec(), &case.floats("out.z"), loss_tolerance);
    let c = context.as_mut().map(|context| {
        set(&case, "param.", &mut **context);
        let mut c = Activations::new(Layout::dense(z_shape.with_channels(case.n("H"))), &pool);
        context.forward(&z, &mut c, Keep::ForBackward, &pool);
        close("c", &c.to_vec(), &case.floats("out.c"), loss_tolerance);
        c
    });

    encoder.visit(&mut |p| p.attach_grad(&pool));
    loss.visit(&mut |p| p.attach_grad(&pool));
    let mut dz = Activations::new(z_layout, &pool);
    let mut dc = c.as_ref().map(|c| Activations::new(c.layout(), &pool));
    let info = StepInfo { seed: 0, step: 0, module: 1, labels: &[] };
    let report = loss.value_and_grad(&z, c.as_ref(), info, Some(&mut dz), dc.as_mut(), &pool);
    close("loss", &[report.loss], &case.floats("out.loss"), loss_tolerance);
    close("loss by k", loss.per_prediction_step(), &case.floats("out.loss_per_k"), loss_tolerance);
    let bounds = case.floats("out.accuracy_lo_hi_per_k");
    let most = bounds.iter().skip(1).step_by(2).sum::<f64>() / grid.prediction_steps as f64;
    // The recorded lower bound counts ties with other frames as won; here, all ties are lost.
    let contexts = c.as_ref().unwrap_or(&z).to_vec();
    let mut predictor = Vec::new();
    loss.visit(&mut |p| predictor = p.value.iter().map(|v| v.f64()).collect());
    let (wide, contexts) = (z.to_vec(), contexts.iter().map(|v| v.f64()).collect::<Vec<_>>());
    let wide: Vec<f64> = wide.iter().map(|v| v.f64()).collect();
    let least = strict_accuracy(&grid, &negatives, &wide, &contexts, &predictor);
    assert!(report.accuracy >= least - 1e-6 && report.accuracy <= most + 1e-6, "{least} to {most}: {report:?}");

    if let (Some(context), Some(c), Some(dc)) = (&mut context, &c, &mut dc) {
        context.visit(&mut |p| p.attach_grad(&pool));
        context.backward(&z, c, dc, InputGrad::Add(&mut dz), &pool);
    }
    let dx = if encoder.is_empty() {
        dz.to_vec()
    } else {
        let mut dx = Activations::new(layout, &pool);
        encoder.backward(&x, &z, &mut dz, InputGrad::Overwrite(&mut dx), &pool);
        dx.to_vec()
    };
    close("dx", &dx, &transpose(&case.floats("grad.in.x"), batch, in_channels, steps), grad_tolerance);
    let mut check = |p: &mut Param<F>| close(&p.name, p.grad(), &values(&case, "grad.param.", p), grad_tolerance);
    encoder.visit(&mut check);
    loss.visit(&mut check);
    if let Some(context) = &mut context {
        context.visit(&mut check);
    }
}

#[test]
fn audio_modules() {
    for name in [
        "audio_conv_method1",
        "audio_conv_method1_subsample",
        "audio_conv_method0_subsample",
        "audio_conv_method2",
        "audio_conv_method2_subsample",
        "audio_gru_bptt",
        "audio_gru_nobptt",
        "audio_cpc_end_to_end",
    ] {
        println!("{name}");
        module_case::<f32>(name);
        module_case::<f64>(name);
    }
}

/// An "optimizer" that keeps the gradients, so that whole modules can be compared.
struct Keeping(Arc<std::sync::Mutex<Gradients>>);

impl<F: Scalar> Optimizer<F> for Keeping {
    fn update(&mut self, params: &mut dyn Params<F>) {
        let mut seen = self.0.lock().unwrap();
        params.visit(&mut |p| seen.push((p.name.clone(), p.grad().iter().map(|g| g.f64()).collect())));
    }
    fn steps(&self) -> u64 {
        0
    }
    fn moments(&self) -> &'static [&'static str] {
        &[]
    }
    fn visit_state(&mut self, _: &[usize], _: &mut dyn FnMut(usize, usize, &mut Vec<F>)) {}
    fn set_steps(&mut self, _: u64) {}
}

type Gradients = Vec<(String, Vec<f64>)>;

/// The six isolated modules of the chain: losses and every module's gradients.
fn run_chain<F: Scalar>(case: &Vectors, scale_last: f64) -> (Vec<LossReport>, Vec<Gradients>) {
    let pool = Pool::<F>::new();
    let (lengths, starts) = (case.list("lengths"), case.list("starts"));
    let (batch, prediction_steps, negatives) = (case.n("B"), case.n("K"), case.n("N"));
    let mut kept = Vec::new();
    let modules = (0..6)
        .map(|i| {
            let window = lengths[i].min(128);
            let grid = PredictionGrid {
                items: batch,
                along: lengths[i],
                across: 1,
                direction: Direction::Down,
                start: starts[i],
                window,
                first_offset: 1,
                prediction_steps,
                negatives,
            };
            let draws = Permuted::from_permutations(&grid, &case.ints(&format!("draw.{i}.perms")));
            let context = (i == 5).then(|| gru(case.n("H"), true));
            let config = InfoNceConfig {
                channels: 8,
                context: if i == 5 { case.n("H") } else { 8 },
                prediction_steps,
                negatives,
                window: Some(window),
                ..InfoNceConfig::default()
            };
            let loss = InfoNce::new(config, Box::new(Recorded(draws)), key()).unwrap().with_fixed_start(starts[i]);
            let layers = if i == 5 { vec![] } else { vec![conv(if i == 0 { 1 } else { 8 }, CONVS[i])] };
            let gradients = Arc::default();
            kept.push(Arc::clone(&gradients));
            let parts = Parts {
                encoder: Sequential::new(layers),
                readout: None,
                context,
                loss: Box::new(loss),
                optimizer: Box::new(Keeping(gradients)),
            };
            let mut module = LocalModule::new(i + 1, parts, pool.clone());
            let prefix = format!("param.{i}.");
            let params = gim_core::module::Module::params(&mut module);
            set(case, &prefix, params);
            if i == 5 {
                params.visit(&mut |p| p.value.iter_mut().for_each(|v| *v *= F::of(scale_last)));
            }
            Box::new(module) as Box<dyn gim_core::module::Module<F>>
        })
        .collect();
    let mut stack = Stack::new(modules);
    let raw = case.floats("in.x");
    let shape = Shape::sequence(batch, raw.len() / batch, 1);
    let layouts = stack.layouts(shape).unwrap();
    let x = Activations::from_slice(layouts[0], &of(&raw), &pool).detach();
    let packet = Packet { x, step: 0, labels: Arc::from([]), layouts: layouts.clone() };
    let mut reports = Vec::new();
    step_in_turn(&mut stack, packet, 0, &[Mode::Train; 6], &mut |r| reports.push(r.loss)).unwrap();
    (reports, kept.iter().map(|k| k.lock().unwrap().clone()).collect())
}

fn chain_case<F: Scalar>() {
    let case = open("audio_gim6_chain");
    let (loss_tolerance, grad_tolerance) = tolerance::<F>();
    let (reports, gradients) = run_chain::<F>(&case, 1.0);
    for (i, (report, gradients)) in reports.iter().zip(&gradients).enumerate() {
        close("loss", &[report.loss], &case.floats(&format!("out.{i}.loss")), loss_tolerance);
        for (name, g) in gradients {
            let p = Param::new(name.clone(), &[g.len()], g.clone());
            close(&format!("module {i} {name}"), g, &values(&case, &format!("grad.param.{i}."), &p), grad_tolerance);
        }
    }
}

#[test]
fn isolated_chain() {
    chain_case::<f32>();
    chain_case::<f64>();
}

/// Changing the last module changes its own gradients and no bit of those below.
#[test]
fn modules_do_not_feel_the_ones_above() {
    let case = open("audio_gim6_chain");
    let (_, before) = run_chain::<f32>(&case, 1.0);
    let (_, after) = run_chain::<f32>(&case, 1.5);
    assert_eq!(before[..5], after[..5]);
    assert_ne!(before[5], after[5]);
}

#[test]
fn supervised_heads() {
    for name in ["supervised_phones", "supervised_phones_pool150", "supervised_speaker"] {
        supervised_case::<f32>(name);
        supervised_case::<f64>(name);
    }
}

fn supervised_case<F: Scalar>(name: &str) {
    let case = open(name);
    let (loss_tolerance, grad_tolerance) = tolerance::<F>();
    let config =
        CrossEntropyConfig { channels: case.n("C"), classes: case.n("classes"), bins: Some(case.n("label_num")) };
    let mut loss = CrossEntropy::<F>::new(config, key()).unwrap();
    set(&case, "param.", &mut loss);
    let pool = Pool::new();
    loss.visit(&mut |p| p.attach_grad(&pool));
    let layout = Layout::dense(Shape::sequence(case.n("B"), case.n("L"), case.n("C")));
    let c = Activations::from_slice(layout, &of(&case.floats("in.c")), &pool);
    close("logits", &loss.logits(&c, case.n("label_num"), &pool), &case.floats("out.logits"), loss_tolerance);
    let labels: Vec<i32> = case.ints("in.target").iter().map(|l| *l as i32).collect();
    let mut dc = Activations::new(layout, &pool);
    let info = StepInfo { seed: 0, step: 0, module: 1, labels: &labels };
    let report = loss.value_and_grad(&c, None, info, Some(&mut dc), None, &pool);
    close("loss", &[report.loss], &case.floats("out.loss"), loss_tolerance);
    close("dc", &dc.to_vec(), &case.floats("grad.in.c"), grad_tolerance);
    loss.visit(&mut |p| close(&p.name, p.grad(), &values(&case, "grad.param.", p), grad_tolerance));
}

struct One<F: Scalar>(Param<F>);
impl<F: Scalar> Params<F> for One<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        f(&mut self.0);
    }
}

fn adam_case<F: Scalar>() {
    let case = open("adam_5_steps");
    let (loss_tolerance, _) = tolerance::<F>();
    let pool = Pool::new();
    let mut w = One(Param::<F>::new("w", &[40], of(&case.floats("in.w0"))));
    let mut adam = Adam::new(AdamConfig::default()).unwrap();
    for (g, want) in case.floats("in.grads").chunks(40).zip(case.floats("out.w").chunks(40)) {
        w.0.attach_grad(&pool);
        w.0.grad_mut().copy_from_slice(&of::<F>(g));
        adam.update(&mut w);
        close("w", &w.0.value, want, loss_tolerance);
    }
}

#[test]
fn adam() {
    adam_case::<f32>();
    adam_case::<f64>();
}
