//! The program on the embedded corpus: determinism, kill and resume, probes and figures, and errors
//! for bad input.
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
    // Resuming a finished run changes nothing.
    ok(d, &["train", "--resume", "killed"]);
    assert_eq!(result(&d.join("one")), result(&d.join("killed")));
}

/// In iterative training, a trained module stays frozen.
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

/// Module 3 above the modules of another run has the bits of that turn of the iterative schedule.
#[test]
fn one_module_above_those_of_another_run() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let steps = ["--set", "train.steps=4"];
    ok(d, &train("all", &[&["--schedule", "iterative"], &steps[..]].concat()));
    ok(d, &train("two", &[&["--schedule", "iterative", "--set", "train.modules=2"], &steps[..]].concat()));
    ok(d, &train("three", &[&["--modules", "3", "--from", "two"], &steps[..]].concat()));
    let tensors = |file: &str| {
        let bytes = std::fs::read(d.join(file)).unwrap();
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[8 + header..].to_vec()
    };
    for module in 1..=3 {
        let [all, three] = ["all/checkpoints/step-00000024", "three/checkpoints/step-00000012"]
            .map(|folder| tensors(&format!("{folder}/module_{module}.safetensors")));
        assert!(!all.is_empty() && all == three, "module {module}");
    }
    assert!(!d.join("three/checkpoints/step-00000012/module_4.safetensors").exists());
    let (log, of_all) = (result(&d.join("three")).1, result(&d.join("all")).1);
    assert_eq!(log[1..], of_all[5..7], "the rows of module 3");
    ok(d, &["probe", "three", "--task", "speakers"]);

    let e = fails(d, &train("other", &["--modules", "3", "--from", "two", "--set", "network.width=8"]));
    assert!(e.contains("network.width: is 8, but 16 in two"), "{e}");
    let e = fails(d, &train("four", &[&["--modules", "4", "--from", "two"], &steps[..]].concat()));
    assert!(e.contains("two: has not finished the 3 modules below"), "{e}");
    assert!(!d.join("other").exists() && !d.join("four").exists());
}

#[test]
fn features_probes_and_figures() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for kind in ["separate-context", "fused-context", "cpc"] {
        let kind_setting = format!("network.kind={kind}");
        ok(d, &train(kind, &["--set", "train.steps=4", "--set", &kind_setting]));
        let out = ok(d, &["probe", kind, "--task", "speakers", "--json"]);
        let rows: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        let rows = rows.as_array().unwrap();
        // MFCC, and every module (or layer of the end-to-end network) beside its random twin.
        assert_eq!(rows.len(), 1 + 2 * if kind == "fused-context" { 5 } else { 6 }, "{kind}");
        assert!(rows.iter().all(|r| r["accuracy"].as_f64().unwrap() > r["majority"].as_f64().unwrap()), "{kind}");
    }
    // Snapshots are kept: the latent space has a row for each.
    ok(d, &["extract", "separate-context", "--out", "separate-context/features.h5"]);
    let snapshots = gim_eval::FeatureFile::open(d.join("separate-context/snapshots.h5")).unwrap();
    let of_first: Vec<&str> = snapshots.groups().filter(|g| g.ends_with("_module_1")).collect();
    assert_eq!(of_first, ["snapshot_00000000_module_1", "snapshot_00000002_module_1"]);
    let end = gim_eval::FeatureFile::open(d.join("separate-context/features.h5")).unwrap();
    let mean_of = |file: &gim_eval::FeatureFile, group: &str, id: &str| {
        file.read_means(group).unwrap().row(file.items().iter().position(|i| i == id).unwrap()).to_owned()
    };
    for id in [&snapshots.items()[0], snapshots.items().last().unwrap()] {
        // Step 0 is the random encoder.
        let (start, random) = (mean_of(&snapshots, of_first[0], id), mean_of(&end, "random_1", id));
        assert!((&start - &random).iter().all(|d| d.abs() < 1e-5), "{id}");
        assert!(mean_of(&snapshots, of_first[1], id) != start, "{id}: nothing was learned");
    }
    let out = ok(d, &["figures", "separate-context"]);
    for figure in String::from_utf8_lossy(&out.stdout).lines() {
        assert!(d.join(figure).metadata().unwrap().len() > 5000, "{figure}");
    }
    let svg = std::fs::read_to_string(d.join("separate-context/figures/latent-space.svg")).unwrap();
    for title in ["during training", "Module 6, step 0", "Module 1, step 2", "Module 6, end"] {
        assert!(svg.contains(title), "{title}");
    }
}

