//! Schedules by the program: the same results, however modules are spread over threads.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{fails, gim, ok, result};

const AUDIO: [&str; 11] = [
    "train",
    "audio-quick",
    "--set",
    "network.width=16",
    "--set",
    "network.context=8",
    "--set",
    "train.batch=4",
    "--set",
    "train.steps=24",
    "--out",
];
const VISION: [&str; 11] = [
    "train",
    "vision-quick",
    "--set",
    "network.widths=[4,6,8]",
    "--set",
    "train.batch=8",
    "--set",
    "train.steps=24",
    "--set",
    "data.cache_mb=8",
    "--out",
];
const OFTEN: [&str; 4] = ["--set", "train.log_every=2", "--set", "train.checkpoint_every=4"];

fn train<'a>(preset: &[&'a str], out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [preset, &[out], &OFTEN, more].concat()
}

/// Names and sizes of all checkpoints.
fn checkpoints(run: &Path) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for step in std::fs::read_dir(run.join("checkpoints")).unwrap().map(|e| e.unwrap()) {
        let files = std::fs::read_dir(step.path()).unwrap().map(|e| e.unwrap());
        all.extend(files.map(|f| (f.path().display().to_string(), f.metadata().unwrap().len())));
    }
    let folder = run.display().to_string();
    all.iter_mut().for_each(|f| f.0 = f.0.replace(&folder, ""));
    all.sort();
    all
}

#[test]
fn pipelined_training_gives_the_bits_of_simultaneous_training() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let pipelined = ["--schedule", "pipelined"];
    for (preset, three) in [(AUDIO, "train.groups=[[1],[2,3],[4,5,6]]"), (VISION, "train.groups=[[1],[2],[3]]")] {
        let [whole, auto, groups, killed] = ["whole", "auto", "groups", "killed"].map(|n| format!("{}-{n}", preset[1]));
        ok(d, &train(&preset, &whole, &[]));
        let want = result(&d.join(&whole));
        ok(d, &train(&preset, &auto, &[&pipelined[..], &["--threads", "2"]].concat()));
        assert!(result(&d.join(&auto)) == want, "{auto}");
        let more = ["--threads", "1", "--set", three, "--set", "train.link_depth=5"];
        ok(d, &train(&preset, &groups, &[&pipelined[..], &more].concat()));
        assert!(result(&d.join(&groups)) == want, "{groups}");
        for run in [&auto, &groups] {
            assert_eq!(checkpoints(&d.join(run)), checkpoints(&d.join(&whole)));
        }

        let mut child =
            gim(d, &train(&preset, &killed, &[&pipelined[..], &["--set", three]].concat())).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        let first = d.join(&killed).join("checkpoints/step-00000004");
        while !first.exists() && child.try_wait().unwrap().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        ok(d, &["train", "--resume", &killed]);
        assert!(result(&d.join(&killed)) == want, "{killed}");

        let schedule = std::fs::read_to_string(d.join(&groups).join("schedule.csv")).unwrap();
        assert_eq!(schedule.lines().next().unwrap().split(',').next_back(), Some("link_bytes"), "{schedule}");
        let figures = ok(d, &["figures", &groups]);
        assert!(String::from_utf8_lossy(&figures.stdout).contains("timeline.png"));
    }
}

#[test]
fn a_signal_saves_and_wrong_groups_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let pipelined = ["--schedule", "pipelined", "--set", "train.groups=[[1,2,3],[4,5,6]]"];
    let long = ["--set", "train.steps=80"];
    ok(d, &train(&AUDIO, "whole", &[&long[..], &pipelined[2..]].concat()));
    let notes = std::fs::read_to_string(d.join("whole/notes.txt")).unwrap();
    assert!(notes.contains("train.groups has no effect where modules take turns"), "{notes}");
    let mut child =
        gim(d, &train(&AUDIO, "stopped", &[&pipelined[..], &long].concat())).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    let rows = || std::fs::read_to_string(d.join("stopped/train.csv")).unwrap_or_default().lines().count();
    while rows() < 2 && child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    let stop = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(stop.success());
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(2) && said.contains("interrupted after step"), "{said}");
    ok(d, &["train", "--resume", "stopped"]);
    assert!(result(&d.join("stopped")) == result(&d.join("whole")));

    for schedule in ["pipelined", "simultaneous", "iterative", "async"] {
        let wrong = ["--schedule", schedule, "--set", "train.groups=[[1,2],[4,5,6]]"];
        assert!(fails(d, &train(&AUDIO, "wrong", &wrong)).contains("train.groups"), "{schedule}");
    }
    assert!(!d.join("wrong").exists(), "a run that cannot start leaves nothing");
    let e = fails(d, &train(&AUDIO, "diverged", &[&pipelined[..], &["--set", "optimizer.lr=100"]].concat()));
    assert!(e.contains("diverged at step"), "{e}");
}

