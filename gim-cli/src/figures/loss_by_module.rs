//! Training loss against the training step, a panel per module, runs overlaid.

use std::collections::{BTreeMap, BTreeSet};

use gim_core::Result;
use gim_core::loss::LossKind;

use super::axes::{Panel, Sample, Scale, Sheet, columns};
use super::canvas::{Canvas, Color};
use super::palette::{MUTED, PALETTE};
use super::{Figure, nothing_to_draw};
use crate::output::count;
use gim_eval::TrainRow;

/// Input of [`loss_by_module`].
#[derive(Debug, Clone)]
pub(crate) struct LossByModule {
    /// Title; should name the dataset, and the seeds.
    pub title: String,
    /// Second line, may be empty.
    pub subtitle: String,
    /// The runs to overlay: seeds, schedules or both.
    pub runs: Vec<LossRun>,
    /// The loss.
    pub loss: LossKind,
    /// Negatives per positive, N, of an InfoNCE loss, whose chance level ln(N+1) is drawn. `None` for others.
    pub negatives: Option<usize>,
}

/// A run's losses.
#[derive(Debug, Clone)]
pub(crate) struct LossRun {
    /// Its name in the legend.
    pub label: String,
    /// Rows of its `train.csv`; losses in nats.
    pub rows: Vec<TrainRow>,
    /// Rows of its `validation.csv`: losses on held-out items, in nats; may be empty.
    pub held_out: Vec<TrainRow>,
}

/// A module's finite losses as (training step, nats) in step order, and the smooth curve over them.
struct Curve {
    raw: Vec<(f64, f64)>,
    smooth: Vec<(f64, f64)>,
}

/// A long raw curve is drawn as the band between the lowest and the highest value of so many bins,
/// a smooth one through about so many points.
const BINS: usize = 220;
/// Points of a curve that tell their value to the pointer.
const HINTS: usize = 5;
/// Fewest rows on either side that a running line is fitted to.
const LEAST_HALF: usize = 3;

/// Draws the loss of every module: raw values faintly, a running line fit over them, held-out items
/// and chance dashed.
///
/// # Errors
/// When there are no rows.
pub(crate) fn loss_by_module(spec: &LossByModule) -> Result<Figure> {
    let modules: BTreeSet<usize> = spec.runs.iter().flat_map(|r| r.rows.iter().map(|row| row.module)).collect();
    let modules: Vec<usize> = modules.into_iter().collect();
    if modules.is_empty() {
        return Err(nothing_to_draw(
            "loss by module",
            "there are no training rows",
            "train for at least one step first",
        ));
    }
    let curves: Vec<Vec<Curve>> =
        modules.iter().map(|&m| spec.runs.iter().map(|run| curve(&run.rows, m)).collect()).collect();
    let held_out: Vec<Vec<Curve>> =
        modules.iter().map(|&m| spec.runs.iter().map(|run| measured(&run.held_out, m)).collect()).collect();
    let chance = spec.negatives.map(|n| ((n + 1) as f64).ln());
    // Cross-entropies and InfoNCE are in nats; of other losses, a number says nothing beside another loss's.
    let (name, unit) = match spec.loss {
        LossKind::InfoNce if spec.negatives.is_some() => ("InfoNCE loss".to_owned(), " (nats)"),
        LossKind::CrossEntropy | LossKind::Auxiliary => ("Cross-entropy".to_owned(), " (nats)"),
        other => (format!("Loss {other}"), ""),
    };
    let (x_scale, y_scale) = scales(curves.iter().chain(&held_out).flatten(), chance);

    let mut legend = Vec::new();
    for (i, run) in spec.runs.iter().enumerate() {
        legend.push((Sample::Line(color(i)), run.label.clone()));
    }
    let validated = spec.runs.iter().position(|run| !run.held_out.is_empty());
    if let Some(run) = validated {
        legend.push((Sample::Dashed(color(run)), "held-out items".into()));
    }
    if let (Some(n), Some(chance)) = (spec.negatives, chance) {
        legend.push((Sample::Dashed(MUTED), format!("chance: ln {} = {chance:.2} nats", n + 1)));
    }
    let mut notes: Vec<String> = spec.runs.iter().filter_map(not_finite).collect();
    if curves.iter().flatten().flat_map(|c| &c.smooth).any(|p| p.1 > y_scale.high()) {
        notes.push("Smoothed values above the axis are drawn at its upper edge.".into());
    }
    let sheet = Sheet {
        title: spec.title.clone(),
        subtitle: spec.subtitle.clone(),
        legend,
        named_ends: false,
        panel_titles: modules.iter().map(|m| format!("Module {m}")).collect(),
        columns: columns(modules.len()),
        panel: if modules.len() == 1 { (680.0, 380.0) } else { (350.0, 250.0) },
        x_title: "Training step".into(),
        y_title: format!("{name}{unit}"),
        notes,
        numbers: true,
    };
    let (mut canvas, panels) = sheet.lay_out(|_| (x_scale.clone(), y_scale.clone()))?;
    for ((panel, runs), held_out) in panels.iter().zip(&curves).zip(&held_out) {
        draw_panel(&mut canvas, panel, runs, chance);
        for (i, curve) in held_out.iter().enumerate() {
            let points: Vec<_> = curve.raw.iter().map(|&(x, y)| panel.at(x, y)).collect();
            canvas.dashed_line(&points, color(i), 1.8, 6.0, 4.0);
        }
    }

    let seen = spec.runs.iter().map(|r| r.label.as_str()).collect::<Vec<_>>().join(", ");
    let mut caption = format!(
        "{name} of each module by training step ({seen}). Faint: range of the raw values. Strong: running line fit over a \
         twentieth of the run, at least {} rows.",
        2 * LEAST_HALF + 1
    );
    if validated.is_some() {
        caption.push_str(" Dashed, in a run's color: loss on items held out of training.");
    }
    if let (Some(n), Some(chance)) = (spec.negatives, chance) {
        caption.push_str(&format!(" Dashed and gray: chance level, ln(N+1) = {chance:.2} nats for N = {n} negatives."));
    }
    Ok(Figure { canvas, caption })
}

