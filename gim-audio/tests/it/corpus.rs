//! Opening corpora: splits, speakers, labels, and everything that can be wrong with them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::common::{Pcm, big, noise, speech_mini, wav_bytes, write, write_wav};
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

/// Folders of splits by any of their names; speakers are the folders inside them.
#[test]
fn split_folders_by_any_usual_name() {
    let usual = [("Train", "TEST"), ("training", "Testing"), ("train", "dev"), ("TRAIN", "valid")];
    for (train, test) in usual {
        let dir = tempfile::tempdir().unwrap();
        for (path, n) in [("ann/a1", 1), ("ben/b1", 2), ("ben/b2", 3)] {
            write_wav(&dir.path().join(format!("{train}/{path}.wav")), &noise(500, n));
        }
        write_wav(&dir.path().join(format!("{test}/ben/x/b3.wav")), &noise(500, 4));
        let corpus = open(dir.path()).unwrap();
        assert_eq!(corpus.speakers(), ["ann", "ben"], "{train}");
        let ids = |split| corpus.split(split).iter().map(|&u| &*corpus.utterances()[u].id).collect::<Vec<_>>();
        assert_eq!((ids(Split::Train), ids(Split::Test)), (vec!["a1", "b1", "b2"], vec!["b3"]), "{train}");
        let note = format!("no split files: the 3 utterances in {train} train, the 1 in {test} test");
        assert_eq!(corpus.notes(), [note]);
    }
}

#[test]
fn split_folders_beside_others() {
    let dir = small();
    let utterance = |path: &str| write_wav(&dir.path().join(path), &noise(500, 1));
    utterance("test/9/9-1-1.wav");
    // Without a training folder, `test` is a folder like others.
    assert!(open(dir.path()).unwrap().notes()[0].contains("a fifth of each speaker's"));
    utterance("Train/9/9-1-2.wav");
    let corpus = open(dir.path()).unwrap();
    assert_eq!((corpus.split(Split::Train).len(), corpus.split(Split::Test).len()), (1, 1));
    assert_eq!(corpus.notes()[1], "20 utterances are in neither Train nor test and are not used");
    // Split files come first.
    file(&dir, "train_split.txt", "7-1-0000\n");
    file(&dir, "test_split.txt", "9-1-2\n");
    let corpus = open(dir.path()).unwrap();
    assert_eq!(corpus.utterances()[corpus.split(Split::Test)[0]].id, "9-1-2");
    utterance("training/9/9-1-3.wav");
    says(&dir, &["folder", "beside", "which is it?"]);
}

#[test]
fn speakers_of_other_corpora() {
    let dir = tempfile::tempdir().unwrap();
    for id in ["19_198_000000_000000", "26_495_000001_000000", "19_198_000002_000000"] {
        write_wav(&dir.path().join(format!("train-clean-100/{id}.wav")), &noise(500, 1));
    }
    let corpus = open(dir.path()).unwrap();
    assert_eq!(corpus.speakers(), ["19", "26"]);
    let summary = corpus.summary().join("\n");
    for part in ["3 utterances (0.1 s)", "speakers, by the part of the id before '_': 2 (19, 26)"] {
        assert!(summary.contains(part), "{summary:?} should say {part:?}");
    }
}

