//! Encoders, readouts and features of images by configuration.

use std::path::Path;

use serde_json::Value;

use crate::common::{aloud, fails, folders, ok, result};

/// A VGG of three layers on whole images of 20 × 20 pixels: maps of 20, 10 and 5 positions a side.
const VGG: [&str; 14] = [
    "data.path=images",
    "data.crop=20",
    "data.cache_mb=8",
    "network.encoder=vgg",
    "network.widths=[4,6,8]",
    "network.pools=[2,3]",
    "network.patch=20",
    "network.overlap=0",
    "network.readout=map",
    "network.readout_side=4",
    "loss.prediction_steps=1",
    "loss.skip=0",
    "train.batch=8",
    "train.log_every=2",
];

fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let settings = VGG.iter().chain(&["train.checkpoint_every=4", "train.steps=8"]).chain(more);
    ["train", "vision-quick", "--out", out].into_iter().chain(settings.flat_map(|set| ["--set", set])).collect()
}

/// Rows of a probe, by the name of their group with the module, as (dimensions, pooling); and what the program notes.
fn probe(d: &Path, args: &[&str]) -> (Vec<(String, u64, Value)>, String) {
    let out = aloud(d, &[&["probe", "one", "--task", "classes", "--json"], args].concat()).output().unwrap();
    let notes = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{args:?}: {notes}");
    let rows: Vec<Value> = serde_json::from_slice(&out.stdout).unwrap();
    let name = |r: &Value| format!("{} {}", r["group"].as_str().unwrap(), r["module"]);
    let rows = rows.iter().map(|r| (name(r), r["dims"].as_u64().unwrap(), r["pooling"].clone())).collect();
    (rows, notes)
}

fn dims(rows: &[(String, u64, Value)]) -> Vec<(&str, u64)> {
    rows.iter().map(|(name, dims, _)| (name.as_str(), *dims)).collect()
}

/// From images to probes: the same bits for any number of threads and after a kill; features as probes want them.
#[test]
fn a_vgg_learns_on_its_maps_and_is_probed_on_pooled_ones() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    folders(&d.join("images"), false);
    ok(d, &[&train("one", &["network.norm=group", "network.norm_groups=2"])[..], &["--threads", "1"]].concat());
    ok(d, &[&train("two", &["network.norm=group", "network.norm_groups=2"])[..], &["--threads", "2"]].concat());
    assert_eq!(result(&d.join("one")), result(&d.join("two")));
    std::fs::remove_dir_all(d.join("two/checkpoints/step-00000008")).unwrap();
    // What probes see decides no weight.
    let settings = std::fs::read_to_string(d.join("two/config.toml")).unwrap();
    assert!(settings.contains("pooling = 1\n"), "{settings}");
    std::fs::write(d.join("two/config.toml"), settings.replace("pooling = 1\n", "pooling = 4\n")).unwrap();
    ok(d, &["train", "--resume", "two"]);
    assert_eq!(result(&d.join("one")), result(&d.join("two")));

    let (rows, _) = probe(d, &[]);
    let means =
        [("trained 1", 4), ("trained 2", 6), ("trained 3", 8), ("random 1", 4), ("random 2", 6), ("random 3", 8)];
    assert!(means.iter().all(|row| dims(&rows).contains(row)) && rows.len() == 7, "{rows:?}");
    assert!(rows.iter().all(|r| r.2.is_null()), "{rows:?}");

    let (rows, notes) = probe(d, &["--pooling", "2", "--concatenate"]);
    assert!(notes.contains("holds means of images, not maps of 2 × 2"), "{notes}");
    let maps = [("trained 1", 16), ("trained 3", 32), ("random 2", 24), ("all 0", 72), ("all-random 0", 72)];
    assert!(maps.iter().all(|row| dims(&rows).contains(row)) && rows.len() == 9, "{rows:?}");
    assert!(rows.iter().all(|r| r.2 == 2), "{rows:?}");
    let table = std::fs::read_to_string(d.join("one/probe.csv")).unwrap();
    assert_eq!(table.lines().count(), 1 + rows.len(), "rows of means are replaced: {table}");

    // One module with its baselines, of the file that is there.
    let (rows, notes) = probe(d, &["--pooling", "2", "--module", "2"]);
    assert!(!notes.contains("made anew") && !dims(&rows).iter().any(|(name, _)| name.starts_with("all")), "{rows:?}");
    // The last map has 5 × 5 positions: eight cells a side are five.
    let (rows, _) = probe(d, &["--pooling", "8"]);
    assert!(dims(&rows).contains(&("trained 3", 5 * 5 * 8)), "{rows:?}");
    let of_file = fails(d, &["probe", "one/features.h5", "--task", "classes", "--pooling", "2"]);
    assert!(of_file.contains("--pooling") && of_file.contains("gim extract"), "{of_file}");
    // Views for the paper's protocol hold the same.
    let (rows, _) = probe(d, &["--pooling", "2", "--protocol", "paper", "--views", "2", "--module", "1"]);
    assert!(dims(&rows).contains(&("trained 1", 16)), "{rows:?}");
}

