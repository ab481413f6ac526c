//! What a run carries: features without its corpus, and files that belong to it by digest.

use std::fs;
use std::path::Path;

use crate::common::{fails, folders, gim, ok};
use gim_eval::FeatureFile;
use ndarray::Array2;

const STEPS: [&str; 8] = [
    "--set",
    "train.steps=4",
    "--set",
    "train.batch=4",
    "--set",
    "train.log_every=2",
    "--set",
    "train.checkpoint_every=4",
];

/// A corpus of the embedded utterances of some speakers, with labels.
fn speech(root: &Path, speakers: &[&str]) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/speech-mini");
    fs::create_dir_all(root).unwrap();
    for file in ["phones.txt", "phone_labels.txt"] {
        fs::copy(from.join(file), root.join(file)).unwrap();
    }
    let mut waiting = vec![from];
    while let Some(folder) = waiting.pop() {
        for path in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                waiting.push(path);
            } else if name.ends_with(".flac") && speakers.contains(&name.split('-').next().unwrap()) {
                fs::copy(&path, root.join(name)).unwrap();
            }
        }
    }
}

fn train_speech(folder: &Path, out: &str, more: &[&str]) {
    let tiny = ["--set", "network.width=8", "--set", "network.context=8", "--set", "data.path=corpus"];
    let set = [&["train", "audio-quick", "--out", out][..], &STEPS, &tiny, more].concat();
    ok(folder, &set);
}

/// Features of an item in all groups of a file, by name.
fn features_of(file: &Path, id: &str) -> Vec<(String, Array2<f32>)> {
    let file = FeatureFile::open(file).unwrap();
    let item = file.items().iter().position(|i| i == id).unwrap();
    let rows = file.index().rows(item);
    file.groups().map(|g| (g.to_owned(), file.read_rows(g, rows.clone()).unwrap())).collect()
}

/// One utterance alone has the features that it had in the corpus, to the last bit, whether the run's
/// record is its own file or that of a checkpoint.
#[test]
fn a_file_alone_has_the_features_it_had_in_the_corpus() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    speech(&d.join("corpus"), &["103", "127", "149"]);
    for target in ["future", "phones", "speakers"] {
        train_speech(d, target, &["--set", &format!("loss.target={target}")]);
        ok(d, &["extract", target, "--out", &format!("{target}.h5")]);
    }
    let id = FeatureFile::open(d.join("future.h5")).unwrap().items()[1].clone();
    fs::rename(d.join("corpus"), d.join("whole")).unwrap();
    fs::create_dir(d.join("corpus")).unwrap();
    fs::copy(d.join("whole").join(format!("{id}.flac")), d.join("corpus").join(format!("{id}.flac"))).unwrap();
    for target in ["future", "phones", "speakers"] {
        let want = features_of(&d.join(format!("{target}.h5")), &id);
        ok(d, &["extract", target, "--out", "alone.h5", "--any-dataset"]);
        assert_eq!(features_of(&d.join("alone.h5"), &id), want, "{target}");
        fs::remove_file(d.join(target).join("dataset.json")).unwrap();
        ok(d, &["extract", target, "--out", "alone.h5", "--any-dataset"]);
        assert_eq!(features_of(&d.join("alone.h5"), &id), want, "{target}, by the checkpoint's record");
    }
}

#[test]
fn an_image_alone_has_the_features_it_had_in_the_dataset() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    folders(&d.join("images"), false);
    let tiny = ["--set", "data.path=images", "--set", "data.crop=16", "--set", "data.short_side=0"];
    let network = ["--set", "network.widths=[8,8,8]", "--set", "network.patch=8", "--set", "loss.prediction_steps=1"];
    ok(d, &[&["train", "vision-quick", "--out", "run"][..], &STEPS, &tiny, &network].concat());
    ok(d, &["extract", "run", "--out", "all.h5"]);
    let id = FeatureFile::open(d.join("all.h5")).unwrap().items()[0].clone();
    let want = features_of(&d.join("all.h5"), &id);
    fs::rename(d.join("images"), d.join("whole")).unwrap();
    let only = d.join("images").join(&id);
    fs::create_dir_all(only.parent().unwrap()).unwrap();
    fs::copy(d.join("whole").join(&id), only).unwrap();
    ok(d, &["extract", "run", "--out", "alone.h5", "--any-dataset"]);
    assert_eq!(features_of(&d.join("alone.h5"), &id), want);
}

/// All files below a folder, by path, with their bytes.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        match path.is_dir() {
            true => found.extend(contents(&path)),
            false => found.push((path.display().to_string(), fs::read(&path).unwrap())),
        }
    }
    found.sort();
    found
}

/// What probing a run prints: rows, and notes on standard error.
fn probed(folder: &Path, more: &[&str]) -> (String, String) {
    let out = ok(folder, &[&["probe", "run", "--task", "phones", "--module", "1", "--protocol", "knn"], more].concat());
    (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap())
}

