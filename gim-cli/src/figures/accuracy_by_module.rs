//! Probe accuracy of every module, beside a random encoder and other baselines.

use std::collections::{BTreeMap, BTreeSet};

use gim_core::Result;

use super::axes::{Panel, Sample, Scale, Shape, Sheet, error_bar};
use super::canvas::{Canvas, Color};
use super::palette::{MUTED, Role};
use super::{BARS, Figure, mean_and_half_width, percent, select, task_word};
use crate::experiment::domain::MethodKind;
use crate::output::count;
use gim_eval::{Group, ProbeRow, Protocol, Task};

const FIGURE: &str = "accuracy by module";

/// Input of [`accuracy_by_module`].
#[derive(Debug, Clone)]
pub(crate) struct AccuracyByModule {
    /// Title; should name the dataset, and the seeds.
    pub title: String,
    /// Second line, may be empty.
    pub subtitle: String,
    /// The method whose encoder is shown.
    pub method: MethodKind,
    /// Task to show: `phones`, `speakers` or `classes`.
    pub task: Task,
    /// Probe protocol to show; required when the rows hold several.
    pub protocol: Option<Protocol>,
    /// Rows of any number of `probe.csv` files, one file a seed; accuracies from 0 to 1.
    pub rows: Vec<ProbeRow>,
}

/// A panel: its title and the accuracy of a row that it shows.
type Metric = (&'static str, fn(&ProbeRow) -> Option<f64>);

/// Titles of the first panel: for tasks with a label a frame, and with a label an item.
const ALL: &str = "All frames";
const ALL_ITEMS: &str = "All items";
const SILENT: &str = "Without silence";

const METRICS: [Metric; 3] = [
    (ALL, |r| Some(r.accuracy)),
    (SILENT, |r| r.accuracy_no_silence),
    ("Mean over classes", |r| Some(r.macro_accuracy)),
];

/// Accuracies (%) of one series by module, a value for each seed.
type Series = BTreeMap<usize, Vec<f64>>;

/// Draws accuracy by module: trained and random encoder with error bars over seeds, features of
/// the input and the majority class as horizontal lines.
///
/// There is a panel for each kind of accuracy that the rows have: of all frames, without silence,
/// mean over classes.
///
/// # Errors
/// When the rows mix protocols, or no module has an accuracy for the task.
pub(crate) fn accuracy_by_module(spec: &AccuracyByModule) -> Result<Figure> {
    let rows = select(FIGURE, &spec.rows, spec.task, spec.protocol)?;
    let on_modules = |r: &&&ProbeRow| r.module > 0;
    let metrics: Vec<Metric> = METRICS
        .into_iter()
        .filter(|(_, value)| rows.iter().filter(on_modules).any(|r| value(r).is_some_and(f64::is_finite)))
        .collect();
    let n_modules = rows.iter().map(|r| r.module).max().unwrap_or(1);
    let seeds: BTreeSet<u64> = rows.iter().filter(|r| r.group == Group::Trained).map(|r| r.seed).collect();

    let panels: Vec<Content> = metrics.iter().map(|&(_, value)| Content::of(&rows, value)).collect();
    let (low, high) =
        panels.iter().flat_map(Content::extremes).fold((100.0, 0.0), |(l, h): (f64, f64), v| (l.min(v), h.max(v)));
    let low = if low < 35.0 { 0.0 } else { low - 4.0 };
    let y_scale = Scale::linear(low, (high + 3.0).min(100.0), 8, true);

    let parts: Vec<Part> = Part::ALL.into_iter().filter(|part| panels.iter().any(|p| p.has(*part))).collect();
    let legend = parts.iter().map(|part| (part.sample(spec.method), part.label().to_owned())).collect();
    let sheet = Sheet {
        title: spec.title.clone(),
        subtitle: spec.subtitle.clone(),
        legend,
        named_ends: metrics.len() == 1,
        panel_titles: match metrics[..] {
            [_] => vec![String::new()],
            [(ALL, _), (second, _), ..] if second != SILENT => {
                metrics.iter().map(|m| if m.0 == ALL { ALL_ITEMS } else { m.0 }.to_owned()).collect()
            }
            _ => metrics.iter().map(|m| m.0.to_owned()).collect(),
        },
        columns: 3,
        panel: match metrics.len() {
            1 => (640.0, 360.0),
            _ => (340.0, 320.0),
        },
        x_title: "Module".into(),
        y_title: format!("{} accuracy (%)", task_word(spec.task)),
        notes: Vec::new(),
        numbers: true,
    };
    let (mut canvas, areas) = sheet.lay_out(|_| (Scale::modules(n_modules), y_scale.clone()))?;
    for (area, content) in areas.iter().zip(&panels) {
        content.draw(&mut canvas, area, spec.method);
    }
    if let ([panel], [content]) = (&areas[..], &panels[..])
        && sheet.named_ends
    {
        let ends: Vec<_> = parts.iter().map(|part| content.end(*part, panel)).collect();
        sheet.name_ends(&mut canvas, panel, &ends)?;
    }

    let n_seeds = seeds.len().max(1);
    let seeds = count(n_seeds, "seed");
    let markers = if n_seeds > 1 { format!("markers: mean over {seeds}, {BARS}") } else { seeds };
    let mut caption =
        format!("{}: probe accuracy for {} on the frozen output of each module ({markers}).", spec.title, spec.task);
    let baselines: Vec<&str> = parts.iter().filter(|p| **p != Part::Trained).map(|p| p.label()).collect();
    if !baselines.is_empty() {
        caption.push_str(&format!(" Baselines: {}.", baselines.join(", ")));
    }
    Ok(Figure { canvas, caption })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Trained,
    Random,
    Mfcc,
    Raw,
    Majority,
}

impl Part {
    /// In the order of the legend.
    const ALL: [Self; 5] = [Self::Trained, Self::Random, Self::Mfcc, Self::Raw, Self::Majority];

    fn label(self) -> &'static str {
        match self {
            Self::Trained => "trained encoder",
            Self::Random => "random encoder",
            Self::Mfcc => "MFCC",
            Self::Raw => "raw input",
            Self::Majority => "majority class",
        }
    }

    /// How it looks beside a method.
    fn sample(self, method: MethodKind) -> Sample {
        match self {
            Self::Trained => Sample::Marked(Role::Method(method).color(), Shape::Circle),
            Self::Random => Sample::Marked(Role::Random.color(), Shape::Square),
            Self::Mfcc => Sample::Dashed(Role::Mfcc.color()),
            Self::Raw => Sample::Dashed(Role::Raw.color()),
            Self::Majority => Sample::Dotted(MUTED),
        }
    }
}

