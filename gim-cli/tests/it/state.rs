//! Runs that are killed, and files that are damaged: the result is that of an undisturbed run, or one
//! clear error.
//!
//! `GIM_STATE_REPEATS=500` repeats each kind of fault so often; `scripts/kills.sh` kills at chosen
//! system calls.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::common::{aloud, fails, gim, is_one_error, ok, printed, result};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// A run of some seconds that saves often.
const SETTINGS: [&str; 18] = [
    "train",
    "audio-quick",
    "--set",
    "network.width=8",
    "--set",
    "network.context=8",
    "--set",
    "train.batch=2",
    "--set",
    "data.crop=5120",
    "--set",
    "train.log_every=4",
    "--set",
    "train.checkpoint_every=4",
    "--set",
    "train.steps=60",
    "--threads",
    "1",
];

fn train(out: &str) -> Vec<&str> {
    SETTINGS.into_iter().chain(["--out", out]).collect()
}

/// A run of four steps with checkpoints of steps 2 and 4.
fn short_run(d: &Path) {
    let more = ["--set", "train.steps=4", "--set", "train.checkpoint_every=2", "--set", "train.log_every=2"];
    ok(d, &[train("run").as_slice(), &more].concat());
}

/// How often a kind of fault is repeated.
fn repeats() -> usize {
    std::env::var("GIM_STATE_REPEATS").ok().and_then(|n| n.parse().ok()).unwrap_or(6)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        if entry.is_dir() { out.extend(files(&entry)) } else { out.push(entry) }
    }
    out.sort();
    out
}

/// Every file of a run by name, without what differs between equal runs: times, and the environment.
fn contents(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut out = BTreeMap::new();
    for file in files(run) {
        let name = file.strip_prefix(run).unwrap().to_owned();
        let mut bytes = std::fs::read(&file).unwrap();
        if name == Path::new("train.csv") {
            let text = String::from_utf8(bytes).unwrap();
            bytes = text.lines().map(|l| l.rsplit_once(',').unwrap().0.to_owned() + "\n").collect::<String>().into();
        } else if name == Path::new("environment.json") {
            bytes = Vec::new();
        }
        out.insert(name, bytes);
    }
    out
}

fn same(whole: &Path, run: &Path, what: &str) {
    let (whole, run) = (contents(whole), contents(run));
    let differing: Vec<_> = whole.keys().chain(run.keys()).filter(|k| whole.get(*k) != run.get(*k)).collect();
    assert!(differing.is_empty(), "{what}: {differing:?} differ");
}

/// Kills at random times, some while a checkpoint is saved or an old one removed.
#[test]
fn killed_runs_end_as_undisturbed_ones() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let started = Instant::now();
    ok(d, &train("whole"));
    let longest = started.elapsed().as_secs_f64();
    let mut rng = SmallRng::seed_from_u64(7);
    let mut kills = 0;
    for repeat in 0..repeats() {
        let run = d.join("run");
        loop {
            let begun = run.join("config.toml").exists();
            let args = if begun { vec!["train", "--resume", "run", "--threads", "1"] } else { train("run") };
            let mut child = gim(d, &args).spawn().unwrap();
            // A killed run is killed once more, sometimes.
            let end = Duration::from_secs_f64(rng.random_range(0.05..1.3) * longest);
            let killed_at = Instant::now() + end;
            let status = loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break Some(status);
                }
                if Instant::now() > killed_at {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    kills += 1;
                    break None;
                }
                std::thread::sleep(Duration::from_micros(200));
            };
            if let Some(status) = status {
                assert!(status.success(), "repeat {repeat}");
                break;
            }
        }
        same(&d.join("whole"), &run, &format!("repeat {repeat}"));
        std::fs::remove_dir_all(&run).unwrap();
    }
    assert!(kills > 0, "no run was killed");
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let into = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(into.parent().unwrap()).unwrap();
        std::fs::copy(&file, into).unwrap();
    }
}

/// Lines of config.toml that may change when a run is resumed: a flipped bit in them is a new wish.
fn may_change(line: &str) -> bool {
    let record = ["record", "record_epochs", "record_type", "record_zstd", "keep_record"];
    ["path", "cache_mb", "log_every", "checkpoint_every", "snapshots", "steps", "epochs"]
        .iter()
        .chain(&record)
        .any(|key| line.starts_with(&format!("{key} =")))
}

/// Positions of a file's bytes that a resumed run must prove or not need.
fn proven(name: &Path, bytes: &[u8]) -> Vec<usize> {
    if name != Path::new("config.toml") {
        return (0..bytes.len()).collect();
    }
    let (mut at, mut out) = (0, Vec::new());
    for line in String::from_utf8_lossy(bytes).split_inclusive('\n') {
        if !may_change(line) {
            out.extend(at..at + line.len());
        }
        at += line.len();
    }
    out
}

