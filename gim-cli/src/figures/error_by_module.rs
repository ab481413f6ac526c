//! Probe error of every module, methods overlaid, beside the paper's values.

use std::collections::BTreeMap;

use gim_core::Result;

use super::axes::{Panel, SHAPES, Sample, Scale, Shape, Sheet, are_named, error_bar, spans_a_decade};
use super::canvas::{Canvas, Color};
use super::palette::{MUTED, Role};
use super::{BARS, Figure, mean_and_half_width, nothing_to_draw, percent, select, task_word};
use crate::experiment::domain::MethodKind;
use gim_eval::{ProbeRow, Protocol, Task};

const FIGURE: &str = "error by module";

/// Input of [`error_by_module`].
#[derive(Debug, Clone)]
pub(crate) struct ErrorByModule {
    /// Title; should name the dataset, and the seeds.
    pub title: String,
    /// Second line, may be empty.
    pub subtitle: String,
    /// Task to show: `phones`, `speakers` or `classes`.
    pub task: Task,
    /// Probe protocol to show; required when the rows hold several.
    pub protocol: Option<Protocol>,
    /// The methods to overlay.
    pub methods: Vec<ErrorCurve>,
    /// The paper's curves, drawn faint and dashed; may be empty.
    pub paper: Vec<PaperCurve>,
}

/// A method and its probe rows.
#[derive(Debug, Clone)]
pub(crate) struct ErrorCurve {
    /// Its name in the legend.
    pub label: String,
    /// Whose rows are drawn, and in which color.
    pub role: Role,
    /// Rows of any number of `probe.csv` files, one file a seed; accuracies from 0 to 1.
    pub rows: Vec<ProbeRow>,
}

/// A curve of the paper.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PaperCurve {
    /// Its name in the legend, before `(paper, read off figure)`.
    pub label: String,
    /// The method.
    pub method: Option<MethodKind>,
    /// Error (0 to 1) of modules 1, 2, …
    pub errors: Vec<f64>,
}

/// Error of one method at one module, in percent: mean and ends of the 95 % CI over seeds.
struct Point {
    module: usize,
    mean: f64,
    half: f64,
    low: f64,
    high: f64,
    /// No test item was wrong, with any seed: `mean` is half of one item.
    none_wrong: bool,
}

