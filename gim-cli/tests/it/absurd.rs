//! Absurd settings: each gives one clear error that names it, and never a panic, an abort or a wait.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::gim;

/// A refusal takes no longer than reading the embedded dataset.
const LONGEST: Duration = Duration::from_secs(120);

/// Settings of speech, and what the error names.
const AUDIO: &[(&str, &str)] = &[
    ("network.width=0", "network.width"),
    ("network.width=-1", "network"),
    ("network.width=1000000", "network.width"),
    ("network.width=9223372036854775807", "network.width"),
    ("network.width=1e3", "network"),
    ("network.width=many", "network"),
    ("network.context=1000000000", "network.context"),
    ("network.kernel_sizes=[]", "network.kernel_sizes"),
    ("network.kernel_sizes=[0,8,4,4,4]", "network.kernel_sizes"),
    ("network.kernel_sizes=[10,8]", "network.kernel_sizes"),
    ("network.kernel_sizes=[1000000000,8,4,4,4]", "network.kernel_sizes"),
    ("network.strides=[0,4,2,2,2]", "network.strides"),
    ("network.strides=[4611686018427387904,4,2,2,2]", "network.strides"),
    ("network.paddings=[9223372036854775807,2,2,2,1]", "network.paddings"),
    ("network.paddings=[-1,2,2,2,1]", "network"),
    ("data.crop=0", "data.crop"),
    ("data.crop=1", "too short"),
    ("data.crop=9223372036854775807", "data.crop"),
    ("data.cache_mb=-1", "data"),
    ("data.cache_mb=9223372036854775807", "data.cache_mb"),
    ("loss.prediction_steps=0", "loss.prediction_steps"),
    ("loss.prediction_steps=1000000000", "loss.prediction_steps"),
    ("loss.negatives=0", "loss.negatives"),
    ("loss.negatives=1000000000000", "loss.negatives"),
    ("loss.window=1", "loss.window"),
    ("loss.window=9223372036854775807", "loss.window"),
    ("loss.epsilon=nan", "loss.epsilon"),
    ("loss.epsilon=inf", "loss.epsilon"),
    ("loss.epsilon=-1", "loss.epsilon"),
    ("loss.infonce.negative_shares=0", "loss.infonce.negative_shares"),
    ("loss.infonce.negative_shares=65536", "loss.infonce.negative_shares"),
    ("loss.infonce.negative_shares=65537", "loss.infonce.negative_shares"),
];

/// Settings of images, and what the error names.
const VISION: &[(&str, &str)] = &[
    ("data.crop=0", "data.crop"),
    ("data.crop=4611686018427387904", "data.crop"),
    ("data.pad=9223372036854775807", "data.pad"),
    ("data.pad=9223372036854775808", "data"),
    ("data.pad=-1", "data"),
    ("data.short_side=1000000000", "data.short_side"),
    ("network.blocks=[1000000000,1,1]", "network.blocks"),
    ("network.blocks=[0,1,1]", "network.blocks"),
    ("network.blocks=[]", "network.blocks"),
    ("network.blocks=[1,1]", "network.blocks"),
    ("network.widths=[1000000,32,64]", "network.widths"),
    ("network.widths=[0,32,64]", "network.widths"),
    ("network.cuts=[0]", "network.cuts"),
    ("network.cuts=[9223372036854775807]", "network.cuts"),
    ("network.cuts=[2,1]", "network.cuts"),
    ("network.stem=0", "network.stem"),
    ("network.stem=1000001", "network.stem"),
    ("network.patch=0", "network.patch"),
    ("network.patch=1000000000", "network.patch"),
    ("network.overlap=8", "network.overlap"),
    ("network.overlap=9223372036854775807", "network.overlap"),
    ("network.context_layers=1000000000", "network.context_layers"),
    ("loss.skip=9223372036854775807", "loss.skip"),
    ("loss.directions=[]", "loss.directions"),
    ("loss.directions=['down','down']", "loss.directions"),
    ("loss.prediction_steps=100", "fewer predictions"),
];

