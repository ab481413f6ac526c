//! Opening corpora: splits, speakers, labels, and everything that can be wrong with them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::path::Path;

use common::{big, noise, speech_mini, write, write_wav};
use gim_audio::dataset::corpus::{Corpus, CorpusOptions, MissingPolicy, Split};
use gim_audio::dataset::standardize::Standardize;
use gim_audio::geometry::{PAPER_STACK, label_frames};
use tempfile::TempDir;

fn open(root: &Path) -> Result<Corpus, String> {
    Corpus::open(root, &CorpusOptions::default()).map_err(|e| e.to_string())
}

/// Four speakers with five utterances of 0.5 s and more.
fn small() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for speaker in ["7", "30", "alice", "bob"] {
        for k in 0..5 {
            let path = dir.path().join(format!("{speaker}/1/{speaker}-1-000{k}.wav"));
            write_wav(&path, &noise(8000 + 160 * k, k as u32));
        }
    }
    dir
}

fn file(dir: &TempDir, name: &str, text: &str) {
    write(&dir.path().join(name), text);
}

fn says(dir: &TempDir, parts: &[&str]) {
    let e = open(dir.path()).unwrap_err();
    for part in parts {
        assert!(e.contains(part), "{e:?} should say {part:?}");
    }
}

#[test]
fn lists_speakers_and_makes_a_split() {
    let dir = small();
    let corpus = open(dir.path()).unwrap();
    assert_eq!(corpus.speakers(), ["30", "7", "alice", "bob"]);
    assert_eq!(corpus.utterances().len(), 20);
    assert_eq!(corpus.utterances()[corpus.find("7-1-0003").unwrap()].len, 8480);
    assert_eq!((corpus.split(Split::Train).len(), corpus.split(Split::Test).len()), (16, 4));
    for speaker in 0..4 {
        let theirs = corpus.split(Split::Test).iter().filter(|&&u| corpus.utterances()[u].speaker == speaker);
        assert_eq!(theirs.count(), 1);
    }
    assert!(corpus.notes()[0].contains("no split files"));
    let again = open(dir.path()).unwrap();
    assert_eq!(again.split(Split::Test), corpus.split(Split::Test));
    assert_eq!(again.digest(), corpus.digest());
    assert_eq!(corpus.digest().len(), 64);
    let other = Corpus::open(dir.path(), &CorpusOptions { seed: 1, ..Default::default() }).unwrap();
    assert_ne!(other.split(Split::Test), corpus.split(Split::Test));
    assert_ne!(other.digest(), corpus.digest());
    write_wav(&dir.path().join("7/1/7-1-0003.wav"), &noise(9000, 1));
    assert_ne!(open(dir.path()).unwrap().digest(), corpus.digest());
    assert!(corpus.decode(corpus.find("7-1-0003").unwrap()).unwrap_err().to_string().contains("when it was listed"));
}

#[test]
fn speakers_without_dashes_are_folders() {
    let dir = tempfile::tempdir().unwrap();
    write_wav(&dir.path().join("ann/x/first.wav"), &noise(500, 1));
    write_wav(&dir.path().join("ann/second.WAV"), &noise(500, 2));
    write_wav(&dir.path().join("ben/third.wav"), &noise(500, 3));
    write(&dir.path().join("ben/._third.wav"), "left by a Mac");
    let corpus = open(dir.path()).unwrap();
    assert_eq!(corpus.speakers(), ["ann", "ben"]);
    assert_eq!(corpus.utterances().len(), 3);
}

#[test]
fn nothing_there() {
    let dir = tempfile::tempdir().unwrap();
    says(&dir, &["no .flac or .wav file"]);
    assert!(open(&dir.path().join("absent")).unwrap_err().contains("no such folder"));
    file(&dir, "a/x.wav", "");
    says(&dir, &["x.wav", "empty"]);
    file(&dir, "f", "");
    assert!(open(&dir.path().join("f")).unwrap_err().contains("not a folder"));
}

#[test]
fn one_utterance_twice() {
    let dir = small();
    write_wav(&dir.path().join("other/7-1-0003.wav"), &noise(500, 3));
    says(&dir, &["7-1-0003", "is also"]);
}

