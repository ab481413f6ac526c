//! The report of a comparison: one page without anything outside it, and the same tables in Markdown.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use gim_core::{Error, Result};
use image::ImageFormat;
use image::codecs::jpeg::JpegEncoder;

use crate::comparison::claims::{Claim, Verdict};
use crate::comparison::memory::Peak;
use crate::comparison::summary::{Ablation, Summary, reported, signed, with};
use crate::experiment::environment::Environment;
use crate::experiment::probe::{ITEMS_PER_CLASS, MOST_ITERATIONS};
use crate::figures::caption_of;
use gim_eval::{Group, Protocol, Task};

/// Bytes above which a figure may be a photograph, and the quality it is then shown in.
const LARGE_FIGURE: usize = 256 << 10;
const JPEG_QUALITY: u8 = 85;

/// What a run was made with.
#[derive(Debug, Clone)]
pub struct Made {
    /// Name of the run.
    pub run: String,
    /// Program, machine, command, seed.
    pub environment: Environment,
    /// Seconds of training.
    pub seconds: Option<f64>,
}

/// A figure's PNG file.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is of an earlier drawing: what it shows is gone.
    pub earlier: bool,
}

/// Everything a report says.
#[derive(Debug)]
pub struct Report<'a> {
    /// Title of the page.
    pub title: String,
    /// What the runs were made with.
    pub environments: Vec<Made>,
    /// Every probe.
    pub summary: &'a [Summary],
    /// The ablations.
    pub ablations: &'a [Ablation],
    /// Memory by method and schedule.
    pub peaks: &'a [Peak],
    /// The paper's claims.
    pub claims: &'a [Claim],
    /// The comparison's folder.
    pub folder: &'a Path,
    /// Figures in it.
    pub figures: &'a [Drawn],
    /// Title, name and TOML of every run's configuration.
    pub configurations: Vec<(String, String, String)>,
}