/// Settings of both.
const BOTH: &[(&str, &str)] = &[
    ("optimizer.lr=0", "optimizer.lr"),
    ("optimizer.lr=-0.001", "optimizer.lr"),
    ("optimizer.lr=nan", "optimizer.lr"),
    ("optimizer.lr=inf", "optimizer.lr"),
    ("optimizer.lr=1e30", "optimizer.lr"),
    ("optimizer.beta1=1", "optimizer.beta1"),
    ("optimizer.beta2=1.5", "optimizer.beta2"),
    ("optimizer.eps=0", "optimizer.eps"),
    ("optimizer.eps=nan", "optimizer.eps"),
    ("optimizer.momentum=-1", "optimizer.momentum"),
    ("train.batch=0", "train.batch"),
    ("train.batch=1000000000000", "train.batch"),
    ("train.steps=9223372036854775807", "train.steps"),
    ("train.steps=-1", "train"),
    ("train.log_every=0", "train.log_every"),
    ("train.log_every=7", "log_every"),
    ("train.checkpoint_every=0", "train.checkpoint_every"),
    ("train.checkpoint_every=9223372036854775807", "train.checkpoint_every"),
    ("train.snapshots=[nan]", "train.snapshots"),
    ("train.snapshots=[0]", "train.snapshots"),
    ("train.seed=-1", "train"),
];

/// Settings that are each within their range, and together need more memory than any machine has.
const HUGE: &[(&str, &[&str])] = &[
    ("audio-quick", &["network.width=16384", "network.context=16384", "train.batch=65536", "data.crop=16777216"]),
    ("audio-quick", &["train.batch=65536", "data.crop=16777216"]),
    ("vision-quick", &["network.widths=[16384,16384,16384]", "network.blocks=[1000,1000,1000]"]),
    ("vision-quick", &["train.batch=65536", "data.crop=8192", "network.patch=64", "network.overlap=63"]),
];

/// The error of a program that must not run long.
fn refused(folder: &Path, args: &[&str]) -> String {
    let mut child = gim(folder, args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + LONGEST;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("{args:?}: still running");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(2) && said.starts_with("gim: "), "{args:?}: {said}");
    assert_eq!(said.trim().lines().count(), 1, "{args:?}: {said}");
    said
}

#[test]
fn absurd_settings_are_one_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let of = |preset, table: &'static [(&str, &str)]| table.iter().map(move |(set, named)| (preset, *set, *named));
    let (audio, vision) = ("audio-quick", "vision-quick");
    let all = of(audio, AUDIO).chain(of(vision, VISION)).chain(of(audio, BOTH)).chain(of(vision, BOTH));
    for (preset, set, named) in all {
        let said = refused(d, &["train", preset, "--out", "run", "--set", set]);
        assert!(said.contains(named), "{preset}, {set}: {said}");
    }
    for (preset, set) in HUGE {
        let set = set.iter().flat_map(|s| ["--set", s]);
        let said = refused(d, &["train", preset, "--out", "run"].into_iter().chain(set).collect::<Vec<_>>());
        assert!(said.contains("a training step needs at least") && said.contains(" GB"), "{preset}: {said}");
    }
    for arguments in [
        ["train", "audio-quick", "--out", "run", "--threads", "0"],
        ["train", "audio-quick", "--out", "run", "--threads", "100000"],
        ["train", "audio-quick", "--out", "run", "--seed", "18446744073709551615"],
        ["reproduce", "quick", "--out", "run", "--seeds", "1000000000000"],
    ] {
        let said = refused(d, &arguments);
        assert!(said.contains(arguments[4].trim_start_matches('-')), "{arguments:?}: {said}");
    }
    assert_eq!(std::fs::read_dir(d).unwrap().count(), 0, "nothing is left behind");
}
