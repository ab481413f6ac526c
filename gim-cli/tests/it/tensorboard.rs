//! Event files for TensorBoard: they repeat the tables, and change no bit of a result.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use prost::Message;

use crate::common::{TINY_SPEECH, ok, python, result};

const SMALL: [&str; 9] = [
    "--set",
    "train.steps=6",
    "--set",
    "train.log_every=2",
    "--set",
    "train.checkpoint_every=2",
    "--set",
    "train.snapshots=[]",
    "--out",
];
const MODULES: usize = 6;

/// The fields of `event.proto` and `summary.proto` that tests read, written down apart from the program's.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(bytes = "vec", optional, tag = "4")]
    image: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "8")]
    tensor: Option<Vec<u8>>,
}

/// The events of a file, whose checksums must hold.
fn events(file: &Path) -> Vec<Event> {
    let bytes = fs::read(file).unwrap();
    let mut rest = &bytes[..];
    let take = |rest: &mut &[u8], n: usize| {
        let (head, tail) = rest.split_at(n);
        *rest = tail;
        head.to_vec()
    };
    let crc = |bytes: &[u8]| crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    let mut out = Vec::new();
    while !rest.is_empty() {
        let length = take(&mut rest, 8);
        assert_eq!(take(&mut rest, 4), crc(&length));
        let data = take(&mut rest, u64::from_le_bytes(length.try_into().unwrap()) as usize);
        assert_eq!(take(&mut rest, 4), crc(&data));
        out.push(Event::decode(&data[..]).unwrap());
    }
    assert_eq!(out[0].file_version.as_deref(), Some("brain.Event:2"));
    assert!(out.iter().all(|e| e.wall_time > 1.7e9));
    out
}

/// (tag, step) → value.
type Curves = BTreeMap<(String, i64), f32>;

/// The scalars of all event files of a run, as TensorBoard shows them: a start takes what is behind it.
fn scalars(run: &Path) -> Curves {
    let mut files: Vec<_> = fs::read_dir(run.join("tensorboard")).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|file| file.is_file());
    files.sort();
    let mut out = Curves::new();
    for event in files.iter().flat_map(|file| events(file)) {
        if event.session_log.is_some_and(|log| log.status == 1) {
            out.retain(|(_, step), _| *step < event.step);
        }
        for value in event.summary.into_iter().flat_map(|s| s.value) {
            if let Some(x) = value.simple_value {
                assert_eq!(out.insert((value.tag, event.step), x), None, "a step appears twice");
            }
        }
    }
    out
}

/// The losses and accuracies of a table, by what curves are called.
fn of_table(run: &Path, table: &str, prefix: &str) -> Curves {
    let text = fs::read_to_string(run.join(table)).unwrap();
    let mut out = Curves::new();
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let (step, module) = (cells[0].parse().unwrap(), cells[2]);
        for (kind, cell) in [("loss", cells[3]), ("accuracy", cells[4])] {
            out.insert((format!("{prefix}{kind}/module_{module}"), step), cell.parse().unwrap());
        }
    }
    out
}

