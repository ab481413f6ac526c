//! `gim report` on runs that belong to no comparison.

use std::fs;

use crate::common::{TINY_SPEECH, fails, ok, printed};

const SMALL: [&str; 6] = ["--set", "train.steps=4", "--set", "train.log_every=2", "--set", "train.checkpoint_every=4"];

#[test]
fn any_runs_have_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let train = |more: &[&str]| drop(ok(d, &[&TINY_SPEECH[..], &SMALL[..], more].concat()));
    train(&["--out", "runs/a"]);
    train(&["--out", "runs/b", "--seed", "2"]);
    train(&["--out", "c", "--set", "optimizer.lr=0.01"]);
    ok(d, &["probe", "runs/a", "--task", "speakers", "--protocol", "converged"]);
    fs::copy(d.join("runs/a/features.h5"), d.join("c/features.h5")).unwrap();
    // The same run under two names is one.
    let page = printed(d, &["report", "runs", "c", "runs/../runs/a", "--out", "page"]);
    assert_eq!(page.trim(), "page/report.html");
    let text = fs::read_to_string(d.join("page/README.md")).unwrap();
    assert!(text.starts_with("# 3 runs\n"), "{text}");
    assert!(text.contains("- Without probes: runs/b, c.") && !text.contains("Without losses"), "{text}");
    // Features of other weights are not shown for those of the run.
    assert!(text.contains("- Without figures of the features of c: c/features.h5"), "{text}");
    assert!(!d.join("page/c/figures/similarity.png").exists());
    assert!(text.contains("## Speaker accuracy (audio): linear probe to convergence"), "{text}");
    assert!(text.contains("| setting | a, b | c |"), "{text}");
    assert!(text.lines().any(|l| l.starts_with("| optimizer.lr |") && l.ends_with("| 0.01 |")), "{text}");
    assert!(!text.contains("train.seed") && !text.contains("paper held") && !text.contains("one seed, so"), "{text}");
    assert_eq!(text.lines().filter(|l| l.contains("gim --quiet train audio-quick")).count(), 3, "{text}");
    for figure in ["figures/loss-1.svg", "a/figures/loss.png", "a/figures/similarity.png", "c/figures/loss.png"] {
        assert!(d.join("page").join(figure).is_file(), "{figure}");
    }
    let html = fs::read_to_string(d.join("page/report.html")).unwrap();
    assert!(html.contains("Settings that differ") && !html.contains("://"));

    ok(d, &["report", "c", "--out", "one"]);
    let text = fs::read_to_string(d.join("one/README.md")).unwrap();
    assert!(text.starts_with("# c\n") && !text.contains("Settings that differ"), "{text}");
    assert!(fails(d, &["report", "page/figures", "--out", "two"]).contains("holds no run"));
}

#[test]
fn a_run_without_losses_has_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    ok(d, &[&TINY_SPEECH[..], &SMALL[..], &["--out", "a"]].concat());
    fs::create_dir(d.join("b")).unwrap();
    fs::copy(d.join("a/config.toml"), d.join("b/config.toml")).unwrap();
    ok(d, &["report", "b", "--out", "page"]);
    let text = fs::read_to_string(d.join("page/README.md")).unwrap();
    assert!(text.contains("- Without losses: b.") && text.contains("- Without probes: b."), "{text}");
}