/// Lists as other systems write them, ids with spaces, and file names in the decomposed form of
/// macOS.
#[test]
fn lists_of_any_system_name_the_same_utterances() {
    let dir = tempfile::tempdir().unwrap();
    for id in ["anna-0 1", "anna-1 2", "jose\u{301}-1"] {
        write_wav(&dir.path().join(format!("x/{id}.wav")), &noise(8000, 1));
    }
    let labels = " 1".repeat(48);
    file(&dir, "phones.txt", "\u{feff}0\tAA\r\n1\t<sil>\r\n");
    file(&dir, "train_split.txt", "\u{feff}anna-0 1\r\njos\u{e9}-1\r\n");
    file(&dir, "test_split.txt", "anna-1 2\r");
    file(&dir, "phone_labels.txt", &format!("anna-0 1{labels}\rjose\u{301}-1{labels}\ranna-1 2\t{}", &labels[1..]));
    let corpus = open(dir.path()).unwrap();
    assert!(corpus.notes().is_empty(), "{:?}", corpus.notes());
    assert_eq!((corpus.split(Split::Train).len(), corpus.split(Split::Test).len()), (2, 1));
    for u in 0..3 {
        assert_eq!(corpus.phones_of(u, -1..2), [-1, 1, 1], "{}", corpus.utterances()[u].id);
    }
    assert_eq!(corpus.labels().unwrap().silence(), Some(1));

    write_wav(&dir.path().join("x/anna-0.wav"), &noise(8000, 1));
    says(&dir, &["phone_labels.txt", "line 1", "\"anna-0\"", "\"anna-0 1\"", "tab"]);
    write(&dir.path().join("train_split.txt"), b"\xff\xfea\0n\0");
    says(&dir, &["train_split.txt", "UTF-16"]);
}

#[test]
fn silence_is_found_by_its_name() {
    let dir = small();
    let label = "7-1-0000".to_owned() + &" 1".repeat(48);
    file(&dir, "phone_labels.txt", &label);
    for (names, silence, says) in [
        ("0 SIL\n1 AA\n", Some(0), "silence is SIL (class 0)"),
        ("0 <eps>\n1 sil\n2 AA\n", Some(1), "silence is sil (class 1)"),
        ("0 SPN\n1 AA\n2 SIL_S\n", Some(2), "silence is SIL_S (class 2)"),
        ("0 AA\n1 spn\n", Some(1), "silence is spn (class 1)"),
        ("0 AA\n1 B\n", None, "none is named as silence"),
    ] {
        file(&dir, "phones.txt", names);
        let corpus = open(dir.path()).unwrap();
        assert_eq!(corpus.labels().unwrap().silence(), silence, "{names:?}");
        assert!(corpus.summary().join("\n").contains(says), "{:?}", corpus.summary());
    }
    std::fs::remove_file(dir.path().join("phones.txt")).unwrap();
    let corpus = open(dir.path()).unwrap();
    assert_eq!(corpus.labels().unwrap().silence(), Some(0));
    assert!(corpus.summary().join("\n").contains("class 0 is taken"), "{:?}", corpus.summary());
}

/// All bad files are named at once, before training; left out, they are missing nowhere.
#[test]
fn bad_files_are_all_named_or_left_out() {
    let dir = small();
    let standardize = open(dir.path()).unwrap().measure(Split::Train).unwrap();
    assert_eq!(open(dir.path()).unwrap().check_and_measure(&BTreeSet::new()).unwrap(), standardize);
    file(&dir, "test_split.txt", "7-1-0000\nbob-1-0001\n");
    // A sample that is not finite is only found by decoding.
    let nan = wav_bytes(&[f32::NAN; 900], 1, 16_000, Pcm::F32);
    write(&dir.path().join("7/1/7-1-0000.wav"), &nan);
    write(&dir.path().join("30/1/30-1-0003.wav"), &nan);
    let e = open(dir.path()).unwrap().check_and_measure(&BTreeSet::new()).unwrap_err().to_string();
    for part in ["2 files are bad", "7-1-0000.wav: sample 0 is NaN", "30-1-0003.wav", "--skip-bad"] {
        assert!(e.contains(part), "{e:?} should say {part:?}");
    }
    write(&dir.path().join("7/1/7-1-0001.wav"), "");
    write(&dir.path().join("alice/1/alice-1-0001.wav"), "no audio");
    says(&dir, &["2 files are bad", "7-1-0001.wav: the file is empty", "alice-1-0001.wav: is no FLAC", "--skip-bad"]);

    let skip = CorpusOptions { skip_bad: true, ..Default::default() };
    let corpus = Corpus::open(dir.path(), &skip).unwrap();
    corpus.check_and_measure(&BTreeSet::new()).unwrap();
    assert_eq!((corpus.utterances().len(), corpus.split(Split::Test).len()), (16, 1));
    let notes = corpus.notes().join("\n");
    for part in [
        "4 audio files are bad and left out",
        "7/1/7-1-0000.wav (sample 0 is NaN",
        "1 of the 2 utterances it names are bad",
    ] {
        assert!(notes.contains(part), "{notes:?} should say {part:?}");
    }
}

