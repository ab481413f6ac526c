//! Running the program, and what a run left.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::Path;
use std::process::{Command, Output};

pub(crate) fn gim(folder: &Path, args: &[&str]) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_gim"));
    c.current_dir(folder).env_remove("GIM_DATA").arg("--quiet").args(args);
    c
}

pub(crate) fn ok(folder: &Path, args: &[&str]) -> Output {
    let out = gim(folder, args).output().unwrap();
    assert!(out.status.success(), "gim {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    out
}

/// The error's text; it must be one line, with exit code 2.
pub(crate) fn fails(folder: &Path, args: &[&str]) -> String {
    let out = gim(folder, args).output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "gim {args:?}: {text}");
    assert_eq!(text.trim().lines().count(), 1, "{text}");
    assert!(text.starts_with("gim: "), "{text}");
    text
}

/// All checkpoints of the last step, as bytes, and the log without its times.
pub(crate) fn result(run: &Path) -> (Vec<Vec<u8>>, Vec<String>) {
    let mut steps: Vec<_> = std::fs::read_dir(run.join("checkpoints")).unwrap().map(|e| e.unwrap().path()).collect();
    steps.sort();
    let mut files: Vec<_> = std::fs::read_dir(steps.pop().unwrap()).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let log = std::fs::read_to_string(run.join("train.csv")).unwrap();
    let log = log.lines().map(|l| l.rsplit_once(',').unwrap().0.to_owned()).collect();
    (files.iter().map(|f| std::fs::read(f).unwrap()).collect(), log)
}
