//! Bars of measured times beside the least time that the arithmetic takes.

use gim_core::Result;

use super::axes::{BLUE, GRID, LABEL, MUTED, NOTE, VERMILLION};
use super::bars::{BAR, LINE, MARGIN, WIDTH, legend_of_bars};
use super::canvas::{Align, Ink, Picture, wrap};
use super::{Figure, Heading, nothing_to_draw, short};

/// Input of [`speed`].
#[derive(Debug, Clone, PartialEq)]
pub struct SpeedBars {
    /// Title.
    pub title: String,
    /// Second line, may be empty; should name the processor.
    pub subtitle: String,
    /// Name of the other program.
    pub other: String,
    /// Pieces of work, from the top.
    pub works: Vec<WorkBars>,
}

/// Times of a piece of work, in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkBars {
    /// What it is.
    pub label: String,
    /// Least time for the arithmetic.
    pub limit: f64,
    /// Ours.
    pub ours: f64,
    /// The other program's, where it was measured.
    pub other: Option<f64>,
}

/// Between the bars of one piece of work, and between pieces of work.
const GAPS: (f64, f64) = (3.0, 18.0);
/// Where bars begin, and room for the numbers behind the longest one.
const LEFT: f64 = 320.0;
const NUMBERS: f64 = 150.0;
const LIMIT: Ink = Ink(170, 170, 170);

/// Draws times in multiples of the arithmetic limit, so that work of different sizes shares an axis that begins at zero.
pub fn speed(spec: &SpeedBars) -> Result<Figure> {
    let bars = |w: &WorkBars| {
        let other = w.other.map(|s| (s, VERMILLION));
        [Some((w.limit, LIMIT)), Some((w.ours, BLUE)), other].into_iter().flatten().collect::<Vec<_>>()
    };
    let most = spec.works.iter().flat_map(|w| bars(w).into_iter().map(|b| b.0 / w.limit)).fold(1.0, f64::max);
    if spec.works.is_empty() || !most.is_finite() {
        return Err(nothing_to_draw("speed", "no work has both a time and a limit", "measure some first"));
    }
    let heading = Heading::new(&spec.title, &spec.subtitle, WIDTH - 2.0 * MARGIN)?;
    let labels = spec.works.iter().map(|w| wrap(&w.label, LABEL, LEFT - MARGIN - 16.0)).collect::<Result<Vec<_>>>()?;
    let height = |w: &WorkBars, lines: &[String]| {
        let n = bars(w).len() as f64;
        (n * BAR + (n - 1.0) * GAPS.0).max(LINE * lines.len() as f64)
    };
    let legend_top = heading.height();
    let top = legend_top + 34.0;
    let body: f64 = spec.works.iter().zip(&labels).map(|(w, l)| height(w, l) + GAPS.1).sum();
    let mut picture = Picture::new(WIDTH, top + body + 64.0);
    heading.draw(&mut picture, MARGIN);

    let compared = spec.works.iter().any(|w| w.other.is_some()).then_some((VERMILLION, spec.other.as_str()));
    let entries = [(LIMIT, "arithmetic limit"), (BLUE, "gim")].into_iter().chain(compared);
    legend_of_bars(&mut picture, (MARGIN, legend_top), entries)?;

    let unit = (WIDTH - LEFT - MARGIN - NUMBERS) / most;
    let step = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0].into_iter().find(|s| s * unit >= 40.0).unwrap_or(200.0);
    let mut tick = 0.0;
    while tick <= most {
        let x = LEFT + tick * unit;
        picture.line(vec![(x, top), (x, top + body)], GRID, 1.0);
        picture.text((x, top + body + 20.0), Align::Middle, format!("{tick}"), LABEL);
        tick += step;
    }
    picture.text((LEFT, top + body + 44.0), Align::Start, "time, in multiples of the arithmetic limit", LABEL);

    let mut y = top + GAPS.1 / 2.0;
    for (work, lines) in spec.works.iter().zip(&labels) {
        let tall = height(work, lines);
        let first = y + (tall - LINE * lines.len() as f64) / 2.0;
        for (i, line) in lines.iter().enumerate() {
            picture.text((LEFT - 16.0, first + LINE * i as f64 + 14.0), Align::End, line.as_str(), LABEL);
        }
        let mut bar = y;
        for (seconds, ink) in bars(work) {
            let length = seconds / work.limit * unit;
            picture.rect(LEFT, bar, length, BAR, ink);
            let times = if ink == LIMIT { String::new() } else { format!("  {:.1}×", seconds / work.limit) };
            let look = if ink == LIMIT { NOTE } else { LABEL };
            picture.text(
                (LEFT + length + 8.0, bar + 14.0),
                Align::Start,
                format!("{}{times}", duration(seconds)),
                look,
            );
            bar += BAR + GAPS.0;
        }
        y += tall + GAPS.1;
    }
    picture.line(vec![(LEFT, top), (LEFT, top + body)], MUTED, 1.5);
    let other = if compared.is_some() { format!(" and of {}", spec.other) } else { String::new() };
    let caption = format!(
        "Median times of gim{other}, in multiples of the time that the arithmetic of the work would take at the measured rate of fused multiply-adds, if nothing \
         else took any. Numbers at the bars are times, and how many times the limit they are."
    );
    Ok(Figure { picture, caption })
}

/// Seconds, or milliseconds, with three digits that count.
fn duration(seconds: f64) -> String {
    if seconds < 0.1 { format!("{} ms", short(1e3 * seconds)) } else { format!("{} s", short(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_figure;
    use super::*;

    #[test]
    fn draws_a_group_of_bars_for_each_work() {
        let work = |label: &str, ours, other| WorkBars { label: label.into(), limit: 0.5, ours, other };
        let spec = SpeedBars {
            title: "Time of a training step".into(),
            subtitle: "AMD EPYC, 2 threads".into(),
            other: "PyTorch".into(),
            works: vec![
                work("Sound, Greedy InfoMax: step, batch 8", 0.75, Some(2.0)),
                work("Pictures, a quarter as wide, and a name that takes two lines", 1.0, None),
            ],
        };
        let figure = speed(&spec).unwrap();
        check_figure(&figure, &["0.500 s", "0.750 s  1.5×", "2.00 s  4.0×", "PyTorch", "arithmetic limit"]);
        let alone = SpeedBars { works: vec![work("a", 0.02, None)], ..spec.clone() };
        check_figure(&speed(&alone).unwrap(), &["20.0 ms  0.0×"]);
        assert!(speed(&SpeedBars { works: Vec::new(), ..spec }).is_err());
    }
}