/// Damages the samples of a WAV file without changing its length, and makes it look as old as before, or new.
fn damage(path: &Path, touch: bool) {
    let before = std::fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    let samples = bytes.len() / 2;
    bytes[samples..].fill(0x7f);
    std::fs::write(path, bytes).unwrap();
    if !touch {
        std::fs::File::options().write(true).open(path).unwrap().set_modified(before).unwrap();
    }
}

/// Files that have not changed since they were decoded are not read again, whatever else is asked of them.
#[test]
fn a_second_start_reads_no_file_again() {
    let dir = small();
    let cache = tempfile::tempdir().unwrap();
    let index = Some(cache.path().join("index.json"));
    let files: Vec<PathBuf> = open(dir.path()).unwrap().utterances().iter().map(|u| u.path.clone()).collect();
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    for path in &files {
        std::fs::File::options().write(true).open(path).unwrap().set_modified(hour_ago).unwrap();
    }
    let start = |skip_bad, index: &Option<PathBuf>| {
        let corpus =
            Corpus::open(dir.path(), &CorpusOptions { skip_bad, index: index.clone(), ..Default::default() }).unwrap();
        (corpus.digest().to_owned(), corpus.check_and_measure(&BTreeSet::new()).unwrap())
    };
    let first = start(false, &index);
    assert_eq!(start(false, &None), first);
    // Nobody looks: with other samples, the measurement would differ.
    files.iter().for_each(|path| damage(path, false));
    assert_ne!(start(false, &None).1, first.1);
    assert_eq!((start(false, &index), start(true, &index)), (first.clone(), first.clone()));
    // A changed file is read.
    damage(&files[0], true);
    assert_ne!(start(false, &index).1, first.1);
}

#[test]
fn held_out_utterances_are_not_measured() {
    let dir = small();
    let corpus = open(dir.path()).unwrap();
    let held_out = BTreeSet::from([corpus.split(Split::Train)[0]]);
    let rest = corpus.check_and_measure(&held_out).unwrap();
    damage(&corpus.utterances()[corpus.split(Split::Train)[0]].path, true);
    let after = open(dir.path()).unwrap();
    assert_eq!(after.check_and_measure(&held_out).unwrap(), rest);
    assert_ne!(after.check_and_measure(&BTreeSet::new()).unwrap(), rest);
}

#[test]
fn utterances_without_features_are_named() {
    let dir = small();
    write_wav(&dir.path().join("bob/1/bob-1-0009.wav"), &noise(399, 1));
    write_wav(&dir.path().join("bob/1/bob-1-0010.wav"), &noise(400, 1));
    let notes = open(dir.path()).unwrap().notes().join("\n");
    assert!(notes.contains("1 utterances are shorter than 400 samples and have no features: bob-1-0009"), "{notes}");
}

