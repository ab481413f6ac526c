//! Agreement of local losses with PyTorch, on the vectors of `parity/losses_torch.py`.

use std::path::Path;

use gim_core::activations::{Activations, Layout, Shape};
use gim_core::loss::{
    AutoencoderRule, BarlowTwins, BarlowTwinsRule, ClappRule, ClappUpdate, Estimator, InfoNce, InfoNceConfig,
    InputBlock, LocalLoss, LossRule, Lpl, LplRule, NtXent, NtXentRule, PermutationContrastiveRule, Place, Prediction,
    StepInfo, TimeContrastiveRule, TwoViewLoss, VicReg, VicRegRule,
};
use gim_core::sampler::{NegativeSampler, PredictionGrid, SamplerKind};
use gim_core::testing::vectors::{Vectors, close, of, tolerance};
use gim_core::{Key, Pool, Purpose, Scalar};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

fn open() -> Vectors {
    Vectors::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/losses.safetensors"))
}

fn two_views<F: Scalar>() {
    let (case, pool) = (open(), Pool::new());
    let views: Vec<F> = of(&case.floats("views"));
    let (vicreg, barlow, nt_xent) = (VicRegRule::default(), BarlowTwinsRule::default(), NtXentRule::default());
    let lpl = LplRule::default();
    let losses: [(&str, Box<dyn TwoViewLoss<F>>); 4] = [
        (
            "vicreg",
            Box::new(VicReg {
                invariance: vicreg.invariance,
                variance: vicreg.variance,
                covariance: vicreg.covariance,
            }),
        ),
        ("barlow_twins", Box::new(BarlowTwins { redundancy: barlow.redundancy })),
        ("nt_xent", Box::new(NtXent { temperature: nt_xent.temperature })),
        ("lpl", Box::new(Lpl { hebbian: lpl.hebbian, decorrelation: lpl.decorrelation })),
    ];
    let (of_value, of_grad) = tolerance::<F>();
    for (name, mut loss) in losses {
        let mut grad = vec![F::nan(); views.len()];
        let report = loss.value_and_grad(&views, case.n("C"), &mut grad, &pool);
        close(name, &[report.loss], &case.floats(&format!("{name}.loss")), of_value);
        close(name, &grad, &case.floats(&format!("{name}.grad")), of_grad);
    }
}

#[test]
fn two_view_losses_agree_with_pytorch() {
    two_views::<f32>();
    two_views::<f64>();
}

/// Negatives of each distance, as recorded.
struct Given(Vec<Vec<u32>>);

impl NegativeSampler for Given {
    fn name(&self) -> &'static str {
        "given"
    }
    fn draw(&mut self, _: &PredictionGrid, _: &mut ChaCha8Rng) {}
    fn negatives(&self, _: &PredictionGrid, k: usize, out: &mut [u32]) {
        out.copy_from_slice(&self.0[k - 1]);
    }
}

/// The recorded values of a loss: its name, the tensor of its features (N, T, C), and the tensors of its
/// parameters, in order.
struct Case<'a> {
    name: &'a str,
    features: &'a str,
    params: &'a [&'a str],
}

/// Loss and gradients of `loss` on recorded features and parameters.
fn agrees<F: Scalar>(vectors: &Vectors, case: &Case<'_>, loss: &mut dyn LocalLoss<F>, step: StepInfo<'_>) {
    let (pool, name) = (Pool::new(), case.name);
    let mut params = case.params.iter();
    loss.visit(&mut |p| {
        p.value = of(&vectors.floats(params.next().unwrap()));
        p.attach_grad(&pool);
    });
    assert!(params.next().is_none(), "{name}: fewer parameters than recorded");
    let shape = vectors.shape(case.features);
    let layout = Layout::dense(Shape::sequence(shape[0], shape[1], shape[2]));
    let z = Activations::from_slice(layout, &of(&vectors.floats(case.features)), &pool);
    let mut dz = Activations::new(layout, &pool);
    let report = loss.value_and_grad(&z, None, step, Some(&mut dz), None, &pool);
    let (of_value, of_grad) = tolerance::<F>();
    close(name, &[report.loss], &vectors.floats(&format!("{name}.loss")), of_value);
    close(name, &dz.to_vec(), &vectors.floats(&format!("{name}.dz")), of_grad);
    let mut params = case.params.iter();
    loss.visit(&mut |p| {
        let param = params.next().unwrap();
        let own = param.rsplit('.').next().unwrap();
        close(param, p.grad(), &vectors.floats(&format!("{name}.d{own}")), of_grad);
    });
}

fn info(step: u64) -> StepInfo<'static> {
    StepInfo { seed: 1, step, module: 1, labels: &[] }
}

