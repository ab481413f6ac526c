//! Bars of the staleness of every module's input.

use gim_core::Result;
use gim_eval::ScheduleRow;

use super::bars::{AXIS, BAR, BarAxis, LEGEND, WIDTH, legend_of_bars};
use super::canvas::{Align, Canvas};
use super::heading::Heading;
use super::palette::{BLUE, LABEL, MARGIN, MUTED, SKY};
use super::{Figure, nothing_to_draw, short};

/// Input of [`staleness`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StalenessBars {
    /// Title.
    pub title: String,
    /// Second line, may be empty.
    pub subtitle: String,
    /// A row for each module, first module first.
    pub rows: Vec<ScheduleRow>,
}

/// Where bars begin, room for the numbers behind them, and from one bar to the next.
const LEFT: f64 = 150.0;
const NUMBERS: f64 = 330.0;
const LANE: f64 = BAR + 12.0;

/// Draws the mean and the largest staleness of every module above the first, whose batches come
/// from no module.
///
/// # Errors
/// When there is no such module.
pub(crate) fn staleness(spec: &StalenessBars) -> Result<Figure> {
    let above = spec.rows.get(1..).unwrap_or_default();
    if above.is_empty() {
        return Err(nothing_to_draw("staleness", "there is one module", "use a network of several modules"));
    }
    let heading = Heading::new(&spec.title, &spec.subtitle, WIDTH - 2.0 * MARGIN)?;
    let top = heading.height() + LEGEND;
    let bottom = top + LANE * above.len() as f64;
    let mut canvas = Canvas::new(WIDTH, bottom + AXIS);
    heading.draw(&mut canvas, MARGIN);
    legend_of_bars(&mut canvas, (MARGIN, heading.height()), [(BLUE, "mean"), (SKY, "most")])?;
    let most = above.iter().map(|r| r.most_stale).max().unwrap_or(0).max(1) as f64;
    let unit = (WIDTH - LEFT - MARGIN - NUMBERS) / most;
    let mut steps = (0..9).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)));
    let step = steps.find(|s| s * unit >= 40.0).unwrap_or(most);
    let title = "staleness of the input (updates of the module below)";
    BarAxis { title, left: LEFT, top, bottom, unit, step, most }.draw(&mut canvas);
    let all = spec.rows[0].steps;
    for (n, row) in above.iter().enumerate() {
        let y = top + LANE * n as f64 + 6.0;
        canvas.text((LEFT - 12.0, y + 14.0), Align::End, format!("module {}", row.module), LABEL);
        canvas.rect(LEFT, y, row.most_stale as f64 * unit, BAR, SKY);
        canvas.rect(LEFT, y, row.staleness * unit, BAR, BLUE);
        let (mean, taken) = (short(row.staleness), row.steps);
        let numbers = format!("mean {mean}, most {}; took {taken} of {all} batches", row.most_stale);
        canvas.text((LEFT + row.most_stale as f64 * unit + 8.0, y + 14.0), Align::Start, numbers, LABEL);
    }
    canvas.line(vec![(LEFT, top), (LEFT, bottom)], MUTED, 1.5);
    let caption = "Staleness of each module's input: how many updates the module below had made since it computed the \
                   batch, when the batch was taken. Where modules take turns it is 1."
        .to_owned();
    Ok(Figure { canvas, caption })
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_figure;
    use super::*;

    #[test]
    fn draws_a_bar_for_each_module_above_the_first() {
        let row = |module, steps, staleness, most_stale| ScheduleRow {
            module,
            group: module,
            threads: 1,
            steps,
            wall: 1.0,
            receive: 0.1,
            forward: 0.2,
            send: 0.0,
            train: 0.4,
            idle: 0.3,
            staleness,
            most_stale,
            link_bytes: 4096,
        };
        let rows = vec![row(1, 600, 0.0, 0), row(2, 598, 0.7, 3), row(3, 120, 4.25, 11)];
        let spec = StalenessBars { title: "Staleness".into(), subtitle: "slow module 3".into(), rows };
        let figure = staleness(&spec).unwrap();
        check_figure(&figure, &["module 3", "mean 4.25, most 11; took 120 of 600 batches", "most"]);
        assert!(staleness(&StalenessBars { rows: spec.rows[..1].to_vec(), ..spec }).is_err());
    }
}