/// Every loss that predicts, end-to-end learning, fully connected layers and averages.
#[test]
fn plain_networks_learn_by_all_methods() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    folders(&d.join("images"), false);
    for (i, more) in [
        &["loss.kind=clapp", "loss.directions=[\"down\",\"up\",\"right\",\"left\"]"][..],
        &["network.kind=cpc", "network.context_layers=1", "network.norm=layer"],
        &["network.encoder=mlp", "network.pools=[]", "loss.target=classes"],
        &["network.pooling=average", "loss.kind=vicreg", "network.cuts=[2]"],
        &["network.readout=patches", "network.patch=8", "network.overlap=4", "network.pools=[1]"],
        &["network.encoder=residual", "network.pools=[]", "network.blocks=[1,1,1]", "network.readout_side=0"],
    ]
    .into_iter()
    .enumerate()
    {
        let out = format!("run-{i}");
        ok(d, &train(&out, &[&["train.steps=2", "train.checkpoint_every=2"], more].concat()));
        ok(d, &["probe", &out, "--task", "classes", "--protocol", "knn", "--pooling", "2"]);
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    folders(&d.join("images"), false);
    for (more, parts) in [
        (&["loss.prediction_steps=4"][..], ["network.readout", "module 1 has 4 × 4 positions"]),
        (&["network.patch=10"], ["network.readout", "network.patch = 20"]),
        (&["network.norm=group", "network.norm_groups=4"], ["network.norm_groups", "6 channels"]),
        (&["network.pools=[4]"], ["network.pools", "3 layers"]),
        (&["network.encoder=mlp"], ["network.pools", "fully connected"]),
        (&["probe.pooling=65"], ["probe.pooling", "out of range"]),
    ] {
        let text = fails(d, &train("bad", more));
        assert!(parts.iter().all(|part| text.contains(part)), "{parts:?}: {text}");
        assert!(!d.join("bad").exists());
    }
    let text = fails(d, &["train", "audio-quick", "--out", "bad", "--set", "probe.pooling=2"]);
    assert!(text.contains("probe.pooling") && text.contains("no maps"), "{text}");

    let normed = ["network.encoder=residual", "network.pools=[]", "network.blocks=[1,1,1]", "network.norm=layer"];
    ok(d, &train("normed", &normed));
    let text = fails(d, &["export", "normed", "--to", "torch", "--out", "weights"]);
    assert!(text.contains("`encoder.0.0.weight` of a residual network with normalization"), "{text}");

    ok(d, &train("one", &[]));
    for format in ["torch", "safetensors", "onnx"] {
        let text = fails(d, &["export", "one", "--to", format, "--out", "weights"]);
        assert!(text.contains("encoder.0.0.weight") && text.contains("network.encoder = \"vgg\""), "{text}");
    }
}
