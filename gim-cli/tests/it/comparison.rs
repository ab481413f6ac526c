//! Whole comparisons: finished work is not repeated, tables and page have every run, and the
//! regression check finds changes.

use std::path::Path;

use crate::common::{fails, folders, gim, ok, printed};

/// Two methods and an ablation on a tiny corpus.
fn sweep(root: &Path, steps: usize) {
    let run = |name: &str, more: &str| {
        format!(
            "[[run]]\nname = \"vision/{name}\"\npreset = \"vision-quick\"\ntitle = \"{name} <&>\"\n{more}\n\
             set = [\"network.widths=[4,8]\", \"network.blocks=[1,1]\", \"train.batch=8\", \"train.steps={steps}\", \
             \"train.log_every=2\", \"train.checkpoint_every=4\", \"data.crop=16\", \"network.patch=4\", \
             \"network.overlap=2\", \"data.path=corpus\"{}]\n",
            match name {
                "supervised" => ", \"network.kind=cpc\", \"loss.target=classes\"",
                "greedy-supervised" => ", \"loss.target=classes\"",
                "one-negative" => ", \"loss.negatives=1\"",
                _ => "",
            }
        )
    };
    let text = [
        "seeds = 1\nviews = 2\n".to_owned(),
        run("gim", "paper = \"gim\""),
        run("supervised", ""),
        run("greedy-supervised", "baselines = \"vision/gim\""),
        run("one-negative", "ablation_of = \"vision/gim\"\nbaselines = \"vision/gim\""),
    ];
    std::fs::write(root.join("tiny.toml"), text.concat()).unwrap();
}

#[test]
fn a_comparison_is_whole_resumable_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    folders(&root.join("corpus"), false);
    sweep(root, 8);
    let out = ok(root, &REPRODUCE);
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.contains("vision/one-negative") && said.contains("against vision/gim"), "{said}");
    tables_have_every_run(root);
    baselines_are_shared(root);
    pages_are_self_contained(root);
    jobs_make_the_same_rows(root);
    finished_work_is_not_repeated(root);
    missing_results_are_left_out_or_made(root);
    mixed_runs_are_refused(root);
    accuracies_are_checked(root);
}

const REPRODUCE: [&str; 4] = ["reproduce", "tiny.toml", "--out", "out"];

/// A file of the comparison.
fn read(root: &Path, name: &str) -> String {
    std::fs::read_to_string(root.join("out").join(name)).unwrap()
}

/// Runs made one by one, in any order, give the rows of a whole comparison.
fn jobs_make_the_same_rows(root: &Path) {
    let listed = printed(root, &["reproduce", "tiny.toml", "--list"]);
    assert_eq!(listed.lines().nth(2), Some("2 vision/greedy-supervised 1"), "{listed}");
    let job = |which: &[&str]| printed(root, &[&["reproduce", "tiny.toml", "--out", "jobs"], which].concat());
    for index in ["3", "2", "0"] {
        assert!(job(&["--index", index]).contains("seed-1"));
    }
    assert!(job(&["--run", "vision/supervised", "--seed", "1"]).contains("vision/supervised/seed-1"));
    assert!(!root.join("jobs/table_vision.csv").exists(), "a job writes no tables");
    assert!(root.join("jobs/vision/gim/seed-1/features.h5").is_file(), "figures will need it");
    ok(root, &["reproduce", "tiny.toml", "--out", "jobs", "--keep-features"]);
    assert!(root.join("jobs/vision/gim/seed-1/features.h5").is_file());
    // All but the command and the time of a row.
    let rows = |of: &str, run: &str| -> Vec<Vec<String>> {
        let path = root.join(of).join(format!("vision/{run}/seed-1/probe.csv"));
        let mut reader = csv::Reader::from_path(path).unwrap();
        let seconds = reader.headers().unwrap().iter().position(|h| h == "seconds").unwrap();
        let row =
            |r: csv::StringRecord| r.iter().enumerate().filter(|f| f.0 != seconds).map(|f| f.1.to_owned()).collect();
        let mut rows: Vec<Vec<String>> = reader.records().map(|r| row(r.unwrap())).collect();
        rows.retain(|row| row[0] == "trained");
        rows.sort();
        rows
    };
    for run in ["gim", "supervised", "greedy-supervised", "one-negative"] {
        assert!(!rows("jobs", run).is_empty() && rows("jobs", run) == rows("out", run), "{run}");
    }
    assert!(fails(root, &["reproduce", "tiny.toml", "--index", "4"]).contains("use 0 to 3"));
    assert!(fails(root, &["reproduce", "tiny.toml", "--run", "vision/gim", "--seed", "9"]).contains("--list"));
}