/// Whether all `expected` values are there, to the digits of the tables, and no others of these tags.
fn assert_holds(shown: &Curves, expected: &Curves) {
    let kinds: Vec<&str> = expected.keys().map(|(tag, _)| tag.split('/').next().unwrap()).collect();
    let same = shown.iter().filter(|((tag, _), _)| kinds.contains(&tag.split('/').next().unwrap()));
    assert_eq!(same.clone().map(|s| s.0).collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    assert!(!expected.is_empty());
    for ((key, shown), expected) in same.zip(expected.values()) {
        assert!((shown - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{key:?}: {shown}, not {expected}");
    }
}

fn of_kind(curves: &Curves, kind: &str) -> Curves {
    curves.iter().filter(|((tag, _), _)| tag.starts_with(kind)).map(|(k, v)| (k.clone(), *v)).collect()
}

#[test]
fn event_files_repeat_the_tables_and_change_no_bit() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let measured = ["--set", "data.validate=0.1", "--set", "train.validate_every=3", "--set", "train.probe_every=3"];
    ok(d, &[&TINY_SPEECH[..], &SMALL[..], &["with", "--tensorboard"], &measured[..]].concat());
    ok(d, &[&TINY_SPEECH[..], &SMALL[..], &["without"], &measured[..]].concat());
    assert!(result(&d.join("with")) == result(&d.join("without")) && !d.join("without/tensorboard").exists());
    let shown = scalars(&d.join("with"));
    assert_holds(&shown, &of_table(&d.join("with"), "train.csv", ""));
    assert_holds(&shown, &of_table(&d.join("with"), "validation.csv", "validation_"));
    let online = fs::read_to_string(d.join("with/online.csv")).unwrap();
    assert_eq!(of_kind(&shown, "probe_accuracy/").len(), online.lines().count() - 1);
    let norms = of_kind(&shown, "gradient_norm/");
    assert!(norms.len() == 3 * MODULES && norms.values().all(|n| n.is_finite() && *n > 0.0), "{norms:?}");
    for (kind, n) in [("progress/epoch", 3), ("progress/seconds", 3), ("progress/steps_per_second", 2)] {
        assert_eq!(of_kind(&shown, kind).len(), n, "{kind}");
    }
    let file = fs::read_dir(d.join("with/tensorboard")).unwrap().next().unwrap().unwrap().path();
    let values = events(&file).into_iter().flat_map(|e| e.summary).flat_map(|s| s.value);
    let tensors: Vec<String> = values.filter(|v| v.tensor.is_some()).map(|v| v.tag).collect();
    assert_eq!(tensors, ["_hparams_/session_start_info", "configuration", "_hparams_/session_end_info"]);

    // Other schedules measure the same.
    ok(d, &[&TINY_SPEECH[..], &SMALL[..], &["threads", "--tensorboard", "--schedule", "pipelined"]].concat());
    ok(d, &[&TINY_SPEECH[..], &SMALL[..], &["turns", "--tensorboard"]].concat());
    let of = |run: &str| of_kind(&scalars(&d.join(run)), "gradient_norm/");
    assert_eq!(of("threads"), of("turns"));

    // Figures are a run of their own to TensorBoard.
    ok(d, &["figures", "with"]);
    let file = fs::read_dir(d.join("with/tensorboard/figures")).unwrap().next().unwrap().unwrap().path();
    let values: Vec<Value> = events(&file).into_iter().flat_map(|e| e.summary).flat_map(|s| s.value).collect();
    assert!(values.iter().any(|v| v.tag == "loss" && v.image.is_some()), "{values:?}");
}

#[test]
fn a_step_that_is_done_again_appears_once() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    ok(d, &[&TINY_SPEECH[..], &SMALL[..], &["run", "--tensorboard"]].concat());
    let (run, whole) = (d.join("run"), scalars(&d.join("run")));
    // The run comes to its end again, as after a kill at step 6: once from step 4 on, once from the start.
    for gone in [&["step-00000006"][..], &["step-00000004", "step-00000006"]] {
        gone.iter().for_each(|step| fs::remove_dir_all(run.join("checkpoints").join(step)).unwrap());
        ok(d, &["train", "--resume", "run"]);
        let shown = scalars(&run);
        assert_holds(&shown, &of_table(&run, "train.csv", ""));
        assert_eq!(of_kind(&shown, "gradient_norm/"), of_kind(&whole, "gradient_norm/"));
    }
    assert_eq!(fs::read_dir(run.join("tensorboard")).unwrap().count(), 3);
}

#[test]
fn a_run_that_asks_later_has_all_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    ok(d, &[&TINY_SPEECH[..], &SMALL[..], &["run"]].concat());
    fs::remove_dir_all(d.join("run/checkpoints/step-00000006")).unwrap();
    ok(d, &["train", "--resume", "run", "--tensorboard"]);
    let shown = scalars(&d.join("run"));
    assert_holds(&shown, &of_table(&d.join("run"), "train.csv", ""));
    assert_eq!(of_kind(&shown, "gradient_norm/").len(), MODULES);
    assert!(fs::read_to_string(d.join("run/config.toml")).unwrap().contains("tensorboard = true"));
}

/// Prints how many scalars, images and runs TensorBoard finds, and the losses of the first module.
const READ: &str = "
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
run = EventAccumulator('run/tensorboard'); run.Reload()
print(','.join(sorted(run.Tags()['scalars'])))
print(','.join(f'{s.step}:{s.value:.5f}' for s in run.Scalars('loss/module_1')))
start = metadata.parse_session_start_info_plugin_data(
    run.SummaryMetadata('_hparams_/session_start_info').plugin_data.content)
print(start.hparams['train.steps'].number_value, start.hparams['train.schedule'].string_value)
metadata.parse_session_end_info_plugin_data(run.SummaryMetadata('_hparams_/session_end_info').plugin_data.content)
print(run.Tensors('configuration')[0].tensor_proto.string_val[0].decode().splitlines()[0])
figures = EventAccumulator('run/tensorboard/figures'); figures.Reload()
print(','.join(sorted(figures.Tags()['images'])))
";

/// TensorBoard itself reads the files.
#[test]
fn tensorboard_reads_the_files() {
    let Some(mut python) = python(&["tensorboard"]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    ok(d, &[&TINY_SPEECH[..], &SMALL[..], &["run", "--tensorboard"]].concat());
    fs::remove_dir_all(d.join("run/checkpoints/step-00000006")).unwrap();
    ok(d, &["train", "--resume", "run"]);
    ok(d, &["figures", "run"]);
    let out = python.current_dir(d).args(["-c", READ]).output().unwrap();
    let (text, error) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}{error}");
    assert!(lines[0].contains("accuracy/module_6,gradient_norm/module_1"), "{text}");
    let table = fs::read_to_string(d.join("run/train.csv")).unwrap();
    let first = table.lines().map(|l| l.split(',').collect::<Vec<_>>()).filter(|cells| cells[2] == "1");
    let losses: Vec<String> = first.map(|c| format!("{}:{:.5}", c[0], c[3].parse::<f64>().unwrap())).collect();
    assert_eq!(lines[1], losses.join(","), "{text}");
    assert_eq!(lines[2..], ["6.0 simultaneous", "```toml", "architecture,loss"], "{text}");
}
