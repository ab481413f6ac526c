//! What every module does over a few training steps: a lane for each module.

use gim_core::Result;
use gim_eval::TimelineRow;

use super::bars::{AXIS, BAR, BarAxis, LEGEND, WIDTH, legend_of_bars};
use super::canvas::{Align, Canvas, Color, text_width};
use super::heading::Heading;
use super::palette::{BLUE, FRAME, GREEN, LABEL, MARGIN, NOTE, ORANGE};
use super::{Figure, nothing_to_draw, short};

/// Input of [`timeline`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Timeline {
    /// Title.
    pub title: String,
    /// Second line, may be empty.
    pub subtitle: String,
    /// Training steps of every module, by module and then by step.
    pub rows: Vec<TimelineRow>,
}

/// Steps of the first module that are shown, about.
const STEPS: f64 = 6.0;
/// Where lanes begin, and from one to the next.
const LEFT: f64 = 200.0;
const LANE: f64 = BAR + 28.0;
const WAITING: Color = Color(214, 214, 214);

/// Draws the times of a few steps from the first moment at which all modules are at work. Gaps are
/// times in which a module's thread works for other modules.
///
/// # Errors
/// When a module has no row, or all times are 0.
pub(crate) fn timeline(spec: &Timeline) -> Result<Figure> {
    let lanes: Vec<&[TimelineRow]> = spec.rows.chunk_by(|a, b| a.module == b.module).collect();
    let (from, seconds) = window(&lanes);
    if !(seconds > 0.0 && seconds.is_finite()) {
        return Err(nothing_to_draw("timeline", "no module has two steps", "train for more steps"));
    }
    let heading = Heading::new(&spec.title, &spec.subtitle, WIDTH - 2.0 * MARGIN)?;
    let top = heading.height() + LEGEND;
    let bottom = top + LANE * lanes.len() as f64;
    let mut canvas = Canvas::new(WIDTH, bottom + AXIS);
    heading.draw(&mut canvas, MARGIN);
    let entries =
        [(BLUE, "forward"), (GREEN, "train"), (WAITING, "waits for a batch"), (ORANGE, "sends, waits for room")];
    legend_of_bars(&mut canvas, (MARGIN, heading.height()), entries)?;

    // Ticks in milliseconds.
    let (most, width) = (1e3 * seconds, WIDTH - LEFT - MARGIN);
    let mut steps = (-2..7).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)));
    let step = steps.find(|s| s / most * width >= 70.0).unwrap_or(most);
    BarAxis { title: "time (ms)", left: LEFT, top, bottom, unit: width / most, step, most }.draw(&mut canvas);
    let place = |t: f64| LEFT + ((t - from) / seconds).clamp(0.0, 1.0) * width;
    for (n, lane) in lanes.iter().enumerate() {
        let bar = top + LANE * n as f64 + 22.0;
        let name = format!("module {}, group {}", lane[0].module, lane[0].group);
        canvas.text((LEFT - 12.0, bar + 14.0), Align::End, name, LABEL);
        for row in lane.iter() {
            let mut at = row.begin;
            for (length, color) in [(row.receive, WAITING), (row.forward, BLUE), (row.send, ORANGE), (row.train, GREEN)]
            {
                let (left, right) = (place(at), place(at + length));
                if right > left {
                    canvas.rect(left, bar, right - left, BAR, color);
                }
                at += length;
            }
            let (left, right) = (place(row.begin + row.receive), place(at));
            let number = row.step.to_string();
            if right - left > text_width(&number, NOTE)? + 6.0 {
                canvas.text(((left + right) / 2.0, bar - 5.0), Align::Middle, number, NOTE);
            }
        }
    }
    canvas.outline((LEFT, top, width, bottom - top), FRAME);
    let caption = format!(
        "What each module does over {} ms of training: forward pass, loss with backward pass and update, and waiting \
         for the modules below or above. Numbers are training steps. In a gap, the module's thread works for another \
         module of its group.",
        short(most)
    );
    Ok(Figure { canvas, caption })
}

/// Beginning and length, in seconds, of what is shown.
fn window(lanes: &[&[TimelineRow]]) -> (f64, f64) {
    let from = lanes.iter().map(|lane| lane[0].begin).fold(0.0, f64::max);
    let first = lanes.first().copied().unwrap_or_default();
    let (Some(begin), Some(end)) = (first.first(), first.last()) else { return (0.0, 0.0) };
    let step = (end.begin - begin.begin) / (first.len() - 1) as f64;
    (from, step * STEPS.min(first.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_figure;
    use super::*;

    /// Steps of 10 ms, of which the second module waits for 2 ms.
    fn rows() -> Vec<TimelineRow> {
        let row = |module: usize, step: u64| {
            let lag = module as u64 - 1;
            let (receive, train) = if module == 1 { (0.0, 0.006) } else { (0.002, 0.004) };
            let begin = 0.01 * (step + lag) as f64;
            TimelineRow { module, group: module, step, begin, receive, forward: 0.003, send: 0.001, train }
        };
        [1, 2].into_iter().flat_map(|m| (0..12).map(move |s| row(m, s))).collect()
    }

    #[test]
    fn draws_a_lane_for_each_module() {
        let spec = Timeline { title: "Modules at work".into(), subtitle: "pipelined".into(), rows: rows() };
        let figure = timeline(&spec).unwrap();
        check_figure(&figure, &["module 1, group 1", "module 2, group 2", "waits for a batch", "time (ms)", "3"]);
        assert!(timeline(&Timeline { rows: rows()[..1].to_vec(), ..spec.clone() }).is_err());
        assert!(timeline(&Timeline { rows: Vec::new(), ..spec }).is_err());
    }
}
