//! What the screen shows, and what keys do to it.

use std::collections::{BTreeMap, BTreeSet};

use gim_eval::{Task, TrainRow};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::experiment::run_dir::RowsSoFar;
use crate::experiment::status::{RunStatus, State};

/// What curves are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    Loss,
    Accuracy,
    HeldOutLoss,
    HeldOutAccuracy,
    /// Accuracy of online probes.
    Probe(Task),
}

/// A point of a curve: step and value.
pub(super) type Point = (f64, f64);

impl Measure {
    /// Those that a run has.
    fn all(rows: &RowsSoFar) -> Vec<Self> {
        let tasks: BTreeSet<Task> = rows.online.iter().map(|r| r.task).collect();
        let measures = [Self::Loss, Self::Accuracy, Self::HeldOutLoss, Self::HeldOutAccuracy];
        let all = measures.into_iter().chain(tasks.into_iter().map(Self::Probe));
        all.filter(|m| *m == Self::Loss || !m.curves(rows).is_empty()).collect()
    }

    /// What it is called.
    pub(super) fn title(self) -> String {
        match self {
            Self::Loss => "training loss".into(),
            Self::Accuracy => "training accuracy".into(),
            Self::HeldOutLoss => "loss on held-out items".into(),
            Self::HeldOutAccuracy => "accuracy on held-out items".into(),
            Self::Probe(task) => format!("accuracy of probes for {task}"),
        }
    }

    /// The curve of each module that has finite values.
    pub(super) fn curves(self, rows: &RowsSoFar) -> BTreeMap<usize, Vec<Point>> {
        let loss = |row: &TrainRow| Some(row.loss);
        let accuracy = |row: &TrainRow| row.accuracy;
        match self {
            Self::Loss => curves(rows.train.iter().map(|r| (r.module, r.step, loss(r)))),
            Self::Accuracy => curves(rows.train.iter().map(|r| (r.module, r.step, accuracy(r)))),
            Self::HeldOutLoss => curves(rows.validation.iter().map(|r| (r.module, r.step, loss(r)))),
            Self::HeldOutAccuracy => curves(rows.validation.iter().map(|r| (r.module, r.step, accuracy(r)))),
            Self::Probe(task) => {
                let own = rows.online.iter().filter(|r| r.task == task);
                curves(own.map(|r| (r.module, r.step, Some(r.accuracy))))
            }
        }
    }
}

fn curves(points: impl Iterator<Item = (usize, u64, Option<f64>)>) -> BTreeMap<usize, Vec<Point>> {
    let mut out: BTreeMap<usize, Vec<Point>> = BTreeMap::new();
    for (module, step, value) in points {
        if let Some(value) = value.filter(|v| v.is_finite()) {
            out.entry(module).or_default().push((step as f64, value));
        }
    }
    out
}

/// What was read of a run.
#[derive(Debug)]
pub(super) enum Seen {
    /// Nothing yet.
    Nothing,
    /// How far it is, and its rows.
    Read(Box<RunStatus>, RowsSoFar),
    /// Why it cannot be read.
    Unreadable(String),
}

impl Seen {
    /// What the run is doing, if that is known.
    pub(super) fn state(&self) -> Option<State> {
        if let Self::Read(status, _) = self { Some(status.state) } else { None }
    }
}

/// What the screen shows.
#[derive(Debug)]
pub(super) struct Screen {
    /// Names of the runs.
    pub names: Vec<String>,
    /// What each run is doing, as far as it was read.
    pub states: Vec<Option<State>>,
    selected: usize,
    /// What was read of the selected run.
    pub seen: Seen,
    /// What its curves are of.
    pub measure: Measure,
    /// Modules without curves.
    pub hidden: BTreeSet<usize>,
    /// Whether modules have colors.
    pub is_colorful: bool,
}

impl Screen {
    /// The losses of the first run, of which nothing was read yet.
    pub(super) fn new(names: Vec<String>, is_colorful: bool) -> Self {
        let states = vec![None; names.len()];
        let (seen, measure) = (Seen::Nothing, Measure::Loss);
        Self { names, states, selected: 0, seen, measure, hidden: BTreeSet::new(), is_colorful }
    }

    /// Number of the run that is shown.
    pub(super) fn selected(&self) -> usize {
        self.selected
    }

    /// Shows other runs; the selected one stays if it is among them.
    pub(super) fn rename(&mut self, names: Vec<String>) {
        let at = |name: &String| self.names.iter().position(|n| n == name);
        let states = names.iter().map(|name| self.states[at(name)?]).collect();
        let selected = names.iter().position(|name| *name == self.names[self.selected]);
        (self.states, self.selected, self.names) = (states, selected.unwrap_or(0), names);
    }

    /// Shows what was read of the selected run.
    pub(super) fn show(&mut self, seen: Seen) {
        self.states[self.selected] = seen.state();
        self.seen = seen;
    }

    /// Does what a key asks for. Gives whether to leave.
    pub(super) fn press(&mut self, key: KeyEvent) -> bool {
        if key.kind == KeyEventKind::Release {
            return false;
        }
        let runs = self.names.len();
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Tab | KeyCode::Down | KeyCode::Right => self.selected = (self.selected + 1) % runs,
            KeyCode::BackTab | KeyCode::Up | KeyCode::Left => self.selected = (self.selected + runs - 1) % runs,
            KeyCode::Char('m') => self.measure = self.next_measure(),
            KeyCode::Char('0') => self.hidden.clear(),
            KeyCode::Char(digit) => {
                if let Some(module) = digit.to_digit(10).map(|d| d as usize)
                    && !self.hidden.remove(&module)
                {
                    self.hidden.insert(module);
                }
            }
            _ => {}
        }
        false
    }

    fn next_measure(&self) -> Measure {
        let Seen::Read(_, rows) = &self.seen else { return self.measure };
        let all = Measure::all(rows);
        let at = all.iter().position(|m| *m == self.measure);
        all[at.map_or(0, |at| (at + 1) % all.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_choose_runs_measures_and_modules() {
        let mut screen = Screen::new(vec!["a".into(), "b".into(), "c".into()], true);
        let press = |screen: &mut Screen, code| screen.press(KeyEvent::new(code, KeyModifiers::NONE));
        for (key, selected) in [(KeyCode::Tab, 1), (KeyCode::Down, 2), (KeyCode::Tab, 0), (KeyCode::Up, 2)] {
            assert!(!press(&mut screen, key));
            assert_eq!(screen.selected(), selected);
        }
        screen.rename(vec!["c".into(), "d".into()]);
        assert_eq!((screen.selected(), screen.states.len()), (0, 2));
        for (key, hidden) in [('1', vec![1]), ('3', vec![1, 3]), ('1', vec![3]), ('x', vec![3]), ('0', vec![])] {
            press(&mut screen, KeyCode::Char(key));
            assert_eq!(screen.hidden.iter().copied().collect::<Vec<_>>(), hidden, "{key}");
        }
        assert!(press(&mut screen, KeyCode::Char('q')) && press(&mut screen, KeyCode::Esc));
        assert!(!press(&mut screen, KeyCode::Char('c')));
        assert!(screen.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
    }
}
