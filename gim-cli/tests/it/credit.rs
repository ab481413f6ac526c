//! Feedback alignment and shared losses, from configuration to features.

use std::path::Path;

use crate::common::{fails, folders, ok, printed, result};

/// Tiny networks of both domains.
const AUDIO: [&str; 7] = [
    "audio-quick",
    "network.width=16",
    "network.context=8",
    "data.crop=5120",
    "loss.window=8",
    "loss.prediction_steps=2",
    "train.batch=4",
];
const VISION: [&str; 7] = [
    "vision-quick",
    "data.path=images",
    "data.crop=20",
    "network.blocks=[1,1,1]",
    "network.widths=[2,3,2]",
    "network.patch=8",
    "train.batch=6",
];
/// Four steps, each with a row and a checkpoint.
const STEPS: [&str; 3] = ["train.steps=4", "train.log_every=1", "train.checkpoint_every=1"];

/// `gim train` with settings.
fn train<'a>(preset: &[&'a str], out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let vision = ["loss.prediction_steps=1", "network.overlap=4"];
    let own: &[&str] = if preset[0].starts_with("vision") { &vision } else { &[] };
    let settings = preset[1..].iter().chain(own).chain(&STEPS).chain(more).flat_map(|set| ["--set", *set]);
    ["train", preset[0], "--out", out].into_iter().chain(settings).collect()
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap()
}

/// Removes the last two checkpoints and resumes on another number of threads.
fn resume(d: &Path, run: &str) {
    for step in [3, 4] {
        std::fs::remove_dir_all(d.join(run).join(format!("checkpoints/step-0000000{step}"))).unwrap();
    }
    ok(d, &["train", "--resume", run, "--threads", "1"]);
}

/// Feedback weights follow from the seed: a resume, threads and a pipeline give the same bits. Angles are logged by
/// weight, restored with the checkpoint, and shown to TensorBoard.
#[test]
fn feedback_alignment_end_to_end_and_in_modules() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    folders(&d.join("images"), false);
    let feedback = "network.credit=feedback-alignment";
    let cases: [(&[&str], &[&str]); 4] = [
        (&AUDIO, &["network.kind=cpc"]),
        (&AUDIO, &["network.kind=fused-context"]),
        (&VISION, &["network.kind=cpc", "loss.target=classes"]),
        (&VISION, &[]),
    ];
    for (i, (preset, set)) in cases.into_iter().enumerate() {
        let [exact, whole, resumed, pipelined] =
            ["exact", "whole", "resumed", "pipelined"].map(|name| format!("{name}-{i}"));
        let with = [set, &[feedback]].concat();
        ok(d, &train(preset, &exact, set));
        ok(d, &train(preset, &whole, &with));
        let (want, angles) = (result(&d.join(&whole)), read(&d.join(&whole).join("alignment.csv")));
        assert!(want != result(&d.join(&exact)), "{whole}");
        assert!(!d.join(&exact).join("alignment.csv").exists());
        let rows: Vec<Vec<&str>> = angles.lines().skip(1).map(|row| row.split(',').collect()).collect();
        assert!(rows.len() >= 4 * 6 && rows.iter().all(|row| row.len() == 4), "{angles}");
        for step in ["1", "2", "3", "4"] {
            assert_eq!(rows.iter().filter(|row| row[0] == step).count(), rows.len() / 4, "{angles}");
        }
        for row in &rows {
            let degrees: f64 = row[3].parse().unwrap();
            assert!(degrees > 20.0 && degrees < 160.0, "{row:?}");
        }
        ok(d, &train(preset, &resumed, &with));
        resume(d, &resumed);
        assert!(result(&d.join(&resumed)) == want, "{resumed}");
        assert_eq!(read(&d.join(&resumed).join("alignment.csv")), angles);
        if i % 2 == 1 {
            // On threads, angles are measured at the end.
            ok(d, &train(preset, &pipelined, &[&with[..], &["train.schedule=pipelined"]].concat()));
            let (weights, log) = result(&d.join(&pipelined));
            let is_curves = |file: &[u8]| file.starts_with(b"{\"curves\"");
            let modules = |files: &[Vec<u8>]| files.iter().filter(|f| !is_curves(f)).cloned().collect::<Vec<_>>();
            assert!(modules(&weights) == modules(&want.0) && log == want.1, "{pipelined}");
            let last: String = angles.lines().filter(|row| !row.starts_with(['1', '2', '3'])).collect();
            assert_eq!(read(&d.join(&pipelined).join("alignment.csv")).lines().collect::<String>(), last);
        }
        let other = ["train", "--resume", &whole];
        let config = d.join(&whole).join("config.toml");
        std::fs::write(&config, read(&config).replace("feedback-alignment", "backpropagation")).unwrap();
        assert!(fails(d, &other).contains("network.credit"));
    }
    ok(d, &train(&AUDIO, "shown", &[feedback, "train.tensorboard=true"]));
    let events = std::fs::read_dir(d.join("shown/tensorboard")).unwrap().next().unwrap().unwrap().path();
    let events = std::fs::read(events).unwrap();
    let tag = b"feedback_angle/module_1/encoder.0.weight";
    assert!(events.windows(tag.len()).any(|bytes| bytes == tag));
}

