//! Speech: frames and their labels in training.

use gim_core::module::Mode;

use std::path::Path;

use super::super::{Domain, Extracted};
use super::*;
use crate::experiment::config::Config;

/// A corpus of two speakers with three utterances of noise each; label n is of class n.
fn corpus_of_numbered_labels(root: &Path) {
    numbered_labels(root, 30_000);
}

/// [`corpus_of_numbered_labels`], of utterances of so many samples.
fn numbered_labels(root: &Path, samples: u32) {
    let (mut labels, mut state) = (String::new(), 1u32);
    for id in ["ann-0", "ann-1", "ann-2", "ben-0", "ben-1", "ben-2"] {
        let mut wav = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data".to_vec();
        wav[4..8].copy_from_slice(&(36 + 2 * samples).to_le_bytes());
        wav.extend((2 * samples).to_le_bytes());
        for _ in 0..samples {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            wav.extend(((state >> 16) as u16).to_le_bytes());
        }
        std::fs::write(root.join(format!("{id}.wav")), wav).unwrap();
        let classes: Vec<String> = (0..label_frames(samples as usize)).map(|n| n.to_string()).collect();
        labels.push_str(&format!("{id}\t{}\n", classes.join(" ")));
    }
    std::fs::write(root.join("phone_labels.txt"), labels).unwrap();
    std::fs::write(root.join("test_split.txt"), "ann-2\nben-2\n").unwrap();
}

/// A frame of the last convolution has the same label in supervised training as in probes,
/// wherever the crop begins.
#[test]
fn training_and_probes_give_a_frame_the_same_label() {
    let dir = tempfile::tempdir().unwrap();
    corpus_of_numbered_labels(dir.path());
    let path = format!("data.path={}", dir.path().display());
    let set = [&path, "loss.target=phones", "network.width=8", "network.context=0", "train.batch=4"];
    let config = Config::load("audio-quick", &set.map(str::to_owned)).unwrap();
    let Domain::Audio(audio) = &config.domain else { panic!("audio-quick is of audio") };
    let pool = Pool::new();
    let mut source = audio.batch_source(&config.train, 0, None).unwrap();
    let record = source.record().clone();
    let mut stack = audio.build(Some(&record), &config.optimizer, 1, &pool).unwrap();

    let plans = stack.plan(source.shapes()).unwrap();
    let (x, labels) = source.next(&plans, &pool).unwrap();
    let layouts = plans.largest();
    let mut trained = Vec::new();
    stack.visit_features(x.detach(), layouts, Mode::Eval, |view| trained = view.features.to_vec());

    let mut extractor = audio.extractor(&record, 1).unwrap();
    let all: Vec<usize> = extractor.items().iter().map(|i| i.0).collect();
    let probed = extractor.extract_whole(&all, &mut stack, &pool).unwrap();
    let slots = labels.len() / 4;
    assert_eq!(trained.len(), labels.len() * 8, "a frame every 10 ms");
    for (crop, labels) in trained.chunks_exact(slots * 8).zip(labels.chunks_exact(slots)) {
        // Frames at a crop's ends see its padding.
        let same = |item: &Extracted| {
            (4..slots - 4).all(|slot| {
                let row = item.labels[1].iter().position(|class| *class == labels[slot]).unwrap();
                let probed = item.groups[4].row(row);
                crop[slot * 8..].iter().zip(probed).all(|(a, b)| (a - b).abs() < 1e-5)
            })
        };
        assert!(probed.iter().flatten().any(same), "labels {labels:?}");
    }
}

