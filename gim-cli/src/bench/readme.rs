//! The benchmark's page: tables made from rows, and how to make them again.

use std::fmt::Write;

use super::plan::{AXES, Other};
use super::{Bench, COMPARED, Row};
use crate::bench::chunks::{Chunks, THREADS};
use crate::figures::{count, short};
use crate::report::page::markdown_table;

/// Everything measured so far, in Markdown.
pub(super) fn markdown(bench: &Bench, caption: Option<&str>) -> String {
    let mut out = head(bench);
    if bench.ours_of(&COMPARED).next().is_some() {
        out += "\n## Training steps and features\n\n";
        out += "Times are medians, with the shortest and the longest. MB are peaks of resident memory of the whole process. GFLOP are those of the \
                layers' definitions, though a program may get by with fewer (3×3 convolutions by Winograd's method). The limit is the time that this \
                arithmetic would take at the measured rate of fused multiply-adds, if nothing else took any. Ratios are PyTorch's value by ours: above 1, ours is \
                faster or smaller.\n\n";
        out += &compared(bench);
        if let Some(caption) = caption {
            let _ = write!(out, "\n![Time in multiples of the arithmetic limit](speed.png)\n\n{caption}\n");
        }
    }
    if bench.ours_of(&["probe"]).next().is_some() {
        out += "\n## Linear probe\n\n";
        out += "Standardising, then solving to convergence, on the same features and with the same penalty. The objective is mean cross-entropy + λ/2 ‖weights‖²: \
                the lower, the better solved. Scikit-learn ran on one thread and on all, and the faster counts. How much arithmetic convergence needs depends on the solver, so there is no limit to hold it against.\n\n";
        out += &probes(bench);
    }
    if bench.ours_of(&["scaling"]).next().is_some() {
        out += "\n## More threads\n\n";
        out += &scaling(bench);
    }
    if bench.ours_of(&["growth"]).next().is_some() {
        out += "\n## How time and memory grow\n\n";
        out += "Exponents are slopes of a straight line through all points on logarithmic axes: 1 is linear, 2 quadratic, 0 no growth. Beside it, that of the last \
                two points alone, where fixed costs weigh least. MB are activations, gradients, scratch, parameters and moments.\n\n";
        out += &growth(bench);
    }
    if !bench.chunks.is_empty() {
        out += "\n## How far chunks can be spread\n\n";
        out += "How work is cut depends on shapes alone, never on the number of threads. Here the tasks of every parallel loop of a step, \
                recorded on one thread (the least of several steps), are handed in order to simulated threads, whichever is free first; a loop inside of a task counts as the task's own time, and what lies outside of all loops stays on one \
                thread. Memory, caches and waking up cost nothing in the \
                simulation: these are upper bounds.\n\n";
        for (item, chunks) in &bench.chunks {
            let _ = write!(out, "{}, at most:\n\n{}\n", item.title, spread(chunks));
        }
    }
    out + &commands(bench)
}

fn head(bench: &Bench) -> String {
    let e = &bench.environment;
    let date: String = e.started.chars().take(10).collect();
    let mut out = format!("# Benchmark, {date}\n\n");
    if bench.options.quick {
        out += "**Tiny sizes and single steps: these numbers mean nothing.**\n\n";
    }
    let commit = e.short_commit();
    let changed = if e.git_dirty == Some(true) { " with changes" } else { "" };
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "- {name}: {value}");
    };
    line("processor", bench.processor());
    for (threads, peak) in &bench.peaks {
        line(&format!("fused multiply-adds on {}", count(*threads, "thread")), format!("{peak:.0} GFLOP/s"));
    }
    if let Some(bytes) = e.memory_bytes {
        line("memory", format!("{:.1} GB", bytes as f64 / 1e9));
    }
    line("system", format!("{}; {}", e.os, e.rustc));
    line("commit", format!("{commit}{changed}"));
    line("begun", format!("{}, took {:.0} s", e.started, bench.begun.elapsed().as_secs_f64()));
    if let Some(load) = bench.load {
        line("load when it began", format!("{load:.2} (of others; near 0 on a quiet machine)"));
    }
    line("compared with", if bench.versions.is_empty() { "nothing".into() } else { bench.versions.join(", ") });
    line("command", format!("`{}`", e.command.join(" ")));
    let missing = [
        (
            bench.options.torch_python.is_none() && bench.ours_of(&COMPARED).next().is_some(),
            "PyTorch was not there (`--torch-python`, `--torch-bench`): its columns are empty.",
        ),
        (
            bench.options.sklearn_python.is_none() && bench.ours_of(&["probe"]).next().is_some(),
            "Scikit-learn was not there (`--sklearn-python`): its row is missing.",
        ),
    ];
    let missing = missing.into_iter().filter(|m| m.0).map(|m| m.1.to_owned());
    for note in missing.chain(bench.notes.iter().cloned()) {
        let _ = write!(out, "\n{note}\n");
    }
    out
}

