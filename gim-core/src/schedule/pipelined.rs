//! Modules on threads of their own, linked by bounded queues: module m trains on batch t while
//! module m + 1 trains on batch t − 1.

use std::sync::mpsc::sync_channel;

use super::on_threads::{Link, NextBatch, OnThreads, Part, SaveState, run_on_threads};
use super::{FinishedStep, ModuleTimeline};
use crate::stack::Stack;
use crate::{Result, Scalar};

/// Runs the batches of `feed` through the groups of modules, each on a thread of its own, with the
/// bits of [`step_in_turn`](super::step_in_turn).
///
/// A link holds at most `link_depth` (at least one) batches of activations. Then the group below
/// waits. Each group holds one more, which it works on. So with G groups at most `G + (G − 1) ·
/// link_depth` batches are anywhere.
///
/// `finished` is called on the caller's thread with every step, in order, once all modules have
/// passed it. Its steps come with the states that `save` gave. `feed` and `save` are called on the
/// groups' threads.
///
/// # Errors
/// That of `finished`, else of a module: the one at the earliest step.
/// [`Error::Internal`](crate::Error::Internal) when a thread panics. All groups have ended then;
/// modules may have done different numbers of steps.
///
/// # Panics
/// When the groups are not all modules of `modes` in order.
pub fn run_pipelined<F: Scalar, T: Send>(
    stack: &mut Stack<F>,
    on: OnThreads<'_>,
    link_depth: usize,
    feed: &mut NextBatch<'_, F>,
    save: &SaveState<'_, F, T>,
    finished: &mut dyn FnMut(FinishedStep<T>) -> Result<()>,
) -> Result<Vec<ModuleTimeline>> {
    run_pipelined_part(stack, on, Part::whole(), link_depth, feed, save, finished)
}

/// As [`run_pipelined`], for modules that are part of a network: `stack` holds these alone, and the
/// groups, modes and layouts count from its first module. What `finished` and the timelines say
/// names modules by their numbers in the network; `save` is given their numbers in the stack.
///
/// # Errors
/// As [`run_pipelined`].
///
/// # Panics
/// As [`run_pipelined`].
pub fn run_pipelined_part<'a, F: Scalar, T: Send>(
    stack: &mut Stack<F>,
    on: OnThreads<'a>,
    part: Part<'a, F>,
    link_depth: usize,
    feed: &mut NextBatch<'_, F>,
    save: &SaveState<'_, F, T>,
    finished: &mut dyn FnMut(FinishedStep<T>) -> Result<()>,
) -> Result<Vec<ModuleTimeline>> {
    let link = |_| {
        let (sink, source) = sync_channel(link_depth.max(1));
        Link { sink: Box::new(sink), source: Box::new(source) }
    };
    let links = (1..on.groups.len()).map(link).collect();
    run_on_threads(stack, on, part, links, feed, save, finished)
}