/// A table: headings, and rows of cells. Cells are plain text.
struct Table {
    title: String,
    note: String,
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

const SPREAD: &str = "Accuracy in percent, mean ± half-width of the 95 % interval over seeds. Over random: against the random encoder at the \
same depth. Paper: its value at its own scale, never ours; ~ and M: recalled and not checked, S: seen in a public source, F: read off a figure.";

/// Tables of the probes of one task, one protocol and one share of labels: methods and modules against each other.
fn probe_tables(report: &Report<'_>) -> Vec<Table> {
    let methods = report.summary.iter().filter(|s| !report.ablations.iter().any(|a| a.run == s.run));
    let mut keys: Vec<(String, Task, Protocol, u64)> = Vec::new();
    let rows: Vec<&Summary> = methods.collect();
    let domain = |s: &Summary| s.run.split('/').next().unwrap_or_default().to_owned();
    for s in &rows {
        let key = (domain(s), s.task, s.protocol, s.labels.to_bits());
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    // What a method is judged by comes first, what few labels make of it later.
    keys.sort_by_key(|(_, _, _, labels)| f64::from_bits(*labels) < 1.0);
    let mut out = Vec::new();
    for (of, task, protocol, labels) in keys {
        let mut seen: Vec<&Summary> = Vec::new();
        let mut body = Vec::new();
        let share = f64::from_bits(labels);
        let part = rows
            .iter()
            .filter(|s| domain(s) == of && s.task == task && s.protocol == protocol && s.labels.to_bits() == labels);
        for s in part {
            let Some(features) = s.features() else { continue };
            // Input and random encoder are the same for all methods.
            if seen.iter().any(|o| o.covers_baseline(s)) {
                continue;
            }
            seen.push(s);
            let method = match s.group {
                Group::Trained => s.title.clone(),
                Group::Random => "Random encoder".into(),
                _ => "Input".into(),
            };
            body.push(vec![
                method,
                features,
                s.seeds.to_string(),
                with(s.judged().0, s.judged().1),
                with(s.accuracy, s.accuracy_ci95),
                format!("{:.1}", s.macro_accuracy),
                s.over_random.map_or("".into(), |d| format!("{d:+.1}")),
                reported(s.paper, s.paper_mark.as_deref()),
            ]);
        }
        let how = match protocol {
            Protocol::Knn => "20 nearest neighbours",
            Protocol::Paper => "linear probe, the paper's protocol",
            Protocol::Converged => "linear probe to convergence",
        };
        let few = if share < 1.0 { format!(", {} % of the labels", 100.0 * share) } else { String::new() };
        // The input and its random twin are fitted on what the method is fitted on.
        let fitted = seen.iter().map(|s| s.train_rows).fold((usize::MAX, 0), |(l, h), n| (l.min(n), h.max(n)));
        let fitted = match fitted {
            (least, most) if share < 1.0 && least < most => format!("{least} to {most} rows"),
            (least, _) => format!("{least} rows"),
        };
        let fitted = match share < 1.0 {
            true => format!(
                " Fitted on {fitted}: at least one item of every class, with a fixed penalty where they are fewer than {ITEMS_PER_CLASS} a class."
            ),
            false => format!(" Fitted on {fitted}."),
        };
        let judged = if task == Task::Phones { "without silence" } else { "accuracy" };
        let (stopped, all) = seen.iter().fold((0, 0), |(s, n), r| (s + r.stopped, n + r.seeds));
        let stopped = match stopped {
            n if n > 0 => format!(
                " {n} of these {all} probes were stopped after {MOST_ITERATIONS} iterations, short of their tolerance."
            ),
            _ => String::new(),
        };
        out.push(Table {
            title: format!("{of}: {task}, {how}{few}"),
            note: format!("{SPREAD}{fitted}{stopped}"),
            head: vec!["method", "features", "seeds", judged, "all", "macro", "over random", "paper"],
            rows: body,
        });
    }
    out
}

fn ablation_table(report: &Report<'_>) -> Option<Table> {
    let rows: Vec<Vec<String>> = report
        .ablations
        .iter()
        .map(|a| {
            vec![
                a.run.clone(),
                a.title.clone(),
                format!("{}, {}", a.task, a.protocol),
                with(a.accuracy, a.accuracy_ci95),
                format!("{:.1}", a.reference),
                signed(a.difference, a.difference_ci95),
                reported(a.paper, a.paper_mark.as_deref()),
            ]
        })
        .collect();
    (!rows.is_empty()).then(|| Table {
        title: "Ablations: the last module against the full method's".into(),
        note: "Accuracy in percent (phones: without silence), mean ± half-width of the 95 % interval; differences are between runs of the same seed. The paper's phones are of all frames, at its own scale.".into(),
        head: vec!["run", "change", "task", "accuracy", "full", "difference", "paper"],
        rows,
    })
}

fn memory_table(report: &Report<'_>) -> Table {
    let rows = report.peaks.iter().map(|p| {
        vec![
            p.run.clone(),
            p.title.clone(),
            p.schedule.clone(),
            format!("{:.1}", p.buffers_mb),
            format!("{:.1}", p.state_mb),
            format!("{:.1}", p.total_mb),
            p.reported().unwrap_or_default(),
        ]
    });
    Table {
        title: "Memory of a training step by method and schedule".into(),
        note: "Measured: the most that activations, gradients and scratch took at once, and parameters with their moments, in MB (10⁶ bytes). The paper's values are of its own networks on a GPU.".into(),
        head: vec!["run", "method", "schedule", "buffers", "state", "total", "paper"],
        rows: rows.collect(),
    }
}

fn environment_table(report: &Report<'_>) -> Table {
    let rows = report.environments.iter().map(|m| {
        let e = &m.environment;
        let commit = e.short_commit();
        let changed = if e.git_dirty == Some(true) { " with changes" } else { "" };
        vec![
            m.run.clone(),
            e.seed.to_string(),
            e.corpus.as_ref().map_or("".into(), |c| c.name.clone()),
            e.command.join(" "),
            format!("{commit}{changed}"),
            format!("{}, {} threads", e.cpu.as_deref().unwrap_or("unknown"), e.threads),
            e.started.clone(),
            m.seconds.map_or("".into(), |s| format!("{s:.0}")),
        ]
    });
    Table {
        title: "Runs".into(),
        note: "Seconds are of training alone.".into(),
        head: vec!["run", "seed", "corpus", "command", "commit", "processor", "started", "seconds"],
        rows: rows.collect(),
    }
}

fn tables(report: &Report<'_>) -> Vec<Table> {
    let mut all = probe_tables(report);
    all.extend(ablation_table(report));
    all.push(memory_table(report));
    all
}

/// The tables in Markdown.
pub fn markdown(report: &Report<'_>) -> String {
    let mut out = format!("# {}\n\n", report.title);
    if !report.claims.is_empty() {
        out += "## The paper's claims\n\n| claim | here | numbers |\n|---|---|---|\n";
        for c in report.claims {
            let _ = writeln!(out, "| {} | {} | {} |", c.text, c.verdict.words(), c.evidence);
        }
        out += "\n";
    }
    for t in tables(report).iter().chain([&environment_table(report)]) {
        let _ = write!(out, "## {}\n\n{}\n\n{}\n", t.title, t.note, markdown_table(&t.head, &t.rows));
    }
    out
}

/// A table in Markdown.
pub(crate) fn markdown_table(head: &[impl AsRef<str>], rows: &[Vec<String>]) -> String {
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        format!("| {} |\n", cells.map(|c| c.replace('|', "\\|")).collect::<Vec<_>>().join(" | "))
    };
    let mut out = line(&mut head.iter().map(AsRef::as_ref));
    out += &format!("|{}\n", "---|".repeat(head.len()));
    out.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Widths and colours of the page, for desks and phones, light and dark.
const STYLE: &str = include_str!("report.css");

/// The page. Figures are read from their files and become part of it.
///
/// # Errors
/// When a figure cannot be read.
pub fn html(report: &Report<'_>) -> Result<String> {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{0}</title>\n\
         <style>\n{STYLE}</style></head><body>\n<main><h1>{0}</h1>\n",
        escape(&report.title)
    );
    if !report.claims.is_empty() {
        out += "<section><h2>The paper’s claims</h2>\n<p class=\"note\">By rule from the intervals over seeds; accuracy in points.</p>\n<ul class=\"claims\">\n";
        for c in report.claims {
            let class = match c.verdict {
                Verdict::Held => "held",
                Verdict::DidNotHold => "not",
                Verdict::CannotTell => "open",
            };
            let _ = writeln!(
                out,
                "<li><span class=\"{class}\">{}</span> {} <small>{}</small></li>",
                c.verdict.words(),
                escape(&c.text),
                escape(&c.evidence)
            );
        }
        out += "</ul></section>\n";
    }
    for t in tables(report) {
        out += &section(&t);
    }
    out += "<section><h2>Figures</h2>\n";
    for Drawn { path, earlier } in report.figures {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read", &e))?;
        let name = figure_name(path, report.folder);
        let mut caption = caption_of(&bytes).unwrap_or_default();
        if *earlier {
            caption += " Drawn earlier, from features that were not kept.";
        }
        let (kind, bytes) = embedded(bytes);
        let data = base64::engine::general_purpose::STANDARD.encode(bytes);
        let _ = writeln!(
            out,
            "<figure><img loading=\"lazy\" alt=\"{0}\" src=\"data:image/{kind};base64,{data}\"><figcaption><b>{0}</b> {1}</figcaption></figure>",
            escape(&name),
            escape(caption.trim())
        );
    }
    out += "</section>\n";
    out += &section(&environment_table(report));
    out += "<section><h2>Configurations</h2>\n";
    for (title, name, toml) in &report.configurations {
        let _ = writeln!(
            out,
            "<details><summary>{} <small>{}</small></summary><pre>{}</pre></details>",
            escape(title),
            escape(name),
            escape(toml)
        );
    }
    out += "</section>\n</main></body></html>\n";
    Ok(out)
}

/// Kind and bytes of a figure on the page: photographs as JPEG, at a fraction of the size; drawings as they are.
fn embedded(png: Vec<u8>) -> (&'static str, Vec<u8>) {
    if png.len() > LARGE_FIGURE
        && let Some(jpeg) = as_jpeg(&png)
        && jpeg.len() < png.len() / 2
    {
        return ("jpeg", jpeg);
    }
    ("png", png)
}

fn as_jpeg(png: &[u8]) -> Option<Vec<u8>> {
    let picture = image::load_from_memory_with_format(png, ImageFormat::Png).ok()?.to_rgb8();
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY).encode_image(&picture).ok()?;
    Some(jpeg)
}

