//! Agreement with PyTorch on recorded test vectors: outputs and losses to 1e-5, gradients to 1e-4
//! in f32, 1e-6 in f64.

use std::path::Path;

use gim_core::activations::{Activations, Layout, Shape};
use gim_core::layers::{InputGrad, ItemLayer, Itemwise, Keep, Layer, LayerInfo, Readout, ReadoutGrad};
use gim_core::loss::{CrossEntropy, CrossEntropyConfig, InfoNce, InfoNceConfig, LocalLoss, StepInfo};
use gim_core::param::{Param, Params};
use gim_core::sampler::{Recorded, Targets};
use gim_core::testing::vectors::{Vectors, close, of, tolerance};
use gim_core::{Key, Pool, Purpose, Scalar};
use gim_vision::layers::conv2d::{Conv2d, Conv2dConfig};
use gim_vision::layers::map_mean::MapMean;
use gim_vision::layers::normalize::{NormSets, Normalize};
use gim_vision::layers::normed_residual::NormedResidual;
use gim_vision::layers::patches::{PatchMean, Patches};
use gim_vision::layers::pixelcnn::PixelCnn;
use gim_vision::layers::pool2d::{Pool2d, Pooling};
use gim_vision::layers::relu::Relu;
use gim_vision::layers::residual::{BlockKind, Residual};

/// Test vectors of images, in our layouts.
struct Case(Vectors);

impl std::ops::Deref for Case {
    type Target = Vectors;
    fn deref(&self) -> &Vectors {
        &self.0
    }
}

impl Case {
    fn open(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.safetensors"));
        Self(Vectors::open(&path))
    }

    /// Numbers and shape of a tensor.
    fn tensor(&self, name: &str) -> (Vec<f64>, Vec<usize>) {
        (self.floats(name), self.shape(name))
    }

    /// (N, C, H, W) → (N, H, W, C); other tensors as they are.
    fn channels_last(&self, name: &str) -> Vec<f64> {
        let (x, s) = self.tensor(name);
        let &[n, c, h, w] = &s[..] else { return x };
        let mut out = Vec::with_capacity(x.len());
        for b in 0..n {
            for at in 0..h * w {
                out.extend((0..c).map(|i| x[(b * c + i) * h * w + at]));
            }
        }
        out
    }

    fn draws(&self, prefix: &str, prediction_steps: usize) -> Box<Recorded<Targets>> {
        Box::new(Recorded(Targets::from_rows(
            (1..=prediction_steps).map(|k| self.ints(&format!("{prefix}rand_index.k{k}"))).collect(),
        )))
    }

    /// The predictor in our layout, one (C, D) block per distance. The published loss applies W_k
    /// to the target, not to the context: the same bilinear form, transposed.
    fn predictor(&self, prefix: &str, prediction_steps: usize) -> Vec<f64> {
        let mut out = Vec::new();
        for k in 0..prediction_steps {
            let (w, s) = self.tensor(&format!("{prefix}W_k.{k}.weight"));
            for i in 0..s[1] {
                out.extend((0..s[0]).map(|o| w[o * s[1] + i]));
            }
        }
        out
    }
}

fn key() -> Key {
    Key::new(0, Purpose::Init)
}

fn info() -> StepInfo<'static> {
    StepInfo { seed: 0, step: 0, module: 1, labels: &[] }
}

/// Name of an encoder parameter in the test vectors. `first` = blocks before this module's first
/// one are the stem.
fn published(name: &str, stem: bool) -> String {
    let (layer, rest) = name.split_once('.').unwrap();
    let layer: usize = layer.parse().unwrap();
    if stem && layer == 0 {
        return format!("model.Conv1.{rest}");
    }
    format!("model.layer 0.{}.{}", layer - usize::from(stem), rest.replace("shortcut.", "shortcut.0."))
}

fn loss<F: Scalar>(case: &Case, draws: &str, channels: usize, epsilon: Option<f64>) -> InfoNce<F> {
    let config = InfoNceConfig {
        channels,
        context: channels,
        prediction_steps: case.n("K"),
        negatives: case.n("N"),
        skip: case.n("skip"),
        window: None,
        epsilon,
        ..InfoNceConfig::default()
    };
    InfoNce::new(config, case.draws(draws, case.n("K")), key()).unwrap()
}

