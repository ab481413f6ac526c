//! Signals while there is nothing to save: the program ends at once and leaves nothing half-written.
#![cfg(target_os = "linux")]

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::common::{gim, ok, wav};

/// O_NONBLOCK: opening a pipe to write fails as long as nobody reads it.
const NONBLOCK: i32 = 0o4000;
const TRAIN: [&str; 16] = [
    "--threads",
    "1",
    "train",
    "audio-quick",
    "--out",
    "run",
    "--set",
    "data.path=speech",
    "--set",
    "data.crop=5120",
    "--set",
    "network.width=32",
    "--set",
    "train.steps=4",
    "--set",
    "train.batch=2",
];

/// `n` utterances of 4 s of noise.
fn speech(root: &Path, n: u32) {
    fs::create_dir_all(root).unwrap();
    for k in 0..n {
        let noise = |i: u32| ((i + k).wrapping_mul(0x9E37_79B9) >> 16).to_le_bytes()[..2].to_vec();
        let samples: Vec<u8> = (0..64_000).flat_map(noise).collect();
        fs::write(root.join(format!("{}-1-{k:04}.wav", k % 3)), wav(16_000, &samples)).unwrap();
    }
}

/// Ends the program by a signal; how it ended, and after how long.
fn end(mut child: Child, signal: &str) -> (ExitStatus, Duration) {
    let begun = Instant::now();
    let kill = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let status = child.wait().unwrap();
    (status, begun.elapsed())
}

/// Starts the program, and waits until it reads the pipe that it takes for a file.
fn reading(folder: &Path, args: &[&str], pipe: &Path) -> (Child, File) {
    let mut child = gim(folder, args).spawn().unwrap();
    loop {
        if let Ok(held) = OpenOptions::new().write(true).custom_flags(NONBLOCK).open(pipe) {
            return (child, held);
        }
        assert!(child.try_wait().unwrap().is_none(), "it ended without reading the pipe");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A split file that never ends: opening the corpus waits for it.
#[test]
fn signals_while_a_corpus_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    speech(&d.join("speech"), 12);
    let pipe = d.join("speech/train_split.txt");
    let make = || assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    make();
    for signal in ["-INT", "-TERM", "-HUP"] {
        let (child, _held) = reading(d, &TRAIN, &pipe);
        let (status, time) = end(child, signal);
        assert_eq!(status.code(), Some(130), "{signal}: {status}");
        assert!(time < Duration::from_secs(3), "{signal}: {time:?}");
        let _ = fs::remove_dir_all(d.join("run"));
    }
    // The folder that is made for a run goes when there is no run.
    let unnamed: Vec<&str> = TRAIN.iter().copied().filter(|arg| !["--out", "run"].contains(arg)).collect();
    let (child, _held) = reading(d, &unnamed, &pipe);
    assert!(d.join("runs/audio-quick-1").is_dir());
    assert_eq!(end(child, "-INT").0.code(), Some(130));
    assert_eq!(fs::read_dir(d.join("runs")).unwrap().count(), 0);
    fs::remove_file(&pipe).unwrap();
    ok(d, &TRAIN);
    make();
    let (child, _held) = reading(d, &["extract", "run"], &pipe);
    let (status, time) = end(child, "-TERM");
    assert!(!status.success() && time < Duration::from_secs(3), "{status}, {time:?}");
    fs::remove_file(&pipe).unwrap();
    ok(d, &["extract", "run"]);
}

/// The unfinished feature file goes, and the run stays as it was.
#[test]
fn signals_while_features_are_extracted() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    speech(&d.join("speech"), 150);
    ok(d, &TRAIN);
    let unfinished = d.join("run/.features.h5.tmp");
    for signal in ["-INT", "-TERM", "-HUP"] {
        let mut child = gim(d, &["--threads", "1", "extract", "run"]).spawn().unwrap();
        while !unfinished.is_file() {
            assert!(child.try_wait().unwrap().is_none(), "it ended too early");
            std::thread::sleep(Duration::from_millis(1));
        }
        let (status, time) = end(child, signal);
        assert_eq!(status.code(), Some(130), "{signal}: {status}");
        assert!(time < Duration::from_secs(3), "{signal}: {time:?}");
        assert!(!unfinished.exists() && !d.join("run/features.h5").exists(), "{signal}");
    }
    ok(d, &["extract", "run"]);
}
