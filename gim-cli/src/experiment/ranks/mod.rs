//! Training on several processes, *ranks*, that MPI has started: each has contiguous modules. Several may
//! have the same ones: *replicas*, which share the arithmetic of each batch.
//!
//! Rank 0 reads the data, and writes rows and checkpoints. It tells the others what to train, so they
//! need no file. Batches go up from rank to rank, reports and checkpoints to rank 0. What moves them
//! is a thread of each process that does nothing else.

mod beats;
mod boxes;
mod exchange;
mod follow;
mod message;
mod places;
mod saves;
mod talker;
mod wire;

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use gim_core::link::{Packet, Sink};
use gim_core::replicas::Replicas;
use gim_core::{Error, Pool, Result};

use crate::experiment::launched::Joined;
use crate::experiment::train_config::TrainConfig;

pub(crate) use exchange::Distress;
use exchange::PeerEnds;
pub(crate) use follow::{Follower, no_talker, rows_of_group};
pub(crate) use message::{Arrived, Failure, Head, Input, Message, Plan, finished_step};
pub(crate) use places::{Places, check_settings};
pub(crate) use saves::Saves;
use talker::{Begin, Command, Ends, Talker};
use wire::{Body, Wire};

/// Joins the processes that were started together.
///
/// # Errors
/// When the MPI library cannot be used.
pub(crate) fn join() -> Result<Joined> {
    let (commands, to_do) = channel();
    // Without room: what waits is counted by the windows alone.
    let (up, to_next) = sync_channel(0);
    let (report, to_first) = sync_channel(0);
    let (down_in, down) = sync_channel(0);
    let (control_in, control) = sync_channel(0);
    let (joined, has_joined) = channel();
    // MPI takes the thread that begins for the one that talks.
    let talk = move || {
        let wire = match Wire::join() {
            Ok(wire) => wire,
            Err(e) => return drop(joined.send(Err(e))),
        };
        let room = REPORTS_A_RANK * wire.size;
        let (reports_of, reports) = (1..wire.size).map(|_| sync_channel(room)).unzip();
        let _ = joined.send(Ok((wire.rank, wire.size, reports)));
        let ends =
            Ends { commands: to_do, up: to_next, reports: to_first, control: control_in, down: down_in, reports_of };
        Talker::new(wire, ends).run();
    };
    let thread = std::thread::Builder::new().name("gim-mpi".into()).spawn(talk);
    let thread = thread.map_err(|e| Error::internal("MPI", &e).caused_by(e))?;
    let (rank, size, reports): (usize, usize, Vec<_>) = has_joined.recv().unwrap_or_else(|_| Err(no_talker()))?;
    let talker = TalkerThread { commands: Some(commands), thread: Some(thread) };
    Ok(match rank {
        0 => Joined::Leads(Leader { size, talker, up, reports }),
        _ => Joined::Follows(Follower { rank, talker, up, down, report, control }),
    })
}

/// Reports of a rank that may wait at rank 0, for each rank there is: lower ranks are ahead.
const REPORTS_A_RANK: usize = 4;

/// Rank 0's hold on the others. When it goes, all end.
pub(crate) struct Leader {
    pub(crate) size: usize,
    /// Batches for other ranks.
    pub(crate) up: SyncSender<(usize, Message)>,
    /// From each of the other ranks.
    pub(crate) reports: Vec<Receiver<Arrived>>,
    talker: TalkerThread,
}

/// The thread that talks. It ends with this.
struct TalkerThread {
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl TalkerThread {
    /// A thread that is gone has said why.
    fn tell(&self, command: Command) {
        if let Some(commands) = &self.commands {
            let _ = commands.send(command);
        }
    }

    fn begin(&self, train: &TrainConfig, places: &Places, input: Option<Input>, peers: Option<PeerEnds>, run: &str) {
        self.tell(Command::Begin(Begin {
            stall: Duration::from_secs(train.stall_seconds),
            places: places.clone(),
            input,
            peers,
            window: train.link_depth,
            remedy: format!("checkpoints are intact; continue with `gim train --resume {run}` on any number of ranks"),
        }));
    }

    /// For a rank with other replicas, which would wait for it if it failed.
    fn distress(&self, has_peers: bool) -> Distress {
        Distress { commands: self.commands.clone().filter(|_| has_peers) }
    }
}

impl Drop for TalkerThread {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Leader {
    /// Tells rank `to` what to train; `states` are the checkpoints of its modules, if it resumes.
    pub(crate) fn send_plan(&self, to: usize, plan: Plan, states: Vec<Vec<u8>>) {
        let bodies = states.into_iter().map(Body::Bytes).collect();
        self.talker.tell(Command::Send(to, Message { head: Head::Plan(Box::new(plan)), bodies }));
    }

    /// Begins with training. Gives what the modules of this rank are to know of their replicas, and whom to
    /// tell if they fail.
    pub(crate) fn begin(
        &self,
        train: &TrainConfig,
        places: &Places,
        pool: &Pool<f32>,
        run: &str,
    ) -> (Replicas<f32>, Distress) {
        let (replicas, peers) = exchange::peers(places, 0, pool).unzip();
        let distress = self.talker.distress(peers.is_some());
        let input = Input { layouts: Vec::new(), pool: pool.clone() };
        self.talker.begin(train, places, Some(input), peers, run);
        (replicas.unwrap_or_default(), distress)
    }
}

/// Links to other ranks, with the modules above or the same ones. They say with a batch what is saved
/// before it.
pub(crate) struct Up<'a> {
    pub(crate) out: SyncSender<(usize, Message)>,
    pub(crate) to: Vec<usize>,
    pub(crate) saves: &'a Saves,
}

impl Up<'_> {
    pub(crate) fn hand_on(&self, packet: &Packet<f32>) {
        let save = self.saves.is_extra(packet.step);
        for to in &self.to {
            // When the thread that talks has ended, the process has failed.
            let _ = self.out.send((*to, Message::batch(packet, save)));
        }
    }
}

impl Sink<f32> for Up<'_> {
    fn send(&mut self, packet: Packet<f32>) {
        self.hand_on(&packet);
    }
}