#[test]
fn splits_are_checked() {
    let dir = small();
    file(&dir, "train_split.txt", "7-1-0000\n7-1-0001\n\n  bob-1-0000  \n");
    let corpus = open(dir.path()).unwrap();
    assert_eq!((corpus.split(Split::Train).len(), corpus.split(Split::Test).len()), (3, 17));
    assert!(corpus.notes()[0].contains("no test split"), "{:?}", corpus.notes());

    file(&dir, "test_split.txt", "7-1-0002\n");
    let corpus = open(dir.path()).unwrap();
    assert_eq!(corpus.split(Split::Test), [corpus.find("7-1-0002").unwrap()]);
    assert!(corpus.notes()[0].contains("16 utterances are in no split"));

    file(&dir, "test_split.txt", "7-1-0002\n\n7-1-0009\n");
    says(&dir, &["test_split.txt", "line 3", "7-1-0009"]);
    let ignore = CorpusOptions { missing: MissingPolicy::Ignore, ..Default::default() };
    let corpus = Corpus::open(dir.path(), &ignore).unwrap();
    assert!(corpus.notes()[0].contains("1 of the 2 utterances"), "{:?}", corpus.notes());

    file(&dir, "test_split.txt", "7-1-0002\n7-1-0002\n");
    says(&dir, &["line 2", "on line 1 already"]);
    file(&dir, "test_split.txt", "7-1-0000\n");
    says(&dir, &["7-1-0000", "also in", "train_split.txt"]);
    file(&dir, "test_split.txt", "\n");
    says(&dir, &["test_split.txt", "no utterance"]);
    let elsewhere = CorpusOptions { test_split: Some(dir.path().join("nowhere.txt")), ..Default::default() };
    assert!(Corpus::open(dir.path(), &elsewhere).unwrap_err().to_string().contains("nowhere.txt"));
}

#[test]
fn labels_are_checked() {
    let dir = small();
    // 8000 samples make 48 labels.
    let row = |id: &str, n: usize| format!("{id}{}\n", " 2".repeat(n));
    file(&dir, "phones.txt", "0 SIL\n2 B\n1 A\n");
    for n in [45, 48, 51] {
        file(&dir, "phone_labels.txt", &(row("7-1-0000", n) + &row("stranger-1-2", 3)));
        let corpus = open(dir.path()).unwrap();
        let labels = corpus.labels().unwrap();
        assert_eq!(labels.get("7-1-0000"), Some(&vec![2; n][..]));
        assert_eq!(labels.get("30-1-0000"), None);
        assert_eq!(labels.n_classes(), 3);
        assert!(corpus.notes().iter().any(|n| n.contains("labels of 1 utterances that are not in")));
        assert!(corpus.notes().iter().any(|n| n.contains("no labels for 19")), "{:?}", corpus.notes());
    }
    for n in [44, 52] {
        file(&dir, "phone_labels.txt", &(row("bob-1-0000", 48) + &row("7-1-0000", n)));
        says(&dir, &["phone_labels.txt", "line 2", "7-1-0000", &n.to_string(), "48"]);
    }
    file(&dir, "phone_labels.txt", "7-1-0000 1 x 2\n");
    says(&dir, &["line 1", "\"x\""]);
    file(&dir, "phone_labels.txt", "7-1-0000 1 -1 2\n");
    says(&dir, &["line 1", "\"-1\""]);
    file(&dir, "phone_labels.txt", "7-1-0000 1 3 2\n");
    says(&dir, &["line 1", "phone id 3", "0 to 2"]);
    file(&dir, "phone_labels.txt", "7-1-0000\n");
    says(&dir, &["line 1", "no labels"]);
    file(&dir, "phone_labels.txt", &(row("7-1-0000", 48) + &row("7-1-0000", 48)));
    says(&dir, &["line 1", "line 2"]);
    file(&dir, "phone_labels.txt", "");
    says(&dir, &["phone_labels.txt", "no labels"]);
    file(&dir, "phone_labels.txt", &row("7-1-0000", 48));
    file(&dir, "phones.txt", "0 SIL\n2 B\n");
    says(&dir, &["phones.txt", "id 1 has no name"]);
    file(&dir, "phones.txt", "0 SIL\n0 B\n");
    says(&dir, &["phones.txt", "line 2"]);
    file(&dir, "phones.txt", "SIL\n");
    says(&dir, &["phones.txt", "line 1"]);
}

