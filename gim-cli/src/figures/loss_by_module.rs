//! Training loss against the step, a panel per module, runs overlaid.

use std::collections::BTreeSet;

use gim_core::Result;

use super::axes::{MUTED, PALETTE, Panel, Sample, Scale, Sheet};
use super::picture::{Ink, Picture};
use super::rows::TrainRow;
use super::{Figure, count, nothing_to_draw};

/// Input of [`loss_by_module`].
#[derive(Debug, Clone)]
pub struct LossByModule {
    /// Title; should name the corpus and the seeds.
    pub title: String,
    /// Second line, may be empty.
    pub subtitle: String,
    /// The runs to overlay: seeds, schedules or both.
    pub runs: Vec<LossRun>,
    /// Negatives per positive; draws the loss of chance, ln(N+1).
    pub negatives: Option<usize>,
}

/// A run's losses.
#[derive(Debug, Clone)]
pub struct LossRun {
    /// Its name in the legend.
    pub label: String,
    /// Its `train.csv`.
    pub rows: Vec<TrainRow>,
}

/// A module's finite losses in step order, and the moving average that is drawn over them.
struct Curve {
    raw: Vec<(f64, f64)>,
    smooth: Vec<(f64, f64)>,
}

/// The raw curve is drawn as lowest and highest value of so many bins, the smooth one through so many points.
const BINS: usize = 220;

/// Draws the InfoNCE loss of every module: raw values faintly, their moving average over them, chance dashed.
pub fn loss_by_module(spec: &LossByModule) -> Result<Figure> {
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
    let chance = spec.negatives.map(|n| ((n + 1) as f64).ln());
    let (x_scale, y_scale) = scales(curves.iter().flatten(), chance);

    let mut legend = Vec::new();
    for (i, run) in spec.runs.iter().enumerate() {
        legend.push((Sample::Line(ink(i)), run.label.clone()));
    }
    if let (Some(n), Some(chance)) = (spec.negatives, chance) {
        legend.push((Sample::Dashed(MUTED), format!("chance: ln {} = {chance:.2} nats", n + 1)));
    }
    let mut notes = Vec::new();
    for (run, dropped) in spec.runs.iter().map(|run| (run, not_finite(&run.rows))).filter(|(_, d)| d.0 > 0) {
        let (n, first, which) = dropped;
        notes.push(format!(
            "{}: {} without a finite loss left out, first at step {first} in module {which}.",
            run.label,
            count(n, "row")
        ));
    }
    let sheet = Sheet {
        title: spec.title.clone(),
        subtitle: spec.subtitle.clone(),
        legend,
        panel_titles: modules.iter().map(|m| format!("Module {m}")).collect(),
        columns: 3,
        panel: if modules.len() == 1 { (680.0, 380.0) } else { (350.0, 250.0) },
        x_title: "Training step".into(),
        y_title: "InfoNCE loss (nats)".into(),
        notes,
        numbers: true,
    };
    let (mut picture, panels) = sheet.lay_out(|_| (x_scale.clone(), y_scale.clone()))?;
    for (panel, runs) in panels.iter().zip(&curves) {
        draw_panel(&mut picture, panel, runs, chance);
    }

    let seen = spec.runs.iter().map(|r| r.label.as_str()).collect::<Vec<_>>().join(", ");
    let mut caption = format!(
        "InfoNCE loss of each module against the training step ({seen}). Faint: range of the raw values; strong: moving average over a twenty-fifth of the run."
    );
    if let (Some(n), Some(chance)) = (spec.negatives, chance) {
        caption.push_str(&format!(
            " Dashed: the loss ln(N+1) = {chance:.2} nats of a score that tells nothing, N = {n} negatives."
        ));
    }
    Ok(Figure { picture, caption })
}

fn ink(run: usize) -> Ink {
    PALETTE[run % PALETTE.len()]
}

fn draw_panel(picture: &mut Picture, panel: &Panel, runs: &[Curve], chance: Option<f64>) {
    if runs.iter().all(|c| c.raw.is_empty()) {
        panel.say(picture, "no finite loss");
        return;
    }
    // All raw curves first, so that none hides another run's average.
    for (i, curve) in runs.iter().enumerate() {
        picture.line(envelope(&curve.raw).into_iter().map(|(x, y)| panel.at(x, y)).collect(), ink(i).faint(0.28), 1.0);
    }
    if let Some(chance) = chance {
        panel.level(picture, chance, Sample::Dashed(MUTED));
    }
    for (i, curve) in runs.iter().enumerate() {
        let points: Vec<_> = curve.smooth.iter().map(|&(x, y)| panel.at(x, y)).collect();
        match points[..] {
            [at] => picture.disc(at, 4.5, ink(i)),
            _ => picture.line(points, ink(i), 2.0),
        }
    }
}

fn curve(rows: &[TrainRow], module: usize) -> Curve {
    let mut raw: Vec<(f64, f64)> =
        rows.iter().filter(|r| r.module == module && r.loss.is_finite()).map(|r| (r.step as f64, r.loss)).collect();
    raw.sort_by(|a, b| a.0.total_cmp(&b.0));
    let smooth = thin(&moving_average(&raw, raw.len() / 50));
    Curve { raw, smooth }
}

