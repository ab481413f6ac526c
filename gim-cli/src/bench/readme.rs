//! Fills `templates/bench.md`, the benchmark's page, with tables of the rows measured so far.

use askama::Template;

use super::plan::{AXES, Other, Section};
use super::{Bench, Row};
use crate::bench::chunks::{Chunks, THREADS};
use crate::figures::short;
use crate::output::count;
use crate::template::rendered;
use crate::template::table::Table;

/// Contents of `bench.md`. Sections without measurements are left out.
#[derive(Template)]
#[template(path = "bench.md")]
struct BenchPage<'a> {
    date: String,
    quick: bool,
    /// A line for each name and value.
    facts: Vec<(String, String)>,
    no_pytorch: bool,
    no_sklearn: bool,
    notes: &'a [String],
    compared: Option<Table>,
    /// Caption of the chart.
    caption: Option<&'a str>,
    probes: Option<Table>,
    scaling: Option<Table>,
    growth: Option<Table>,
    chunks: Vec<(&'a str, Table)>,
    /// A line each.
    commands: Vec<String>,
}

/// All measurements so far, in Markdown.
pub(super) fn markdown(bench: &Bench, caption: Option<&str>) -> String {
    let any = |kinds: &[Section]| bench.ours_of(kinds).next().is_some();
    let (any_compared, any_probe) = (any(&Section::COMPARED), any(&[Section::Probe]));
    rendered(&BenchPage {
        date: bench.environment.started.chars().take(10).collect(),
        quick: bench.options.quick,
        facts: facts(bench),
        no_pytorch: bench.options.torch_python.is_none() && any_compared,
        no_sklearn: bench.options.sklearn_python.is_none() && any_probe,
        notes: &bench.notes,
        compared: any_compared.then(|| compared(bench)),
        caption,
        probes: any_probe.then(|| probes(bench)),
        scaling: any(&[Section::Scaling]).then(|| scaling(bench)),
        growth: any(&[Section::Growth]).then(|| growth(bench)),
        chunks: bench.chunks.iter().map(|(item, chunks)| (item.title.as_str(), spread(chunks))).collect(),
        commands: bench.rows.iter().map(|row| row.command.replace(['\n', '\r'], " ")).collect(),
    })
}

/// Describes the machine, the program and the session.
fn facts(bench: &Bench) -> Vec<(String, String)> {
    let e = &bench.environment;
    let changed = if e.git_dirty == Some(true) { " with local changes" } else { "" };
    let fact = |name: &str, value: String| (name.to_owned(), value);
    let mut out = vec![fact("processor", bench.processor())];
    out.extend(bench.peaks.iter().map(|(threads, peak)| {
        fact(&format!("fused multiply-adds on {}", count(*threads, "thread")), format!("{peak:.0} GFLOP/s"))
    }));
    out.extend(e.memory_bytes.map(|bytes| fact("memory", format!("{:.1} GB", bytes as f64 / 1e9))));
    out.push(fact("system", format!("{}; {}", e.os, e.rustc)));
    out.push(fact("commit", format!("{}{changed}", e.short_commit())));
    let seconds = bench.begun.elapsed().as_secs_f64();
    out.push(fact("started", format!("{}, took {seconds:.0} s", e.started)));
    let load = bench.load.map(|load| format!("{load:.2} (of others; near 0 on a quiet machine)"));
    out.extend(load.map(|load| fact("load at the start", load)));
    let versions = if bench.versions.is_empty() { "nothing".into() } else { bench.versions.join(", ") };
    out.push(fact("compared with", versions));
    out.push(fact("command", e.command.join(" ")));
    out
}

fn compared(bench: &Bench) -> Table {
    let rows = bench.ours_of(&Section::COMPARED).map(|r| {
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
    Table::new(
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
        rows.collect(),
    )
}

fn probes(bench: &Bench) -> Table {
    let rows = bench
        .rows
        .iter()
        .filter(|r| r.section == Section::Probe)
        .map(|r| vec![r.work.clone(), r.program.clone(), timed(r), maybe(r.peak_mb, 0), maybe(r.objective, 6)]);
    Table::new(&["work", "program", "s", "MB", "objective"], rows.collect())
}

fn scaling(bench: &Bench) -> Table {
    let all: Vec<&Row> = bench.ours_of(&[Section::Scaling]).collect();
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
    Table::new(&["work", "1 thread s", &many, "times faster", "efficiency"], rows.collect())
}

fn growth(bench: &Bench) -> Table {
    let rows = AXES.iter().filter_map(|axis| {
        let points: Vec<&Row> =
            bench.ours_of(&[Section::Growth]).filter(|r| r.work == axis.title && r.x.is_some()).collect();
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
    Table::new(&["what grows", "values", "s", "exponent", "expected", "MB", "exponent", "expected"], rows.collect())
}

/// Slope of the least-squares line through the points on logarithmic axes; `None` for one point.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let n = points.len() as f64;
    let logs: Vec<(f64, f64)> = points.iter().map(|p| (p.0.ln(), p.1.ln())).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let squares: f64 = logs.iter().map(|p| (p.0 - x).powi(2)).sum();
    let products: f64 = logs.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    (squares > 0.0).then(|| products / squares)
}

fn spread(chunks: &Chunks) -> Table {
    let columns = THREADS.iter().skip(1);
    let whole: Vec<String> = std::iter::once("whole step".to_owned())
        .chain((0..3).map(|_| String::new()))
        .chain([short(chunks.seconds[0]), "100 %".into()])
        .chain(
            columns
                .clone()
                .zip(chunks.speed_ups().into_iter().skip(1))
                .map(|(threads, s)| format!("{s:.2} ({:.0} %)", 100.0 * s / *threads as f64)),
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
    Table::new(&head, std::iter::once(whole).chain(loops).chain([serial]).collect())
}

/// Median, shortest and longest.
fn timed(row: &Row) -> String {
    format!("{} ({} to {})", short(row.seconds), short(row.seconds_min), short(row.seconds_max))
}

fn maybe(value: Option<f64>, digits: usize) -> String {
    value.map_or(String::new(), |v| format!("{v:.digits$}"))
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
