//! README's tables are generated from `results/`.
//! `GIM_UPDATE=1 cargo test -p gim-cli readme` writes them.

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

fn value(row: &Row, key: &str) -> f64 {
    row[key].parse().unwrap_or_else(|e| panic!("{key} of {row:?}: {e}"))
}

/// `31.0 ± 1.4`: the mean in percent, and half of the 95 % interval.
fn accuracy(row: &Row, key: &str) -> String {
    format!("{:.1} ± {:.1}", 100.0 * value(row, key), 100.0 * value(row, &format!("{key}_ci95")))
}

/// The row of the highest module that has these values in these columns.
fn last_module<'a>(rows: &'a [Row], wanted: &[(&str, &str)]) -> &'a Row {
    let found = rows.iter().filter(|row| wanted.iter().all(|(key, value)| row[*key] == *value));
    found.max_by_key(|row| row["module"].parse::<usize>().unwrap()).unwrap_or_else(|| panic!("no row has {wanted:?}"))
}

/// The last module's row of a method, or of its input or random encoder, with all labels.
fn find<'a>(rows: &'a [Row], run: &str, group: &str, task: &str, protocol: &str) -> &'a Row {
    let wanted = [("run", run), ("group", group), ("task", task), ("protocol", protocol), ("labels", "1.0")];
    last_module(rows, &wanted)
}

fn table(head: &[&str], body: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
    let rule = format!("|{}\n", "---|".repeat(head.len()));
    line(&head) + &rule + &body.iter().map(|row| line(row)).collect::<String>()
}

fn speech() -> String {
    let all = rows(&root().join("results/small-audio/table_audio.csv"));
    let line = |title: &str, [phones, speakers]: [&str; 2], group: &str| {
        let phones = find(&all, phones, group, "phones", "converged");
        let speakers = find(&all, speakers, group, "speakers", "converged");
        vec![title.into(), accuracy(phones, "no_silence"), accuracy(speakers, "accuracy")]
    };
    let both = |run| [run, run];
    let body = [
        line("MFCC", both("audio/gim"), "mfcc"),
        line("random encoder", both("audio/gim"), "random"),
        line("Greedy InfoMax", both("audio/gim"), "trained"),
        line("CPC", both("audio/cpc"), "trained"),
        line("supervised", ["audio/supervised-phones", "audio/supervised-speakers"], "trained"),
        line("greedy supervised", ["audio/greedy-supervised-phones", "audio/greedy-supervised-speakers"], "trained"),
    ];
    table(&["speech, accuracy in %", "phones, without silence", "speakers"], &body)
}

fn images() -> String {
    let folder = root().join("results/small-vision");
    let (methods, ablations) = (rows(&folder.join("table_vision.csv")), rows(&folder.join("table_ablations.csv")));
    let cells = |title: &str, row: &dyn Fn(&str) -> Row| {
        let protocols = ["paper", "converged", "knn"].map(|protocol| accuracy(&row(protocol), "accuracy"));
        [title.to_owned()].into_iter().chain(protocols).collect::<Vec<String>>()
    };
    let method = |title: &str, run: &str, group: &str| {
        cells(title, &|protocol| find(&methods, run, group, "classes", protocol).clone())
    };
    let ablation = |title: &str, run: &str| {
        cells(title, &|protocol| {
            last_module(&ablations, &[("run", run), ("task", "classes"), ("protocol", protocol)]).clone()
        })
    };
    let body = [
        method("raw pixels", "vision/gim", "raw"),
        method("random encoder", "vision/gim", "random"),
        method("Greedy InfoMax", "vision/gim", "trained"),
        ablation("Greedy InfoMax, one module after the other, 2.5 × as long", "vision/iterative-longer"),
        method("CPC", "vision/cpc", "trained"),
        method("supervised", "vision/supervised", "trained"),
        method("greedy supervised", "vision/greedy-supervised", "trained"),
    ];
    // Tables of earlier versions saw centers only, and have no such column.
    let gim = find(&methods, "vision/gim", "trained", "classes", "paper");
    let paper = match gim.get("views").map_or("", String::as_str) {
        "" => "paper's probe, on centers".to_owned(),
        "300" => "paper's probe".to_owned(),
        views => format!("paper's probe, {views} views"),
    };
    table(&["images, accuracy in %", &paper, "converged probe", "20 nearest neighbors"], &body)
}

/// Seconds and memory beside PyTorch's, from the newest benchmark.
fn speed() -> String {
    let folder = fs::read_dir(root().join("results/bench")).unwrap().map(|e| e.unwrap().path()).max().unwrap();
    let all = rows(&folder.join("bench.csv"));
    let rows_shown = [
        ("audio, training step of 8", "step/audio-gim"),
        ("audio, CPC step of 8", "step/audio-cpc"),
        ("images, training step of 16", "step/vision-gim"),
        ("audio features", "features/audio"),
        ("image features", "features/vision"),
    ];
    let of = |name: &str, program: &str, key: &str| {
        let row = all.iter().find(|r| r["name"] == name && r["program"] == program);
        value(row.unwrap_or_else(|| panic!("{name} of {program} is not in {}", folder.display())), key)
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
    let body: Vec<Vec<String>> = rows_shown.iter().map(line).collect();
    table(&["the paper's networks, two cores", "gim", "PyTorch", "faster", "gim, memory", "PyTorch, memory"], &body)
}

#[test]
fn tables_match_the_results() {
    let path = root().join("README.md");
    let text = fs::read_to_string(&path).unwrap();
    let generated = format!(
        "Real speech (50 minutes, 64 speakers) and photographs (imagenette96). Networks have a quarter of\nthe paper's \
         width. Accuracies are of the last module: mean ± half of the 95 % interval over\nthree seeds. Speech uses \
         linear probes to convergence.\n\n{}\n{}\n{}",
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
        assert!(text[from..to] == generated, "run GIM_UPDATE=1 cargo test -p gim-cli readme");
    }
}