/// What one panel shows, in percent.
struct Content {
    trained: Series,
    random: Series,
    mfcc: Option<f64>,
    raw: Option<f64>,
    majority: Option<f64>,
}

impl Content {
    fn of(rows: &[&ProbeRow], value: fn(&ProbeRow) -> Option<f64>) -> Self {
        let series = |group: Group| {
            let mut series = Series::new();
            for row in rows.iter().filter(|r| r.group == group) {
                if let Some(v) = value(row).filter(|v| v.is_finite()) {
                    series.entry(row.module).or_default().push(100.0 * v);
                }
            }
            series
        };
        let modules = |group| series(group).into_iter().filter(|(m, _)| *m > 0).collect();
        let level = |group| series(group).get(&0).map(|values| mean_and_half_width(values).0);
        // `majority` is the chance level of the accuracy over all rows; other panels have another.
        let all_rows = rows.iter().all(|r| value(r) == Some(r.accuracy));
        let majorities: Vec<f64> = rows.iter().map(|r| r.majority).filter(|v| v.is_finite()).collect();
        let majority = (all_rows && !majorities.is_empty()).then(|| 100.0 * mean_and_half_width(&majorities).0);
        Self {
            trained: modules(Group::Trained),
            random: modules(Group::Random),
            mfcc: level(Group::Mfcc),
            raw: level(Group::Raw),
            majority,
        }
    }

    fn has(&self, part: Part) -> bool {
        match part {
            Part::Trained => !self.trained.is_empty(),
            Part::Random => !self.random.is_empty(),
            Part::Mfcc => self.mfcc.is_some(),
            Part::Raw => self.raw.is_some(),
            Part::Majority => self.majority.is_some(),
        }
    }

    /// The values the y axis must cover.
    fn extremes(&self) -> Vec<f64> {
        let mut all: Vec<f64> = [self.mfcc, self.raw, self.majority].into_iter().flatten().collect();
        for values in self.trained.values().chain(self.random.values()) {
            let (mean, half) = mean_and_half_width(values);
            all.extend([mean - half, mean + half]);
        }
        all
    }

