//! Modules on several processes: the same results as in one. Needs `mpirun`.

mod replicas;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::{gim, ok, result};

const AUDIO: [&str; 4] = ["audio-quick", "network.width=16", "network.context=8", "train.batch=4"];
const VISION: [&str; 4] = ["vision-quick", "network.widths=[4,6,8]", "train.batch=8", "data.cache_mb=8"];
const SUPERVISED: [&str; 5] =
    ["vision-quick", "network.widths=[4,6,8]", "train.batch=8", "data.cache_mb=8", "loss.target=classes"];

/// `gim train` of a preset with settings into a folder.
fn train<'a>(settings: &[&'a str], steps: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["train", settings[0], "--out", out];
    let often = ["train.log_every=2", "train.checkpoint_every=4", steps];
    for setting in settings[1..].iter().chain(&often).chain(more) {
        args.extend(["--set", setting]);
    }
    args
}

/// The program on so many ranks. `mpirun` hands SIGTERM on after 2 s, and kills after 2 more.
fn mpirun(folder: &Path, ranks: usize, args: &[&str]) -> Command {
    let alone = gim(folder, args);
    let mut c = Command::new("mpirun");
    c.current_dir(folder).args(["--oversubscribe", "--bind-to", "none", "-n", &ranks.to_string()]);
    c.args(["--mca", "odls_base_sigkill_timeout", "2"]);
    if Command::new("id").arg("-u").output().unwrap().stdout == b"0\n" {
        c.arg("--allow-run-as-root");
    }
    c.arg(alone.get_program()).args(["--threads", "1"]).args(alone.get_args());
    for (name, _) in alone.get_envs() {
        c.env_remove(name);
    }
    c.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    c
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

fn ok_on(folder: &Path, ranks: usize, args: &[&str]) {
    let out = mpirun(folder, ranks, args).output().unwrap();
    assert!(out.status.success(), "{ranks} ranks, {args:?}: {}", said(&out));
}

/// Starts ranks, and waits until the run has a checkpoint.
fn begin(folder: &Path, ranks: usize, args: &[&str], run: &str) -> Child {
    let mut child = mpirun(folder, ranks, args).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while !folder.join(run).join("checkpoints/step-00000004").exists() && Instant::now() < deadline {
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

/// The process of a rank that trains into folder `run`.
fn process_of(rank: usize, run: &str) -> String {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let read = |file: &str| std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        let (words, env) = (read("cmdline"), read("environ"));
        let is_gim = words.split('\0').next().is_some_and(|program| program.ends_with("/gim"));
        if is_gim
            && words.split('\0').any(|w| w == run)
            && env.split('\0').any(|v| v == format!("OMPI_COMM_WORLD_RANK={rank}"))
        {
            return entry.file_name().to_string_lossy().into_owned();
        }
    }
    panic!("no rank {rank} trains {run}");
}

fn signal(name: &str, process: &str) {
    assert!(Command::new("kill").args([name, process]).status().unwrap().success());
}

/// What is left must train on with the bits of a run that nobody disturbed.
fn assert_goes_on(folder: &Path, ranks: usize, run: &str, whole: &str) {
    match ranks {
        1 => drop(ok(folder, &["train", "--resume", run])),
        _ => ok_on(folder, ranks, &["train", "--resume", run]),
    }
    assert!(result(&folder.join(run)) == result(&folder.join(whole)), "{run} on {ranks} ranks");
}

#[test]
fn ranks_give_the_bits_of_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let steps = "train.steps=14";
    for (settings, name) in [(&AUDIO[..], "audio"), (&VISION[..], "vision"), (&SUPERVISED[..], "supervised")] {
        let [whole, two, three] = ["whole", "two", "three"].map(|n| format!("{name}-{n}"));
        ok(d, &train(settings, steps, &whole, &[]));
        ok_on(d, 2, &train(settings, steps, &two, &[]));
        ok_on(d, 3, &train(settings, steps, &three, &["train.link_depth=3", "train.schedule=pipelined"]));
        for run in [&two, &three] {
            assert!(result(&d.join(run)) == result(&d.join(&whole)), "{run}");
        }
        let schedule = std::fs::read_to_string(d.join(&three).join("schedule.csv")).unwrap();
        assert!(schedule.lines().skip(1).any(|row| row.split(',').nth(1) == Some("3")), "{schedule}");
    }
}

#[test]
fn a_lost_rank_ends_the_run_and_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let (steps, stall) = ("train.steps=400", "train.stall_seconds=3");
    ok(d, &train(&AUDIO, steps, "whole", &[]));

    let mut killed = begin(d, 3, &train(&AUDIO, steps, "killed", &[stall]), "killed");
    signal("-KILL", &process_of(1, "killed"));
    let begun = Instant::now();
    assert!(!killed.wait().unwrap().success());
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_goes_on(d, 2, "killed", "whole");

    let stopped = begin(d, 3, &train(&AUDIO, steps, "stopped", &[stall]), "stopped");
    signal("-STOP", &process_of(1, "stopped"));
    let begun = Instant::now();
    let out = stopped.wait_with_output().unwrap();
    let (took, text) = (begun.elapsed(), said(&out));
    assert!(!out.status.success() && took < Duration::from_secs(30), "{took:?}: {text}");
    for survivor in ["rank 0 (module", "rank 2 (module"] {
        let complaint = text.lines().find(|line| line.starts_with(&format!("gim: {survivor}")));
        let complaint = complaint.unwrap_or_else(|| panic!("{survivor}: {text}"));
        assert!(complaint.contains("waits for") && complaint.contains("rank 1 (module"), "{complaint}");
    }
    assert_goes_on(d, 1, "stopped", "whole");
}