/// Matrices of direct feedback follow from the seed; modules of one layer have no use for them.
#[test]
fn direct_feedback_alignment_end_to_end() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    folders(&d.join("images"), false);
    let (direct, whole) = ("network.credit=direct-feedback-alignment", "network.kind=cpc");
    let labels = ["network.kind=cpc", "loss.target=classes"];
    let cases: [(&[&str], &[&str], bool); 4] = [
        (&AUDIO, &[whole], true),
        (&VISION, &labels, true),
        (&AUDIO, &["network.kind=fused-context"], false),
        (&VISION, &[], false),
    ];
    for (i, (preset, set, differs)) in cases.into_iter().enumerate() {
        let [exact, run, resumed] = ["exact", "direct", "resumed"].map(|name| format!("{name}-{i}"));
        let with = [set, &[direct]].concat();
        ok(d, &train(preset, &exact, set));
        ok(d, &train(preset, &run, &with));
        let want = result(&d.join(&run));
        assert_eq!(want.1 != result(&d.join(&exact)).1, differs, "{run}");
        assert!(!d.join(&run).join("alignment.csv").exists());
        ok(d, &train(preset, &resumed, &with));
        resume(d, &resumed);
        assert!(result(&d.join(&resumed)) == want, "{resumed}");
    }
}

/// Runs whose losses train several modules are as others: rows, checkpoints and features by module, validation,
/// resume, threads.
#[test]
fn shared_losses_in_both_domains() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    folders(&d.join("images"), false);
    for (preset, modules) in [(&AUDIO, 6), (&VISION, 3)] {
        let shared = ["network.modules_per_loss=2", "data.validate=0.3", "train.validate_every=2"];
        let [one, whole, resumed, file] = ["one", "whole", "resumed", "h5"].map(|name| format!("{}-{name}", preset[0]));
        ok(d, &train(preset, &one, &shared[1..]));
        ok(d, &train(preset, &whole, &shared));
        let want = result(&d.join(&whole));
        assert_eq!(want.0.len(), modules + 1, "a file for each module, and the curves");
        assert!(want != result(&d.join(&one)), "{whole}");
        assert_eq!(want.1.len(), 1 + 4 * modules);
        let validation = read(&d.join(&whole).join("validation.csv"));
        assert!(validation.lines().count() == 1 + 2 * modules && !validation.contains("NaN"), "{validation}");
        ok(d, &train(preset, &resumed, &shared));
        resume(d, &resumed);
        assert!(result(&d.join(&resumed)) == want, "{resumed}");
        assert_eq!(read(&d.join(&resumed).join("validation.csv")), validation);
        ok(d, &["extract", &whole, "--out", &file]);
        let fewer = ["network.modules_per_loss=3", "train.modules=2"];
        ok(d, &train(preset, &format!("{}-two", preset[0]), &fewer));
    }
    let said = printed(d, &["estimate", "vision-quick", "--steps", "1", "--set", "network.modules_per_loss=2"]);
    assert!(said.contains("module"), "{said}");
}

/// What cannot have shared losses says so before anything is read.
#[test]
fn what_shares_no_losses() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    folders(&d.join("images"), false);
    let two = "network.modules_per_loss=2";
    for (set, says) in [
        (&[two, "train.schedule=iterative"][..], "simultaneous"),
        (&[two, "train.schedule=pipelined"], "simultaneous"),
        (&[two, "train.schedule=async"], "simultaneous"),
        (&[two, "network.kind=cpc"], "one module"),
        (&[two, "network.credit=direct-feedback-alignment"], "no error from module to module"),
        (&[two, "loss.kind=autoencoder", "loss.autoencoder.corruption=0.3"], "encodes another input"),
        (&["network.modules_per_loss=0"], "1 to"),
        (&["network.credit=feedback"], "feedback-alignment"),
    ] {
        for preset in [&AUDIO, &VISION] {
            let said = fails(d, &train(preset, "none", set));
            assert!(said.contains("network.") && said.contains(says), "{set:?}: {said}");
        }
    }
    let said = fails(d, &["plan", "audio-quick", "--set", two]);
    assert!(said.contains("network.modules_per_loss"), "{said}");
}