/// Row n of the features has label n of the file. Labels shifted by a frame would only show as a
/// slightly lower accuracy.
#[test]
fn phone_labels_are_those_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    ok(d, &train("run", &["--set", "train.steps=4"]));
    ok(d, &["extract", "run", "--out", "features.h5"]);
    let file = gim_eval::FeatureFile::open(d.join("features.h5")).unwrap();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/speech-mini");
    let corpus = gim_audio::dataset::corpus::Corpus::open(&root, &Default::default()).unwrap();
    let labels = corpus.labels().unwrap();
    let want: Vec<i32> =
        corpus.utterances().iter().flat_map(|u| labels.get(&u.id).unwrap()).map(|l| i32::from(*l)).collect();
    for group in ["module_1", "module_6", "random_5", "baseline_mfcc"] {
        let got = file.examples(group, "phone").unwrap();
        let slipped = got.labels().iter().zip(&want).position(|(a, b)| a != b);
        assert_eq!((got.labels().len(), slipped), (want.len(), None), "{group}");
    }
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
    std::fs::write(d.join("empty/1-1-0001.flac"), b"this is not audio").unwrap();
    assert!(fails(d, &train("a", &["--set", "data.path=empty"])).contains("1-1-0001.flac"));

    ok(d, &train("run", &["--set", "train.steps=4"]));
    assert!(fails(d, &train("run", &["--set", "train.steps=4"])).contains("--resume"));
    let file = d.join("run/checkpoints/step-00000004/module_2.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    for keep in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&file, &bytes[..keep]).unwrap();
        let said = String::from_utf8(ok(d, &["train", "--resume", "run"]).stderr).unwrap();
        assert!(said.contains("module_2.safetensors") && said.contains("step-00000002 is used instead"), "{said}");
        assert_eq!(std::fs::read(&file).unwrap(), bytes, "the steps are done again");
    }
    // A flipped bit and a zeroed block of a disk, with no other checkpoint to fall back on.
    std::fs::rename(d.join("run/checkpoints/step-00000002"), d.join("step-00000002")).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    let mut zeroed = bytes.clone();
    zeroed[bytes.len() - 1024..bytes.len() - 512].fill(0);
    for damaged in [flipped, zeroed] {
        std::fs::write(&file, damaged).unwrap();
        assert!(fails(d, &["train", "--resume", "run"]).contains("module_2.safetensors: is damaged"));
    }
    std::fs::write(&file, &bytes).unwrap();

    let file = d.join("run/environment.json");
    let environment = std::fs::read_to_string(&file).unwrap();
    let digest = environment.split("\"digest\": \"").nth(1).unwrap().split('"').next().unwrap();
    std::fs::write(&file, environment.replace("speech-mini", "other").replace(digest, "0123")).unwrap();
    let said = fails(d, &["train", "--resume", "run"]);
    assert!(said.contains("other") && said.contains("speech-mini") && said.contains("GIM_DATA"), "{said}");
    std::fs::write(&file, environment).unwrap();

    let config = std::fs::read_to_string(d.join("run/config.toml")).unwrap();
    std::fs::write(d.join("run/config.toml"), config.replace("width = 16", "width = 12")).unwrap();
    assert!(fails(d, &["train", "--resume", "run"]).contains("configuration"));
}

/// A mono WAV file of 32-bit floats at 16 kHz.
fn float_wav(x: &[f32]) -> Vec<u8> {
    let data: Vec<u8> = x.iter().flat_map(|v| v.to_le_bytes()).collect();
    let mut out = b"RIFF".to_vec();
    out.extend((36 + data.len() as u32).to_le_bytes());
    out.extend(b"WAVEfmt ");
    out.extend(16u32.to_le_bytes());
    out.extend([3u16, 1].iter().flat_map(|v| v.to_le_bytes()));
    out.extend([16_000u32, 64_000].iter().flat_map(|v| v.to_le_bytes()));
    out.extend([4u16, 32].iter().flat_map(|v| v.to_le_bytes()));
    out.extend(b"data");
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(data);
    out
}

