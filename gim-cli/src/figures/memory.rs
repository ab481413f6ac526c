//! Bars of the peak memory of a training step, by method and schedule.

use gim_core::Result;

use super::bars::{AXIS, BAR, BarAxis, LEGEND, LINE, WIDTH, legend_of_bars};
use super::canvas::{Align, Canvas, wrap};
use super::heading::Heading;
use super::palette::{LABEL, MARGIN, MUTED, NOTE, SILVER, SLATE};
use super::{Figure, nothing_to_draw, short};

/// Input of [`memory`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MemoryBars {
    /// Title.
    pub title: String,
    /// Second line, may be empty.
    pub subtitle: String,
    /// The bars, from the top; bars of one method follow each other.
    pub bars: Vec<MemoryBar>,
}

/// Memory of one method and schedule, in MB (10⁶ bytes).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MemoryBar {
    /// The method.
    pub method: String,
    /// What trains: `end to end`, `all modules`, `module k alone`.
    pub schedule: String,
    /// Activations, gradients and scratch.
    pub buffers: f64,
    /// Parameters and optimizer state.
    pub state: f64,
    /// What the paper reports for its own network, with its unit.
    pub paper: Option<String>,
}

/// Between the bars of a method, and between methods.
const GAPS: (f64, f64) = (5.0, 16.0);
/// Where bars begin: method and schedule are written to the left.
const LEFT: f64 = 380.0;
/// Room for the values after the longest bar.
const NUMBERS: f64 = 220.0;

/// Draws a bar for each method and schedule: buffers, then parameters and optimizer state.
///
/// # Errors
/// When all bars are empty, or one is infinite.
pub(crate) fn memory(spec: &MemoryBars) -> Result<Figure> {
    let most = spec.bars.iter().map(|b| b.buffers + b.state).fold(0.0, f64::max);
    if !(most > 0.0 && most.is_finite()) {
        return Err(nothing_to_draw("memory", "no method has a peak", "measure some first"));
    }
    let heading = Heading::new(&spec.title, &spec.subtitle, WIDTH - 2.0 * MARGIN)?;
    let methods: Vec<&[MemoryBar]> = spec.bars.chunk_by(|a, b| a.method == b.method).collect();
    let names = methods.iter().map(|m| wrap(&m[0].method, LABEL, 200.0)).collect::<Result<Vec<_>>>()?;
    let height = |bars: usize, lines: usize| (bars as f64 * (BAR + GAPS.0) - GAPS.0).max(LINE * lines as f64) + GAPS.1;
    let legend_top = heading.height();
    let top = legend_top + LEGEND;
    let body: f64 = methods.iter().zip(&names).map(|(m, n)| height(m.len(), n.len())).sum();
    let mut canvas = Canvas::new(WIDTH, top + body + AXIS);
    heading.draw(&mut canvas, MARGIN);
    let entries = [(SLATE, "activations, gradients, scratch"), (SILVER, "parameters and optimizer state")];
    legend_of_bars(&mut canvas, (MARGIN, legend_top), entries)?;

    let unit = (WIDTH - LEFT - MARGIN - NUMBERS) / most;
    let mut steps = (-2..6).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)));
    let step = steps.find(|s| s * unit >= 60.0).unwrap_or(most);
    let title = "peak memory of a training step (MB, 10⁶ bytes)";
    BarAxis { title, left: LEFT, top, bottom: top + body, unit, step, most }.draw(&mut canvas);

    let mut y = top + GAPS.1 / 2.0;
    for (bars, name) in methods.iter().zip(&names) {
        for (i, line) in name.iter().enumerate() {
            canvas.text((MARGIN, y + LINE * i as f64 + 14.0), Align::Start, line.as_str(), LABEL);
        }
        for (i, bar) in bars.iter().enumerate() {
            let at = y + i as f64 * (BAR + GAPS.0);
            canvas.text((LEFT - 12.0, at + 14.0), Align::End, bar.schedule.as_str(), NOTE);
            canvas.rect(LEFT, at, bar.buffers * unit, BAR, SLATE);
            canvas.rect(LEFT + bar.buffers * unit, at, bar.state * unit, BAR, SILVER);
            for (x, what, value) in [
                (bar.buffers / 2.0, "activations, gradients, scratch", bar.buffers),
                (bar.buffers + bar.state / 2.0, "parameters and optimizer state", bar.state),
            ] {
                let middle = (LEFT + x * unit, at + BAR / 2.0);
                canvas.hint(middle, format!("{}, {}: {what} {} MB", bar.method, bar.schedule, short(value)));
            }
            let paper = bar.paper.as_ref().map_or(String::new(), |p| format!(" (paper: {p})"));
            let number = format!("{}{paper}", short(bar.buffers + bar.state));
            let end = LEFT + (bar.buffers + bar.state) * unit;
            canvas.text((end + 8.0, at + 14.0), Align::Start, number, LABEL);
        }
        y += height(bars.len(), name.len());
    }
    canvas.line(vec![(LEFT, top), (LEFT, top + body)], MUTED, 1.5);
    let caption =
        "Measured peak memory of a training step by method and schedule: all modules at once, or one module above \
         frozen ones. The paper's values are for its own networks on a GPU."
            .to_owned();
    Ok(Figure { canvas, caption })
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_figure;
    use super::*;

    #[test]
    fn draws_a_bar_for_each_method_and_schedule() {
        let bar = |method: &str, schedule: &str, buffers, paper: Option<&str>| MemoryBar {
            method: method.into(),
            schedule: schedule.into(),
            buffers,
            state: 2.5,
            paper: paper.map(Into::into),
        };
        let spec = MemoryBars {
            title: "Memory of a training step, images".into(),
            subtitle: "toy".into(),
            bars: vec![
                bar("Greedy InfoMax", "all modules", 180.0, Some("~7 GB (M)")),
                bar("Greedy InfoMax", "module 1 alone", 60.0, Some("~2.5 GB (M)")),
                bar("A method whose name takes two lines", "end to end", 240.0, None),
            ],
        };
        let figure = memory(&spec).unwrap();
        check_figure(
            &figure,
            &["module 1 alone", "182 (paper: ~7 GB (M))", "parameters and optimizer state", "Greedy InfoMax"],
        );
        assert!(memory(&MemoryBars { bars: Vec::new(), ..spec }).is_err());
    }
}
