//! Iterative training from records: the same results as without, whatever happens in between.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{fails, folders, gim, ok, result};

/// Networks of both domains, of all that iterative training allows, small and often saved.
const AUDIO: [&str; 5] = ["audio-quick", "network.width=16", "network.context=8", "train.batch=4", "data.crop=5120"];
const VISION: [&str; 4] = ["vision-quick", "network.widths=[4,6,8]", "train.batch=8", "data.cache_mb=8"];
const OFTEN: [&str; 4] = ["train.steps=7", "train.log_every=2", "train.checkpoint_every=4", "train.schedule=iterative"];

/// `gim train` with settings.
fn train<'a>(preset: &[&'a str], out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let settings = preset[1..].iter().chain(&OFTEN).chain(more).flat_map(|set| ["--set", *set]);
    ["train", preset[0], "--out", out].into_iter().chain(settings).collect()
}

/// Names of all files of records.
fn records(run: &Path) -> Vec<String> {
    let folders = std::fs::read_dir(run.join("record")).into_iter().flatten().flatten();
    let files = folders.flat_map(|f| std::fs::read_dir(f.path()).unwrap()).flatten();
    let mut names: Vec<String> = files.map(|f| f.path().strip_prefix(run).unwrap().display().to_string()).collect();
    names.sort();
    names
}

#[test]
fn a_record_changes_no_bit_of_iterative_training() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let contexts = ["network.bptt=false", "network.context_per_module=true"];
    let cases: [(&str, &[&str], &[&str]); 7] = [
        ("audio", &AUDIO, &[]),
        ("contexts", &AUDIO, &contexts),
        ("phones", &AUDIO, &["loss.target=phones"]),
        ("speakers", &AUDIO, &["loss.target=speakers", "train.low_memory=true"]),
        ("vision", &VISION, &[]),
        ("classes", &VISION, &["loss.target=classes"]),
        ("decay", &VISION, &["optimizer.decay=cosine", "train.modules=2"]),
    ];
    for (name, preset, more) in cases {
        let [plain, recorded, packed] = ["plain", "recorded", "packed"].map(|n| format!("{name}-{n}"));
        ok(d, &train(preset, &plain, more));
        let want = result(&d.join(&plain));
        ok(d, &train(preset, &recorded, &[more, &["train.record=true"]].concat()));
        assert!(result(&d.join(&recorded)) == want, "{recorded}");
        assert!(!d.join(&recorded).join("record").exists(), "records are removed when they are used up");
        // With more epochs than there are steps; on one thread.
        let keep = ["train.record=true", "train.keep_record=true", "train.record_zstd=3"];
        let args = [train(preset, &packed, &[more, &keep].concat()), vec!["--threads", "1"]].concat();
        ok(d, &args);
        assert!(result(&d.join(&packed)) == want, "{packed}");
        assert!(records(&d.join(&packed)).contains(&"record/module_1/chunk-00000000.bin".to_owned()));
        let table = std::fs::read_to_string(d.join(&packed).join("record.csv")).unwrap();
        assert_eq!(table.lines().count(), want.0.len() - 1, "a row a module but the first: {table}");
        assert!(table.lines().skip(1).all(|row| row.contains(",float32,7,")), "{table}");
    }
}

/// Changes a setting of a run that is there.
fn set(run: &Path, from: &str, to: &str) {
    let file = run.join("config.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    assert!(config.contains(from), "{config}");
    std::fs::write(&file, config.replace(from, to)).unwrap();
}

/// The row of a module in record.csv, by column.
fn row(run: &Path, module: &str) -> Vec<(String, String)> {
    let table = std::fs::read_to_string(run.join("record.csv")).unwrap();
    let header: Vec<&str> = table.lines().next().unwrap().split(',').collect();
    let row = table.lines().skip(1).find(|row| row.split(',').next() == Some(module)).unwrap();
    header.into_iter().map(str::to_owned).zip(row.split(',').map(str::to_owned)).collect()
}

fn value(row: &[(String, String)], column: &str) -> String {
    row.iter().find(|c| c.0 == column).unwrap().1.clone()
}

/// A run goes on at the chunk and in the middle of a module's training; a damaged chunk is named.
#[test]
fn a_record_is_resumed_at_the_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let two = ["train.modules=2"];
    ok(d, &train(&AUDIO, "plain", &two));
    let want = result(&d.join("plain"));
    let keep = ["train.modules=2", "train.record=true", "train.keep_record=true"];
    ok(d, &train(&AUDIO, "run", &keep));
    let run = d.join("run");
    assert!(result(&run) == want);
    let files = ["chunk-00000000.bin", "chunk-00000001.bin", "store.json"].map(|f| format!("record/module_1/{f}"));
    assert_eq!(records(&run), files);
    let [first, second, _] = files.map(|f| run.join(f));
    let modified = |file: &Path| std::fs::metadata(file).unwrap().modified().unwrap();
    let made = modified(&first);

    // Back to step 12, which is the sixth of module 2.
    let back = || std::fs::remove_dir_all(run.join("checkpoints/step-00000014")).unwrap();
    back();
    ok(d, &["train", "--resume", "run"]);
    assert!(result(&run) == want);
    let taken = row(&run, "2");
    assert_eq!(["batches", "written", "steps"].map(|c| value(&taken, c)), ["7", "0", "2"]);

    // A chunk is missing, as after a kill, and the next one is half written.
    back();
    std::fs::remove_file(&second).unwrap();
    std::fs::write(run.join("record/module_1/chunk-00000001.bin.tmp"), "half").unwrap();
    ok(d, &["train", "--resume", "run"]);
    assert!(result(&run) == want);
    assert_eq!(value(&row(&run, "2"), "written"), "2");
    assert_eq!(modified(&first), made, "the first chunk is not written again");

    // A chunk is damaged.
    back();
    let mut bytes = std::fs::read(&second).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&second, &bytes).unwrap();
    let e = fails(d, &["train", "--resume", "run"]);
    assert!(e.contains("chunk-00000001.bin") && e.contains("chunk 1 of 2") && e.contains("damaged"), "{e}");
    std::fs::remove_file(&second).unwrap();
    ok(d, &["train", "--resume", "run"]);
    assert!(result(&run) == want);

    // A record of other settings is not taken, and none is left when it is not wanted any more.
    back();
    set(&run, "record_zstd = 0", "record_zstd = 1");
    ok(d, &["train", "--resume", "run"]);
    assert!(result(&run) == want);
    assert_eq!(value(&row(&run, "2"), "written"), "7");
    back();
    set(&run, "keep_record = true", "keep_record = false");
    set(&run, "record = true", "record = false");
    ok(d, &["train", "--resume", "run"]);
    assert!(result(&run) == want && !run.join("record").exists());

    // One module above the frozen ones of another run.
    let from =
        |out, more: &[&'static str]| [train(&AUDIO, out, more), vec!["--modules", "2", "--from", "plain"]].concat();
    ok(d, &from("one", &[]));
    ok(d, &from("one-recorded", &["train.record=true"]));
    assert!(result(&d.join("one-recorded")).0[0] == result(&d.join("one")).0[0]);
    assert!(result(&d.join("one-recorded")) == result(&d.join("one")));
}