fn color(run: usize) -> Color {
    PALETTE[run % PALETTE.len()]
}

fn draw_panel(canvas: &mut Canvas, panel: &Panel, runs: &[Curve], chance: Option<f64>) {
    if runs.iter().all(|c| c.raw.is_empty()) {
        panel.message(canvas, "no finite loss");
        return;
    }
    // All raw curves first: none hides another run's smooth curve.
    for (i, curve) in runs.iter().enumerate() {
        let place = |points: Vec<(f64, f64)>| points.into_iter().map(|(x, y)| panel.at(x, y)).collect();
        if curve.raw.len() > 2 * BINS {
            // Bands lie over each other: the more runs, the fainter each.
            canvas.translucent_polygon(place(band(&curve.raw)), color(i), 0.4 / (1 + runs.len()) as f64);
        } else {
            canvas.line(place(curve.raw.clone()), color(i).faint(0.28), 1.0);
        }
    }
    if let Some(chance) = chance {
        panel.horizontal_line(canvas, chance, Sample::Dashed(MUTED));
    }
    for (i, curve) in runs.iter().enumerate() {
        // A hint every few points, and at the end.
        let every = curve.smooth.len().div_ceil(HINTS).max(1);
        for &(x, y) in curve.smooth.iter().rev().step_by(every) {
            canvas.hint(panel.at(x, y), format!("step {x:.0}: {y:.3}"));
        }
        let points: Vec<_> = curve.smooth.iter().map(|&(x, y)| panel.at(x, y)).collect();
        match points[..] {
            [at] => canvas.disc(at, 4.5, color(i)),
            _ => canvas.line(points, color(i), 2.0),
        }
    }
}

fn curve(rows: &[TrainRow], module: usize) -> Curve {
    let mut raw: Vec<(f64, f64)> =
        rows.iter().filter(|r| r.module == module && r.loss.is_finite()).map(|r| (r.step as f64, r.loss)).collect();
    raw.sort_by(|a, b| a.0.total_cmp(&b.0));
    let smooth = smoothed(&raw, (raw.len() / 40).max(LEAST_HALF).min(raw.len() / 4));
    Curve { raw, smooth }
}