/// Feature files belong to weights and labels by digest; times of files do not count.
#[test]
fn features_belong_to_weights_and_labels() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    speech(&d.join("corpus"), &["103", "127"]);
    train_speech(d, "run", &[]);
    let before = contents(&d.join("run"));
    ok(d, &["extract", "run", "--out", "elsewhere.h5"]);
    assert_eq!(contents(&d.join("run")), before, "extraction to another place changes the run");

    let first = probed(d, &[]);
    assert_eq!(first.1, "");
    let features = fs::read(d.join("run/features.h5")).unwrap();
    let csv = fs::read_to_string(d.join("run/probe.csv")).unwrap();
    let made = FeatureFile::open(d.join("run/features.h5")).unwrap().provenance().clone();
    assert_eq!((made.step, made.checkpoint.len()), (Some(4), 64));
    // Baselines are of no weights.
    let of = |row: &str| if row.starts_with("trained") { format!(",4,{}", made.checkpoint) } else { ",,".into() };
    assert!(csv.lines().skip(1).all(|row| row.ends_with(&of(row))), "{csv}");

    // A copy has new times, and the corpus is elsewhere.
    fs::rename(d.join("run"), d.join("original")).unwrap();
    fs::rename(d.join("corpus"), d.join("away")).unwrap();
    let copied = std::process::Command::new("cp").current_dir(d).args(["-r", "original", "run"]).status();
    assert!(copied.unwrap().success());
    let late = fs::File::options().write(true).open(d.join("run/checkpoints/step-00000004/module_1.safetensors"));
    late.unwrap().set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(60)).unwrap();
    assert_eq!(probed(d, &[]).0, first.0);
    fs::rename(d.join("away"), d.join("corpus")).unwrap();
    assert_eq!(probed(d, &[]), first);
    assert_eq!(fs::read(d.join("run/features.h5")).unwrap(), features);

    // Corrected labels.
    let labels = d.join("corpus/phone_labels.txt");
    let text = fs::read_to_string(&labels).unwrap();
    let shifted = text.lines().map(|line| {
        let (id, classes) = line.split_once(' ').unwrap();
        format!("{id} {}\n", classes.split(' ').rev().collect::<Vec<_>>().join(" "))
    });
    fs::write(&labels, shifted.collect::<String>()).unwrap();
    let said = fails(d, &["probe", "run", "--task", "phones"]);
    assert!(said.contains("was trained on") && said.contains("--any-dataset"), "{said}");
    let (rows, said) = probed(d, &["--any-dataset"]);
    assert!(said.contains("labels or splits") && said.contains("is made anew"), "{said}");
    assert_ne!(rows, first.0);
    assert_eq!(probed(d, &["--any-dataset"]), (rows, String::new()), "made anew once");
    fs::write(&labels, text).unwrap();
    assert_eq!(probed(d, &[]).0, first.0);

    // More training.
    let config = fs::read_to_string(d.join("run/config.toml")).unwrap();
    fs::write(d.join("run/config.toml"), config.replace("steps = 4", "steps = 6")).unwrap();
    ok(d, &["train", "--resume", "run"]);
    let said = probed(d, &[]).1;
    assert!(said.contains("of other weights (step 4) than the newest checkpoint (step 6)"), "{said}");
    let csv = fs::read_to_string(d.join("run/probe.csv")).unwrap();
    assert!(csv.lines().filter(|row| row.starts_with("trained")).all(|row| row.contains(",6,")), "{csv}");
}

/// A comparison takes no row of earlier weights for a result: it probes again.
#[test]
fn probes_of_unfinished_weights_do_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    folders(&d.join("images"), false);
    let settings = "\"network.widths=[4,8]\", \"network.blocks=[1,1]\", \"train.batch=8\", \"train.steps=4\", \
                    \"train.log_every=2\", \"train.checkpoint_every=4\", \"data.crop=16\", \"network.patch=4\", \
                    \"network.overlap=2\", \"data.path=images\"";
    let run = "[[run]]\nname = \"vision/gim\"\npreset = \"vision-quick\"\ntitle = \"gim\"\n";
    fs::write(d.join("tiny.toml"), format!("seeds = 1\n{run}set = [{settings}]\n")).unwrap();
    ok(d, &["reproduce", "tiny.toml", "--out", "out"]);
    let file = d.join("out/vision/gim/seed-1/probe.csv");
    let made = fs::read_to_string(&file).unwrap();
    let summary = fs::read(d.join("out/table_vision.csv")).unwrap();
    // Every row as if it had been made at step 2, with all test images right.
    let mut early = vec![made.lines().next().unwrap().to_owned()];
    let column = |name: &str| early[0].split(',').position(|c| c == name).unwrap();
    let (accuracy, step) = (column("accuracy"), column("step"));
    for row in made.lines().skip(1) {
        let mut fields: Vec<&str> = row.split(',').collect();
        if row.starts_with("trained") {
            assert_eq!(fields[step], "4", "{row}");
            (fields[accuracy], fields[step]) = ("1.0", "2");
        }
        early.push(fields.join(","));
    }
    fs::write(&file, early.join("\n") + "\n").unwrap();
    let finished = gim(d, &["reproduce", "tiny.toml", "--out", "out", "--finished"]).output().unwrap();
    assert!(!finished.status.success(), "rows of step 2 passed for final ones");
    ok(d, &["reproduce", "tiny.toml", "--out", "out"]);
    let again = fs::read_to_string(&file).unwrap();
    let kept = |text: &str| text.lines().filter(|row| row.starts_with("trained")).count();
    assert_eq!(kept(&again), kept(&made), "{again}");
    assert!(again.lines().filter(|row| row.starts_with("trained")).all(|row| row.contains(",4,")), "{again}");
    assert_eq!(fs::read(d.join("out/table_vision.csv")).unwrap(), summary);
}
