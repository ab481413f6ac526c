//! The program on the embedded corpus: determinism, kill and resume, probes and figures, and errors
//! for bad input.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::common::{fails, gim, ok, result};

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

/// Waits until `path` is there, or the process has ended.
fn wait_for(child: &mut Child, path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !path.exists() && child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
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
    wait_for(&mut child, &d.join("killed/checkpoints/step-00000004"));
    child.kill().unwrap();
    child.wait().unwrap();
    ok(d, &["train", "--resume", "killed"]);
    assert_eq!(result(&d.join("one")), result(&d.join("killed")));
    // Resuming a finished run changes nothing, but for a checkpoint that a kill kept it from removing.
    let checkpoints = d.join("killed/checkpoints");
    let old = checkpoints.join("step-00000032");
    std::fs::create_dir(&old).unwrap();
    for module in std::fs::read_dir(checkpoints.join("step-00000036")).unwrap().flatten() {
        std::fs::copy(module.path(), old.join(module.file_name())).unwrap();
    }
    ok(d, &["train", "--resume", "killed"]);
    assert_eq!(result(&d.join("one")), result(&d.join("killed")));
    assert!(!old.exists() && checkpoints.join("step-00000036").is_dir());
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
    measures_need_no_fit(d, "cpc");
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

/// The paper's protocol: phones from whole utterances, speakers from random crops, which depend on the
/// seed alone.
/// Measures of every module, on the triphones of the test part and on a list of items.
fn measures_need_no_fit(d: &std::path::Path, run: &str) {
    let rows = |args: &[&str]| -> Vec<gim_eval::MeasureRow> {
        let out = ok(d, &[&["measure", run, "--json"], args].concat());
        serde_json::from_slice(&out.stdout).unwrap()
    };
    let of_test_part = rows(&[]);
    assert_eq!(of_test_part.len(), 13);
    assert!(of_test_part.iter().all(|r| r.used_dims >= 1.0 && r.used_dims <= r.dims as f64), "{of_test_part:?}");
    assert!(of_test_part[0].abx_items > 0, "{of_test_part:?}");
    let file = gim_eval::FeatureFile::open(d.join(run).join("features.h5")).unwrap();
    let [first, .., last] = file.items() else { panic!("two utterances") };
    let list = [
        "#file onset offset #phone before after speaker".to_owned(),
        format!("{first} 0.0 0.1 A X Y ann"),
        format!("{first} 0.2 0.3 A X Y ann"),
        format!("{first} 0.4 0.6 B X Y ann"),
        format!("{last} 0.0 0.1 A X Y ben"),
        "nobody 0.0 0.1 A X Y ben".to_owned(),
    ];
    std::fs::write(d.join("all.item"), list.join("\n")).unwrap();
    let listed = rows(&["--items", "all.item"]);
    let errors: Vec<f64> = listed.iter().flat_map(|r| [r.abx_within.unwrap(), r.abx_across.unwrap()]).collect();
    // Two X within, two A across: whole and half mistakes are all there can be.
    assert!(errors.iter().all(|e| [0.0, 0.25, 0.5, 0.75, 1.0].contains(e)), "{errors:?}");
    assert!(listed.iter().all(|r| r.abx_items == 4));
    let table = std::fs::read_to_string(d.join(run).join("measures.csv")).unwrap();
    assert_eq!(table.lines().count(), 27, "those of the test part and of the list: {table}");
    let said = String::from_utf8(ok(d, &["measure", run]).stdout).unwrap();
    assert!(said.contains("ABX across %") && said.contains("module 6"), "{said}");
}

#[test]
fn the_papers_protocol_sees_random_crops() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    ok(d, &train("run", &["--set", "train.steps=4"]));
    let probe = |more: &[&str]| {
        let all = [&["probe", "run", "--protocol", "paper", "--module", "1", "--json"][..], more].concat();
        let rows: serde_json::Value = serde_json::from_slice(&ok(d, &all).stdout).unwrap();
        let keep = |r: &serde_json::Value| {
            let mut r = r.as_object().unwrap().clone();
            r.remove("seconds");
            r
        };
        rows.as_array().unwrap().iter().map(keep).collect::<Vec<_>>()
    };
    let phones = probe(&["--task", "phones"]);
    assert!(phones.iter().all(|r| r["views"].is_null() && r["head"] == "linear"), "{phones:?}");
    let speakers = ["--task", "speakers", "--views", "2", "--test-views", "3"];
    let rows = probe(&[&speakers[..], &["--threads", "1"]].concat());
    assert_eq!(rows.len(), 3, "the module, its random twin and MFCCs: {rows:?}");
    assert!(rows.iter().all(|r| r["views"] == 2 && r["test_views"] == 3), "{rows:?}");
    // Test rows are utterances, whatever the number of crops.
    let file = gim_eval::ViewFile::open(d.join("run/views.h5")).unwrap();
    assert_eq!((file.views(), file.test_views()), (2, 3));
    assert!(rows.iter().all(|r| r["test_rows"] == file.test_items()));
    let bits = |file: &gim_eval::ViewFile| {
        let all = file.file().read_group("random_1").unwrap();
        all.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    let before = bits(&file);
    drop(file);
    std::fs::remove_file(d.join("run/views.h5")).unwrap();
    assert_eq!(rows, probe(&[&speakers[..], &["--threads", "2"]].concat()));
    assert_eq!(before, bits(&gim_eval::ViewFile::open(d.join("run/views.h5")).unwrap()));
    // Other heads read the same views, and their rows stand beside the linear ones.
    let mlp = probe(&[&speakers[..], &["--head", "mlp"]].concat());
    assert!(mlp.iter().all(|r| r["head"] == "mlp"), "{mlp:?}");
    let saved = std::fs::read_to_string(d.join("run/probe.csv")).unwrap();
    assert_eq!(saved.matches(",speakers,paper,linear,2,3,").count(), 3, "{saved}");
    assert_eq!(saved.matches(",speakers,paper,mlp,2,3,").count(), 3, "{saved}");
    // A view is the features of its crop.
    views_are_crops(d);
    assert!(fails(d, &["probe", "run", "--task", "phones", "--head", "mlp"]).contains("--protocol paper"));
    assert!(fails(d, &["probe", "run", "--task", "speakers", "--views", "0"]).contains("--views"));
    let whole = ["probe", "run/features.h5", "--task", "speakers", "--protocol", "paper"];
    assert!(fails(d, &whole).contains("not views"));
}

/// The MFCCs of a view are those of a crop of its utterance, on the grid of 10 ms.
fn views_are_crops(d: &std::path::Path) {
    let file = gim_eval::ViewFile::open(d.join("run/views.h5")).unwrap();
    let file = file.file();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/speech-mini");
    let corpus = gim_audio::dataset::corpus::Corpus::open(&root, &Default::default()).unwrap();
    let standardize = corpus.measure(gim_audio::dataset::corpus::Split::Train).unwrap();
    let mfcc = gim_audio::mfcc::Mfcc::new(Default::default()).unwrap();
    let last = file.items().len() - 1;
    for row in [0, last] {
        let id = file.items()[row].rsplit_once('@').unwrap().0;
        let wave = corpus.whole(corpus.find(id).unwrap(), &standardize).unwrap();
        let view = file.read_rows("baseline_mfcc", row..row + 1).unwrap();
        let starts = (0..=wave.len().saturating_sub(20_480)).step_by(160);
        let best = starts.map(|start| {
            let frames = mfcc.compute(&wave[start..(start + 20_480).min(wave.len())]);
            let mean = |c: usize| frames.column(c).iter().sum::<f32>() / frames.nrows() as f32;
            (0..frames.ncols()).map(|c| (mean(c) - view[(0, c)]).abs()).fold(0.0, f32::max)
        });
        let best = best.fold(f32::INFINITY, f32::min);
        assert!(best < 1e-4, "{id}: {best}");
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/speech-mini");
    let corpus = gim_audio::dataset::corpus::Corpus::open(&root, &Default::default()).unwrap();
    let labels = corpus.labels().unwrap();
    use gim_audio::dataset::corpus::Split;
    let items = [Split::Train, Split::Test].into_iter().flat_map(|split| corpus.listed(split));
    let of = |u: &usize| labels.get(&corpus.utterances()[*u].id).unwrap();
    let want: Vec<i32> = items.flat_map(of).map(|l| i32::from(*l)).collect();
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

    let file = d.join("run/dataset.json");
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

/// A signal stops a run after the step it came in. The rows and weights of the resumed run are those
/// of an uninterrupted one, whatever the steps of a row.
#[test]
fn signals_save_within_a_step() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let settings = ["--set", "train.steps=60", "--set", "train.log_every=20", "--set", "train.checkpoint_every=60"];
    ok(d, &train("whole", &settings));
    for signal in ["INT", "TERM", "HUP"] {
        let run = d.join(signal);
        let mut child = gim(d, &train(signal, &settings)).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        // The second row of six modules is there: step 20 is done, 40 is not.
        while std::fs::read_to_string(run.join("train.csv")).unwrap_or_default().lines().count() < 7 {
            assert!(child.try_wait().unwrap().is_none() && Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(2));
        }
        let kill = ["-s", signal, &child.id().to_string()].map(str::to_owned);
        assert!(std::process::Command::new("kill").args(kill).status().unwrap().success());
        let out = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(2) && said.contains("interrupted after step"), "{said}");
        let step: u64 = said.split("after step ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!((20..60).contains(&step) && run.join(format!("checkpoints/step-{step:08}")).is_dir(), "{said}");
        ok(d, &["train", "--resume", signal]);
        assert_eq!(result(&d.join("whole")), result(&run));
        let steps = |run: &Path| std::fs::read_dir(run.join("checkpoints")).unwrap().count();
        assert_eq!(steps(&d.join("whole")), steps(&run), "the interruption left no trace");
    }
}

/// What a resumed run goes on with is what it was begun with, whatever happened to its files.
#[test]
fn resuming_proves_its_settings_and_mends_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    ok(d, &train("whole", &["--set", "train.steps=8"]));
    ok(d, &train("run", &["--set", "train.steps=4"]));
    let config = std::fs::read_to_string(d.join("run/config.toml")).unwrap().replace("steps = 4", "steps = 8");
    let edit = |text: &str| std::fs::write(d.join("run/config.toml"), text).unwrap();
    for (key, from, to) in [
        ("train.seed", "seed = 1", "seed = 2"),
        ("train.batch", "batch = 4", "batch = 3"),
        ("data.crop", "\ncrop = ", "\ncrop = 1"),
        ("train.schedule", "\"simultaneous\"", "\"iterative\""),
        ("optimizer.lr", "lr = ", "lr = 1"),
    ] {
        let edited = config.replace(from, to);
        assert_ne!(edited, config, "{key}");
        edit(&edited);
        let said = fails(d, &["train", "--resume", "run"]);
        assert!(said.contains(key), "{key}: {said}");
    }
    // A file that ends before [train] has the paper's settings from there on.
    edit(config.split("[train]").next().unwrap());
    assert!(fails(d, &["train", "--resume", "run"]).contains("train."));

    edit(&config);
    std::fs::write(d.join("run/train.csv"), "").unwrap();
    let said = String::from_utf8(ok(d, &["train", "--resume", "run"]).stderr).unwrap();
    assert!(said.contains("train.csv lacked 12 of the 12 rows"), "{said}");
    assert_eq!(result(&d.join("whole")), result(&d.join("run")));
}

/// Two processes never write into one folder, and a folder nobody named is nobody else's.
#[test]
fn one_process_at_a_time_has_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let long = ["--set", "train.steps=100000"];
    let mut first = gim(d, &train("run", &long)).spawn().unwrap();
    wait_for(&mut first, &d.join("run/checkpoints/step-00000004"));
    let pid = format!("process {} on ", first.id());
    let seed_2 = train("run", &["--seed", "2"]);
    for second in [&seed_2[..], &["train", "--resume", "run"], &["probe", "run", "--task", "phones"]] {
        let said = fails(d, second);
        assert!(said.contains("run: is in use by") && said.contains(&pid), "{said}");
    }
    first.kill().unwrap();
    first.wait().unwrap();
    // The system has released the lock of the killed process.
    assert!(fails(d, &train("run", &long)).contains("already holds a run"));

    let unnamed = ["train", "audio-quick", "--set", "train.steps=2", "--set", "train.log_every=1"];
    let mut both = [1, 2].map(|_| gim(d, &[&unnamed[..], &TINY[..6]].concat()).spawn().unwrap());
    assert!(both.iter_mut().all(|run| run.wait().unwrap().success()));
    assert!(fails(d, &["train", "audio-quick", "--set", "data.path=nowhere"]).contains("nowhere"));
    let mut made: Vec<_> = std::fs::read_dir(d.join("runs")).unwrap().map(|e| e.unwrap().file_name()).collect();
    made.sort();
    assert_eq!(made, ["audio-quick-1", "audio-quick-2"]);
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

/// Features that become too large: the error names file and limit, and nothing half-written stays.
#[test]
fn features_on_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    ok(d, &train("run", &["--set", "train.steps=4"]));
    let before = std::fs::read_dir(d.join("run")).unwrap().count();
    // At a limit of 1 KiB the file cannot begin; at the other, features fill it.
    for blocks in [1, 200] {
        let extract = format!("exec {} --quiet extract run", env!("CARGO_BIN_EXE_gim"));
        let limited = format!("trap '' XFSZ; ulimit -f {blocks}; {extract}");
        let out = std::process::Command::new("bash").current_dir(d).args(["-c", &limited]).output().unwrap();
        let e = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{e}");
        assert!(e.starts_with("gim: run/features.h5: cannot ") && e.contains("raise the limit"), "{e}");
        assert_eq!(e.lines().count(), 1, "{e}");
        assert_eq!(std::fs::read_dir(d.join("run")).unwrap().count(), before, "{blocks}");
    }
    ok(d, &["extract", "run"]);
}

