//! Batches with two augmented views of each item, from configuration to features.

use std::path::Path;

use crate::common::{aloud, fails, folders, ok, printed, result};

/// The presets for two views, small, with held-out items.
const AUDIO: [&str; 7] = [
    "audio-two-views",
    "network.width=16",
    "network.context=8",
    "data.crop=5120",
    "loss.nt-xent.projector=[8]",
    "train.batch=4",
    "train.steps=2",
];
const VISION: [&str; 7] = [
    "vision-two-views",
    "data.path=images",
    "data.crop=20",
    "network.widths=[4,6,8]",
    "loss.nt-xent.projector=[8]",
    "train.batch=6",
    "train.steps=2",
];
const OFTEN: [&str; 2] = ["train.log_every=1", "train.checkpoint_every=1"];

/// `gim train` with settings.
fn train<'a>(preset: &[&'a str], out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let settings = preset[1..].iter().chain(&OFTEN).chain(more).flat_map(|set| ["--set", *set]);
    ["train", preset[0], "--out", out].into_iter().chain(settings).collect()
}

fn lines(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
}

/// Both presets, and for each the groups of a pipelined run.
const PRESETS: [(&[&str], &str); 2] =
    [(&AUDIO, "train.groups=[[1],[2,3],[4,5,6]]"), (&VISION, "train.groups=[[1],[2],[3]]")];

/// Batches are a function of the step: schedules, threads, a resume and a record change no bit.
#[test]
fn two_views_are_the_same_under_every_schedule() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    folders(&d.join("images"), false);
    for (preset, groups) in PRESETS {
        let names = ["whole", "pipelined", "resumed", "iterative", "recorded", "async", "again"];
        let [whole, pipelined, resumed, iterative, recorded, live, again] =
            names.map(|name| format!("{}-{name}", preset[0]));
        ok(d, &train(preset, &whole, &[]));
        let want = result(&d.join(&whole));
        let schedule = "train.schedule=pipelined";
        ok(d, &[train(preset, &pipelined, &[schedule, groups]), vec!["--threads", "1"]].concat());
        assert!(result(&d.join(&pipelined)) == want, "{pipelined}");
        ok(d, &train(preset, &resumed, &[]));
        std::fs::remove_dir_all(d.join(&resumed).join("checkpoints/step-00000002")).unwrap();
        ok(d, &["train", "--resume", &resumed, "--threads", "1"]);
        assert!(result(&d.join(&resumed)) == want, "{resumed}");

        ok(d, &train(preset, &iterative, &["train.schedule=iterative"]));
        ok(d, &train(preset, &recorded, &["train.schedule=iterative", "train.record=true"]));
        assert!(result(&d.join(&recorded)) == result(&d.join(&iterative)), "{recorded}");
        ok(d, &train(preset, &live, &["train.schedule=async"]));
        let order = format!("train.order={live}/order.csv");
        ok(d, &train(preset, &again, &["train.schedule=async", &order]));
        assert!(result(&d.join(&again)) == result(&d.join(&live)), "{again}");
        ok(d, &["extract", &whole, "--out", &format!("{whole}.h5")]);
    }
}

/// Held-out items are in two views for a loss that compares views, and in one clean view for others, which
/// then validate as if there had never been two.
#[test]
fn validation_has_the_views_that_the_loss_needs() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    folders(&d.join("images"), false);
    for (preset, groups) in PRESETS {
        let [whole, pipelined] = ["validated", "in-a-pipe"].map(|name| format!("{}-{name}", preset[0]));
        let held_out = ["data.validate=0.3", "train.validate_every=1"];
        ok(d, &train(preset, &whole, &held_out));
        let rows = lines(&d.join(&whole).join("validation.csv"));
        assert!(rows.len() > 4 && !rows.iter().skip(1).any(|row| row.contains("NaN")), "{rows:?}");
        let more = [&held_out[..], &["train.schedule=pipelined", groups]].concat();
        ok(d, &train(preset, &pipelined, &more));
        assert_eq!(lines(&d.join(&pipelined).join("validation.csv")), rows, "{pipelined}");

        // More items for a loss that knows nothing of views. With weights that stay as they are, the loss on
        // held-out items is that of single views.
        let small = if preset[0].starts_with("vision") { "network.patch=8" } else { "loss.window=8" };
        let settings = ["loss.kind=infonce", "loss.prediction_steps=2", "optimizer.lr=1e-30", small];
        let [one, two] = ["one", "two"].map(|name| format!("{}-{name}", preset[0]));
        ok(d, &train(preset, &two, &[&held_out[..], &settings].concat()));
        ok(d, &train(preset, &one, &[&held_out[..], &settings, &["data.views=1"]].concat()));
        let [one, two] = [one, two].map(|run| lines(&d.join(run).join("validation.csv")));
        assert_eq!(one, two);
    }
}

/// Labels are repeated for each view; every wrong pair of settings is named before anything is read.
#[test]
fn views_fit_their_loss_and_labels() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    folders(&d.join("images"), false);
    ok(d, &train(&VISION, "classes", &["loss.kind=auto", "loss.target=classes"]));
    ok(d, &train(&AUDIO, "speakers", &["loss.kind=auto", "loss.target=speakers"]));
    let steady = ["loss.kind=auto", "loss.target=phones", "data.augment.tempo=0"];
    ok(d, &train(&AUDIO, "phones", &steady));
    for compare in ["view-positions", "neighbors"] {
        ok(d, &train(&AUDIO, compare, &[&format!("loss.nt-xent.compare={compare}"), "data.augment.tempo=0"]));
    }
    for kind in ["vicreg", "barlow-twins", "slow-features"] {
        let (kind, compare) = (format!("loss.kind={kind}"), format!("loss.{kind}.compare=views"));
        ok(d, &train(&VISION, &kind, &[&kind, &compare]));
    }
    for (preset, set, says) in [
        (&VISION, &["data.views=1"][..], "set data.views = 2"),
        (&AUDIO, &["data.views=1"], "loss.nt-xent.compare"),
        (&AUDIO, &["data.views=3"], "data.views"),
        (&AUDIO, &["loss.nt-xent.compare=pairs"], "neighbors"),
        (&AUDIO, &["loss.kind=auto", "loss.target=phones"], "data.augment.tempo"),
        (&AUDIO, &["loss.kind=auto", "loss.target=speakers", "data.whole=true", "train.batch=1"], "data.whole"),
        (&VISION, &["train.batch=1"], "two pairs"),
        (&VISION, &["data.augment.scale=[0.5, 0.1]"], "data.augment.scale"),
        (&VISION, &["data.augment.scale=[0.5]"], "data.augment"),
        (&VISION, &["data.augment.strengh=1"], "data.augment.strength"),
    ] {
        let e = fails(d, &train(preset, "wrong", set));
        assert!(e.contains(says), "{set:?}: {e}");
    }
    assert!(!d.join("wrong").exists(), "a run that cannot start leaves nothing");

    let out = aloud(d, &train(&VISION, "said", &[])).output().unwrap();
    let said = [out.stdout, out.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(out.status.success() && said.contains("batches of 6, two views of each"), "{said}");
    let config = std::fs::read_to_string(d.join("said/config.toml")).unwrap();
    assert!(config.contains("[data.augment]") && config.contains("compare = \"views\""), "{config}");
    let text = printed(d, &["config", "explain", "data.augment"]);
    assert!(text.contains("data.augment.sigma (vision)") && text.contains("data.augment.snr (audio)"), "{text}");
    // Views count in what a step takes.
    ok(d, &["estimate", "vision-two-views", "--steps", "1", "--set", "train.batch=2", "--set", "data.path=images"]);
}
