//! Validation on items that are held out of training.

use std::path::Path;

use crate::common::{fails, gim, ok, result};

const AUDIO: [&str; 13] = [
    "train",
    "audio-quick",
    "--set",
    "network.width=8",
    "--set",
    "network.context=8",
    "--set",
    "train.batch=6",
    "--set",
    "data.crop=5120",
    "--set",
    "train.steps=12",
    "--out",
];
const VISION: [&str; 9] = [
    "train",
    "vision-quick",
    "--set",
    "network.widths=[4,6,8]",
    "--set",
    "train.batch=8",
    "--set",
    "train.steps=12",
    "--out",
];
const OFTEN: [&str; 4] = ["--set", "train.log_every=4", "--set", "train.checkpoint_every=4"];
const VALIDATE: [&str; 4] = ["--set", "data.validate=0.1", "--set", "train.validate_every=5"];

fn train<'a>(preset: &[&'a str], out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [preset, &[out], &OFTEN, more].concat()
}

fn table(run: &Path, name: &str) -> String {
    std::fs::read_to_string(run.join(name)).unwrap()
}

/// (step, module) of the rows of a table.
fn rows(text: &str) -> Vec<(u64, usize)> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        assert!(cells[3].parse::<f64>().unwrap() > 0.0, "{line}");
        (cells[0].parse().unwrap(), cells[2].parse().unwrap())
    };
    text.lines().skip(1).map(row).collect()
}

#[test]
fn validation_measures_every_module_and_changes_no_weight() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for (preset, modules) in [(&AUDIO[..], 6), (&VISION[..], 3)] {
        let [often, once, resumed, without] =
            ["often", "once", "resumed", "without"].map(|n| format!("{}-{n}", preset[1]));
        ok(d, &train(preset, &often, &[&VALIDATE[..], &["--threads", "1"]].concat()));
        let text = table(&d.join(&often), "validation.csv");
        let want: Vec<_> = [5, 10, 12].iter().flat_map(|s| (1..=modules).map(move |m| (*s, m))).collect();
        assert_eq!(rows(&text), want);

        // Another thread count, and how often is measured, change neither weights nor losses.
        let more = ["--set", "train.validate_every=12", "--threads", "2"];
        ok(d, &train(preset, &once, &[&VALIDATE[..2], &more].concat()));
        let last = |text: &str| text.lines().filter(|l| l.starts_with("12,")).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(last(&table(&d.join(&once), "validation.csv")), last(&text));
        let weights = |run: &str| {
            let (mut files, log) = result(&d.join(run));
            // The first file, curves.json, holds the rows of validation.
            files.remove(0);
            (files, log)
        };
        assert!(weights(&once) == weights(&often));

        // A run that goes on from its first checkpoint gives the same rows.
        ok(d, &train(preset, &resumed, &VALIDATE));
        for step in ["step-00000008", "step-00000012"] {
            let _ = std::fs::remove_dir_all(d.join(&resumed).join("checkpoints").join(step));
        }
        std::fs::write(d.join(&resumed).join("validation.csv"), "step,epoch,module,loss,accuracy\n").unwrap();
        ok(d, &["train", "--resume", &resumed]);
        assert_eq!(table(&d.join(&resumed), "validation.csv"), text);
        assert!(result(&d.join(&resumed)) == result(&d.join(&often)));

        ok(d, &train(preset, &without, &[]));
        assert!(!d.join(&without).join("validation.csv").exists());
        assert!(weights(&without) != weights(&often), "held-out items are not trained on");
        let figures = ok(d, &["figures", &often]);
        assert!(figures.status.success() && d.join(&often).join("figures/loss.png").is_file());
    }
}

#[test]
fn the_iterative_schedule_validates_the_module_that_learns() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let steps = ["--set", "train.steps=4", "--schedule", "iterative", "--set", "train.validate_every=3"];
    ok(d, &train(&VISION, "run", &[&VALIDATE[..2], &steps].concat()));
    let text = table(&d.join("run"), "validation.csv");
    assert_eq!(rows(&text), [(3, 1), (4, 1), (6, 2), (8, 2), (9, 3), (12, 3)]);
}

/// Online probes give the same rows after a resume, and the weights of a run without them.
#[test]
fn online_probes_change_no_weight() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let probe = ["--set", "train.probe_every=5", "--set", "train.steps=12"];
    for (preset, tasks, modules) in [(&AUDIO[..], &["phones", "speakers"][..], 6), (&VISION[..], &["classes"], 3)] {
        let [with, without] = ["with", "without"].map(|n| format!("{}-{n}", preset[1]));
        ok(d, &train(preset, &with, &probe));
        ok(d, &train(preset, &without, &["--threads", "1"]));
        let weights = |run: &str| {
            let (mut files, log) = result(&d.join(run));
            files.remove(0);
            (files, log)
        };
        assert!(weights(&with) == weights(&without));
        assert!(!d.join(&without).join("online.csv").exists());
        let text = table(&d.join(&with), "online.csv");
        for task in tasks {
            let accuracy = |l: &str| l.rsplit_once(',').unwrap().1.parse::<f64>().unwrap();
            let rows: Vec<f64> = text.lines().filter(|l| l.contains(task)).map(accuracy).collect();
            assert_eq!(rows.len(), 3 * modules, "{text}");
            assert!(rows.iter().all(|a| (0.0..=1.0).contains(a)) && rows.iter().any(|a| *a > 0.1), "{text}");
        }
        for step in ["step-00000008", "step-00000012"] {
            let _ = std::fs::remove_dir_all(d.join(&with).join("checkpoints").join(step));
        }
        ok(d, &["train", "--resume", &with, "--threads", "1"]);
        assert_eq!(table(&d.join(&with), "online.csv"), text);
        ok(d, &["figures", &with]);
        assert!(d.join(&with).join("figures/online.png").is_file());
    }
}

