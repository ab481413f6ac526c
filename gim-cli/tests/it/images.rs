//! The program on images: determinism, resume, every network, figures, and errors for bad input.

use std::time::{Duration, Instant};

use crate::common::{fails, folders, gim, ok, result};

const TINY: [&str; 14] = [
    "--set",
    "network.widths=[4,8]",
    "--set",
    "network.blocks=[1,2]",
    "--set",
    "train.batch=8",
    "--set",
    "train.log_every=2",
    "--set",
    "train.checkpoint_every=4",
    "--set",
    "train.steps=8",
    "--set",
    "data.cache_mb=8",
];

fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    ["train", "vision-quick", "--out", out].into_iter().chain(TINY).chain(more.iter().copied()).collect()
}

#[test]
fn threads_and_resume_do_not_change_a_bit() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    ok(d, &train("one", &["--threads", "1"]));
    ok(d, &train("two", &["--threads", "2"]));
    assert_eq!(result(&d.join("one")), result(&d.join("two")));
    // As if killed after four steps: the last checkpoint is missing, and the log has later rows.
    ok(d, &train("cut", &[]));
    std::fs::remove_dir_all(d.join("cut/checkpoints/step-00000008")).unwrap();
    ok(d, &["train", "--resume", "cut"]);
    assert_eq!(result(&d.join("one")), result(&d.join("cut")));
}

/// A file that cannot be read any more stops a run between two rows of its log. When it is back, the
/// resumed run averages the row over all its steps.
#[test]
fn a_file_that_comes_back_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    folders(&d.join("corpus"), false);
    let steps = ["--set", "train.steps=399", "--set", "train.log_every=7", "--set", "train.checkpoint_every=350"];
    let small = ["--set", "data.path=corpus", "--set", "data.crop=20", "--set", "loss.prediction_steps=2"];
    let more = [&steps[..], &small, &["--set", "data.cache_mb=0"]].concat();
    ok(d, &train("whole", &more));

    let mut child = gim(d, &train("run", &more)).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while std::fs::read_to_string(d.join("run/train.csv")).unwrap_or_default().lines().count() < 3 {
        assert!(child.try_wait().unwrap().is_none() && Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(1));
    }
    let file = d.join("corpus/train/dark/05.png");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(2) && said.contains("05.png"), "{said}");
    std::fs::write(&file, whole).unwrap();
    ok(d, &["train", "--resume", "run"]);
    assert_eq!(result(&d.join("whole")), result(&d.join("run")));
}

#[test]
fn every_network_trains_and_is_probed() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    folders(&d.join("corpus"), false);
    let settings: [(&str, &[&str], usize); 5] = [
        ("stages", &[], 2),
        ("cut-anywhere", &["--set", "network.cuts=[1,2]"], 3),
        ("basic-color", &["--set", "network.block=basic", "--set", "data.color=rgb"], 2),
        ("cpc", &["--set", "network.kind=cpc"], 2),
        (
            "all-directions",
            &["--set", "loss.directions=['down','up','left','right']", "--set", "network.init=delta-orthogonal"],
            2,
        ),
    ];
    for (name, more, modules) in settings {
        let small = ["--set", "data.path=corpus", "--set", "data.crop=20", "--set", "loss.prediction_steps=2"];
        ok(d, &train(name, &[&small[..], more].concat()));
        for protocol in ["converged", "knn"] {
            let out = ok(d, &["probe", name, "--task", "classes", "--protocol", protocol, "--json"]);
            let rows: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
            let rows = rows.as_array().unwrap();
            // Raw pixels, and every module (or depth of the end-to-end network) beside its random twin.
            assert_eq!(rows.len(), 1 + 2 * modules, "{name}");
            assert!(
                rows.iter().all(|r| r["accuracy"].as_f64().unwrap() > 0.9),
                "{name}: bright and dark differ: {rows:?}"
            );
        }
    }
    let out = ok(d, &["figures", "stages"]);
    let figures = String::from_utf8_lossy(&out.stdout).into_owned();
    for name in ["patches", "neighbors", "confusion", "accuracy-classes", "loss"] {
        assert!(figures.contains(&format!("{name}.png")), "{name} is missing: {figures}");
    }
    for figure in figures.lines() {
        assert!(d.join(figure).metadata().unwrap().len() > 2000, "{figure}");
    }
    // Figures must not mix these features with images of another dataset.
    std::fs::remove_file(d.join("corpus/val/dark/00.png")).unwrap();
    let said = fails(d, &["figures", "stages"]);
    assert!(said.contains("features.h5") && said.contains("another dataset"), "{said}");
    // Features of another dataset are made on demand.
    let extract = ["extract", "stages", "--out", "others.h5"];
    assert!(fails(d, &extract).contains("--any-dataset"));
    ok(d, &[&extract[..], &["--any-dataset"]].concat());
}

