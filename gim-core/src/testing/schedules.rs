//! The check that every network must pass: all schedules that give every batch to every module give
//! the same bits.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use super::uniform;
use crate::activations::{Activations, Shape};
use crate::checkpoint::{CheckpointMeta, to_bytes};
use crate::link::{Packet, Sink};
use crate::module::{Mode, Module};
use crate::schedule::{
    FinishedStep, Group, ModuleReport, NextBatch, OnThreads, Order, Part, Taken, balance, group_by, run_async,
    run_pipelined, run_pipelined_part, step_in_turn,
};
use crate::stack::{LayoutPlans, Stack};
use crate::{Pool, Result};

/// Steps of a check, and the one after which it stops and resumes.
pub(super) const STEPS: u64 = 8;
const STOP: u64 = 3;
const SEED: u64 = 1;

/// Shape and labels of a batch.
pub type Input = (Shape, Arc<[i32]>);

/// Builds a stack, with the buffers of the pool.
type BuildStack<'a> = dyn Fn(&Pool<f32>) -> Stack<f32> + 'a;

/// What training leaves: the reports in order of steps and modules, and the checkpoint of every
/// module after every step.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Trained {
    pub(super) reports: Vec<ModuleReport>,
    pub(super) checkpoints: Vec<Vec<Vec<u8>>>,
}

/// Compares pipelined with simultaneous training of the stack: losses, and the checkpoints of all
/// modules after every step. Groups, link depths, threads, a stop in between, and a cut into two parts
/// that run on their own must not change a bit. Batches take `inputs` in turn: full and short ones, say.
///
/// # Panics
/// When they differ.
pub fn check_pipelined(build: &BuildStack<'_>, inputs: &[Input]) {
    let want = in_turn(build(&Pool::new()), &Pool::new(), inputs);
    let stack = build(&Pool::new());
    let n = stack.modules().len();
    let costs: Vec<f64> = (1..=n).map(|m| m as f64).collect();
    let alone: Vec<Vec<usize>> = (1..=n).map(|m| vec![m]).collect();
    let (low, high) = ((1..=n.div_ceil(2)).collect::<Vec<_>>(), (n.div_ceil(2) + 1..=n).collect::<Vec<_>>());
    let halves: Vec<Vec<usize>> = [low, high].into_iter().filter(|half| !half.is_empty()).collect();
    let by = |lists: &[Vec<usize>], threads| {
        group_by(lists, &costs, threads).unwrap_or_else(|e| panic!("these lists name every module: {e}"))
    };
    for (threads, depth) in [(1, 1), (1, 8), (2, 2), (3, 4), (4, 3), (5, 5), (6, 6), (7, 7), (8, 1)] {
        for groups in [balance(&costs, threads), by(&alone, threads), by(&halves, threads)] {
            let got = pipelined(build, inputs, &groups, depth);
            assert_eq!(want.reports, got.reports, "losses of {groups:?}, links of {depth}");
            assert!(want == got, "weights of {groups:?}, links of {depth}");
        }
    }
    for cut in 1..n {
        let got = in_parts(build, inputs, cut);
        assert!(want == got, "losses or weights of two parts, cut above module {cut}");
    }
}