/// Draws error = 1 − accuracy by module; phones without silence, as in tables.
///
/// An error of 0 has no place on a logarithmic axis: its marker is hollow and stands at half of
/// one test item.
///
/// # Errors
/// When nothing is given, a method's rows mix protocols, or no module has an accuracy.
pub(crate) fn error_by_module(spec: &ErrorByModule) -> Result<Figure> {
    let mut methods: Vec<Vec<Point>> = Vec::with_capacity(spec.methods.len());
    for method in &spec.methods {
        let own: Vec<ProbeRow> = method.rows.iter().filter(|r| r.group == method.role.group()).cloned().collect();
        let rows = select(FIGURE, &own, spec.task, spec.protocol)?;
        methods.push(points(&rows));
    }
    let paper_errors = || spec.paper.iter().flat_map(|p| &p.errors).filter(|e| e.is_finite() && **e > 0.0);
    let all = || methods.iter().flatten();
    if all().next().is_none() && paper_errors().next().is_none() {
        return Err(nothing_to_draw(FIGURE, "there are no methods", "give at least one run's probe results"));
    }
    let n_modules = all().map(|p| p.module).chain(spec.paper.iter().map(|p| p.errors.len())).max().unwrap_or(1);
    let values = all().flat_map(|p| [p.low, p.mean, p.high]).chain(paper_errors().map(|e| 100.0 * e));
    let levels = levels(spec);
    let values = values.chain(levels.iter().map(|l| l.error));
    let (low, high) = values.fold((f64::INFINITY, 0.0f64), |(l, h), v| (l.min(v), h.max(v)));
    let means = all().map(|p| p.mean).chain(paper_errors().map(|e| 100.0 * e)).chain(levels.iter().map(|l| l.error));
    let (least, most) = means.fold((f64::INFINITY, 0.0f64), |(l, h), v| (l.min(v), h.max(v)));
    let is_log = spans_a_decade(least, most);
    let y_scale = match is_log {
        true => Scale::log(low / 1.2, (high * 1.2).min(100.0)),
        // Room around the curves, so that small differences look small.
        false => Scale::linear((low - 4.0).max(0.0), (high + 4.0).min(100.0), 8, true),
    };

    let none_wrong = all().any(|p| p.none_wrong);
    let sheet = sheet(spec, &levels, none_wrong, is_log);
    let (mut canvas, panels) = sheet.lay_out(|_| (Scale::modules(n_modules), y_scale.clone()))?;
    for panel in &panels {
        for level in &levels {
            panel.horizontal_line(&mut canvas, level.error, level.sample);
        }
        for (i, curve) in spec.paper.iter().enumerate() {
            draw_paper(&mut canvas, panel, curve, i);
        }
        // Methods stand side by side: at one module their bars would hide each other.
        for (i, (curve, points)) in spec.methods.iter().zip(&methods).enumerate() {
            let offset = offset(i, methods.len());
            draw_method(&mut canvas, panel, (curve, points), (curve.role.color(), shape(i)), offset);
        }
    }
    if let ([panel], true) = (&panels[..], sheet.named_ends) {
        let end = |points: &Vec<Point>, offset: f64| {
            let end = points.last().map_or((f64::INFINITY, low), |p| (p.module as f64, p.mean));
            let (x, y) = panel.at(end.0, end.1);
            (x + offset, y)
        };
        let curves = methods.iter().enumerate().map(|(i, points)| end(points, offset(i, methods.len())));
        let lines = levels.iter().map(|l| panel.at(f64::INFINITY, l.error));
        let paper = spec.paper.iter().map(|c| panel.at(c.errors.len() as f64, 100.0 * c.errors.last().unwrap_or(&0.0)));
        sheet.name_ends(&mut canvas, panel, &curves.chain(lines).chain(paper).collect::<Vec<_>>())?;
    }
    let caption = caption(spec, is_log, all().any(|p| p.high > p.low), none_wrong);
    Ok(Figure { canvas, caption })
}

/// Whether errors are of frames without silence.
fn without_silence(spec: &ErrorByModule) -> bool {
    spec.methods.iter().flat_map(|m| &m.rows).any(|r| r.accuracy_no_silence.is_some())
}

/// The sheet, with a note when a marker is hollow because no test item was wrong.
fn sheet(spec: &ErrorByModule, levels: &[Level], none_wrong: bool, is_log: bool) -> Sheet {
    let mut legend: Vec<(Sample, String)> = Vec::new();
    for (i, method) in spec.methods.iter().enumerate() {
        legend.push((Sample::Marked(method.role.color(), shape(i)), method.label.clone()));
    }
    legend.extend(levels.iter().map(|l| (l.sample, l.label.to_owned())));
    for (i, curve) in spec.paper.iter().enumerate() {
        let label = format!("{} (paper, read off figure)", curve.label);
        legend.push((Sample::MarkedDashed(paper_color(curve), shape(i)), label));
    }
    let mut notes = Vec::new();
    if none_wrong {
        let rows = spec.methods.iter().flat_map(|m| &m.rows).filter(|r| r.task == spec.task);
        let of = rows.map(|r| r.test_rows).max().map_or(String::new(), |n| format!(" of {n}"));
        notes.push(format!("Hollow: no test item was wrong; drawn at half of one item{of}."));
    }
    Sheet {
        title: spec.title.clone(),
        subtitle: spec.subtitle.clone(),
        legend,
        named_ends: are_named(spec.methods.len() + spec.paper.len()),
        panel_titles: vec![String::new()],
        columns: 1,
        panel: (780.0, 430.0),
        x_title: "Module".into(),
        y_title: format!(
            "{} error{} (%){}",
            task_word(spec.task),
            if without_silence(spec) { " without silence" } else { "" },
            if is_log { ", log scale" } else { "" }
        ),
        notes,
        numbers: true,
    }
}