/// Number of rows without a finite loss, and the first of them: (rows, step, module).
fn not_finite(rows: &[TrainRow]) -> (usize, u64, usize) {
    let bad = || rows.iter().filter(|r| !r.loss.is_finite());
    let first = bad().map(|r| (r.step, r.module)).min().unwrap_or((0, 0));
    (bad().count(), first.0, first.1)
}

/// Mean over `half` points on either side; towards the ends over fewer, always as many on both sides.
fn moving_average(points: &[(f64, f64)], half: usize) -> Vec<(f64, f64)> {
    (0..points.len())
        .map(|i| {
            let reach = half.min(i).min(points.len() - 1 - i);
            let window = &points[i - reach..=i + reach];
            (points[i].0, window.iter().map(|p| p.1).sum::<f64>() / window.len() as f64)
        })
        .collect()
}

/// At most about [`BINS`] of the points, the first and the last among them.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let stride = points.len().div_ceil(BINS).max(1);
    let mut kept: Vec<_> = points.iter().copied().step_by(stride).collect();
    if let Some(&last) = points.last().filter(|last| kept.last() != Some(last)) {
        kept.push(last);
    }
    kept
}

/// A zigzag through the lowest and highest value of each of at most [`BINS`] bins; the points themselves when there are few.
fn envelope(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= 2 * BINS {
        return points.to_vec();
    }
    let mut line = Vec::with_capacity(2 * BINS + 2);
    for bin in points.chunks(points.len().div_ceil(BINS)) {
        let middle = bin[bin.len() / 2].0;
        let low = bin.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
        let high = bin.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
        line.extend([(middle, high), (middle, low)]);
    }
    line
}

/// Axes common to all panels. The y axis follows the averages and all but the wildest raw values, which are drawn at its edge.
fn scales<'a>(curves: impl Iterator<Item = &'a Curve>, chance: Option<f64>) -> (Scale, Scale) {
    let (mut first, mut last) = (f64::INFINITY, f64::NEG_INFINITY);
    let (mut low, mut high) = chance.map_or((f64::INFINITY, f64::NEG_INFINITY), |c| (c, c));
    for curve in curves {
        let (Some(start), Some(end)) = (curve.raw.first(), curve.raw.last()) else { continue };
        (first, last) = (first.min(start.0), last.max(end.0));
        let mut values: Vec<f64> = curve.raw.iter().map(|p| p.1).collect();
        values.sort_by(f64::total_cmp);
        let cut = values.len() / 200;
        let averages = curve.smooth.iter().map(|p| p.1);
        for value in averages.chain([values[cut], values[values.len() - 1 - cut]]) {
            (low, high) = (low.min(value), high.max(value));
        }
    }
    if first > last {
        (first, last) = (0.0, 1.0);
    }
    if low > high {
        (low, high) = (0.0, 1.0);
    }
    // A margin, so that no curve lies on the frame; a run that starts at 0 or so has its axis start at 0.
    let first = if first < 0.1 * last { 0.0 } else { first };
    let margin = if high > low { 0.05 * (high - low) } else { 0.0 };
    (Scale::linear(first, last, 4, false), Scale::linear(low - margin, high + margin, 5, false))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_figure, train_rows};
    use super::*;

    fn spec(runs: Vec<LossRun>) -> LossByModule {
        LossByModule { title: "Loss by module — toy".into(), subtitle: "seed 1".into(), runs, negatives: Some(10) }
    }

    fn run(label: &str, n_modules: usize, n_steps: usize, seed: u64) -> LossRun {
        LossRun { label: label.into(), rows: train_rows(n_modules, n_steps, seed) }
    }

    #[test]
    fn draws_all_modules_and_runs() {
        let figure = loss_by_module(&spec(vec![run("seed 1", 6, 500, 1), run("seed 2", 6, 500, 2)])).unwrap();
        check_figure(&figure, &["Module 1", "Module 6", "seed 2", "chance: ln 11 = 2.40 nats", "InfoNCE loss (nats)"]);
        assert!(figure.caption.contains("N = 10"));
    }

    #[test]
    fn one_module_and_one_step_are_enough() {
        check_figure(&loss_by_module(&spec(vec![run("a", 1, 1, 1)])).unwrap(), &["Module 1", "Training step"]);
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
            &["no finite loss", "a: 41 rows without a finite loss left out, first at step 0 in module 2."],
        );
    }

    #[test]
    fn nothing_to_draw_is_an_error() {
        for runs in [vec![], vec![LossRun { label: "a".into(), rows: vec![] }]] {
            let error = loss_by_module(&spec(runs)).unwrap_err().to_string();
            assert!(error.contains("no training rows"), "{error}");
        }
    }

    #[test]
    fn averages_and_envelopes_keep_what_matters() {
        let line: Vec<_> = (0..5000).map(|i| (i as f64, 3.0 * i as f64)).collect();
        assert_eq!(moving_average(&line, 30), line, "a straight line is its own moving average, also at the ends");
        assert!(thin(&line).len() <= BINS + 1);
        assert_eq!(thin(&line).last(), line.last());
        let highest = envelope(&line).iter().map(|p| p.1).fold(0.0, f64::max);
        assert_eq!(highest, line[4999].1);
    }
}