#[test]
fn nothing_there() {
    let dir = tempfile::tempdir().unwrap();
    says(&dir, &["no .flac, .wav, .mp3 or .ogg file"]);
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
fn resampled_files_are_noted() {
    let dir = small();
    for (k, rate) in [44_100, 44_100, 8_000].into_iter().enumerate() {
        let bytes = wav_bytes(&noise(rate as usize, 1), 1, rate, Pcm::S16);
        write(&dir.path().join(format!("eve-1-000{k}.wav")), bytes);
    }
    let note = "resampled to 16000 Hz: 3 of 23 audio files, 1 from 8000 Hz, 2 from 44100 Hz";
    let index = Some(dir.path().join("index.json"));
    for skip_bad in [false, true, false] {
        let options = CorpusOptions { skip_bad, index: index.clone(), ..Default::default() };
        let corpus = Corpus::open(dir.path(), &options).unwrap();
        assert_eq!(corpus.notes().iter().filter(|n| *n == note).count(), 1, "{:?}", corpus.notes());
    }
    assert!(!open(small().path()).unwrap().notes().iter().any(|n| n.contains("resampled")));
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
    // Lines may name files.
    file(&dir, "test_split.txt", "7-1-0002.wav\nbob/1/bob-1-0001.FLAC\n7-1-0003\n");
    let corpus = open(dir.path()).unwrap();
    let listed = corpus.listed(Split::Test).iter().map(|u| corpus.utterances()[*u].id.as_str());
    assert!(listed.eq(["7-1-0002", "bob-1-0001", "7-1-0003"]));
    assert!(corpus.notes()[0].contains("2 of its 3 lines name audio files"), "{:?}", corpus.notes());
    file(&dir, "test_split.txt", "7-1-0002\n7-1-0002.wav\n");
    says(&dir, &["line 2", "7-1-0002 is on line 1 already"]);
    file(&dir, "test_split.txt", "7-1-0009.wav\n");
    says(&dir, &["utterance 7-1-0009.wav is not in the corpus"]);
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
    let s = corpus.measure(Split::Train).unwrap();
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
    assert!(corpus.measure(Split::Train).unwrap_err().to_string().contains("silent"));
}

/// The sums are added in a fixed order: the same bits for any number of threads.
#[test]
fn standardization_does_not_depend_on_threads() {
    let corpus = open(&speech_mini()).unwrap();
    let with = |n| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        pool.install(|| corpus.measure(Split::Train).unwrap())
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

/// Words in folders, as in datasets of commands: files of different folders have one name.
fn commands() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (k, word) in ["yes", "no"].into_iter().enumerate() {
        for n in 0..3 {
            write_wav(&dir.path().join(format!("{word}/{n}.wav")), &noise(8000, (3 * k + n) as u32));
        }
    }
    file(
        &dir,
        "list.csv",
        "path,speaker,split,word\nno/0.wav,ann,train,no\nyes/1.wav,bob,train,yes\nyes/0.wav,bob,test,yes\nno/1.wav,,,no\n",
    );
    dir
}

fn listed(dir: &TempDir, more: CorpusOptions) -> Result<Corpus, String> {
    let options = CorpusOptions { manifest: Some(dir.path().join("list.csv")), ..more };
    Corpus::open(dir.path(), &options).map_err(|e| e.to_string())
}

#[test]
fn a_manifest_names_files_speakers_splits_and_labels() {
    let dir = commands();
    let e = open(dir.path()).unwrap_err();
    assert!(e.contains("data.manifest"), "{e}");
    let corpus = listed(&dir, CorpusOptions::default()).unwrap();
    let ids = |split| corpus.listed(split).iter().map(|&u| corpus.utterances()[u].id.as_str()).collect::<Vec<_>>();
    assert_eq!((ids(Split::Train), ids(Split::Test)), (vec!["no/0", "yes/1"], vec!["yes/0"]));
    // The speaker of the last row is told from its path.
    assert_eq!(corpus.speakers(), ["ann", "bob", "no"]);
    let word = corpus.columns().iter().next().unwrap();
    assert_eq!((word.classes.join(" ").as_str(), &word.labels[..]), ("no yes", &[0, 0, 1, 1][..]));
    assert!(corpus.notes().iter().any(|n| n.ends_with("1 utterances are in no split and are not used")));
    assert!(corpus.summary().iter().any(|s| s.contains("the manifest")), "{:?}", corpus.summary());

    let fails = |more, part: &str| {
        let e = listed(&dir, more).unwrap_err();
        assert!(e.contains(part), "{e:?} should say {part:?}");
    };
    file(&dir, "train.txt", "no/0\n");
    fails(CorpusOptions { train_split: Some(dir.path().join("train.txt")), ..Default::default() }, "column of splits");
    file(&dir, "more.csv", "id,x\nno/0,1\n");
    fails(CorpusOptions { columns: Some(dir.path().join("more.csv")), ..Default::default() }, "columns of labels");
    file(&dir, "list.csv", "path\nno/0.wav\nno/9.wav\n");
    fails(CorpusOptions::default(), "no/9.wav");
    let some = listed(&dir, CorpusOptions { skip_bad: true, ..Default::default() }).unwrap();
    assert_eq!(some.utterances().len(), 1);
    file(&dir, "list.csv", "path,split\nno/0.wav,test\n");
    fails(CorpusOptions::default(), "none of its files is to train on");
}

/// Alignments give the labels that the list of labels has: the same phones, 100 a second.
#[test]
fn alignments_equal_lists_of_labels() {
    let root = &speech_mini();
    let list = Corpus::open(root, &CorpusOptions::default()).unwrap();
    let names = list.labels().unwrap().names().unwrap().to_vec();
    let dir = tempfile::tempdir().unwrap();
    let mut ctm = String::new();
    for u in list.utterances() {
        let labels = list.labels().unwrap().get(&u.id).unwrap();
        let mut grid = String::from("\"ooTextFile\" \"TextGrid\" 0 9 <exists> 1 \"IntervalTier\" \"phones\" 0 9 ");
        let runs: Vec<&[u16]> = labels.chunk_by(|a, b| a == b).collect();
        grid.push_str(&runs.len().to_string());
        let mut at = 0;
        for run in runs {
            // A label's window begins 10 ms after the one before; its middle lies 12.5 ms in.
            let [begin, end] = [at, at + run.len()].map(|n| 0.01 * n as f64 + 0.0075);
            let name = &names[usize::from(run[0])];
            ctm.push_str(&format!("{} 1 {begin:.4} {:.4} {name}\n", u.id, end - begin));
            grid.push_str(&format!(" {begin} {end} \"{name}\""));
            at += run.len();
        }
        write(&dir.path().join(format!("grids/{}.TextGrid", u.id)), grid);
    }
    file(&dir, "phones.ctm", &ctm);
    for source in ["phones.ctm", "grids"] {
        let options = CorpusOptions { phone_labels: Some(dir.path().join(source)), ..Default::default() };
        let aligned = Corpus::open(root, &options).unwrap();
        let labels = aligned.labels().unwrap();
        assert_eq!(labels.names().unwrap()[labels.silence().unwrap()], "SIL");
        assert_ne!(aligned.digest(), list.digest());
        for u in list.utterances() {
            let name = |labels: &[u16], names: &[String]| -> Vec<String> {
                labels.iter().map(|l| names[usize::from(*l)].clone()).collect()
            };
            let got = name(labels.get(&u.id).unwrap(), labels.names().unwrap());
            let want = name(list.labels().unwrap().get(&u.id).unwrap(), &names);
            // The list may have a label more or fewer than the audio has windows.
            assert!(got.len().abs_diff(want.len()) <= 3);
            let n = got.len().min(want.len());
            assert_eq!(got[..n], want[..n], "{source}: {}", u.id);
        }
    }
    let first = list.utterances()[0].id.clone();
    file(&dir, "phones.ctm", &format!("{first} 1 0 99 AA\n"));
    let options = CorpusOptions { phone_labels: Some(dir.path().join("phones.ctm")), ..Default::default() };
    let e = Corpus::open(root, &options).unwrap_err().to_string();
    assert!(e.contains(&first) && e.contains("its phones end at 99.00 s"), "{e}");
    let options = CorpusOptions { phone_labels: Some(dir.path().join("nothing")), ..Default::default() };
    std::fs::create_dir(dir.path().join("nothing")).unwrap();
    let e = Corpus::open(root, &options).unwrap_err().to_string();
    assert!(e.contains("no TextGrid file"), "{e}");
}

/// The published name of the label file is known.
#[test]
fn labels_may_have_their_published_name() {
    let dir = small();
    let text: String = ["7", "30", "alice", "bob"].map(|s| format!("{s}-1-0000 {}\n", ["3"; 48].join(" "))).concat();
    file(&dir, "converted_aligned_phones.txt", &text);
    assert_eq!(open(dir.path()).unwrap().labels().unwrap().n_classes(), 4);
}