/// Losses on held-out items, which are few and drawn as they are.
fn measured(rows: &[TrainRow], module: usize) -> Curve {
    let curve = curve(rows, module);
    Curve { smooth: curve.raw.clone(), ..curve }
}

/// A note on the rows of a run that have no finite loss; none if all have one.
fn not_finite(run: &LossRun) -> Option<String> {
    let mut first: BTreeMap<usize, u64> = BTreeMap::new();
    let mut n = 0;
    for row in run.rows.iter().filter(|r| !r.loss.is_finite()) {
        n += 1;
        let step = first.entry(row.module).or_insert(row.step);
        *step = row.step.min(*step);
    }
    let places: Vec<String> = first.iter().map(|(m, step)| format!("module {m} from step {step}")).collect();
    (n > 0)
        .then(|| format!("{}: {} without a finite loss left out ({}).", run.label, count(n, "row"), places.join(", ")))
}

/// Values of straight lines fitted to windows of `2·half + 1` points, at most about [`BINS`] of
/// them.
///
/// At an end of the run the window lies to one side: there the mean would lag behind a falling
/// curve, and a line does not.
fn smoothed(points: &[(f64, f64)], half: usize) -> Vec<(f64, f64)> {
    let n = points.len();
    let stride = n.div_ceil(BINS).max(1);
    let last = n.checked_sub(1).filter(|l| l % stride != 0);
    let width = (2 * half + 1).min(n);
    let at = (0..n).step_by(stride).chain(last);
    at.map(|i| {
        let start = i.saturating_sub(half).min(n - width);
        (points[i].0, line_at(&points[start..start + width], points[i].0))
    })
    .collect()
}

/// Value at `x` of the least-squares line through `points`.
fn line_at(points: &[(f64, f64)], x: f64) -> f64 {
    let n = points.len() as f64;
    let mean_x = points.iter().map(|p| p.0).sum::<f64>() / n;
    let mean_y = points.iter().map(|p| p.1).sum::<f64>() / n;
    let spread: f64 = points.iter().map(|p| (p.0 - mean_x).powi(2)).sum();
    let slope = points.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum::<f64>() / spread;
    if slope.is_finite() { mean_y + slope * (x - mean_x) } else { mean_y }
}

/// Outline of the band between the lowest and the highest value in each of at most [`BINS`] bins.
fn band(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut upper = Vec::with_capacity(2 * BINS);
    let mut lower = Vec::with_capacity(BINS);
    for bin in points.chunks(points.len().div_ceil(BINS).max(1)) {
        let middle = bin[bin.len() / 2].0;
        upper.push((middle, bin.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max)));
        lower.push((middle, bin.iter().map(|p| p.1).fold(f64::INFINITY, f64::min)));
    }
    upper.extend(lower.into_iter().rev());
    upper
}

