//! Peers: the nodes that stand in for each other, and what they tell each other of flows.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lb_common::addr::{Ipv6Be, Mac, PortBe};
use lb_common::nat::{NatKey, Ticks};

/// `[peers]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers {
    /// Where this node listens.
    pub own: SocketAddr,
    /// The other nodes, by name; at least one.
    pub others: Vec<Peer>,
    /// What tells nodes from strangers, the same on every node.
    pub key_file: PathBuf,
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: Arc<str>,
    /// Where it listens; where it calls from has this address and another port.
    pub address: SocketAddr,
}

/// A flow as nodes tell each other of it: by addresses, since ids are each node's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedFlow {
    /// Its packets, as the client sends them.
    pub key: NatKey,
    /// Who serves it, and on which port.
    pub backend: (Ipv6Be, PortBe),
    /// Since when nothing has been heard of it.
    pub age: Ticks,
    /// What is known of it.
    pub state: FlowState,
}

/// What is known of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowState {
    /// It is written down who serves it: [`Entry`](lb_common::slot::Entry).
    Known {
        /// What has been seen of it.
        flags: u16,
        /// Of its SYN.
        sequence: u32,
    },
    /// It is translated: [`Translation`](lb_common::nat::Translation).
    Translated {
        /// Whom the backend sees, and from which port.
        source: (Ipv6Be, PortBe),
        /// Where the client's packets come from on the wire.
        client: Mac,
        /// How long it may be silent.
        idle: Ticks,
        /// What both sides have sent: the low bits of the lease's stamp.
        seen: u32,
    },
}

/// What came of flows that a peer has told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// This node would go on with them.
    pub taken: u64,
    /// It has no such service or backend, or serves it in another way.
    pub foreign: u64,
    /// There was no room.
    pub no_room: u64,
}

impl Taken {
    /// One that is taken.
    pub const TAKEN: Self = Self::of(1, 0, 0);
    /// One that this node cannot serve so.
    pub const FOREIGN: Self = Self::of(0, 1, 0);
    /// One without room.
    pub const NO_ROOM: Self = Self::of(0, 0, 1);

    const fn of(taken: u64, foreign: u64, no_room: u64) -> Self {
        Self {
            taken,
            foreign,
            no_room,
        }
    }
}

impl std::ops::AddAssign for Taken {
    fn add_assign(&mut self, other: Self) {
        self.taken += other.taken;
        self.foreign += other.foreign;
        self.no_room += other.no_room;
    }
}

/// What this node and its peers tell each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeersStatus {
    /// In the order of the file.
    pub peers: Vec<PeerStatus>,
    /// Connections and messages that were refused, by cause; every cause, where there are peers.
    pub refused: Vec<(&'static str, u64)>,
    /// Every peer that is there has told what it knows, or none has come within a while after the start.
    pub settled: bool,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// It takes what this node tells; else why not, for people.
    pub connected: Result<(), String>,
    /// It tells this node.
    pub heard: bool,
    /// For how long it has not said that it has what it was told.
    pub lag: Duration,
    /// Flows that it was told of, once for each time.
    pub sent: u64,
    /// Flows that it has told of.
    pub received: Taken,
    /// How often it was told everything.
    pub syncs: u64,
}

#[cfg(test)]
impl PeersStatus {
    /// Two peers, one of whom is not there, and something to say of everything.
    pub(crate) fn example() -> Self {
        let peer = |name: &str, address: &str, connected: Result<(), String>| PeerStatus {
            name: name.into(),
            address: address.parse().unwrap(),
            heard: connected.is_ok(),
            lag: Duration::from_millis(if connected.is_ok() { 12 } else { 0 }),
            sent: 1_234,
            received: Taken {
                taken: 567,
                foreign: 8,
                no_room: 9,
            },
            syncs: 2,
            connected,
        };
        Self {
            peers: vec![
                peer("lb2", "10.0.0.2:8473", Ok(())),
                peer("lb3", "10.0.0.3:8473", Err("it does not answer".to_owned())),
            ],
            refused: vec![("key", 3)],
            settled: true,
        }
    }
}