/// `audio/gim/figures/loss.png` in the comparison's folder → `audio/gim: loss`; figures over all runs have no run in front.
fn figure_name(path: &Path, folder: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let run = path.parent().and_then(|figures| figures.strip_prefix(folder).ok()?.parent());
    match run.map(|r| r.to_string_lossy()) {
        Some(run) if !run.is_empty() => format!("{run}: {stem}"),
        _ => stem.into_owned(),
    }
}

fn section(t: &Table) -> String {
    let mut out = format!("<section><h2>{}</h2>\n<p class=\"note\">{}</p>\n", escape(&t.title), escape(&t.note));
    out += "<div class=\"wide\"><table><thead><tr>";
    for h in &t.head {
        let _ = write!(out, "<th>{}</th>", escape(h));
    }
    out += "</tr></thead><tbody>\n";
    for row in &t.rows {
        out += "<tr>";
        for cell in row {
            let number = cell.starts_with(|c: char| c.is_ascii_digit() || "+-~".contains(c));
            let _ = write!(out, "<td{}>{}</td>", if number { " class=\"n\"" } else { "" }, escape(cell));
        }
        out += "</tr>\n";
    }
    out += "</tbody></table></div></section>\n";
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_named_by_run() {
        let name = |file: &str| figure_name(&Path::new("runs/figures").join(file), Path::new("runs/figures"));
        assert_eq!(name("audio/gim/figures/loss.png"), "audio/gim: loss");
        assert_eq!(name("figures/error-speakers.png"), "error-speakers");
    }

    #[test]
    fn photographs_are_embedded_as_jpeg_and_drawings_as_they_are() {
        let png = |pixel: fn(u32, u32) -> u8| {
            let picture = image::GrayImage::from_fn(700, 700, |x, y| image::Luma([pixel(x, y)]));
            let mut bytes = std::io::Cursor::new(Vec::new());
            picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
            bytes.into_inner()
        };
        let photograph = png(|x, y| ((x + y) / 6 % 240 + (x * x * 31 + y * y * 17) / 7 % 12) as u8);
        assert!(photograph.len() > LARGE_FIGURE, "{}", photograph.len());
        let (kind, bytes) = embedded(photograph.clone());
        assert!(kind == "jpeg" && bytes.starts_with(&[0xff, 0xd8]) && 2 * bytes.len() < photograph.len());
        let drawing = png(|x, y| if x == y { 0 } else { 255 });
        assert_eq!(embedded(drawing.clone()), ("png", drawing));
        assert_eq!(embedded(vec![7; 2 * LARGE_FIGURE]), ("png", vec![7; 2 * LARGE_FIGURE]));
    }

    #[test]
    fn the_page_is_whole_and_escapes_what_it_shows() {
        let folder = tempfile::tempdir().unwrap();
        let png = folder.path().join("a.png");
        std::fs::write(&png, b"not looked into").unwrap();
        let claim = Claim { text: "a < b".into(), verdict: Verdict::Held, evidence: "+1".into() };
        let figures = [Drawn { path: png, earlier: true }];
        let report = Report {
            title: "T".into(),
            environments: Vec::new(),
            summary: &[],
            ablations: &[],
            peaks: &[],
            claims: &[claim],
            folder: Path::new(""),
            figures: &figures,
            configurations: vec![("A".into(), "a".into(), "x = \"<\"".into())],
        };
        let page = html(&report).unwrap();
        assert!(
            page.contains("a &lt; b") && page.contains("data:image/png;base64,bm90") && page.ends_with("</html>\n")
        );
        assert!(page.contains("a</b> Drawn earlier"));
        assert!(!page.contains("http"), "nothing is fetched");
        assert!(markdown(&report).contains("| a < b | held | +1 |"));
    }
}
