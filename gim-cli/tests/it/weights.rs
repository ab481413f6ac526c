//! Weights in and out: published checkpoints become runs, and runs become files that are read again.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use crate::common::{fails, folders, gim, ok, parity};

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints");
    folder.join(name).to_string_lossy().into_owned()
}

/// The weights of the newest checkpoint of a run, by module and name, as bytes.
fn weights(run: &Path) -> Vec<(String, Vec<u8>)> {
    let mut steps: Vec<PathBuf> =
        fs::read_dir(run.join("checkpoints")).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    steps.sort();
    let mut out = Vec::new();
    for module in 1.. {
        let Ok(bytes) = fs::read(steps.last().unwrap().join(format!("module_{module}.safetensors"))) else { break };
        for (name, tensor) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            if !name.starts_with("optimizer.") {
                out.push((format!("{module} {name}"), tensor.data().to_vec()));
            }
        }
    }
    out.sort();
    out
}

/// A checkpoint of every container becomes the same run, whose export has the published bits.
#[test]
fn published_checkpoints_of_all_containers_become_runs() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for (model, files, kind) in [("audio_gim", 1, "audio"), ("audio_cpc", 1, "audio"), ("vision_model", 3, "vision")] {
        let mut first = None;
        for container in ["legacy", "zip_torch2.6.0", "zip_torch2.15.0"] {
            let name = |i: usize| if files == 1 { model.to_owned() } else { format!("{model}_{i}") };
            let paths: Vec<String> = (0..files).map(|i| fixture(&format!("{}.{container}.ckpt", name(i)))).collect();
            let run = format!("{model}-{container}");
            let mut args = vec!["import", "--as", kind, "--out", &run];
            args.extend(paths.iter().map(String::as_str));
            ok(d, &args);
            let got = weights(&d.join(&run));
            assert!(*first.get_or_insert_with(|| got.clone()) == got, "{run}");
            ok(d, &["export", &run, "--to", "safetensors", "--out", "out.safetensors"]);
            let bytes = fs::read(d.join("out.safetensors")).unwrap();
            let exported = SafeTensors::deserialize(&bytes).unwrap();
            for i in 0..files {
                let bytes = fs::read(fixture(&format!("{}.expected.safetensors", name(i)))).unwrap();
                for (name, tensor) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
                    let name = name.strip_prefix("module.").map_or(format!("encoder.{i}.{name}"), str::to_owned);
                    assert!(exported.tensor(&name).unwrap() == tensor, "{run}: {name}");
                }
            }
        }
    }
}

#[test]
fn shapes_tell_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    ok(d, &["import", &fixture("audio_gim.legacy.ckpt"), "--as", "audio", "--out", "a", "--step", "7"]);
    let config = fs::read_to_string(d.join("a/config.toml")).unwrap();
    for line in ["kind = \"separate-context\"", "width = 4", "context = 3", "prediction_steps = 3", "bptt = true"] {
        assert!(config.contains(line), "{line}: {config}");
    }
    let record = fs::read_to_string(d.join("a/dataset.json")).unwrap();
    assert!(record.contains("-0.000678") && record.contains("0.0630"), "{record}");
    assert!(d.join("a/checkpoints/step-00000007").is_dir());
    let files = [0, 1, 2].map(|i| fixture(&format!("vision_model_{i}.legacy.ckpt")));
    let out =
        gim(d, &["import", "--as", "vision", "--out", "v", "--mean", "0.5", "--std", "0.25"]).args(&files).output();
    assert!(out.unwrap().status.success());
    let config = fs::read_to_string(d.join("v/config.toml")).unwrap();
    for line in ["block = \"bottleneck\"", "blocks = [2, 2, 2]", "widths = [2, 4, 8]", "color = \"grayscale\""] {
        assert!(config.contains(line), "{line}: {config}");
    }
    assert!(fs::read_to_string(d.join("v/dataset.json")).unwrap().contains("0.5"));
}

