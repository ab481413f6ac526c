//! Labels by column: any kind of labels, for speech and for images.

use std::f32::consts::TAU;
use std::fmt::Write;
use std::path::Path;

use crate::common::{fails, folders, ok};

/// 60 utterances of four speakers, half of them high in pitch, and a table of labels: `pitch`, which can
/// be heard, `coin`, which cannot, and `rare`, which few have.
fn speech(root: &Path) {
    std::fs::create_dir_all(root).unwrap();
    let mut table = "file,pitch,coin,rare\r\n".to_owned();
    let mut state = 1u32;
    for n in 0..60u32 {
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as f32 / 65_536.0
        };
        let (id, high) = (format!("s{}-{n:02}", n % 4), random() < 0.5);
        let hz = if high { 1_500.0 } else { 300.0 } + 100.0 * random();
        let sample = |t: u32| (0.3 * (TAU * hz * t as f32 / 16_000.0).sin() + 0.05 * (random() - 0.5)) * 32_767.0;
        let samples: Vec<u8> = (0..22_000).map(sample).flat_map(|v| (v as i16).to_le_bytes()).collect();
        let mut wav = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data".to_vec();
        wav[4..8].copy_from_slice(&(36 + samples.len() as u32).to_le_bytes());
        wav.extend((samples.len() as u32).to_le_bytes());
        wav.extend(samples);
        std::fs::write(root.join(format!("{id}.wav")), wav).unwrap();
        let coin = u32::from(random() < 0.5);
        let rare = if n % 5 == 0 {
            ""
        } else if high {
            "10"
        } else {
            "9"
        };
        writeln!(table, "{id}.wav,{},{coin},{rare}\r", if high { "high" } else { "low" }).unwrap();
    }
    std::fs::write(root.join("labels.csv"), table).unwrap();
}

fn train<'a>(preset: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let audio = ["network.width=16", "network.context=8"];
    let vision = ["network.widths=[4,8]", "network.blocks=[1,2]", "data.crop=20", "data.cache_mb=8"];
    let own = if preset == "audio-quick" { &audio[..] } else { &vision };
    let shared = ["data.path=corpus", "train.batch=4"];
    let settings = shared.iter().chain(own).chain(more).flat_map(|set| ["--set", set]);
    ["train", preset, "--out", out].into_iter().chain(settings).collect()
}

/// Accuracies of the probes of a run.
fn accuracies(d: &Path, args: &[&str]) -> Vec<f64> {
    let out = ok(d, &[&["probe"], args, &["--json"]].concat());
    let rows: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    rows.as_array().unwrap().iter().map(|r| r["accuracy"].as_f64().unwrap()).collect()
}

fn best(all: &[f64]) -> f64 {
    all.iter().copied().fold(0.0, f64::max)
}

#[test]
fn speech_is_probed_for_any_column() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    speech(&d.join("corpus"));
    ok(d, &train("audio-quick", "run", &["train.steps=2", "train.probe_every=2"]));
    let notes = std::fs::read_to_string(d.join("run/notes.txt")).unwrap();
    assert!(notes.contains("pitch (2 classes), coin (2 classes), rare (2 classes, 12 of 60 unlabeled)"), "{notes}");
    let online = std::fs::read_to_string(d.join("run/online.csv")).unwrap();
    assert!(online.contains(",pitch,"), "{online}");

    // What the run has no labels for is refused before features are computed.
    let e = fails(d, &["probe", "run", "--task", "ptich"]);
    assert!(e.contains("coin, pitch, rare, speakers") && e.contains("did you mean `pitch`?"), "{e}");
    assert!(!d.join("run/features.h5").exists());

    for more in [&["--protocol", "converged"][..], &["--protocol", "knn"], &["--protocol", "paper", "--views", "1"]] {
        let of = |task| accuracies(d, &[&["run", "--task", task], more].concat());
        assert!(best(&of("pitch")) > 0.9, "{more:?}");
        assert!(best(&of("rare")) > 0.9, "{more:?}");
        // A control: nothing to hear.
        let coin = of("coin");
        assert!(coin.iter().sum::<f64>() / (coin.len() as f64) < 0.8, "{more:?}: {coin:?}");
    }
    let file = gim_eval::FeatureFile::open(d.join("run/features.h5")).unwrap();
    let rare = file.labels("rare").unwrap();
    assert_eq!((rare.per, &rare.names[..]), (gim_eval::Per::Item, &["9".to_owned(), "10".to_owned()][..]));
    assert_eq!(rare.values.iter().filter(|v| **v < 0).count(), 12);
    ok(d, &["figures", "run"]);
    assert!(d.join("run/figures/accuracy-pitch.svg").exists());

    // Other labels are another dataset.
    std::fs::write(d.join("corpus/labels.csv"), "item,pitch\ns0-00,high\ns1-01,low\n").unwrap();
    let e = fails(d, &["probe", "run", "--task", "pitch"]);
    assert!(e.contains("was trained on corpus"), "{e}");
    std::fs::write(d.join("corpus/labels.csv"), "item,phones\ns0-00,high\n").unwrap();
    let e = fails(d, &train("audio-quick", "other", &["train.steps=2"]));
    assert!(e.contains("labels.csv: column `phones` has the name of a built-in task"), "{e}");
}