#[test]
fn damaged_labels_never_panic() {
    let dir = small();
    let good = format!("7-1-0000{}\nbob-1-0000{}\n", " 12".repeat(48), " 3".repeat(48));
    for i in (0..good.len()).step_by(7) {
        let mut bytes = good.clone().into_bytes();
        bytes[i] = [b'\n', b'x', 0xff, b' ', b'9'][i % 5];
        write(&dir.path().join("phone_labels.txt"), &bytes);
        if let Err(e) = open(dir.path()) {
            assert!(e.contains("phone_labels.txt"), "{e}");
        }
        write(&dir.path().join("phone_labels.txt"), &good.as_bytes()[..i]);
        if let Err(e) = open(dir.path()) {
            assert!(e.contains("phone_labels.txt"), "{e}");
        }
    }
}

#[test]
fn standardization_gives_zero_mean_and_unit_variance() {
    let dir = small();
    let corpus = open(dir.path()).unwrap();
    let s = Standardize::measure(&corpus, Split::Train).unwrap();
    let all: Vec<f64> =
        corpus.split(Split::Train).iter().flat_map(|&u| corpus.whole(u, &s).unwrap()).map(f64::from).collect();
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    let var = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len() as f64;
    assert!(mean.abs() < 1e-5 && (var - 1.0).abs() < 1e-5, "{mean} {var}");
    assert!(Standardize::given(0.0, 0.0).is_err());
    assert!(Standardize::given(f64::NAN, 1.0).is_err());

    let silent = tempfile::tempdir().unwrap();
    write_wav(&silent.path().join("a-1.wav"), &[0.0; 900]);
    write_wav(&silent.path().join("a-2.wav"), &[0.0; 900]);
    let corpus = open(silent.path()).unwrap();
    assert!(Standardize::measure(&corpus, Split::Train).unwrap_err().to_string().contains("silent"));
}

/// The sums are added in a fixed order: the same bits for any number of threads.
#[test]
fn standardization_does_not_depend_on_threads() {
    let corpus = open(&speech_mini()).unwrap();
    let with = |n| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        pool.install(|| Standardize::measure(&corpus, Split::Train).unwrap())
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn the_embedded_corpus() {
    let corpus = open(&speech_mini()).unwrap();
    assert_eq!((corpus.split(Split::Train).len(), corpus.split(Split::Test).len()), (256, 64));
    assert_eq!(corpus.speakers().len(), 16);
    let labels = corpus.labels().unwrap();
    assert_eq!(labels.n_classes(), 41);
    assert_eq!(labels.names().unwrap().len(), 41);
    assert!(corpus.notes().is_empty(), "{:?}", corpus.notes());
    for utterance in corpus.utterances() {
        // The stack's number of frames, layer by layer.
        let frames = PAPER_STACK.iter().fold(utterance.len, |n, l| (n + 2 * l.padding - l.kernel_size) / l.stride + 1);
        let n = labels.get(&utterance.id).unwrap().len();
        assert_eq!(n, label_frames(utterance.len), "{}", utterance.id);
        assert!((n + 1..=n + 3).contains(&frames), "{}: {frames} frames, {n} labels", utterance.id);
    }
}

#[test]
fn a_part_of_librispeech_with_the_lists_of_the_whole() {
    let Some(root) = big("librispeech-sample") else { return };
    assert!(open(&root).unwrap_err().contains("is not in the corpus"));
    let ignore = CorpusOptions { missing: MissingPolicy::Ignore, ..Default::default() };
    let corpus = Corpus::open(&root, &ignore).unwrap();
    assert_eq!(corpus.utterances().len(), 9);
    println!("{:?} {:?}", corpus.speakers(), corpus.notes());
    assert!(corpus.notes().iter().any(|n| n.contains("left out")));
}