/// What a module has learned depends on the batches that it and those below have taken, on nothing
/// else.
#[test]
fn asynchronous_training_is_repeated_by_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let live = ["--schedule", "async", "--set", "train.slow=[1.0,1.0,1.0,1.0,1.0,4.0]"];
    for (preset, name) in [(AUDIO, "audio"), (VISION, "vision")] {
        let [run, killed] = ["live", "killed"].map(|n| format!("{name}-{n}"));
        let slow = if name == "audio" { &live[..] } else { &live[..2] };
        ok(d, &train(&preset, &run, slow));
        let mut child = gim(d, &train(&preset, &killed, slow)).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        let checkpoints = d.join(&killed).join("checkpoints");
        while !checkpoints.exists() && child.try_wait().unwrap().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(50));
        child.kill().unwrap();
        child.wait().unwrap();
        ok(d, &["train", "--resume", &killed]);
        for run in [&run, &killed] {
            let (again, order) = (format!("{run}-again"), format!("train.order={run}/order.csv"));
            let more = ["--schedule", "async", "--threads", "1", "--set", &order];
            ok(d, &train(&preset, &again, &more));
            assert!(result(&d.join(&again)) == result(&d.join(run)), "{again}");
        }
    }
    let figures = ok(d, &["figures", "audio-live"]);
    assert!(String::from_utf8_lossy(&figures.stdout).contains("staleness.png"));
    let wrong = ["--schedule", "async", "--set", "train.order=vision-live/order.csv"];
    assert!(fails(d, &train(&AUDIO, "wrong", &wrong)).contains("vision-live/order.csv"));
    assert!(!d.join("wrong").exists(), "a run that cannot start leaves nothing");
}

/// Utterances of many lengths, one a step: every schedule gives the same bits, also after a resume.
#[test]
fn whole_utterances_are_learned_from_by_every_schedule() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let whole = ["--set", "data.whole=true", "--set", "loss.target=phones", "--set", "train.batch=1"];
    let more = [&whole[..], &["--set", "data.validate=0.1", "--set", "train.steps=12"]].concat();
    ok(d, &train(&AUDIO, "whole", &more));
    let want = result(&d.join("whole"));
    assert!(std::fs::read_to_string(d.join("whole/validation.csv")).unwrap().lines().count() > 6);
    ok(d, &train(&AUDIO, "resumed", &more));
    for step in ["step-00000008", "step-00000012"] {
        let _ = std::fs::remove_dir_all(d.join("resumed/checkpoints").join(step));
    }
    ok(d, &["train", "--resume", "resumed", "--threads", "1"]);
    assert!(result(&d.join("resumed")) == want);

    let pipelined = ["--schedule", "pipelined", "--set", "train.groups=[[1],[2,3],[4,5,6]]"];
    ok(d, &train(&AUDIO, "measured", &[&more[..], &pipelined].concat()));
    assert!(result(&d.join("measured")) == want);

    let more = [&whole[..], &["--set", "train.steps=12"]].concat();
    ok(d, &train(&AUDIO, "simultaneous", &more));
    let want = result(&d.join("simultaneous"));
    ok(d, &train(&AUDIO, "pipelined", &[&more[..], &pipelined].concat()));
    assert!(result(&d.join("pipelined")) == want);
    ok(d, &train(&AUDIO, "async", &[&more[..], &["--schedule", "async"]].concat()));
    let order = ["--schedule", "async", "--set", "train.order=async/order.csv", "--threads", "1"];
    ok(d, &train(&AUDIO, "again", &[&more[..], &order].concat()));
    assert!(result(&d.join("again")) == result(&d.join("async")));
    ok(d, &train(&AUDIO, "iterative", &[&more[..], &["--schedule", "iterative", "--set", "train.steps=2"]].concat()));
}