/// Training on a column learns it, end to end and module by module, and leaves unlabeled items out.
#[test]
fn a_column_supervises_speech_and_images() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    speech(&d.join("corpus"));
    for kind in ["network.kind=cpc", "network.kind=separate-context"] {
        let more = ["loss.target=rare", "train.steps=40", "optimizer.lr=0.003", "train.log_every=20", kind];
        ok(d, &train("audio-quick", kind, &more));
        let losses = losses(&d.join(kind));
        let (first, last) = (losses[0], losses[losses.len() - 1]);
        assert!(last < 0.75 * 2f64.ln() && last < first, "{kind}: {losses:?}");
        let notes = std::fs::read_to_string(d.join(kind).join("notes.txt")).unwrap();
        assert!(notes.contains("left out"), "{notes}");
    }
    let e = fails(d, &train("audio-quick", "no", &["loss.target=rear"]));
    assert!(e.contains("loss.target: no labels `rear`") && e.contains("did you mean `rare`?"), "{e}");

    std::fs::remove_dir_all(d.join("corpus")).unwrap();
    folders(&d.join("corpus"), false);
    let mut table = "path,light\n".to_owned();
    for part in ["train", "val"] {
        for n in 0..20 {
            writeln!(table, "{part}/bright/{n:02}.png,day\n./{part}/dark/{n:02}.png,night").unwrap();
        }
    }
    std::fs::write(d.join("light.csv"), table).unwrap();
    let more = ["data.labels=light.csv", "loss.target=light", "train.steps=30", "train.log_every=10"];
    ok(d, &train("vision-quick", "images", &more));
    // The column says the same as the classes, so all bits are the same.
    ok(d, &train("vision-quick", "classes", &["loss.target=classes", "train.steps=30", "train.log_every=10"]));
    assert_eq!(losses(&d.join("images")), losses(&d.join("classes")));
    assert_eq!(accuracies(d, &["images", "--task", "light"]), accuracies(d, &["images", "--task", "classes"]));
    assert!(best(&accuracies(d, &["images", "--task", "light", "--protocol", "paper", "--views", "1"])) > 0.9);
    let e = fails(d, &train("vision-quick", "no", &["loss.target=phones"]));
    assert!(e.contains("loss.target") && e.contains("built-in task"), "{e}");
}