#[test]
fn damaged_corpora_are_one_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let corpus = d.join("corpus");
    std::fs::create_dir(&corpus).unwrap();
    for speaker in 1..=4 {
        for n in 0..5 {
            let waveform: Vec<f32> = (0..24_000).map(|i| ((i * speaker + n * 7) as f32 * 0.013).sin() * 0.3).collect();
            std::fs::write(corpus.join(format!("{speaker}-1-{n:04}.wav")), float_wav(&waveform)).unwrap();
        }
    }
    let more = ["--set", "data.path=corpus", "--set", "train.steps=4"];
    ok(d, &train("fine", &more));

    std::fs::write(corpus.join("train_split.txt"), "1-1-0000\n9-9-9999\n").unwrap();
    assert!(fails(d, &train("a", &more)).contains("9-9-9999"));
    std::fs::remove_file(corpus.join("train_split.txt")).unwrap();

    let mut waveform = vec![0.1f32; 24_000];
    waveform[12_000] = f32::NAN;
    std::fs::write(corpus.join("2-1-0001.wav"), float_wav(&waveform)).unwrap();
    let e = fails(d, &train("a", &more));
    assert!(e.contains("2-1-0001.wav"), "{e}");

    let whole = float_wav(&vec![0.1f32; 24_000]);
    std::fs::write(corpus.join("2-1-0001.wav"), &whole[..whole.len() / 2]).unwrap();
    assert!(fails(d, &train("a", &more)).contains("2-1-0001.wav"));
    assert!(!d.join("a").exists(), "a run that cannot start leaves nothing");
}

/// A folder that cannot be created, and a full disk: nothing is lost, and the run resumes once there
/// is space.
#[test]
fn places_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    std::fs::write(d.join("file"), b"").unwrap();
    assert!(fails(d, &train("file/run", &["--set", "train.steps=4"])).contains("file/run"));

    ok(d, &train("whole", &["--set", "train.steps=8"]));
    ok(d, &train("run", &["--set", "train.steps=4"]));
    let config = std::fs::read_to_string(d.join("run/config.toml")).unwrap();
    std::fs::write(d.join("run/config.toml"), config.replace("steps = 4", "steps = 8")).unwrap();
    // A limit of 4 KiB per file simulates a full disk. The limit's signal is ignored.
    let limited = format!("trap '' XFSZ; ulimit -f 4; exec {} --quiet train --resume run", env!("CARGO_BIN_EXE_gim"));
    let out = std::process::Command::new("bash").current_dir(d).args(["-c", &limited]).output().unwrap();
    let e = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{e}");
    assert!(e.starts_with("gim: ") && e.contains("run/"), "{e}");
    ok(d, &["train", "--resume", "run"]);
    assert_eq!(result(&d.join("whole")), result(&d.join("run")));
}

#[test]
fn a_diverging_module_stops_with_its_step() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let e = fails(d, &train("run", &["--set", "optimizer.lr=1e30", "--set", "train.steps=40"]));
    assert!(e.contains("diverged at step") && e.contains("checkpoint"), "{e}");
}

/// The program finds the embedded data wherever it is copied to, and never trains on it unasked.
#[test]
fn embedded_data_travel_with_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("gim");
    std::fs::copy(env!("CARGO_BIN_EXE_gim"), &program).unwrap();
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command
            .args(args)
            .current_dir(dir.path())
            .env_remove("GIM_DATA")
            .env("XDG_CACHE_HOME", dir.path().join("cache"));
        command.output().unwrap()
    };
    let steps = ["--set", "train.steps=1", "--set", "train.log_every=1", "--set", "train.checkpoint_every=1"];
    let trained = run(&[&["train", "vision-quick", "--out", "run"][..], &steps[..]].concat());
    assert!(trained.status.success(), "{}", String::from_utf8_lossy(&trained.stderr));
    assert!(dir.path().join("cache/gim").is_dir());

    let refused = run(&[&["train", "audio-small", "--out", "other"][..], &steps[..]].concat());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("GIM_DATA") && said.contains("LibriSpeech"), "{said}");
    assert!(!dir.path().join("other").exists());
}