#[test]
fn what_is_no_published_network_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    fs::write(d.join("text"), "weights").unwrap();
    fs::write(d.join("evil"), b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.").unwrap();
    let audio = fixture("audio_gim.legacy.ckpt");
    let optimizer = fixture("audio_gim_optim.zip_torch2.15.0.ckpt");
    let part = fixture("vision_model_1.legacy.ckpt");
    for (file, kind, what) in [
        ("text", "audio", "neither a file of PyTorch nor safetensors"),
        ("evil", "audio", "asks for os.system"),
        (&audio, "vision", "not a published network for vision"),
        (&optimizer, "audio", "state of an optimizer"),
        (&part, "vision", "encoder.0.model.Conv1.weight"),
    ] {
        let text = fails(d, &["import", file, "--as", kind, "--out", "run"]);
        assert!(text.contains(what), "{text}");
        assert!(!d.join("run").exists(), "{file}");
    }
    ok(d, &["import", &audio, "--as", "audio", "--out", "a"]);
    assert!(fails(d, &["import", &audio, "--as", "audio", "--out", "a"]).contains("not an empty folder"));
    let text = fails(d, &["export", "a", "--to", "torch", "--out", "o", "--step", "5"]);
    assert!(text.contains("no checkpoint of step 5") && text.contains("--step 1"), "{text}");
}

/// Trained runs of both domains, with all kinds of modules, come back with the same bits; features
/// are those of the run.
#[test]
fn an_export_that_is_imported_has_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    folders(&d.join("images"), false);
    let train = ["train.steps=2", "train.log_every=1", "train.checkpoint_every=1"];
    let images =
        ["data.path=images", "data.crop=16", "data.pad=0", "network.patch=8", "network.overlap=4", "train.batch=8"];
    let small = ["network.blocks=[1,2]", "network.widths=[4,8]", "loss.prediction_steps=1", "loss.skip=0"];
    let speech = ["network.width=8", "network.context=6", "train.batch=2", "data.crop=5120"];
    let vision = |set: &[&'static str]| ("vision-quick", [&images[..], &small, set].concat());
    let audio = |set: &[&'static str]| ("audio-quick", [&speech[..], set].concat());
    let cases = [
        vision(&["network.block=bottleneck", "network.cuts=[2]"]),
        vision(&["network.kind=cpc", "network.block=basic", "data.color=rgb"]),
        vision(&["loss.target=classes"]),
        audio(&["network.bptt=false"]),
        audio(&["network.kind=cpc"]),
        audio(&["network.context_per_module=true"]),
        audio(&["loss.target=phones"]),
    ];
    for (i, (preset, set)) in cases.iter().enumerate() {
        let run = format!("run-{i}");
        let mut args = vec!["train", preset, "--out", &run];
        set.iter().chain(&train).for_each(|s| args.extend(["--set", *s]));
        ok(d, &args);
        let kind = preset.split_once('-').unwrap().0;
        for to in ["torch", "safetensors"] {
            let (file, back) = (format!("{i}.{to}"), format!("back-{i}-{to}"));
            ok(d, &["export", &run, "--to", to, "--out", &file]);
            ok(d, &["import", &file, "--as", kind, "--out", &back]);
            assert!(weights(&d.join(&run)) == weights(&d.join(&back)), "{set:?} {to}");
        }
        // One step earlier, the weights differ.
        ok(d, &["export", &run, "--to", "torch", "--out", "early", "--step", "1"]);
        assert!(fs::read(d.join("early")).unwrap() != fs::read(d.join(format!("{i}.torch"))).unwrap(), "{set:?}");
    }
    ok(d, &["extract", "run-0", "--out", "a.h5"]);
    let path = d.join("images").to_string_lossy().into_owned();
    ok(d, &["import", "0.torch", "--as", "vision", "--out", "same", "--set", &format!("data.path={path}")]);
    ok(d, &["extract", "same", "--out", "b.h5"]);
    let features = |name: &str| {
        let file = gim_eval::FeatureFile::open(d.join(name)).unwrap();
        file.read_group("module_2").unwrap()
    };
    assert_eq!(features("a.h5"), features("b.h5"));
}

/// Features of PyTorch and onnxruntime are those of `gim extract`, to 1e-5.
#[test]
fn features_agree_with_pytorch_and_onnxruntime() {
    let (here, gim) = (Path::new("."), env!("CARGO_BIN_EXE_gim"));
    let run = |engine| parity(here, "check_weights.py", &[gim], &["h5py", "numpy", engine]);
    let Some(text) = run("onnxruntime").or_else(|| run("torch")) else { return };
    assert!(text.contains("largest relative difference"), "{text}");
}
