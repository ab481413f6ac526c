//! The program on the embedded corpus: determinism, kill and resume, probes and figures, and one clear error for bad input.
#![allow(clippy::unwrap_used)] // Helpers of tests: a failure should stop them.

mod common;

use std::time::{Duration, Instant};

use common::{fails, gim, ok, result};

const TINY: [&str; 10] = [
    "--set",
    "network.width=16",
    "--set",
    "network.context=8",
    "--set",
    "train.batch=4",
    "--set",
    "train.log_every=2",
    "--set",
    "train.checkpoint_every=4",
];

fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    ["train", "audio-quick", "--out", out].into_iter().chain(TINY).chain(more.iter().copied()).collect()
}

#[test]
fn threads_kill_and_resume_do_not_change_a_bit() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let steps = ["--set", "train.steps=40"];
    ok(d, &train("one", &[&steps[..], &["--threads", "1"]].concat()));
    ok(d, &train("two", &[&steps[..], &["--threads", "2"]].concat()));
    assert_eq!(result(&d.join("one")), result(&d.join("two")));

    let mut child = gim(d, &train("killed", &steps)).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    let first = d.join("killed/checkpoints/step-00000004");
    while !first.exists() && child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    ok(d, &["train", "--resume", "killed"]);
    assert_eq!(result(&d.join("one")), result(&d.join("killed")));
    // A finished run that is resumed has nothing to do.
    ok(d, &["train", "--resume", "killed"]);
    assert_eq!(result(&d.join("one")), result(&d.join("killed")));
}

/// In iterative training, a module that has had its turn does not change any more.
#[test]
fn iterative_training_freezes_what_is_below() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let more = ["--schedule", "iterative", "--set", "train.steps=4"];
    ok(d, &train("run", &more));
    let log = std::fs::read_to_string(d.join("run/train.csv")).unwrap();
    let modules: Vec<&str> = log.lines().skip(1).map(|l| l.split(',').nth(2).unwrap()).collect();
    assert_eq!(modules, ["1", "1", "2", "2", "3", "3", "4", "4", "5", "5", "6", "6"]);
}

#[test]
fn features_probes_and_figures() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for kind in ["gim6", "gim5", "cpc"] {
        let kind_setting = format!("network.kind={kind}");
        ok(d, &train(kind, &["--set", "train.steps=4", "--set", &kind_setting]));
        let out = ok(d, &["probe", kind, "--task", "speakers", "--json"]);
        let rows: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        let rows = rows.as_array().unwrap();
        // MFCC, and every module (or layer of the end-to-end network) beside its random twin.
        assert_eq!(rows.len(), 1 + 2 * if kind == "gim5" { 5 } else { 6 }, "{kind}");
        assert!(rows.iter().all(|r| r["accuracy"].as_f64().unwrap() > r["majority"].as_f64().unwrap()), "{kind}");
    }
    let out = ok(d, &["figures", "gim6"]);
    for figure in String::from_utf8_lossy(&out.stdout).lines() {
        assert!(d.join(figure).metadata().unwrap().len() > 5000, "{figure}");
    }
    assert!(d.join("gim6/figures/latent-space.svg").is_file());
}

#[test]
fn bad_input_is_one_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    assert!(fails(d, &["train", "audio-quik"]).contains("audio-quick"));
    assert!(fails(d, &train("a", &["--set", "optimizer.rate=1"])).contains("optimizer.rate"));
    assert!(fails(d, &train("a", &["--set", "data.path=nowhere"])).contains("nowhere"));
    assert!(fails(d, &train("a", &["--set", "train.batch=100000"])).contains("100000"));
    assert!(fails(d, &train("a", &["--set", "data.crop=200"])).contains("steps"));
    assert!(fails(d, &["probe", "nothing", "--task", "phones"]).contains("nothing"));
    assert!(!d.join("a").exists(), "a run that cannot start leaves nothing");

    std::fs::create_dir(d.join("empty")).unwrap();
    assert!(fails(d, &train("a", &["--set", "data.path=empty"])).contains("empty"));
    std::fs::write(d.join("empty/1-1-0001.flac"), b"this is no sound").unwrap();
    assert!(fails(d, &train("a", &["--set", "data.path=empty"])).contains("1-1-0001.flac"));

    ok(d, &train("run", &["--set", "train.steps=4"]));
    assert!(fails(d, &train("run", &["--set", "train.steps=4"])).contains("--resume"));
    let file = d.join("run/checkpoints/step-00000004/module_2.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    for keep in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&file, &bytes[..keep]).unwrap();
        assert!(fails(d, &["train", "--resume", "run"]).contains("module_2.safetensors"));
    }
    std::fs::write(&file, &bytes).unwrap();
    let config = std::fs::read_to_string(d.join("run/config.toml")).unwrap();
    std::fs::write(d.join("run/config.toml"), config.replace("width = 16", "width = 12")).unwrap();
    assert!(fails(d, &["train", "--resume", "run"]).contains("configuration"));
}

#[test]
fn a_diverging_module_stops_with_its_step() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let e = fails(d, &train("run", &["--set", "optimizer.lr=1e30", "--set", "train.steps=40"]));
    assert!(e.contains("diverged at step") && e.contains("checkpoint"), "{e}");
}
