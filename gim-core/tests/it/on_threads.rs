//! Modules on threads of their own: how they end, what waits between them, and who waits for whom.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use gim_core::activations::{Activations, Shape};
use gim_core::layers::{Layer, Sequential};
use gim_core::link::Packet;
use gim_core::loss::{LocalLoss, LossReport, StepInfo};
use gim_core::module::{LocalModule, Mode, Module, Parts};
use gim_core::optim::OptimizerConfig;
use gim_core::param::{Param, Params};
use gim_core::schedule::{FinishedStep, OnThreads, Order, Taken, group_by, run_async, run_pipelined};
use gim_core::stack::Stack;
use gim_core::testing::Linear;
use gim_core::{Error, Key, Pool, Purpose, Result};

/// A loss that calls a function at every step, and gives what it gives.
struct Watched<W>(W);

impl<W> Params<f64> for Watched<W> {
    fn visit(&mut self, _: &mut dyn FnMut(&mut Param<f64>)) {}
}

impl<W: FnMut(u64) -> f64 + Send> LocalLoss<f64> for Watched<W> {
    fn describe(&self) -> String {
        "watched".into()
    }

    fn check(&self, _: Shape, _: Option<Shape>) -> Result<()> {
        Ok(())
    }

    fn value_and_grad(
        &mut self,
        _: &Activations<f64>,
        _: Option<&Activations<f64>>,
        step: StepInfo<'_>,
        dz: Option<&mut Activations<f64>>,
        _: Option<&mut Activations<f64>>,
        _: &Pool<f64>,
    ) -> LossReport {
        if let Some(dz) = dz {
            dz.memory_mut().fill(1.0);
        }
        LossReport { loss: (self.0)(step.step), accuracy: 0.0 }
    }

    fn multiply_adds(&self, _: Shape) -> u64 {
        0
    }
}

/// A stack of modules, each with a linear layer and one of these functions as its loss.
fn stack<const N: usize>(losses: [Box<dyn FnMut(u64) -> f64 + Send>; N], pool: &Pool<f64>) -> Stack<f64> {
    let module = |(i, loss): (usize, _)| {
        let layer: Box<dyn Layer<f64>> = Box::new(Linear::new(3, 3, Key::new(1, Purpose::Init).with_item(i as u32)));
        let parts = Parts {
            encoder: Sequential::new(vec![layer]),
            readout: None,
            context: None,
            loss: Box::new(Watched(loss)),
            optimizer: OptimizerConfig::default().build().unwrap(),
        };
        Box::new(LocalModule::new(i + 1, parts, pool.clone())) as Box<dyn Module<f64>>
    };
    Stack::new(losses.into_iter().enumerate().map(module).collect())
}

/// Trains on batches that `labels` are called for, a thread for each module, with links of `depth`.
/// Gives the steps that all modules have finished.
fn train(
    stack: &mut Stack<f64>,
    pool: &Pool<f64>,
    (steps, depth): (u64, usize),
    mut labels: impl FnMut(u64) -> Arc<[i32]> + Send,
    mut write: impl FnMut(u64) -> Result<()>,
) -> Result<Vec<u64>> {
    let layouts = stack.layouts(Shape::sequence(2, 4, 3)).unwrap();
    let n = stack.modules().len();
    let groups = group_by(&(1..=n).map(|m| vec![m]).collect::<Vec<_>>(), &vec![1.0; n], 1).unwrap();
    let modes = vec![Mode::Train; n];
    let mut next = 0..steps;
    let mut feed = || {
        let step = next.next()?;
        Some(Packet {
            x: Activations::zeros(layouts[0], pool).detach(),
            step,
            labels: labels(step),
            layouts: layouts.clone(),
        })
    };
    let mut seen = Vec::new();
    let mut finished = |step: FinishedStep<()>| {
        seen.push(step.step);
        write(step.step)
    };
    let on = OnThreads { seed: 1, modes: &modes, groups: &groups, first: 0, slow: &[] };
    run_pipelined(stack, on, depth, &mut feed, &|_, _, _| Ok(None), &mut finished)?;
    Ok(seen)
}

fn well(step: u64) -> f64 {
    step as f64
}

fn no_labels(_: u64) -> Arc<[i32]> {
    [].into()
}

/// With a pool that groups share, threads that wait for batches would hold all threads there are.
#[test]
fn more_groups_than_threads_come_to_an_end() {
    let pool = Pool::new();
    let mut stack = stack::<7>(std::array::from_fn(|_| Box::new(well) as _), &pool);
    let seen = train(&mut stack, &pool, (50, 1), no_labels, |_| Ok(())).unwrap();
    assert!(seen.into_iter().eq(0..50));
}

/// The batches that are anywhere: one in each of three modules, and those in two links.
#[test]
fn what_waits_in_links_is_bounded() {
    for depth in [1, 2, 5] {
        let pool = Pool::new();
        let made: Arc<Mutex<Vec<Weak<[i32]>>>> = Arc::default();
        let most = Arc::new(Mutex::new(0));
        let (alive, peak) = (Arc::clone(&made), Arc::clone(&most));
        // The slow module at the top looks at what has piled up below it.
        let slow = move |step| {
            std::thread::sleep(Duration::from_millis(2));
            let here = alive.lock().unwrap().iter().filter(|labels| labels.strong_count() > 0).count();
            let mut peak = peak.lock().unwrap();
            *peak = here.max(*peak);
            step as f64
        };
        let mut stack = stack([Box::new(well), Box::new(well), Box::new(slow)], &pool);
        let labels = |step: u64| {
            let labels: Arc<[i32]> = [step as i32].into();
            made.lock().unwrap().push(Arc::downgrade(&labels));
            labels
        };
        train(&mut stack, &pool, (60, depth), labels, |_| Ok(())).unwrap();
        assert_eq!(*most.lock().unwrap(), 3 + 2 * depth, "links of {depth}");
        // Input and output of each module, what waits in two links, and gradients and scratch of
        // three modules.
        assert!(pool.allocated() <= 3 * 6 + 2 * depth, "{} buffers with links of {depth}", pool.allocated());
    }
}

