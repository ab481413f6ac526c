//! Probe accuracy of every module against the baselines that say whether training was worth it.

use std::collections::{BTreeMap, BTreeSet};

use gim_core::Result;

use super::axes::{BLUE, GREEN, MUTED, ORANGE, PURPLE, Panel, Sample, Scale, Shape, Sheet};
use super::canvas::{Ink, Picture};
use super::{BARS, Figure, count, mean_and_half_width, select, task_word};
use gim_eval::{Group, ProbeRow, Protocol, Task};

const FIGURE: &str = "accuracy by module";

/// Input of [`accuracy_by_module`].
#[derive(Debug, Clone)]
pub struct AccuracyByModule {
    /// Title; should name the corpus and the seeds.
    pub title: String,
    /// Second line, may be empty.
    pub subtitle: String,
    /// Task to show, e.g. `phones` or `speakers`.
    pub task: Task,
    /// Protocol to show; needed when the rows hold several.
    pub protocol: Option<Protocol>,
    /// Rows of any number of `probe.csv` files: one for each seed.
    pub rows: Vec<ProbeRow>,
}

/// A panel: its title and which number of a row it shows.
type Metric = (&'static str, fn(&ProbeRow) -> Option<f64>);

/// Title of the first panel; where every row is an item of its own there are no frames.
const ALL: &str = "All frames";
const ALL_ITEMS: &str = "All items";
const SILENT: &str = "Without silence";

const METRICS: [Metric; 3] = [
    (ALL, |r| Some(r.accuracy)),
    (SILENT, |r| r.accuracy_no_silence),
    ("Mean over classes", |r| Some(r.macro_accuracy)),
];

/// Values of one series: by module, one for each seed.
type Series = BTreeMap<usize, Vec<f64>>;

/// Draws accuracy by module: trained and random encoder with error bars over seeds, inputs and majority class as levels.
///
/// Tasks whose rows have accuracies without silence or mean over classes get a panel for each.
pub fn accuracy_by_module(spec: &AccuracyByModule) -> Result<Figure> {
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

    let legend = LEGEND
        .into_iter()
        .filter(|(part, ..)| panels.iter().any(|p| p.has(*part)))
        .map(|(_, sample, label)| (sample, label.to_owned()))
        .collect();
    let sheet = Sheet {
        title: spec.title.clone(),
        subtitle: spec.subtitle.clone(),
        legend,
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
    let (mut picture, areas) = sheet.lay_out(|_| (Scale::modules(n_modules), y_scale.clone()))?;
    for (area, content) in areas.iter().zip(&panels) {
        content.draw(&mut picture, area);
    }

    let n_seeds = seeds.len().max(1);
    let mut caption = format!(
        "{}: accuracy for {} on the frozen output of each module ({}",
        spec.title,
        spec.task,
        count(n_seeds, "seed")
    );
    caption.push_str(&if n_seeds > 1 { format!("; markers: mean, {BARS}).") } else { ").".into() });
    let baselines: Vec<&str> =
        LEGEND.into_iter().skip(1).filter(|(part, ..)| panels.iter().any(|p| p.has(*part))).map(|l| l.2).collect();
    if !baselines.is_empty() {
        caption.push_str(&format!(" For comparison: {}.", baselines.join(", ")));
    }
    Ok(Figure { picture, caption })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Trained,
    Random,
    Mfcc,
    Raw,
    Majority,
}

const LEGEND: [(Part, Sample, &str); 5] = [
    (Part::Trained, Sample::Marked(BLUE, Shape::Circle), "trained encoder"),
    (Part::Random, Sample::Marked(GREEN, Shape::Square), "random encoder of the same shape"),
    (Part::Mfcc, Sample::Dashed(ORANGE), "MFCC"),
    (Part::Raw, Sample::Dashed(PURPLE), "raw input"),
    (Part::Majority, Sample::Dotted(MUTED), "commonest class"),
];

/// What one panel shows, in per cent.
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
        // `majority` belongs to the accuracy over all rows: the other panels have another chance level.
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

    fn draw(&self, picture: &mut Picture, panel: &Panel) {
        let levels = [(Part::Majority, self.majority), (Part::Raw, self.raw), (Part::Mfcc, self.mfcc)];
        for (part, value) in levels {
            let sample = LEGEND.into_iter().find(|l| l.0 == part).map(|l| l.1);
            if let (Some(value), Some(sample)) = (value, sample) {
                panel.level(picture, value, sample);
            }
        }
        // The two series step aside a little, so that their error bars do not hide each other.
        let aside = if self.has(Part::Random) && self.has(Part::Trained) { 3.0 } else { 0.0 };
        draw_series(picture, panel, &self.random, GREEN, Shape::Square, aside);
        draw_series(picture, panel, &self.trained, BLUE, Shape::Circle, -aside);
    }
}

/// Draws a series `aside` pixels right of its modules.
fn draw_series(picture: &mut Picture, panel: &Panel, series: &Series, ink: Ink, shape: Shape, aside: f64) {
    let at = |module: usize, value: f64| {
        let (x, y) = panel.at(module as f64, value);
        (x + aside, y)
    };
    let stats: Vec<(usize, f64, f64)> = series
        .iter()
        .map(|(&m, values)| {
            let (mean, half) = mean_and_half_width(values);
            (m, mean, half)
        })
        .collect();
    if stats.len() > 1 {
        picture.line(stats.iter().map(|&(m, mean, _)| at(m, mean)).collect(), ink, 2.0);
    }
    for &(m, mean, half) in &stats {
        if half > 0.0 {
            error_bar(picture, at(m, mean - half), at(m, mean + half), ink);
        }
        shape.draw(picture, at(m, mean), 5.0, ink, false);
    }
}

/// A vertical bar with caps.
pub(super) fn error_bar(picture: &mut Picture, low: (f64, f64), high: (f64, f64), ink: Ink) {
    picture.line(vec![low, high], ink, 1.6);
    for (x, y) in [low, high] {
        picture.line(vec![(x - 4.5, y), (x + 4.5, y)], ink, 1.6);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_figure, probe_rows};
    use super::*;

    fn spec(task: Task, rows: Vec<ProbeRow>) -> AccuracyByModule {
        AccuracyByModule { title: "Accuracy — toy".into(), subtitle: String::new(), task, protocol: None, rows }
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
                "commonest class",
                "Phone accuracy (%)",
            ],
        );
        assert!(figure.caption.contains("3 seeds"), "{}", figure.caption);
    }

    #[test]
    fn speakers_have_one_panel() {
        let figure = accuracy_by_module(&spec(Task::Speakers, probe_rows(Task::Speakers, 1, &[1]))).unwrap();
        check_figure(&figure, &["random encoder of the same shape", "Speaker accuracy (%)"]);
        assert!(!figure.picture.texts().contains(&"All frames"));
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
