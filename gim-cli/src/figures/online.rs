//! Accuracy of online probes against the training step, a panel per module, tasks overlaid.

use std::collections::BTreeSet;

use gim_core::Result;
use gim_eval::{OnlineRow, Task};

use super::axes::{Sample, Scale, Sheet, columns};
use super::palette::PALETTE;
use super::{Figure, nothing_to_draw};

/// Input of [`online`].
#[derive(Debug, Clone)]
pub(crate) struct OnlineCurves {
    /// Title.
    pub title: String,
    /// Second line, may be empty.
    pub subtitle: String,
    /// Rows of a run's `online.csv`.
    pub rows: Vec<OnlineRow>,
}

/// Draws the accuracy of every module's probes as training goes on.
///
/// # Errors
/// When there are no rows.
pub(crate) fn online(spec: &OnlineCurves) -> Result<Figure> {
    let modules: Vec<usize> = spec.rows.iter().map(|r| r.module).collect::<BTreeSet<_>>().into_iter().collect();
    let tasks: Vec<Task> = spec.rows.iter().map(|r| r.task).collect::<BTreeSet<_>>().into_iter().collect();
    let last = spec.rows.iter().map(|r| r.step).max();
    let Some(last) = last else {
        return Err(nothing_to_draw("online probes", "there are no rows", "train with train.probe_every"));
    };
    let highest = spec.rows.iter().map(|r| 100.0 * r.accuracy).fold(1.0, f64::max);
    let (x, y) = (Scale::counts(0.0, last as f64, 4), Scale::linear(0.0, 1.05 * highest, 5, false));
    let color = |task: usize| PALETTE[task % PALETTE.len()];
    let sheet = Sheet {
        title: spec.title.clone(),
        subtitle: spec.subtitle.clone(),
        legend: tasks.iter().enumerate().map(|(i, task)| (Sample::Line(color(i)), task.to_string())).collect(),
        named_ends: false,
        panel_titles: modules.iter().map(|m| format!("Module {m}")).collect(),
        columns: columns(modules.len()),
        panel: if modules.len() == 1 { (680.0, 380.0) } else { (350.0, 250.0) },
        x_title: "Training step".into(),
        y_title: "Accuracy (%)".into(),
        notes: Vec::new(),
        numbers: true,
    };
    let (mut canvas, panels) = sheet.lay_out(|_| (x.clone(), y.clone()))?;
    for (panel, module) in panels.iter().zip(&modules) {
        for (i, task) in tasks.iter().enumerate() {
            let rows = spec.rows.iter().filter(|r| r.module == *module && r.task == *task);
            let mut points: Vec<_> = rows.map(|r| (r.step, panel.at(r.step as f64, 100.0 * r.accuracy))).collect();
            points.sort_by_key(|p| p.0);
            points.iter().for_each(|p| canvas.disc(p.1, 3.0, color(i)));
            canvas.line(points.into_iter().map(|p| p.1).collect(), color(i), 2.0);
        }
    }
    let caption = "Accuracy of linear probes of each module while training goes on. They are fitted on a few training \
                   items and evaluated on others of them: a course, not a result."
        .into();
    Ok(Figure { canvas, caption })
}

#[cfg(test)]
mod tests {
    use super::super::testing::check_figure;
    use super::*;

    #[test]
    fn draws_modules_and_tasks() {
        let row = |step, module, task| OnlineRow { step, module, task, accuracy: step as f64 / 50.0 };
        let rows = [10, 20, 30].iter().flat_map(|s| {
            [(1, Task::Phones), (2, Task::Phones), (2, Task::Speakers)].map(|(module, task)| row(*s, module, task))
        });
        let spec = |rows| OnlineCurves { title: "Online probes".into(), subtitle: "toy".into(), rows };
        let figure = online(&spec(rows.collect())).unwrap();
        check_figure(&figure, &["Module 1", "Module 2", "phones", "speakers", "Accuracy (%)"]);
        assert!(online(&spec(Vec::new())).unwrap_err().to_string().contains("train.probe_every"));
    }
}