#[test]
fn a_module_that_diverges_ends_all_with_its_error() {
    for module in 1..=3 {
        let pool = Pool::new();
        let loss = |own: usize| -> Box<dyn FnMut(u64) -> f64 + Send> {
            Box::new(move |step| if own == module && step == 5 { f64::NAN } else { 1.0 })
        };
        let mut stack = stack([loss(1), loss(2), loss(3)], &pool);
        let mut written = Vec::new();
        let e = train(&mut stack, &pool, (u64::MAX, 2), no_labels, |step| {
            written.push(step);
            Ok(())
        });
        assert!(matches!(e, Err(Error::Diverged { module: m, step: 5, .. }) if m == module), "{e:?}");
        assert_eq!(written, [0, 1, 2, 3, 4], "steps before it are finished as ever");
    }
}

/// A lower module runs ahead. The step at which simultaneous training would have failed is
/// reported.
#[test]
fn of_several_errors_the_earliest_step_counts() {
    let pool = Pool::new();
    let low = |step| if step == 4 { f64::NAN } else { 1.0 };
    let high = |step| {
        std::thread::sleep(Duration::from_millis(5));
        if step == 3 { f64::NAN } else { 1.0 }
    };
    let mut stack = stack([Box::new(low), Box::new(high)], &pool);
    let e = train(&mut stack, &pool, (u64::MAX, 4), no_labels, |_| Ok(()));
    assert!(matches!(e, Err(Error::Diverged { module: 2, step: 3, .. })), "{e:?}");
}

#[test]
fn a_panic_and_a_full_disk_end_all_modules() {
    for module in 1..=3 {
        let pool = Pool::new();
        let loss = |own: usize| -> Box<dyn FnMut(u64) -> f64 + Send> {
            Box::new(move |step| {
                assert!(own != module || step < 5, "a panic that a test wants");
                1.0
            })
        };
        let mut stack = stack([loss(1), loss(2), loss(3)], &pool);
        let e = train(&mut stack, &pool, (u64::MAX, 2), no_labels, |_| Ok(())).unwrap_err().to_string();
        assert!(e.contains("a panic that a test wants"), "{e}");
    }
    let pool = Pool::new();
    let mut stack = stack([Box::new(well), Box::new(well)], &pool);
    let full = |step| if step == 7 { Err(Error::file("train.csv", "no space", "free some")) } else { Ok(()) };
    let e = train(&mut stack, &pool, (u64::MAX, 2), no_labels, full).unwrap_err().to_string();
    assert!(e.contains("no space"), "{e}");
}

/// Asynchronous modules: the slow one at the top leaves batches out, those below take all, and
/// links hold one batch.
#[test]
fn nobody_waits_for_a_slow_module_above() {
    let pool = Pool::new();
    let made: Arc<Mutex<Vec<Weak<[i32]>>>> = Arc::default();
    let alive = Arc::clone(&made);
    let slow = move |step| {
        std::thread::sleep(Duration::from_millis(20));
        let here = alive.lock().unwrap().iter().filter(|labels| labels.strong_count() > 0).count();
        assert!(here <= 3 + 2, "{here} batches");
        step as f64
    };
    let quick = |step| {
        std::thread::sleep(Duration::from_millis(1));
        step as f64
    };
    let mut stack = stack([Box::new(quick), Box::new(well), Box::new(slow)], &pool);
    let layouts = stack.layouts(Shape::sequence(2, 4, 3)).unwrap();
    let groups = group_by(&[vec![1], vec![2], vec![3]], &[1.0; 3], 3).unwrap();
    let modes = [Mode::Train; 3];
    let on = OnThreads { seed: 1, modes: &modes, groups: &groups, first: 0, slow: &[] };
    let mut next = 0..60;
    let mut feed = || {
        let step = next.next()?;
        let labels: Arc<[i32]> = [step as i32].into();
        made.lock().unwrap().push(Arc::downgrade(&labels));
        Some(Packet { x: Activations::zeros(layouts[0], &pool).detach(), step, labels, layouts: layouts.clone() })
    };
    let (mut taken, mut cuts): (Vec<Taken>, Vec<Vec<u64>>) = (Vec::new(), Vec::new());
    let mut finished = |step: FinishedStep<u64>| {
        taken.extend(step.taken);
        cuts.push(step.saved);
        Ok(())
    };
    // The state after n steps of the run, as the optimizer's steps: the batches that a module has
    // taken below n.
    let save = |module: &mut dyn Module<f64>, _, _| Ok(Some(module.state().1.steps()));
    run_async(&mut stack, on, Order::Newest, &mut feed, &save, &mut finished).unwrap();
    let of = |m| taken.iter().filter(|t| t.report.module == m).map(|t| t.report.step).collect::<Vec<_>>();
    assert!(of(1).into_iter().eq(0..60));
    assert!(of(3).len() < 30 && of(3).is_sorted(), "{:?}", of(3));
    for (after, cut) in (1..).zip(&cuts) {
        let below = |m| of(m).iter().filter(|step| **step < after).count() as u64;
        assert_eq!(*cut, [below(1), below(2), below(3)], "after {after} steps");
    }
}
