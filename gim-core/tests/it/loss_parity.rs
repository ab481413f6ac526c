//! Agreement of local losses with PyTorch, on the vectors of `parity/losses_torch.py`.

use std::path::Path;

use gim_core::activations::{Activations, Layout, Shape};
use gim_core::loss::{
    BarlowTwins, BarlowTwinsRule, Clapp, ClappRule, Estimator, InfoNce, InfoNceConfig, LocalLoss, NtXent, NtXentRule,
    Place, Prediction, StepInfo, TwoViewLoss, VicReg, VicRegRule,
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
    let losses: [(&str, Box<dyn TwoViewLoss<F>>); 3] = [
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

/// Loss and gradients of `loss` on the recorded features and predictor.
fn predicts<F: Scalar>(case: &Vectors, name: &str, loss: &mut dyn LocalLoss<F>, step: StepInfo<'_>) {
    let pool = Pool::new();
    loss.visit(&mut |p| {
        p.value = of(&case.floats("w"));
        p.attach_grad(&pool);
    });
    let layout = Layout::dense(Shape::sequence(case.n("N"), case.n("T"), case.n("C")));
    let z = Activations::from_slice(layout, &of(&case.floats("z")), &pool);
    let mut dz = Activations::new(layout, &pool);
    let report = loss.value_and_grad(&z, None, step, Some(&mut dz), None, &pool);
    let (of_value, of_grad) = tolerance::<F>();
    close(name, &[report.loss], &case.floats(&format!("{name}.loss")), of_value);
    close(name, &dz.to_vec(), &case.floats(&format!("{name}.dz")), of_grad);
    loss.visit(&mut |p| close(name, p.grad(), &case.floats(&format!("{name}.dw")), of_grad));
}

fn predictions<F: Scalar>() {
    let case = open();
    let (channels, steps, shift) = (case.n("C"), case.n("K"), case.n("shift"));
    let key = Key::new(0, Purpose::Init);
    let info = |step| StepInfo { seed: 1, step, module: 1, labels: &[] };
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
        predicts(&case, &estimator.name().to_lowercase(), &mut loss, info(0));
    }
    let prediction = Prediction {
        prediction_steps: steps,
        negatives: 1,
        sampler: SamplerKind::Others,
        skip: 0,
        window: None,
        epsilon: None,
        directions: None,
    };
    let place = Place { channels, context: channels, prediction, supervision: None };
    let mut clapp = Clapp::<F>::new(ClappRule::default(), &place, key).unwrap();
    // A step that draws the recorded shift of the batch.
    let draws = |step: &u64| info(*step).key(Purpose::Negatives).rng().random_range(1..case.n("N")) == shift;
    predicts(&case, "clapp", &mut clapp, info((0..).find(draws).unwrap()));
}

#[test]
fn losses_that_predict_agree_with_pytorch() {
    predictions::<f32>();
    predictions::<f64>();
}