/// A flipped bit in any file of a run that is resumed, or whose features are probed.
#[test]
fn flipped_bits_are_mended_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    ok(d, &train("whole"));
    // The same run as it was after 40 steps.
    ok(d, &[&train("half")[..], &["--set", "train.steps=40"]].concat());
    let config = std::fs::read_to_string(d.join("half/config.toml")).unwrap();
    std::fs::write(d.join("half/config.toml"), config.replace("steps = 40", "steps = 60")).unwrap();
    let half = d.join("half");
    let names: Vec<PathBuf> = files(&half).iter().map(|f| f.strip_prefix(&half).unwrap().into()).collect();
    assert!(names.len() > 10, "{names:?}");

    let mut rng = SmallRng::seed_from_u64(8);
    let (mut equal, mut refused) = (0, 0);
    for name in &names {
        for _ in 0..repeats().div_ceil(6) {
            let run = d.join("run");
            copy(&half, &run);
            let mut bytes = std::fs::read(run.join(name)).unwrap();
            let places = proven(name, &bytes);
            if places.is_empty() {
                continue;
            }
            let (at, bit) = (places[rng.random_range(0..places.len())], rng.random_range(0..8));
            bytes[at] ^= 1 << bit;
            std::fs::write(run.join(name), bytes).unwrap();
            let out = gim(d, &["train", "--resume", "run", "--threads", "1"]).output().unwrap();
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            let what = format!("{}, bit {bit} of byte {at}: {said}", name.display());
            if out.status.success() {
                let weights = |run: &Path| {
                    let mut all = contents(run);
                    all.retain(|name, _| name.starts_with("checkpoints/step-00000060") || name.ends_with("train.csv"));
                    all
                };
                assert!(weights(&d.join("whole")) == weights(&run), "other results: {what}");
                equal += 1;
            } else {
                assert!(out.status.code() == Some(2) && is_one_error(&said), "{what}");
                refused += 1;
            }
            std::fs::remove_dir_all(&run).unwrap();
        }
    }
    assert!(equal > 0 && refused > 0, "{equal} were restored, {refused} refused");
}

/// A folder is named once there is a run in it, and a finished run says so.
#[test]
fn a_run_says_where_it_is_and_when_it_has_finished() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let said = |args: &[&str]| {
        let out = aloud(d, args).output().unwrap();
        (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let small = ["--set", "network.width=8", "--set", "train.batch=2", "--set", "train.steps=2"];
    let (well, text) = said(&[&["train", "audio-quick", "--set", "data.path=absent"], &small[..]].concat());
    let taken = d.canonicalize().unwrap().join("absent");
    assert!(!well && !text.contains("in runs/") && text.contains(&taken.display().to_string()), "{text}");
    assert_eq!(std::fs::read_dir(d.join("runs")).unwrap().count(), 0);
    let (well, text) = said(&[&["train", "audio-quick"], &small[..]].concat());
    assert!(well && text.contains("seed 1, in runs/audio-quick-1"), "{text}");
    let (well, text) = said(&["train", "--resume", "runs/audio-quick-1"]);
    for part in ["all its 2 steps are done", "gim probe runs/audio-quick-1 --task", "raise train.steps in "] {
        assert!(well && text.contains(part), "{text}");
    }
    assert_eq!(ok(d, &["train", "--resume", "runs/audio-quick-1"]).stderr, b"");
}

/// A damaged feature file is made anew, and a damaged newest checkpoint is passed over with a warning.
#[test]
fn damaged_features_and_weights_are_never_probed_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    ok(d, &train("run"));
    let probe = ["probe", "run", "--task", "speakers", "--protocol", "knn", "--module", "1"];
    ok(d, &probe);
    let features = d.join("run/features.h5");
    let whole = std::fs::read(&features).unwrap();
    let mut rng = SmallRng::seed_from_u64(9);
    for _ in 0..repeats() {
        let mut bytes = whole.clone();
        let at = rng.random_range(0..bytes.len());
        bytes[at] ^= 1 << rng.random_range(0..8);
        std::fs::write(&features, bytes).unwrap();
        let out = gim(d, &probe).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success() && said.contains("features.h5 was changed"), "byte {at}: {said}");
        assert!(said.contains("made anew"), "byte {at}: {said}");
    }
    std::fs::remove_file(&features).unwrap();
    let weights = d.join("run/checkpoints/step-00000060/module_1.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let said = String::from_utf8(ok(d, &["extract", "run", "--out", "features.h5"]).stderr).unwrap();
    assert!(said.contains("step-00000060") && said.contains("step-00000056 is used instead"), "{said}");
}

