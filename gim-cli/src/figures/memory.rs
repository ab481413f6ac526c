//! Bars of the memory of a training step, by method and schedule.

use gim_core::Result;

use super::axes::{BLUE, GRID, LABEL, MUTED, NOTE, ORANGE};
use super::bars::{BAR, LINE, MARGIN, WIDTH, legend_of_bars};
use super::canvas::{Align, Picture, wrap};
use super::{Figure, Heading, nothing_to_draw, short};

/// Input of [`memory`].
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryBars {
    /// Title.
    pub title: String,
    /// Second line, may be empty.
    pub subtitle: String,
    /// From the top; those of one method follow each other.
    pub bars: Vec<MemoryBar>,
}

/// Memory of one way to train, in MB (10⁶ bytes).
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryBar {
    /// The method.
    pub method: String,
    /// `end to end`, `all modules`, `module k alone`.
    pub schedule: String,
    /// Activations, gradients and scratch.
    pub buffers: f64,
    /// Parameters and moments.
    pub state: f64,
    /// What the paper reports of its own network, for people.
    pub paper: Option<String>,
}

/// Between the bars of a method, and between methods.
const GAPS: (f64, f64) = (5.0, 16.0);
/// Where bars begin, where the names of schedules end, and room for the numbers behind the longest bar.
const LEFT: f64 = 380.0;
const NUMBERS: f64 = 220.0;

/// Draws what each method and schedule takes: buffers, and parameters with their moments behind them.
pub fn memory(spec: &MemoryBars) -> Result<Figure> {
    let most = spec.bars.iter().map(|b| b.buffers + b.state).fold(0.0, f64::max);
    if !(most > 0.0 && most.is_finite()) {
        return Err(nothing_to_draw("memory", "no method has a peak", "measure some first"));
    }
    let heading = Heading::new(&spec.title, &spec.subtitle, WIDTH - 2.0 * MARGIN)?;
    let methods: Vec<&[MemoryBar]> = spec.bars.chunk_by(|a, b| a.method == b.method).collect();
    let names = methods.iter().map(|m| wrap(&m[0].method, LABEL, 200.0)).collect::<Result<Vec<_>>>()?;
    let height = |bars: usize, lines: usize| (bars as f64 * (BAR + GAPS.0) - GAPS.0).max(LINE * lines as f64) + GAPS.1;
    let legend_top = heading.height();
    let top = legend_top + 34.0;
    let body: f64 = methods.iter().zip(&names).map(|(m, n)| height(m.len(), n.len())).sum();
    let mut picture = Picture::new(WIDTH, top + body + 64.0);
    heading.draw(&mut picture, MARGIN);
    let entries = [(BLUE, "activations, gradients, scratch"), (ORANGE, "parameters and moments")];
    legend_of_bars(&mut picture, (MARGIN, legend_top), entries)?;

    let unit = (WIDTH - LEFT - MARGIN - NUMBERS) / most;
    let steps = (-2..6).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)));
    let step = steps.clone().find(|s| s * unit >= 60.0).unwrap_or(most);
    for tick in (0..).map(|n| f64::from(n) * step).take_while(|t| *t <= most) {
        let x = LEFT + tick * unit;
        picture.line(vec![(x, top), (x, top + body)], GRID, 1.0);
        picture.text((x, top + body + 20.0), Align::Middle, format!("{tick}"), LABEL);
    }
    picture.text((LEFT, top + body + 44.0), Align::Start, "MB (10⁶ bytes) at the peak of a step", LABEL);

    let mut y = top + GAPS.1 / 2.0;
    for (bars, name) in methods.iter().zip(&names) {
        for (i, line) in name.iter().enumerate() {
            picture.text((MARGIN, y + LINE * i as f64 + 14.0), Align::Start, line.as_str(), LABEL);
        }
        for (i, bar) in bars.iter().enumerate() {
            let at = y + i as f64 * (BAR + GAPS.0);
            picture.text((LEFT - 12.0, at + 14.0), Align::End, bar.schedule.as_str(), NOTE);
            picture.rect(LEFT, at, bar.buffers * unit, BAR, BLUE);
            picture.rect(LEFT + bar.buffers * unit, at, bar.state * unit, BAR, ORANGE);
            let paper = bar.paper.as_ref().map_or(String::new(), |p| format!(" (paper: {p})"));
            let number = format!("{}{paper}", short(bar.buffers + bar.state));
            let end = LEFT + (bar.buffers + bar.state) * unit;
            picture.text((end + 8.0, at + 14.0), Align::Start, number, LABEL);
        }
        y += height(bars.len(), name.len());
    }
    picture.line(vec![(LEFT, top), (LEFT, top + body)], MUTED, 1.5);
    let caption =
        "Most memory in use at once during a training step, measured, by method and schedule: all modules at \
                   once, or one alone above frozen ones. The paper's numbers are of its own networks on a GPU."
            .to_owned();
    Ok(Figure { picture, caption })
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_figure;
    use super::*;

    #[test]
    fn draws_a_bar_for_each_way_to_train() {
        let bar = |method: &str, schedule: &str, buffers, paper: Option<&str>| MemoryBar {
            method: method.into(),
            schedule: schedule.into(),
            buffers,
            state: 2.5,
            paper: paper.map(Into::into),
        };
        let spec = MemoryBars {
            title: "Memory of a training step, pictures".into(),
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
            &["module 1 alone", "182 (paper: ~7 GB (M))", "parameters and moments", "Greedy InfoMax"],
        );
        assert!(memory(&MemoryBars { bars: Vec::new(), ..spec }).is_err());
    }
}