/// Trains asynchronously with a slow last module, and repeats the order taken with
/// another number of threads: losses, and the checkpoints of all modules after every step, must be
/// the same.
///
/// # Panics
/// When they differ.
pub fn check_async(build: &BuildStack<'_>, inputs: &[Input]) {
    let n = build(&Pool::new()).modules().len();
    let alone: Vec<Vec<usize>> = (1..=n).map(|m| vec![m]).collect();
    let groups =
        |threads| group_by(&alone, &vec![1.0; n], threads).unwrap_or_else(|e| panic!("each is named once: {e}"));
    let mut slow = vec![1.0; n];
    slow[n - 1] = 6.0;
    let (live, taken) = asynchronous(build, inputs, &groups(1), &slow, Order::Newest);
    let of = |m: usize| taken.iter().filter(|t| t.report.module == m + 1).map(|t| t.report.step).collect();
    let order: Vec<BTreeSet<u64>> = (0..n).map(of).collect();
    assert!(order[0].iter().copied().eq(0..STEPS), "the first module takes every batch: {order:?}");
    for threads in [1, n + 2] {
        let (again, _) = asynchronous(build, inputs, &groups(threads), &[], Order::Recorded(&order));
        assert_eq!(live.reports, again.reports, "losses of {order:?}");
        assert!(live == again, "weights of {order:?}");
    }
    // How many batches a live run leaves out depends on the machine: here the last module leaves out
    // every other.
    let mut sparse = order;
    sparse[n - 1].retain(|step| n == 1 || step % 2 == 0);
    let repeated = |threads| asynchronous(build, inputs, &groups(threads), &[], Order::Recorded(&sparse));
    let ((one, taken), (many, _)) = (repeated(1), repeated(n + 2));
    let last = taken.iter().filter(|t| t.report.module == n).map(|t| t.report.step);
    assert!(last.eq(sparse[n - 1].iter().copied()), "the last module takes what the order says");
    assert!(one == many, "weights of {sparse:?}");
}

fn asynchronous(
    build: &BuildStack<'_>,
    inputs: &[Input],
    groups: &[Group],
    slow: &[f64],
    order: Order<'_>,
) -> (Trained, Vec<Taken>) {
    let pool = Pool::new();
    let mut stack = build(&pool);
    let plans = plan(&stack, inputs);
    let modes = vec![Mode::Train; stack.modules().len()];
    let on = OnThreads { seed: SEED, modes: &modes, groups, first: 0, slow };
    let mut steps = 0..STEPS;
    let mut feed = || steps.next().map(|step| packet(&plans, inputs, step, &pool));
    let save = |module: &mut dyn Module<f32>, index, step| checkpoint(module, index, step).map(Some);
    let (mut trained, mut taken) = (Trained::default(), Vec::new());
    let mut finished = |step: FinishedStep<Vec<u8>>| {
        assert_eq!(step.saved.len(), modes.len(), "a state of every module after step {}", step.step);
        trained.reports.extend(step.taken.iter().map(|t| t.report));
        trained.checkpoints.push(step.saved);
        taken.extend(step.taken);
        Ok(())
    };
    run_async(&mut stack, on, order, &mut feed, &save, &mut finished).unwrap_or_else(|e| panic!("{e}"));
    (trained, taken)
}

fn packet(plans: &LayoutPlans, inputs: &[Input], step: u64, pool: &Pool<f32>) -> Packet<f32> {
    let (shape, labels) = &inputs[step as usize % inputs.len()];
    let values: Vec<f32> = uniform(shape.len(), step).iter().map(|x| *x as f32).collect();
    plans.packet(Activations::from_slice(plans.of(*shape)[0], &values, pool), step, Arc::clone(labels))
}

fn plan(stack: &Stack<f32>, inputs: &[Input]) -> LayoutPlans {
    stack.plan(inputs.iter().map(|i| i.0)).unwrap_or_else(|e| panic!("{e}"))
}

fn checkpoint(module: &mut dyn Module<f32>, index: usize, step: u64) -> Result<Vec<u8>> {
    to_bytes(module, &CheckpointMeta { module: index + 1, step, ..CheckpointMeta::default() })
}

/// Trains all modules of a stack in turn, on batches from the pool.
pub(super) fn in_turn(mut stack: Stack<f32>, pool: &Pool<f32>, inputs: &[Input]) -> Trained {
    let plans = plan(&stack, inputs);
    let modes = vec![Mode::Train; stack.modules().len()];
    let mut trained = Trained::default();
    for step in 0..STEPS {
        let packet = packet(&plans, inputs, step, pool);
        step_in_turn(&mut stack, packet, SEED, &modes, &mut |r| trained.reports.push(r))
            .unwrap_or_else(|e| panic!("{e}"));
        let modules = stack.modules_mut().iter_mut().enumerate();
        let bytes = modules.map(|(i, m)| checkpoint(&mut **m, i, step + 1).unwrap_or_else(|e| panic!("{e}")));
        trained.checkpoints.push(bytes.collect());
    }
    trained
}