fn modules_case<F: Scalar>(name: &str) {
    let case = Case::open(name);
    let (loss_tolerance, grad_tolerance) = tolerance::<F>();
    let kind = if case.meta()["block"] == "bottleneck" { BlockKind::Bottleneck } else { BlockKind::Basic };
    let (blocks, widths) = (case.list("blocks"), case.list("planes"));
    let (batch, side, size, in_channels) = (case.n("B"), case.n("img"), case.n("patch"), case.n("cin"));
    let patches = Patches::new(size, size / 2).unwrap();
    let pool = Pool::<F>::new();
    let images = Shape { batch, height: side, width: side, channels: in_channels };
    let mut x = patches.cut(&of::<F>(&case.channels_last("in.x")), images, Layout::dense(patches.shape(images)), &pool);
    let grid = [case.n("grid"); 2];
    for m in 0..3 {
        let mut layers: Vec<Box<dyn ItemLayer<F>>> = Vec::new();
        let mut channels = x.shape().channels;
        if m == 0 {
            layers.push(Box::new(Conv2d::new(Conv2dConfig::square(in_channels, widths[0], 5, 1), key()).unwrap()));
            channels = widths[0];
        }
        for b in 0..blocks[m] {
            let stride = if b == 0 && m > 0 { 2 } else { 1 };
            layers.push(Box::new(Residual::new(kind, channels, widths[m], stride, key()).unwrap()));
            channels = kind.channels(widths[m]);
        }
        let mut encoder = Itemwise::new(layers).with_chunk(30);
        let mut loss = loss::<F>(&case, &format!("draw.{m}."), channels, None);
        encoder.visit(&mut |p| {
            p.value = of(&case.channels_last(&format!("param.{m}.{}", published(&p.name, m == 0))));
            p.attach_grad(&pool);
        });
        loss.visit(&mut |p| {
            p.value = of(&case.predictor(&format!("param.{m}.loss."), case.n("K")));
            p.attach_grad(&pool);
        });
        let mut z = Activations::new(Layout::dense(encoder.output(x.shape()).unwrap()), &pool);
        encoder.forward(&x, &mut z, Keep::ForBackward, &pool);
        let shown: Vec<F> = (0..9).flat_map(|i| z.item(6 * i).to_vec()).collect();
        close(&format!("{m} z"), &shown, &case.channels_last(&format!("out.{m}.z")), loss_tolerance);
        let mean = PatchMean { grid };
        let read_shape = mean.output(z.shape()).unwrap();
        let mut read = Activations::new(Layout::dense(read_shape), &pool);
        mean.forward(&z, &mut read, &pool);
        close(&format!("{m} grid"), &read.to_vec(), &case.channels_last(&format!("out.{m}.grid")), loss_tolerance);
        let mut dread = Activations::new(read.layout(), &pool);
        let report = loss.value_and_grad(&read, None, info(), Some(&mut dread), None, &pool);
        close("loss", &[report.loss], &case.tensor(&format!("out.{m}.loss")).0, loss_tolerance);
        close("loss by k", loss.per_prediction_step(), &case.tensor(&format!("out.{m}.loss_per_k")).0, loss_tolerance);
        let mut dz = ReadoutGrad { readout: &mean, dy: &dread }.whole(z.layout(), &pool);
        encoder.backward(&x, &z, &mut dz, InputGrad::Stop, &pool);
        encoder.visit(&mut |p| {
            let want = case.channels_last(&format!("grad.param.{m}.{}", published(&p.name, m == 0)));
            close(&format!("{m} {}", p.name), p.grad(), &want, grad_tolerance);
        });
        let want = case.predictor(&format!("grad.param.{m}.loss."), case.n("K"));
        loss.visit(&mut |p| close(&format!("{m} W"), p.grad(), &want, grad_tolerance));
        x = z;
    }
}

#[test]
fn isolated_stages() {
    for name in ["vision_gim3_bottleneck", "vision_gim3_basic_rgb"] {
        modules_case::<f32>(name);
        modules_case::<f64>(name);
    }
}