fn tables_have_every_run(root: &Path) {
    let table = read(root, "table_vision.csv");
    for run in ["vision/gim", "vision/supervised", "vision/greedy-supervised"] {
        assert!(table.contains(&format!("\n{run},")), "{table}");
    }
    assert!(!table.contains("one-negative"), "ablations have a table of their own");
    assert!(table.contains(",0.1,") && table.contains(",0.01,"), "label efficiency");
    assert!(table.contains(",classes,paper,linear,2,") && !table.contains(",0.819,S"), "fewer views than epochs");
    assert!(read(root, "table_ablations.csv").contains("vision/one-negative"));
    let memory = read(root, "table_memory.csv");
    assert!(memory.contains("end to end") && memory.contains("all modules") && memory.contains("module 1 alone"));
}

/// The random encoder does not depend on the cuts, so its rows can be shared.
fn baselines_are_shared(root: &Path) {
    let random = |run: &str| -> Vec<String> {
        let probes = read(root, &format!("vision/{run}/seed-1/probe.csv"));
        let seconds = probes.lines().next().unwrap().split(',').position(|name| name == "seconds").unwrap();
        let mut lines: Vec<String> = probes
            .lines()
            .filter(|l| !l.starts_with("trained"))
            // All but the seconds of the fit.
            .map(|l| {
                let mut cells: Vec<&str> = l.split(',').collect();
                cells.remove(seconds);
                cells.join(",")
            })
            .collect();
        lines.sort();
        lines
    };
    let own = random("gim");
    assert!(own.iter().any(|l| l.starts_with("random")) && own.iter().any(|l| l.starts_with("raw")), "{own:?}");
    assert_eq!(random("supervised"), own, "recomputed, with one module");
    assert_eq!(random("greedy-supervised"), own, "taken over");
    assert!(random("one-negative").iter().all(|l| own.contains(l)));
}

fn pages_are_self_contained(root: &Path) {
    let page = read(root, "report.html");
    assert!(page.contains("greedy-supervised &#60;&#38;&#62;") && page.contains("similarity"));
    assert!(!page.contains("src=\"http") && page.contains("default-src 'none'"), "nothing is fetched");
    assert!(page.contains("each run has one seed") && !page.contains("id=\"claims\""), "one seed decides nothing");
    assert!(page.contains("href=\"vision/gim/seed-1/probe.csv\""), "cells link to rows");
    assert!(page.contains("the paper&#39;s protocol with 2 views"), "fewer views than epochs");
    let twin = read(root, "README.md");
    assert!(twin.contains(r"greedy-supervised \<\&\>") && twin.contains("each run has one seed"), "{twin}");
}

/// Curves and probes keep their times.
fn finished_work_is_not_repeated(root: &Path) {
    let (table, page) = (read(root, "table_vision.csv"), read(root, "report.html"));
    let seed = root.join("out/vision/gim/seed-1");
    let made = || ["train.csv", "probe.csv"].map(|f| std::fs::metadata(seed.join(f)).unwrap().modified().unwrap());
    let before = made();
    ok(root, &["sweep", "tiny.toml", "--out", "out"]);
    assert_eq!(before, made());
    assert_eq!(table, read(root, "table_vision.csv"));
    for used_up in ["views.h5", "features.h5", "snapshots.h5"] {
        assert!(!seed.join(used_up).exists(), "{used_up} is removed when it is used up");
    }
    // The same if only tables, curves and figures were kept.
    for kept in std::fs::read_dir(&seed).unwrap().map(|f| f.unwrap().path()) {
        if kept.is_dir() {
            std::fs::remove_dir_all(kept).unwrap();
        } else if kept.extension().is_none_or(|e| !["csv", "toml", "json"].iter().any(|k| e == *k)) {
            std::fs::remove_file(kept).unwrap();
        }
    }
    ok(root, &REPRODUCE);
    assert!(before == made() && !seed.join("checkpoints").exists());
    // Training that would add other curves to the folder is refused.
    assert!(fails(root, &["train", "--resume", "out/vision/gim/seed-1"]).contains("weights are missing"));
    assert_eq!(table, read(root, "table_vision.csv"));
    assert_eq!(page.matches("<img").count(), read(root, "report.html").matches("<img").count());
}