/// Axes common to all panels. The y axis leaves out the most extreme values, which are drawn at its
/// edge: a loss that briefly starts far above chance must not flatten the rest.
fn scales<'a>(curves: impl Iterator<Item = &'a Curve>, chance: Option<f64>) -> (Scale, Scale) {
    let (mut first, mut last) = (f64::INFINITY, f64::NEG_INFINITY);
    let (mut low, mut high) = chance.map_or((f64::INFINITY, f64::NEG_INFINITY), |c| (c, c));
    for curve in curves {
        let (Some(start), Some(end)) = (curve.raw.first(), curve.raw.last()) else { continue };
        (first, last) = (first.min(start.0), last.max(end.0));
        let mut values: Vec<f64> = curve.raw.iter().map(|p| p.1).collect();
        values.sort_by(f64::total_cmp);
        let cut = values.len() / 200;
        let mut averages: Vec<f64> = curve.smooth.iter().map(|p| p.1).collect();
        averages.sort_by(f64::total_cmp);
        let steep = averages.len() / 25;
        low = low.min(averages[0]).min(values[cut]);
        high = high.max(averages[averages.len() - 1 - steep]).max(values[values.len() - 1 - cut.max(steep)]);
    }
    if first > last {
        (first, last) = (0.0, 1.0);
    }
    if low > high {
        (low, high) = (0.0, 1.0);
    }
    // A margin keeps curves off the frame. The axis of a run that starts near 0 starts at 0.
    let first = if first < 0.1 * last { 0.0 } else { first };
    let margin = if high > low { 0.05 * (high - low) } else { 0.0 };
    (Scale::counts(first, last, 4), Scale::linear(low - margin, high + margin, 5, false))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_figure, train_rows};
    use super::*;

    fn spec(runs: Vec<LossRun>) -> LossByModule {
        let (title, subtitle) = ("Loss by module — toy".into(), "seed 1".into());
        LossByModule { title, subtitle, runs, loss: LossKind::InfoNce, negatives: Some(10) }
    }

    fn run(label: &str, n_modules: usize, n_steps: usize, seed: u64) -> LossRun {
        LossRun { label: label.into(), rows: train_rows(n_modules, n_steps, seed), held_out: Vec::new() }
    }

    #[test]
    fn draws_all_modules_and_runs() {
        let figure = loss_by_module(&spec(vec![run("seed 1", 6, 500, 1), run("seed 2", 6, 500, 2)])).unwrap();
        check_figure(&figure, &["Module 1", "Module 6", "seed 2", "chance: ln 11 = 2.40 nats", "InfoNCE loss (nats)"]);
        assert!(figure.caption.contains("N = 10"));
    }

    #[test]
    fn held_out_items_are_drawn_and_explained() {
        let marks = |figure: &Figure| figure.canvas.svg().unwrap().matches("<polyline").count();
        let plain = loss_by_module(&spec(vec![run("a", 2, 50, 1)])).unwrap();
        assert!(!plain.caption.contains("held out"));
        let with = LossRun { held_out: train_rows(2, 5, 3), ..run("a", 2, 50, 1) };
        let figure = loss_by_module(&spec(vec![with])).unwrap();
        check_figure(&figure, &["held-out items", "chance: ln 11 = 2.40 nats"]);
        assert!(figure.caption.contains("held out of training"));
        assert!(marks(&figure) > marks(&plain) + 10, "many dashes");
    }

    #[test]
    fn one_module_and_one_step_are_enough() {
        check_figure(&loss_by_module(&spec(vec![run("a", 1, 1, 1)])).unwrap(), &["Module 1", "Training step"]);
        check_figure(&loss_by_module(&spec(vec![run("a", 3, 1, 1)])).unwrap(), &["Module 3", "0"]);
        check_figure(&loss_by_module(&spec(vec![run("a", 3, 101, 1)])).unwrap(), &["1000"]);
    }

    #[test]
    fn losses_that_are_not_finite_are_counted_not_drawn() {
        let mut run = run("a", 2, 40, 1);
        for row in run.rows.iter_mut().filter(|r| r.module == 2) {
            row.loss = f64::NAN;
        }
        run.rows[20].loss = f64::INFINITY;
        let figure = loss_by_module(&spec(vec![run])).unwrap();
        check_figure(
            &figure,
            &[
                "no finite loss",
                "a: 41 rows without a finite loss left out (module 1 from step 100, module 2 from step 0).",
            ],
        );
    }

    #[test]
    fn nothing_to_draw_is_an_error() {
        for runs in [vec![], vec![LossRun { label: "a".into(), rows: vec![], held_out: vec![] }]] {
            let error = loss_by_module(&spec(runs)).unwrap_err().to_string();
            assert!(error.contains("no training rows"), "{error}");
        }
    }

    #[test]
    fn smooth_curves_keep_lines_and_bands_keep_extremes() {
        let line: Vec<_> = (0..5000).map(|i| (i as f64, 3.0 * i as f64)).collect();
        let smooth = smoothed(&line, 30);
        assert!(smooth.len() <= BINS + 1);
        assert_eq!((smooth[0].0, smooth[smooth.len() - 1].0), (0.0, 4999.0));
        assert!(
            smooth.iter().all(|(x, y)| (y - 3.0 * x).abs() < 1e-6),
            "a straight line stays as it is, also at the ends"
        );
        let highest = band(&line).iter().map(|p| p.1).fold(0.0, f64::max);
        assert_eq!(highest, line[4999].1);
        assert!(smoothed(&[], 0).is_empty());
    }
}
