//! Features and probes of one module at a time.

use std::fs;

use gim_eval::FeatureFile;

use crate::common::{TINY_SPEECH, aloud, fails, ok, wav};

const STEPS: [&str; 2] = ["--set", "train.steps=2"];

#[test]
fn one_module_has_the_features_that_it_has_among_all() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    ok(d, &[&TINY_SPEECH[..], &STEPS[..], &["--out", "run"]].concat());
    ok(d, &["extract", "run", "--out", "all.h5"]);
    // A module in the middle, and the last with its context network.
    for module in [2, 6] {
        let k = module.to_string();
        ok(d, &["extract", "run", "--module", &k, "--out", "one.h5"]);
        let (all, one) = (FeatureFile::open(d.join("all.h5")).unwrap(), FeatureFile::open(d.join("one.h5")).unwrap());
        assert_eq!((all.provenance().module, one.provenance().module), (None, Some(module)));
        let names: Vec<&str> = one.groups().collect();
        assert_eq!(names.len(), 3, "{names:?}");
        for name in [format!("module_{k}"), format!("random_{k}"), "baseline_mfcc".into()] {
            assert_eq!(one.read_means(&name).unwrap(), all.read_means(&name).unwrap(), "{name}");
        }
        // Of files, without baselines.
        fs::write(d.join("a.wav"), wav(16_000, &[7, 1, 200, 9].repeat(8000))).unwrap();
        let mut said = aloud(d, &["extract", "run", "--input", "a.wav", "--module", &k, "--out", "file.h5"]);
        let said = String::from_utf8(said.env("NO_COLOR", "1").output().unwrap().stderr).unwrap();
        assert!(said.contains(&format!("features: module {k} of 8 dimensions")), "{said}");
        let file = FeatureFile::open(d.join("file.h5")).unwrap();
        assert_eq!(file.groups().collect::<Vec<_>>(), [format!("module_{k}")]);
    }
    let e = fails(d, &["extract", "run", "--module", "7", "--out", "one.h5"]);
    assert!(e.contains("no module 7") && e.contains("1 to 6"), "{e}");

    // A probe of a module stores that module alone; one of all makes the file anew, and says so.
    let probe = |more: &[&str]| {
        let args = [&["probe", "run", "--task", "speakers", "--protocol", "knn", "--json"], more].concat();
        let out = aloud(d, &args).output().unwrap();
        assert!(out.status.success());
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&out.stdout).unwrap();
        (rows.len(), String::from_utf8(out.stderr).unwrap())
    };
    assert_eq!(probe(&["--module", "2"]).0, 3);
    assert_eq!(FeatureFile::open(d.join("run/features.h5")).unwrap().provenance().module, Some(2));
    let (rows, notes) = probe(&[]);
    assert!(rows == 13 && notes.contains("holds module 2 alone"), "{rows}: {notes}");
    let (rows, notes) = probe(&["--module", "3"]);
    assert!(rows == 3 && !notes.contains("made anew"), "{notes}");
}

#[test]
fn a_comparison_by_module_has_the_same_rows() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let set = TINY_SPEECH[2..].chunks(2).map(|s| format!("{:?}, ", s[1])).collect::<String>();
    let run = |name: &str, more: &str| {
        format!(
            "[[run]]\nname = \"{name}\"\npreset = \"audio-quick\"\ntitle = \"{name}\"\ntasks = [\"speakers\"]\nset = \
             [{set}\"train.steps=2\", \"train.modules=2\"]\n{more}"
        )
    };
    let list = [run("audio/a", ""), run("audio/b", "baselines = \"audio/a\"\n")].concat();
    fs::write(d.join("list.toml"), format!("seeds = 1\nviews = 2\nlabel_shares = []\n{list}")).unwrap();
    ok(d, &["reproduce", "list.toml", "--out", "all"]);
    ok(d, &["reproduce", "list.toml", "--out", "each", "--set", "probe.by_module=true"]);
    let rows = |out: &str, run: &str| {
        let text = fs::read_to_string(d.join(format!("{out}/audio/{run}/seed-1/probe.csv"))).unwrap();
        let head: Vec<&str> = text.lines().next().unwrap().split(',').collect();
        let time = head.iter().position(|name| *name == "seconds").unwrap();
        let mut rows: Vec<String> = text
            .lines()
            .map(|l| {
                let mut cells: Vec<&str> = l.split(',').collect();
                cells.remove(time);
                cells.join(",")
            })
            .collect();
        rows.sort();
        rows
    };
    for run in ["a", "b"] {
        let (all, each) = (rows("all", run), rows("each", run));
        // Two protocols of two modules, two random ones and the input, and the head.
        assert_eq!(all.len(), 11, "{all:?}");
        assert_eq!(all, each);
        assert!(!d.join(format!("each/audio/{run}/seed-1/features.h5")).exists());
    }
}