    /// Where the curve or line of a part ends, in pixels; it must have one.
    fn end(&self, part: Part, panel: &Panel) -> (f64, f64) {
        let of = |series: &Series| {
            let last = series.last_key_value();
            last.map(|(module, values)| panel.at(*module as f64, mean_and_half_width(values).0))
        };
        let line = |value: Option<f64>| value.map(|v| panel.at(f64::INFINITY, v));
        let end = match part {
            Part::Trained => of(&self.trained),
            Part::Random => of(&self.random),
            Part::Mfcc => line(self.mfcc),
            Part::Raw => line(self.raw),
            Part::Majority => line(self.majority),
        };
        end.unwrap_or_else(|| panel.at(f64::INFINITY, 0.0))
    }

    fn draw(&self, canvas: &mut Canvas, panel: &Panel, method: MethodKind) {
        let levels = [(Part::Majority, self.majority), (Part::Raw, self.raw), (Part::Mfcc, self.mfcc)];
        for (part, value) in levels {
            if let Some(value) = value {
                panel.horizontal_line(canvas, value, part.sample(method));
                let end = panel.at(f64::INFINITY, value);
                canvas.hint(end, format!("{}: {}", part.label(), percent(value, 0.0)));
            }
        }
        // The two series stand side by side: their error bars do not hide each other.
        let offset = if self.has(Part::Random) && self.has(Part::Trained) { 3.0 } else { 0.0 };
        let trained = Role::Method(method).color();
        draw_series(canvas, panel, &self.random, Role::Random.color(), Shape::Square, offset);
        draw_series(canvas, panel, &self.trained, trained, Shape::Circle, -offset);
    }
}

/// Draws a series `offset` pixels right of its modules.
fn draw_series(canvas: &mut Canvas, panel: &Panel, series: &Series, color: Color, shape: Shape, offset: f64) {
    let at = |module: usize, value: f64| {
        let (x, y) = panel.at(module as f64, value);
        (x + offset, y)
    };
    let stats: Vec<(usize, f64, f64)> = series
        .iter()
        .map(|(&m, values)| {
            let (mean, half) = mean_and_half_width(values);
            (m, mean, half)
        })
        .collect();
    if stats.len() > 1 {
        canvas.line(stats.iter().map(|&(m, mean, _)| at(m, mean)).collect(), color, 2.0);
    }
    for &(m, mean, half) in &stats {
        if half > 0.0 {
            error_bar(canvas, at(m, mean - half), at(m, mean + half), color);
        }
        shape.draw(canvas, at(m, mean), 5.0, color, false);
        canvas.hint(at(m, mean), format!("module {m}: {}", percent(mean, half)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_figure, probe_rows};
    use super::*;

    fn spec(task: Task, rows: Vec<ProbeRow>) -> AccuracyByModule {
        let method = MethodKind::Gim;
        AccuracyByModule {
            title: "Accuracy — toy".into(), subtitle: String::new(), method, task, protocol: None, rows
        }
    }

    #[test]
    fn phones_have_three_panels_and_all_baselines() {
        let figure = accuracy_by_module(&spec(Task::Phones, probe_rows(Task::Phones, 6, &[1, 2, 3]))).unwrap();
        check_figure(
            &figure,
            &[
                "All frames",
                "Without silence",
                "Mean over classes",
                "trained encoder",
                "MFCC",
                "majority class",
                "Phone accuracy (%)",
            ],
        );
        assert!(figure.caption.contains("3 seeds"), "{}", figure.caption);
    }

    #[test]
    fn speakers_have_one_panel() {
        let figure = accuracy_by_module(&spec(Task::Speakers, probe_rows(Task::Speakers, 1, &[1]))).unwrap();
        check_figure(&figure, &["random encoder", "Speaker accuracy (%)"]);
        assert!(!figure.canvas.texts().contains(&ALL));
    }

    #[test]
    fn refuses_mixed_protocols_and_missing_tasks() {
        let mut rows = probe_rows(Task::Phones, 2, &[1]);
        let error = accuracy_by_module(&spec(Task::Speakers, rows.clone())).unwrap_err().to_string();
        assert!(error.contains("no module has an accuracy for 'speakers'"), "{error}");
        rows[3].protocol = Protocol::Paper;
        let error = accuracy_by_module(&spec(Task::Phones, rows.clone())).unwrap_err().to_string();
        assert!(error.contains("mix the protocols"), "{error}");
        assert!(
            accuracy_by_module(&AccuracyByModule { protocol: Some(Protocol::Paper), ..spec(Task::Phones, rows) })
                .is_ok()
        );
        assert!(accuracy_by_module(&spec(Task::Phones, vec![])).is_err());
    }
}
