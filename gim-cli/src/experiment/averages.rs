//! Losses and accuracies averaged over the steps of a row of `train.csv`.

use gim_core::schedule::ModuleReport;
use gim_eval::TrainRow;

/// Sums of losses and of accuracies of a module, as bits of an `f64` each, and the number of steps.
pub(crate) type Sums = [u64; 3];

/// Losses and accuracies of the steps since the last row, module by module.
pub(crate) struct Averages {
    /// Sums of losses and of accuracies, and their number.
    sums: Vec<(f64, f64, u64)>,
    /// Losses of the last row; NaN before it.
    latest: Vec<f64>,
    /// Sums of the gradients' norms and their number, where they are measured. No checkpoint has them.
    norms: Vec<(f64, u64)>,
}

impl Averages {
    /// Averages that continue from the sums of an unfinished row, as [`Self::unfinished`] gives them.
    pub(crate) fn resume(modules: usize, unfinished: &[Sums]) -> Self {
        let mut sums: Vec<_> = unfinished
            .iter()
            .map(|[loss, accuracy, n]| (f64::from_bits(*loss), f64::from_bits(*accuracy), *n))
            .collect();
        sums.resize(modules, (0.0, 0.0, 0));
        Self { sums, latest: vec![f64::NAN; modules], norms: vec![(0.0, 0); modules] }
    }

    /// The sums of the row that is not finished, for a checkpoint; empty right after a row.
    pub(crate) fn unfinished(&self) -> Vec<Sums> {
        if self.sums.iter().all(|s| s.2 == 0) {
            return Vec::new();
        }
        self.sums.iter().map(|s| [s.0.to_bits(), s.1.to_bits(), s.2]).collect()
    }

    /// Adds a module's step.
    pub(crate) fn add(&mut self, report: &ModuleReport) {
        let sum = &mut self.sums[report.module - 1];
        *sum = (sum.0 + report.loss.loss, sum.1 + report.loss.accuracy, sum.2 + 1);
        if let Some(norm) = report.gradient_norm {
            let sum = &mut self.norms[report.module - 1];
            *sum = (sum.0 + norm, sum.1 + 1);
        }
    }

    /// Mean norm of the gradient of each module that was measured, by its one-based number, after which averages
    /// begin anew.
    pub(crate) fn take_gradient_norms(&mut self) -> Vec<(usize, f64)> {
        let sums = self.norms.iter_mut().enumerate().filter(|(_, sum)| sum.1 > 0);
        sums.map(|(m, sum)| (m + 1, std::mem::take(sum))).map(|(m, (sum, n))| (m, sum / n as f64)).collect()
    }

    /// The rows of step `step`, after which averages begin anew.
    pub(crate) fn take(&mut self, step: u64, epoch: u64, seconds: f64) -> Vec<TrainRow> {
        let mut rows = Vec::new();
        for (m, sum) in self.sums.iter_mut().enumerate().filter(|s| s.1.2 > 0) {
            let n = sum.2 as f64;
            self.latest[m] = sum.0 / n;
            rows.push(TrainRow {
                step,
                epoch: u32::try_from(epoch).unwrap_or(u32::MAX),
                module: m + 1,
                loss: sum.0 / n,
                accuracy: Some(sum.1 / n),
                seconds: Some(seconds),
            });
            *sum = (0.0, 0.0, 0);
        }
        rows
    }

    /// The latest losses for people; nothing is known of a module before its first row.
    pub(crate) fn shown(&self) -> String {
        let shown = |l: &f64| if l.is_nan() { "–".to_owned() } else { format!("{l:.3}") };
        self.latest.iter().map(shown).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use gim_core::loss::LossReport;

    use super::*;

    #[test]
    fn an_interrupted_row_averages_all_its_steps() {
        let report = |step: u64| ModuleReport {
            module: 2,
            step,
            loss: LossReport { loss: 0.1 * step as f64, accuracy: 0.7 / (1.0 + step as f64) },
            gradient_norm: (step > 2).then_some(step as f64),
        };
        let mut whole = Averages::resume(3, &[]);
        (0..5).for_each(|step| whole.add(&report(step)));
        let mut first = Averages::resume(3, &[]);
        (0..2).for_each(|step| first.add(&report(step)));
        let mut second = Averages::resume(3, &first.unfinished());
        (2..5).for_each(|step| second.add(&report(step)));
        assert_eq!(second.take(5, 0, 1.0), whole.take(5, 0, 1.0));
        assert!(second.unfinished().is_empty() && second.take(6, 0, 1.0).is_empty());
        assert_eq!(second.take_gradient_norms(), [(2, 3.5)]);
        assert_eq!(second.take_gradient_norms(), []);
    }
}
