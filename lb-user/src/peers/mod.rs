//! Peers: the nodes that stand in for each other tell each other what they have written down of flows, so that whoever takes
//! over goes on with them.
//!
//! Each node connects to every other one, and tells it all that it knows, then what is new; the other one takes it in and
//! says so. What is told, and who is right where both know something, is the reconciler's ([`crate::control::shared`]); what is
//! told of certificates is of whoever orders them. A
//! connection that ends is made anew, and everything is told again.

mod board;
mod hear;
pub mod key;
mod seal;
mod tell;
#[doc(hidden)]
pub mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::control::certificates::PeerNews;
use crate::control::shared::PeerEnds;
use crate::control::{Handle, tell};
use crate::model::Config;
use crate::model::acme::News;
use board::Board;
use hear::Listener;
pub use seal::Refused;
use tell::Caller;

/// 1 s; a caller says at least so often that it is there.
const ALIVE: Duration = Duration::from_secs(1);

/// 100 ms; state is told so often.
const LOOK: Duration = Duration::from_millis(100);

/// 5 s; who says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(5);

/// What it works with.
pub struct Setup {
    /// The configuration in force.
    pub configs: watch::Receiver<Arc<Config>>,
    /// Whom flows are asked of, and told to.
    pub handle: Handle,
    /// What peers are to be told, and where their state is.
    pub ends: PeerEnds,
    /// The same of certificates.
    pub certificates: Certificates,
}

/// The ends of whoever orders certificates. What is in its news is nobody else's.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// What peers are to be told.
    pub told: watch::Receiver<Arc<News>>,
    /// Peers that are there, with the number of what each has taken in.
    pub taken: Arc<watch::Sender<BTreeMap<Arc<str>, u64>>>,
    /// What peers tell.
    pub heard: mpsc::Sender<PeerNews>,
}

/// Talks with the peers of the file until the configuration's sender is gone.
pub async fn run(setup: Setup) {
    let Setup {
        mut configs,
        handle,
        ends,
        certificates,
    } = setup;
    let PeerEnds {
        flows,
        status,
        mut ready,
    } = ends;
    // Before this node knows its backends, nothing that peers tell of would find them.
    if ready.wait_for(|ready| *ready).await.is_err() {
        return;
    }
    let started = Instant::now();
    let mut peers = configs.borrow_and_update().peers.clone();
    loop {
        let mut tasks = JoinSet::new();
        let board = Arc::new(Board::new(peers.as_ref().map_or(&[], |peers| &peers.others), started));
        if let Some(peers) = &peers {
            let listener = Listener {
                board: Arc::clone(&board),
                own: peers.own,
                key_file: peers.key_file.clone(),
                handle: handle.clone(),
                certificates: certificates.heard.clone(),
            };
            tasks.spawn(listener.run());
            for place in &board.peers {
                let caller = Caller {
                    place: Arc::clone(place),
                    own: (peers.own.ip(), 0).into(),
                    key_file: peers.key_file.clone(),
                    handle: handle.clone(),
                    flows: flows.clone(),
                    certificates: certificates.clone(),
                };
                tasks.spawn(caller.run());
            }
        }
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut now = board.status(Instant::now());
            // Who has settled stays so: what follows is no start.
            now.settled |= status.borrow().settled;
            tell(&status, now);
            tokio::select! {
                changed = configs.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = configs.borrow_and_update().peers.clone();
                    if now != peers {
                        peers = now;
                        break;
                    }
                }
                () = board.news.notified() => {}
                _ = look.tick(), if peers.is_some() => {}
            }
        }
    }
}