/// Kills at random times, in the middle of a record or of training from it.
#[test]
fn killed_runs_end_as_undisturbed_ones() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    ok(d, &train(&AUDIO, "plain", &[]));
    let want = result(&d.join("plain"));
    let settings = train(&AUDIO, "run", &["train.record=true"]);
    let run = d.join("run");
    for (kill, module) in [1, 1, 2, 3, 5].into_iter().enumerate() {
        let args = if kill == 0 { settings.clone() } else { vec!["train", "--resume", "run"] };
        let mut child = gim(d, &args).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(300);
        let folder = run.join(format!("record/module_{module}"));
        let reached = || if kill % 2 == 0 { folder.exists() } else { folder.join("chunk-00000000.bin").exists() };
        while !reached() && child.try_wait().unwrap().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    ok(d, &["train", "--resume", "run"]);
    assert!(result(&run) == want);
    assert!(!run.join("record").exists());
}

/// Fewer epochs are used again and again; smaller types round.
#[test]
fn what_a_record_leaves_out_is_part_of_the_settings() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    folders(&d.join("images"), false);
    let images = [
        "vision-quick",
        "network.widths=[4,8]",
        "network.blocks=[1,1]",
        "train.batch=8",
        "data.crop=16",
        "network.patch=4",
        "network.overlap=2",
        "data.path=images",
    ];
    ok(d, &train(&images, "plain", &[]));
    let plain = result(&d.join("plain"));
    for (name, setting) in [
        ("epochs", "train.record_epochs=1"),
        ("half", "train.record_type=float16"),
        ("brain", "train.record_type=bfloat16"),
    ] {
        let more = ["train.record=true", "train.keep_record=true", setting];
        ok(d, &train(&images, name, &more));
        let run = d.join(name);
        let want = result(&run);
        assert!(want.1[..4] == plain.1[..4], "the first module has no record");
        assert!(want.1 != plain.1, "{name} changes what the second module learns");
        let losses = want.1.iter().skip(1).map(|l| l.split(',').nth(3).unwrap().parse::<f64>().unwrap());
        assert!(losses.into_iter().all(f64::is_finite));
        let batches = if name == "epochs" { "5" } else { "7" };
        assert_eq!(value(&row(&run, "2"), "batches"), batches, "{name}");
        std::fs::remove_dir_all(run.join("checkpoints/step-00000014")).unwrap();
        ok(d, &["train", "--resume", name]);
        assert!(result(&run) == want, "{name}");
    }
    std::fs::remove_dir_all(d.join("epochs/checkpoints/step-00000014")).unwrap();
    set(&d.join("epochs"), "record_epochs = 1", "record_epochs = 2");
    assert!(fails(d, &["train", "--resume", "epochs"]).contains("train.record_epochs was 1, now it is 2"));
    let megabytes = |run: &str| value(&row(&d.join(run), "2"), "megabytes").parse::<f64>().unwrap();
    assert!(megabytes("half") < 0.75 * megabytes("epochs"), "seven batches in half the bytes, and five");
    let e = fails(d, &train(&images, "huge", &["train.record=true", "train.steps=1000000000000"]));
    assert!(
        e.contains("MB for 1000000000000 batches") && e.contains("are free") && e.contains("train.record_epochs"),
        "{e}"
    );
    assert!(!d.join("huge").exists(), "a run that cannot start leaves nothing");
}
