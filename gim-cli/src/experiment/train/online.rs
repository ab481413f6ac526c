//! Linear probes while training goes on: how much the features of each module tell by now.

use gim_core::data::shuffle;
use gim_core::stack::Stack;
use gim_core::{Key, Pool, Purpose, Result};
use gim_eval::{ConvergedProbe, Examples, ItemIndex, LabelSpec, OnlineRow, Per, Probe, Split, Task};
use ndarray::{Array2, Axis, concatenate, s};

use crate::experiment::config::Config;
use crate::experiment::dataset_record::DatasetRecord;
use crate::experiment::domain::Extractor;

/// Most items whose features are computed. A fifth of them is evaluated.
const ITEMS: usize = 200;
/// Most frames of an item that a probe sees, evenly spaced.
const FRAMES: usize = 50;
/// Penalty of a probe, and most iterations of its fit.
const L2: f64 = 1e-2;
const ITERATIONS: usize = 30;

/// Probes of a few training items, always the same. They read weights and draw nothing that training
/// draws, so they change no bit of it.
pub(super) struct OnlineProbes {
    extractor: Box<dyn Extractor>,
    /// Indices into the dataset. The first ones are evaluated, the others are fitted on.
    items: Vec<usize>,
    seed: u64,
}

/// What probes see of an item.
struct Seen {
    /// Of each module: the mean over time (1, dims), and some frames (rows, dims).
    means: Vec<Array2<f32>>,
    frames: Vec<Array2<f32>>,
    /// Of each kind of labels: those of the mean or of the frames.
    labels: Vec<Vec<i32>>,
}

impl OnlineProbes {
    /// Chooses the items; none when no probe is asked for.
    ///
    /// # Errors
    /// When the dataset cannot be opened.
    pub(super) fn open(config: &Config, record: &DatasetRecord) -> Result<Option<Self>> {
        if config.train.probe_every == 0 {
            return Ok(None);
        }
        let (dataset, seed) = (config.domain.dataset(), config.train.seed);
        let extractor = dataset.extractor(record, config.probe.pooling)?;
        let train = extractor.items().iter().filter(|i| i.1 == Split::Train);
        let mut items: Vec<usize> = train.map(|i| i.0).collect();
        shuffle(&mut items, Key::new(seed, Purpose::Probe).with_epoch(1));
        items.truncate(ITEMS);
        Ok(Some(Self { extractor, items, seed }))
    }

    /// Accuracies of all modules and tasks after `step` steps. A task whose labels are of one class has
    /// none.
    ///
    /// # Errors
    /// When a file cannot be read, or features are not finite.
    pub(super) fn rows(&mut self, stack: &mut Stack<f32>, step: u64, pool: &Pool<f32>) -> Result<Vec<OnlineRow>> {
        let specs = self.extractor.labels();
        let mut seen = Vec::new();
        for items in self.items.chunks(self.extractor.batch()) {
            for item in self.extractor.extract_whole(items, stack, pool)? {
                seen.push(item.map(|item| Seen::of(&item.groups, item.labels, &specs)));
            }
        }
        let test = self.items.len() / 5;
        let split = |at: usize| if at < test { Split::Test } else { Split::Train };
        let seen: Vec<(Split, Seen)> =
            seen.into_iter().enumerate().filter_map(|(at, s)| Some((split(at), s?))).collect();
        let mut rows = Vec::new();
        for (at, spec) in specs.iter().enumerate() {
            let Some(task) = Task::of_label(&spec.task) else { continue };
            for module in 0..seen.first().map_or(0, |s| s.1.means.len()) {
                let accuracy = accuracy(&seen, module, at, spec, self.seed)?;
                rows.extend(accuracy.map(|accuracy| OnlineRow { step, module: module + 1, task, accuracy }));
            }
        }
        Ok(rows)
    }
}

impl Seen {
    fn of(groups: &[Array2<f32>], labels: Vec<Vec<i32>>, specs: &[LabelSpec]) -> Self {
        let stride = |rows: usize| rows.div_ceil(FRAMES).max(1);
        let mean = |g: &Array2<f32>| {
            let mean = g.mean_axis(Axis(0)).unwrap_or_else(|| unreachable!("an item has rows"));
            mean.insert_axis(Axis(0))
        };
        let frames = |g: &Array2<f32>| g.slice(s![..;stride(g.nrows()), ..]).to_owned();
        let of_task = |(labels, spec): (Vec<i32>, &LabelSpec)| match spec.per {
            Per::Item => labels,
            Per::Frame => labels.iter().copied().step_by(stride(labels.len())).collect(),
        };
        Self {
            means: groups.iter().map(mean).collect(),
            frames: groups.iter().map(frames).collect(),
            labels: labels.into_iter().zip(specs).map(of_task).collect(),
        }
    }
}

/// Accuracy of a probe of one module for the labels number `at`.
fn accuracy(seen: &[(Split, Seen)], module: usize, at: usize, spec: &LabelSpec, seed: u64) -> Result<Option<f64>> {
    let of = |s: &'_ Seen| if spec.per == Per::Item { s.means[module].clone() } else { s.frames[module].clone() };
    let features: Vec<Array2<f32>> = seen.iter().map(|s| of(&s.1)).collect();
    let index = ItemIndex::from_counts(features.iter().map(Array2::nrows));
    let views: Vec<_> = features.iter().map(|f| f.view()).collect();
    let features = concatenate(Axis(0), &views).unwrap_or_else(|e| unreachable!("modules have fixed dimensions: {e}"));
    let labels = seen.iter().flat_map(|s| s.1.labels[at].iter().copied()).collect();
    let split = seen.iter().map(|s| s.0).collect();
    let examples = Examples::per_frame(features, labels, spec.classes, index, split)?;
    let (train, test) = (examples.part(Split::Train), examples.part(Split::Test));
    if test.n_rows() == 0 || train.labels().iter().all(|c| Some(c) == train.labels().first()) {
        return Ok(None);
    }
    let probe = ConvergedProbe { l2: vec![L2], max_iterations: ITERATIONS, ..ConvergedProbe::default() };
    let fitted = Probe::Converged(probe).fit(&train, Key::new(seed, Purpose::Probe))?;
    Ok(Some(fitted.evaluate(&test, None)?.accuracy))
}