fn caption(spec: &ErrorByModule, is_log: bool, several_seeds: bool, none_wrong: bool) -> String {
    let silence = if without_silence(spec) { ", without silence," } else { "" };
    let axis = if is_log { ", log axis" } else { "" };
    let mut caption = format!("Probe error for {}{silence} on the frozen output of each module{axis}.", spec.task);
    if several_seeds {
        caption.push_str(&format!(" Markers: mean, {BARS}, cut off at half of one test item."));
    }
    if none_wrong {
        caption.push_str(" Hollow markers: no test item was wrong; drawn at half of one item.");
    }
    if !spec.paper.is_empty() {
        caption.push_str(" Faint and dashed: the paper's values on its own dataset, read off its figure (±3 %).");
    }
    caption
}

/// Of method `i` of `n`, in pixels to the right.
fn offset(i: usize, n: usize) -> f64 {
    7.0 * (i as f64 - (n - 1) as f64 / 2.0)
}

/// The error of features without modules, a horizontal line.
struct Level {
    sample: Sample,
    label: &'static str,
    /// In percent.
    error: f64,
}

/// Input features of the first method that has them: they are the same for all methods.
fn levels(spec: &ErrorByModule) -> Vec<Level> {
    let level = |(role, label): (Role, &'static str)| {
        let of = |m: &ErrorCurve| -> Vec<f64> {
            let rows = m.rows.iter().filter(|r| r.group == role.group() && r.task == spec.task);
            let rows = rows.filter(|r| spec.protocol.is_none_or(|p| r.protocol == p));
            rows.map(|r| 100.0 * (1.0 - r.primary_accuracy())).filter(|e| e.is_finite() && *e > 0.0).collect()
        };
        let errors = spec.methods.iter().map(of).find(|errors| !errors.is_empty())?;
        Some(Level { sample: Sample::Dashed(role.color()), label, error: mean_and_half_width(&errors).0 })
    };
    [(Role::Mfcc, "MFCC"), (Role::Raw, "raw input")].into_iter().filter_map(level).collect()
}

fn shape(method: usize) -> Shape {
    SHAPES[method % SHAPES.len()]
}

/// The method's color, mixed with white.
fn paper_color(curve: &PaperCurve) -> Color {
    curve.method.map_or(MUTED, |method| Role::Method(method).color()).faint(0.55)
}

fn points(rows: &[&ProbeRow]) -> Vec<Point> {
    let mut by_module: BTreeMap<usize, Vec<(f64, f64)>> = BTreeMap::new();
    for row in rows.iter().filter(|r| r.module > 0 && r.primary_accuracy().is_finite()) {
        let half_item = 0.5 / row.test_rows.max(1) as f64;
        by_module.entry(row.module).or_default().push((1.0 - row.primary_accuracy(), half_item));
    }
    by_module
        .into_iter()
        .map(|(module, seeds)| {
            // Rounding leaves 1 − accuracy a hair from zero; less than half an item is none.
            let shown: Vec<f64> = seeds.iter().map(|&(error, half)| 100.0 * error.max(half)).collect();
            let least = seeds.iter().map(|s| 100.0 * s.1).fold(f64::INFINITY, f64::min);
            let (mean, half) = mean_and_half_width(&shown);
            Point {
                module,
                mean,
                half,
                low: (mean - half).max(least),
                high: (mean + half).min(100.0),
                none_wrong: seeds.iter().all(|&(error, half)| error < half),
            }
        })
        .collect()
}

