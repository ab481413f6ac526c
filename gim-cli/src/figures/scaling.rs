//! Predicted time of a training step by the number of ranks.

use gim_core::Result;

use super::axes::{Sample, Scale, Shape, Sheet, columns, spans_a_decade};
use super::palette::{BLUE, GREEN, MUTED, VERMILLION};
use super::{Figure, nothing_to_draw};

/// Input of [`scaling`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScalingCurves {
    /// Title.
    pub title: String,
    /// Second line, may be empty; should say that these are predictions.
    pub subtitle: String,
    /// A panel for each network between ranks: its title and points, fewest ranks first.
    pub panels: Vec<(String, Vec<ScalingPoint>)>,
}

/// A number of ranks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ScalingPoint {
    /// Ranks.
    pub ranks: usize,
    /// Seconds of a step of modules that learn greedily, with replicas of groups.
    pub greedy: f64,
    /// The same without replicas.
    pub plain: f64,
    /// Seconds of a step of data-parallel end-to-end training: with gradients summed after the
    /// backward pass, and with sums that are hidden as far as possible.
    pub end_to_end: Option<(f64, f64)>,
}

/// Draws seconds of a step against ranks, on logarithmic axes where they span more than a decade.
///
/// # Errors
/// When a panel has no point, or a time is not positive.
pub(crate) fn scaling(spec: &ScalingCurves) -> Result<Figure> {
    let points = || spec.panels.iter().flat_map(|(_, points)| points);
    let times = points().flat_map(|p| {
        let (summed, hidden) = p.end_to_end.unwrap_or((p.greedy, p.greedy));
        [p.greedy, p.plain, summed, hidden]
    });
    let (low, high) = times.fold((f64::INFINITY, 0.0f64), |(low, high), t| (low.min(t), high.max(t)));
    let most = points().map(|p| p.ranks).max().unwrap_or(0).max(2) as f64;
    let whole = spec.panels.iter().all(|(_, points)| !points.is_empty()) && low > 0.0 && high.is_finite();
    if spec.panels.is_empty() || !whole {
        return Err(nothing_to_draw("scaling", "there are no predicted times", "give numbers of ranks"));
    }
    let compared = points().any(|p| p.end_to_end.is_some());
    let (greedy, summed) = (Sample::Marked(BLUE, Shape::Circle), Sample::Marked(VERMILLION, Shape::Square));
    let (plain, hidden) = (Sample::Marked(GREEN, Shape::Triangle), Sample::Dashed(VERMILLION));
    let mut legend = vec![(plain, "greedy modules".to_owned()), (greedy, "with replicas".to_owned())];
    if compared {
        legend.push((summed, "end to end, data-parallel".into()));
        legend.push((hidden, "the same, sums hidden".into()));
    }
    legend.push((Sample::Dotted(MUTED), "one rank / ranks".into()));
    let sheet = Sheet {
        title: spec.title.clone(),
        subtitle: spec.subtitle.clone(),
        legend,
        named_ends: false,
        panel_titles: spec.panels.iter().map(|(title, _)| title.clone()).collect(),
        columns: columns(spec.panels.len()),
        panel: if spec.panels.len() == 1 { (680.0, 380.0) } else { (400.0, 320.0) },
        x_title: "Ranks".into(),
        y_title: "Predicted time of a step (s)".into(),
        notes: vec!["With replicas: a lower bound.".into()],
        numbers: true,
    };
    let axis = |low, high, n_ticks| match spans_a_decade(low, high) {
        true => Scale::log(low, high),
        false => Scale::linear(low, high, n_ticks, false),
    };
    let y = axis(0.8 * low, 1.25 * high, 6);
    let (mut canvas, panels) = sheet.lay_out(|_| (axis(0.9, 1.1 * most, 8), y.clone()))?;
    for (panel, (_, points)) in panels.iter().zip(&spec.panels) {
        let ideal = |p: &ScalingPoint| points[0].greedy * points[0].ranks as f64 / p.ranks as f64;
        let mut curve = |of: &dyn Fn(&ScalingPoint) -> Option<f64>, sample: Sample| {
            let at: Vec<_> = points.iter().filter_map(|p| Some(panel.at(p.ranks as f64, of(p)?))).collect();
            at.windows(2).for_each(|ends| sample.stroke(&mut canvas, ends[0], ends[1]));
        };
        curve(&|p| Some(ideal(p)).filter(|t| *t >= 0.8 * low), Sample::Dotted(MUTED));
        curve(&|p| p.end_to_end.map(|t| t.1), hidden);
        curve(&|p| p.end_to_end.map(|t| t.0), summed);
        curve(&|p| Some(p.greedy), greedy);
        curve(&|p| Some(p.plain), plain);
        for p in points {
            let x = p.ranks as f64;
            if let Some((seconds, _)) = p.end_to_end {
                Shape::Square.draw(&mut canvas, panel.at(x, seconds), 4.5, VERMILLION, false);
            }
            Shape::Circle.draw(&mut canvas, panel.at(x, p.greedy), 5.0, BLUE, false);
            Shape::Triangle.draw(&mut canvas, panel.at(x, p.plain), 4.5, GREEN, false);
        }
    }
    let caption =
        "Predicted time of a training step by the number of ranks, from module costs measured on one machine; \
                   the batch stays the same. Nothing here was measured on several machines."
            .to_owned();
    Ok(Figure { canvas, caption })
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_figure;
    use super::*;

    #[test]
    fn draws_a_panel_for_each_network() {
        let point = |ranks: usize| ScalingPoint {
            ranks,
            greedy: 2.0 / ranks.min(24) as f64,
            plain: 2.0 / ranks.min(5) as f64,
            end_to_end: Some((1.8 / ranks.min(8) as f64 + 0.01, 1.8 / ranks.min(8) as f64)),
        };
        let points: Vec<_> = (0..9).map(|n| point(1 << n)).collect();
        let panels = vec![("10 Gb/s".to_owned(), points.clone()), ("100 Gb/s".to_owned(), points)];
        let spec = ScalingCurves { title: "Scaling".into(), subtitle: "predicted".into(), panels };
        let figure = scaling(&spec).unwrap();
        check_figure(&figure, &["10 Gb/s", "100 Gb/s", "Ranks", "greedy modules", "end to end, data-parallel"]);
        let mut alone = spec.panels[..1].to_vec();
        alone[0].1.truncate(1);
        alone[0].1[0].end_to_end = None;
        check_figure(&scaling(&ScalingCurves { panels: alone, ..spec.clone() }).unwrap(), &["one rank / ranks"]);
        assert!(scaling(&ScalingCurves { panels: Vec::new(), ..spec }).is_err());
    }
}