/// By the clock, a checkpoint comes at any step. A run that is killed after one ends as an undisturbed one.
#[test]
fn checkpoints_come_by_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for schedule in ["simultaneous", "iterative", "pipelined"] {
        let (whole, run) = (format!("{schedule}-whole"), format!("{schedule}-run"));
        let set = format!("train.schedule={schedule}");
        let every = ["--set", "train.checkpoint_every=24", "--set", "train.snapshots=[]"];
        let more = [&["--set", "train.steps=24", "--set", &set][..], &every].concat();
        ok(d, &[train(&whole), more.clone()].concat());
        let clock = ["--set", "train.checkpoint_minutes=1e-9"];
        let mut child = gim(d, &[train(&run), more, clock.to_vec()].concat()).spawn().unwrap();
        // The total is a multiple of 24 steps for all schedules.
        let at = |path: &Path| path.file_name()?.to_str()?.strip_prefix("step-")?.parse::<u64>().ok();
        let by_clock = || {
            let all = std::fs::read_dir(d.join(&run).join("checkpoints")).into_iter().flatten().flatten();
            all.filter_map(|e| at(&e.path())).any(|step| !step.is_multiple_of(24))
        };
        let seen = loop {
            if by_clock() {
                break true;
            }
            if child.try_wait().unwrap().is_some() {
                break false;
            }
            std::thread::sleep(Duration::from_micros(200));
        };
        drop(child.kill());
        child.wait().unwrap();
        assert!(seen, "{schedule}: no checkpoint came by the clock");
        ok(d, &["train", "--resume", &run, "--threads", "1"]);
        assert!(result(&d.join(&whole)) == result(&d.join(&run)), "{schedule}");
        assert!(!by_clock(), "{schedule}: the last checkpoint removes those of the clock");
    }
}

/// How a run was made is for the reader: without environment.json the run is as good as before. Without its
/// configuration it is not.
#[test]
fn only_what_is_needed_is_asked_of_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    short_run(d);
    std::fs::remove_file(d.join("run/environment.json")).unwrap();
    ok(d, &["probe", "run", "--task", "speakers", "--protocol", "knn"]);
    ok(d, &["figures", "run"]);
    ok(d, &["train", "--resume", "run"]);
    std::fs::write(d.join("run/config.toml"), "").unwrap();
    assert!(fails(d, &["export", "run", "--to", "torch", "--out", "x"]).contains("config.toml: is damaged"));
}

/// A checkpoint of modules that do not belong together is damaged, and the one before is used.
#[test]
fn mixed_checkpoints_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    short_run(d);
    let (old, new) = ("checkpoints/step-00000002", "checkpoints/step-00000004");
    for (n, says) in ["is of step 2", "module 2 is missing", "is of module", "holds 5 modules of 6"].iter().enumerate()
    {
        let name = format!("run-{n}");
        copy(&d.join("run"), &d.join(&name));
        let (old, new) = (d.join(&name).join(old), d.join(&name).join(new));
        let (two, three) = (new.join("module_2.safetensors"), new.join("module_3.safetensors"));
        match n {
            0 => drop(std::fs::copy(old.join("module_2.safetensors"), &two).unwrap()),
            1 => std::fs::remove_file(&two).unwrap(),
            2 => {
                let kept = std::fs::read(&two).unwrap();
                std::fs::rename(&three, &two).unwrap();
                std::fs::write(&three, kept).unwrap();
            }
            _ => std::fs::remove_file(new.join("module_6.safetensors")).unwrap(),
        }
        let out = gim(d, &["export", &name, "--to", "safetensors", "--out", "x.safetensors"]).output().unwrap();
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success() && text.contains(says) && text.contains("step-00000002 is used"), "{n}: {text}");
    }
}

/// `gim status` tells a run that trains from one that was stopped, and changes nothing.
#[test]
fn status_says_how_far_runs_are() {
    let folder = tempfile::tempdir().unwrap();
    ok(folder.path(), &[&train("runs/a/seed-1")[..], &["--set", "train.steps=4"]].concat());
    let status = || printed(folder.path(), &["status"]);
    assert!(status().contains("seed-1  trained (4 steps)"), "{}", status());

    let config = folder.path().join("runs/a/seed-1/config.toml");
    let text = std::fs::read_to_string(&config).unwrap().replace("steps = 4", "steps = 8");
    std::fs::write(&config, text).unwrap();
    assert!(status().contains("stopped at 4 of 8 steps") && status().contains("1 stopped"), "{}", status());

    let lock = folder.path().join("runs/a/seed-1/gim.lock");
    std::fs::write(&lock, "process 7 on a machine, since today").unwrap();
    let held = std::fs::File::open(&lock).unwrap();
    held.lock().unwrap();
    let now = status();
    assert!(now.contains("training, 4 of 8 steps") && now.contains("process 7 on a machine, since today"), "{now}");
    let json: serde_json::Value =
        serde_json::from_str(&printed(folder.path(), &["status", "runs/a", "--json"])).unwrap();
    assert_eq!((json[0]["state"].as_str(), json[0]["checkpoint"].as_u64()), (Some("training"), Some(4)));
    drop(held);

    std::fs::write(&config, "[train]\nsteps = \"many\"\n").unwrap();
    assert!(status().contains("cannot be read"), "{}", status());
    assert!(fails(folder.path(), &["status", "absent"]).contains("is not a folder"));
}
