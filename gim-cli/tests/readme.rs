//! README's tables come from `results/`: nobody types them. `GIM_UPDATE=1 cargo test -p gim-cli --test readme` writes them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

type Row = HashMap<String, String>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn rows(path: &Path) -> Vec<Row> {
    let mut reader = csv::Reader::from_path(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    reader.deserialize().collect::<Result<_, _>>().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// `31.0 ± 1.4`, from percent and half of a 95 % interval.
fn accuracy(row: &Row, value: &str, interval: &str) -> String {
    let number = |key: &str| row[key].parse::<f64>().ok();
    match (number(value), number(interval)) {
        (Some(mean), Some(half)) => format!("{mean:.1} ± {half:.1}"),
        (Some(mean), None) => format!("{mean:.1}"),
        _ => "–".into(),
    }
}

/// The row of a run's last module, or of its input or random encoder, with all labels.
fn find<'a>(rows: &'a [Row], run: &str, groups: &[&str], task: &str, protocol: &str) -> &'a Row {
    let found = rows
        .iter()
        .filter(|r| r["run"] == run && groups.contains(&&*r["group"]) && r["task"] == task)
        .filter(|r| r["protocol"] == protocol && r["labels"].parse() == Ok(1.0))
        .max_by_key(|r| r["module"].parse::<usize>().unwrap());
    found.unwrap_or_else(|| panic!("no probe of {run} {groups:?} for {task} by {protocol}"))
}

fn table(head: &[&str], body: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
    let rule = format!("|{}\n", "---|".repeat(head.len()));
    line(&head) + &rule + &body.iter().map(|row| line(row)).collect::<String>()
}

fn speech() -> String {
    let all = rows(&root().join("results/small-audio/table_audio.csv"));
    let line = |title: &str, [phones, speakers]: [&str; 2], groups: &[&str]| {
        let phones = find(&all, phones, groups, "phones", "converged");
        let speakers = find(&all, speakers, groups, "speakers", "converged");
        vec![
            title.into(),
            accuracy(phones, "no_silence", "no_silence_ci95"),
            accuracy(speakers, "accuracy", "accuracy_ci95"),
        ]
    };
    let both = |run| [run, run];
    let body = [
        line("MFCC", both("audio/gim"), &["mfcc"]),
        line("random encoder", both("audio/gim"), &["random"]),
        line("Greedy InfoMax", both("audio/gim"), &["trained"]),
        line("CPC", both("audio/cpc"), &["trained"]),
        line("supervised", ["audio/supervised-phones", "audio/supervised-speakers"], &["trained"]),
        line("greedy supervised", ["audio/greedy-supervised-phones", "audio/greedy-supervised-speakers"], &["trained"]),
    ];
    table(&["speech, accuracy in %", "phones, without silence", "speakers"], &body)
}

fn images() -> String {
    let all = rows(&root().join("results/small-vision/table_vision.csv"));
    let line = |title: &str, run: &str, groups: &[&str]| {
        let cell = |protocol| accuracy(find(&all, run, groups, "classes", protocol), "accuracy", "accuracy_ci95");
        vec![title.into(), cell("paper"), cell("converged"), cell("knn")]
    };
    let body = [
        line("raw pixels", "vision/gim", &["raw"]),
        line("random encoder", "vision/gim", &["random"]),
        line("Greedy InfoMax", "vision/gim", &["trained"]),
        line("Greedy InfoMax, one module after the other, 2.5 × as long", "vision/iterative-longer", &["trained"]),
        line("CPC", "vision/cpc", &["trained"]),
        line("supervised", "vision/supervised", &["trained"]),
        line("greedy supervised", "vision/greedy-supervised", &["trained"]),
    ];
    table(&["images, accuracy in %", "paper's probe", "converged probe", "20 nearest neighbors"], &body)
}

/// Seconds and memory beside PyTorch's, from the newest benchmark.
fn speed() -> String {
    let folder = fs::read_dir(root().join("results/bench")).unwrap().map(|e| e.unwrap().path()).max().unwrap();
    let all = rows(&folder.join("bench.csv"));
    let works = [
        ("audio, training step of 8", "step/audio-gim"),
        ("audio, CPC step of 8", "step/audio-cpc"),
        ("images, training step of 16", "step/vision-gim"),
        ("audio features", "features/audio"),
        ("image features", "features/vision"),
    ];
    let of = |name: &str, program: &str, key: &str| {
        let row = all.iter().find(|r| r["name"] == name && r["program"] == program);
        row.unwrap_or_else(|| panic!("{name} of {program} is not in {}", folder.display()))[key].parse::<f64>().unwrap()
    };
    let line = |(title, name): &(&str, &str)| {
        let seconds = ["gim", "PyTorch"].map(|program| of(name, program, "seconds"));
        let memory = ["gim", "PyTorch"].map(|program| of(name, program, "peak_mb"));
        vec![
            (*title).into(),
            format!("{:.2} s", seconds[0]),
            format!("{:.2} s", seconds[1]),
            format!("{:.1} ×", seconds[1] / seconds[0]),
            format!("{:.0} MB", memory[0]),
            format!("{:.0} MB", memory[1]),
        ]
    };
    let body: Vec<Vec<String>> = works.iter().map(line).collect();
    table(&["the paper's networks, two cores", "gim", "PyTorch", "faster", "gim, memory", "PyTorch, memory"], &body)
}

#[test]
fn tables_are_those_of_the_results() {
    let path = root().join("README.md");
    let text = fs::read_to_string(&path).unwrap();
    let generated = format!(
        "Real speech (50 minutes, 64 speakers) and photographs (imagenette96), networks a quarter of the\npaper's \
         width, last module, linear probes, mean ± half of the 95 % interval over three seeds:\n\n{}\n{}\n{}",
        speech(),
        images(),
        speed()
    );
    let (begin, end) = ("<!-- generated: results -->\n", "<!-- /generated -->");
    let from = text.find(begin).expect("README marks where its tables begin") + begin.len();
    let to = text.find(end).expect("README marks where its tables end");
    if std::env::var_os("GIM_UPDATE").is_some() {
        fs::write(&path, format!("{}{generated}{}", &text[..from], &text[to..])).unwrap();
    } else {
        assert!(text[from..to] == generated, "run GIM_UPDATE=1 cargo test -p gim-cli --test readme");
    }
}