fn compared(bench: &Bench) -> String {
    let rows = bench.ours_of(&COMPARED).map(|r| {
        let other = bench.row(&r.name, Other::PyTorch.name());
        let ratio = |theirs: Option<f64>, ours: Option<f64>| maybe(theirs.zip(ours).map(|(t, o)| t / o), 2);
        vec![
            r.work.clone(),
            timed(r),
            maybe(r.peak_mb, 0),
            r.gflop.map_or(String::new(), short),
            maybe(r.gflop_per_second, 1),
            r.limit_seconds.map_or(String::new(), short),
            r.of_limit.map_or(String::new(), |s| format!("{:.0} %", 100.0 * s)),
            other.map_or(String::new(), timed),
            maybe(other.and_then(|o| o.peak_mb), 0),
            ratio(other.map(|o| o.seconds), Some(r.seconds)),
            ratio(other.and_then(|o| o.peak_mb), r.peak_mb),
        ]
    });
    table(
        &[
            "work",
            "gim s",
            "MB",
            "GFLOP",
            "GFLOP/s",
            "limit s",
            "of limit",
            "PyTorch s",
            "MB",
            "ratio of times",
            "of memory",
        ],
        rows,
    )
}

fn probes(bench: &Bench) -> String {
    let rows = bench
        .rows
        .iter()
        .filter(|r| r.name.starts_with("probe/"))
        .map(|r| vec![r.work.clone(), r.program.clone(), timed(r), maybe(r.peak_mb, 0), maybe(r.objective, 6)]);
    table(&["work", "program", "s", "MB", "objective"], rows)
}

fn scaling(bench: &Bench) -> String {
    let all: Vec<&Row> = bench.ours_of(&["scaling"]).collect();
    let rows = all.iter().filter(|r| r.threads == 1).map(|one| {
        let same = |r: &&&Row| r.work == one.work && r.threads > 1;
        let more = all.iter().find(same);
        let faster = more.map(|m| one.seconds / m.seconds);
        vec![
            one.work.clone(),
            timed(one),
            more.map_or(String::new(), |m| timed(m)),
            maybe(faster, 2),
            faster.zip(more).map_or(String::new(), |(f, m)| format!("{:.0} %", 100.0 * f / m.threads as f64)),
        ]
    });
    let many = format!("{} threads s", bench.environment.threads);
    table(&["work", "1 thread s", &many, "times faster", "efficiency"], rows)
}