/// Loss and gradients of a recorded grid; gives the largest gradient of the contexts.
fn loss_case<F: Scalar>(name: &str, epsilon: Option<f64>, compare: bool) -> f64 {
    let case = Case::open(name);
    let (loss_tolerance, grad_tolerance) = tolerance::<F>();
    let pool = Pool::<F>::new();
    let shape = Shape { batch: case.n("B"), height: case.n("ny"), width: case.n("nx"), channels: case.n("C") };
    let mut loss = loss::<F>(&case, "draw.", case.n("C"), epsilon);
    loss.visit(&mut |p| {
        p.value = of(&case.predictor("param.", case.n("K")));
        p.attach_grad(&pool);
    });
    let load = |name: &str| Activations::from_slice(Layout::dense(shape), &of::<F>(&case.channels_last(name)), &pool);
    let (z, c) = (load("in.z"), load("in.c"));
    let (mut dz, mut dc) = (Activations::new(z.layout(), &pool), Activations::new(c.layout(), &pool));
    let report = loss.value_and_grad(&z, Some(&c), info(), Some(&mut dz), Some(&mut dc), &pool);
    if compare {
        close("loss", &[report.loss], &case.tensor("out.loss").0, loss_tolerance);
        close("loss by k", loss.per_prediction_step(), &case.tensor("out.loss_per_k").0, loss_tolerance);
        close("dz", &dz.to_vec(), &case.channels_last("grad.in.z"), grad_tolerance);
        close("dc", &dc.to_vec(), &case.channels_last("grad.in.c"), grad_tolerance);
        let want = case.predictor("grad.param.", case.n("K"));
        loss.visit(&mut |p| close("W", p.grad(), &want, grad_tolerance));
    }
    dc.to_vec().iter().fold(0.0, |m: f64, g| m.max(g.f64().abs()))
}

#[test]
fn losses_on_a_grid() {
    for name in ["vision_infonce_skip1", "vision_infonce_skip0"] {
        loss_case::<f32>(name, Some(1e-11), true);
        loss_case::<f64>(name, Some(1e-11), true);
    }
}

/// With the published ε the loss matches the published one, and where the softmax saturates its
/// gradient is gone; the exact log-softmax keeps it.
#[test]
fn saturated_softmax() {
    let published = loss_case::<f64>("vision_infonce_saturated", Some(1e-11), true);
    loss_case::<f32>("vision_infonce_saturated", Some(1e-11), true);
    let exact = loss_case::<f64>("vision_infonce_saturated", None, false);
    println!("largest gradient of a context: {published:.3} with ε, {exact:.3} without");
    assert!(exact > 2.0 * published, "{exact} {published}");
}

/// Name of a PixelCNN parameter in the test vectors.
fn published_context(name: &str) -> String {
    let name = name.split_once('.').unwrap().1;
    let Some((layer, rest)) = name.split_once('.').filter(|n| n.0 != "out") else {
        return name.replace("out.", "stack_out.");
    };
    let rest = rest
        .replace("vertical.", "vertical_conv.")
        .replace("horizontal.", "horizontal_conv.")
        .replace("down.", "v_to_h_conv.")
        .replace("residual.", "residual_vertical.")
        .replace("output.", "horizontal_output.");
    format!("stack.layers.{layer}.{rest}")
}

/// The recorded tensor in our layout: channels last, and without the masked last row of vertical
/// kernels.
fn context_values(case: &Case, prefix: &str, name: &str) -> Option<Vec<f64>> {
    let published = published_context(name);
    let full = format!("{prefix}{published}");
    if !case.has(&full) {
        return None;
    }
    let values = case.channels_last(&full);
    let (_, shape) = case.tensor(&full);
    Some(if published.contains("vertical_conv.weight") {
        values.chunks(9 * shape[1]).flat_map(|kernel| kernel[..6 * shape[1]].to_vec()).collect()
    } else {
        values
    })
}

fn pixelcnn_case<F: Scalar>() {
    let case = Case::open("vision_pixelcnn_cpc");
    let (loss_tolerance, grad_tolerance) = tolerance::<F>();
    let pool = Pool::<F>::new();
    let channels = case.n("C");
    let shape = Shape { batch: case.n("B"), height: 7, width: 7, channels };
    let mut net = Itemwise::<F>::new(vec![Box::new(PixelCnn::new(channels, case.n("layers"), key()).unwrap())]);
    net.visit(&mut |p| {
        p.value = of(&context_values(&case, "param.", &p.name).unwrap());
        p.attach_grad(&pool);
    });
    let config = InfoNceConfig {
        channels,
        context: channels,
        prediction_steps: case.n("K"),
        negatives: case.n("N"),
        skip: 1,
        window: None,
        // Some scores of this case saturate.
        epsilon: Some(1e-11),
        ..InfoNceConfig::default()
    };
    let mut loss = InfoNce::<F>::new(config, case.draws("draw.", case.n("K")), key()).unwrap();
    loss.visit(&mut |p| {
        p.value = of(&case.predictor("param.loss.", case.n("K")));
        p.attach_grad(&pool);
    });
    let z = Activations::from_slice(Layout::dense(shape), &of::<F>(&case.channels_last("in.grid")), &pool);
    let mut c = Activations::new(z.layout(), &pool);
    net.forward(&z, &mut c, Keep::ForBackward, &pool);
    close("c", &c.to_vec(), &case.channels_last("out.c"), loss_tolerance);
    let (mut dz, mut dc) = (Activations::new(z.layout(), &pool), Activations::new(c.layout(), &pool));
    let report = loss.value_and_grad(&z, Some(&c), info(), Some(&mut dz), Some(&mut dc), &pool);
    close("loss", &[report.loss], &case.tensor("out.loss").0, loss_tolerance);
    close("loss by k", loss.per_prediction_step(), &case.tensor("out.loss_per_k").0, loss_tolerance);
    net.backward(&z, &c, &mut dc, InputGrad::Add(&mut dz), &pool);
    close("dz", &dz.to_vec(), &case.channels_last("grad.in.grid"), grad_tolerance);
    net.visit(&mut |p: &mut Param<F>| match context_values(&case, "grad.param.", &p.name) {
        Some(want) => close(&p.name, p.grad(), &want, grad_tolerance),
        // The last layer's vertical stream leads nowhere.
        None => assert!(p.grad().iter().all(|g| *g == F::zero()), "{} has a gradient", p.name),
    });
}