fn place(case: &Vectors, input: InputBlock) -> Place {
    let prediction = Prediction {
        prediction_steps: case.n("K"),
        negatives: 1,
        sampler: SamplerKind::Others,
        skip: 0,
        window: None,
        epsilon: None,
        directions: None,
    };
    Place { channels: case.n("C"), context: case.n("C"), input, prediction, supervision: None }
}

/// A block that no loss but the autoencoder knows.
const NO_BLOCK: InputBlock = InputBlock { height: 1, width: 1, channels: 1 };

fn predictions<F: Scalar>() {
    let case = open();
    let (channels, steps, shift) = (case.n("C"), case.n("K"), case.n("shift"));
    let key = Key::new(0, Purpose::Init);
    for estimator in Estimator::ALL {
        let config = InfoNceConfig {
            channels,
            context: channels,
            prediction_steps: steps,
            negatives: case.n("negatives"),
            window: None,
            estimator,
            ..InfoNceConfig::default()
        };
        let negatives = (1..=steps).map(|k| case.ints(&format!("negatives.{k}"))).collect();
        let mut loss = InfoNce::<F>::new(config, Box::new(Given(negatives)), key).unwrap();
        let of = Case { name: &estimator.name().to_lowercase(), features: "z", params: &["w"] };
        agrees(&case, &of, &mut loss, info(0));
    }
    // A step that draws the recorded shift of the batch.
    let draws = |step: &u64| info(*step).key(Purpose::Negatives).rng().random_range(1..case.n("N")) == shift;
    let step = (0..).find(draws).unwrap();
    for (name, update, params) in [
        ("clapp", ClappUpdate::Gradient, &["w"][..]),
        ("clapp_two-weights", ClappUpdate::TwoWeights, &["w", "v"]),
        ("clapp_target", ClappUpdate::Target, &["w"]),
        ("clapp_scalar", ClappUpdate::Scalar, &["w"]),
    ] {
        let rule = ClappRule { update, ..ClappRule::default() };
        let mut loss = rule.build::<F>(&place(&case, NO_BLOCK), key).unwrap();
        agrees(&case, &Case { name, features: "z", params }, &mut *loss, info(step));
    }
}

#[test]
fn losses_that_predict_agree_with_pytorch() {
    predictions::<f32>();
    predictions::<f64>();
}

fn regressions<F: Scalar>() {
    let (case, key) = (open(), Key::new(0, Purpose::Init));
    let mut loss = TimeContrastiveRule { segments: 3 }.build::<F>(&place(&case, NO_BLOCK), key).unwrap();
    let of = Case { name: "segments", features: "z", params: &["segments.weight", "segments.bias"] };
    agrees(&case, &of, &mut *loss, info(0));

    // A step that draws the recorded times of the permuted pairs.
    let others = case.ints("others");
    let draws = |step: &u64| {
        let mut rng = info(*step).key(Purpose::Negatives).rng();
        others.iter().all(|t| rng.random_range(0..3usize) == *t as usize)
    };
    let step = (0..1_000_000).find(draws).unwrap();
    let mut loss = PermutationContrastiveRule::default().build::<F>(&place(&case, NO_BLOCK), key).unwrap();
    let of = Case { name: "pcl", features: "short", params: &["pcl.pair", "pcl.alone", "pcl.offset"] };
    agrees(&case, &of, &mut *loss, info(step));
}

#[test]
fn logistic_regressions_agree_with_pytorch() {
    regressions::<f32>();
    regressions::<f64>();
}

fn reconstructions<F: Scalar>() {
    let (case, pool) = (open(), Pool::new());
    let block = InputBlock { height: 2, width: 1, channels: 2 };
    for input in ["input", "input_long"] {
        let shape = case.shape(input);
        let layout = Layout::padded(Shape::sequence(shape[0], shape[1], shape[2]), 1, shape[1] + 3);
        let x = Activations::from_slice(layout, &of::<F>(&case.floats(input)), &pool).detach();
        let mut loss = AutoencoderRule::default().build::<F>(&place(&case, block), Key::new(0, Purpose::Init)).unwrap();
        loss.check_input(x.shape(), Shape::sequence(case.n("N"), case.n("T"), case.n("C"))).unwrap();
        loss.set_input(Some(&x));
        let name = format!("autoencoder.{input}");
        let params = ["weight", "bias"].map(|p| format!("{name}.{p}"));
        let of = Case { name: &name, features: "z", params: &[&params[0], &params[1]] };
        agrees(&case, &of, &mut *loss, info(0));
    }
}

#[test]
fn autoencoders_agree_with_pytorch() {
    reconstructions::<f32>();
    reconstructions::<f64>();
}
