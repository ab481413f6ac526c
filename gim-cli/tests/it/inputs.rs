//! Inputs as people have them: what is understood is said, what is wrong stops a run before it starts.

use std::path::Path;

use crate::common::{fails, ok, png};

/// A corpus of two speakers with three utterances of half a second and labels by `class`, which
/// says the class of the phones "silence" and "tone".
pub(crate) fn speech(root: &Path, names: &str, class: [usize; 2]) {
    let (mut labels, mut test) = (String::new(), String::new());
    for (s, speaker) in ["anna", "ben"].iter().enumerate() {
        for k in 0..3 {
            let id = format!("{speaker}-{k}");
            let tone = |i: usize| i / 1600 % 2 == 1;
            let sample = |i: usize| {
                let noise = ((i * (2 * k + 3) * 7919) % 1009) as f64 / 1009.0 - 0.5;
                let hum = if tone(i) { (i as f64 * 0.06 * (s + 1) as f64).sin() } else { 0.0 };
                (3000.0 * hum + 1000.0 * noise) as i16
            };
            let data: Vec<u8> = (0..8000).flat_map(|i| sample(i).to_le_bytes()).collect();
            let mut wav =
                b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data".to_vec();
            wav.extend(u32::MAX.to_le_bytes());
            std::fs::create_dir_all(root.join("x")).unwrap();
            std::fs::write(root.join(format!("x/{id}.wav")), [wav, data].concat()).unwrap();
            let row: Vec<String> = (0..48).map(|n| class[usize::from(tone(n * 160 + 200))].to_string()).collect();
            labels += &format!("{id} {}\n", row.join(" "));
            test += &if k == 2 { format!("{id}\n") } else { String::new() };
        }
    }
    std::fs::write(root.join("phones.txt"), names).unwrap();
    std::fs::write(root.join("phone_labels.txt"), labels).unwrap();
    std::fs::write(root.join("test_split.txt"), test).unwrap();
}

pub(crate) fn train<'a>(out: &'a str, corpus: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let settings = [
        "--set",
        corpus,
        "--set",
        "data.crop=5120",
        "--set",
        "network.width=8",
        "--set",
        "network.context=8",
        "--set",
        "train.batch=2",
        "--set",
        "train.steps=2",
        "--set",
        "train.log_every=2",
        "--set",
        "train.checkpoint_every=2",
        "--set",
        "train.snapshots=[]",
    ];
    ["train", "audio-quick", "--out", out].into_iter().chain(settings).chain(more.iter().copied()).collect()
}

/// The number of silence does not matter: the same accuracies, the second of them without it.
#[test]
fn silence_is_left_out_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    speech(&d.join("first"), "0 SIL\n1 AA\n", [0, 1]);
    speech(&d.join("second"), "0 <eps>\n1 sil\n2 AA\n", [1, 2]);
    let rows = ["first", "second"].map(|corpus| {
        let path = format!("data.path={corpus}");
        let run = format!("{corpus}.run");
        ok(d, &train(&run, &path, &[]));
        let notes = std::fs::read_to_string(d.join(&run).join("notes.txt")).unwrap();
        assert!(notes.contains("speakers, by the part of the id before '-': 2 (anna, ben)"), "{notes}");
        assert!(notes.contains(if corpus == "first" {
            "silence is SIL (class 0)"
        } else {
            "silence is sil (class 1)"
        }));
        ok(d, &["probe", &run, "--task", "phones", "--module", "1", "--protocol", "knn"]);
        let rows = std::fs::read_to_string(d.join(&run).join("probe.csv")).unwrap();
        let mut rows = csv::Reader::from_reader(rows.as_bytes());
        let at = rows.headers().unwrap().iter().position(|h| h == "accuracy_no_silence").unwrap();
        rows.records().map(|r| r.unwrap()[at].to_owned()).collect::<Vec<_>>()
    });
    assert!(!rows[0].is_empty() && rows[0].iter().all(|r| !r.is_empty()), "{rows:?}");
    assert_eq!(rows[0], rows[1]);
}

#[test]
fn bad_audio_stops_a_run_before_it_starts() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    speech(&d.join("corpus"), "0 SIL\n1 AA\n", [0, 1]);
    let supervised = ["--set", "loss.target=phones"];
    let labels = d.join("corpus/phone_labels.txt");
    let text = std::fs::read_to_string(&labels).unwrap();
    std::fs::write(&labels, text.replace("anna", "x-anna").replace("ben", "x-ben")).unwrap();
    let e = fails(d, &train("run", "data.path=corpus", &supervised));
    assert!(e.contains("no training utterance has labels") && e.contains("\"x-anna-0\""), "{e}");
    std::fs::write(&labels, text).unwrap();

    // One for training, one for testing.
    std::fs::write(d.join("corpus/x/anna-0.wav"), "").unwrap();
    std::fs::write(d.join("corpus/x/ben-2.wav"), "RIFF, but no more").unwrap();
    let e = fails(d, &train("run", "data.path=corpus", &[]));
    for part in ["2 files are bad", "anna-0.wav: the file is empty", "ben-2.wav: is no FLAC", "--skip-bad"] {
        assert!(e.contains(part), "{e:?} should say {part:?}");
    }
    assert!(!d.join("run").exists(), "a run that cannot start leaves nothing");
    ok(d, &train("run", "data.path=corpus", &["--skip-bad"]));
    let notes = std::fs::read_to_string(d.join("run/notes.txt")).unwrap();
    assert!(notes.contains("2 audio files are bad and left out: x/anna-0.wav (the file is empty)"), "{notes}");
    ok(d, &["extract", "run", "--out", "f.h5"]);
}

/// Images of one class, or of none, are trained on and have features; there is nothing to probe.
#[test]
fn images_of_one_class_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for (root, place) in [("one", "one/train/ant"), ("flat", "flat"), ("bare", "bare/unlabelled")] {
        std::fs::create_dir_all(d.join(place)).unwrap();
        for k in 0..8 {
            std::fs::write(d.join(place).join(format!("{k}.png")), png(64, |y, x| (x * (k + 2) + y * 3) as u8))
                .unwrap();
        }
        let path = format!("data.path={root}");
        let settings = [
            "--set",
            &path,
            "--set",
            "network.widths=[8,8,8]",
            "--set",
            "train.batch=4",
            "--set",
            "train.steps=2",
            "--set",
            "train.log_every=2",
            "--set",
            "train.checkpoint_every=2",
        ];
        let run = format!("{root}.run");
        ok(d, &["train", "vision-quick", "--out", &run].into_iter().chain(settings).collect::<Vec<_>>());
        ok(d, &["extract", &run, "--out", "f.h5"]);
        let e = fails(d, &["probe", &run, "--task", "classes"]);
        assert!(
            e.contains(if root == "one" { "nothing to tell apart" } else { "has no labels `classes`" }),
            "{root}: {e}"
        );
        let more = ["--set", "loss.target=classes"];
        let supervised = ["train", "vision-quick", "--out", "s.run"].into_iter().chain(settings).chain(more);
        assert!(fails(d, &supervised.collect::<Vec<_>>()).contains("there is nothing to learn from labels"));
    }
}