/// Draws a method `offset` pixels right of its modules.
fn draw_method(
    canvas: &mut Canvas,
    panel: &Panel,
    (curve, points): (&ErrorCurve, &[Point]),
    (color, shape): (Color, Shape),
    offset: f64,
) {
    let at = |p: &Point, value: f64| {
        let (x, y) = panel.at(p.module as f64, value);
        (x + offset, y)
    };
    if points.len() > 1 {
        canvas.line(points.iter().map(|p| at(p, p.mean)).collect(), color, 2.0);
    }
    for point in points {
        if point.high > point.low {
            error_bar(canvas, at(point, point.low), at(point, point.high), color);
        }
        shape.draw(canvas, at(point, point.mean), 5.5, color, point.none_wrong);
        let value = percent(point.mean, point.half);
        canvas.hint(at(point, point.mean), format!("{}, module {}: {value}", curve.label, point.module));
    }
}

fn draw_paper(canvas: &mut Canvas, panel: &Panel, curve: &PaperCurve, index: usize) {
    let (color, shape) = (paper_color(curve), shape(index));
    let shown = curve.errors.iter().enumerate().filter(|(_, e)| e.is_finite());
    let at: Vec<_> = shown.map(|(i, e)| panel.at((i + 1) as f64, (100.0 * e).max(panel.y_scale().low()))).collect();
    for ends in at.windows(2) {
        Sample::Dashed(color).stroke(canvas, ends[0], ends[1]);
    }
    for (&point, error) in at.iter().zip(curve.errors.iter().filter(|e| e.is_finite())) {
        shape.draw(canvas, point, 4.5, color, false);
        canvas.hint(point, format!("{} (paper): {}", curve.label, percent(100.0 * error, 0.0)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_figure, probe_rows};
    use super::*;

    fn spec(methods: Vec<ErrorCurve>, paper: Vec<PaperCurve>) -> ErrorByModule {
        ErrorByModule {
            title: "Speaker error — toy".into(),
            subtitle: "seeds 1, 2".into(),
            task: Task::Speakers,
            protocol: None,
            methods,
            paper,
        }
    }

    const GIM: Role = Role::Method(MethodKind::Gim);

    fn method(label: &str, role: Role, n_modules: usize, seeds: &[u64]) -> ErrorCurve {
        ErrorCurve { label: label.into(), role, rows: probe_rows(Task::Speakers, n_modules, seeds) }
    }

    #[test]
    fn overlays_methods_and_the_paper() {
        let methods = vec![method("GIM", GIM, 6, &[1, 2]), method("random", Role::Random, 6, &[1, 2])];
        let paper = vec![PaperCurve {
            label: "GIM".into(),
            method: Some(MethodKind::Gim),
            errors: vec![0.736, 0.0995, 0.0203, 0.013, 0.0093, 0.0063],
        }];
        let figure = error_by_module(&spec(methods, paper)).unwrap();
        check_figure(&figure, &["GIM (paper, read off figure)", "random", "Speaker error (%), log scale", "6"]);
        assert!(figure.caption.contains("over seeds") && figure.caption.contains("read off"), "{}", figure.caption);
    }

    #[test]
    fn no_error_is_drawn_at_half_of_one_item() {
        let mut gim = method("GIM", GIM, 2, &[1]);
        gim.rows.iter_mut().filter(|r| r.module == 2).for_each(|r| r.accuracy = 1.0);
        let shown = points(&gim.rows.iter().filter(|r| r.group == GIM.group()).collect::<Vec<_>>());
        assert!(shown[1].none_wrong && !shown[0].none_wrong);
        assert_eq!(shown[1].mean, 100.0 * 0.5 / 500.0);
        let figure = error_by_module(&spec(vec![gim], vec![])).unwrap();
        check_figure(&figure, &["Hollow: no test item was wrong; drawn at half of one item of 500."]);
    }

    #[test]
    fn nothing_to_draw_is_an_error() {
        assert!(error_by_module(&spec(vec![], vec![])).is_err());
        let empty = ErrorCurve { label: "GIM".into(), role: GIM, rows: vec![] };
        let error = error_by_module(&spec(vec![empty], vec![])).unwrap_err().to_string();
        assert!(error.contains("no module has an accuracy"), "{error}");
    }
}