#[test]
fn context_network() {
    pixelcnn_case::<f32>();
    pixelcnn_case::<f64>();
}

fn supervised_case<F: Scalar>() {
    let case = Case::open("supervised_vision");
    let (loss_tolerance, grad_tolerance) = tolerance::<F>();
    let pool = Pool::<F>::new();
    let config = CrossEntropyConfig { channels: case.n("C"), classes: case.n("classes"), bins: Some(1) };
    let mut loss = CrossEntropy::<F>::new(config, key()).unwrap();
    let name = |p: &Param<F>| {
        let last = p.name.rsplit_once('.').unwrap().1;
        format!("loss.linear_classifier.0.{last}")
    };
    loss.visit(&mut |p| {
        p.value = of(&case.tensor(&format!("param.{}", name(p))).0);
        p.attach_grad(&pool);
    });
    let shape = Shape { batch: case.n("B"), height: 7, width: 7, channels: case.n("C") };
    let z = Activations::from_slice(Layout::dense(shape), &of::<F>(&case.channels_last("in.grid")), &pool);
    let labels: Vec<i32> = case.ints("in.target").iter().map(|l| *l as i32).collect();
    let mut dz = Activations::new(z.layout(), &pool);
    close("logits", &loss.logits(&z, 1, &pool), &case.tensor("out.logits").0, loss_tolerance);
    let step = StepInfo { labels: &labels, ..info() };
    let report = loss.value_and_grad(&z, None, step, Some(&mut dz), None, &pool);
    close("loss", &[report.loss], &case.tensor("out.loss").0, loss_tolerance);
    close("dz", &dz.to_vec(), &case.channels_last("grad.in.grid"), grad_tolerance);
    loss.visit(&mut |p| {
        let want = case.tensor(&format!("grad.param.{}", name(p))).0;
        close(&p.name, p.grad(), &want, grad_tolerance);
    });
}

#[test]
fn supervised_head() {
    supervised_case::<f32>();
    supervised_case::<f64>();
}

/// Layers on the input of `parity/layers_torch.py`: output and gradients of Σ r·y, parameters by `names`.
fn layers_case<F: Scalar>(case: &Case, name: &str, layers: Vec<Box<dyn ItemLayer<F>>>, names: &[(&str, String)]) {
    let (output_tolerance, grad_tolerance) = tolerance::<F>();
    let pool = Pool::<F>::new();
    let mut net = Itemwise::new(layers).with_chunk(2);
    let of_param = |p: &Param<F>| {
        let found = names.iter().find(|(ours, _)| *ours == p.name);
        found.map_or_else(|| panic!("{} has no vectors", p.name), |(_, theirs)| theirs.clone())
    };
    net.visit(&mut |p| {
        let theirs = of_param(p);
        let values =
            if case.has(&format!("{name}.{theirs}")) { format!("{name}.{theirs}") } else { format!("in.{theirs}") };
        p.value = of(&case.channels_last(&values));
        p.attach_grad(&pool);
    });
    let (x, shape) = input(case);
    let x = Activations::from_slice(Layout::dense(shape), &of::<F>(&x), &pool);
    let mut y = Activations::new(Layout::dense(net.output(shape).unwrap()), &pool);
    net.forward(&x, &mut y, Keep::ForBackward, &pool);
    close(&format!("{name} y"), &y.to_vec(), &case.channels_last(&format!("{name}.y")), output_tolerance);
    let mut dy = Activations::from_slice(y.layout(), &of::<F>(&case.channels_last(&format!("{name}.r"))), &pool);
    let mut dx = Activations::new(x.layout(), &pool);
    net.backward(&x, &y, &mut dy, InputGrad::Overwrite(&mut dx), &pool);
    close(&format!("{name} dx"), &dx.to_vec(), &case.channels_last(&format!("{name}.dx")), grad_tolerance);
    net.visit(&mut |p| {
        let want = case.channels_last(&format!("{name}.d{}", of_param(p)));
        close(&format!("{name} {}", p.name), p.grad(), &want, grad_tolerance);
    });
}

