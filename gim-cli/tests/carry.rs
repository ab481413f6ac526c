//! What a run carries: features without its corpus, and files that belong to it by digest.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too, fail by panicking")]

mod common;

use std::fs;
use std::path::Path;

use common::{folders, ok};
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
        ok(d, &["extract", target, "--out", "alone.h5", "--any-corpus"]);
        assert_eq!(features_of(&d.join("alone.h5"), &id), want, "{target}");
        fs::remove_file(d.join(target).join("dataset.json")).unwrap();
        ok(d, &["extract", target, "--out", "alone.h5", "--any-corpus"]);
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
    ok(d, &["extract", "run", "--out", "alone.h5", "--any-corpus"]);
    assert_eq!(features_of(&d.join("alone.h5"), &id), want);
}
