//! The memory of probes decides no result.

use std::path::Path;

use serde_json::Value;

use crate::common::{aloud, folders, ok};

/// Rows of a probe without its time, and what the program notes.
fn probe(d: &Path, args: &[&str]) -> (Vec<Value>, String) {
    let out = aloud(d, &[&["probe", "run", "--json"], args].concat()).output().unwrap();
    let notes = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{args:?}: {notes}");
    let mut rows: Vec<Value> = serde_json::from_slice(&out.stdout).unwrap();
    rows.iter_mut().for_each(|row| drop(row.as_object_mut().unwrap().remove("seconds")));
    (rows, notes)
}

/// All protocols and heads for a task, in memory on two threads and streamed on three: the first module
/// and its baselines, on some of the labels to save time.
fn no_difference(d: &Path, task: &str) {
    let views: &[&str] = if task == "phones" { &[] } else { &["--views", "2", "--test-views", "2"] };
    for protocol in [&["converged"][..], &["knn"], &["paper"], &["paper", "--head", "mlp"]] {
        let views = if protocol[0] == "paper" { views } else { &[] };
        let args = [&["--module", "1", "--labels", "0.3", "--task", task, "--protocol"], protocol, views].concat();
        let (want, silent) = probe(d, &[&args[..], &["--threads", "2"]].concat());
        assert!(want.len() > 2 && !silent.contains("in blocks"), "{silent}");
        let (got, notes) = probe(d, &[&args[..], &["--memory-mb", "0", "--threads", "3"]].concat());
        assert_eq!(got, want, "{args:?}");
        assert!(notes.contains("module_1") && notes.contains("in blocks"), "{notes}");
    }
    let (_, notes) = probe(d, &["--module", "1", "--task", task, "--memory-mb", "0", "--protocol", "knn", "--quiet"]);
    assert_eq!(notes, "");
}

fn train(d: &Path, preset: &str, settings: &[&str]) {
    let settings = settings.iter().chain(&["train.batch=4", "train.steps=2", "train.modules=1"]);
    let settings = settings.flat_map(|set| ["--set", set]);
    ok(d, &["train", preset, "--out", "run"].into_iter().chain(settings).collect::<Vec<_>>());
}

#[test]
fn streamed_probes_of_speech_give_the_same_rows() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    train(d, "audio-quick", &["network.width=16", "network.context=8"]);
    no_difference(d, "phones");
    no_difference(d, "speakers");
}

#[test]
fn streamed_probes_of_images_give_the_same_rows() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    folders(&d.join("images"), false);
    let network = ["network.widths=[4,8]", "network.blocks=[1,2]", "loss.prediction_steps=2"];
    train(d, "vision-quick", &[&network[..], &["data.crop=20", "data.path=images"]].concat());
    no_difference(d, "classes");
}
