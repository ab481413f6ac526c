//! What helps at the prompt: explanations, places of errors, completions, manual pages, `doctor`.

use crate::common::{fails, gim, printed};

#[test]
fn a_wrong_setting_is_shown_in_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let d = folder.path();
    for (text, what, line) in [
        ("[optimizer]\nlr = 200\n", "optimizer.lr: 200.0 is out of range", "2 | lr = 200"),
        (
            "[train]\nschedule = \"both\"\n",
            "train.schedule: `both` is none of its values (use one of: simultaneous",
            "2 | schedule = \"both\"",
        ),
        (
            "[train]\nseed = 9223372036854775808\n",
            "train.seed: 9223372036854775808 is out of range (use 0 to ",
            "2 | seed = 9223372036854775808",
        ),
        ("[train]\nbatsh = 3\n", "did you mean `train.batch`?", "2 | batsh = 3"),
        ("[train\n", "unclosed table", "1 | [train"),
    ] {
        std::fs::write(d.join("mine.toml"), text).unwrap();
        let said = fails(d, &["train", "mine.toml"]);
        assert!(said.contains(what) && said.contains(line) && said.contains("^"), "{said}");
    }
    // A value from the command line is in no file.
    let said = fails(d, &["train", "audio-quick", "--set", "optimizer.lr=200"]);
    assert!(said.contains("optimizer.lr") && !said.contains("^"), "{said}");
    assert!(fails(d, &["train", "audio-quik"]).contains("did you mean `audio-quick`?"));
    assert!(!fails(d, &["train", "zebra"]).contains("did you mean"));
}

#[test]
fn settings_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let d = folder.path();
    assert!(printed(d, &["config", "explain", "loss.negatives"]).contains("Number of negatives"));
    let commented = printed(d, &["config", "show", "vision-quick"]);
    let plain = printed(d, &["config", "show", "vision-quick", "--plain"]);
    assert!(commented.contains("# ") && !plain.contains("# "));
    let settings = |text: &str| text.parse::<toml::Table>().unwrap();
    assert_eq!(settings(&commented), settings(&plain));
}

#[test]
fn shells_and_manuals_know_every_verb() {
    let folder = tempfile::tempdir().unwrap();
    let d = folder.path();
    for shell in ["bash", "zsh", "fish"] {
        assert!(printed(d, &["completions", shell]).contains("reproduce"), "{shell}");
    }
    let written = printed(d, &["completions", "--man", "man"]);
    for page in ["gim.1", "gim-train.1", "gim-doctor.1"] {
        assert!(written.contains(page) && d.join("man").join(page).is_file(), "{page}: {written}");
    }
}

#[test]
fn doctor_says_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let out = gim(folder.path(), &["doctor", "--json"]).output().unwrap();
    assert!(out.status.success());
    let findings: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let names: Vec<_> = findings.as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    for name in ["processor", "memory", "disk", "HDF5", "speech", "images"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
}