fn growth(bench: &Bench) -> String {
    let rows = AXES.iter().filter_map(|axis| {
        let points: Vec<&Row> = bench
            .ours_of(&["growth"])
            .filter(|r| r.name.split('/').nth(1) == Some(axis.name) && r.x.is_some())
            .collect();
        let of = |value: fn(&Row) -> Option<f64>| -> Vec<(f64, f64)> {
            points.iter().filter_map(|r| Some((r.x?, value(r)?))).collect()
        };
        let (seconds, memory) = (of(|r| Some(r.seconds)), of(|r| r.held_mb));
        let list = |values: Vec<f64>| values.into_iter().map(short).collect::<Vec<_>>().join(", ");
        let exponents = |points: &[(f64, f64)]| {
            let last = &points[points.len().saturating_sub(2)..];
            format!("{} ({})", maybe(slope(points), 2), maybe(slope(last), 2))
        };
        (!points.is_empty()).then(|| {
            vec![
                axis.title.to_owned(),
                points.iter().filter_map(|r| r.x).map(|x| x.to_string()).collect::<Vec<_>>().join(", "),
                list(seconds.iter().map(|p| p.1).collect()),
                exponents(&seconds),
                axis.expected[0].to_owned(),
                list(memory.iter().map(|p| p.1).collect()),
                exponents(&memory),
                axis.expected[1].to_owned(),
            ]
        })
    });
    table(&["what grows", "values", "s", "exponent", "expected", "MB", "exponent", "expected"], rows)
}

/// Slope of the straight line through the points on logarithmic axes (least squares); none for a single point.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let n = points.len() as f64;
    let logs: Vec<(f64, f64)> = points.iter().map(|p| (p.0.ln(), p.1.ln())).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let squares: f64 = logs.iter().map(|p| (p.0 - x).powi(2)).sum();
    let products: f64 = logs.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    (squares > 0.0).then(|| products / squares)
}

fn spread(chunks: &Chunks) -> String {
    let columns = THREADS.iter().skip(1);
    let whole: Vec<String> = std::iter::once("whole step".to_owned())
        .chain((0..3).map(|_| String::new()))
        .chain([short(chunks.seconds[0]), "100 %".into()])
        .chain(
            columns
                .clone()
                .zip(chunks.speed_ups().into_iter().skip(1))
                .map(|(threads, s)| format!("**{s:.2}** ({:.0} %)", 100.0 * s / *threads as f64)),
        )
        .collect();
    let share = |s: f64| format!("{:.1} %", 100.0 * s / chunks.seconds[0]);
    let loops = chunks.loops.iter().map(|l| {
        let tasks =
            if l.tasks[0] == l.tasks[1] { l.tasks[0].to_string() } else { format!("{} to {}", l.tasks[0], l.tasks[1]) };
        [l.name.clone(), l.loops.to_string(), tasks, short(1e3 * l.longest)]
            .into_iter()
            .chain([short(l.seconds[0]), share(l.seconds[0])])
            .chain(l.seconds.iter().skip(1).map(|s| format!("{:.2}", l.seconds[0] / s)))
            .collect()
    });
    let serial = ["outside of loops".to_owned(), String::new(), String::new(), String::new()]
        .into_iter()
        .chain([short(chunks.serial), share(chunks.serial)])
        .chain(columns.clone().map(|_| "1.00".to_owned()))
        .collect();
    let heads: Vec<String> = columns.map(|t| format!("faster on {t}")).collect();
    let mut head = vec!["part", "loops", "tasks of a loop", "longest task ms", "s on 1 thread", "share"];
    head.extend(heads.iter().map(String::as_str));
    table(&head, std::iter::once(whole).chain(loops).chain([serial]))
}

fn commands(bench: &Bench) -> String {
    let mut out = "\n## Commands\n\nProcesses of their own, one after the other; where two programs are compared, ours ran before and after the other one. \
                   Two steps to warm up come before those that are timed. All times are in `bench.csv`.\n\n```\n"
        .to_owned();
    for row in &bench.rows {
        let _ = writeln!(out, "{}", row.command);
    }
    out + "```\n"
}

/// Median, shortest and longest.
fn timed(row: &Row) -> String {
    format!("{} ({} to {})", short(row.seconds), short(row.seconds_min), short(row.seconds_max))
}

fn maybe(value: Option<f64>, digits: usize) -> String {
    value.map_or(String::new(), |v| format!("{v:.digits$}"))
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    markdown_table(head, &rows.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_exponents() {
        let points: Vec<(f64, f64)> = [1.0, 2.0, 4.0f64].iter().map(|x| (*x, 3.0 * x.powi(2))).collect();
        assert!((slope(&points).unwrap() - 2.0).abs() < 1e-12);
        assert_eq!(slope(&points[..1]), None);
    }
}