#[test]
fn bad_input_is_one_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    assert!(fails(d, &train("a", &["--set", "loss.prediction_steps=9"])).contains("48 × 48"));
    assert!(fails(d, &train("a", &["--set", "network.cuts=[3,1]"])).contains("network.cuts"));
    assert!(
        fails(d, &train("a", &["--set", "network.kind=cpc", "--set", "network.cuts=[1]"])).contains("network.cuts")
    );
    assert!(fails(d, &train("a", &["--set", "network.overlap=8"])).contains("network.overlap"));
    assert!(fails(d, &train("a", &["--set", "loss.directions=['sideways']"])).contains("directions"));
    let cpc = |more| fails(d, &train("a", &["--set", "network.kind=cpc", "--set", more]));
    assert!(cpc("network.context_layers=0").contains("network.context_layers"));
    assert!(cpc("loss.directions=['up']").contains("loss.directions"), "contexts have seen what is above");
    assert!(fails(d, &train("a", &["--set", "data.path=nowhere"])).contains("nowhere"));
    assert!(fails(d, &train("a", &["--set", "data.colr=rgb"])).contains("`data.color`"));

    folders(&d.join("corpus"), true);
    let more = ["--set", "data.path=corpus", "--set", "data.crop=20", "--set", "loss.prediction_steps=2"];
    let e = fails(d, &train("a", &more));
    assert!(e.contains("train/dark/broken.jpg") && e.contains("--skip-bad"), "{e}");
    assert!(!d.join("a").exists(), "a run that cannot start leaves nothing");
    ok(d, &train("skipped", &[&more[..], &["--skip-bad"]].concat()));
    let notes = std::fs::read_to_string(d.join("skipped/notes.txt")).unwrap();
    assert!(notes.contains("dark/broken.jpg") && notes.contains("dark/one.png"), "{notes}");

    // A damaged image that only probes would read is found before training.
    folders(&d.join("whole"), false);
    let cut = std::fs::read_dir(d.join("whole/val/dark")).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&cut).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() - 20]).unwrap();
    let more_whole = ["--set", "data.path=whole", "--set", "data.crop=20", "--set", "loss.prediction_steps=2"];
    let e = fails(d, &train("c", &more_whole));
    assert!(e.contains("whole/val/dark/") && e.contains("--skip-bad"), "{e}");
    assert!(!d.join("c").exists(), "a run that cannot start leaves nothing");

    std::fs::create_dir(d.join("corpus/train/empty")).unwrap();
    assert!(fails(d, &train("b", &[&more[..], &["--skip-bad"]].concat())).contains("empty"));
}

/// 40 labeled images in batches of 16: with labels an epoch has a third, short batch, without them it
/// has not.
#[test]
fn supervised_epochs_end_with_a_short_batch() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    folders(&d.join("corpus"), false);
    let small = ["--set", "data.path=corpus", "--set", "data.crop=16", "--set", "network.patch=8"];
    let more = ["--set", "network.overlap=4", "--set", "train.batch=16", "--set", "train.checkpoint_every=2"];
    let epochs = ["--set", "train.steps=0", "--set", "train.epochs=2", "--set", "loss.prediction_steps=1"];
    let more = [&small[..], &more, &epochs].concat();
    let supervised = [&more[..], &["--set", "loss.target=classes"]].concat();
    ok(d, &train("whole", &supervised));
    let log = result(&d.join("whole")).1;
    let last =
        |log: &[String]| log.last().unwrap().split(',').take(2).map(|n| n.parse().unwrap()).collect::<Vec<u64>>();
    assert_eq!(last(&log), [6, 1], "steps, and the last one's epoch");
    ok(d, &train("threads", &[&supervised[..], &["--schedule", "pipelined", "--threads", "2"]].concat()));
    assert!(result(&d.join("threads")) == result(&d.join("whole")));
    ok(d, &train("resumed", &supervised));
    for step in ["step-00000004", "step-00000006"] {
        let _ = std::fs::remove_dir_all(d.join("resumed/checkpoints").join(step));
    }
    ok(d, &["train", "--resume", "resumed"]);
    assert!(result(&d.join("resumed")) == result(&d.join("whole")));

    // A run begun with epochs of two steps, as older versions made them.
    std::fs::remove_dir_all(d.join("resumed/checkpoints/step-00000006")).unwrap();
    let record = d.join("resumed/dataset.json");
    let text = std::fs::read_to_string(&record).unwrap();
    assert!(text.contains("\"epoch_steps\":3") || text.contains("\"epoch_steps\": 3"), "{text}");
    std::fs::write(
        &record,
        text.replace("\"epoch_steps\":3", "\"epoch_steps\":2").replace("\"epoch_steps\": 3", "\"epoch_steps\": 2"),
    )
    .unwrap();
    assert!(fails(d, &["train", "--resume", "resumed"]).contains("2 steps, not 3"));

    ok(d, &train("unlabeled", &more));
    assert_eq!(last(&result(&d.join("unlabeled")).1), [4, 1]);
}