/// A clock that is always over: every rank saves the state that rank 0 has decided on.
#[test]
fn ranks_save_by_the_clock_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let (steps, seldom) = ("train.steps=400", ["train.snapshots=[]", "train.checkpoint_minutes=1e-9"]);
    let train = |out| [train(&AUDIO, steps, out, &seldom), vec!["--set", "train.checkpoint_every=400"]].concat();
    ok(d, &train("whole"));
    let mut killed = mpirun(d, 3, &train("killed")).spawn().unwrap();
    let by_clock = || {
        std::fs::read_dir(d.join("killed/checkpoints")).is_ok_and(|mut all| {
            all.any(|e| e.is_ok_and(|e| e.path().extension().is_none() && !e.path().ends_with("step-00000400")))
        })
    };
    while !by_clock() {
        assert!(killed.try_wait().unwrap().is_none(), "no checkpoint came by the clock");
        std::thread::sleep(Duration::from_micros(200));
    }
    signal("-KILL", &process_of(2, "killed"));
    assert!(!killed.wait().unwrap().success());
    assert!(by_clock(), "what was saved is gone");
    assert_goes_on(d, 2, "killed", "whole");
    assert!(!by_clock(), "the last checkpoint removes those of the clock");
}

#[test]
fn signals_save_and_errors_are_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let steps = "train.steps=600";
    ok(d, &train(&AUDIO, steps, "whole", &[]));
    let ended = begin(d, 2, &train(&AUDIO, steps, "ended", &[]), "ended");
    signal("-TERM", &ended.id().to_string());
    let out = ended.wait_with_output().unwrap();
    let text = said(&out);
    // mpirun no longer passes on what rank 0 says after it has saved.
    assert!(!out.status.success() && text.contains("saving"), "{text}");
    assert_goes_on(d, 3, "ended", "whole");

    // One process was asked, the others follow.
    let asked = begin(d, 2, &train(&AUDIO, steps, "asked", &[]), "asked");
    signal("-TERM", &process_of(1, "asked"));
    let out = asked.wait_with_output().unwrap();
    assert!(said(&out).contains("interrupted after step"), "{}", said(&out));
    assert_goes_on(d, 1, "asked", "whole");

    let fails = |args: &[&str], ranks, what: &str| {
        let out = mpirun(d, ranks, args).output().unwrap();
        let text = said(&out);
        let told = text.lines().filter(|line| line.starts_with("gim: ")).count();
        assert!(!out.status.success() && told == 1 && text.contains(what), "{text}");
    };
    fails(&train(&AUDIO, steps, "diverged", &["optimizer.lr=100"]), 2, "diverged at step");
    fails(&train(&AUDIO, steps, "wrong", &["train.schedule=async"]), 2, "train.schedule");
    fails(&train(&VISION, steps, "wrong", &[]), 4, "start at most 3");
    fails(&train(&VISION, steps, "wrong", &["train.groups=[[1,2,3]]"]), 2, "1 groups for 2 ranks");
    assert!(!d.join("wrong").exists(), "a run that cannot start leaves nothing");
}