/// The modules below `cut` and those above as two stacks, linked by a channel.
fn in_parts(build: &BuildStack<'_>, inputs: &[Input], cut: usize) -> Trained {
    let pool = Pool::new();
    let (mut lower, mut upper) = (build(&pool), build(&pool));
    let (plans, n) = (plan(&lower, inputs), lower.modules().len());
    lower.keep(0..cut);
    upper.keep(cut..n);
    let (sink, source) = sync_channel(1);
    let mut steps = 0..STEPS;
    let mut batches = || steps.next().map(|step| packet(&plans, inputs, step, &pool));
    let mut received = move || source.recv().ok();
    let (below, above) = std::thread::scope(|scope| {
        let below = scope.spawn(|| part(&mut lower, 0..cut, &mut batches, Box::new(sink)));
        let mut top = Vec::new();
        let above = part(&mut upper, cut..n, &mut received, Box::new(Noting(&mut top)));
        assert!(top.into_iter().eq(0..STEPS), "the last module's outputs");
        (below.join().unwrap_or_else(|e| std::panic::resume_unwind(e)), above)
    });
    let mut trained = Trained::default();
    for (low, high) in below.into_iter().zip(above) {
        trained.reports.extend(low.taken.iter().chain(&high.taken).map(|t| t.report));
        trained.checkpoints.push([low.saved, high.saved].concat());
    }
    trained
}

/// Notes the steps of what it is given.
struct Noting<'a>(&'a mut Vec<u64>);

impl Sink<f32> for Noting<'_> {
    fn send(&mut self, packet: Packet<f32>) {
        self.0.push(packet.step);
    }
}

fn part(
    stack: &mut Stack<f32>,
    modules: Range<usize>,
    feed: &mut NextBatch<'_, f32>,
    above: Box<dyn Sink<f32> + Send + '_>,
) -> Vec<FinishedStep<Vec<u8>>> {
    let (below, n) = (modules.start, modules.len());
    let modes = vec![Mode::Train; n];
    let groups = [Group { modules: 0..n, threads: 1 }];
    let on = OnThreads { seed: SEED, modes: &modes, groups: &groups, first: 0, slow: &[] };
    let save = |module: &mut dyn Module<f32>, index: usize, step| checkpoint(module, below + index, step).map(Some);
    let mut all = Vec::new();
    let mut finished = |step| {
        all.push(step);
        Ok(())
    };
    let timelines = run_pipelined_part(stack, on, Part { below, above }, 1, feed, &save, &mut finished);
    let timelines = timelines.unwrap_or_else(|e| panic!("{e}"));
    assert!(timelines.iter().map(|t| t.module).eq(below + 1..=modules.end));
    all
}

fn pipelined(build: &BuildStack<'_>, inputs: &[Input], groups: &[Group], depth: usize) -> Trained {
    let pool = Pool::new();
    let mut stack = build(&pool);
    let plans = plan(&stack, inputs);
    let modes = vec![Mode::Train; stack.modules().len()];
    let mut trained = Trained::default();
    for (first, end) in [(0, STOP), (STOP, STEPS)] {
        let on = OnThreads { seed: SEED, modes: &modes, groups, first, slow: &[] };
        let mut steps = first..end;
        let mut feed = || steps.next().map(|step| packet(&plans, inputs, step, &pool));
        let save = |module: &mut dyn Module<f32>, index, step| checkpoint(module, index, step).map(Some);
        let mut finished = |step: FinishedStep<Vec<u8>>| {
            trained.reports.extend(step.taken.iter().map(|t| t.report));
            trained.checkpoints.push(step.saved);
            Ok(())
        };
        let timelines = run_pipelined(&mut stack, on, depth, &mut feed, &save, &mut finished);
        let timelines = timelines.unwrap_or_else(|e| panic!("{e}"));
        assert!(timelines.iter().map(|t| (t.module, t.steps)).eq((1..=modes.len()).map(|m| (m, end - first))));
    }
    trained
}
