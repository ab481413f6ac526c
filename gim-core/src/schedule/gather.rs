//! Puts what modules report in the order of training steps, whatever the order of arrival.

use std::collections::BTreeMap;

use super::ModuleReport;

/// A batch that a module has trained on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Taken {
    /// What the module reports.
    pub report: ModuleReport,
    /// Staleness of its input: the updates that the module below had made since it computed the
    /// batch, when this module took it. One where modules take turns; 0 for the first module, whose
    /// batches nobody learns to make.
    pub staleness: u64,
}

/// A training step that all modules have left behind.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedStep<T> {
    /// Training step of the run, 0-based.
    pub step: u64,
    /// The modules that trained on it, first module first.
    pub taken: Vec<Taken>,
    /// What was saved of every module after this step and before the next, first module first;
    /// empty unless all modules have saved something.
    pub saved: Vec<T>,
}

/// What a module says while it trains, in the order of its steps.
#[derive(Debug)]
pub(super) enum Event<T> {
    /// It has trained on a batch.
    Trained(Taken),
    /// It has done all it will ever do with batches below `step`; `saved` are states after so many
    /// steps of the run.
    Passed { module: usize, step: u64, saved: Vec<(u64, T)> },
}

/// Collects events. Sums over its steps do not depend on how threads were scheduled.
pub(super) struct Gather<T> {
    /// Step that is finished next.
    next: u64,
    /// Steps below these are done, by module.
    passed: Vec<u64>,
    taken: BTreeMap<u64, Vec<Taken>>,
    saved: BTreeMap<u64, Vec<Option<T>>>,
}

impl<T> Gather<T> {
    /// Begins with step `first` of `modules` modules.
    pub(super) fn new(first: u64, modules: usize) -> Self {
        Self { next: first, passed: vec![first; modules], taken: BTreeMap::new(), saved: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, event: Event<T>) {
        match event {
            Event::Trained(new) => {
                let taken = self.taken.entry(new.report.step).or_default();
                let at = taken.partition_point(|t| t.report.module < new.report.module);
                taken.insert(at, new);
            }
            Event::Passed { module, step, saved } => {
                self.passed[module] = step;
                for (after, state) in saved {
                    let modules = self.passed.len();
                    let states = self.saved.entry(after).or_insert_with(|| (0..modules).map(|_| None).collect());
                    states[module] = Some(state);
                }
            }
        }
    }

    /// The next step that all modules have passed, if there is one. Modules that have ended pass
    /// all steps; those that none has trained on are not finished.
    pub(super) fn finished(&mut self) -> Option<FinishedStep<T>> {
        let all = self.passed.iter().copied().min().unwrap_or(0);
        let trained = self.taken.keys().next_back().is_some_and(|last| self.next <= *last);
        (self.next < all && trained).then(|| self.take())
    }

    fn take(&mut self) -> FinishedStep<T> {
        let step = self.next;
        self.next += 1;
        let taken = self.taken.remove(&step).unwrap_or_default();
        let states = self.saved.remove(&self.next).unwrap_or_default();
        let whole = states.iter().all(Option::is_some);
        let saved = if whole { states.into_iter().flatten().collect() } else { Vec::new() };
        FinishedStep { step, taken, saved }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::LossReport;

    fn trained(module: usize, step: u64) -> Event<u64> {
        let loss = LossReport { loss: step as f64, accuracy: 0.5 };
        let report = ModuleReport { module, step, loss, gradient_norm: None };
        Event::Trained(Taken { report, staleness: 1 })
    }

    #[test]
    fn steps_are_finished_in_order_whoever_is_first() {
        let mut gather = Gather::new(4, 2);
        for step in 4..7 {
            gather.add(Event::Passed { module: 0, step, saved: if step == 5 { vec![(5, 10)] } else { vec![] } });
            gather.add(trained(1, step));
        }
        assert!(gather.finished().is_none());
        gather.add(trained(2, 4));
        gather.add(Event::Passed { module: 1, step: 6, saved: vec![(5, 20)] });
        let step = |g: &mut Gather<u64>| g.finished().map(|f| (f.step, f.taken.len(), f.saved));
        assert_eq!(step(&mut gather), Some((4, 2, vec![10, 20])));
        // The second module did not take this batch.
        assert_eq!(step(&mut gather), Some((5, 1, vec![])));
        assert_eq!(step(&mut gather), None);
        for module in 0..2 {
            gather.add(Event::Passed { module, step: u64::MAX, saved: vec![] });
        }
        assert_eq!(step(&mut gather), Some((6, 1, vec![])));
        assert_eq!(step(&mut gather), None);
    }
}