/// A table that lists the corpus, and phones from alignments: the run learns what it learned from the folder.
#[test]
fn a_manifest_equals_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    speech(&d.join("corpus"));
    let mut table = "path,split,pitch\n".to_owned();
    let mut ctm = String::new();
    let labels = std::fs::read_to_string(d.join("corpus/labels.csv")).unwrap();
    for (n, row) in labels.lines().skip(1).enumerate() {
        let cells: Vec<&str> = row.split(',').collect();
        writeln!(table, "{},{},{}", cells[0], if n % 4 == 0 { "test" } else { "train" }, cells[1]).unwrap();
        let id = cells[0].trim_end_matches(".wav");
        writeln!(ctm, "{id} 1 0.00 0.70 {}\n{id} 1 0.80 0.50 {}", cells[1], cells[2]).unwrap();
    }
    std::fs::remove_file(d.join("corpus/labels.csv")).unwrap();
    std::fs::write(d.join("corpus/list.csv"), table).unwrap();
    std::fs::write(d.join("phones.ctm"), ctm).unwrap();
    let own =
        ["network.width=16", "network.context=8", "train.batch=4", "train.steps=2", "data.phone_labels=phones.ctm"];
    let with = |out: &str, data: &str| {
        let settings: Vec<&str> = own.iter().chain([&data]).flat_map(|set| ["--set", set]).collect();
        ok(d, &[&["train", "audio-quick", "--out", out], &settings[..]].concat());
    };
    with("listed", "data.manifest=corpus/list.csv");
    let notes = std::fs::read_to_string(d.join("listed/notes.txt")).unwrap();
    assert!(notes.contains("45 to train") && notes.contains("15 to test"), "{notes}");
    assert!(notes.contains("phones: 5 classes; silence is SIL") && notes.contains("pitch (2 classes)"), "{notes}");
    assert!(best(&accuracies(d, &["listed", "--task", "pitch"])) > 0.9);
    assert!(best(&accuracies(d, &["listed", "--task", "phones"])) > 0.4);

    // Split files in place of the column: the same sets, the same weights.
    let part = |test: bool| {
        let rows = labels.lines().skip(1).enumerate().filter(move |(n, _)| (n % 4 == 0) == test);
        rows.map(|(_, row)| format!("{}\n", row.split(".wav").next().unwrap())).collect::<String>()
    };
    std::fs::write(d.join("a.txt"), part(false)).unwrap();
    std::fs::write(d.join("b.txt"), part(true)).unwrap();
    let split = ["data.path=corpus", "data.train_split=a.txt", "data.test_split=b.txt"];
    let settings: Vec<&str> = own.iter().chain(&split).flat_map(|set| ["--set", set]).collect();
    ok(d, &[&["train", "audio-quick", "--out", "folder"], &settings[..]].concat());
    assert_eq!(losses(&d.join("listed")), losses(&d.join("folder")));

    let e = fails(d, &["train", "audio-quick", "--out", "no", "--set", "data.manifest=corpus/lost.csv"]);
    assert!(e.contains("corpus/lost.csv"), "{e}");
}

/// Losses of the last module, in the order of steps.
fn losses(run: &Path) -> Vec<f64> {
    let text = std::fs::read_to_string(run.join("train.csv")).unwrap();
    let rows = text.lines().skip(1).map(|l| l.split(',').collect::<Vec<_>>());
    let rows: Vec<(usize, f64)> = rows.map(|r| (r[2].parse().unwrap(), r[3].parse().unwrap())).collect();
    let last = rows.iter().map(|r| r.0).max().unwrap();
    rows.into_iter().filter(|r| r.0 == last).map(|r| r.1).collect()
}

/// A comparison probes columns like any task, and refuses one that the dataset lacks before it trains.
#[test]
fn a_comparison_probes_columns() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    speech(&d.join("corpus"));
    let list = |task: &str| {
        let set: Vec<String> =
            train("audio-quick", "", &["train.steps=2"])[4..].chunks(2).map(|s| format!("{:?}", s[1])).collect();
        let run = format!(
            "seeds = 1\nlabel_shares = []\n[[run]]\nname = \"audio/gim\"\npreset = \"audio-quick\"\ntitle = \"GIM\"\n\
             tasks = [\"speakers\", \"{task}\"]\nset = [{}]\n",
            set.join(", ")
        );
        std::fs::write(d.join("list.toml"), run).unwrap();
    };
    let reproduce = ["reproduce", "list.toml", "--out", "out"];
    list("ptich");
    let e = fails(d, &reproduce);
    assert!(e.contains("audio/gim has no labels `ptich`") && e.contains("did you mean `pitch`?"), "{e}");
    assert!(!d.join("out/audio").exists());
    list("pitch");
    ok(d, &reproduce);
    let table = std::fs::read_to_string(d.join("out/table_audio.csv")).unwrap();
    assert!(table.lines().any(|l| l.contains("pitch")) && table.lines().any(|l| l.contains("speakers")), "{table}");
    let page = std::fs::read_to_string(d.join("out/report.html")).unwrap();
    assert!(page.contains("Accuracy for pitch"), "tables of the column");
}
