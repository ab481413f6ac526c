//! What replicas of a group hand to each other, over the thread that talks.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use gim_core::activations::{Activations, Layout, Shape};
use gim_core::replicas::{Exchange, Replicas};
use gim_core::{Error, Pool};

use super::message::{Arrived, Head, Message};
use super::places::Places;
use super::talker::Command;
use super::wire::{Body, Buffer};

/// Messages from another replica that may wait here. A replica that is ahead waits for an answer soon.
const WAITING: usize = 4;

/// The other replicas of this rank's group, as the thread that talks sees them.
pub(super) struct PeerEnds {
    /// Messages for other ranks.
    pub(super) out: Receiver<(usize, Message)>,
    /// Where messages from other ranks go.
    pub(super) from: Vec<(usize, SyncSender<Arrived>)>,
}

/// The other replicas, as the modules see them.
struct Peers {
    /// Rank of the first replica.
    first: usize,
    pool: Pool<f32>,
    out: Sender<(usize, Message)>,
    from: Vec<Mutex<Receiver<Arrived>>>,
}

/// Both ends of what the replicas of `rank` hand to each other; none if it is the only one.
pub(super) fn peers(places: &Places, rank: usize, pool: &Pool<f32>) -> Option<(Replicas<f32>, PeerEnds)> {
    let ranks = places.replicas(rank);
    if ranks.len() == 1 {
        return None;
    }
    let (out, to_send) = channel();
    let (ends, from): (Vec<_>, Vec<_>) = ranks.clone().map(|_| sync_channel(WAITING)).unzip();
    let peers = Peers { first: ranks.start, pool: pool.clone(), out, from: from.into_iter().map(Mutex::new).collect() };
    let replicas = Replicas::new(rank - ranks.start, ranks.len(), Arc::new(peers));
    let from = ranks.zip(ends).filter(|(peer, _)| *peer != rank).collect();
    Some((replicas, PeerEnds { out: to_send, from }))
}

impl Exchange<f32> for Peers {
    fn send(&self, to: &[usize], values: &[f32]) {
        let values = Activations::from_slice(layout(values.len()), values, &self.pool).detach();
        for replica in to {
            let message = Message { head: Head::Values, bodies: vec![Body::Values(values.clone())] };
            // When the thread that talks has ended, the process has failed.
            let _ = self.out.send((self.first + replica, message));
        }
    }

    fn receive(&self, from: usize, values: &mut [f32]) {
        let channel = self.from[from].lock().unwrap_or_else(PoisonError::into_inner);
        let arrived = channel.recv().unwrap_or_else(|_| panic!("the thread that talks has ended"));
        let [Buffer::Values(arrived)] = &arrived.bodies[..] else {
            panic!("rank {} has sent no values", self.first + from)
        };
        assert_eq!(arrived.memory().len(), values.len(), "values from rank {}", self.first + from);
        values.copy_from_slice(arrived.memory());
    }
}

/// How so many values are stored on their way.
pub(super) fn layout(values: usize) -> Layout {
    Layout::dense(Shape::sequence(1, values, 1))
}

/// Ends all ranks when replicas wait for one that has failed.
pub(crate) struct Distress {
    /// None where a rank is the only replica: the others end in order then.
    pub(super) commands: Option<Sender<Command>>,
}

impl Distress {
    /// The training of this rank has failed with `e`. Replicas diverge together, and end in order.
    pub(crate) fn tell(&self, rank: usize, e: &Error) {
        if let Some(commands) = self.commands.as_ref().filter(|_| !matches!(e, Error::Diverged { .. })) {
            let _ = commands.send(Command::GiveUp(format!("rank {rank} fails its replicas: {e}")));
        }
    }
}