fn missing_results_are_left_out_or_made(root: &Path) {
    let table = read(root, "table_vision.csv");
    // A page of the finished runs.
    std::fs::remove_file(root.join("out/vision/supervised/seed-1/probe.csv")).unwrap();
    ok(root, &["reproduce", "tiny.toml", "--out", "out", "--finished"]);
    let part = read(root, "table_vision.csv");
    assert!(part.contains("vision/greedy-supervised") && !part.contains("vision/supervised"), "{part}");
    assert!(fails(root, &["reproduce", "tiny.toml", "--out", "none", "--finished"]).contains("no finished run"));
    // Missing baselines are added to the features on demand.
    let rows = ok(root, &["probe", "out/vision/greedy-supervised/seed-1", "--task", "classes", "--json"]).stdout;
    let rows = String::from_utf8_lossy(&rows).into_owned();
    assert!(rows.contains("\"random\"") && rows.contains("\"raw\""), "{rows}");
    // Probes of one module do not count as probes of all.
    let one = root.join("out/vision/greedy-supervised/seed-1");
    std::fs::remove_file(one.join("probe.csv")).unwrap();
    ok(root, &["probe", "out/vision/greedy-supervised/seed-1", "--task", "classes", "--module", "1"]);
    ok(root, &REPRODUCE);
    assert_eq!(table, read(root, "table_vision.csv"));
}

fn mixed_runs_are_refused(root: &Path) {
    // All runs of a comparison must use the same dataset.
    std::fs::remove_dir_all(root.join("out/vision/one-negative")).unwrap();
    let image = root.join("corpus/train/dark/00.png");
    std::fs::rename(&image, root.join("elsewhere.png")).unwrap();
    let part = |name: &str| fails(root, &["reproduce", "tiny.toml", "--out", "out", "--only", name]);
    assert!(part("vision/one-negative").contains("belongs to what was begun on corpus"));
    // Without probes, features would be made of the other dataset.
    std::fs::remove_file(root.join("out/vision/supervised/seed-1/probe.csv")).unwrap();
    assert!(part("vision/supervised").contains("was trained on corpus"));
    std::fs::rename(root.join("elsewhere.png"), &image).unwrap();
    // A run of another configuration is refused.
    sweep(root, 12);
    assert!(fails(root, &REPRODUCE).contains("another configuration"));
    sweep(root, 8);
}

/// A baseline needs a spread. The check passes on the same accuracies; others are named, with exit
/// code 1.
fn accuracies_are_checked(root: &Path) {
    let only = ["--only", "vision/greedy"];
    let check = |more: &[&str]| {
        let args: Vec<&str> = ["check", "tiny.toml"].iter().chain(&only).chain(more).copied().collect();
        let out = gim(root, &args).output().unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr))
    };
    assert!(check(&["--baseline", "b.csv"]).1.contains("--update"));
    assert!(check(&["--baseline", "b.csv", "--update"]).1.contains("no spread"));
    assert_eq!(check(&["--baseline", "b.csv", "--update", "--seeds", "2"]).0, Some(0));
    let (code, said) = check(&["--baseline", "b.csv", "--seeds", "2"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("within their tolerances"), "{said}");
    let baseline = std::fs::read_to_string(root.join("b.csv")).unwrap();
    let moved: Vec<String> = baseline
        .lines()
        .map(|l| {
            let mut cells: Vec<String> = l.rsplitn(5, ',').map(str::to_owned).collect();
            if l.contains("module 1") {
                cells[3] = "99999".into();
            }
            cells.reverse();
            cells.join(",")
        })
        .collect();
    std::fs::write(root.join("b.csv"), moved.join("\n") + "\n").unwrap();
    let (code, said) = check(&["--baseline", "b.csv", "--seeds", "2"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("module 1") && said.contains("99999"), "{said}");
}
