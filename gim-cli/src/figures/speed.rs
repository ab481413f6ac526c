//! Bars of measured times, beside the least time that their arithmetic takes.

use gim_core::Result;

use super::bars::{AXIS, BAR, BarAxis, LEGEND, LINE, WIDTH, legend_of_bars};
use super::canvas::{Align, Canvas, Color, wrap};
use super::heading::Heading;
use super::palette::{BLUE, LABEL, MARGIN, MUTED, NOTE, VERMILLION};
use super::{Figure, nothing_to_draw, short};

/// Input of [`speed`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SpeedBars {
    /// Title.
    pub title: String,
    /// Second line, may be empty; should name the processor.
    pub subtitle: String,
    /// Name of the program to compare with.
    pub other: String,
    /// The workloads, from the top.
    pub works: Vec<WorkBars>,
}

/// Times of a workload, in seconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WorkBars {
    /// Its name.
    pub label: String,
    /// Least time for its arithmetic at the measured rate of the processor.
    pub limit: f64,
    /// Time of gim.
    pub ours: f64,
    /// Time of the other program, where it was measured.
    pub other: Option<f64>,
}

/// Between the bars of one workload, and between workloads.
const GAPS: (f64, f64) = (3.0, 18.0);
/// Where bars begin, and room for the values after the longest one.
const LEFT: f64 = 320.0;
const NUMBERS: f64 = 150.0;
const LIMIT: Color = Color(170, 170, 170);

/// Draws times in multiples of the arithmetic limit, so that workloads of all sizes share an axis
/// that begins at 0.
///
/// # Errors
/// When there is no workload, or a time divided by its limit is not finite.
pub(crate) fn speed(spec: &SpeedBars) -> Result<Figure> {
    let bars = |w: &WorkBars| {
        let other = w.other.map(|s| (s, VERMILLION));
        [Some((w.limit, LIMIT)), Some((w.ours, BLUE)), other].into_iter().flatten().collect::<Vec<_>>()
    };
    let most = spec.works.iter().flat_map(|w| bars(w).into_iter().map(|b| b.0 / w.limit)).fold(1.0, f64::max);
    if spec.works.is_empty() || !most.is_finite() {
        return Err(nothing_to_draw("speed", "no workload has both a time and a limit", "measure some first"));
    }
    let heading = Heading::new(&spec.title, &spec.subtitle, WIDTH - 2.0 * MARGIN)?;
    let labels = spec.works.iter().map(|w| wrap(&w.label, LABEL, LEFT - MARGIN - 16.0)).collect::<Result<Vec<_>>>()?;
    let height = |w: &WorkBars, lines: &[String]| {
        let n = bars(w).len() as f64;
        (n * BAR + (n - 1.0) * GAPS.0).max(LINE * lines.len() as f64)
    };
    let legend_top = heading.height();
    let top = legend_top + LEGEND;
    let body: f64 = spec.works.iter().zip(&labels).map(|(w, l)| height(w, l) + GAPS.1).sum();
    let mut canvas = Canvas::new(WIDTH, top + body + AXIS);
    heading.draw(&mut canvas, MARGIN);

    let compared = spec.works.iter().any(|w| w.other.is_some()).then_some((VERMILLION, spec.other.as_str()));
    let entries = [(LIMIT, "arithmetic limit"), (BLUE, "gim")].into_iter().chain(compared);
    legend_of_bars(&mut canvas, (MARGIN, legend_top), entries)?;

    let unit = (WIDTH - LEFT - MARGIN - NUMBERS) / most;
    let step = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0].into_iter().find(|s| s * unit >= 40.0).unwrap_or(200.0);
    let title = "time, in multiples of the arithmetic limit";
    BarAxis { title, left: LEFT, top, bottom: top + body, unit, step, most }.draw(&mut canvas);

    let mut y = top + GAPS.1 / 2.0;
    for (work, lines) in spec.works.iter().zip(&labels) {
        let tall = height(work, lines);
        let first = y + (tall - LINE * lines.len() as f64) / 2.0;
        for (i, line) in lines.iter().enumerate() {
            canvas.text((LEFT - 16.0, first + LINE * i as f64 + 14.0), Align::End, line.as_str(), LABEL);
        }
        let mut bar = y;
        for (seconds, color) in bars(work) {
            let length = seconds / work.limit * unit;
            canvas.rect(LEFT, bar, length, BAR, color);
            let times = if color == LIMIT { String::new() } else { format!("  {:.1}×", seconds / work.limit) };
            let style = if color == LIMIT { NOTE } else { LABEL };
            canvas.text(
                (LEFT + length + 8.0, bar + 14.0),
                Align::Start,
                format!("{}{times}", duration(seconds)),
                style,
            );
            bar += BAR + GAPS.0;
        }
        y += tall + GAPS.1;
    }
    canvas.line(vec![(LEFT, top), (LEFT, top + body)], MUTED, 1.5);
    let other = if compared.is_some() { format!(" and of {}", spec.other) } else { String::new() };
    let caption = format!(
        "Median times of gim{other} in multiples of the arithmetic limit: the time of the workload's multiply-adds alone, \
         at the measured FMA rate. At the bars: time, and multiple of the limit."
    );
    Ok(Figure { canvas, caption })
}

/// A time in seconds or milliseconds, with three significant digits.
fn duration(seconds: f64) -> String {
    if seconds < 0.1 { format!("{} ms", short(1e3 * seconds)) } else { format!("{} s", short(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_figure;
    use super::*;

    #[test]
    fn draws_a_group_of_bars_for_each_workload() {
        let work = |label: &str, ours, other| WorkBars { label: label.into(), limit: 0.5, ours, other };
        let spec = SpeedBars {
            title: "Time of a training step".into(),
            subtitle: "AMD EPYC, 2 threads".into(),
            other: "PyTorch".into(),
            works: vec![
                work("Audio, Greedy InfoMax: step, batch 8", 0.75, Some(2.0)),
                work("Images, a quarter as wide, and a name that takes two lines", 1.0, None),
            ],
        };
        let figure = speed(&spec).unwrap();
        check_figure(&figure, &["0.500 s", "0.750 s  1.5×", "2.00 s  4.0×", "PyTorch", "arithmetic limit"]);
        let alone = SpeedBars { works: vec![work("a", 0.02, None)], ..spec.clone() };
        check_figure(&speed(&alone).unwrap(), &["20.0 ms  0.0×"]);
        assert!(speed(&SpeedBars { works: Vec::new(), ..spec }).is_err());
    }
}