/// A reader that goes away ends nothing early; what was printed for it is lost, the work is not.
#[test]
fn closed_pipes_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let shell = |script: &str| {
        let script = format!("set -o pipefail; gim={}; {script}", env!("CARGO_BIN_EXE_gim"));
        let mut command = std::process::Command::new("bash");
        command.current_dir(d).env_remove("GIM_DATA").args(["-c", &script]).output().unwrap()
    };
    let args = train("run", &["--set", "train.steps=4"]).join(" ");
    // Not quiet, so that progress goes to the closed standard error.
    let out = shell(&format!("$gim {args} 2> >(exec <&-; sleep 1) | true"));
    assert!(out.status.success(), "{out:?}");
    assert_eq!(result(&d.join("run")).1.len(), 1 + 6 * 2);
    assert!(shell("$gim config show audio-paper | true").status.success());
    let full = shell("$gim config show audio-paper >/dev/full");
    let said = String::from_utf8_lossy(&full.stderr).into_owned();
    assert!(full.status.code() == Some(2) && said.starts_with("gim: standard output: cannot write"), "{said}");
}

/// Diverging is an error at its step, whether the loss is not finite or grows beyond all bounds. The
/// checkpoint before is kept.
#[test]
fn a_diverging_module_stops_with_its_step() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for (n, lr) in ["optimizer.lr=1", "optimizer.lr=100"].into_iter().enumerate() {
        let run = format!("run-{n}");
        let every = ["--set", "train.log_every=1", "--set", "train.checkpoint_every=1", "--set", "train.steps=40"];
        let e = fails(d, &train(&run, &[&["--set", lr][..], &every[..]].concat()));
        assert!(e.contains("diverged at step") && e.contains("the last good checkpoint is"), "{lr}: {e}");
        let good = e.split("the last good checkpoint is ").nth(1).unwrap().trim_end().trim_end_matches(')');
        assert!(d.join(good).is_dir(), "{e}");
        let log = std::fs::read_to_string(d.join(&run).join("train.csv")).unwrap();
        assert!(log.lines().skip(1).all(|l| l.split(',').nth(3).unwrap().parse::<f64>().unwrap() < 1e4), "{lr}");
    }
}

/// A folder that is removed while its run trains is never made anew.
#[test]
fn a_removed_folder_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for replaced in [false, true] {
        let mut child = gim(d, &train("run", &["--set", "train.steps=100000"])).stderr(Stdio::piped()).spawn().unwrap();
        wait_for(&mut child, &d.join("run/checkpoints/step-00000004"));
        // The run may be writing into the folder meanwhile.
        std::fs::rename(d.join("run"), d.join(format!("moved-{replaced}"))).unwrap();
        if replaced {
            std::fs::create_dir_all(d.join("run/checkpoints")).unwrap();
        }
        let out = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(2) && said.contains("run: was removed, moved or replaced"), "{said}");
        let left = std::fs::read_dir(d.join("run")).map_or(0, |entries| entries.count());
        assert_eq!(left, usize::from(replaced), "nothing is written elsewhere");
    }
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
