//! A rank above 0: trains what rank 0 has planned for it.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender};

use gim_core::module::{Mode, Module};
use gim_core::schedule::{Group, ModuleTimeline, OnThreads, Part, run_pipelined_part};
use gim_core::stack::{LayoutPlans, Stack};
use gim_core::{Error, Pool, Result, checkpoint};
use gim_eval::ScheduleRow;

use super::exchange::{PeerEnds, peers};
use super::message::{Arrived, Failure, Head, Input, Message, Plan};
use super::places::Places;
use super::saves::Saves;
use super::{TalkerThread, Up};
use crate::experiment::config::Config;
use crate::experiment::interrupt;
use crate::experiment::run_dir::{Keep, RunDir};
use crate::experiment::train::whole_network;
use crate::experiment::train_config::TrainConfig;

/// A rank above 0.
pub(crate) struct Follower {
    pub(super) rank: usize,
    pub(super) talker: TalkerThread,
    /// Batches for other ranks, and from below.
    pub(super) up: SyncSender<(usize, Message)>,
    pub(super) down: Receiver<Arrived>,
    /// Reports for rank 0, and what it asks for.
    pub(super) report: SyncSender<Message>,
    pub(super) control: Receiver<Arrived>,
}

/// The modules of a rank, ready to train.
struct Modules {
    config: Config,
    pool: Pool<f32>,
    stack: Stack<f32>,
    /// Of the whole network.
    plans: LayoutPlans,
    /// Number of the first module (0-based).
    start: usize,
}

impl Follower {
    /// Trains what rank 0 plans, until it says that all is done. What fails here is reported to it.
    ///
    /// # Errors
    /// When signals cannot be handled.
    pub(crate) fn serve(self) -> Result<()> {
        interrupt::pass_on_to_rank_0()?;
        let Self { rank, talker, up, down, report, control } = self;
        // Rank 0 may find nothing to do.
        let Ok(Arrived { head: Head::Plan(plan), bodies }) = control.recv() else { return Ok(()) };
        let mut built = Modules::build(&plan, rank, Arrived::bytes(bodies));
        let peers = built.as_mut().ok().and_then(|modules| modules.share(&plan.places, rank));
        let distress = talker.distress(plan.places.replicas(rank).len() > 1);
        let (train, input) = match &built {
            Ok(m) => {
                (m.config.train.clone(), Some(Input { layouts: m.plans.inputs_of(m.start), pool: m.pool.clone() }))
            }
            Err(_) => (TrainConfig::default(), None),
        };
        // Also when nothing was built: batches must go on coming in until rank 0 stops.
        talker.begin(&train, &plan.places, input, peers, &plan.run);
        let mut below = Below { down, is_over: false };
        let mut end = None;
        let trained = built.and_then(|modules| modules.train(&plan, rank, &mut below, up.clone(), &report, &mut end));
        if let Err(e) = &trained {
            distress.tell(rank, e);
            end = None;
        }
        let _ = report.send(Message::bare(Head::Ended(trained.map_err(|e| Failure::of(rank, &e)))));
        for to in plan.places.above(rank) {
            let _ = up.send((to, Message::bare(Head::End { done: end })));
        }
        below.drain();
        Ok(())
    }
}

impl Modules {
    /// Builds the whole network, whose layouts and draws do not depend on ranks, and keeps the modules
    /// of this one.
    fn build(plan: &Plan, rank: usize, states: Vec<Vec<u8>>) -> Result<Self> {
        let config = Config::parse("the configuration of rank 0", &plan.config, &[])?;
        let pool = config.train.pool();
        let (mut stack, plans) = whole_network(&config, &plan.record, plan.shapes.iter().copied(), plan.each, &pool)?;
        let places = plan.places.modules(rank);
        let start = places.start;
        stack.keep(places);
        for (module, bytes) in stack.modules_mut().iter_mut().zip(states) {
            checkpoint::from_bytes(Path::new("the checkpoint of rank 0"), &bytes, &mut **module)?;
        }
        Ok(Self { config, pool, stack, plans, start })
    }

    /// Lets the modules share their arithmetic with other replicas, if there are any.
    fn share(&mut self, places: &Places, rank: usize) -> Option<PeerEnds> {
        let (replicas, peers) = peers(places, rank, &self.pool)?;
        self.stack.modules_mut().iter_mut().for_each(|module| module.set_replicas(&replicas));
        Some(peers)
    }

    /// Trains on the batches from below. `end` becomes the number of steps after which all ranks end.
    fn train(
        mut self,
        plan: &Plan,
        rank: usize,
        below: &mut Below,
        up: SyncSender<(usize, Message)>,
        report: &SyncSender<Message>,
        end: &mut Option<u64>,
    ) -> Result<Vec<ScheduleRow>> {
        let (train, n, first) = (&self.config.train, self.stack.modules().len(), plan.first);
        let (plans, start) = (&self.plans, self.start);
        let saves = Saves::new(&self.config, &plan.record, Keep::new(train, plan.total), (first, start))?;
        let mut feed = || match below.next() {
            Some(Arrived { head: Head::End { done }, .. }) => {
                *end = done;
                done.into_iter().for_each(|steps| saves.end_after(steps));
                None
            }
            other => other.and_then(|arrived| {
                if let Head::Batch { step, save: true, .. } = arrived.head {
                    saves.also_after(step);
                }
                arrived.packet(plans, start)
            }),
        };
        // The first of several replicas saves.
        let is_first = plan.places.is_first(rank);
        let save = |module: &mut dyn Module<f32>, index: usize, step| {
            if is_first { saves.state(module, index, step) } else { Ok(None) }
        };
        let mut finished = |step| report.send(Message::step(step)).map_err(|_| no_talker());
        let groups = [Group { modules: 0..n, threads: rayon::current_num_threads() }];
        let modes = vec![Mode::Train; n];
        let slow = train.slow.get(start..).unwrap_or_default();
        let on = OnThreads { seed: train.seed, modes: &modes, groups: &groups, first, slow };
        let part = Part { below: start, above: Box::new(Up { out: up, to: plan.places.above(rank), saves: &saves }) };
        let timelines =
            run_pipelined_part(&mut self.stack, on, part, train.link_depth, &mut feed, &save, &mut finished)?;
        let link = 2 * train.link_depth * self.plans.largest()[start].len() * size_of::<f32>();
        Ok(if is_first { rows_of_group(&timelines, plan.places.group(rank), link) } else { Vec::new() })
    }
}

/// Where the time of the modules of group number `group` (0-based) went; `link` are the bytes that may be
/// below the first one.
pub(crate) fn rows_of_group(timelines: &[ModuleTimeline], group: usize, link: usize) -> Vec<ScheduleRow> {
    let mut bytes = vec![0; timelines.len()];
    bytes[0] = link as u64;
    let mut rows = RunDir::rows_of(timelines, &bytes);
    rows.iter_mut().for_each(|row| row.group = group + 1);
    rows
}

/// What comes from the rank below.
struct Below {
    down: Receiver<Arrived>,
    /// The last message has come.
    is_over: bool,
}

impl Below {
    /// The next message; none after the last one.
    fn next(&mut self) -> Option<Arrived> {
        let message = if self.is_over { None } else { self.down.recv().ok() };
        self.is_over |= message.as_ref().is_none_or(|m| matches!(m.head, Head::End { .. }));
        message
    }

    /// Drops what comes until there is no more.
    fn drain(&mut self) {
        while self.next().is_some() {}
    }
}

pub(crate) fn no_talker() -> Error {
    Error::internal("MPI", "the thread that talks has ended")
}
