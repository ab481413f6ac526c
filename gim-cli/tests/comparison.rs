//! Whole comparisons: what is done is not done again, tables and page hold every run, and the regression check finds what moved.
#![allow(clippy::unwrap_used)] // Helpers of tests: a failure should stop them.

mod common;

use std::path::Path;

use common::{fails, folders, gim, ok};

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
        "seeds = 1\n".to_owned(),
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
    let out = ok(root, &["reproduce", "tiny.toml", "--out", "out"]);
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.contains("vision/one-negative") && said.contains("against vision/gim"), "{said}");

    let read = |name: &str| std::fs::read_to_string(root.join("out").join(name)).unwrap();
    let table = read("table_vision.csv");
    for run in ["vision/gim", "vision/supervised", "vision/greedy-supervised"] {
        assert!(table.contains(&format!("\n{run},")), "{table}");
    }
    assert!(!table.contains("one-negative"), "ablations have a table of their own");
    assert!(table.contains(",0.1,") && table.contains(",0.01,"), "label efficiency");
    assert!(table.contains(",81.9,S"), "the paper's value and its mark");
    assert!(read("table_ablations.csv").contains("vision/one-negative"));
    let memory = read("table_memory.csv");
    assert!(memory.contains("end to end") && memory.contains("all modules") && memory.contains("module 1 alone"));
    // The random encoder is the same wherever the network is cut, so that rows can be shared.
    let random = |run: &str| -> Vec<String> {
        let probes = read(&format!("vision/{run}/seed-1/probe.csv"));
        let mut lines: Vec<String> = probes
            .lines()
            .filter(|l| !l.starts_with("trained"))
            // All but the seconds of the fit.
            .map(|l| {
                let mut cells: Vec<&str> = l.split(',').collect();
                cells.remove(cells.len() - 2);
                cells.join(",")
            })
            .collect();
        lines.sort();
        lines
    };
    let own = random("gim");
    assert!(own.iter().any(|l| l.starts_with("random")) && own.iter().any(|l| l.starts_with("raw")), "{own:?}");
    assert_eq!(random("supervised"), own, "computed anew, with one module");
    assert_eq!(random("greedy-supervised"), own, "taken over");
    assert!(random("one-negative").iter().all(|l| own.contains(l)));
    let page = read("report.html");
    assert!(page.contains("greedy-supervised &#60;&#38;&#62;") && page.contains("similarity"));
    assert!(!page.contains("src=\"http") && page.contains("default-src 'none'"), "nothing is fetched");
    assert!(page.contains("can&#39;t tell at this scale"), "one seed decides nothing");
    let twin = read("README.md");
    assert!(twin.contains(r"greedy-supervised \<\&\>") && twin.contains("| can't tell at this scale |"), "{twin}");

    // Nothing is done twice: curves and probes keep their times.
    let seed = root.join("out/vision/gim/seed-1");
    let made = || ["train.csv", "probe.csv"].map(|f| std::fs::metadata(seed.join(f)).unwrap().modified().unwrap());
    let before = made();
    ok(root, &["sweep", "tiny.toml", "--out", "out"]);
    assert_eq!(before, made());
    assert_eq!(table, read("table_vision.csv"));
    // Nor when only tables, curves and figures were kept.
    for kept in std::fs::read_dir(&seed).unwrap().map(|f| f.unwrap().path()) {
        if kept.is_dir() {
            std::fs::remove_dir_all(kept).unwrap();
        } else if kept.extension().is_none_or(|e| !["csv", "toml", "json"].iter().any(|k| e == *k)) {
            std::fs::remove_file(kept).unwrap();
        }
    }
    ok(root, &["reproduce", "tiny.toml", "--out", "out"]);
    assert!(before == made() && !seed.join("checkpoints").exists());
    // What would put other curves beside them is refused.
    assert!(fails(root, &["train", "--resume", "out/vision/gim/seed-1"]).contains("weights are gone"));
    assert_eq!(table, read("table_vision.csv"));
    assert_eq!(page.matches("<img").count(), read("report.html").matches("<img").count());
    // A page of what is there so far.
    std::fs::remove_file(root.join("out/vision/supervised/seed-1/probe.csv")).unwrap();
    ok(root, &["reproduce", "tiny.toml", "--out", "out", "--finished"]);
    let part = read("table_vision.csv");
    assert!(part.contains("vision/greedy-supervised") && !part.contains("vision/supervised"), "{part}");
    assert!(fails(root, &["reproduce", "tiny.toml", "--out", "none", "--finished"]).contains("no finished run"));
    // Whose features lack the baselines gets them when they are asked for.
    let rows = ok(root, &["probe", "out/vision/greedy-supervised/seed-1", "--task", "classes", "--json"]).stdout;
    let rows = String::from_utf8_lossy(&rows).into_owned();
    assert!(rows.contains("\"random\"") && rows.contains("\"raw\""), "{rows}");
    // Nothing is trained or probed on another corpus than the other runs of the comparison.
    std::fs::remove_dir_all(root.join("out/vision/one-negative")).unwrap();
    let image = root.join("corpus/train/dark/00.png");
    std::fs::rename(&image, root.join("elsewhere.png")).unwrap();
    let part = |name: &str| fails(root, &["reproduce", "tiny.toml", "--out", "out", "--only", name]);
    assert!(part("vision/one-negative").contains("belongs to what was begun on corpus"));
    std::fs::remove_file(root.join("out/vision/supervised/seed-1/features.h5")).unwrap();
    assert!(part("vision/supervised").contains("was trained on corpus"));
    std::fs::rename(root.join("elsewhere.png"), &image).unwrap();
    // The probes of one module are not those of all.
    let one = root.join("out/vision/greedy-supervised/seed-1");
    std::fs::remove_file(one.join("probe.csv")).unwrap();
    ok(root, &["probe", "out/vision/greedy-supervised/seed-1", "--task", "classes", "--module", "1"]);
    ok(root, &["reproduce", "tiny.toml", "--out", "out"]);
    assert_eq!(table, read("table_vision.csv"));
    // A run of another configuration is not taken for this one.
    sweep(root, 12);
    assert!(fails(root, &["reproduce", "tiny.toml", "--out", "out"]).contains("another configuration"));
    sweep(root, 8);

    // The regression check: a baseline needs a spread; what it holds is found again; what moved is named, with exit code 1.
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