/// The input of `parity/layers_torch.py`, and its shape.
fn input(case: &Case) -> (Vec<f64>, Shape) {
    let &[batch, channels, height, width] = &case.shape("in.x")[..] else { panic!("four dimensions") };
    (case.channels_last("in.x"), Shape { batch, height, width, channels })
}

fn layers_cases<F: Scalar>() {
    let case = Case::open("layers");
    let c = input(&case).1.channels;
    for (name, pooling) in [("max", Pooling::Max), ("average", Pooling::Average)] {
        layers_case::<F>(&case, name, vec![Box::new(Pool2d::new(pooling, 2).unwrap())], &[]);
    }
    for (name, sets) in [("group", NormSets::Groups(case.n("groups"))), ("layer", NormSets::Positions)] {
        let names = [("0.weight", "weight".to_owned()), ("0.bias", "bias".to_owned())];
        layers_case::<F>(&case, name, vec![Box::new(Normalize::new(sets, c).unwrap())], &names);
    }
    let conv = |from, to| Box::new(Conv2d::new(Conv2dConfig::square(from, to, 3, 1), key()).unwrap());
    let pooled = Box::new(Pool2d::new(Pooling::Max, 2).unwrap());
    let names = ["0.weight", "0.bias", "2.weight", "2.bias"].map(|n| (n, n.replace("2.", "1.")));
    layers_case::<F>(&case, "vgg", vec![conv(c, 8), Box::new(Relu), conv(8, 4), Box::new(Relu), pooled], &names);
}

/// A pre-activation block with group normalization.
fn normed_block_case<F: Scalar>() {
    let case = Case::open("layers");
    let block = Residual::new(BlockKind::Basic, input(&case).1.channels, 8, 2, key()).unwrap();
    let parts = ["norm1", "norm2", "conv1", "conv2", "shortcut"];
    let names: Vec<(String, String)> = parts
        .iter()
        .flat_map(|part| ["weight", "bias"].map(|kind| format!("{part}.{kind}")))
        .map(|name| (format!("0.{name}"), name))
        .collect();
    let names: Vec<(&str, String)> = names.iter().map(|(ours, theirs)| (ours.as_str(), theirs.clone())).collect();
    let layer = NormedResidual::new(block, NormSets::Groups(2)).unwrap();
    layers_case::<F>(&case, "block", vec![Box::new(layer)], &names);
}

#[test]
fn residual_block_with_normalization() {
    normed_block_case::<f32>();
    normed_block_case::<f64>();
}

#[test]
fn pooling_and_normalization() {
    layers_cases::<f32>();
    layers_cases::<f64>();
}

fn map_means<F: Scalar>() {
    let (case, pool) = (Case::open("layers"), Pool::<F>::new());
    let (x, shape) = input(&case);
    let x = Activations::from_slice(Layout::dense(shape), &of::<F>(&x), &pool);
    for side in [2, 3, 4] {
        let (mean, name) = (MapMean { side }, format!("map{side}"));
        let mut y = Activations::new(Layout::dense(mean.output(shape).unwrap()), &pool);
        mean.forward(&x, &mut y, &pool);
        close(&format!("{name} y"), &y.to_vec(), &case.channels_last(&format!("{name}.y")), tolerance::<F>().0);
        let dy = Activations::from_slice(y.layout(), &of::<F>(&case.channels_last(&format!("{name}.r"))), &pool);
        let dx = ReadoutGrad { readout: &mean, dy: &dy }.whole(x.layout(), &pool);
        close(&format!("{name} dx"), &dx.to_vec(), &case.channels_last(&format!("{name}.dx")), tolerance::<F>().1);
    }
}

#[test]
fn means_of_maps() {
    map_means::<f32>();
    map_means::<f64>();
}