/// Checkpoints are removed as if a run had been killed after its first one.
fn forget(run: &Path) {
    for step in ["step-00000008", "step-00000012"] {
        let _ = std::fs::remove_dir_all(run.join("checkpoints").join(step));
    }
    for (table, header) in
        [("validation.csv", "step,epoch,module,loss,accuracy\n"), ("online.csv", "step,module,task,accuracy\n")]
    {
        std::fs::write(run.join(table), header).unwrap();
    }
}

/// Everything that a run has learned and measured: checkpoints, and rows of its tables.
type All = (Vec<Vec<u8>>, Vec<String>, [String; 2]);

fn all_of(run: &Path) -> All {
    let (checkpoints, log) = result(run);
    (checkpoints, log, ["validation.csv", "online.csv"].map(|name| table(run, name)))
}

/// Groups on threads end where a measurement is due. Weights and rows are those of modules that take turns, also
/// where the automatic groups have not been measured yet, and after a resume.
#[test]
fn the_pipelined_schedule_measures_what_the_simultaneous_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let probe = [&VALIDATE[..], &["--set", "train.validate_every=3", "--set", "train.probe_every=7"]].concat();
    for (preset, groups) in
        [(&AUDIO[..], "train.groups=[[1],[2,3],[4,5,6]]"), (&VISION[..], "train.groups=[[1],[2,3]]")]
    {
        let [whole, named, auto, killed] = ["whole", "named", "auto", "killed"].map(|n| format!("{}-{n}", preset[1]));
        ok(d, &train(preset, &whole, &probe));
        let want = all_of(&d.join(&whole));
        let pipelined = [&probe[..], &["--schedule", "pipelined"]].concat();
        ok(d, &train(preset, &named, &[&pipelined[..], &["--set", groups, "--threads", "1"]].concat()));
        assert!(all_of(&d.join(&named)) == want, "{named}");
        ok(d, &train(preset, &auto, &[&pipelined[..], &["--threads", "2"]].concat()));
        assert!(all_of(&d.join(&auto)) == want, "{auto}");
        let schedule = table(&d.join(&named), "schedule.csv");
        assert!(schedule.lines().skip(1).all(|row| row.contains(",12,")), "all steps are counted: {schedule}");
        forget(&d.join(&named));
        ok(d, &["train", "--resume", &named]);
        assert!(all_of(&d.join(&named)) == want, "{named}, resumed");

        let mut child =
            gim(d, &train(preset, &killed, &[&pipelined[..], &["--set", groups]].concat())).spawn().unwrap();
        let first = d.join(&killed).join("checkpoints/step-00000004");
        while !first.exists() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        ok(d, &["train", "--resume", &killed]);
        assert!(all_of(&d.join(&killed)) == want, "{killed}");
    }
}

/// Where asynchronous training stops for measurements, its order is still all that decides.
#[test]
fn asynchronous_training_is_measured_and_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let live = [&VALIDATE[..], &["--set", "train.probe_every=7", "--schedule", "async"]].concat();
    ok(d, &train(&AUDIO, "live", &live));
    let again = [&live[..], &["--set", "train.order=live/order.csv", "--threads", "1"]].concat();
    ok(d, &train(&AUDIO, "again", &again));
    let want = all_of(&d.join("live"));
    assert!(all_of(&d.join("again")) == want);
    forget(&d.join("again"));
    ok(d, &["train", "--resume", "again"]);
    assert!(all_of(&d.join("again")) == want);
    // The order is enough, wherever the run has stopped.
    ok(d, &train(&AUDIO, "seldom", &[&again[..], &["--set", "train.validate_every=12"]].concat()));
    assert!(result(&d.join("seldom")).0[1..] == want.0[1..]);
}

#[test]
fn a_list_that_names_no_training_item_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    crate::common::folders(&d.join("images"), false);
    let small = ["--set", "data.path=images", "--set", "data.crop=16", "--set", "network.patch=8", "--set"];
    let rest = ["network.overlap=4", "--set", "loss.target=classes", "--set", "data.validate=list.txt"];
    let args = [&train(&VISION, "run", &small)[..], &rest].concat();
    std::fs::write(d.join("list.txt"), "no image\n").unwrap();
    let e = fails(d, &args);
    assert!(e.contains("list.txt") && e.contains("line 1") && e.contains("no image"), "{e}");
}
