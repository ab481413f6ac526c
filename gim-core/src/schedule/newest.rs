//! Modules that never wait for those above: each takes the newest batch there is.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::on_threads::{Incoming, Link, NextBatch, OnThreads, Outgoing, Part, SaveState, Stamped, run_on_threads};
use super::{FinishedStep, ModuleTimeline};
use crate::stack::Stack;
use crate::{Result, Scalar};

/// Which batches every group takes.
#[derive(Debug, Clone, Copy)]
pub enum Order<'a> {
    /// The newest there is when the group is ready for one.
    Newest,
    /// These training steps, by group: what an earlier run has taken. The same steps give the same
    /// bits.
    Recorded(&'a [BTreeSet<u64>]),
}

/// Runs the batches of `feed` through the groups of modules. The first group takes all of them. A
/// group above takes the newest batch that the one below has made and it has not had yet; batches
/// that a newer one replaces are lost to it. So no group ever waits for one above, and a link holds
/// one batch.
///
/// What a module has learned depends on the steps it has taken, and on those that the modules below
/// have taken: on nothing else. They are told to `finished`, and [`Order::Recorded`] repeats them.
///
/// A module's state after n steps of the run is the one in which it has taken all batches below n
/// that it will ever take. Such states of all modules are a consistent cut, although the modules
/// have taken different numbers of batches.
///
/// # Errors
/// As [`run_pipelined`](super::run_pipelined).
///
/// # Panics
/// As [`run_pipelined`](super::run_pipelined), or when an order is not one of all groups.
pub fn run_async<F: Scalar, T: Send>(
    stack: &mut Stack<F>,
    on: OnThreads<'_>,
    order: Order<'_>,
    feed: &mut NextBatch<'_, F>,
    save: &SaveState<'_, F, T>,
    finished: &mut dyn FnMut(FinishedStep<T>) -> Result<()>,
) -> Result<Vec<ModuleTimeline>> {
    let links = match order {
        Order::Newest => (1..on.groups.len()).map(|_| newest()).collect(),
        Order::Recorded(steps) => {
            assert_eq!(steps.len(), on.groups.len(), "an order of every group");
            steps[1..].iter().map(recorded).collect()
        }
    };
    run_on_threads(stack, on, Part::whole(), links, feed, save, finished)
}

/// A link that keeps the newest batch.
fn newest<'a, F: Scalar>() -> Link<'a, F> {
    let cell = Arc::new(Newest { state: Mutex::default(), changed: Condvar::new() });
    Link { sink: Box::new(NewestSink(Arc::clone(&cell))), source: Box::new(NewestSource(cell)) }
}

struct Newest<F: Scalar> {
    state: Mutex<State<F>>,
    changed: Condvar,
}

/// The batch that waits, and whether there will be others.
struct State<F: Scalar> {
    batch: Option<Stamped<F>>,
    ended: bool,
}

impl<F: Scalar> Default for State<F> {
    fn default() -> Self {
        Self { batch: None, ended: false }
    }
}

impl<F: Scalar> Newest<F> {
    fn state(&self) -> MutexGuard<'_, State<F>> {
        // Nothing panics while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct NewestSink<F: Scalar>(Arc<Newest<F>>);

impl<F: Scalar> Outgoing<F> for NewestSink<F> {
    fn put(&mut self, batch: Stamped<F>) {
        // The old batch's buffer goes back to its pool after the lock.
        let _old = self.0.state().batch.replace(batch);
        self.0.changed.notify_one();
    }
}

impl<F: Scalar> Drop for NewestSink<F> {
    fn drop(&mut self) {
        self.0.state().ended = true;
        self.0.changed.notify_one();
    }
}

struct NewestSource<F: Scalar>(Arc<Newest<F>>);

impl<F: Scalar> Incoming<F> for NewestSource<F> {
    fn take(&mut self) -> Option<Stamped<F>> {
        let mut state = self.0.state();
        while state.batch.is_none() && !state.ended {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.batch.take()
    }
}

/// A link that gives these steps only.
fn recorded<'a, F: Scalar>(steps: &'a BTreeSet<u64>) -> Link<'a, F> {
    let (sink, from) = sync_channel(1);
    Link { sink: Box::new(sink), source: Box::new(Recorded { steps, from }) }
}

struct Recorded<'a, F: Scalar> {
    steps: &'a BTreeSet<u64>,
    from: Receiver<Stamped<F>>,
}

impl<F: Scalar> Incoming<F> for Recorded<'_, F> {
    fn take(&mut self) -> Option<Stamped<F>> {
        self.from.iter().find(|batch| self.steps.contains(&batch.packet.step))
    }
}