/// Features of an utterance of several passes come in parts, with the labels of their rows. Together they are
/// those of the whole, the baselines among them.
#[test]
fn a_long_utterance_comes_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let samples = 1_300_000;
    numbered_labels(dir.path(), samples as u32);
    let path = format!("data.path={}", dir.path().display());
    let set = [&path, "network.width=8", "network.context=4", "train.batch=4"].map(str::to_owned);
    let config = Config::load("audio-quick", &set).unwrap();
    let Domain::Audio(audio) = &config.domain else { panic!("audio-quick is of audio") };
    let pool = Pool::new();
    let record = audio.batch_source(&config.train, 0, None).unwrap().record().clone();
    let corpus = Corpus::open(dir.path(), &CorpusOptions::default()).unwrap();
    let utterance = corpus.find("ben-1").unwrap();
    let waveform = corpus.whole(utterance, &standardize_of(&record).unwrap()).unwrap();
    let build = |seed| audio.build(Some(&record), &OptimizerConfig::default(), seed, &pool).unwrap();
    let (mut trained, mut random) = (build(1), build(2));
    let whole = FeatureExtractor::new(&audio.network).unwrap().with_pass(samples);
    let mut want = whole.features(&mut trained, &waveform, &pool).unwrap();
    want.extend(whole.features(&mut random, &waveform, &pool).unwrap());
    want.push(whole.mfcc(&waveform));
    let mut extractor = audio.extractor(&record, 1).unwrap();
    let (mut parts, mut row) = (0, 0);
    let mut take = |at: usize, part: Extracted| {
        let rows = part.groups[0].nrows();
        assert_eq!((at, part.groups.len(), part.labels[0].as_slice()), (0, want.len(), [1].as_slice()));
        for (part, want) in part.groups.iter().zip(&want) {
            assert!(*part == want.slice(ndarray::s![row..row + rows, ..]), "rows {row}..{}", row + rows);
        }
        let labels: Vec<i32> = (row..row + rows).map(|n| n as i32).collect();
        assert!(part.labels[1] == labels, "labels of rows {row}..{}", row + rows);
        (parts, row) = (parts + 1, row + rows);
        assert_eq!(part.more, row < label_frames(samples));
        Ok(())
    };
    extractor.extract(&[utterance], &mut trained, Some(&mut random), &pool, &mut take).unwrap();
    assert!(parts == 3 && row == label_frames(samples), "{parts} parts, {row} rows");
    let item = extractor.extract_whole(&[utterance], &mut trained, &pool).unwrap().pop().flatten().unwrap();
    assert!(item.groups[..] == want[..item.groups.len()] && item.labels[1].len() == row);
}

/// Whole utterances come one a step in the order of the split file, with all their labels; those
/// without labels are left out.
#[test]
fn whole_utterances_come_in_file_order_with_all_their_labels() {
    let dir = tempfile::tempdir().unwrap();
    corpus_of_numbered_labels(dir.path());
    let labels = std::fs::read_to_string(dir.path().join("phone_labels.txt")).unwrap();
    let labels: Vec<&str> = labels.lines().filter(|l| !l.starts_with("ben-0")).collect();
    std::fs::write(dir.path().join("phone_labels.txt"), labels.join("\n")).unwrap();
    std::fs::write(dir.path().join("train_split.txt"), "ben-1\nann-1\nben-0\nann-0\n").unwrap();
    let path = format!("data.path={}", dir.path().display());
    let whole = [&path, "loss.target=phones", "network.width=8", "train.batch=1", "data.whole=true"];
    let config = Config::load("audio-quick", &whole.map(str::to_owned)).unwrap();
    let Domain::Audio(audio) = &config.domain else { panic!("audio-quick is of audio") };
    let pool = Pool::new();
    let mut source = audio.batch_source(&config.train, 1, None).unwrap();
    assert_eq!(source.epoch_len(), 3);
    assert!(source.notes().iter().any(|n| n.starts_with("1 training utterances")), "{:?}", source.notes());
    let stack = audio.build(Some(source.record()), &config.optimizer, 1, &pool).unwrap();
    let plans = stack.plan(source.shapes()).unwrap();
    let standardize = standardize_of(source.record()).unwrap();
    let corpus = Corpus::open(dir.path(), &CorpusOptions::default()).unwrap();
    for id in ["ann-1", "ann-0", "ben-1"] {
        let (x, labels) = source.next(&plans, &pool).unwrap();
        let mut waveform = corpus.whole(corpus.find(id).unwrap(), &standardize).unwrap();
        waveform.truncate(30_000 / 160 * 160);
        assert!(x.to_vec() == waveform, "{id}");
        // Label n is of class n. A frame more at the beginning, and those after the last window, have none.
        let n = label_frames(30_000) as i32;
        let want: Vec<i32> = (-1..n).chain(std::iter::repeat(-1)).take(30_000 / 160).collect();
        assert_eq!(*labels, *want, "{id}");
    }
    // The published probe for phones learns from features in the same order.
    let extractor = audio.extractor(source.record(), 1).unwrap();
    let train = extractor.items().iter().filter(|i| i.1 == gim_eval::Split::Train);
    let ids: Vec<String> = train.map(|i| extractor.id(i.0)).collect();
    assert_eq!(ids, ["ben-1", "ann-1", "ben-0", "ann-0"]);
    for (set, says) in [
        (["train.batch=2", "loss.target=phones"], "train.batch = 1"),
        (["train.batch=1", "loss.target=future"], "labels"),
    ] {
        let all = [&path, "data.whole=true", set[0], set[1]].map(str::to_owned);
        let config = Config::load("audio-quick", &all).unwrap();
        let e = config.domain.dataset().batch_source(&config.train, 0, None).map(drop).unwrap_err().to_string();
        assert!(e.contains("data.whole") && e.contains(says), "{e}");
    }
}
