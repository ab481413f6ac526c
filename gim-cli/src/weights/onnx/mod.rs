//! ONNX: the network from raw input to the features of every module.
//!
//! | domain | input | outputs `module_1`, `module_2`, … |
//! |---|---|---|
//! | audio | `waveform` (batch, samples), 16 kHz, from −1 to 1 | (batch, frames, channels): contexts where the module has a GRU, else its ReLUs |
//! | images | `image` (batch, channels, side, side), from 0 to 1, `side` = `data.crop` | (batch, rows, columns, channels): means of the patches |

mod builder;
mod proto;

use gim_core::{Error, Result};
use gim_vision::network::ReadoutKind;
use prost::Message;

use self::builder::Builder;
use self::proto::{Attribute, Entry, Model, OperatorSet, Size, ValueInfo};
use super::Tensors;
use super::container::FACTS;
use super::facts::Facts;
use crate::experiment::domain::{AudioConfig, Domain, VisionConfig};

/// Version of the operators.
const OPSET: i64 = 17;
/// Version of the file format that goes with it.
const IR_VERSION: i64 = 8;

/// The bytes of an ONNX file.
///
/// # Errors
/// When the network's settings cannot be used.
pub(super) fn to_bytes(domain: &Domain, tensors: &Tensors, facts: &Facts) -> Result<Vec<u8>> {
    let mut builder = Builder::new("gim", tensors);
    match domain {
        Domain::Audio(audio) => speech(&mut builder, audio, facts)?,
        Domain::Vision(vision) => images(&mut builder, vision, facts)?,
    }
    let model = Model {
        ir_version: IR_VERSION,
        producer_name: "gim".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(builder.graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
        metadata_props: vec![Entry { key: FACTS.into(), value: facts.to_json()? }],
    };
    Ok(model.encode_to_vec())
}

fn varies(name: &str) -> Size {
    Size::Name(name.into())
}

fn speech(b: &mut Builder<'_>, audio: &AudioConfig, facts: &Facts) -> Result<()> {
    b.graph.input.push(ValueInfo::floats("waveform", vec![varies("batch"), varies("samples")]));
    let x = b.standardize("waveform", &facts.mean, &facts.std, &[1]);
    let channel = b.whole("channel", &[1], &[1]);
    let mut x = b.node("Unsqueeze", &[&x, &channel], Vec::new());
    let (convs, mut conv, mut module) = (audio.network.convs()?, 0, 0);
    loop {
        let prefix = format!("fullmodel.{module}.");
        let mut layer = 0;
        while b.has(&format!("{prefix}encoder.model.layer {layer}.0.weight")) {
            let own = convs[conv];
            let y = b.conv(&format!("{prefix}encoder.model.layer {layer}.0"), &x, own.stride, own.padding);
            x = b.node("Relu", &[&y], Vec::new());
            (conv, layer) = (conv + 1, layer + 1);
        }
        let gru = format!("{prefix}autoregressor.gru.");
        let has_gru = b.has(&format!("{gru}weight_ih_l0"));
        if layer == 0 && !has_gru {
            return Ok(());
        }
        let (features, channels) = if has_gru {
            (contexts(b, &gru, &x), audio.network.context)
        } else {
            (b.node("Transpose", &[&x], vec![Attribute::ints("perm", &[0, 2, 1])]), audio.network.width)
        };
        module += 1;
        let frames = varies(&format!("frames_{conv}"));
        let name = format!("module_{module}");
        b.output(&name, &features, vec![varies("batch"), frames, Size::Value(channels as i64)]);
    }
}

/// The states (N, L, H) of a GRU on `x` (N, C, L). ONNX stacks its gates u, r, n.
fn contexts(b: &mut Builder<'_>, prefix: &str, x: &str) -> String {
    let hidden = b.shape(&format!("{prefix}weight_hh_l0"))[1];
    let turned = |values: &[f32]| {
        let (r, rest) = values.split_at(values.len() / 3);
        let (u, n) = rest.split_at(values.len() / 3);
        [u, r, n].concat()
    };
    let mut bias = Vec::new();
    for kind in ["bias_ih", "bias_hh"] {
        bias.extend(turned(b.values(&format!("{prefix}{kind}_l0"))));
    }
    let [w, r] = ["weight_ih", "weight_hh"].map(|kind| {
        let name = format!("{prefix}{kind}_l0");
        let shape = [&[1], b.shape(&name)].concat();
        let values = turned(b.values(&name));
        b.floats(&name, &shape, &values)
    });
    let bias = b.floats(&format!("{prefix}bias"), &[1, 6 * hidden], &bias);
    let steps_first = b.node("Transpose", &[x], vec![Attribute::ints("perm", &[2, 0, 1])]);
    let attributes = vec![Attribute::int("hidden_size", hidden as i64), Attribute::int("linear_before_reset", 1)];
    // (L, 1, N, H)
    let states = b.node("GRU", &[&steps_first, &w, &r, &bias], attributes);
    let direction = b.whole(&format!("{prefix}direction"), &[1], &[1]);
    let states = b.node("Squeeze", &[&states, &direction], Vec::new());
    b.node("Transpose", &[&states], vec![Attribute::ints("perm", &[1, 0, 2])])
}

fn images(b: &mut Builder<'_>, vision: &VisionConfig, facts: &Facts) -> Result<()> {
    if vision.network.readout != ReadoutKind::Patches {
        let what = "the graph ends with means of patches, but network.readout is \"map\"";
        return Err(Error::config("--to", what, "use torch or safetensors"));
    }
    let (side, channels, size) = (vision.data.crop, vision.data.color.channels(), vision.network.patch);
    let along = vision.network.patches()?.along(side);
    let whole = |n: usize| Size::Value(n as i64);
    b.graph.input.push(ValueInfo::floats("image", vec![varies("batch"), whole(channels), whole(side), whole(side)]));
    let x = b.standardize("image", &facts.mean, &facts.std, &[1, channels, 1, 1]);
    // Rows, then columns of every patch: (N, C, ny, p, nx, p), then a patch an item.
    let step = size - vision.network.overlap;
    let pixels: Vec<i64> = (0..along).flat_map(|i| (0..size).map(move |p| (i * step + p) as i64)).collect();
    let pixels = b.whole("pixels_of_patches", &[along, size], &pixels);
    let x = b.node("Gather", &[&x, &pixels], vec![Attribute::int("axis", 2)]);
    let x = b.node("Gather", &[&x, &pixels], vec![Attribute::int("axis", 4)]);
    let x = b.node("Transpose", &[&x], vec![Attribute::ints("perm", &[0, 2, 4, 1, 3, 5])]);
    let patches = b.whole("patches", &[4], &[-1, channels as i64, size as i64, size as i64]);
    let mut x = b.node("Reshape", &[&x, &patches], Vec::new());
    let (mut module, mut width, mut is_first) = (0, 0, true);
    loop {
        let prefix = format!("encoder.{module}.model.");
        if module == 0 {
            x = b.conv(&format!("{prefix}Conv1"), &x, 1, vision.network.stem / 2);
        }
        let mut layer = 0;
        while b.has(&format!("{prefix}layer {layer}.0.conv1.weight")) {
            let mut block = 0;
            while b.has(&format!("{prefix}layer {layer}.{block}.conv1.weight")) {
                let name = format!("{prefix}layer {layer}.{block}");
                // All stages but the first begin with a stride, and so with a shortcut of their own.
                let strided = block == 0 && !is_first && b.has(&format!("{name}.shortcut.0.weight"));
                (x, width) = residual(b, &name, &x, if strided { 2 } else { 1 });
                block += 1;
            }
            (layer, is_first) = (layer + 1, false);
        }
        if layer == 0 {
            return Ok(());
        }
        let mean = b.node("GlobalAveragePool", &[&x], Vec::new());
        module += 1;
        let name = format!("module_{module}");
        let grid = b.whole(&format!("grid_{module}"), &[4], &[-1, along as i64, along as i64, width as i64]);
        let features = b.node("Reshape", &[&mean, &grid], Vec::new());
        b.output(&name, &features, vec![varies("batch"), whole(along), whole(along), whole(width)]);
    }
}

/// A residual block on `x`, with its output channels.
fn residual(b: &mut Builder<'_>, name: &str, x: &str, stride: usize) -> (String, usize) {
    let shortcut = format!("{name}.shortcut.0");
    let conv3 = format!("{name}.conv3");
    let a = b.node("Relu", &[x], Vec::new());
    let kept = if b.has(&format!("{shortcut}.weight")) { b.conv(&shortcut, &a, stride, 0) } else { x.to_owned() };
    let bottleneck = b.has(&format!("{conv3}.weight"));
    // A bottleneck's stride is on its 3×3 convolution.
    let (sides, strides) = if bottleneck { ([0, 1], [1, stride]) } else { ([1, 1], [stride, 1]) };
    let y = b.conv(&format!("{name}.conv1"), &a, strides[0], sides[0]);
    let y = b.node("Relu", &[&y], Vec::new());
    let mut y = b.conv(&format!("{name}.conv2"), &y, strides[1], sides[1]);
    let mut last = format!("{name}.conv2");
    if bottleneck {
        y = b.node("Relu", &[&y], Vec::new());
        y = b.conv(&conv3, &y, 1, 0);
        last = conv3;
    }
    let channels = b.shape(&format!("{last}.bias"))[0];
    (b.node("Add", &[&y, &kept], Vec::new()), channels)
}
