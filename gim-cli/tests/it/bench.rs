//! The benchmark on tiny sizes: its files and columns, and other programs that answer, fail or are
//! missing.

use std::path::Path;

use crate::common::{fails, ok};

fn bench(root: &Path, args: &[&str]) {
    ok(root, &[&["bench", "--quick"], args].concat());
}

/// The rows of a table, as values by column.
fn rows(file: &Path) -> Vec<std::collections::BTreeMap<String, String>> {
    let mut table = csv::Reader::from_path(file).unwrap();
    table.deserialize().map(|r| r.unwrap()).collect()
}

#[test]
fn a_quick_benchmark_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    bench(root, &["--out", "out", "--threads", "2"]);
    let out = root.join("out");
    let table = rows(&out.join("bench.csv"));
    let head = std::fs::read_to_string(out.join("bench.csv")).unwrap();
    assert_eq!(
        head.lines().next().unwrap(),
        "name,program,work,x,threads,runs,seconds,seconds_min,seconds_max,peak_mb,held_mb,gflop,gflop_per_second,\
         peak_gflop_per_second,limit_seconds,of_limit,objective,times,command"
    );
    let names: Vec<&str> = table.iter().map(|r| r["name"].as_str()).collect();
    for name in [
        "step/audio-gim",
        "step/audio-cpc",
        "step/vision-gim",
        "step/audio-gim-low-memory",
        "step/vision-gim-low-memory",
        "features/audio",
        "features/vision",
        "small/audio",
        "small/vision",
        "probe/converged",
        "scaling/audio-paper/1",
        "scaling/audio-paper/2",
        "scaling/vision-small/2",
        "growth/audio-batch/2",
        "growth/audio-length/10240",
        "growth/audio-width/64",
        "growth/audio-negatives/5",
        "growth/audio-modules/3",
        "growth/vision-batch/2",
        "growth/vision-modules/1",
        "chunks/vision-paper",
    ] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    for row in &table {
        assert_eq!(row["program"], "gim");
        assert!(row["seconds"].parse::<f64>().unwrap() > 0.0 && row["peak_mb"].parse::<f64>().unwrap() > 1.0);
        let limited = row["name"] != "probe/converged";
        assert_eq!(row["limit_seconds"].parse::<f64>().is_ok_and(|l| l > 0.0), limited, "{row:?}");
        assert_eq!(row["objective"].is_empty(), limited, "{row:?}");
    }
    let step = |name: &str| table.iter().find(|r| r["name"] == name).unwrap()["gflop"].parse::<f64>().unwrap();
    assert!(step("features/audio") < 0.7 * step("step/audio-gim"), "features are cheaper than a step");

    let chunks = rows(&out.join("chunks.csv"));
    for name in ["chunks/audio-paper", "chunks/vision-paper"] {
        let of = |part: &str| chunks.iter().find(|r| r["name"] == name && r["part"] == part).unwrap();
        let seconds = |part: &str, threads: &str| of(part)[&format!("seconds_{threads}")].parse::<f64>().unwrap();
        assert!(seconds("step", "64") <= seconds("step", "2") && seconds("step", "2") < seconds("step", "1"));
        assert_eq!(seconds("outside of loops", "1"), seconds("outside of loops", "64"));
        assert!(of("scores")["most_tasks"].parse::<usize>().unwrap() >= 1);
    }
    let page = std::fs::read_to_string(out.join("README.md")).unwrap();
    for part in [
        "values mean nothing",
        "PyTorch was not available",
        "Scikit-learn was not available",
        "speed.png",
        "gim --threads 1 estimate",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert!(!page.contains("NaN"), "{page}");
    let chart = std::fs::read(out.join("speed.png")).unwrap();
    assert_eq!(&chart[1..4], b"PNG");
    let left = std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(left.into_iter().all(|name| !name.ends_with(".tmp")));
}

/// Shell scripts replace Python: one answers like PyTorch's script, one fails.
#[cfg(unix)]
#[test]
fn other_programs_are_compared_or_reported_missing() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let script = |name: &str, text: &str| {
        let path = root.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_string_lossy().into_owned()
    };
    let answers = script(
        "answers",
        "echo '{\"torch\": \"9.9\", \"seconds\": 2.0, \"spread\": [1.0, 3.0], \"peak_rss_mb\": 1000, \"losses\": []}'",
    );
    let breaks = script("breaks", "echo 'no module named sklearn' >&2; exit 1");
    bench(root, &["--only", "small/audio", "--out", "a", "--torch-python", &answers, "--torch-bench", "steps.py"]);
    let table = rows(&root.join("a/bench.csv"));
    assert_eq!(table.len(), 2);
    let torch = &table[1];
    assert_eq!(
        (torch["program"].as_str(), torch["seconds"].as_str(), torch["peak_mb"].as_str()),
        ("PyTorch", "2.0", "1048.576")
    );
    assert_eq!(torch["gflop"], table[0]["gflop"]);
    let page = std::fs::read_to_string(root.join("a/README.md")).unwrap();
    assert!(page.contains("PyTorch 9.9") && page.contains("2.00 (1.00 to 3.00)"), "{page}");
    assert!(page.contains("$TORCH_PYTHON $TORCH_BENCH audio --compile"), "{page}");

    bench(root, &["--only", "probe", "--out", "b", "--sklearn-python", &breaks]);
    let page = std::fs::read_to_string(root.join("b/README.md")).unwrap();
    assert!(page.contains("no module named sklearn"), "{page}");
    assert_eq!(rows(&root.join("b/bench.csv")).len(), 1);

    assert!(fails(root, &["bench", "--only", "nothing"]).contains("nothing begins with"));
    ok(root, &["bench", "--help"]);
}
