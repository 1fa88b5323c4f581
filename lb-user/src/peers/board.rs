//! What is known of peers, where every connection writes it down.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::seal::Refused;
use crate::model::peers::{Peer, PeerStatus, PeersStatus, Taken};

/// 5 s; so long a node waits after its start for peers that may not be there.
const PATIENCE: Duration = Duration::from_secs(5);

/// 60 s; and so long for one that is there to tell all that it knows.
const LONG_PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Board {
    pub(super) peers: Vec<Arc<Place>>,
    refused: [AtomicU64; Refused::ALL.len()],
    /// Something is new that somebody may wait for.
    pub(super) news: Notify,
    started: Instant,
}

/// One peer's place.
pub(super) struct Place {
    pub(super) peer: Peer,
    state: Mutex<State>,
}

/// How it is with a peer.
pub(super) struct State {
    /// It takes what it is told; else why not.
    pub(super) connected: Result<(), String>,
    /// Connections by which it tells.
    pub(super) hears: u32,
    /// It has told all that it knew.
    pub(super) whole: bool,
    /// Messages that it has not taken in yet: number, and when what they say came to be known.
    pub(super) waiting: VecDeque<(u64, Instant)>,
    /// Messages about certificates likewise, with the number of what they are the last of.
    pub(super) pieces: VecDeque<(u64, u64)>,
    pub(super) sent: u64,
    pub(super) received: Taken,
    pub(super) syncs: u64,
}

impl Board {
    pub(super) fn new(peers: &[Peer], started: Instant) -> Self {
        let place = |peer: &Peer| {
            Arc::new(Place {
                peer: peer.clone(),
                state: Mutex::new(State {
                    connected: Err("not reached yet".to_owned()),
                    hears: 0,
                    whole: false,
                    waiting: VecDeque::new(),
                    pieces: VecDeque::new(),
                    sent: 0,
                    received: Taken::default(),
                    syncs: 0,
                }),
            })
        };
        Self {
            peers: peers.iter().map(place).collect(),
            refused: Default::default(),
            news: Notify::new(),
            started,
        }
    }

    /// Whose address it is.
    pub(super) fn of(&self, address: IpAddr) -> Option<&Arc<Place>> {
        self.peers.iter().find(|place| place.peer.address.ip() == address)
    }

    pub(super) fn refuse(&self, cause: Refused) {
        self.refused[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How it is, and whether nobody who may come is waited for any more.
    pub(super) fn status(&self, now: Instant) -> PeersStatus {
        let since = now.duration_since(self.started);
        let settled = |state: &State| {
            let patience = if state.hears > 0 { LONG_PATIENCE } else { PATIENCE };
            state.whole || since >= patience
        };
        PeersStatus {
            peers: self.peers.iter().map(|place| place.status(now)).collect(),
            refused: Refused::ALL
                .iter()
                .filter(|_| !self.peers.is_empty())
                .map(|&cause| (cause.label(), self.refused[cause as usize].load(Ordering::Relaxed)))
                .collect(),
            settled: self.peers.iter().all(|place| settled(&place.state())),
        }
    }
}

impl Place {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self, now: Instant) -> PeerStatus {
        let state = self.state();
        PeerStatus {
            name: Arc::clone(&self.peer.name),
            address: self.peer.address,
            connected: state.connected.clone(),
            heard: state.hears > 0,
            lag: state
                .waiting
                .front()
                .map_or(Duration::ZERO, |&(_, since)| now.saturating_duration_since(since)),
            sent: state.sent,
            received: state.received,
            syncs: state.syncs,
        }
    }
}
