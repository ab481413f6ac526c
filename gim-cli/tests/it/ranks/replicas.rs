//! Replicas of groups: ranks that share the arithmetic of a batch.

use std::time::{Duration, Instant};

use super::{AUDIO, VISION, assert_goes_on, begin, mpirun, ok_on, process_of, said, signal, train};
use crate::common::{ok, result};

/// Several groups of chunks in the lower modules, so that all replicas have outputs to compute.
const PATCHES: [&str; 4] = ["vision-quick", "network.widths=[32,8,8]", "train.batch=16", "data.cache_mb=8"];

#[test]
fn replicas_give_the_bits_of_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let steps = "train.steps=8";
    // Negatives from the whole batch, and from the share that a replica has where batches are cut.
    for (settings, name, negatives) in [
        (&AUDIO[..], "audio", "loss.infonce.negative_shares=1"),
        (&AUDIO[..], "audio-shares", "loss.infonce.negative_shares=2"),
        (&VISION[..], "vision", "loss.infonce.negative_shares=1"),
        (&PATCHES[..], "patches", "loss.infonce.negative_shares=2"),
    ] {
        let whole = format!("{name}-whole");
        ok(d, &train(settings, steps, &whole, &[negatives]));
        let above = if settings[0] == AUDIO[0] { "train.groups=[[1],[2,3,4,5,6]]" } else { "train.groups=[[1],[2,3]]" };
        for (i, (ranks, more)) in [
            (2, &["train.replicas=2"][..]),
            (3, &["train.replicas=[1,2]", "train.link_depth=3"]),
            (3, &["train.replicas=[2,1]", above]),
            (4, &["train.replicas=2", "train.schedule=pipelined"]),
        ]
        .into_iter()
        .enumerate()
        {
            let run = format!("{name}-{i}");
            ok_on(d, ranks, &train(settings, steps, &run, &[more, &[negatives]].concat()));
            assert!(result(&d.join(&run)) == result(&d.join(&whole)), "{run} on {ranks} ranks");
        }
    }
    let schedule = std::fs::read_to_string(d.join("audio-1/schedule.csv")).unwrap();
    let groups: Vec<_> = schedule.lines().skip(1).filter_map(|row| row.split(',').nth(1)).collect();
    assert_eq!(groups.len(), 6, "a row a module: {schedule}");
    assert_eq!((groups[0], groups[5]), ("1", "2"), "{schedule}");
}

#[test]
fn a_lost_replica_ends_the_run_and_one_process_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let (steps, more) = ("train.steps=300", ["train.stall_seconds=3", "train.replicas=2"]);
    ok(d, &train(&AUDIO, steps, "whole", &[]));

    let mut killed = begin(d, 4, &train(&AUDIO, steps, "killed", &more), "killed");
    signal("-KILL", &process_of(3, "killed"));
    let begun = Instant::now();
    assert!(!killed.wait().unwrap().success());
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_goes_on(d, 1, "killed", "whole");

    // The other replica of the same group, and the group below.
    let stopped = begin(d, 3, &train(&AUDIO, steps, "stopped", &[more[0], "train.replicas=[1,2]"]), "stopped");
    signal("-STOP", &process_of(2, "stopped"));
    let begun = Instant::now();
    let out = stopped.wait_with_output().unwrap();
    let (took, text) = (begun.elapsed(), said(&out));
    assert!(!out.status.success() && took < Duration::from_secs(30), "{took:?}: {text}");
    let complaint = text.lines().find(|line| line.starts_with("gim: rank 1 (module"));
    let complaint = complaint.unwrap_or_else(|| panic!("{text}"));
    assert!(complaint.contains("waits for the part of rank 2 (module"), "{complaint}");
    assert!(complaint.contains("replica 2 of 2), which has been silent"), "{complaint}");
    assert_goes_on(d, 3, "stopped", "whole");

    let asked = begin(d, 2, &train(&AUDIO, steps, "asked", &more), "asked");
    signal("-TERM", &process_of(1, "asked"));
    let out = asked.wait_with_output().unwrap();
    assert!(said(&out).contains("interrupted after step"), "{}", said(&out));
    assert_goes_on(d, 4, "asked", "whole");
}

#[test]
fn replicas_that_cannot_be_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let fails = |more: &[&str], ranks, what: &str| {
        let out = mpirun(d, ranks, &train(&VISION, "train.steps=600", "wrong", more)).output().unwrap();
        let text = said(&out);
        let told = text.lines().filter(|line| line.starts_with("gim: ")).count();
        assert!(!out.status.success() && told == 1 && text.contains(what), "{text}");
    };
    fails(&["train.replicas=2"], 3, "3 ranks cannot be cut into such groups");
    fails(&["train.replicas=[1,1]"], 3, "[1, 1] are 2 replicas in all, but there are 3 ranks");
    fails(&["train.replicas=2"], 1, "replicas are ranks, and this is one process");
    fails(&["train.replicas=2", "train.schedule=iterative"], 2, "train.replicas");
    fails(&["train.replicas=0"], 2, "train.replicas");
    fails(
        &["train.replicas=2", "train.groups=[[1],[2,3]]"],
        2,
        "2 groups for 2 ranks, which train.replicas makes 1 groups",
    );
    assert!(!d.join("wrong").exists(), "a run that cannot start leaves nothing");
    fails(&["train.replicas=2", "optimizer.lr=100"], 2, "diverged at step");
}
